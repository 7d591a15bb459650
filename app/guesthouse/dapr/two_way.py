"""Calls of gRPC's with a stream each way: any thread writes, and whichever thread is free reads.

With grpcio's public parts, a message that comes passes through a thread of grpcio's, and one that goes through another
one; each change of threads costs as much as a short turn of an actor. Here the thread that waits for a message takes it
from gRPC itself, and one that has a message hands it to gRPC itself. That is made from private parts of grpcio, as in
`one_batch` and for the same versions. With any other version, calls are made the public way.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import Any, Protocol

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from guesthouse.dapr import one_batch
from guesthouse.dapr.convert import Metadata

_NO_FLAGS = 0
_SENT, _RECEIVED, _STATUS = "sent", "received", "status"


class TwoWay(Protocol):
    """A call. It is never half-closed: it ends by the other side, or by `cancel`."""

    def receive(self) -> bytes | None:
        """The next message, waited for; None where the call has ended well. Raises `grpc.RpcError`.

        For one thread at a time, and until the call has ended: a call that is not read to its end is never freed.
        """

    def send(self, message: bytes) -> None:
        """Send a message, without waiting. After the end of the call it is dropped."""

    @property
    def unsent(self) -> bool:
        """Whether messages wait for a thread that receives: it sends them."""

    def cancel(self) -> None:
        """End it; nothing happens when it has ended."""


def begin(channel: grpc.Channel, path: str, first: bytes, metadata: Metadata) -> TwoWay:
    """Begin a call of the method at `path` and send the first message. Raises `ValueError` for a closed channel."""
    if not grpc.__version__.startswith(one_batch.TRIED):
        return _Public(channel, path, first, metadata)
    return _Direct(channel, path, first, metadata)


class _Public:
    """From grpcio's public parts."""

    def __init__(self, channel: grpc.Channel, path: str, first: bytes, metadata: Metadata) -> None:
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._outbox.put(first)
        call: Any = channel.stream_stream(path)
        self._call = call(iter(self._outbox.get, None), metadata=metadata)

    def receive(self) -> bytes | None:
        try:
            message: bytes = next(self._call)
        except (grpc.RpcError, StopIteration) as end:
            self._outbox.put(None)  # only now: before the end, it would be a half-close
            if isinstance(end, StopIteration):
                return None
            raise
        return message

    def send(self, message: bytes) -> None:
        self._outbox.put(message)

    @property
    def unsent(self) -> bool:
        return False

    def cancel(self) -> None:
        self._call.cancel()


class _Direct:
    """From grpcio's private parts. The reader also learns of it when a message was sent, and then sends the next one:
    gRPC takes one at a time."""

    def __init__(self, channel: Any, path: str, first: bytes, metadata: Metadata) -> None:
        self._lock = threading.Lock()
        self._sending = True
        self._unsent: deque[bytes] = deque()
        self._receiving = True
        self._status: Any = None
        self._over = False
        begun = (
            ((cygrpc.ReceiveStatusOnClientOperation(_NO_FLAGS),), _STATUS),
            (
                (
                    cygrpc.SendInitialMetadataOperation(metadata, _NO_FLAGS),
                    cygrpc.SendMessageOperation(first, _NO_FLAGS),
                ),
                _SENT,
            ),
            ((cygrpc.ReceiveInitialMetadataOperation(_NO_FLAGS), cygrpc.ReceiveMessageOperation(_NO_FLAGS)), _RECEIVED),
        )
        propagated, context = cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS, cygrpc.build_census_context()
        self._call = channel._channel.segregated_call(
            propagated, path.encode(), None, None, metadata, None, begun, context, None
        )

    def receive(self) -> bytes | None:
        while not self._ended():
            event = self._call.next_event()
            if event.tag is _SENT:
                self._sent()
            elif event.tag is _STATUS:
                self._status = event.batch_operations[0]
            else:
                message: bytes | None = event.batch_operations[-1].message()
                # The next one is asked for before this one is worked on. After the last one there is nothing to ask.
                self._receiving = message is not None and self._call.operate(
                    (cygrpc.ReceiveMessageOperation(_NO_FLAGS),), _RECEIVED
                )
                if message is not None:
                    return message
        error = one_batch.Error(self._status)
        if error.code() is grpc.StatusCode.OK:
            return None
        raise error

    def _ended(self) -> bool:
        """Whether nothing more comes from gRPC. Then nothing may be begun either."""
        if self._status is None or self._receiving:
            return False
        with self._lock:
            self._unsent.clear()
            self._over = not self._sending
            return self._over

    def _sent(self) -> None:
        with self._lock:
            self._sending = bool(self._unsent) and self._send(self._unsent.popleft())

    def send(self, message: bytes) -> None:
        with self._lock:
            if self._sending:
                self._unsent.append(message)
            elif not self._over:
                self._sending = self._send(message)

    @property
    def unsent(self) -> bool:
        return bool(self._unsent)

    def _send(self, message: bytes) -> bool:
        return bool(self._call.operate((cygrpc.SendMessageOperation(message, _NO_FLAGS),), _SENT))

    def cancel(self) -> None:
        self._call.cancel(cygrpc.StatusCode.cancelled, "cancelled")

"""Calls of gRPC's with one response, which begin at once and are read later, by the thread that waits for them.

grpcio has no such calls: who makes a call waits for its end, or a thread of grpcio's reads it, and the change of
threads costs as much as the call. A call with a stream of responses can be read by the thread that waits; on the wire
it is the same. But gRPC's core takes the parts of a call in batches, each of which costs time, and such a call has four
or five. So a call in one batch is made here, from grpcio's own parts. These are private: they are used with the
versions of grpcio with which this was tried (`TRIED`). With any other version, calls have a stream with one response.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from guesthouse.dapr.convert import Metadata

TRIED = ("1.85.",)

_NO_FLAGS = 0
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def waited_for(channel: grpc.Channel, path: str) -> Callable[..., Any]:
    """Makes calls of the method at `path`, from a request, `timeout` and `metadata`. A call gives its response, in
    bytes, as an iterator; after that, what `grpc.Call` has. It may be cancelled from any thread."""
    if not grpc.__version__.startswith(TRIED):
        found: Callable[..., Any] = channel.unary_stream(path)
        return found
    core, method, context = channel._channel, path.encode(), cygrpc.build_census_context()  # type: ignore[attr-defined]

    def begin(request: bytes, timeout: float, metadata: Metadata) -> _Call:
        operations = (
            cygrpc.SendInitialMetadataOperation(metadata, _NO_FLAGS),
            cygrpc.SendMessageOperation(request, _NO_FLAGS),
            cygrpc.SendCloseFromClientOperation(_NO_FLAGS),
            cygrpc.ReceiveInitialMetadataOperation(_NO_FLAGS),
            cygrpc.ReceiveMessageOperation(_NO_FLAGS),
            cygrpc.ReceiveStatusOnClientOperation(_NO_FLAGS),
        )
        propagated, until = cygrpc.PropagationConstants.GRPC_PROPAGATE_DEFAULTS, time.time() + timeout
        begun = core.segregated_call(
            propagated, method, None, until, metadata, None, ((operations, None),), context, None
        )
        return _Call(begun)

    return begin


class _Call:
    """A call that was begun. Read by one thread."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._initial: Any = ()
        self._status: Any = None

    def cancel(self) -> None:
        """Cancel it; nothing happens when it has ended."""
        self._call.cancel(cygrpc.StatusCode.cancelled, "cancelled")

    def __iter__(self) -> Iterator[bytes]:
        _, _, _, initial, received, self._status = self._call.next_event().batch_operations  # as they were begun
        self._initial = initial.initial_metadata()
        message = received.message()
        if message is not None:
            yield message

    def code(self) -> grpc.StatusCode:
        return Error(self._status).code()

    def details(self) -> str:
        return Error(self._status).details()

    def initial_metadata(self) -> Any:
        return self._initial

    def trailing_metadata(self) -> Any:
        return self._status.trailing_metadata()


class Error(grpc.RpcError):
    """How a call has ended, by the operation that has received its status."""

    def __init__(self, status: Any) -> None:
        self._status = status

    def code(self) -> grpc.StatusCode:
        return _CODES.get(self._status.code(), grpc.StatusCode.UNKNOWN)

    def details(self) -> str:
        details = self._status.details()
        return details.decode("utf-8", "replace") if isinstance(details, bytes) else details or ""

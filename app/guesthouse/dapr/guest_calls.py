"""Calls of guests to the sidecar: `sidecar.SidecarApi` over gRPC, on one channel for all guests.

Which methods there are, and what a request would do, is in `api_methods`; what a guest was granted is not known here.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import grpc

from guesthouse.dapr.api_methods import method_of
from guesthouse.dapr.convert import Metadata
from guesthouse.dapr.endpoint import Endpoint
from guesthouse.sidecar import Checked
from guesthouse_abi import pairs
from guesthouse_abi.services import Ended

_log = logging.getLogger(__name__)

Done = Callable[[Ended], None]

_DETAILS = "grpc-status-details-bin"
_QUESTION = "/dapr.proto.runtime.v1.Dapr/GetMetadata"  # which any sidecar answers, if only by refusing it
_NO_ANSWERS = {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
_RECONNECT = 1.5  # seconds that calls wait for a connection that was lost; gRPC tries once a second at least
_NO_SIDECAR = "the sidecar cannot be reached; is it running, and are DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT right?"
_UNCONNECTED = ("failed to connect to all addresses", "errors resolving ")  # how gRPC begins to say so
_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]
# The response of a stream is held whole. What is encrypted or decrypted is about as long as before.
_STREAM_FACTOR, _STREAM_MORE = 2, 1 << 20


class GuestCalls:
    """See `sidecar.SidecarApi`. Connects with the first call.

    No call is made twice: gRPC does not tell whether one that failed was sent. After a connection was lost, calls wait
    a short time for the next one before they are made.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._channel, self._metadata = endpoint.connect()
        self._connection = _Connection(self._channel, endpoint.target, self._metadata)
        self._unary: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def checked(self, method: str, message: bytes) -> Checked:
        """See `sidecar.SidecarApi`."""
        return method_of(method).checked(message)

    def begin(
        self, method: str, message: bytes, metadata: Sequence[tuple[str, str]], seconds: float, done: Done
    ) -> Callable[[], object]:
        """See `sidecar.SidecarApi`."""
        known, all_metadata = method_of(method), (*self._metadata, *metadata)
        call: _Call
        if known.streams:
            streamed: Any = self._channel.stream_stream(known.path)
            messages, most = list(known.messages(message)), _STREAM_FACTOR * len(message) + _STREAM_MORE
            call = _Streaming(self._connection, streamed, messages, all_metadata, seconds, done, most)
        else:
            made = self._unary.get(known.path)
            if made is None:
                made = self._unary[known.path] = self._channel.unary_unary(known.path)
            call = _Single(self._connection, made, message, all_metadata, seconds, done)
        if not self._connection.keeps(call):
            call.begin()
        return call.cancel


class _Connection:
    """Keeps calls back for a short time while the connection is lost."""

    def __init__(self, channel: grpc.Channel, target: str, metadata: Metadata) -> None:
        self.target = target
        self._channel, self._metadata = channel, tuple(metadata)
        self._lock = threading.Lock()
        self._kept: list[_Call] | None = None  # None: the connection is not in doubt

    def keeps(self, call: _Call) -> bool:
        """Whether the call is begun or ended later, from here."""
        with self._lock:
            if self._kept is None:
                return False
            self._kept.append(call)
            return True

    def doubt(self) -> None:
        """A call has met no sidecar, it seems: ask the sidecar for something, and wait until gRPC has connected."""
        with self._lock:
            if self._kept is not None:
                return
            self._kept = []
        try:
            question: Any = self._channel.unary_unary(_QUESTION)
            asked = question.future(b"", timeout=_RECONNECT, metadata=self._metadata, wait_for_ready=True)
        except ValueError:  # the channel is closed
            self._release(connected=False)
            return
        asked.add_done_callback(lambda asked: self._release(asked.code() not in _NO_ANSWERS))

    def _release(self, connected: bool) -> None:
        with self._lock:
            kept, self._kept = self._kept or [], None
        for call in kept:
            if connected:
                call.begin()
            else:
                call.end(Ended(_UNAVAILABLE, _NO_SIDECAR))


class _Call:
    """A call to the sidecar."""

    def __init__(
        self, connection: _Connection, method: Any, request: Any, metadata: Metadata, seconds: float, done: Done
    ) -> None:
        self._connection = connection
        self._method, self._request, self._metadata = method, request, tuple(metadata)
        self._until = monotonic() + seconds
        self.end = done
        self._cancelled = threading.Event()
        self._call: Any = None

    def begin(self) -> None:
        """Make the call."""
        if self._cancelled.is_set():
            self.end(Ended(_CANCELLED, "cancelled"))
            return
        try:
            self._call = self._make(max(0.0, self._until - monotonic()))
        except Exception as error:  # the channel is closed, or no thread can be started
            _log.warning("a guest's call could not be made: %s", error)
            self.end(Ended(_UNAVAILABLE, "the host cannot make the call"))
            return
        if self._cancelled.is_set():  # meanwhile
            self._call.cancel()

    def cancel(self) -> None:
        """Give the call up."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()

    def _make(self, seconds: float) -> Any:
        """gRPC's call; `_over` is called when it has ended."""
        raise NotImplementedError

    def _over(self, call: Any, message: bytes | None = None) -> None:
        """The call has ended; `message` is its response, where it is not the call's own result."""
        try:
            ended = _ending(call, message)
            if ended.code == _UNAVAILABLE and not ended.trailing and not ended.initial:
                self._connection.doubt()
                if ended.text.startswith(_UNCONNECTED) and self._connection.target in ended.text:
                    ended = Ended(_UNAVAILABLE, _NO_SIDECAR)
        except Exception:
            ended = _unread()
        self.end(ended)


class _Single(_Call):
    """A call with one request and one response."""

    def _make(self, seconds: float) -> Any:
        call = self._method.future(self._request, timeout=seconds, metadata=self._metadata)
        call.add_done_callback(self._over)
        return call


class _Streaming(_Call):
    """A call with streams, whose messages are all there before it begins; the response is collected in a thread."""

    def __init__(
        self,
        connection: _Connection,
        method: Any,
        request: Sequence[bytes],
        metadata: Metadata,
        seconds: float,
        done: Done,
        most: int,
    ) -> None:
        super().__init__(connection, method, request, metadata, seconds, done)
        self._most = most  # bytes of the response

    def _make(self, seconds: float) -> Any:
        call = self._method(iter(self._request), timeout=seconds, metadata=self._metadata)
        thread = threading.Thread(target=self._collect, args=(call,), name="a guest's stream", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            call.cancel()
            raise
        return call

    def _collect(self, call: Any) -> None:
        collected = io.BytesIO()
        try:
            for message in call:
                collected.write(_varint(len(message)))
                collected.write(message)
                if collected.tell() > self._most:
                    call.cancel()
                    self.end(Ended(_EXHAUSTED, f"the response has more than {self._most} bytes"))
                    return
        except grpc.RpcError:
            self._over(call)
        except Exception:
            self.end(_unread())
        else:
            self._over(call, collected.getvalue())


def _varint(value: int) -> bytes:
    """A number as protobuf writes it, https://protobuf.dev/programming-guides/encoding/#varints."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _ending(call: Any, message: bytes | None = None) -> Ended:
    """How a call has ended; `message` is its response, where it is not the call's own result."""
    code = call.code().value[0]
    initial, trailing = call.initial_metadata() or (), call.trailing_metadata() or ()
    details = next((value for key, value in trailing if key == _DETAILS), None)
    if code == 0 and message is None:
        message = call.result()
    text = "" if code == 0 else call.details() or ""
    return Ended(code, text, message, pairs.encode(initial), pairs.encode(trailing), details)


def _unread() -> Ended:
    """For an error of ours while a call's end is read."""
    _log.exception("a call to the sidecar could not be read")
    return Ended(_INTERNAL, "internal error")

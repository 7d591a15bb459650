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

from guesthouse.dapr.api_methods import Requests, method_of
from guesthouse.dapr.convert import Metadata
from guesthouse.dapr.endpoint import SidecarConnection
from guesthouse.dapr.one_batch import waited_for
from guesthouse_abi import pairs, protobuf
from guesthouse_abi.calls import Driven
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


class GuestCalls(Requests):
    """See `sidecar.SidecarApi`.

    The thread that waits for a call reads it, without a thread of gRPC's between the two (`one_batch`).

    No call is made twice: gRPC does not tell whether one that failed was sent. After a connection was lost, calls wait
    a short time for the next one before they are made.
    """

    def __init__(self, connection: SidecarConnection) -> None:
        self._channel, self._metadata = connection.channel, connection.metadata
        self._reach = _Reach(connection)
        self._methods: dict[str, Any] = {}

    def begin(
        self, method: str, message: bytes, metadata: Sequence[tuple[str, str]], seconds: float, done: Done
    ) -> Driven:
        """See `sidecar.SidecarApi`."""
        known, all_metadata = method_of(method), (*self._metadata, *metadata)
        made = self._methods.get(known.path)
        if made is None:
            made = self._channel.stream_stream(known.path) if known.streams else waited_for(self._channel, known.path)
            self._methods[known.path] = made
        call: _Call
        if known.streams:
            messages, most = list(known.messages(message)), _STREAM_FACTOR * len(message) + _STREAM_MORE
            call = _Streaming(self._reach, made, messages, all_metadata, seconds, done, most)
        else:
            call = _Single(self._reach, made, message, all_metadata, seconds, done)
        if not self._reach.keeps(call):
            call.begin()
        return call


class _Reach:
    """Whether the sidecar can be reached. While that is in doubt, it keeps calls back for a short time."""

    def __init__(self, connection: SidecarConnection) -> None:
        self._port = ":" + connection.target.rpartition(":")[2]
        self._connection = connection
        self._lock = threading.Lock()
        self._kept: list[_Call] | None = None  # None: the connection is not in doubt

    def said_by_grpc(self, text: str) -> bool:
        """Whether gRPC says so of this connection; if an application said the same, it has the same port."""
        return text.startswith(_UNCONNECTED) and self._port in text

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
            question: Any = self._connection.channel.unary_unary(_QUESTION)
            asked = question.future(b"", timeout=_RECONNECT, metadata=self._connection.metadata, wait_for_ready=True)
        except Exception:  # the channel is closed, or no thread can be started
            self._release(connected=False)
            return
        asked.add_done_callback(lambda asked: self._release(asked.code() not in _NO_ANSWERS))

    def _release(self, connected: bool) -> None:
        with self._lock:
            kept, self._kept = self._kept or [], None
        for call in kept:
            if connected:
                call.begin_later()
            else:
                call.end(Ended(_UNAVAILABLE, _NO_SIDECAR))


class _Call(Driven):
    """A call to the sidecar. gRPC's own call is read by one thread, whichever comes first."""

    def __init__(
        self, reach: _Reach, method: Any, request: Any, metadata: Metadata, seconds: float, done: Done
    ) -> None:
        self._reach = reach
        self._method, self._request, self._metadata = method, request, tuple(metadata)
        self._until = monotonic() + seconds
        self.end = done
        self._cancelled = False
        self._call: Any = None
        self._reader = threading.Lock()  # held for good by who reads the call

    def begin(self) -> None:
        """Make the call."""
        try:
            self._call = self._made(max(0.0, self._until - monotonic()))
        except Exception as error:  # the channel is closed
            _log.warning("a guest's call could not be made: %s", error)
            self.end(Ended(_UNAVAILABLE, "the host cannot make the call"))

    def begin_later(self) -> None:
        """Make the call in another thread than the guest's, unless it was given up."""
        if self.given_up():
            self.end(Ended(_CANCELLED, "cancelled"))
            return
        self.begin()
        if self.given_up():  # meanwhile
            self()
        self.watch()

    def given_up(self) -> bool:
        """Whether it was given up, maybe by another thread."""
        return self._cancelled

    def __call__(self) -> None:
        """See `Driven`."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()
            self.drive()  # gRPC keeps a call until it was read

    def drive(self) -> None:
        """See `Driven`."""
        if self._call is not None and self._reader.acquire(blocking=False):
            self._finish()

    def watch(self) -> None:
        """See `Driven`."""
        if self._call is None or not self._reader.acquire(blocking=False):
            return
        try:
            threading.Thread(target=self._finish, name="a guest's call", daemon=True).start()
        except RuntimeError:  # no thread can be started
            self._finish()

    def _finish(self) -> None:
        self.end(self._read(self._call))

    def _made(self, seconds: float) -> Any:
        """gRPC's call, which may take so many seconds."""
        raise NotImplementedError

    def _read(self, call: Any) -> Ended:
        """Wait for the end of gRPC's call."""
        try:
            try:
                message = self._response(call)
            except grpc.RpcError:
                message = None
            ended = _ending(call, message)
        except _TooLong as error:
            return Ended(_EXHAUSTED, str(error))
        except Exception:
            _log.exception("a call to the sidecar could not be read")
            return Ended(_INTERNAL, "internal error")
        if ended.code == _UNAVAILABLE and not ended.trailing and not ended.initial:
            self._reach.doubt()
            if self._reach.said_by_grpc(ended.text):
                return Ended(_UNAVAILABLE, _NO_SIDECAR)
        return ended

    def _response(self, call: Any) -> bytes:
        """The response, whole."""
        raise NotImplementedError


class _Single(_Call):
    """A call with one request and one response."""

    def _made(self, seconds: float) -> Any:
        return self._method(self._request, timeout=seconds, metadata=self._metadata)

    def _response(self, call: Any) -> bytes:
        return b"".join(call)  # of one message


class _TooLong(Exception):
    """A response is too long to be held."""


class _Streaming(_Call):
    """A call with streams, whose messages are all there before it begins; the response is collected."""

    def __init__(
        self,
        reach: _Reach,
        method: Any,
        request: Sequence[bytes],
        metadata: Metadata,
        seconds: float,
        done: Done,
        most: int,
    ) -> None:
        super().__init__(reach, method, request, metadata, seconds, done)
        self._most = most  # bytes of the response

    def _made(self, seconds: float) -> Any:
        return self._method(iter(self._request), timeout=seconds, metadata=self._metadata)

    def _response(self, call: Any) -> bytes:
        collected = io.BytesIO()
        for message in call:
            collected.write(protobuf.encoded(len(message)))
            collected.write(message)
            if collected.tell() > self._most:
                call.cancel()
                raise _TooLong(f"the response has more than {self._most} bytes")
        return collected.getvalue()


def _ending(call: Any, message: bytes | None) -> Ended:
    """How a call has ended, of which `message` is the response."""
    code = call.code().value[0]
    initial, trailing = call.initial_metadata() or (), call.trailing_metadata() or ()
    details = next((value for key, value in trailing if key == _DETAILS), None)
    text = "" if code == 0 else call.details() or ""
    return Ended(code, text, message, pairs.encode(initial), pairs.encode(trailing), details)

"""Calls of guests to the sidecar: `sidecar.SidecarApi` over gRPC, on one channel for all guests.

Which methods there are, and what a request would do, is in `api_methods`; what a guest was granted is not known here.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable, Sequence
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
_NOT_SENT = "failed to connect to all addresses"  # gRPC's own text: the call has not left this process
_PAUSES = (0.05, 0.1, 0.2)  # seconds before a call is made again that was not sent
_NO_SIDECAR = "the sidecar cannot be reached; is it running, and are DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT right?"
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


class GuestCalls:
    """See `sidecar.SidecarApi`. Connects with the first call."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._channel, self._metadata = endpoint.connect()
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
        if known.streams:
            call: _Call = _Streaming(self._channel, known.path, list(known.messages(message)), all_metadata, done)
        else:
            made = self._unary.get(known.path)
            if made is None:
                made = self._unary[known.path] = self._channel.unary_unary(known.path)
            call = _Single(made, message, all_metadata, done)
        call.begin(seconds)
        return call.cancel


class _Call:
    def begin(self, seconds: float) -> None: ...
    def cancel(self) -> None: ...


class _Single(_Call):
    """A call with one request and one response. It is made again while it has not even been sent."""

    def __init__(
        self, method: grpc.UnaryUnaryMultiCallable[bytes, bytes], message: bytes, metadata: Metadata, done: Done
    ) -> None:
        self._method, self._message, self._metadata, self._done = method, message, metadata, done
        self._attempt = 0
        self._cancelled = False
        self._call: Any = None

    def begin(self, seconds: float) -> None:
        """Make the call, which may take so many seconds."""
        if self._cancelled:
            return
        self._call = self._method.future(self._message, timeout=seconds, metadata=tuple(self._metadata))
        self._call.add_done_callback(lambda call: self._ended(call, seconds))

    def cancel(self) -> None:
        """Give the call up."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _ended(self, call: Any, seconds: float) -> None:
        try:
            ended = _ending(call)
            if ended.code == _UNAVAILABLE and _NOT_SENT in ended.text:
                pause = _PAUSES[self._attempt] if self._attempt < len(_PAUSES) else seconds
                if pause < seconds and not self._cancelled:
                    self._attempt += 1
                    timer = threading.Timer(pause, self.begin, (seconds - pause,))
                    timer.daemon = True
                    timer.start()
                    return
                ended = Ended(_UNAVAILABLE, _NO_SIDECAR)
        except Exception:
            _log.exception("a call to the sidecar could not be read")
            ended = Ended(grpc.StatusCode.INTERNAL.value[0], "internal error")
        self._done(ended)


class _Streaming(_Call):
    """A call with streams, whose messages are all there before it begins; the response is collected."""

    def __init__(
        self, channel: grpc.Channel, path: str, messages: Sequence[bytes], metadata: Metadata, done: Done
    ) -> None:
        self._channel, self._path, self._messages = channel, path, messages
        self._metadata, self._done = metadata, done
        self._call: Any = None

    def begin(self, seconds: float) -> None:
        """Make the call, which may take so many seconds, in a thread of its own."""
        method: Any = self._channel.stream_stream(self._path)
        self._call = method(iter(self._messages), timeout=seconds, metadata=tuple(self._metadata))
        threading.Thread(target=self._collect, name="a guest's stream", daemon=True).start()

    def cancel(self) -> None:
        """Give the call up."""
        self._call.cancel()

    def _collect(self) -> None:
        collected = io.BytesIO()
        try:
            for message in self._call:
                collected.write(_varint(len(message)))
                collected.write(message)
            ended = _ending(self._call, collected.getvalue())
        except grpc.RpcError:
            ended = _ending(self._call)
        except Exception:
            _log.exception("a stream of the sidecar could not be read")
            ended = Ended(grpc.StatusCode.INTERNAL.value[0], "internal error")
        self._done(ended)


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

"""A gRPC server whose HTTP/2 runs in Rust, without the interpreter lock; it stands where `grpc.server` does.

`pygrpc_native.NativeGrpcFront` reads and writes the connections. Here is all that stands between it and the servicers,
which grpcio's generated code registers: the threads that take calls from it, the context of a call, its status. Only
methods with one request and one response are answered here. All other calls (streams, and methods that do not exist)
are passed on to a server of grpcio behind this one.

A thread that is free waits for the next call in Rust. So a call costs one change of threads and no queue in Python.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from guesthouse.dapr.executor import ElasticThreads
from guesthouse.dapr.grpcio import GrpcioServer
from guesthouse.dapr.transport import ServeError

_log = logging.getLogger(__name__)

_BEHIND = 2  # threads at work of the server behind, besides one for each stream
_IO_THREADS = 1  # with two, calls pass from one to the other, which costs more than it gains: Python is the limit
_SPARE_STREAMS = 1024  # of one connection, besides one for each thread
_METADATA = 16 * 2**10  # bytes
_TOLD = 4  # times the limit of metadata: up to there a call is refused by a gRPC status, above by HTTP/2
_ENTRY = 32  # bytes that HTTP/2 counts for an entry beside its name and value (RFC 9113, 6.5.2)
_REMEMBERED = 1024  # cancelled calls that no thread has begun with yet
_NO_DEADLINE = 100 * 365 * 86400.0  # seconds, as much as grpcio says
_LOOK = 0.01  # seconds between looks at the calls in flight, while the server ends

Metadata = Sequence[tuple[str, str | bytes]]


class _Aborted(Exception):
    """A handler has ended its call by `abort`: the code and the text of its status."""


class Call(grpc.ServicerContext):
    """One call: what answers it when a thread is free, and the context that its handler sees.

    Its callbacks are called where the call ends before it is answered, and only there.
    """

    def __init__(
        self,
        server: NativeServer,
        number: int,
        handler: grpc.RpcMethodHandler[Any, Any],
        payload: bytes,
        details: tuple[Metadata, str, float | None],
    ) -> None:
        self._server = server
        self._number = number
        self._handler = handler
        self._payload: bytes | None = payload
        self._metadata, self._peer, remaining = details
        self._until = math.inf if remaining is None else time.monotonic() + remaining
        self._ended = False
        self._callbacks: list[Callable[[], None]] = []
        self._headers: Metadata | None = None
        self._trailers: Metadata = ()
        self._code: grpc.StatusCode | None = None
        self._details = ""

    def __call__(self) -> None:
        """Answer the call. In a context of its own: nothing that one call leaves there is seen by another."""
        try:
            contextvars.Context().run(self._answer)
        except Exception:
            _log.exception("a call could not be answered")
            self._fail(grpc.StatusCode.INTERNAL, "internal error")
        finally:
            self._server.forget(self._number)

    def _answer(self) -> None:
        server, payload, self._payload = self._server, self._payload, None
        assert payload is not None
        if server.ending:
            return self._fail(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if len(payload) > server.receives:
            return self._fail(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"SERVER: Received message larger than max ({len(payload)} vs. {server.receives})",
            )
        if sum(len(key) + len(value) + _ENTRY for key, value in self._metadata) > server.metadata:
            return self._fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "received metadata size exceeds hard limit")
        decode, encode = self._handler.request_deserializer, self._handler.response_serializer
        try:
            request = payload if decode is None else decode(payload)
        except Exception:
            return self._fail(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
        del payload
        handle = self._handler.unary_unary
        assert handle is not None
        try:
            response = handle(request, self)
        except _Aborted as aborted:
            return self._fail(*aborted.args)
        except Exception as error:
            _log.exception("a handler raised")
            return self._fail(grpc.StatusCode.UNKNOWN, f"Exception calling application: {error}")
        if (code := self.code()) not in (None, grpc.StatusCode.OK):
            return self._fail(code, self._details)
        answer = response if encode is None else encode(response)
        if len(answer) > server.sends:
            return self._fail(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"SERVER: Sent message larger than max ({len(answer)} vs. {server.sends})",
            )
        server.front.respond(self._number, answer, self._headers, self._trailers)
        return None

    def _fail(self, code: grpc.StatusCode, details: str) -> None:
        self._server.front.fail(self._number, code.value[0], details, self._trailers)

    def end(self) -> None:
        """The caller has hung up, or its time is over."""
        self._ended = True
        while self._callbacks:
            with contextlib.suppress(IndexError):  # another thread has called it
                callback = self._callbacks.pop()
                try:
                    callback()
                except Exception:
                    _log.exception("a callback raised")

    # What a handler sees. See `grpc.ServicerContext`.

    def invocation_metadata(self) -> Metadata:  # type: ignore[override]  # plain pairs
        return self._metadata

    def peer(self) -> str:
        return self._peer

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Any]:
        return {}

    def is_active(self) -> bool:
        return not self._ended

    def time_remaining(self) -> float:
        return min(_NO_DEADLINE, max(0.0, self._until - time.monotonic()))

    def cancel(self) -> bool:
        self._fail(grpc.StatusCode.CANCELLED, "CANCELLED")
        self.end()
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        if not self.is_active():
            return False
        self._callbacks.append(callback)
        if not self.is_active():  # it has ended meanwhile
            self.end()
        return True

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        self._headers = initial_metadata

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        self._trailers = trailing_metadata

    def trailing_metadata(self) -> Metadata:  # type: ignore[override]
        return self._trailers

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        raise _Aborted(code, details)

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        self._trailers = status.trailing_metadata or ()
        self.abort(status.code, status.details)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def details(self) -> str:
        return self._details


class NativeServer(grpc.Server):
    """A server for one port without TLS. Of grpcio's options it has the sizes of messages and of metadata.

    It lets clients ping as they like, and does not share its port. `least` threads answer calls at a time, besides
    those whose call takes long; there are `most` threads at most (see `executor`). `streams` is how many streams it
    serves at a time.
    """

    def __init__(self, least: int, most: int, name: str, options: Sequence[tuple[str, int]], streams: int) -> None:
        given = dict(options)
        self.receives = _size(given, "grpc.max_receive_message_length", 4 * 2**20)
        self.sends = _size(given, "grpc.max_send_message_length", -1)
        self.front: NativeGrpcFront
        self.ending = False
        self.metadata = given.get("grpc.max_metadata_size", _METADATA)
        self._streams = most + _SPARE_STREAMS
        self._bound = False
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._by_number: dict[int, grpc.RpcMethodHandler[Any, Any]] = {}
        self._lock = threading.Lock()
        self._calls: dict[int, Call] = {}  # in flight
        self._cancelled: dict[int, None] = {}  # calls whose end came before a thread had begun with them, or late
        self._threads = ElasticThreads(self, least, most, name)
        self._behind = GrpcioServer(_BEHIND, _BEHIND + streams, f"{name}-stream", options)
        self._folder: str | None = None

    # What grpcio's servers have. See `grpc.Server`.

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._behind.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        self._behind.add_registered_method_handlers(service_name, method_handlers)
        for name, handler in method_handlers.items():
            if not handler.request_streaming and not handler.response_streaming:
                self._handlers[f"/{service_name}/{name}"] = handler

    def add_insecure_port(self, address: str) -> int:
        target = f"unix:{unquote(address.removeprefix('unix://'))}" if address.startswith("unix://") else address
        try:
            self.front = NativeGrpcFront(
                target,
                [],
                call_details=True,
                io_threads=_IO_THREADS,
                max_concurrent_streams=self._streams,  # a call too many is refused by us, and does not wait in HTTP/2
                max_metadata_size=_TOLD * self.metadata,
            )
        except OSError as error:
            raise RuntimeError(str(error)) from error
        self._bound = True
        return self.front.bound_port

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        raise NotImplementedError("this server has no TLS")

    def start(self) -> None:
        try:
            self._folder = tempfile.mkdtemp(prefix="guesthouse-grpc-")  # nobody else can look into it
            path = f"{self._folder}/s"
            self._behind.add_insecure_port(f"unix:{path}")
        except (OSError, RuntimeError) as error:  # gRPC raises the second one
            raise ServeError(
                f"the native core cannot make a socket in the folder for temporary files ({error}); set TMPDIR to a "
                'folder with a short path that can be written to, or server.core to "grpcio"'
            ) from error
        self._behind.start()
        self.front.set_fallback(path)
        numbers = self.front.add_methods([(path, False) for path in self._handlers])
        self._by_number = dict(zip(numbers, self._handlers.values(), strict=True))
        self.front.start()
        self._threads.start()

    def stop(self, grace: float | None) -> threading.Event:
        """Refuse calls from now on; end when those in flight are answered, or after `grace` seconds."""
        ended = threading.Event()
        self.ending = True
        behind = self._behind.stop(grace)

        def end() -> None:
            over = time.monotonic() + (grace or 0.0)
            while self._calls and time.monotonic() < over:
                time.sleep(_LOOK)
            behind.wait(max(0.0, over - time.monotonic()))
            self._close()
            ended.set()

        if grace:
            threading.Thread(target=end, name="end of the server", daemon=True).start()
        else:
            end()
        return ended

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        raise NotImplementedError("wait for what `stop` returns")

    # What its threads and calls ask for.

    def take(self) -> Call | None:
        """See `executor.Calls.take`."""
        while (events := self.front.recv_batch_details(1)) is not None:
            for kind, number, method, payload, _, details in events:
                if kind == EVENT_CANCEL:
                    self._cancel(number)
                elif payload is not None and details is not None:
                    call = Call(self, number, self._by_number[method], payload, details)
                    with self._lock:
                        self._calls[number] = call
                        cancelled = number in self._cancelled
                    if cancelled:  # another thread took the end before this one had the beginning
                        call.end()
                    return call
        return None

    def waiting(self) -> None:
        """See `executor.Calls.waiting`: the front does not tell."""
        return

    def forget(self, number: int) -> None:
        """The call with this number is over."""
        with self._lock:
            self._calls.pop(number, None)
            self._cancelled.pop(number, None)

    def _cancel(self, number: int) -> None:
        with self._lock:
            call = self._calls.get(number)
            if call is None:
                self._cancelled[number] = None
                if len(self._cancelled) > _REMEMBERED:
                    del self._cancelled[next(iter(self._cancelled))]
        if call is not None:
            call.end()

    def _close(self) -> None:
        self._threads.end()
        if self._bound:
            self.front.close()
        with self._lock:
            calls = list(self._calls.values())
        for call in calls:
            call.end()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _size(options: Mapping[str, int], name: str, default: int) -> float:
    """A bound in bytes; infinity for one below 0, as with grpcio."""
    size = options.get(name, default)
    return math.inf if size < 0 else size

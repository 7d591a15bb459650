"""The gRPC server that a sidecar connects to: its port, threads, limits and TLS, its start and its end.

What the calls mean is in `callback` and `health`. The server is the blocking one: with guests that block, it answers
more events per second than gRPC's asyncio server.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from guesthouse.dapr.admission import Admission
from guesthouse.dapr.callback import Callback, Events, Fetched
from guesthouse.dapr.core import Choice, Core, CoreError, choose, make_server
from guesthouse.dapr.health import SERVICES, Health
from guesthouse.dapr.tokens import Tokens
from guesthouse.dapr.topics import Listing
from guesthouse.event import Handler

_log = structlog.get_logger("guesthouse")

_LINGER = 0.2  # seconds
_FLUSH = 1.0  # seconds for the last replies, which are sent after their events have left
_DRAINED = 0  # no signal has this number
SPARE_THREADS = 8  # never taken by events: health probes and refusals find one at once


class ServeError(Exception):
    """The server cannot start; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How to serve.

    `port` 0 takes a free one. `message` is the largest message in bytes, both ways, `metadata` the most bytes of a
    call's metadata. `tls` has the paths of the PEM
    certificate chain and private key. `threads` is how many events may be inside (the guests' slots and queues) plus
    `SPARE_THREADS`; `at_work` of them answer calls at a time, besides those that take long (see `workers`). `notice`
    and `limit` are seconds, see `Server.drain`. `reflection` tells who asks which services there are. After `patience`
    seconds without a word from a sidecar, the log has a hint. `core` is what reads and writes HTTP/2 (see `core`).
    """

    host: str = "127.0.0.1"
    port: int = 50051
    message: int = 16 * 2**20 + 64 * 2**10
    metadata: int = 16 * 2**10
    tokens: tuple[str, ...] = ()
    tls: tuple[Path, Path] | None = None
    threads: int = 64 + SPARE_THREADS
    at_work: int = 2
    notice: float = 0.0
    limit: float = 20.0
    reflection: bool = False
    patience: float = 30.0
    core: Core = "auto"


class Server:
    """A Dapr application's server. Nobody can connect before `start`."""

    def __init__(
        self, config: ServerConfig, handler: Handler, listing: Listing, fetched: Fetched | None = None
    ) -> None:
        self.config = config
        self.port = 0
        self.core: Choice | None = None  # what serves, once it is started
        self._started = False
        self._health = Health()
        self._admission = Admission(max(1, config.threads - SPARE_THREADS))
        self._server: grpc.Server | None = None
        self._end_threads: Callable[[], None] = lambda: None
        self._tokens = Tokens(config.tokens)
        self._events = Events(handler, self._tokens, self._admission, config.message)
        self._callback = (
            Callback(self._events, listing) if fetched is None else Callback(self._events, listing, fetched)
        )
        self._hint = threading.Timer(config.patience, self._unheard)
        self._hint.daemon = True

    def start(self) -> None:
        """Open the port and serve. Call it when all is loaded: a sidecar sends events as soon as it can connect.

        Raises `ServeError` when the address cannot be had, the certificate cannot be used, or the core cannot serve.
        """
        config = self.config
        host = _address(config.host, config.port)
        address = f"[{host}]:{config.port}" if ":" in host else f"{host}:{config.port}"
        credentials = None if config.tls is None else _credentials(*config.tls)
        try:
            self.core = choose(config.core, host, tls=credentials is not None)
        except CoreError as error:
            raise ServeError(str(error)) from error
        server, self._end_threads = make_server(self.core, config.at_work, config.threads, "event", _options(config))
        self._server = server
        self._callback.add_to(server)
        self._health.add_to(server)
        if config.reflection:
            reflection.enable_server_reflection((*SERVICES, reflection.SERVICE_NAME), server)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise ServeError(f"cannot listen on {address}: {error}") from error
        server.start()
        self._started = True
        self._hint.start()

    def tell(self, listing: Listing) -> None:
        """Tell sidecars that ask from now on of other topics and bindings. Those that have asked do not ask again."""
        self._callback.tell(listing)

    def accept(self, tokens: Iterable[str]) -> None:
        """Ask for one of these tokens from now on. Calls that were let in before go on."""
        self._tokens.accept(tokens)

    @property
    def ready(self) -> bool:
        """Whether it is started and does not drain: what health says to those who ask."""
        return self._started and not self._health.draining

    def drain(self) -> bool:
        """End gently; returns whether all events in flight ended well.

        Health turns UNAVAILABLE while everything is still served, for `notice` seconds: the sidecar needs its probe
        interval times its threshold to see it. Then no event is let in any more, and those in flight have `limit`
        seconds to end.
        """
        self._health.drain()
        threading.Event().wait(self.config.notice)
        finished = self._admission.close(self.config.limit)
        # Callers that have not noticed yet are told to try again: gRPC's own end would cancel their calls.
        threading.Event().wait(_LINGER)
        if finished and self._server is not None:
            self._server.stop(_FLUSH).wait()
        self.stop()
        return finished

    def stop(self) -> None:
        """End at once: what is in flight is cancelled, guests too."""
        self._started = False
        self._hint.cancel()
        if self._server is not None:
            self._server.stop(None)
        self._end_threads()

    def _unheard(self) -> None:
        """gRPC itself turns a sidecar away that speaks HTTP/1.1, and nobody here hears of it: its silence must do."""
        if self._events.heard or self._health.heard or self._health.draining:
            return
        _log.info(
            "no sidecar has called yet",
            hint=f"is one running, with --app-port {self.port} --app-protocol grpc? Without the second it speaks "
            "HTTP/1.1, which is turned away without a line here",
        )


class Drains(Protocol):
    """What a signal drains."""

    def drain(self) -> bool:
        """End gently; returns whether all events in flight ended well."""


def run_until_signal(
    server: Drains,
    hears: Mapping[int, Callable[[], None]] | None = None,
    announce: Callable[[], None] = lambda: None,
) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the process's exit code. For the main thread.

    A second signal ends the process on the spot, with 128 plus its number: a guest that does not end cannot hold it.
    `hears` says what to do at other signals: it is called in the main thread, also during the drain, and must be short.
    `announce` says that it serves, once signals are heard.
    """
    # The C part of Python's signal handling writes the number of each signal here, in whichever thread it arrives. The
    # main thread could otherwise miss one just before it waits for a lock, and a drain waits long.
    received, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    wakeup_before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    others = hears or {}
    ends = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, _ignore) for number in (*ends, *others)}

    def drain() -> None:
        try:
            server.drain()
        finally:
            wakeup.send(bytes([_DRAINED]))

    def receive() -> int:
        while (number := received.recv(1)[0]) not in (*ends, _DRAINED):
            if number in others:
                others[number]()
        return number

    try:
        announce()
        receive()
        threading.Thread(target=drain, name="drain", daemon=True).start()
        if (number := receive()) != _DRAINED:
            os._exit(128 + number)
    finally:
        for handled, handler in before.items():
            signal.signal(handled, handler)
        signal.set_wakeup_fd(wakeup_before)
        received.close()
        wakeup.close()
    return 0


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal is read from the wake-up socket."""


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.message),
        ("grpc.max_send_message_length", config.message),
        # gRPC refuses at random between the two of its bounds, so they are one.
        ("grpc.max_metadata_size", config.metadata),
        ("grpc.absolute_max_metadata_size", config.metadata),
        # With SO_REUSEPORT a second server would bind the same port silently, and take half of the events.
        ("grpc.so_reuseport", 0),
        # A proxy between sidecar and application may ping as it likes.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """The pair, tried first: gRPC would report a bad one only to those who connect."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ServeError(
            f"the TLS certificate {certificate} and key {key} cannot be used: {reason}; "
            "both must be PEM files, the key without a passphrase and made for this certificate"
        ) from error


def _address(host: str, port: int) -> str:
    """The host as one numeric address, on which the port was free a moment ago.

    One, so that the server has it or fails: gRPC is content with any one of a name's addresses. IPv4 first, as a
    sidecar connects to 127.0.0.1. Tried here, because the errors of a socket say what is wrong, and gRPC's do not.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ServeError(f"host {host!r} is not known ({error.strerror}); give an address of this machine") from error
    family, kind, protocol, _, address = min(found, key=lambda info: info[0])
    with socket.socket(family, kind, protocol) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            raise ServeError(_why_not(host, port, error)) from error
    return str(address[0])


def _why_not(host: str, port: int, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"port {port} on {host} needs rights that this process does not have; choose another with --port"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop the other process or choose another with --port"
    return f"cannot listen on {host}:{port}: {error.strerror}; give an address of this machine with --host"

"""The gRPC server that a sidecar connects to: its port, threads, limits and TLS, its start and its end.

What the calls mean is in `callback` and `health`. The server is the blocking one: with guests that block, it answers
more events per second than gRPC's asyncio server.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_reflection.v1alpha import reflection

from guesthouse.dapr.admission import Admission
from guesthouse.dapr.callback import Callback, Fetched
from guesthouse.dapr.core import Choice, Core, choose, make_server
from guesthouse.dapr.events import Events
from guesthouse.dapr.executor import SPARE_THREADS
from guesthouse.dapr.health import SERVICES, Health
from guesthouse.dapr.listing import Listing
from guesthouse.dapr.tokens import Tokens
from guesthouse.dapr.transport import Drain, ServeError
from guesthouse.dapr.unary import UnaryCalls
from guesthouse.event import Handler

_log = structlog.get_logger("guesthouse")

_LINGER = 0.2  # seconds in which new calls are still refused with a reason, after the last event has left
_FLUSH = 1.0  # seconds for the last replies: an event has left before its reply is sent


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """How to serve.

    `port` 0 takes a free one. `message` is the largest message in bytes, both ways, `metadata` the most bytes of a
    call's metadata. `tls` has the paths of the PEM certificate chain and private key. `threads` is how many events may
    be inside (the guests' slots and queues) plus `SPARE_THREADS`; `at_work` of them answer calls at a time, besides
    those that take long (see `executor`). With `reflection`, the server tells callers which services it has. After
    `patience` seconds without a call from a sidecar, the log says so. `core` is as in `core.choose`.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    message: int = 16 * 2**20 + 64 * 2**10
    metadata: int = 16 * 2**10
    tokens: tuple[str, ...] = ()
    tls: tuple[Path, Path] | None = None
    threads: int = 64 + SPARE_THREADS
    at_work: int = 2
    reflection: bool = False
    patience: float = 30.0
    core: Core = "auto"


class Server:
    """A Dapr application's server, a `Transport`. Nobody can connect before `start`."""

    name = "server"

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
        self._tokens = Tokens(config.tokens)
        self._events = Events(handler, self._tokens, self._admission)
        calls = UnaryCalls(self._events, config.message)
        self._callback = Callback(calls, listing) if fetched is None else Callback(calls, listing, fetched)
        self._silence = threading.Timer(config.patience, self._unheard)
        self._silence.daemon = True

    def start(self) -> None:
        """Open the port and serve. Call it when all is loaded: a sidecar sends events as soon as it can connect.

        Raises `ServeError` when the address cannot be had, the certificate cannot be used, or the core cannot serve.
        """
        config = self.config
        host = _address(config.host, config.port)
        address = f"[{host}]:{config.port}" if ":" in host else f"{host}:{config.port}"
        credentials = None if config.tls is None else _credentials(*config.tls)
        self.core = choose(config.core, host, tls=credentials is not None)
        server = make_server(self.core, config.at_work, config.threads, "event", _options(config))
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
        self._silence.start()

    def set_listing(self, listing: Listing) -> None:
        """Answer sidecars that ask from now on by this listing. A sidecar that has asked does not ask again."""
        self._callback.set_listing(listing)

    def accept(self, tokens: Iterable[str]) -> None:
        """Accept only these tokens from now on. Calls that were let in before go on."""
        self._tokens.accept(tokens)

    @property
    def ready(self) -> bool:
        """Whether the server takes events: it has started and does not drain."""
        return self._started and not self._health.draining

    def drain(self, drain: Drain) -> bool:
        """See `Transport.drain`.

        During the notice health is UNAVAILABLE while everything is still served: a sidecar needs its probe interval
        times its threshold to see it.
        """
        self._health.drain()
        threading.Event().wait(drain.notice)
        finished = self._admission.close(drain.limit)
        # Callers that have not noticed yet are told to try again: gRPC's own end would cancel their calls.
        threading.Event().wait(_LINGER)
        if finished and self._server is not None:
            self._server.stop(_FLUSH).wait()
        return finished

    def stop(self, seconds: float = 0.0) -> int:
        """See `Transport.stop`. A reply is the answer of its call: none is left to be read."""
        self._started = False
        self._silence.cancel()
        if self._server is not None:
            self._server.stop(None)
        return 0

    def _unheard(self) -> None:
        """Say that no sidecar has called. One that speaks HTTP/1.1 is turned away by the core: no call shows it."""
        if self._events.heard or self._callback.asked or self._health.heard or self._health.draining:
            return
        _log.info(
            "no sidecar has called yet",
            remedy=f"is one running, with --app-port {self.port} --app-protocol grpc? Without the second it speaks "
            "HTTP/1.1, which is turned away without a line here",
        )


def _options(config: ServerConfig) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", config.message),
        ("grpc.max_send_message_length", config.message),
        # Between its soft and its hard bound gRPC refuses at random: both are set to the same size.
        ("grpc.max_metadata_size", config.metadata),
        ("grpc.absolute_max_metadata_size", config.metadata),
        # With SO_REUSEPORT a second server would bind the same port silently, and take half of the events.
        ("grpc.so_reuseport", 0),
    ]


def _credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    """The certificate and its key, tried first: gRPC would report a bad pair only to those who connect."""
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

    It is one address, so that the server has it or fails: gRPC is content with any one of a name's addresses. IPv4
    comes first, as a sidecar connects to 127.0.0.1. A socket is bound here for a trial, because its errors say what is
    wrong, and gRPC's do not.
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

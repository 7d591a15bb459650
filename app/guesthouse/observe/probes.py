"""A port for plain HTTP: `/metrics` for Prometheus, `/healthz` and `/readyz` for health probes.

It is apart from the port for events and has threads of its own, so it answers also when every slot is taken.
"""

from __future__ import annotations

import errno
import hmac
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from guesthouse.faults import Faults

PATIENCE = 10.0  # seconds for a client to send its request


class ProbesError(Faults):
    """The port for metrics and probes cannot be had."""


class Probes:
    """Serves from the moment it is made, until it is closed. `port` 0 takes a free one.

    `/metrics` asks for one of `tokens` (`Authorization: Bearer`) where there are any; the other paths ask for none.
    `ready` says whether events are taken. Raises `ProbesError`.
    """

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, ready: Callable[[], bool], tokens: Iterable[str] = ()
    ) -> None:
        self.host = host
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = min(found, key=lambda info: info[0])  # IPv4 first, as for events
            self._server = _Server(family, address, registry, ready, tokens)
        except OSError as error:
            raise ProbesError(_why_not(host, port, error)) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port. Answers under way are finished."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(
        self, family: int, address: Any, registry: CollectorRegistry, ready: Callable[[], bool], tokens: Iterable[str]
    ) -> None:
        self.address_family = family
        self.registry = registry
        self.ready = ready
        self.tokens = tuple(f"Bearer {token}".encode() for token in tokens)
        super().__init__(address, _Request)

    def server_bind(self) -> None:
        # HTTPServer would also look up the host's name, which may take long where there is no name server.
        TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: clients may hang up, or never send a request."""


class _Request(BaseHTTPRequestHandler):
    timeout = PATIENCE
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz" or (path == "/readyz" and self.server.ready()):
            self._answer(HTTPStatus.OK, b"ok\n")
        elif path == "/readyz":
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics, /healthz and /readyz\n")

    def _metrics(self) -> None:
        given = self.headers.get("Authorization", "").encode("latin-1", "replace")
        # Each token is compared in constant time, so that the time does not tell how near a guess was.
        if self.server.tokens and not any(hmac.compare_digest(given, token) for token in self.server.tokens):
            self._answer(HTTPStatus.UNAUTHORIZED, b"a token is asked for\n", {"WWW-Authenticate": "Bearer"})
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._answer(HTTPStatus.OK, encode(self.server.registry), {"Content-Type": content_type})

    def _answer(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: a scrape comes every few seconds."""

    def version_string(self) -> str:
        """The `Server` header: no versions."""
        return "guesthouse"


def _why_not(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"host {host!r} for metrics is not known ({error.strerror}); give an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} for metrics is in use; stop the other process or choose with --metrics-port"
    if isinstance(error, PermissionError):
        return f"port {port} on {host} for metrics needs rights that this process does not have; choose another"
    return f"cannot listen on {host}:{port} for metrics: {error.strerror}; give an address of this machine"

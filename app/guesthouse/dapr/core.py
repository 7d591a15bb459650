"""Which core serves: what reads and writes HTTP/2 and gRPC below our services.

`native` is `native.NativeServer`, in Rust; `grpcio` is gRPC's own (`grpcio.GrpcioServer`). Both serve the same services
with the same options.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import grpc

from guesthouse.dapr.grpcio import GrpcioServer
from guesthouse.dapr.transport import ServeError

Core = Literal["auto", "native", "grpcio"]
#: A proxy between a sidecar and us may ping as often as it likes. The native core lets it do so anyway.
_ANY_PINGS = (("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_ping_strikes", 0))


@dataclass(frozen=True, slots=True)
class Choice:
    """The core that serves (the native one, or else grpcio's), and why, in words for the log."""

    native: bool
    why: str

    @property
    def name(self) -> str:
        """As the manifest has it."""
        return "native" if self.native else "grpcio"


def choose(wanted: Core, address: str, *, tls: bool) -> Choice:
    """The core for a server at this IP address ("" for a Unix socket). Raises `ServeError`."""
    if wanted == "grpcio":
        return Choice(False, "the manifest says so")
    missing = _missing(tls)
    if wanted == "native":
        if missing:
            raise ServeError(f'server.core is "native", but {missing}; make it "auto" or "grpcio"')
        return Choice(True, "the manifest says so")
    if missing:
        return Choice(False, missing)
    if address and not ipaddress.ip_address(address).is_loopback:
        return Choice(
            False,
            "other machines can connect, and the native core takes a message in before it looks at its size; where "
            'only the sidecar can connect, set core = "native" in [server]',
        )
    return Choice(True, "it is the faster one")


def _missing(tls: bool) -> str:
    """Why the native core cannot serve; empty where it can."""
    if tls:
        return "the native core has no TLS"
    if find_spec("pygrpc_native") is None:
        return "pygrpc-native is not installed: there is none for this platform"
    return ""


def make_server(
    choice: Choice, least: int, most: int, name: str, options: Sequence[tuple[str, int]], streams: int = 0
) -> grpc.Server:
    """A server that answers calls on `least` to `most` threads (see `executor`), and `streams` streams on as many more.

    Its threads end when it has stopped.
    """
    if choice.native:
        from guesthouse.dapr.native import NativeServer  # not installed everywhere

        return NativeServer(least, most, name, options, streams)
    return GrpcioServer(least, most + streams, name, [*options, *_ANY_PINGS])

"""A real server on a free port of this machine, and channels to it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from guesthouse.dapr.component.input_binding import Replies
from guesthouse.dapr.component.reader import Bounds
from guesthouse.dapr.component.server import Component, ComponentConfig
from guesthouse.dapr.core import Core
from guesthouse.dapr.listing import Listing
from guesthouse.dapr.server import Server, ServerConfig
from tests.dapr.component_ends import Published, Sidecar
from tests.dapr.dapr_ends import Application, Script

Serve = Callable[..., Server]


@pytest.fixture(params=["native", "grpcio"])
def core(request: pytest.FixtureRequest) -> Core:
    """What the servers of a test are on."""
    if request.param == "native":
        pytest.importorskip("pygrpc_native")
    core: Core = request.param
    return core


@pytest.fixture
def handler() -> Script:
    return Script()


@pytest.fixture
def serve(handler: Script, core: Core) -> Iterator[Serve]:
    """Starts servers over `handler`, and stops them after the test."""
    started: list[Server] = []

    def start(listing: Listing = Listing(), **config: Any) -> Server:  # noqa: B008
        settings = replace(ServerConfig(port=0, threads=12, core=core), **config)
        server = Server(settings, handler, listing)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def connect() -> Iterator[Callable[[Server], grpc.Channel]]:
    """Opens channels, and closes them after the test."""
    opened: list[grpc.Channel] = []

    def open_channel(server: Server) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        opened.append(grpc.insecure_channel(f"127.0.0.1:{server.port}", options))
        return opened[-1]

    yield open_channel
    for channel in opened:
        channel.close()


@pytest.fixture
def application(serve: Serve, connect) -> Application:
    """A server with its defaults."""
    return Application(connect(serve()))


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder for sockets: of a short name, whatever pytest's own folders are called."""
    with tempfile.TemporaryDirectory(prefix="gh-") as folder:
        yield Path(folder) / "sockets"


@pytest.fixture
def component(handler: Script, sockets: Path, core: Core) -> Iterator[Callable[..., Component]]:
    """Starts components over `handler`, and stops them after the test."""
    started: list[Component] = []

    def start(replies: tuple[str, ...] = (), bounds: Bounds = Bounds(), **config: Any) -> Component:  # noqa: B008
        settings = replace(ComponentConfig("guests", sockets, guests=("echo", "other"), core=core), **config)
        hub = Replies(settings.name, replies, bounds)
        started.append(Component(settings, Published(handler, hub), hub))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def dial() -> Iterator[Callable[..., Sidecar]]:
    """Connects to components as a sidecar, and hangs up after the test."""
    opened: list[Sidecar] = []

    def connect_as(component: Component, instance: str | None = "guests") -> Sidecar:
        opened.append(Sidecar(component.socket.path, instance))
        return opened[-1]

    yield connect_as
    for one in opened:
        one.channel.close()

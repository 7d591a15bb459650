"""A real server on a free port of this machine, and channels to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import pytest
from dapr_ends import Application, Script

from guesthouse.dapr.server import Server, ServerConfig
from guesthouse.dapr.topics import Listing

Serve = Callable[..., Server]


@pytest.fixture
def handler() -> Script:
    return Script()


@pytest.fixture
def serve(handler: Script) -> Iterator[Serve]:
    """Starts servers over `handler`, and stops them after the test."""
    started: list[Server] = []

    def start(listing: Listing = Listing(), **config: object) -> Server:  # noqa: B008
        settings = replace(ServerConfig(port=0, threads=12, notice=0.0, limit=5.0), **config)
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

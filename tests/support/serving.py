"""An application served on a real port of this machine, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import grpc

from guesthouse.assembly import application_for, open_plan
from guesthouse.dapr.client import Client
from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import Manifest, load
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from tests.support.places import engine_of

# What a caller is told whose time is over: by its own clock, or by the reset of a server whose clock was ahead.
OVER_TIME = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


def moved(manifest: Manifest, place: str) -> Manifest:
    """The manifest with all its guests in threads, or in processes of their own, of which there are few."""
    if place == "thread":
        return manifest
    guests = {}
    for name, guest in manifest.guests.items():
        limits = guest.limits.model_copy(update={"concurrency": min(2, guest.limits.concurrency)})
        guests[name] = guest.model_copy(update={"isolation": "process", "limits": limits})
    engine = manifest.engine.model_copy(update=engine_of(place))
    return manifest.model_copy(update={"engine": engine, "guests": guests})


@contextlib.contextmanager
def connected(target: str = "127.0.0.1:1", token: str = "") -> Iterator[SidecarConnection]:
    """A connection to a sidecar; without `target`, to none."""
    with contextlib.closing(SidecarConnection(Endpoint(target, token=token))) as connection:
        yield connection


@contextlib.contextmanager
def serving(manifest: Path, place: str = "thread") -> Iterator[tuple[Client, Plan]]:
    """Serve a manifest on a free port, as `guesthouse serve` does, in this process."""
    with (
        open_plan(moved(load(manifest, grants=GRANTS), place)) as plan,
        connected() as connection,
    ):
        application = application_for(Plans(plan), SidecarOutputs(connection), port=0)
        application.start()
        try:
            with Client(f"127.0.0.1:{application.server.port}", token="") as client:
                yield client, plan
        finally:
            application.stop()

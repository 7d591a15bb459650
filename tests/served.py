"""An application served on a real port of this machine, in this process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from guesthouse.cli.parts import application_for, opened
from guesthouse.dapr.client import Client
from guesthouse.dapr.sidecar import Endpoint, SidecarOutputs
from guesthouse.manifest import load
from guesthouse.plan import Plan
from guesthouse.plans import Plans


@contextlib.contextmanager
def serving(manifest: Path) -> Iterator[tuple[Client, Plan]]:
    """Serve a manifest on a free port, as `guesthouse serve` does, in this process."""
    with opened(load(manifest)) as plan, contextlib.closing(SidecarOutputs(Endpoint("127.0.0.1:1"))) as outputs:
        application = application_for(Plans(plan), outputs, port=0)
        application.start()
        try:
            with Client(f"127.0.0.1:{application.server.port}", token="") as client:
                yield client, plan
        finally:
            application.stop()

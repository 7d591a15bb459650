"""How Dapr's two services that sidecars share are started: placement for actors, scheduler for jobs and reminders.

For the tests and the demo. Needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def command(program: str, name: str, folder: Path, port: int, health: int, free_port: Callable[[], int]) -> list[str]:
    """The command of `placement` or `scheduler`, by its program. It listens on this machine alone: `port` for sidecars,
    `health` for GET /healthz. A scheduler keeps its data in `folder`."""
    made = [program, "--id", name, "--port", str(port), "--listen-address", "127.0.0.1"]
    made += ["--healthz-port", str(health), "--healthz-listen-address", "127.0.0.1"]
    made += ["--metrics-port", str(free_port()), "--metrics-listen-address", "127.0.0.1"]
    if name == "placement":
        return [*made, "--initial-cluster", f"{name}=127.0.0.1:{free_port()}"]
    data = folder / "etcd"
    data.mkdir(mode=0o700)
    made += ["--etcd-data-dir", str(data), "--etcd-client-port", str(free_port())]
    made += ["--etcd-initial-cluster", f"{name}=http://127.0.0.1:{free_port()}"]
    made += ["--etcd-backend-batch-interval", "50ms", "--workers", "128"]
    made += ["--identity-directory-write", str(folder / "tls")]
    return [*made, "--override-broadcast-host-port", f"127.0.0.1:{port}"]


def flags(placement: str, scheduler: str) -> tuple[str, ...]:
    """For a sidecar that uses the services at these addresses."""
    return "--placement-host-address", placement, "--scheduler-host-address", scheduler

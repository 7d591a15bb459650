"""Dapr's two services that sidecars share, each a process of its own: placement for actors, scheduler for jobs."""

from __future__ import annotations

import functools
import http.client
import subprocess
import sys
from pathlib import Path

from tests.dapr_real.real_programs import ROOT, Program
from tests.daprd import services
from tests.support.ports import free_port


@functools.cache
def built(name: str) -> str:
    """The path of one of Dapr's programs; built first if need be, which takes minutes and is told on standard error."""
    done = subprocess.run([sys.executable, ROOT / "tests/daprd/build.py", name], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"no {name}, see above"
    return done.stdout.strip()


class Service(Program):
    """One of the two. `address` is where sidecars find it."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        port, self._health = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self._command = services.command(built(name), name, folder, port, self._health, free_port)

    def start(self) -> Service:
        self._run(self._command, {"NAMESPACE": "default"})
        return self

    def ready(self) -> Service:
        self._wait("is healthy", self._healthy)
        return self

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._health, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class ControlPlane:
    """Both of them."""

    def __init__(self, folder: Path) -> None:
        self.placement = Service("placement", folder)
        self.scheduler = Service("scheduler", folder)

    @property
    def flags(self) -> tuple[str, ...]:
        """For a sidecar that uses them."""
        return services.flags(self.placement.address, self.scheduler.address)

"""Dapr's two services that sidecars share, each a process of its own: placement for actors, scheduler for jobs."""

from __future__ import annotations

import functools
import http.client
import subprocess
import sys
from pathlib import Path

from tests.dapr_real.real_programs import ROOT, Program
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
        self._command = [built(name), "--id", name, "--port", str(port), "--listen-address", "127.0.0.1"]
        self._command += ["--healthz-port", str(self._health), "--healthz-listen-address", "127.0.0.1"]
        self._command += ["--metrics-port", str(free_port()), "--metrics-listen-address", "127.0.0.1"]
        if name == "placement":
            self._command += ["--initial-cluster", f"{name}=127.0.0.1:{free_port()}"]
        else:
            data = folder / "etcd"
            data.mkdir(mode=0o700)
            self._command += ["--etcd-data-dir", str(data), "--etcd-client-port", str(free_port())]
            self._command += ["--etcd-initial-cluster", f"{name}=http://127.0.0.1:{free_port()}"]
            self._command += ["--etcd-backend-batch-interval", "50ms", "--workers", "128"]
            self._command += ["--identity-directory-write", str(folder / "tls")]
            self._command += ["--override-broadcast-host-port", self.address]

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
        addresses = ("--placement-host-address", self.placement.address)
        return (*addresses, "--scheduler-host-address", self.scheduler.address)

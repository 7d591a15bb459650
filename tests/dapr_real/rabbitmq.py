"""A RabbitMQ of a test's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.dapr_real.real_programs import Program
from tests.support.ports import free_port, listens

# Debian's own command insists on its user and folders; this is what it calls.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitMQ(Program):
    """A broker without plugins, on loopback alone; its queues are on disk in its folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("rabbitmq", folder)
        self.port = free_port()
        self._names = free_port()  # of epmd, where Erlang's nodes find each other
        self._epmd: subprocess.Popen[bytes] | None = None
        (folder / "plugins").write_text("[].")
        (folder / "rabbitmq.conf").write_text(
            "vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 1MB\n"
        )
        self._settings = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"guesthouse{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names),
        }

    def start(self) -> RabbitMQ:
        assert SERVER.exists(), "no rabbitmq-server here: run tests/dapr_real/install_rabbitmq.sh"
        # The broker would start an epmd that outlives it: here is one already.
        epmd = shutil.which("epmd")
        assert epmd
        if self._epmd is None:
            self._epmd = subprocess.Popen([epmd, "-port", str(self._names), "-address", "127.0.0.1"])
        self._run([str(SERVER)], self._settings, cwd=self.log.parent)
        self._wait("listens", lambda: listens(self.port))
        self._wait("has started", lambda: "completed with" in self.said)
        return self

    def stop(self) -> None:
        super().stop()
        if self._epmd is not None:
            self._epmd.terminate()
            self._epmd.wait(10)
            self._epmd = None

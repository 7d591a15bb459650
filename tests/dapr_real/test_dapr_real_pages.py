"""The commands of the pages that want a server and a sidecar, as they are written there (tests/docs/commands.toml)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dapr_real.real_programs import daprd
from tests.support.shown import Checkout, Run, runs
from tests.support.waiting import until

BEHIND = [run for run in runs() if run.servers]
READY = {"guesthouse": "serving", "daprd": "dapr initialized. Status: Running"}  # what each program says when it is

# The ports are those that the pages name, so the programs are in a network of their own, with nothing but a loopback:
# SIOCSIFFLAGS (0x8914) with IFF_UP and IFF_RUNNING (0x41).
_HOLD = """\
import fcntl, signal, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))
print("up", flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def network() -> Iterator[list[str]]:
    """What to put before a command, so that it runs in a network of its own."""
    own = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    process = subprocess.Popen([*own, sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "up\n":
            pytest.skip("no network of its own can be made here (unshare --net)")
        inside = ["--net"] if os.geteuid() == 0 else ["--user", "--preserve-credentials", "--net"]
        yield ["nsenter", "--target", str(process.pid), *inside]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("reader"))
    made.has("daprd", daprd())
    return made


@contextlib.contextmanager
def served(
    network: list[str], command: str, checkout: Checkout, environment: dict[str, str], log: Path
) -> Iterator[None]:
    """A server of a page, once it is ready; ended, with what it started, as Ctrl-C would."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*network, "bash", "-c", command],
            cwd=checkout.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )

    def said() -> str:
        return log.read_text(errors="replace")

    def ready() -> bool:
        assert process.poll() is None, f"{command}\n{said()[-3000:]}"
        return READY[command.split()[0]] in said()

    try:
        until(ready, f"{command} is ready")
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, f"{command} ended with {code}\n{said()[-3000:]}"


@pytest.mark.parametrize("run", BEHIND, ids=lambda run: run.name)
def test_commands_do_what_the_pages_say(network: list[str], checkout: Checkout, run: Run, tmp_path: Path) -> None:
    checkout.write_manifest(run.manifest)
    # A sidecar's own address, which it would look for on other networks; and sockets that no other test has.
    environment = {
        **checkout.environment(),
        "DAPR_HOST_IP": "127.0.0.1",
        "DAPR_COMPONENTS_SOCKETS_FOLDER": str(tmp_path / "sockets"),
    }
    with contextlib.ExitStack() as stack:
        for number, command in enumerate(run.servers):
            log = tmp_path / f"{number}.log"
            stack.enter_context(served(network, command, checkout, environment, log))
        checkout.does(run, environment, network)

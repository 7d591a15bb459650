"""The demo of actors: starts Dapr's placement and scheduler, `guesthouse serve` and `daprd`, calls actors by the
sidecar's HTTP API as another application would, and prints what they answered.

The actors are those of demo/actors: bank accounts in Rust, thermostats in C that run a model, a ledger in Go.

Run by `make demo-actors`, which finds or builds Dapr's programs.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from demo_dapr import call, free_ports, sidecar, wait
from rich import box
from rich.console import Console
from rich.table import Table

from demo import ROOT, ended, served
from tests.daprd import services

ACTORS = ROOT / "demo" / "actors"
TYPES = {"Account", "Thermostat", "Ledger"}
OFFICIAL_GO = "/usr/local/go/bin/go"  # where Go's own archive is unpacked to, often without being on the PATH
PATIENCE = 120.0  # seconds for what the scheduler does in two or three

_NO_GO = """\
demo-actors: the ledger is a guest in Go, and there is no Go here that can build it: {why}
  install Go 1.24 or newer from https://go.dev/dl, or its package, and run make demo-actors again
  the other two actors need no compiler: their modules are in the repository"""
_TO_TRY = """\
The same by hand, once Dapr's placement and scheduler run, which `dapr init` starts (guesthouse is .venv/bin/guesthouse)
  GOOS=wasip1 GOARCH=wasm go build -C demo/actors/ledger -buildmode=c-shared -o ledger.wasm .
  DAPR_GRPC_PORT=50001 guesthouse serve -m demo/actors/guesthouse.toml
  daprd --app-id house --app-port 50051 --app-protocol grpc --resources-path demo/actors/components \\
      --placement-host-address localhost:50005 --scheduler-host-address localhost:50006
  curl -X POST -d 100 http://localhost:3500/v1.0/actors/Account/ann/method/deposit
One turn without a sidecar
  printf 100 | guesthouse send actor Account/ann deposit --data - -m demo/actors/guesthouse.toml
docs/guests.md says how an actor is written, in each language"""


def ledger(folder: Path) -> Path:
    """The module of the ledger, built in `folder`. Ends the program in words where there is no Go."""
    go = shutil.which("go") or shutil.which(OFFICIAL_GO)
    if go is None:
        sys.exit(_NO_GO.format(why="none is on the PATH"))
    module = folder / "ledger.wasm"
    command = [go, "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o", str(module), "."]
    target = {"GOOS": "wasip1", "GOARCH": "wasm", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOPROXY": "off"}
    done = subprocess.run(
        command, cwd=ACTORS / "ledger", env={**os.environ, **target}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(_NO_GO.format(why=done.stderr.strip()))
    return module


@contextlib.contextmanager
def control_plane(placement: str, scheduler: str, folder: Path) -> Iterator[tuple[str, ...]]:
    """Both services, ready: the flags of a sidecar that uses them."""
    addresses = []
    with contextlib.ExitStack() as running:
        for name, program in (("placement", placement), ("scheduler", scheduler)):
            port, health = free_ports(2)
            command = services.command(program, name, folder, port, health, lambda: free_ports(1)[0])
            log = folder / f"{name}.log"
            with log.open("wb") as out:
                process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "NAMESPACE": "default"})
            running.enter_context(ended(process))
            wait(process, health, log, name)
            addresses.append(f"127.0.0.1:{port}")
        yield services.flags(*addresses)


def hosted(port: int) -> set[str]:
    """The types of actors that the sidecar has been told of."""
    status, _, body = call(port, "GET", "/v1.0/metadata")
    runtime = json.loads(body).get("actorRuntime", {}) if status == 200 else {}
    return {actor["type"] for actor in runtime.get("activeActors", [])}


class Shown:
    """Calls of actors, and the table of what came of them. `well` is whether all went as this demo expects."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._table = Table("actor", "call", "answer", box=box.SIMPLE)
        self.well = True

    def print(self, console: Console) -> None:
        console.print(self._table)

    def answer(self, actor: str, method: str, body: str = "") -> str:
        """What an actor answers; with the status, where that is none of success."""
        status, _, told = call(self._port, "POST", f"/v1.0/actors/{actor}/method/{method}", body.encode())
        text = told.decode(errors="replace")
        return text if status in (200, 204) else f"{status} {text}"

    def row(self, actor: str, method: str, body: str, expected: str) -> str:
        """Calls an actor, and shows it. `expected` is a pattern of the whole answer."""
        answer = self.answer(actor, method, body)
        self.told(actor, f"{method} {body}", answer, bool(re.fullmatch(expected, answer)))
        return answer

    def told(self, actor: str, what: str, answer: str, well: bool) -> None:
        self.well = self.well and well
        self._table.add_row(actor, what, answer if well else f"{answer} (not what was expected)")

    def until(self, actor: str, method: str, expected: str) -> str:
        """Asks an actor again and again, until its answer is what is expected or time is over. Gives the last one."""
        until = time.monotonic() + PATIENCE
        while not re.fullmatch(expected, answer := self.answer(actor, method)) and time.monotonic() < until:
            time.sleep(0.1)
        return answer


def bank(shown: Shown) -> None:
    """An account for each customer."""
    shown.row("Account/ann", "deposit", "1000", "1000")
    shown.row("Account/ann", "transfer", "t1 bob 300", "700")
    shown.row("Account/ann", "transfer", "t1 bob 300", "700")  # the same transfer again moves nothing
    shown.row("Account/bob", "balance", "", "300")
    shown.row("Account/bob", "withdraw", "301", ".*not enough: the balance is 300.*")
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: shown.answer("Account/bob", "deposit", "5"), range(40)))
    balance = shown.answer("Account/bob", "balance")
    shown.told("Account/bob", "deposit 5, 40 times, 20 at once", balance, balance == "500")
    shown.row("Account/bob", "interest", "3", "")
    balance = shown.until("Account/bob", "balance", "515")  # 500, 505, 510, 515
    shown.told("Account/bob", "(a reminder pays interest 3 times)", balance, balance == "515")


def house(shown: Shown) -> None:
    """A thermostat whose reminder runs a model, and a ledger that was told of the heating."""
    seen = shown.until("Thermostat/hall", "look", r'\{"steps":12,.*')
    shown.told("Thermostat/hall", "look (after 12 readings by a reminder)", seen, seen.startswith('{"steps":12,'))
    shown.row(
        "Ledger/heating", "bill", "hall ann", r"ann paid \d+ for \d+ steps of heating in hall; the balance is \d+"
    )
    shown.row("Ledger/heating", "bill", "hall ann", "nothing to pay for hall")


def main() -> int:
    if len(sys.argv) != 4:
        sys.exit("write: PYTHONPATH=. python demo/demo_actors.py DAPRD PLACEMENT SCHEDULER (make demo-actors does it)")
    daprd, placement, scheduler = sys.argv[1:]
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        module = ledger(folder)
        (grpc_port,) = free_ports(1)
        flags = running.enter_context(control_plane(placement, scheduler, folder))
        console.print("Dapr's placement and scheduler are ready")
        environment = {"LEDGER": str(module), "DAPR_GRPC_PORT": str(grpc_port)}
        server = running.enter_context(served(folder / "server.log", ACTORS / "guesthouse.toml", environment))
        console.print(f"guesthouse serve is ready on {server.address} after {server.seconds:.1f} s")
        app_port = server.address.rpartition(":")[2]
        port, seconds = running.enter_context(
            sidecar(
                daprd,
                app_port,
                folder / "daprd.log",
                app_id="house",
                grpc_port=grpc_port,
                resources=("demo/actors/components",),
                flags=flags,
            )
        )
        until = time.monotonic() + PATIENCE
        while not hosted(port) >= TYPES and time.monotonic() < until:
            time.sleep(0.05)
        console.print(
            f"daprd is ready on http://127.0.0.1:{port} after {seconds:.1f} s, and hosts {sorted(hosted(port))}"
        )
        shown = Shown(port)
        shown.row("Thermostat/hall", "start", "205", "")  # it measures while the bank is at work
        bank(shown)
        house(shown)
        shown.print(console)
        server.process.terminate()  # before the sidecar, which waits for the host of its actors
        server.process.wait(30)
        if not shown.well:
            console.print(f"the server's log is:\n{(folder / 'server.log').read_text(errors='replace')}")
    console.print(_TO_TRY)
    return 0 if shown.well else 1


if __name__ == "__main__":
    sys.exit(main())

"""The demo: starts `guesthouse serve`, sends photos to it over gRPC as a sidecar would, and prints the replies.

Run by `make demo`. No sidecar, toolchain or network is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reply, Trigger

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT / "tests" / "data" / "photos"
OUT = ROOT / "out"

_TO_TRY = """\
What to try next
  guesthouse send invoke api/person --data tests/data/photos/astronaut.png     one event, without a server
  guesthouse check                                                             what the manifest loads
  guesthouse serve                                                             behind your own sidecar:
      daprd --app-id vision --app-port 50051 --app-protocol grpc --resources-path components/local
  guests/README.md                                                             write a guest in ten lines
(guesthouse is {guesthouse} here)"""


@dataclass(frozen=True)
class Served:
    """A server that is ready: where it listens, its engine, the seconds that it took to start, and its process."""

    address: str
    engine: str
    seconds: float
    process: subprocess.Popen[bytes]


@contextlib.contextmanager
def served(
    log: Path, manifest: Path = ROOT / "guesthouse.toml", environment: Mapping[str, str] = {}
) -> Iterator[Served]:
    """A server in a process of its own. It is ended with the block, also after an exception."""
    began = time.monotonic()
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "guesthouse", "serve", "--port", "0", "-m", str(manifest)],
            stdout=out,
            stderr=out,
            cwd=ROOT,
            env={**os.environ, "GUESTHOUSE_LOG_FORMAT": "json", **environment},
        )
    with ended(server):
        yield _ready(server, log, began)


def _ready(server: subprocess.Popen[bytes], log: Path, began: float) -> Served:
    while server.poll() is None and time.monotonic() < began + 120:
        text = log.read_text(errors="replace")
        address, engine = (re.search(rf'"{key}": ?"([^"]+)"', text) for key in ("address", "engine"))
        if address and engine:
            return Served(address[1], engine[1], time.monotonic() - began, server)
        time.sleep(0.05)
    sys.exit(f"the server did not start; its log is:\n{log.read_text(errors='replace')}")


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process with the block: with SIGTERM, and after 30 s with SIGKILL."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said(reply: Reply) -> str:
    """A reply in a few words: the first label and its probability, or its size."""
    if reply.body[:4] == b"\x89PNG":
        return f"a grey PNG of {len(reply.body):,} bytes"
    best = json.loads(reply.body)[0]
    return f"{best['label']} ({best['probability']:.1%})"


def show(console: Console, client: Client) -> None:
    coffee = (PHOTOS / "coffee.png").read_bytes()
    rocket = (PHOTOS / "rocket.jpg").read_bytes()
    events = [
        ("coffee.png", Event(Trigger.INVOKE, "api/image", coffee, "image/png", "POST")),
        ("coffee.png", Event(Trigger.BINDING, "camera", coffee)),
        ("rocket.jpg", Event(Trigger.INVOKE, "api/grayscale", rocket, "image/jpeg", "POST")),
    ]
    table = Table("photo", "sent as", "guest's answer", "took", box=box.SIMPLE)
    for photo, event in events:
        began = time.perf_counter()
        reply = client.send(event, timeout=60)
        took = time.perf_counter() - began
        kind = "invocation of" if event.trigger is Trigger.INVOKE else "event of the binding"
        table.add_row(photo, f"{kind} {event.name}", said(reply), f"{took * 1000:.1f} ms")
        if event.name == "api/grayscale":
            OUT.mkdir(exist_ok=True)
            (OUT / "rocket-grey.png").write_bytes(reply.body)
    console.print(table)
    console.print("the grey picture is out/rocket-grey.png")


def main() -> int:
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 100)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with served(log) as server:
            ready = f"guesthouse serve is ready on {server.address} after {server.seconds:.1f} s"
            console.print(f"{ready} (compiled guests are cached)")
            console.print(f"its engine is {server.engine}, under Python {platform.python_version()}")
            try:
                with Client(server.address) as client:
                    show(console, client)
            except Failure as failure:
                console.print(f"failed: {failure}\nthe server's log is:\n{log.read_text(errors='replace')}")
                return 1
    console.print()
    console.print(_TO_TRY.format(guesthouse=Path(sys.executable).with_name("guesthouse").relative_to(ROOT)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

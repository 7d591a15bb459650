"""The processes under test: Guesthouse from a manifest of ours, and the native servers, each on a port of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from guesthouse.dapr.client import Client
from guesthouse.event import Failure

ROOT = Path(__file__).resolve().parents[1]
START = 60.0  # seconds that a server may take to be healthy

APP = '[app]\nname = "bench"\n'
CLASSIFIER = f'[models.classifier]\npath = "{ROOT}/models/efficientnet-lite0.onnx"\n'


def guest(name: str, function: str, *, module: str = "", more: str = "") -> str:
    """A guest's part of a manifest, with a method of its name; `module` where the file is another's."""
    module = module or name
    return (
        f'[guests.{name}]\nmodule = "{ROOT}/guests/{module}/{module}.wasm"\ncalling = "bindgen"\n'
        f'function = "{function}"\n{more}\n[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    address: str
    pid: int


@contextlib.contextmanager
def guesthouse(folder: Path, manifest: str) -> Iterator[Running]:
    """`guesthouse serve` with that manifest; its log goes into `folder`, as its code cache does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "guesthouse.toml"
    path.write_text(APP + manifest)
    command = [sys.executable, "-m", "guesthouse", "--manifest", str(path), "serve"]
    with _serving(folder / "serve.log", lambda port: [*command, "--port", str(port)]) as running:
        yield running


@contextlib.contextmanager
def native(folder: Path, kind: str) -> Iterator[Running]:
    """One of the servers of `bench.native`."""
    with _serving(
        folder / f"{kind}.log", lambda port: [sys.executable, "-m", "bench.native", kind, str(port)]
    ) as running:
        yield running


@contextlib.contextmanager
def _serving(log: Path, command: Callable[[int], list[str]]) -> Iterator[Running]:
    log.parent.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command(port),
            cwd=ROOT,
            env=environment(log.parent / "cache"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    address = f"127.0.0.1:{port}"
    try:
        _wait(address, child)
        yield Running(address, child.pid)
    except Exception:
        print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
        raise
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait(address: str, child: subprocess.Popen[bytes]) -> None:
    """Until the server is healthy. Raises `RuntimeError` when it has ended, or is not in time."""
    end = time.monotonic() + START
    with Client(address) as client:
        while child.poll() is None and time.monotonic() < end:
            with contextlib.suppress(Failure):
                return client.wait_until_healthy(0.5)
    raise RuntimeError(f"a server under test did not start: {child.args}")


def environment(cache: Path) -> dict[str, str]:
    """This process's environment with a code cache of its own, and without what would change a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APP_", "DAPR_", "GUESTHOUSE_"))}
    return {**kept, "GUESTHOUSE_CACHE": str(cache)}


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port

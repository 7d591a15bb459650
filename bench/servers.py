"""The servers that are measured, each in a process with a port of its own: Guesthouse, and the native servers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from guesthouse.cli.load import serving

ROOT = Path(__file__).resolve().parents[1]

APP = '[app]\nname = "bench"\n'
CLASSIFIER = f'[models.classifier]\npath = "{ROOT}/models/efficientnet-lite0.onnx"\n'


def guest(name: str, function: str, *, module: str = "", more: str = "") -> str:
    """A guest's part of a manifest, and a method with its name. `module` is needed where the file has another name."""
    module = module or name
    return (
        f'[guests.{name}]\nmodule = "{ROOT}/guests/{module}/{module}.wasm"\ncalling = "bindgen"\n'
        f'function = "{function}"\n{more}\n[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    address: str
    pid: int


@contextlib.contextmanager
def guesthouse(folder: Path, manifest: str) -> Iterator[Running]:
    """`guesthouse serve` with that manifest. Its log and its code cache are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "guesthouse.toml"
    path.write_text(APP + manifest)
    with _running(folder, "serve", ["guesthouse", "--manifest", str(path), "serve", "--port"]) as running:
        yield running


@contextlib.contextmanager
def native(folder: Path, kind: str) -> Iterator[Running]:
    """One of the servers of `bench.native`."""
    with _running(folder, kind, ["bench.native", kind]) as running:
        yield running


@contextlib.contextmanager
def _running(folder: Path, name: str, arguments: list[str]) -> Iterator[Running]:
    folder.mkdir(parents=True, exist_ok=True)
    with serving(
        lambda port: [sys.executable, "-m", *arguments, str(port)],
        folder / f"{name}.log",
        environment=environment(folder / "cache"),
        folder=ROOT,
    ) as (address, pid):
        yield Running(address, pid)


def environment(cache: Path) -> dict[str, str]:
    """This process's environment with a code cache of its own, and without variables that would change a server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APP_", "DAPR_", "GUESTHOUSE_"))}
    return {**kept, "GUESTHOUSE_CACHE": str(cache)}

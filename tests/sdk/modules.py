"""The modules of the SDKs' examples, by language: those that are committed, or ones that are built here for the tests.

What is built here is kept by the digest of all that it is made of, beside the tests' compiled guests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SDK = ROOT / "guests" / "sdk"
EXAMPLES = ("hello", "photo", "forward", "ten_reads", "outcomes")


def ran(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a tool; the test fails with what it printed where it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def kept(name: str, made_of: Iterable[bytes], build: Callable[[Path], object]) -> Path:
    """A module that `build` writes to the path that it is given, unless it was built before of the same."""
    digest = hashlib.sha256()
    for part in made_of:
        digest.update(hashlib.sha256(part).digest())
    folder = Path(os.environ["GUESTHOUSE_CACHE"]).parent / "guesthouse-tests-sdk"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{digest.hexdigest()[:32]}.wasm"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            build(Path(made) / "made.wasm")
            os.replace(Path(made) / "made.wasm", path)
        others = sorted(folder.glob(f"{name}-*.wasm"), key=lambda other: other.stat().st_mtime, reverse=True)
        for old in others[8:]:
            old.unlink(missing_ok=True)
    return path


def sources(folder: Path, *suffixes: str) -> list[bytes]:
    """Names and contents of the files below a folder, for `kept`."""
    found = (path for path in folder.rglob("*") if path.suffix in suffixes and "node_modules" not in path.parts)
    return [part for path in sorted(found) for part in (str(path.relative_to(folder)).encode(), path.read_bytes())]


def tool(*names: str | Path) -> Path:
    """The first of these programs that is here; the test is skipped where none is."""
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    pytest.skip(f"{names[0]} is not here")


def _committed(language: str, name: str, guests: Path) -> Path:
    rebuilt = guests / f"{language}-{name}" / f"{language}-{name}.wasm"
    return rebuilt if rebuilt.exists() else SDK / language / "examples" / f"{name}.wasm"


_MODULES: Mapping[str, Callable[[str, Path], Path]] = {
    "c": lambda name, guests: _committed("c", name, guests),
}
LANGUAGES = tuple(_MODULES)


def module(language: str, name: str, guests: Path) -> Path:
    """The module of an example. `guests`: the folder of the built guests."""
    return _MODULES[language](name, guests)

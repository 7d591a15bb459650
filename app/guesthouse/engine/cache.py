"""The code cache: artefacts on disk, so that a module is compiled once per machine and not once per start.

An artefact is native code that will be run, so it is only read from a folder that no other user can write to. A file is
written under a temporary name and then renamed; it is never changed afterwards. An artefact that the engine refuses is
compiled again. The compiling itself is in `compiler.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from guesthouse.engine.base import Engine, EngineError, Module
from guesthouse.engine.compiler import compile_module


class CacheError(Exception):
    """The cache folder cannot be trusted. `faults` says why, and what to do."""

    @property
    def faults(self) -> list[str]:
        return [str(self)]


class CodeCache:
    """Artefacts by the sha256 of their module: mapped from the folder, or compiled in a child process first.

    Raises `CacheError` when the folder belongs to someone else or others may write to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self.note = ""  # why the folder could not be used; "" where it could
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self._use_private(f"{self.folder}: {error.strerror}")
            return
        _check(self.folder)
        if not os.access(self.folder, os.W_OK | os.X_OK):
            self._use_private(f"{self.folder} cannot be written")

    def _use_private(self, why: str) -> None:
        self._private = tempfile.TemporaryDirectory(prefix="guesthouse-")
        self.folder = Path(self._private.name)
        self.note = f"compiled code is not kept ({why}): every start compiles anew; set GUESTHOUSE_CACHE to a folder"

    def load(self, engine: Engine, wasm: bytes, memory: int) -> tuple[Module, bool]:
        """The module `wasm` for `engine` and a guest with `memory` bytes, and whether it was compiled just now.

        Raises `compiler.CompileError`, `EngineError`.
        """
        path = self.path(engine, hashlib.sha256(wasm).hexdigest(), memory)
        if path.is_file():
            with contextlib.suppress(EngineError, OSError):
                return mapped(engine, path), False
        with _temporary(self.folder) as source, _temporary(self.folder) as target:
            source.write_bytes(wasm)
            compile_module(engine.steps(memory), source, target)
            os.replace(target, path)
        return mapped(engine, path), True

    def path(self, engine: Engine, sha256: str, memory: int) -> Path:
        """Where the artefact of a module with this digest is, once the module was loaded."""
        return self.folder / f"{sha256}-{engine.name}-{engine.fingerprint(memory)}.cwasm"

    def close(self) -> None:
        """Remove the temporary folder, if one was used."""
        if self._private is not None:
            self._private.cleanup()


def _check(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise CacheError(f"the code cache {folder} belongs to user {found.st_uid}: set GUESTHOUSE_CACHE to your own")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(f"others may write to the code cache {folder}: run chmod go-w on it, or set GUESTHOUSE_CACHE")


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=".new-", dir=folder)
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def mapped(engine: Engine, path: Path) -> Module:
    """Load an artefact: its file is mapped, or read where the file system forbids mapping code (noexec)."""
    try:
        return engine.load(path)
    except EngineError:
        return engine.load(path.read_bytes())

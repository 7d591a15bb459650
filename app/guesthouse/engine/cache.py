"""Ahead-of-time code on disk, so that a module is compiled once per machine and not once per start.

An artefact is native code that will be run: it is only ever read from a folder that nobody else can write. Files are
written beside their final name and renamed, never changed in place; one that the engine refuses is made again. What
compiles is `compiler.py`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from guesthouse.engine.base import EngineError, Step
from guesthouse.engine.compiler import compile_module

M_co = TypeVar("M_co", covariant=True)


class Loader(Protocol[M_co]):
    """What compiles and loads: an engine, say. See `base.Engine`."""

    @property
    def name(self) -> str: ...

    def steps(self, memory: int) -> Sequence[Step]: ...

    def fingerprint(self, memory: int) -> str: ...

    def load(self, artefact: Path | bytes) -> M_co: ...


class CacheError(Exception):
    """The cache folder cannot be trusted; `faults` says what is wrong and what to do."""

    @property
    def faults(self) -> list[str]:
        return [str(self)]


class CodeCache:
    """Modules by their bytes: compiled in a child when unknown, mapped from the folder when known.

    Raises `CacheError` when the folder belongs to someone else or others may write to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self.note = ""  # why the folder could not be used, if so
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

    def load(self, engine: Loader[M_co], wasm: bytes, memory: int) -> tuple[M_co, bool]:
        """The module compiled for `engine` and a guest that may have `memory` bytes, and whether it had to be compiled.

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

    def path(self, engine: Loader[object], sha256: str, memory: int) -> Path:
        """Where the code for a module with this digest is, once it was loaded."""
        return self.folder / f"{sha256}-{engine.name}-{engine.fingerprint(memory)}.cwasm"

    def close(self) -> None:
        """Remove the private folder, if one was made."""
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


def mapped(engine: Loader[M_co], path: Path) -> M_co:
    """The module of an artefact: its file mapped, or read where the file system forbids mapping code (noexec)."""
    try:
        return engine.load(path)
    except EngineError:
        return engine.load(path.read_bytes())

"""The code cache: artefacts on disk, so that a module is compiled once per machine and not once per start.

An artefact is native code that will be run, so it is only read from a folder that no other user can write to. A file is
written under a temporary name and then renamed; it is never changed afterwards. An artefact that the engine refuses is
compiled again. The compiling itself is in `compiler.py`.

The folder has a bound. Beyond it those artefacts are removed that were not used for longest, but none that a process
uses. Code that is mapped already would stay as it is without its file; but files are opened by their names later too:
the pixel kernel's by a worker that becomes a guest's, a module's by a reload. A process that uses an artefact holds a
shared lock on its file, which the operating system takes back however the process ends. To remove an artefact, a
process must get the lock for itself alone. Where a file system has no locks, nothing is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from guesthouse.engine.base import CompileStep, EngineError
from guesthouse.engine.compiler import compile_module
from guesthouse.faults import Faults

SIZE = 2 << 30  # bytes that are kept, unless the caller says otherwise
_SUFFIX, _NEW = ".cwasm", ".new-"
_LEFT = 3600.0  # seconds; a new file that is older was left behind by a process that has ended

M_co = TypeVar("M_co", covariant=True)


class Loader(Protocol[M_co]):
    """What compiles modules and loads artefacts: an engine, or the pixel kernel's loader. See `base.Engine`."""

    @property
    def name(self) -> str: ...

    def steps(self, memory: int) -> Sequence[CompileStep]: ...

    def fingerprint(self, memory: int) -> str: ...

    def load(self, artefact: Path | bytes) -> M_co: ...


class CacheError(Faults):
    """The cache folder cannot be trusted. `faults` says why, and what to do."""


class CodeCache:
    """Artefacts by the sha256 of their module: mapped from the folder, or compiled in a child process first.

    `size` is how many bytes are kept in the folder. Raises `CacheError` when the folder belongs to someone else, or
    others may write to it.
    """

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        self.folder = folder.absolute()
        self._size = size
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

    def load(
        self,
        engine: Loader[M_co],
        wasm: bytes | Callable[[], bytes],
        memory: int,
        key: str = "",
        steps: Sequence[CompileStep] = (),
    ) -> tuple[M_co, bool]:
        """The module `wasm` for `engine` and a guest with `memory` bytes, and whether it was compiled just now.

        `key` stands for the module's digest where it was taken out of something larger, whose digest it has. Then
        `wasm` may be what takes it out, which is called only where it must be compiled. `steps` come before those of
        the engine, and make the module out of `wasm`.
        Raises `compiler.CompileError`, `EngineError`.
        """
        if not key:
            assert isinstance(wasm, bytes)
            key = hashlib.sha256(wasm).hexdigest()
        path = self.path(engine, key, memory)
        with contextlib.suppress(EngineError, OSError):
            return _used(engine, path), False
        with _temporary(self.folder) as source, _temporary(self.folder) as target:
            source.write_bytes(wasm if isinstance(wasm, bytes) else wasm())
            compile_module((*steps, *engine.steps(memory)), source, target)
            with _opened(self.folder) as folder:
                with contextlib.suppress(OSError):
                    fcntl.flock(folder, fcntl.LOCK_EX)  # of two that add the same at once, one waits
                try:
                    module = _used(engine, path)  # another process was quicker, and its file is in use
                except (EngineError, OSError):
                    os.replace(target, path)
                    module = _used(engine, path)
                self._shrink()
        return module, True

    def _shrink(self) -> None:
        """Remove what was not used for longest, until the rest is within the bound or in use."""
        files = {}
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # gone meanwhile
                found = path.stat()
                left_behind = path.name.startswith(_NEW) and time.time() - found.st_mtime > _LEFT
                if path.suffix == _SUFFIX or left_behind:
                    files[path] = found
        kept = sum(found.st_size for found in files.values())
        for path, found in sorted(files.items(), key=lambda item: item[1].st_mtime_ns):
            if kept <= self._size:
                break
            if _removed(path):
                kept -= found.st_size

    def path(self, engine: Loader[object], key: str, memory: int) -> Path:
        """Where the artefact of a module with this digest, or key, is, once the module was loaded."""
        return self.folder / f"{key}-{engine.name}-{engine.fingerprint(memory)}{_SUFFIX}"

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
    handle, name = tempfile.mkstemp(prefix=_NEW, dir=folder)
    os.close(handle)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file or a folder, to be locked; closed at the end, and with it unlocked."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _used(engine: Loader[M_co], path: Path) -> M_co:
    """The module of an artefact, which is in use for as long as the module is there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        if not os.fstat(handle).st_nlink:
            raise FileNotFoundError(path)  # removed between the two
        with contextlib.suppress(OSError):
            os.utime(handle)  # used last now
        module = mapped(engine, path)
    except BaseException:
        os.close(handle)
        raise
    weakref.finalize(module, os.close, handle)
    return module


def _removed(path: Path) -> bool:
    """Remove a file unless a process uses it."""
    with contextlib.suppress(OSError), _opened(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    return False


def mapped(engine: Loader[M_co], path: Path) -> M_co:
    """Load an artefact: its file is mapped, or read where the file system forbids mapping code (noexec)."""
    try:
        return engine.load(path)
    except EngineError:
        return engine.load(path.read_bytes())

"""Whether files have changed: by their state (size, times, inode), or by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

Stamp = tuple[int, ...]
"""The state of a file: device, inode, size, times of change. Empty where there is no file."""


def stamp(path: Path) -> Stamp:
    """The state of the file at `path`. Links are followed: a link to another file is a changed state."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def stamps(paths: Iterable[Path]) -> Mapping[Path, Stamp]:
    """The states of several files."""
    return {path: stamp(path) for path in paths}


def digest_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal; read in pieces. Raises `OSError`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()

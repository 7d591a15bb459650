"""Whether files have changed, without reading them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

Stamp = tuple[int, ...]
"""What tells one state of a file from another: device, inode, size, times of change. Empty where there is no file."""


def stamp(path: Path) -> Stamp:
    """The state of the file at `path`. Links are followed: one that leads elsewhere now is a change."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def stamps(paths: Iterable[Path]) -> Mapping[Path, Stamp]:
    """The states of several files."""
    return {path: stamp(path) for path in paths}

"""Which pages of this process's memory still hold what was mapped there from a file, as Linux tells it.

The format of /proc/self/pagemap is in Documentation/admin-guide/mm/pagemap.rst of Linux. It has 64 bits for each page:
bit 63 says that the page is present, bit 62 that it is swapped out, and bit 61 that it is a page of a file. A page of a
private mapping that was written to is no page of the file any more.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PAGE = mmap.PAGESIZE
_PRESENT, _SWAPPED, _OF_FILE = np.uint64(1 << 63), np.uint64(1 << 62), np.uint64(1 << 61)


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages that a range of memory lies in. `before` is how many bytes of the first one are not in the range.

    `of_file` are those that are present and were not written to since they were mapped from a file. `unwritten` are
    these, and those that are not present: where the whole range is one private mapping of a file, they hold what is in
    the file.
    """

    before: int
    of_file: NDArray[np.bool_]
    unwritten: NDArray[np.bool_]


class _Map:
    """This process's page map, opened when it is first needed; a process after a fork needs its own."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._tried = False

    def read(self, first: int, count: int) -> bytes:
        """The entries of `count` pages; fewer, or none, where they cannot be read."""
        if not self._tried:
            self._tried = True
            with contextlib.suppress(OSError):  # not Linux, or a worker that may open nothing
                self._file = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        if self._file is None:
            return b""
        try:
            return os.pread(self._file, 8 * count, 8 * first)
        except OSError:
            return b""

    def forget(self) -> None:
        """The file is another process's."""
        self._file, self._tried = None, False


_MAP = _Map()
os.register_at_fork(after_in_child=_MAP.forget)


def pages_of(address: int, length: int) -> Pages | None:
    """The pages of a range of at least one byte; None where the system does not tell."""
    first = address // PAGE
    count = (address + length - 1) // PAGE + 1 - first
    entries = np.frombuffer(_MAP.read(first, count), np.uint64)
    if len(entries) != count:
        return None
    present = (entries & _PRESENT) != 0
    of_file = present & ((entries & _OF_FILE) != 0)
    unwritten = of_file | (~present & ((entries & _SWAPPED) == 0))
    return Pages(address % PAGE, of_file, unwritten)

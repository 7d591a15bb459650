"""A guest's granted files on their way to its worker processes, in memory that nobody can change.

The memory is a memfd, sealed against writing, growing and shrinking. The server fills it once. Each worker gets a
descriptor that can only be read, and maps it: all workers share the pages, which count for no worker's limit of memory.
The contents follow one another, equal ones once. Behind them is an index in JSON: path, position and size of each file.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import weakref
from collections.abc import Mapping

from guesthouse_abi.files import Files

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Sealed:
    """Files in sealed memory, in the server. `index` is the position of their index, and its size.

    The memory is freed with this object.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        """Raises `OSError` where the system gives no memory or descriptor."""
        filled = os.memfd_create("guesthouse-files", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            positions: dict[int, int] = {}  # of each content, by the identity of its object
            end, index = 0, []
            for path, content in contents.items():
                if id(content) not in positions:
                    positions[id(content)] = end
                    end += _write(filled, content)
                index.append((path, positions[id(content)], len(content)))
            self.index = (end, _write(filled, json.dumps(index).encode()))
            fcntl.fcntl(filled, fcntl.F_ADD_SEALS, _SEALS)
            # Opened again for reading: not every kernel maps a sealed memfd whose descriptor can be written to.
            self.fd = os.open(f"/proc/self/fd/{filled}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(filled)
        weakref.finalize(self, os.close, self.fd)


def _write(fd: int, data: bytes) -> int:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    return len(data)


def opened(fd: int, index: tuple[int, int]) -> Files:
    """In a worker: the files in the memory behind a descriptor. The descriptor may be closed then."""
    memory = memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))
    begin, size = index
    entries = json.loads(bytes(memory[begin : begin + size]))
    return Files({path: memory[at : at + length] for path, at, length in entries})

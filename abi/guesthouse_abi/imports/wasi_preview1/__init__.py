"""WASI preview 1 (`wasi_snapshot_preview1`): all 46 functions. Each is described in docs/abi.md, "WASI preview 1".

A guest has its arguments, its environment, clocks, random bytes, three standard streams, and the files that it is
granted. A guest that is granted no files has no directory, and no guest has a socket: the functions for these link all
the same, and answer that the descriptor is none of that kind. The functions live in the modules beside this one. What a
guest's exit code means is decided by the calling convention.

Signatures, numbers and layouts are those of `legacy/preview1/witx` in the repository WebAssembly/WASI.
"""

from __future__ import annotations

from guesthouse_abi.imports.wasi_preview1 import clocks, descriptors, files, paths, process, sockets
from guesthouse_abi.imports.wasi_preview1.descriptors import give_body, read_reply
from guesthouse_abi.imports.wasi_preview1.streams import flush, last_words, log_text
from guesthouse_abi.imports.wasi_preview1.wire import MODULE

__all__ = [
    "MODULE",
    "clocks",
    "descriptors",
    "files",
    "flush",
    "give_body",
    "last_words",
    "log_text",
    "paths",
    "process",
    "read_reply",
    "sockets",
]

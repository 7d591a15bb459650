"""WASI preview 1 (`wasi_snapshot_preview1`): all 46 functions, with nothing behind them but the event itself.

A guest has its arguments, its environment, clocks, random bytes and three standard streams. There is no directory and
no socket: those functions link and answer as they do for a descriptor that does not exist. The functions live in the
modules beside this one; what a guest's exit code means is the calling convention's business.

Signatures, numbers and layouts are those of `legacy/preview1/witx` in the repository WebAssembly/WASI.
"""

from __future__ import annotations

from guesthouse_abi.imports.wasi_preview1 import absent, clocks, process, streams
from guesthouse_abi.imports.wasi_preview1.streams import flush, last_words, log_text
from guesthouse_abi.imports.wasi_preview1.wire import MODULE

__all__ = ["MODULE", "absent", "clocks", "flush", "last_words", "log_text", "process", "streams"]

"""The import module `env`, as far as guests of known toolchains use it.

wasmedge-bindgen's first tags (0.1.3 to 0.1.10) hand results over here, raw; AssemblyScript imports `abort`.
"""

from __future__ import annotations

import codecs

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Trap
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.imports.bindgen_results import return_error, return_raw

MODULE = HostModule("env")

# Python loads a codec from a file when it is first asked for, which a process that may open no files then cannot.
_decode = codecs.getdecoder("utf-16-le")

MODULE.function("return_result")(return_raw)
MODULE.function("return_error")(return_error)


@MODULE.function()
def abort(context: Context, message: U32, file: U32, line: U32, column: U32) -> None:
    """AssemblyScript's `abort`: ends the guest. The texts are UTF-16 strings of its runtime, with the length before."""
    text = _string(context, message) or "no message"
    raise Trap("abort", f"abort: {text} ({_string(context, file) or 'unknown file'}:{line}:{column})")


def _string(context: Context, pointer: int) -> str:
    if pointer < 4:
        return ""
    length = min(context.memory.u32(pointer - 4), 2048) & ~1
    return _decode(context.memory.read(pointer, length), "replace")[0]

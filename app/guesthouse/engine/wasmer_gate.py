"""The first step of compiling for wasmer, whose compiler is of 2022: what it cannot compile safely is refused here.

- The module must be valid, and use only Wasm proposals that wasmer 1.1.0 has. wasmtime's validator decides, for
  wasmer's own is older and says less.
- Its memories and tables get a maximum in the module itself, for wasmer cannot bound them.
- Its start section becomes an export. wasmer would run the start function before the host can get at the memory, so a
  host function that it calls could read nothing.
"""

from __future__ import annotations

import wasmtime

from guesthouse.engine.base import PAGE, TABLE_ELEMENTS, Refused
from guesthouse.engine.wasm_sections import START, bounded, export_names, start_exported

#: The proposals that wasmer 1.1.0 does not have, by the settings of wasmtime that turn them off.
LACKS = (
    "wasm_custom_page_sizes",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "wasm_memory64",
    "wasm_multi_memory",
    "wasm_relaxed_simd",
    "wasm_tail_call",
    "wasm_threads",
    "wasm_wide_arithmetic",
)


def translate(wasm: bytes, memory: str) -> bytes:
    """The module with its memory bounded to `memory` bytes, its tables bounded, and without a start section.

    Raises `Refused`. Runs in a child process (`compiler.py`).
    """
    everything, config = wasmtime.Config(), wasmtime.Config()
    for setting in LACKS:
        setattr(config, setting, False)
    try:
        wasmtime.Module.validate(wasmtime.Engine(config), wasm)
    except wasmtime.WasmtimeError as error:
        everything.wasm_threads = True
        try:
            wasmtime.Module.validate(wasmtime.Engine(everything), wasm)
        except wasmtime.WasmtimeError:
            raise Refused(str(error)) from None
        raise Refused(
            f"it uses what wasmer 1.1.0 does not have: {error}; build it without, or serve it by wasmtime"
        ) from None
    if START in export_names(wasm):
        raise Refused(f"it has an export named {START!r}, a name that the host keeps for itself: call it otherwise")
    return start_exported(bounded(wasm, int(memory) // PAGE, TABLE_ELEMENTS))

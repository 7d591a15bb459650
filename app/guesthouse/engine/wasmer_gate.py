"""Modules made fit for wasmer, before its compiler of 2022 sees them: only valid ones, of the proposals that it knows,
bounded in themselves where it cannot bound, and with their start section as an export: it would run before the memory
is to be had, and a host function that it calls could read nothing.

wasmtime's validator decides, for wasmer's own is older and says less; what it lets through, wasmer compiles.
"""

from __future__ import annotations

import wasmtime

from guesthouse.engine.base import PAGE, TABLE_ELEMENTS, Refused
from guesthouse.engine.declared import START, bounded, export_names, start_exported

#: The proposals that wasmer 1.1.0 lacks, by the settings of wasmtime that turn them off.
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
    """The module with its memory bounded to so many bytes, its tables too, and without a start section. Raises
    `Refused`. Run in a child (`compiler.py`)."""
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

"""Initialises an instance and makes a snapshot of it (`snapshot.py`). This runs a guest's code, so it runs in a child
process (`compiler.py`), whatever engine will run the snapshot.

It is always wasmtime that runs it: it is always installed, and it can bound and interrupt a guest. What an
initialisation may call is decided by the caller, through the host functions that it links.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence

import wasmtime

from guesthouse.engine import capi
from guesthouse.engine.base import EngineConfig, Module, Refused
from guesthouse.engine.snapshot import MOST_MEMORY, NotFrozen, Observed, State, frozen, observed
from guesthouse.engine.wasm_sections import START
from guesthouse.engine.wasmtime import WasmtimeEngine, WasmtimeInstance, WasmtimeLinked, configure
from guesthouse_abi.calling import start_up
from guesthouse_abi.context import Context
from guesthouse_abi.host import HostFunction

_VALUE, _PAYLOAD = 32, 8  # bytes of a wasmtime_val_t, and where its value begins; also of a wasmtime_extern_t's


def initialised(
    wasm: bytes,
    resolve: Callable[[Module], Sequence[HostFunction]],
    context: Context,
    calls: Sequence[str],
    *,
    before: Callable[[], None] = lambda: None,
    finish: Callable[[], None] = lambda: None,
    without: Collection[str] = frozenset(),
    functions: Mapping[str, int] | None = None,
) -> bytes:
    """The snapshot of an instance after `calls`, each of them an export `()->()`.

    A call that ends by the exit code 0 goes on with the next one; the state is then what it was at the exit. `resolve`
    gives the host functions for the imports; it may still add to `calls`. `before` is called when all is compiled and
    none of the guest's code has run. `finish` is called while the instance is there, to look at what the host
    holds for it. `without` and `functions` are those of `snapshot.frozen`.

    Raises `Refused` for a module that is not valid, `NotFrozen`, `CallError`.
    """
    config = wasmtime.Config()
    configure(config)
    config.cranelift_opt_level = "none"  # this code runs once
    compiler = wasmtime.Engine(config)
    try:
        wasmtime.Module.validate(compiler, wasm)
        watched = observed(wasm)
        code = wasmtime.Module(compiler, watched.wasm).serialize()
    except wasmtime.WasmtimeError as error:
        raise Refused(str(error)) from None
    engine = WasmtimeEngine(EngineConfig(1, context.limits.memory, pooling=False))
    try:
        module = engine.load(bytes(code))
        if any(one.type.kind != "func" for one in module.imports):
            raise NotFrozen("it imports something that is no function")
        linked = module.link(resolve(module))
        before()
        return frozen(wasm, _state(watched, linked, context, calls, finish), without, functions)
    finally:
        engine.close()


def _state(
    watched: Observed,
    linked: WasmtimeLinked,
    context: Context,
    calls: Sequence[str],
    finish: Callable[[], None],
) -> State:
    """What an instance has after its initialisation. Raises `NotFrozen`, `CallError`."""
    instance = linked.instantiate(context)
    try:
        before = [_elements(instance, name) for name in watched.tables]
        for call in (START,) * watched.starts:
            instance.call(call)
        for call in calls:
            start_up(instance, call)
        finish()
        if before != [_elements(instance, name) for name in watched.tables]:
            raise NotFrozen("its initialisation changes a table of functions, and only memory and numbers are frozen")
        memory = b""
        if watched.memory and instance.memory is not None:
            if instance.memory.size > MOST_MEMORY:
                raise NotFrozen(
                    f"its memory has {instance.memory.size >> 20} MiB after its initialisation; at most "
                    f"{MOST_MEMORY >> 20} MiB can be frozen"
                )
            memory = instance.memory.read(0, instance.memory.size)
        return State(memory, [_number(instance, name) for name in watched.globals])
    finally:
        instance.close()


def _elements(instance: WasmtimeInstance, table: str) -> list[bytes]:
    """What identifies each element of a table of functions within its instance; nothing for an empty element."""
    context, found = instance.look_at(table)
    at = ctypes.addressof(found) + _PAYLOAD
    value = ctypes.create_string_buffer(_VALUE)  # of a function: the number of its store, and its address
    elements = []
    for index in range(capi.table_size(context, at)):
        capi.table_get(context, at, index, ctypes.addressof(value))
        store, function = value.raw[_PAYLOAD : _PAYLOAD + 8], value.raw[_PAYLOAD + 8 : _PAYLOAD + 16]
        elements.append(function if any(store) else b"")
    return elements


def _number(instance: WasmtimeInstance, name: str) -> bytes:
    """The bytes of a global's value, little-endian; what is after them has no meaning."""
    context, found = instance.look_at(name)
    value = ctypes.create_string_buffer(_VALUE)
    capi.global_get(context, ctypes.addressof(found) + _PAYLOAD, ctypes.addressof(value))
    return value.raw[_PAYLOAD : _PAYLOAD + 16]

"""Initialises an instance and reads its state, for a snapshot (`snapshot.py`).

This runs a guest's code, so it happens in a child process (`compiler.py`), whatever engine will run the snapshot.

It is always wasmtime that runs it: it is always installed, and it can bound and interrupt a guest. What an
initialisation may call is decided by the caller, through the host functions that it links.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import wasmtime

from guesthouse.engine import capi
from guesthouse.engine.base import EngineConfig, Module, Refused
from guesthouse.engine.snapshot import MOST_MEMORY, NotFrozen, Observed, State, observed
from guesthouse.engine.wasm_sections import START
from guesthouse.engine.wasmtime import STACK, WasmtimeEngine, WasmtimeInstance, WasmtimeLinked, configure
from guesthouse_abi.calling import start_up
from guesthouse_abi.context import Context
from guesthouse_abi.host import HostFunction

_STACK = 4 * STACK  # bytes: what is compiled quickly needs more of it than what will be run
_VALUE, _PAYLOAD = 32, 8  # bytes of a wasmtime_val_t, and where its value begins; also of a wasmtime_extern_t's


def compiled(wasm: bytes) -> tuple[Observed, bytes]:
    """The module with exports for all of its state, and its code. Raises `Refused` for an invalid one, `NotFrozen`."""
    config = wasmtime.Config()
    configure(config)
    config.cranelift_opt_level = "none"  # this code runs once
    capi.compile_quickly(capi.address(config.ptr()))
    engine = wasmtime.Engine(config)
    try:
        wasmtime.Module.validate(engine, wasm)
        watched = observed(wasm)
        return watched, bytes(wasmtime.Module(engine, watched.wasm).serialize())
    except wasmtime.WasmtimeError as error:
        raise Refused(str(error)) from None


def state_after(
    watched: Observed,
    code: bytes,
    resolve: Callable[[Module], Sequence[HostFunction]],
    context: Context,
    calls: Sequence[str],
    *,
    before: Callable[[], None] = lambda: None,
    finish: Callable[[], None] = lambda: None,
) -> State:
    """The state of an instance after `calls`, each of them an export `()->()`; `watched` and `code` are of `compiled`.

    A call that ends by the exit code 0 goes on with the next one; the state is then what it was at the exit. `resolve`
    gives the host functions for the imports; it may still add to `calls`. `before` is called when all is linked and
    none of the guest's code has run, `finish` while the instance is there, to look at what the host holds for it.

    Raises `NotFrozen`, `EngineError`, `CallError`.
    """
    engine = WasmtimeEngine(EngineConfig(1, context.limits.memory, pooling=False), _STACK)
    try:
        module = engine.load(code)
        if any(one.type.kind != "func" for one in module.imports):
            raise NotFrozen("it imports something that is no function")
        linked = module.link(resolve(module))
        before()
        return _state(watched, linked, context, calls, finish)
    finally:
        engine.close()


def _state(
    watched: Observed,
    linked: WasmtimeLinked,
    context: Context,
    calls: Sequence[str],
    finish: Callable[[], None],
) -> State:
    instance = linked.instantiate(context)
    try:
        before = [_elements(instance, name) for name in watched.tables]
        if watched.starts:
            instance.call(START)
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

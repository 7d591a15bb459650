"""A fresh sandbox with as few calls of wasmtime's C interface as possible: Guesthouse's sandbox is compared with it.

One cycle: new store, memory limit, epoch deadline, instance of a linked module, its exports by name, `_initialize`, two
`allocate`, the body written, `echo` called, record, triple and bytes read, store deleted. By the Python package's own
bindings, without grants, deadlines, host functions or a word about what failed: a host could do no less.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

import wasmtime
from wasmtime import _bindings as c

_PAIR = struct.Struct("<II")
_RECORD = struct.Struct("<BII")
_TRIPLE = struct.Struct("<III")
_NO_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
_MEMORY = 128 << 20
_EXPORTS = ("_initialize", "allocate", "echo", "memory")


def cycle(engine: wasmtime.Engine, artefact: bytes, body: bytes) -> Callable[[], bytes]:
    """A function that answers `body` by the guest `echo`, in a fresh instance at each call."""
    module = wasmtime.Module.deserialize(engine, artefact)
    linked = wasmtime.Linker(engine).instantiate_pre(module)
    pre, handle = linked.ptr(), engine.ptr()
    raw = (c.wasmtime_val_raw_t * 4)()
    names = {name: (ctypes.create_string_buffer(name.encode()), len(name)) for name in _EXPORTS}

    def run() -> bytes:
        store = c._wasmtime_store_new(handle, None, _NO_FINALIZER)
        context = c._wasmtime_store_context(store)
        c._wasmtime_store_limiter(store, _MEMORY, -1, 1, -1, -1)
        c._wasmtime_context_set_epoch_deadline(context, 500)
        instance, trap = c.wasmtime_instance_t(), ctypes.POINTER(c.wasm_trap_t)()
        instance_at, trap_at = ctypes.byref(instance), ctypes.byref(trap)
        if c._wasmtime_instance_pre_instantiate(pre, context, instance_at, trap_at) or trap:
            raise RuntimeError("instantiate")
        found = {}
        for name, (text, length) in names.items():
            item = found[name] = c.wasmtime_extern_t()
            c._wasmtime_instance_export_get(context, instance_at, text, length, ctypes.byref(item))
        memory = ctypes.byref(found["memory"].of.memory)

        def call(name: str, *arguments: int) -> int:
            for index, value in enumerate(arguments):
                raw[index].i32 = value
            function = ctypes.byref(found[name].of.func)
            if c._wasmtime_func_call_unchecked(context, function, raw, 2, trap_at) or trap:
                raise RuntimeError(name)
            return int(raw[0].i32)

        def locate(pointer: int, length: int) -> int:
            if pointer + length > c._wasmtime_memory_data_size(context, memory):
                raise RuntimeError("out of bounds")
            base = ctypes.cast(c._wasmtime_memory_data(context, memory), ctypes.c_void_p).value
            assert base is not None
            return base + pointer

        call("_initialize")
        table, parameter = call("allocate", 8), call("allocate", len(body))
        ctypes.memmove(locate(parameter, len(body)), body, len(body))
        ctypes.memmove(locate(table, 8), _PAIR.pack(parameter, len(body)), 8)
        record = call("echo", table, 1)
        _flag, triple, _count = _RECORD.unpack(ctypes.string_at(locate(record, 9), 9))
        pointer, _tag, length = _TRIPLE.unpack(ctypes.string_at(locate(triple, 12), 12))
        reply = ctypes.string_at(locate(pointer, length), length)
        c._wasmtime_store_delete(store)
        return reply

    run.keep = (module, linked)  # type: ignore[attr-defined]
    return run


def public(engine: wasmtime.Engine, artefact: bytes, body: bytes) -> Callable[[], bytes]:
    """The same by the Python package's public methods, as most programs would call them."""
    module = wasmtime.Module.deserialize(engine, artefact)
    linked = wasmtime.Linker(engine).instantiate_pre(module)

    def run() -> bytes:
        with wasmtime.Store(engine) as store:
            store.set_limits(memory_size=_MEMORY, instances=1)
            store.set_epoch_deadline(500)
            exports: Any = linked.instantiate(store).exports(store)  # a function, a memory: the names say which
            memory, allocate = exports["memory"], exports["allocate"]
            exports["_initialize"](store)
            table, parameter = allocate(store, 8), allocate(store, len(body))
            memory.write(store, body, parameter)
            memory.write(store, _PAIR.pack(parameter, len(body)), table)
            record = exports["echo"](store, table, 1)
            _flag, triple, _count = _RECORD.unpack(memory.read(store, record, record + 9))
            pointer, _tag, length = _TRIPLE.unpack(memory.read(store, triple, triple + 12))
            return bytes(memory.read(store, pointer, pointer + length))

    return run

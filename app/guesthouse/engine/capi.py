"""The functions of wasmtime's C interface that run for each event, with prototypes of our own.

The public methods of the Python package `wasmtime` cost three to six times as much as the C calls that they make: they
build wrapper objects, look types up at each call, and keep the exception of a host function in one global. So
`wasmtime.py` calls the C functions. These are wasmtime's documented C API; only the handle of the loaded library is
taken from a private name of the package. So the package is pinned to one version, which is checked at import.

Functions that never run guest code and never block are called with the GIL kept (`_gil_kept`): releasing it would cost
more than the call. All others release it (`_gil_released`). Each prototype names the parameters for the reader alone:
ctypes could take them by name, and each call would then cost more.
"""

from __future__ import annotations

import ctypes
from ctypes import c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint64, c_void_p
from importlib.metadata import version
from typing import Any

from wasmtime import _ffi

VERSION = "50.0.1"
if version("wasmtime") != VERSION:
    raise ImportError(f"guesthouse needs wasmtime=={VERSION} exactly, found {version('wasmtime')}")

_library = _ffi.dll
_library_gil_kept = ctypes.PyDLL(_library._name)  # the same library; calls through this handle keep the GIL


def _gil_released(symbol: str, result: Any, /, **parameters: Any) -> Any:
    prototype = ctypes.CFUNCTYPE(result, *parameters.values())
    return prototype((symbol, _library))


def _gil_kept(symbol: str, result: Any, /, **parameters: Any) -> Any:
    prototype = ctypes.PYFUNCTYPE(result, *parameters.values())
    return prototype((symbol, _library_gil_kept))


class ByteVec(ctypes.Structure):
    """`wasm_byte_vec_t`."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))


#: `wasmtime_func_unchecked_callback_t`: (env, caller, args_and_results, count) -> trap. Each value of
#: `args_and_results` has 16 bytes; those of an i32 behind the first four mean nothing. As an address it costs least.
HostCallback = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_size_t, c_size_t)
#: `wasmtime_store_epoch_deadline_callback`'s function: (context, data, *delta, *kind) -> error.
EpochCallback = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, ctypes.POINTER(c_uint64), ctypes.POINTER(c_uint8))
NO_FINALIZER = ctypes.CFUNCTYPE(None, c_void_p)()
_Finalizer = type(NO_FINALIZER)

store_new = _gil_kept("wasmtime_store_new", c_void_p, engine=c_void_p, data=c_void_p, finalizer=_Finalizer)
store_context = _gil_kept("wasmtime_store_context", c_void_p, store=c_void_p)
store_limiter = _gil_kept(
    "wasmtime_store_limiter",
    None,
    store=c_void_p,
    memory_bytes=c_int64,
    table_elements=c_int64,
    instances=c_int64,
    tables=c_int64,
    memories=c_int64,
)
store_epoch_callback = _gil_kept(
    "wasmtime_store_epoch_deadline_callback",
    None,
    store=c_void_p,
    callback=EpochCallback,
    data=c_void_p,
    finalizer=_Finalizer,
)
set_epoch_deadline = _gil_kept(
    "wasmtime_context_set_epoch_deadline", None, context=c_void_p, ticks_beyond_current=c_uint64
)
increment_epoch = _gil_kept("wasmtime_engine_increment_epoch", None, engine=c_void_p)
export_get = _gil_kept(
    "wasmtime_instance_export_get",
    c_bool,
    context=c_void_p,
    instance=c_void_p,
    name=c_char_p,
    name_length=c_size_t,
    item=c_void_p,
)
caller_export_get = _gil_kept(
    "wasmtime_caller_export_get", c_bool, caller=c_void_p, name=c_char_p, name_length=c_size_t, item=c_void_p
)
has_exception = _gil_kept("wasmtime_context_has_exception", c_bool, context=c_void_p)
memory_data = _gil_kept("wasmtime_memory_data", c_void_p, context=c_void_p, memory=c_void_p)
memory_data_size = _gil_kept("wasmtime_memory_data_size", c_size_t, context=c_void_p, memory=c_void_p)
global_get = _gil_kept("wasmtime_global_get", None, context=c_void_p, variable=c_void_p, value=c_void_p)
table_size = _gil_kept("wasmtime_table_size", c_uint64, context=c_void_p, table=c_void_p)
table_get = _gil_kept("wasmtime_table_get", c_bool, context=c_void_p, table=c_void_p, index=c_uint64, value=c_void_p)

store_delete = _gil_released("wasmtime_store_delete", None, store=c_void_p)  # unmaps memory
pre_instantiate = _gil_released(
    "wasmtime_instance_pre_instantiate",
    c_void_p,
    instance_pre=c_void_p,
    context=c_void_p,
    instance=c_void_p,
    trap=c_void_p,
)
pre_delete = _gil_released("wasmtime_instance_pre_delete", None, instance_pre=c_void_p)
call_unchecked = _gil_released(
    "wasmtime_func_call_unchecked",
    c_void_p,
    context=c_void_p,
    function=c_void_p,
    args_and_results=c_void_p,
    count=c_size_t,
    trap=c_void_p,
)
linker_define = _gil_released(
    "wasmtime_linker_define_func_unchecked",
    c_void_p,
    linker=c_void_p,
    module=c_char_p,
    module_length=c_size_t,
    name=c_char_p,
    name_length=c_size_t,
    type=c_void_p,
    callback=HostCallback,
    data=c_void_p,
    finalizer=_Finalizer,
)
linker_pre = _gil_released(
    "wasmtime_linker_instantiate_pre", c_void_p, linker=c_void_p, module=c_void_p, instance_pre=c_void_p
)

_trap_new = _gil_kept("wasmtime_trap_new", c_void_p, text=c_char_p, length=c_size_t)
_trap_code = _gil_kept("wasmtime_trap_code", c_bool, trap=c_void_p, code=c_void_p)
_trap_message = _gil_kept("wasm_trap_message", None, trap=c_void_p, message=c_void_p)
_trap_delete = _gil_kept("wasm_trap_delete", None, trap=c_void_p)
_error_new = _gil_kept("wasmtime_error_new", c_void_p, text=c_char_p)
_error_message = _gil_kept("wasmtime_error_message", None, error=c_void_p, message=c_void_p)
_error_delete = _gil_kept("wasmtime_error_delete", None, error=c_void_p)
_vec_delete = _gil_kept("wasm_byte_vec_delete", None, vec=c_void_p)

_pool_new = _gil_kept("wasmtime_pooling_allocation_config_new", c_void_p)
_pool_delete = _gil_kept("wasmtime_pooling_allocation_config_delete", None, pool=c_void_p)
_pool_apply = _gil_kept("wasmtime_pooling_allocation_strategy_set", None, config=c_void_p, pool=c_void_p)


_quick_registers = _gil_kept(
    "wasmtime_config_cranelift_regalloc_algorithm_set", None, config=c_void_p, algorithm=c_uint8
)


def compile_quickly(config: int) -> None:
    """Have an engine's configuration give registers to values in one pass: code that is slower, and there sooner."""
    _quick_registers(config, 1)  # WASMTIME_REGALLOC_ALGORITHM_SINGLE_PASS


def address(pointer: Any) -> int:
    """The address that one of the Python package's typed pointers holds."""
    value = ctypes.cast(pointer, c_void_p).value
    if value is None:
        raise ValueError("a null pointer from wasmtime")
    return value


def _text(read: Any, pointer: int) -> str:
    """The message that `read` gives of a trap or an error."""
    message = ByteVec()
    read(pointer, ctypes.byref(message))
    text = ctypes.string_at(message.data, message.size) if message.size else b""
    _vec_delete(ctypes.byref(message))
    return text.rstrip(b"\0").decode("utf-8", "replace")


def new_trap(text: bytes) -> int:
    """A `wasm_trap_t` for a host callback to return; the engine frees it."""
    trap: int = _trap_new(text, len(text))
    return trap


def new_error(text: bytes) -> int:
    """A `wasmtime_error_t` for an epoch callback to return; the engine frees it."""
    error: int = _error_new(text)
    return error


def take_trap(pointer: int) -> tuple[int | None, str]:
    """Free a trap, and return its code and message. The code is None for a trap that a host function made."""
    code = c_uint8()
    known = _trap_code(pointer, ctypes.byref(code))
    text = _text(_trap_message, pointer)
    _trap_delete(pointer)
    return (code.value if known else None), text


def take_error(pointer: int) -> str:
    """Free an error, and return its message."""
    text = _text(_error_message, pointer)
    _error_delete(pointer)
    return text


def use_pool(config: int, **settings: int) -> None:
    """Give an engine's configuration the pooling allocator. `settings` have wasmtime's names without their prefix."""
    pool = _pool_new()
    for name, value in settings.items():
        kind = c_size_t if name.endswith(("size", "resident", "elements")) else ctypes.c_uint32
        _gil_kept(f"wasmtime_pooling_allocation_config_{name}_set", None, pool=c_void_p, value=kind)(pool, value)
    _pool_apply(config, pool)
    _pool_delete(pool)

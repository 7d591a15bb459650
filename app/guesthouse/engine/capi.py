"""The functions of wasmtime's C interface that the hot path calls, with prototypes of our own.

The Python package's public methods cost three to six times as much as the same C calls (they build wrapper objects,
look types up at each call and keep a raising import's exception in one global), so `wasmtime.py` calls these. The
symbols are wasmtime's documented C API; only the handle of the loaded library is taken from a private name, which is
why the package is pinned exactly and `VERSION` is checked at import.

Two kinds: `_short` functions never run guest code and never block, so they keep the GIL (giving it up and taking it
back costs more than they do); the others release it.
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
_held = ctypes.PyDLL(_library._name)  # the same library, called without releasing the GIL


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = _library[name]
    function.restype, function.argtypes = result, arguments
    return function


def _short(name: str, result: Any, *arguments: Any) -> Any:
    function = _held[name]
    function.restype, function.argtypes = result, arguments
    return function


class ByteVec(ctypes.Structure):
    """`wasm_byte_vec_t`."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))


#: `wasmtime_func_unchecked_callback_t`: (env, caller, args_and_results, count) -> trap. Slots are 16 bytes each.
HostCallback = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, ctypes.POINTER(c_uint64), c_size_t)
#: (context, data, *delta, *kind) -> error
EpochCallback = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, ctypes.POINTER(c_uint64), ctypes.POINTER(c_uint8))
NO_FINALIZER = ctypes.CFUNCTYPE(None, c_void_p)()
_Finalizer = type(NO_FINALIZER)

store_new = _short("wasmtime_store_new", c_void_p, c_void_p, c_void_p, _Finalizer)
store_context = _short("wasmtime_store_context", c_void_p, c_void_p)
store_limiter = _short("wasmtime_store_limiter", None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64)
store_epoch_callback = _short(
    "wasmtime_store_epoch_deadline_callback", None, c_void_p, EpochCallback, c_void_p, _Finalizer
)
set_epoch_deadline = _short("wasmtime_context_set_epoch_deadline", None, c_void_p, c_uint64)
increment_epoch = _short("wasmtime_engine_increment_epoch", None, c_void_p)
export_get = _short("wasmtime_instance_export_get", c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)
caller_export_get = _short("wasmtime_caller_export_get", c_bool, c_void_p, c_char_p, c_size_t, c_void_p)
has_exception = _short("wasmtime_context_has_exception", c_bool, c_void_p)
memory_data = _short("wasmtime_memory_data", c_void_p, c_void_p, c_void_p)
memory_data_size = _short("wasmtime_memory_data_size", c_size_t, c_void_p, c_void_p)

store_delete = _function("wasmtime_store_delete", None, c_void_p)  # unmaps memory
pre_instantiate = _function("wasmtime_instance_pre_instantiate", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
pre_delete = _function("wasmtime_instance_pre_delete", None, c_void_p)
call_unchecked = _function("wasmtime_func_call_unchecked", c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)
linker_define = _function(
    "wasmtime_linker_define_func_unchecked",
    c_void_p,
    *(c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, c_void_p, HostCallback, c_void_p, _Finalizer),
)
linker_pre = _function("wasmtime_linker_instantiate_pre", c_void_p, c_void_p, c_void_p, c_void_p)

_trap_new = _short("wasmtime_trap_new", c_void_p, c_char_p, c_size_t)
_trap_code = _short("wasmtime_trap_code", c_bool, c_void_p, c_void_p)
_trap_message = _short("wasm_trap_message", None, c_void_p, c_void_p)
_trap_delete = _short("wasm_trap_delete", None, c_void_p)
_error_new = _short("wasmtime_error_new", c_void_p, c_char_p)
_error_message = _short("wasmtime_error_message", None, c_void_p, c_void_p)
_error_delete = _short("wasmtime_error_delete", None, c_void_p)
_vec_delete = _short("wasm_byte_vec_delete", None, c_void_p)

_pool_new = _short("wasmtime_pooling_allocation_config_new", c_void_p)
_pool_delete = _short("wasmtime_pooling_allocation_config_delete", None, c_void_p)
_pool_apply = _short("wasmtime_pooling_allocation_strategy_set", None, c_void_p, c_void_p)


def address(pointer: Any) -> int:
    """The address that one of the Python package's typed pointers holds."""
    value = ctypes.cast(pointer, c_void_p).value
    if value is None:
        raise ValueError("a null pointer from wasmtime")
    return value


def _text(read: Any, pointer: int) -> str:
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
    """(code, message) of a trap, which is freed; the code is None for one that a host function made."""
    code = c_uint8()
    known = _trap_code(pointer, ctypes.byref(code))
    text = _text(_trap_message, pointer)
    _trap_delete(pointer)
    return (code.value if known else None), text


def take_error(pointer: int) -> str:
    """The message of an error, which is freed."""
    text = _text(_error_message, pointer)
    _error_delete(pointer)
    return text


def use_pool(config: int, **settings: int) -> None:
    """Set the pooling allocator on an engine's configuration; `settings` by wasmtime's names without the prefix."""
    pool = _pool_new()
    for name, value in settings.items():
        kind = c_size_t if name.endswith(("size", "resident", "elements")) else ctypes.c_uint32
        _short(f"wasmtime_pooling_allocation_config_{name}_set", None, c_void_p, kind)(pool, value)
    _pool_apply(config, pool)
    _pool_delete(pool)

"""The file of calls: how a program whose module imports WASI alone calls host functions all the same.

An interpreter that was built elsewhere has no other imports. It opens this file, where it is granted one, and each
write to it is one call: the function's name (`dapr_v1.event_read`), a zero byte, and numbers of 8 bytes each,
little-endian: where in the guest's memory the result goes, and the arguments. Pointers are those of the guest's own
memory. So a function called here does what it does as an import, under the same grants and bounds. Described in
docs/abi.md, "The file of calls".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cache

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Refused
from guesthouse_abi.host import HostFunction
from guesthouse_abi.imports.wasi_preview1.wire import INVAL, NOSYS, PERM

#: The import modules whose functions can be called so.
MODULES = ("dapr_v1", "wasi_ephemeral_nn", "wasmedge_image")
#: What a guest writes when it is ready to be frozen: with the address of what each event calls.
READY = b"guesthouse.ready"

_MOST = 512  # bytes of a call
_MASKS = {"i32": (1 << 32) - 1, "i64": (1 << 64) - 1}


class Freezing:
    """The state of a guest that runs to be frozen: until it is, there is no event, and it can call nothing."""

    def __init__(self) -> None:
        self.entry: int | None = None  # what the guest named by `READY`


@cache
def _functions() -> dict[bytes, HostFunction]:
    from guesthouse_abi.imports import host_modules  # which this module is part of

    modules = host_modules()
    return {
        f"{module}.{name}".encode(): function
        for module in MODULES
        for name, function in modules[module].functions.items()
    }


def names() -> list[tuple[str, str]]:
    """(module, name) of every function that can be called so."""
    return [(function.module, function.name) for function in _functions().values()]


def write(context: Context, vectors: list[tuple[int, int]]) -> int:
    """Carry out the call that the guest writes; returns its size. Raises `Refused` for what is no call."""
    size = sum(length for _, length in vectors)
    if size > _MOST:
        raise Refused(INVAL)
    name, end, packed = b"".join(context.memory.read(start, length) for start, length in vectors).partition(b"\0")
    if not end or not packed or len(packed) % 8:
        raise Refused(INVAL)
    to, *arguments = struct.unpack(f"<{len(packed) // 8}Q", packed)
    context.memory.check(to, 8)
    context.memory.write(to, struct.pack("<q", _called(context, name, arguments)))
    return size


def _called(context: Context, name: bytes, arguments: Sequence[int]) -> int:
    freezing = context.state_if_made(Freezing)
    if freezing is not None:
        if name != READY or len(arguments) != 1:
            raise Refused(PERM)
        freezing.entry = arguments[0] & _MASKS["i32"]
        return 0
    function = _functions().get(name)
    if function is None:
        raise Refused(NOSYS)
    types = function.signature.params
    if len(arguments) != len(types):
        raise Refused(INVAL)
    values = [value & _MASKS[kind.value] for value, kind in zip(arguments, types, strict=True)]
    result = function.invoke(context, *values)
    return int(result) if result is not None else 0

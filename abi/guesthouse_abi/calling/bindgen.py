"""The wasmedge-bindgen calling convention, in all its eras: one function, one parameter (`String` or `Vec<u8>`).

Eras, told apart from the module itself (names as in the convention's own history):

====  ==================================  ===========================================================================
era   recognised by                       how the result comes back
====  ==================================  ===========================================================================
A     exports `__wbindgen_malloc`         {u32 pointer, u32 length} at the address that the host passes first (8)
B     imports `return_result`             by that import: raw bytes (module `env`), triples (module `wasmedge-bindgen`)
C     neither                             a pointer to a record {u8 flag, u32 pointer, u32 count}
====  ==================================  ===========================================================================

A parameter table holds {u32 pointer, u32 length} per parameter; a result is a triple {u32 pointer, u32 tag, u32 bytes}.
The guest owns what it is handed and the host what it gets back; here nothing is freed, since the instance ends with
the event. The imports of era B are in `imports/bindgen_results.py`; the decoding of values is shared with it.
"""

from __future__ import annotations

import struct

import numpy as np

from guesthouse_abi.calling import Instance, Shape
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, GuestError, OutOfBounds
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.wasi_preview1 import flush, give_body, read_reply

_PAIR = struct.Struct("<II")
_RECORD = struct.Struct("<BII")
_TRIPLE = struct.Struct("<III")

ERROR_TEXT = 1024  # bytes of a guest's own error that are kept
_RETURN_AT = 8  # where era A's hosts had the result's {pointer, length} written

# Type tags of results: the Rust type, and its little-endian layout for a scalar.
_SCALARS: dict[int, tuple[str, str]] = {
    1: ("u8", "<u1"),
    2: ("i8", "<i1"),
    3: ("u16", "<u2"),
    4: ("i16", "<i2"),
    5: ("u32", "<u4"),
    6: ("i32", "<i4"),
    7: ("u64", "<u8"),
    8: ("i64", "<i8"),
    9: ("f32", "<f4"),
    10: ("f64", "<f8"),
}
_BOOL, _CHAR = 11, 12
_BYTES = {21, 22, 23, 24, 25, 26, 27, 28, 31}  # Vec<u8> … Vec<i64> and String: as they are

_I32 = ValType.I32
_TAKES = (_I32, _I32)


class BindgenResult:
    """What era B's imports were given during a call."""

    def __init__(self) -> None:
        self.reply: bytes | None = None
        self.error: str | None = None


def check_output(context: Context, length: int) -> None:
    """Raise `BadReply` for a reply beyond the limit."""
    if length > context.limits.output:
        raise BadReply(f"a reply of {length} bytes; the limit output is {context.limits.output}")


def known_value(tag: int, length: int) -> bool:
    """Whether a triple's tag and byte count fit together."""
    if tag in _SCALARS:
        return length == np.dtype(_SCALARS[tag][1]).itemsize
    return tag in _BYTES or (tag == _BOOL and length == 1) or (tag == _CHAR and length == 4)


def read_value(context: Context, pointer: int, tag: int, length: int) -> bytes:
    """One result as the body of a reply. Raises `BadReply`."""
    check_output(context, length)
    if not known_value(tag, length):
        raise BadReply(f"a result with the type tag {tag} and {length} bytes")
    data = context.memory.read(pointer, length)
    if tag in _BYTES:
        return data
    if tag == _BOOL:
        return b"true" if data[0] else b"false"
    if tag == _CHAR:
        point = int.from_bytes(data, "little")
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise BadReply(f"a char of {point:#x}")
        return chr(point).encode()
    return str(np.frombuffer(data, _SCALARS[tag][1])[0]).encode()


def read_results(context: Context, pointer: int, count: int) -> bytes:
    """`count` triples as the body of a reply: one value, or none for an empty body. Raises `BadReply`."""
    if count == 0:
        return b""
    if count > 1:
        raise BadReply(f"{count} results; a function for events returns one")
    return read_value(context, *context.memory.unpack(_TRIPLE, pointer))


def read_error(context: Context, pointer: int, length: int) -> str:
    """The text of the guest's own error, cut."""
    return context.memory.read(pointer, min(length, ERROR_TEXT)).decode("utf-8", "replace")


class Bindgen:
    """Calls the export `function` once per event."""

    def __init__(self, function: str) -> None:
        self.function = function
        self._era = "C"
        self._initialize = False
        self._returns: tuple[ValType, ...] = ()
        self._by_pointer = False

    def problems(self, shape: Shape) -> list[str]:
        """See `Convention.problems`; also decides the era."""
        exports, found = shape.functions, []
        self._initialize = exports.get("_initialize") == FuncType()
        if not shape.has_memory:
            found.append("exports no memory")
        if "__wbindgen_malloc" in exports:
            self._era = "A"
        elif any(name == "return_result" and module in ("env", "wasmedge-bindgen") for module, name in shape.imported):
            self._era = "B"
        else:
            self._era = "C"
        allocate = "__wbindgen_malloc" if self._era == "A" else "allocate"
        if allocate not in exports:
            found.append(f"exports no {allocate!r}, which a wasmedge-bindgen guest has")
        elif exports[allocate] != FuncType((_I32,), (_I32,)):
            found.append(f"export {allocate!r} is {exports[allocate] or 'of another type'}, not (i32)->(i32)")
        found += self._function_problems(shape)
        return found

    def _function_problems(self, shape: Shape) -> list[str]:
        exports = shape.functions
        if self.function not in exports:
            others = ", ".join(sorted(n for n in exports if not n.startswith("_") and n not in _PLUMBING)) or "none"
            return [f"exports no function {self.function!r} (functions that it has: {others})"]
        signature = exports[self.function]
        if self._era == "A":
            wanted = [FuncType((_I32, _I32, _I32)), *(FuncType(_TAKES, r) for r in ((), (_I32,)))]
        else:
            wanted = [FuncType(_TAKES, (_I32,) if self._era == "C" else ())]
        if signature not in wanted:
            choices = " or ".join(str(w) for w in wanted)
            return [f"export {self.function!r} is {signature or 'of another type'}, not {choices} (era {self._era})"]
        assert signature is not None
        self._returns = signature.results
        self._by_pointer = len(signature.params) == 3
        return []

    def run(self, instance: Instance, context: Context, body: bytes) -> bytes:
        """See `Convention.run`. With the grant `reply_file` that file's content is the reply, not what is returned."""
        give_body(context, body)
        reply = self._run(instance, context, body)
        return read_reply(context) if context.grants.reply_file else reply

    def _run(self, instance: Instance, context: Context, body: bytes) -> bytes:
        try:
            if self._initialize:
                instance.call("_initialize")
            if self._era == "A":
                return self._run_a(instance, context, body)
            table = instance.call("allocate", 8)
            parameter = instance.call("allocate", len(body))
            memory = context.memory
            memory.write(parameter, body)
            memory.write(table, _PAIR.pack(parameter, len(body)))
            record = instance.call(self.function, table, 1)
            if self._era == "B":
                return self._returned(context)
            flag, pointer, count = memory.unpack(_RECORD, record)
            if flag:
                raise GuestError(read_error(context, pointer, count))
            return read_results(context, pointer, count)
        except OutOfBounds as error:
            raise BadReply(f"the guest broke its calling convention: {error}") from None
        finally:
            flush(context)

    def _run_a(self, instance: Instance, context: Context, body: bytes) -> bytes:
        parameter = instance.call("__wbindgen_malloc", len(body))
        memory = context.memory
        memory.write(parameter, body)
        if not self._by_pointer:
            value = instance.call(self.function, parameter, len(body))
            return str(value - (1 << 32) if value >> 31 else value).encode() if self._returns else b""
        instance.call(self.function, _RETURN_AT, parameter, len(body))
        pointer, length = memory.unpack(_PAIR, _RETURN_AT)
        check_output(context, length)
        return memory.read(pointer, length)

    def _returned(self, context: Context) -> bytes:
        result = context.state(BindgenResult)
        if result.error is not None:
            raise GuestError(result.error)
        if result.reply is None:
            raise BadReply("the guest returned without calling return_result or return_error")
        return result.reply


_PLUMBING = {"allocate", "deallocate", "__wbindgen_malloc", "__wbindgen_free", "__wbindgen_realloc"}

"""The wasmedge-bindgen calling convention, in all its eras: one function, whose parameter is the body (`String` or
`Vec<u8>`), or, in eras B and C, whose parameters and results are JSON (`bindgen_values.py`).

The module shows which era it is of (the eras are named as in the convention's own history):

====  ==================================  ===========================================================================
era   recognised by                       how the result comes back
====  ==================================  ===========================================================================
A     exports `__wbindgen_malloc`         {u32 pointer, u32 length} at the address that the host passes first (8)
B     imports `return_result`             by that import: raw bytes (module `env`), triples (module `wasmedge-bindgen`)
C     neither                             a pointer to a record {u8 flag, u32 pointer, u32 count}
====  ==================================  ===========================================================================

A parameter table holds {u32 pointer, u32 length} per parameter; a result is a triple {u32 pointer, u32 tag, u32 bytes}.
The guest owns what it is handed and the host what it gets back; here nothing is freed, since the instance ends with
the event. The imports of era B are in `imports/bindgen_results.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from guesthouse_abi import bindgen_values
from guesthouse_abi.bindgen_values import Parameter, check_output, result_as_bytes
from guesthouse_abi.calling import Instance, Request, Response, Shape, Start, Unfit, starts_of
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, OutOfBounds, guest_failure
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.bindgen_results import BindgenResult, read_error
from guesthouse_abi.imports.wasi_preview1 import flush, give_body, read_reply

_PAIR = struct.Struct("<II")
_RECORD = struct.Struct("<BII")

_RETURN_AT = 8  # where era A's hosts had the result's {pointer, length} written

_I32 = ValType.I32
_TAKES = (_I32, _I32)


class Bindgen:
    """Calls the export `function` once per event.

    `json`: parameters and results are JSON arrays; `types` are those of the parameters, none where they are not known.
    """

    def __init__(self, function: str, json: bool = False, types: Sequence[str] = ()) -> None:
        self.function = function
        self.json = json
        self.types = types

    def bind(self, shape: Shape) -> BoundFunction:
        """See `Convention.bind`; decides the era."""
        exports, found, era = shape.functions, [], era_of(shape)
        if not shape.has_memory:
            found.append("exports no memory")
        if self.json and era == "A":
            found.append('is of era A, whose functions do not tell their types: values = "json" is for eras B and C')
        if self.json and ("env", "return_result") in shape.imported:
            found.append(
                'hands raw bytes to env.return_result, without their type, so values = "json" cannot be served'
            )
        allocate = "__wbindgen_malloc" if era == "A" else "allocate"
        if allocate not in exports:
            found.append(f"exports no {allocate!r}, which a wasmedge-bindgen guest has")
        elif exports[allocate] != FuncType((_I32,), (_I32,)):
            found.append(f"export {allocate!r} is {exports[allocate] or 'of another type'}, not (i32)->(i32)")
        found += self._function_problems(shape, era)
        signature = exports.get(self.function)
        if found or signature is None:
            raise Unfit(found)
        return BoundFunction(self, era, starts_of(shape, ("_initialize",)), signature)

    def _function_problems(self, shape: Shape, era: str) -> list[str]:
        exports = shape.functions
        if self.function not in exports:
            others = ", ".join(functions_in(shape)) or "none"
            return [f"exports no function {self.function!r} (functions that it has: {others})"]
        signature = exports[self.function]
        if era == "A":
            wanted = [FuncType((_I32, _I32, _I32)), *(FuncType(_TAKES, r) for r in ((), (_I32,)))]
        else:
            wanted = [FuncType(_TAKES, (_I32,) if era == "C" else ())]
        if signature not in wanted:
            choices = " or ".join(str(w) for w in wanted)
            return [f"export {self.function!r} is {signature or 'of another type'}, not {choices} (era {era})"]
        return []


def functions_in(shape: Shape) -> list[str]:
    """The exported functions that may be meant for events: all but those of the convention and of toolchains."""
    return sorted(name for name in shape.functions if not name.startswith("_") and name not in _PLUMBING)


def era_of(shape: Shape) -> str:
    """The era of a module, if it is a wasmedge-bindgen guest at all."""
    if "__wbindgen_malloc" in shape.functions:
        return "A"
    if any(name == "return_result" and module in ("env", "wasmedge-bindgen") for module, name in shape.imported):
        return "B"
    return "C"


class BoundFunction:
    """A `Caller`: the function of a module whose era is known."""

    triggers: frozenset[str] | None = None
    what = "a function"

    def __init__(self, how: Bindgen, era: str, starts: tuple[str, ...], signature: FuncType) -> None:
        self.function = how.function
        self._json = how.json
        self._types = how.types
        self._era = era
        self.starts = starts  # see `Caller.starts`
        self._returns = signature.results
        self._by_pointer = len(signature.params) == 3  # era A: the result comes back at an address that the host passes

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`. With the grant `reply_file` that file's content is the reply, not what is returned."""
        give_body(context, request.body)
        reply = self._run(start, context, request.body)
        return Response(read_reply(context) if context.grants.reply_file else reply)

    def _run(self, start: Start, context: Context, body: bytes) -> bytes:
        try:
            parameters = self._parameters(context, body)
            instance = start()
            for name in self.starts:
                instance.call(name)
            if self._era == "A":
                return self._run_a(instance, context, body)
            record = self._call_function(instance, context, parameters)
            if self._era == "B":
                return self._handed_over(context)
            memory = context.memory
            flag, pointer, count = memory.unpack(_RECORD, record)
            if flag:
                raise guest_failure(read_error(context, pointer, count))
            return (bindgen_values.results_as_json if self._json else result_as_bytes)(context, pointer, count)
        except OutOfBounds as error:
            raise BadReply(f"the guest broke its calling convention: {error}") from None
        finally:
            flush(context)

    def _parameters(self, context: Context, body: bytes) -> list[Parameter]:
        if not self._json:
            return [(body, len(body))]
        context.state(BindgenResult).json = True
        return bindgen_values.parameters_from_json(context, body, self._types)

    def _call_function(self, instance: Instance, context: Context, parameters: Sequence[Parameter]) -> int:
        """Hand the parameters over and call the function."""
        table = instance.call("allocate", _PAIR.size * len(parameters))
        pairs = []
        for data, count in parameters:
            pointer = instance.call("allocate", len(data))
            context.memory.write(pointer, data)
            pairs.append(_PAIR.pack(pointer, count))
        context.memory.write(table, b"".join(pairs))
        return instance.call(self.function, table, len(parameters))

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

    def _handed_over(self, context: Context) -> bytes:
        """What the guest has passed to the imports of era B."""
        result = context.state(BindgenResult)
        if result.error is not None:
            raise guest_failure(result.error)
        if result.reply is None:
            raise BadReply("the guest returned without calling return_result or return_error")
        return result.reply


_PLUMBING = {"allocate", "deallocate", "__wbindgen_malloc", "__wbindgen_free", "__wbindgen_realloc"}

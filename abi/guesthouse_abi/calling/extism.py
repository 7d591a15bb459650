"""The calling convention of Extism: an exported function without parameters, whose input and output are blocks.

The body is the input, the output is the reply, and any other result than 0 is the plug-in's own error, with the text
that it has set. Input, output and blocks are in `imports/extism.py`.
"""

from __future__ import annotations

from guesthouse_abi.calling import Request, Response, Shape, Start, Unfit, start_up, starts_of, type_fault
from guesthouse_abi.context import Context
from guesthouse_abi.errors import GuestError, HostError, Trap, guest_failure
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports import extism
from guesthouse_abi.imports.wasi_preview1 import flush, last_words
from guesthouse_abi.lastwords import ERROR_TEXT

_TYPE = FuncType((), (ValType.I32,))
#: What is called before, where it is exported: the first of these, as Extism's own hosts do.
_STARTS = ("_initialize", "__wasm_call_ctors")
_MODULES = frozenset({extism.MODULE.name, extism.USER.name})


def plugs_in(shape: Shape) -> list[str]:
    """The functions that may be meant for events, of a module that imports anything of Extism's."""
    if not any(module in _MODULES for module, _ in shape.imported):
        return []
    return sorted(name for name, kind in shape.functions.items() if kind == _TYPE)


class Extism:
    """Calls the export `function` once per event."""

    def __init__(self, function: str) -> None:
        self._function = function

    def bind(self, shape: Shape) -> Plugin:
        """See `Convention.bind`."""
        name = self._function
        if name not in shape.functions:
            others = ", ".join(plugs_in(shape)) or "none"
            raise Unfit([f"exports no function {name!r} (functions that Extism could call: {others})"])
        if shape.functions[name] != _TYPE:
            raise Unfit([type_fault(shape, name, _TYPE)])
        return Plugin(name, starts_of(shape, _STARTS)[:1])


class Plugin:
    """A `Caller`: one function of a module."""

    what = "a function of Extism"
    triggers: frozenset[str] | None = None

    def __init__(self, function: str, starts: tuple[str, ...]) -> None:
        self._function = function
        self.starts = starts  # see `Caller.starts`

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`. The guest's own error ends the event as that of a function does (`guest_failure`)."""
        kernel = extism.begin(context, request.body)
        try:
            instance = start()
            for name in self.starts:
                start_up(instance, name)
            failed = instance.call(self._function)
        finally:
            flush(context)
        if failed:
            text = kernel.beginning(kernel.error, ERROR_TEXT).decode("utf-8", "replace")
            raise guest_failure(text) if text else GuestError(last_words(context) or f"{self._function} gave {failed}")
        try:
            return Response(kernel.bytes_at(kernel.output, kernel.output_length))
        except HostError as error:
            raise Trap("host function", f"the output: {error}") from None

"""Calls a component's own functions, by the signature that the interface's text has (`canon lift`).

A call is made on the main module's export. Its values are lowered into the guest's memory, and its result is read from
there, by code that is written once, as that of host functions is (`functions.py`). What a component frees after that
(`cabi_post_…`) is not called: the instance is thrown away.
"""

from __future__ import annotations

from typing import Any

from guesthouse_abi.canonical.code import Code
from guesthouse_abi.canonical.crossing import Reallocates, begin_with_memory
from guesthouse_abi.canonical.functions import MOST_NUMBERS, write_check, write_loaded
from guesthouse_abi.canonical.texts import Signature
from guesthouse_abi.canonical.types import NAMES, Record
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, HostError
from guesthouse_abi.host import FuncType, ValType


class Exported:
    """A function that components export. Its numbers are whole ones: no text here has others.

    `title` is its name in the interface's text.
    """

    def __init__(self, signature: Signature, title: str) -> None:
        together, result = Record([kind for _, kind in signature.parameters]), signature.result
        in_memory = len(together.flat) > MOST_NUMBERS
        returned = () if result is None else result.flat
        from_memory = len(returned) > 1
        #: The type of the main module's export.
        self.type = FuncType(
            (ValType.I32,) if in_memory else together.flat, (ValType.I32,) if from_memory else returned
        )
        code = Code(**NAMES, begin_with_memory=begin_with_memory)
        code.line("crossing = begin_with_memory(context)")
        code.line("handles = crossing.handles")
        if in_memory:
            fields = ", ".join(together.store(code, "values"))
            numbers = [f"crossing.give({code.packer(together.layout)}({fields}), {together.align})"]
        else:
            numbers = together.lower(code, "values") if signature.parameters else []
        code.line(f"found = instance.call({', '.join(['name', *numbers])})")
        code.line("begin_with_memory(context)")
        if result is not None:
            if from_memory:
                write_check(code, "found", result)
                code.line(f"return {result.load(code, write_loaded(code, 'found', result))}")
            else:
                code.line(f"return {result.lift(code, ['found'])}")
        self._call = code.made(title, ["context", "instance", "name", "values"])

    def call(self, context: Context, instance: Reallocates, name: str, *values: Any) -> Any:
        """Call the export `name`; the value of its result. Raises `BadReply`, and what ends a guest."""
        try:
            return self._call(context, instance, name, values)
        except HostError as error:
            raise BadReply(f"{name}: {error}") from error

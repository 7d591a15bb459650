"""Calls a component's own functions, by the signature that the interface's text has (`canon lift`).

A call is made on the main module's export. Its values are lowered into the guest's memory, and its result is read from
there. What a component frees after that (`cabi_post_…`) is not called: the instance is thrown away.
"""

from __future__ import annotations

from typing import Any

from guesthouse_abi.canonical.functions import MOST_NUMBERS
from guesthouse_abi.canonical.texts import Signature
from guesthouse_abi.canonical.types import Crossing, Reallocates, Record, check_aligned
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, HostError
from guesthouse_abi.host import FuncType, ValType


class Exported:
    """A function that components export. Its numbers are whole ones: no text here has others."""

    def __init__(self, signature: Signature) -> None:
        self._together = Record([kind for _, kind in signature.parameters])
        self._result = signature.result
        self._in_memory = len(self._together.flat) > MOST_NUMBERS
        returned = () if signature.result is None else signature.result.flat
        self._from_memory = len(returned) > 1
        #: The type of the main module's export.
        self.type = FuncType(
            (ValType.I32,) if self._in_memory else self._together.flat,
            (ValType.I32,) if self._from_memory else returned,
        )

    def call(self, context: Context, instance: Reallocates, name: str, *values: Any) -> Any:
        """Call the export `name`; the value of its result. Raises `BadReply`, and what ends a guest."""
        try:
            numbers = self._lowered(Crossing.begin(context), values)
            found = instance.call(name, *numbers)
            return self._lifted(Crossing.begin(context), found)
        except HostError as error:
            raise BadReply(f"{name}: {error}") from error

    def _lowered(self, crossing: Crossing, values: tuple[Any, ...]) -> list[int]:
        together = self._together
        if not self._in_memory:
            return together.lower(crossing, values)
        pointer = crossing.allocate(together.size, together.align)
        crossing.memory.write(pointer, together.pack(crossing, values))
        return [pointer]

    def _lifted(self, crossing: Crossing, found: int) -> Any:
        result = self._result
        if result is None:
            return None
        if not self._from_memory:
            return result.lift(crossing, (found,), 0)
        check_aligned(found, result.align)
        return result.unpack(crossing, crossing.memory.read(found, result.size), 0)

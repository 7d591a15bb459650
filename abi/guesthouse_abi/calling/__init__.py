"""Calling conventions: how an event's body gets into a guest and its reply out of it.

A convention knows exports, memory and records. It knows nothing of engines (any `Instance` will do), and nothing of
events but their body. What guest authors must know of each is in docs/abi.md, under "How a guest is called".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from guesthouse_abi.context import Context
from guesthouse_abi.host import FuncType


class Instance(Protocol):
    """What a convention needs of a running guest."""

    def call(self, export: str, *arguments: int) -> int:
        """Call an export; unsigned numbers in and out, 0 for no result. Raises `CallError`."""


#: Makes the instance that a call needs. The guest's start section runs in this, so it may raise `CallError` too.
Start = Callable[[], Instance]


class Shape(Protocol):
    """What a module imports and exports, as far as functions and memories go. Known at load."""

    @property
    def imported(self) -> Sequence[tuple[str, str]]:
        """(module, name) of every import."""

    @property
    def functions(self) -> Mapping[str, FuncType | None]:
        """Exported functions; None for one with values that are not numbers."""

    @property
    def has_memory(self) -> bool:
        """Whether a memory is exported."""


class Convention(Protocol):
    """One way to call a guest. Made once per guest; `run` is called for each event, from many threads."""

    def problems(self, shape: Shape) -> list[str]:
        """What keeps this module from being called so, in words for the guest's author; empty when all is well."""

    def run(self, start: Start, context: Context, body: bytes) -> bytes:
        """One event, in an instance that `start` makes when the context is ready for it. Raises `CallError`."""

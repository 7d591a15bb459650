"""A guest's memory without an engine, between bytes that tell of a write beside it."""

from __future__ import annotations

import ctypes

from guesthouse_abi.context import Context
from guesthouse_abi.memory import Memory

_GUARD = b"\xa5" * 4096


class GuardedHost:
    """One event's host side: its context, which has a memory of `size` bytes."""

    def __init__(self, context: Context, size: int) -> None:
        length = size + 2 * len(_GUARD)
        self._block = ctypes.create_string_buffer(_GUARD + bytes(size) + _GUARD, length)
        base = ctypes.addressof(self._block) + len(_GUARD)
        self.size = size
        self.context = context
        self.memory = context.memory = Memory(lambda: (base, self.size))

    @property
    def guarded(self) -> bool:
        """Whether nothing was written beside the memory."""
        return self._block.raw.startswith(_GUARD) and self._block.raw.endswith(_GUARD)

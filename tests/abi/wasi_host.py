"""A guest's memory between guard bytes, with a context and a log around it: what WASI functions need to be called."""

from __future__ import annotations

from typing import Any

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.wasi_preview1 import MODULE
from guesthouse_abi.services import Log, Services
from tests.support.doubles import Lines
from tests.support.guarded import GuardedHost

SIZE = 65536


class Host(GuardedHost):
    """One event's host side, without an engine."""

    def __init__(
        self, *, seconds: float = 10, limits: Limits | None = None, grants: Grants | None = None, **context: Any
    ) -> None:
        self.log = Lines()
        made = Context(
            Deadline.after(seconds),
            grants or Grants(),
            limits or Limits(),
            Services({Log: self.log}),
            **context,
        )
        super().__init__(made, SIZE)

    def call(self, name: str, *values: int) -> Any:
        return MODULE.functions[name].invoke(self.context, *values)

    def vectors(self, at: int, *parts: tuple[int, int]) -> int:
        """Write an iovec list at `at`; returns its count."""
        for index, (pointer, length) in enumerate(parts):
            self.memory.set_u32(at + 8 * index, pointer)
            self.memory.set_u32(at + 8 * index + 4, length)
        return len(parts)

    def write(self, fd: int, data: bytes) -> tuple[int, int]:
        """`fd_write` of one part: the errno and how many bytes were taken."""
        self.memory.write(4096, data)
        self.vectors(0, (4096, len(data)))
        return self.call("fd_write", fd, 0, 1, 16), self.memory.u32(16)

    def u64(self, pointer: int) -> int:
        return int.from_bytes(self.memory.read(pointer, 8), "little")

"""Writes Python functions: the text of one, line by line, and the values that it names.

What is written is decided by the types of an interface's text, when a guest is loaded. Nothing of a guest's goes into
it: no name, no number. The text can be read: `inspect.getsource` gives it, and a traceback shows its lines.
"""

from __future__ import annotations

import linecache
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_DEPTH = "    "


class Code:
    """A function in the making.

    What is written is a sequence of statements. A value is an expression: a name, or what may be worked out later, and
    more than once, without a difference.
    """

    def __init__(self, **constants: Any) -> None:
        self._constants = constants
        self._lines: list[str] = []
        self._inside = _DEPTH
        self._names = 0

    def line(self, text: str) -> None:
        """Write one statement."""
        self._lines.append(self._inside + text)

    def begin_with(self, text: str) -> None:
        """Write one statement before all others."""
        self._lines.insert(0, _DEPTH + text)

    def mentions(self, text: str) -> bool:
        """Whether this stands in what is written so far."""
        return any(text in line for line in self._lines)

    def name(self) -> str:
        """A name that nothing has yet."""
        self._names += 1
        return f"v{self._names}"

    def kept(self, expression: str) -> str:
        """Have an expression worked out here; the name of its value."""
        name = self.name()
        self.line(f"{name} = {expression}")
        return name

    def constant(self, value: Any, what: str) -> str:
        """The name by which the function has a value that is made once. `what` begins it."""
        name = f"{what}{len(self._constants)}"
        self._constants[name] = value
        return name

    def packer(self, layout: str) -> str:
        """The name of a function that packs fields by this layout."""
        return self.constant(struct.Struct("<" + layout).pack, "pack")

    def unpacker(self, layout: str) -> str:
        """The name of a function that unpacks a layout's fields, from bytes and an offset."""
        return self.constant(struct.Struct("<" + layout).unpack_from, "unpack")

    def names(self, count: int) -> list[str]:
        """So many of them."""
        return [self.name() for _ in range(count)]

    @contextmanager
    def under(self, head: str) -> Iterator[None]:
        """What is written meanwhile is under this head."""
        self.line(head)
        before, self._inside = self._inside, self._inside + _DEPTH
        yield
        self._inside = before

    def made(self, title: str, parameters: Sequence[str]) -> Callable[..., Any]:
        """The function. `title` stands where a traceback has a file's name."""
        text = "\n".join([f"def answer({', '.join(parameters)}):", *self._lines, ""])
        where = f"<{title}>"
        scope: dict[str, Any] = dict(self._constants)
        exec(compile(text, where, "exec"), scope)
        linecache.cache[where] = len(text), None, text.splitlines(keepends=True), where
        made: Callable[..., Any] = scope["answer"]
        return made


def tuple_of(parts: Sequence[str]) -> str:
    """The expression of a tuple."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def unpacked(code: Code, count: int, expression: str) -> list[str]:
    """Have a tuple of so many worked out; the names of its parts."""
    names = code.names(count)
    code.line(f"{', '.join(names)}{',' if count == 1 else ''} = {expression}")
    return names

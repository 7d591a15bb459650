"""Writes Python functions: the text of one, line by line, and the values that it names.

What is written is decided by the types of an interface's text, when a guest is loaded. Nothing of a guest's goes into
it: no name, no number. The text can be read: `inspect.getsource` gives it, and a traceback shows its lines.
"""

from __future__ import annotations

import linecache
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from typing import Any

_DEPTH = "    "
_numbers = count(1)


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

    def names(self, many: int) -> list[str]:
        """So many of them."""
        return [self.name() for _ in range(many)]

    @contextmanager
    def under(self, head: str) -> Iterator[None]:
        """What is written meanwhile is under this head."""
        self.line(head)
        before, self._inside = self._inside, self._inside + _DEPTH
        yield
        self._inside = before

    def made(self, title: str, parameters: Sequence[str]) -> Callable[..., Any]:
        """The function. `title` is its docstring."""
        names = list(self._constants)
        text = "\n".join(
            [
                f"def made({', '.join(names)}):",
                f"    def answer({', '.join(parameters)}):",
                *["    " + line for line in self._lines],
                "    return answer",
                "",
            ]
        )
        made: Callable[..., Any] = _compiled(text)(*self._constants.values())
        made.__doc__ = title
        return made


@lru_cache(2048)
def _compiled(text: str) -> Callable[..., Any]:
    """What makes functions of this text, of the values that it names. Many have one text."""
    where = f"<canonical {next(_numbers)}>"
    scope: dict[str, Any] = {}
    exec(compile(text, where, "exec"), scope)
    linecache.cache[where] = len(text), None, text.splitlines(keepends=True), where
    made: Callable[..., Any] = scope["made"]
    return made


class Apart:
    """A function that is written when it is first called, for it is long, and most guests never need it."""

    def __init__(self, write: Callable[[], Callable[..., Any]]) -> None:
        self._write = write
        self._made: Callable[..., Any] | None = None

    def __call__(self, *values: Any) -> Any:
        """Call it."""
        if self._made is None:
            self._made = self._write()
        return self._made(*values)


def tuple_of(parts: Sequence[str]) -> str:
    """The expression of a tuple."""
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def unpacked(code: Code, many: int, expression: str) -> list[str]:
    """Have a tuple of so many worked out; the names of its parts."""
    names = code.names(many)
    code.line(f"{', '.join(names)}{',' if many == 1 else ''} = {expression}")
    return names

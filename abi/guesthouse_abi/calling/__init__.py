"""Calling conventions: how an event gets into a guest and its answer out of it. All of them are in `conventions`.

A convention knows exports, memory and records. It knows nothing of engines (any `Instance` will do), and nothing of
events but their body. What guest authors must know of each is in docs/abi.md, under "How a guest is called".
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Exit
from guesthouse_abi.host import FuncType


class Instance(Protocol):
    """What a convention needs of a running guest."""

    def call(self, export: str, *arguments: int) -> int:
        """Call an export; unsigned numbers in and out, 0 for no result. Raises `CallError`."""


def start_up(instance: Instance, export: str) -> None:
    """Call what a guest has run before its first event. A program that ends there with exit code 0 goes on."""
    try:
        instance.call(export)
    except Exit as end:
        if end.code:
            raise


NOT_OK = 300  # the first status of HTTP's that is no success
_TEXT = 1024  # bytes of a status's text
_decoder = codecs.getincrementaldecoder("utf-8")  # which bears a character that is cut


def text_of(body: bytes | bytearray) -> str:
    """The beginning of a body that is UTF-8, as the text of a status; nothing of another."""
    try:
        return _decoder().decode(bytes(body[:_TEXT]), final=len(body) <= _TEXT)
    except UnicodeDecodeError:
        return ""


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


@dataclass(frozen=True, slots=True)
class Options:
    """What a manifest says of how a guest is called, besides the convention's name."""

    function: str = ""  # bindgen, extism: the export; wapc: the operation
    json: bool = False  # bindgen: parameters and results are JSON arrays
    types: tuple[str, ...] = ()  # bindgen, with `json`: those of the parameters, where the manifest names them
    cgi: bool = False  # command: the reply begins with a block of headers


# The next two are never changed after they are made. Not frozen: a frozen one takes three times as long to make, and
# each event makes both.


@dataclass(slots=True)
class Request:
    """An event, as far as a convention hands it to a guest."""

    body: bytes


@dataclass(slots=True)
class Response:
    """A guest's answer. `content_type` is None where the guest did not say.

    `status` is HTTP's, for invocations and methods of actors alone. From 300 on, `text` says why in words, and
    `retry_after` after how many seconds to try again. `stop`: the timer or reminder is not to fire again.
    """

    body: bytes
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()  # names in lower case, values of printable ASCII
    status: int = 200
    text: str = ""
    retry_after: float | None = None
    stop: bool = False


def starts_of(shape: Shape, names: Sequence[str]) -> tuple[str, ...]:
    """Those of `names` that the module exports as `()->()`, in their order: what may be called by `start_up`."""
    return tuple(name for name in names if shape.functions.get(name) == FuncType())


def type_fault(shape: Shape, name: str, wanted: FuncType) -> str:
    """What is wrong with an export that is there and has another type than `wanted`."""
    return f"export {name!r} is {shape.functions[name] or 'of another type'}, not {wanted}"


class Unfit(Exception):
    """A module that cannot be called so; `problems` says why, in words for its author."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


class Caller(Protocol):
    """Calls one module's guests. Used for each event, from many threads."""

    @property
    def what(self) -> str:
        """What of the module it calls, in a few words."""

    @property
    def triggers(self) -> frozenset[str] | None:
        """The kinds of event that the module can answer; None for all."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The exports that it calls before an event, in their order; none where the module has none of them."""

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """One event, in an instance that `start` makes when the context is ready for it.

        Raises `CallError`: `MalformedEvent` where the event is at fault, `TryAgain` where it may succeed later.
        """


class Convention(Protocol):
    """One way to call guests."""

    def bind(self, shape: Shape) -> Caller:
        """What calls a module of this shape. Raises `Unfit`; changes nothing."""

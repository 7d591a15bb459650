"""The way in and out of a guest during one call: its memory, its handles, its allocator, and what may go through.

The functions that `functions` makes do all their work on a guest's memory by these methods. A guest is not trusted:
what it hands over is bounded before it is copied, and what it allocates is checked. Every fault is a `HostError`, which
ends the guest as a trap, as the specification says.
"""

from __future__ import annotations

from typing import Any, Protocol

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, BadText, HostError, TooMuch
from guesthouse_abi.memory import Memory

#: Elements of lists that one call may hand over, those of `list<u8>` aside.
MOST_ELEMENTS = 16_384
#: Handles that an instance may have open.
MOST_HANDLES = 4096
#: A guest's export that gives memory.
REALLOC = "cabi_realloc"
_BAD_VALUE = 0xD800, 0xE000, 0x110000  # the surrogates, and what is above all characters

_REENTERED = "the guest's allocator calls the host, which it may not"
_NOT_ASKED = -1  # how many bytes a call may hand over: as many as its limits say when it hands over the first


class BadValue(HostError):
    """A number that is none of the type's values, or an address that is not aligned as the type asks."""


class Reallocates(Protocol):
    """What is needed of an instance."""

    def call(self, export: str, *arguments: int) -> int: ...


class Handles:
    """The host's objects that an instance has handles of. No number is used twice, so none is used after its end."""

    __slots__ = ("_last", "open")

    def __init__(self) -> None:
        self._last = 0
        self.open: dict[int, Any] = {}

    def add(self, item: Any) -> int:
        """Raises `TooMuch`."""
        opened = self.open
        if len(opened) >= MOST_HANDLES:
            raise TooMuch(f"{MOST_HANDLES} handles are open; drop one first")
        number = self._last = self._last + 1
        opened[number] = item
        return number


class Crossing:
    """There is one for each event; `begin` or `begin_with_memory` is called for each call."""

    __slots__ = ("allocating", "bytes_left", "context", "elements_left", "handles", "instance", "memory")

    def __init__(self) -> None:
        self.bytes_left = self.elements_left = 0
        self.allocating = False  # the guest's allocator runs
        self.instance: Reallocates | None = None
        self.context: Context | None = None
        self.handles: Handles
        self.memory: Memory

    def start(self, context: Context) -> None:
        """The event's first call."""
        self.context, self.handles = context, context.state(Handles)
        context.at_end(self.forget)  # else this, the context and the instance would keep each other

    def forget(self) -> None:
        """The event is over."""
        self.context = self.instance = None
        if hasattr(self, "memory"):
            del self.memory

    # ---- from the guest ----

    def bytes_at(self, pointer: int, length: int) -> bytes:
        """A copy of the guest's bytes. Raises `TooMuch` where a call hands over more than the host may hold."""
        left = self.bytes_left
        if length > left:
            left = self._left(length)
        self.bytes_left = left - length
        return self.memory.read(pointer, length)

    def text_at(self, pointer: int, length: int) -> str:
        """The guest's text. Raises `BadText`, `TooMuch`."""
        data = self.bytes_at(pointer, length)
        if not data.isascii():  # each byte may become a character of four
            self.bytes_left = self._left(3 * length) - 3 * length
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError:
            raise BadText("a string that is not UTF-8") from None

    def elements_at(self, pointer: int, length: int, size: int, align: int) -> bytes:
        """The bytes of a list's elements. Raises `TooMuch` where a call hands over more elements than it may."""
        assert self.context is not None
        self.elements_left -= length
        if self.elements_left < 0:
            raise TooMuch(f"a call hands over lists of more than {MOST_ELEMENTS} elements together")
        self.context.deadline.check()
        if pointer % align:
            raise unaligned(pointer, align)
        return self.memory.read(pointer, length * size)

    def _left(self, length: int) -> int:
        context = self.context
        assert context is not None
        # Counted from the call's first bytes on: what the host holds changes between calls only.
        left = max(context.limits.host_memory - context.held, 0) if self.bytes_left == _NOT_ASKED else self.bytes_left
        if length > left:
            raise TooMuch(f"a call hands over more than limits.host_memory ({context.limits.host_memory} bytes)")
        return left

    # ---- to the guest ----

    def give(self, data: bytes, align: int = 1) -> int:
        """Put bytes into new memory of the guest's, from its own allocator; their address.

        Raises `HostError`, and what ends a guest.
        """
        instance, size = self.instance, len(data)
        if instance is None:
            raise HostError(f"the answer needs the guest's {REALLOC}, which is not exported, or not ready yet")
        self.allocating = True
        try:
            pointer = instance.call(REALLOC, 0, 0, align, size)
        finally:
            self.allocating = False
        if pointer % align:
            raise BadValue(f"the guest's allocator gave the address {pointer:#x}, which is not aligned to {align}")
        self.memory.write(pointer, data)
        return pointer


def begin(context: Context) -> Crossing:
    """The event's crossing, for one more call. Raises `HostError` in the middle of an allocation."""
    crossing: Crossing
    crossing = context.states.get(Crossing) or context.state(Crossing)
    if crossing.context is None:
        crossing.start(context)
    if crossing.allocating:
        raise HostError(_REENTERED)
    return crossing


def begin_with_memory(context: Context) -> Crossing:
    """The same for a call that reads or writes the guest's memory. Raises `HostError`."""
    crossing: Crossing | None
    crossing = context.states.get(Crossing)
    if crossing is None or crossing.instance is None:
        crossing = begin(context)
        crossing.memory = context.memory
    elif crossing.allocating:
        raise HostError(_REENTERED)
    crossing.bytes_left, crossing.elements_left = _NOT_ASKED, MOST_ELEMENTS
    return crossing


def enter(context: Context, instance: Reallocates) -> None:
    """From here to the event's end, host functions may ask this instance's allocator for memory."""
    crossing = begin_with_memory(context)
    crossing.instance = instance


# ---- what is no value ----


def unaligned(pointer: int, align: int) -> BadValue:
    """The fault of an address that may not be one of a value with this alignment."""
    return BadValue(f"the address {pointer:#x} is not aligned to {align}")


def no_case(number: int, count: int) -> BadValue:
    """The fault of a number that is none of a variant's cases."""
    return BadValue(f"the number {number} is none of {count} cases")


def no_handle(name: str, number: int) -> BadHandle:
    """The fault of a number that is no handle of this resource."""
    return BadHandle(f"there is no {name} {number}")


def character(number: int) -> str:
    """The character of this number. Raises `BadValue`."""
    low, high, end = _BAD_VALUE
    if low <= number < high or number >= end:
        raise BadValue(f"{number:#x} is no character")
    return chr(number)

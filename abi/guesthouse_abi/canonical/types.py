"""The types of WIT: how a value lies in a guest's memory, and in the numbers of a call.

The rules are those of the Component Model's `CanonicalABI.md`. A value is, in Python:

=====================  ================================================================================================
u8 … s64, f32, f64     `int`, `float`
bool, char, string     `bool`, `str`, `str`
list<u8>               `bytes`
list<T>                `list`
tuple, record          `tuple`, in the order of the fields
option<T>              the value, or `None`
enum                   `str`, the case's name
flags                  `frozenset` of names
result, variant        `Case`, with the case's name and its value
own<T>, borrow<T>      the host's object behind the handle
=====================  ================================================================================================

A guest is not trusted: what it hands over is bounded before it is copied, and what it allocates is checked. Every
fault is a `HostError`, which ends the guest as a trap, as the specification says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, BadText, HostError, TooMuch
from guesthouse_abi.host import ValType
from guesthouse_abi.memory import Memory

#: Elements of lists that one call may hand over, those of `list<u8>` aside.
MOST_ELEMENTS = 16_384
#: Handles that an instance may have open.
MOST_HANDLES = 4096
#: A guest's export that gives memory.
REALLOC = "cabi_realloc"
_BAD_VALUE = 0xD800, 0xE000, 0x110000  # the surrogates, and what is above all characters


class BadValue(HostError):
    """A number that is none of the type's values, or an address that is not aligned as the type asks."""


class Case(NamedTuple):
    """A value of a variant or a result."""

    name: str
    value: Any = None


class Reallocates(Protocol):
    """What lowering needs of an instance."""

    def call(self, export: str, *arguments: int) -> int: ...


class Handles:
    """The host's objects that an instance has handles of. No number is used twice, so none is used after its end."""

    def __init__(self) -> None:
        self._last = 0
        self.open: dict[int, Any] = {}

    def add(self, item: Any) -> int:
        """Raises `TooMuch`."""
        if len(self.open) >= MOST_HANDLES:
            raise TooMuch(f"{MOST_HANDLES} handles are open; drop one first")
        self._last += 1
        self.open[self._last] = item
        return self._last


class Crossing:
    """The way in and out of a guest: its memory, its handles, its allocator, and what one call may hand over.

    There is one for each event; `begin` is called for each call.
    """

    __slots__ = ("_bytes", "_elements", "_ready", "allocator", "context", "handles", "memory")

    def __init__(self) -> None:
        self._ready = False
        self._bytes = self._elements = 0
        self.context: Context
        self.memory: Memory
        self.handles: Handles
        self.allocator: Allocator

    @classmethod
    def begin(cls, context: Context) -> Crossing:
        """The event's, for one more call. Raises `HostError` in the middle of an allocation."""
        self = context.state(cls)
        self.memory = context.memory
        if not self._ready:
            self._ready, self.context = True, context
            self.handles, self.allocator = context.state(Handles), context.state(Allocator)
            context.at_end(self.forget)  # else this and the context would keep each other
        elif self.allocator.running:
            raise HostError("the guest's allocator calls the host, which it may not")
        self._bytes, self._elements = -1, MOST_ELEMENTS
        return self

    def forget(self) -> None:
        """The event is over."""
        self._ready = False
        del self.context, self.memory

    def count(self, length: int) -> None:
        """Account for bytes that are copied out. Raises `TooMuch`."""
        if self._bytes < 0:
            self._bytes = max(self.context.limits.host_memory - self.context.held, 0)
        if length > self._bytes:
            raise TooMuch(f"a call hands over more than limits.host_memory ({self.context.limits.host_memory} bytes)")
        self._bytes -= length

    def count_elements(self, length: int) -> None:
        """Account for elements of a list. Raises `TooMuch`."""
        self._elements -= length
        if self._elements < 0:
            raise TooMuch(f"a call hands over lists of more than {MOST_ELEMENTS} elements together")

    def allocate(self, size: int, align: int) -> int:
        """New memory of the guest's, from its own allocator. Raises `HostError`, and what ends a guest."""
        pointer = self.allocator.allocate(size, align)
        if pointer % align:
            raise BadValue(f"the guest's allocator gave the address {pointer:#x}, which is not aligned to {align}")
        self.memory.check(pointer, size)
        return pointer


class Allocator:
    """The guest's `cabi_realloc`. While it runs, the guest may call nothing of the host's interfaces."""

    def __init__(self) -> None:
        self.instance: Reallocates | None = None
        self.running = False

    def forget(self) -> None:
        """The instance is closed."""
        self.instance = None

    def allocate(self, size: int, align: int) -> int:
        """Raises `HostError`, and what ends a guest."""
        if self.instance is None:
            raise HostError(f"the answer needs the guest's {REALLOC}, which is not exported, or not ready yet")
        self.running = True
        try:
            return self.instance.call(REALLOC, 0, 0, align, size)
        finally:
            self.running = False


class Type:
    """A type. `flat` are the numbers that a value is in a call."""

    size: int
    align: int
    flat: tuple[ValType, ...]

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> Any:
        """The value whose bytes begin at `at` in `data`."""
        raise NotImplementedError

    def pack(self, crossing: Crossing, value: Any) -> bytes:
        """A value as bytes, `size` of them."""
        raise NotImplementedError

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> Any:
        """The value that the numbers from `at` on are."""
        raise NotImplementedError

    def lower(self, crossing: Crossing, value: Any) -> list[Any]:
        """A value as numbers."""
        raise NotImplementedError


class Integer(Type):
    """u8 to s64."""

    def __init__(self, bits: int, signed: bool) -> None:
        self.size = self.align = bits // 8
        self.flat = (ValType.I64 if bits == 64 else ValType.I32,)
        self._mask, self._sign = (1 << bits) - 1, 1 << (bits - 1) if signed else 0
        self._wide = 0xFFFFFFFFFFFFFFFF if bits == 64 else 0xFFFFFFFF

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> int:
        return (int.from_bytes(data[at : at + self.size], "little") ^ self._sign) - self._sign

    def pack(self, crossing: Crossing, value: int) -> bytes:
        return (value & self._mask).to_bytes(self.size, "little")

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> int:
        return ((int(numbers[at]) & self._mask) ^ self._sign) - self._sign

    def lower(self, crossing: Crossing, value: int) -> list[Any]:
        return [value & self._wide]


class Float(Type):
    """f32 and f64."""

    def __init__(self, bits: int) -> None:
        self.size = self.align = bits // 8
        self.flat = (ValType.F64 if bits == 64 else ValType.F32,)
        self._layout = struct.Struct("<d" if bits == 64 else "<f")

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> float:
        value: float = self._layout.unpack_from(data, at)[0]
        return value

    def pack(self, crossing: Crossing, value: float) -> bytes:
        return self._layout.pack(value)

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> float:
        return float(numbers[at])

    def lower(self, crossing: Crossing, value: float) -> list[Any]:
        return [value]


class Bool(Type):
    """bool."""

    size = align = 1
    flat = (ValType.I32,)

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> bool:
        return data[at] != 0

    def pack(self, crossing: Crossing, value: bool) -> bytes:
        return b"\1" if value else b"\0"

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> bool:
        return bool(numbers[at])

    def lower(self, crossing: Crossing, value: bool) -> list[Any]:
        return [int(value)]


_U32 = struct.Struct("<I")
_PAIR = struct.Struct("<II")


class Char(Type):
    """char."""

    size = align = 4
    flat = (ValType.I32,)

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> str:
        return _char(_U32.unpack_from(data, at)[0])

    def pack(self, crossing: Crossing, value: str) -> bytes:
        return _U32.pack(ord(value))

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> str:
        return _char(numbers[at])

    def lower(self, crossing: Crossing, value: str) -> list[Any]:
        return [ord(value)]


def _char(number: int) -> str:
    low, high, end = _BAD_VALUE
    if low <= number < high or number >= end:
        raise BadValue(f"{number:#x} is no character")
    return chr(number)


class _InMemory(Type):
    """What is an address and a length: texts and lists."""

    size, align = 8, 4
    flat = (ValType.I32, ValType.I32)

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> Any:
        pointer, length = _PAIR.unpack_from(data, at)
        return self._read(crossing, pointer, length)

    def pack(self, crossing: Crossing, value: Any) -> bytes:
        return _PAIR.pack(*self._written(crossing, value))

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> Any:
        return self._read(crossing, numbers[at], numbers[at + 1])

    def lower(self, crossing: Crossing, value: Any) -> list[Any]:
        return list(self._written(crossing, value))

    def _read(self, crossing: Crossing, pointer: int, length: int) -> Any:
        raise NotImplementedError

    def _written(self, crossing: Crossing, value: Any) -> tuple[int, int]:
        raise NotImplementedError


class Bytes(_InMemory):
    """list<u8>."""

    def _read(self, crossing: Crossing, pointer: int, length: int) -> Any:
        crossing.count(length)
        return crossing.memory.read(pointer, length)

    def _written(self, crossing: Crossing, value: Any) -> tuple[int, int]:
        pointer = crossing.allocate(len(value), 1)
        crossing.memory.write(pointer, value)
        return pointer, len(value)


class Text(Bytes):
    """string."""

    def _read(self, crossing: Crossing, pointer: int, length: int) -> str:
        try:
            return str(super()._read(crossing, pointer, length), "utf-8")
        except UnicodeDecodeError:
            raise BadText("a string that is not UTF-8") from None

    def _written(self, crossing: Crossing, value: Any) -> tuple[int, int]:
        return super()._written(crossing, value.encode(errors="replace"))


class ListOf(_InMemory):
    """list<T> of another type than u8."""

    def __init__(self, element: Type) -> None:
        self._element = element

    def _read(self, crossing: Crossing, pointer: int, length: int) -> list[Any]:
        element = self._element
        crossing.count_elements(length)
        crossing.context.deadline.check()
        check_aligned(pointer, element.align)
        data = crossing.memory.read(pointer, length * element.size)
        return [element.unpack(crossing, data, at) for at in range(0, len(data), element.size)]

    def _written(self, crossing: Crossing, value: Any) -> tuple[int, int]:
        element = self._element
        data = b"".join([element.pack(crossing, one) for one in value])
        pointer = crossing.allocate(len(data), element.align)
        crossing.memory.write(pointer, data)
        return pointer, len(value)


class Record(Type):
    """record and tuple."""

    def __init__(self, fields: Sequence[Type]) -> None:
        at, flat_at, parts = 0, 0, []
        for one in fields:
            at = _up(at, one.align)
            parts.append((one, at, flat_at))
            at += one.size
            flat_at += len(one.flat)
        self._parts = tuple(parts)
        self.align = max((one.align for one in fields), default=1)
        self.size = _up(at, self.align)
        self.flat = tuple(kind for one in fields for kind in one.flat)

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> tuple[Any, ...]:
        return tuple([one.unpack(crossing, data, at + offset) for one, offset, _ in self._parts])

    def pack(self, crossing: Crossing, value: Any) -> bytes:
        data = bytearray(self.size)
        for (one, offset, _), part in zip(self._parts, value, strict=True):
            data[offset : offset + one.size] = one.pack(crossing, part)
        return bytes(data)

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> tuple[Any, ...]:
        return tuple([one.lift(crossing, numbers, at + index) for one, _, index in self._parts])

    def lower(self, crossing: Crossing, value: Any) -> list[Any]:
        return [n for (one, _, _), part in zip(self._parts, value, strict=True) for n in one.lower(crossing, part)]


class Flags(Type):
    """flags, of at most 32 names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.size = self.align = 1 if len(names) <= 8 else 2 if len(names) <= 16 else 4
        self.flat = (ValType.I32,)

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> frozenset[str]:
        return self._named(int.from_bytes(data[at : at + self.size], "little"))

    def pack(self, crossing: Crossing, value: frozenset[str]) -> bytes:
        return self._bits(value).to_bytes(self.size, "little")

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> frozenset[str]:
        return self._named(numbers[at])

    def lower(self, crossing: Crossing, value: frozenset[str]) -> list[Any]:
        return [self._bits(value)]

    def _named(self, bits: int) -> frozenset[str]:
        return frozenset(name for index, name in enumerate(self._names) if bits >> index & 1)

    def _bits(self, value: frozenset[str]) -> int:
        return sum(1 << index for index, name in enumerate(self._names) if name in value)


class Variant(Type):
    """variant, and what is one: result, option and enum."""

    def __init__(self, cases: Sequence[tuple[str, Type | None]]) -> None:
        self._cases = tuple(cases)
        self._numbers = {name: number for number, (name, _) in enumerate(cases)}
        kinds = [kind for _, kind in cases if kind is not None]
        self._tag = 1 if len(cases) <= 1 << 8 else 2
        self.align = max([self._tag, *(kind.align for kind in kinds)])
        self._payload = _up(self._tag, max((kind.align for kind in kinds), default=1))
        self.size = _up(self._payload + max((kind.size for kind in kinds), default=0), self.align)
        joined: list[ValType] = []
        for kind in kinds:
            for index, one in enumerate(kind.flat):
                if index == len(joined):
                    joined.append(one)
                elif joined[index] is not one:
                    both = {joined[index], one}
                    joined[index] = ValType.I32 if both == {ValType.I32, ValType.F32} else ValType.I64
        self._joined = tuple(joined)
        self.flat = (ValType.I32, *joined)
        #: Each case by its name: the bytes before its value (those after the tag mean nothing), its type, those behind.
        self._packed = {
            name: (
                number.to_bytes(self._payload if kind is not None else self.size, "little"),
                kind,
                b"" if kind is None else bytes(self.size - self._payload - kind.size),
            )
            for number, (name, kind) in enumerate(cases)
        }

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> Any:
        name, kind = self._case(data[at] if self._tag == 1 else int.from_bytes(data[at : at + 2], "little"))
        return self.made(name, None if kind is None else kind.unpack(crossing, data, at + self._payload))

    def pack(self, crossing: Crossing, value: Any) -> bytes:
        name, part = self.taken(value)
        before, kind, behind = self._packed[name]
        return before if kind is None else before + kind.pack(crossing, part) + behind

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> Any:
        name, kind = self._case(numbers[at])
        if kind is None:
            return self.made(name, None)
        given = numbers[at + 1 : at + 1 + len(kind.flat)]
        narrowed = [_narrowed(one, have, want) for one, have, want in zip(given, self._joined, kind.flat, strict=False)]
        return self.made(name, kind.lift(crossing, narrowed, 0))

    def lower(self, crossing: Crossing, value: Any) -> list[Any]:
        name, part = self.taken(value)
        number = self._numbers[name]
        kind = self._cases[number][1]
        numbers: list[Any] = [number]
        if kind is not None:
            lowered = zip(kind.lower(crossing, part), kind.flat, self._joined, strict=False)
            numbers += [_widened(one, have, want) for one, have, want in lowered]
        return numbers + [0] * (len(self.flat) - len(numbers))

    def _case(self, number: int) -> tuple[str, Type | None]:
        if number >= len(self._cases):
            raise BadValue(f"the number {number} is none of {len(self._cases)} cases")
        return self._cases[number]

    def made(self, name: str, value: Any) -> Any:
        """A case as a value."""
        return Case(name, value)

    def taken(self, value: Any) -> tuple[str, Any]:
        """A value as a case."""
        name, part = value
        return name, part


class Option(Variant):
    """option<T>."""

    def __init__(self, kind: Type) -> None:
        super().__init__([("none", None), ("some", kind)])

    def made(self, name: str, value: Any) -> Any:
        return value

    def taken(self, value: Any) -> tuple[str, Any]:
        return ("none", None) if value is None else ("some", value)


class Enum(Variant):
    """enum."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__([(name, None) for name in names])

    def made(self, name: str, value: Any) -> Any:
        return name

    def taken(self, value: Any) -> tuple[str, Any]:
        return value, None


class Result(Variant):
    """result<T, E>."""

    def __init__(self, ok: Type | None, error: Type | None) -> None:
        super().__init__([("ok", ok), ("err", error)])


class Resource:
    """A resource: what handles are of. `kind` is the host's class for it, set where the interface is answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: type[Any] | None = None


class Handle(Type):
    """own<T> and borrow<T>."""

    size = align = 4
    flat = (ValType.I32,)

    def __init__(self, resource: Resource, owned: bool) -> None:
        self.resource = resource
        self.owned = owned

    def unpack(self, crossing: Crossing, data: bytes, at: int) -> Any:
        return self.lift(crossing, _U32.unpack_from(data, at), 0)

    def pack(self, crossing: Crossing, value: Any) -> bytes:
        return _U32.pack(crossing.handles.add(value))

    def lift(self, crossing: Crossing, numbers: Sequence[Any], at: int) -> Any:
        resource, handle, opened = self.resource, numbers[at], crossing.handles.open
        item = opened.get(handle)
        if resource.kind is None or not isinstance(item, resource.kind):
            raise BadHandle(f"there is no {resource.name} {handle}")
        if self.owned:
            del opened[handle]
        return item

    def lower(self, crossing: Crossing, value: Any) -> list[Any]:
        return [crossing.handles.add(value)]


def _up(at: int, align: int) -> int:
    return (at + align - 1) // align * align


def check_aligned(pointer: int, align: int) -> None:
    """Raises `BadValue` for an address that may not be one of a value with this alignment."""
    if pointer % align:
        raise BadValue(f"the address {pointer:#x} is not aligned to {align}")


_BITS = {ValType.F32: struct.Struct("<f"), ValType.F64: struct.Struct("<d")}
_RAW = {ValType.F32: struct.Struct("<I"), ValType.F64: struct.Struct("<Q")}


def _narrowed(number: Any, have: ValType, want: ValType) -> Any:
    """A number of the joined type as one of a case's own type."""
    if have is want:
        return number
    if want is ValType.I32:
        return number & 0xFFFFFFFF
    mask = 0xFFFFFFFF if want is ValType.F32 else 0xFFFFFFFFFFFFFFFF
    return _BITS[want].unpack(_RAW[want].pack(number & mask))[0]


def _widened(number: Any, have: ValType, want: ValType) -> Any:
    """The other way."""
    return number if have is want or have is ValType.I32 else _RAW[have].unpack(_BITS[have].pack(number))[0]


#: The types that have a name of their own.
PLAIN: dict[str, Type] = {
    **{f"u{bits}": Integer(bits, False) for bits in (8, 16, 32, 64)},
    **{f"s{bits}": Integer(bits, True) for bits in (8, 16, 32, 64)},
    "f32": Float(32),
    "f64": Float(64),
    "bool": Bool(),
    "char": Char(),
    "string": Text(),
}


def list_of(element: Type) -> Type:
    """list<T>."""
    return Bytes() if element is PLAIN["u8"] else ListOf(element)

"""The types of WIT: how a value lies in a guest's memory, and in the numbers of a call.

A type writes code (`code.py`) that makes a Python value of either, and the other way; no type is looked at when a guest
calls. The rules are those of the Component Model's `CanonicalABI.md`. A value is, in Python:

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

What this code does with a guest's memory, and all checks of it, are in `crossing.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from guesthouse_abi.canonical import crossing
from guesthouse_abi.canonical.code import Apart, Code, tuple_of, unpacked
from guesthouse_abi.host import ValType


class Case(NamedTuple):
    """A value of a variant or a result."""

    name: str
    value: Any = None


#: Cases with values that a variant may have inside other code; the code of a longer one is a function of its own.
_MOST_INSIDE = 6
#: What any code may name.
NAMES = {
    "Case": Case,
    "character": crossing.character,
    "no_case": crossing.no_case,
    "no_handle": crossing.no_handle,
    "unaligned": crossing.unaligned,
}


class Type:
    """A type.

    - `flat` are the numbers that a value is in a call;
    - `layout` are the fields that it is in memory, as `struct` writes them, with `size` bytes together; there are
      `fields` of them.

    The methods below write code. They take and give expressions (see `Code`). In what they write, `crossing` stands for
    the call's `Crossing`, `handles` for its handles, and the names in `NAMES` for what they name.
    """

    size: int
    align: int
    flat: tuple[ValType, ...]
    layout: str
    fields: int = 1

    def load(self, code: Code, fields: Sequence[str]) -> str:
        """The value that these fields of memory are."""
        raise NotImplementedError

    def lift(self, code: Code, numbers: Sequence[str]) -> str:
        """The value that these numbers of a call are."""
        return self.load(code, numbers)

    def store(self, code: Code, value: str) -> list[str]:
        """The fields of memory that a value is."""
        raise NotImplementedError

    def lower(self, code: Code, value: str) -> list[str]:
        """The numbers of a call that a value is."""
        return self.store(code, value)


class Integer(Type):
    """u8 to s64."""

    def __init__(self, bits: int, signed: bool) -> None:
        self.size = self.align = bits // 8
        self.flat = (ValType.I64 if bits == 64 else ValType.I32,)
        self.layout = {8: "B", 16: "H", 32: "I", 64: "Q"}[bits]
        self._mask, self._sign = hex((1 << bits) - 1), hex(1 << (bits - 1)) if signed else ""
        self._narrow = bits < 32  # than the number that it is in a call
        self._wide = "0xffffffffffffffff" if bits == 64 else "0xffffffff"

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return f"({fields[0]} ^ {self._sign}) - {self._sign}" if self._sign else fields[0]

    def lift(self, code: Code, numbers: Sequence[str]) -> str:
        return self.load(code, [f"({numbers[0]} & {self._mask})"] if self._narrow else numbers)

    def store(self, code: Code, value: str) -> list[str]:
        return [f"{value} & {self._mask}"]

    def lower(self, code: Code, value: str) -> list[str]:
        return [f"{value} & {self._wide}"]


class Float(Type):
    """f32 and f64."""

    def __init__(self, bits: int) -> None:
        self.size = self.align = bits // 8
        self.flat = (ValType.F64 if bits == 64 else ValType.F32,)
        self.layout = "d" if bits == 64 else "f"

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return fields[0]

    def store(self, code: Code, value: str) -> list[str]:
        return [value]


class Bool(Type):
    """bool."""

    size = align = 1
    flat = (ValType.I32,)
    layout = "?"

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return f"{fields[0]} != 0"

    def store(self, code: Code, value: str) -> list[str]:
        return [f"(1 if {value} else 0)"]


class Char(Type):
    """char."""

    size = align = 4
    flat = (ValType.I32,)
    layout = "I"

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return code.kept(f"character({fields[0]})")

    def store(self, code: Code, value: str) -> list[str]:
        return [f"ord({value})"]


class _InMemory(Type):
    """What is an address and a length: texts and lists."""

    size, align = 8, 4
    flat = (ValType.I32, ValType.I32)
    layout, fields = "II", 2


class Bytes(_InMemory):
    """list<u8>."""

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return code.kept(f"crossing.bytes_at({fields[0]}, {fields[1]})")

    def store(self, code: Code, value: str) -> list[str]:
        return [code.kept(f"crossing.give({value})"), f"len({value})"]


class Text(_InMemory):
    """string."""

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return code.kept(f"crossing.text_at({fields[0]}, {fields[1]})")

    def store(self, code: Code, value: str) -> list[str]:
        data = code.kept(f"{value}.encode(errors='replace')")
        return [code.kept(f"crossing.give({data})"), f"len({data})"]


class ListOf(_InMemory):
    """list<T> of another type than u8."""

    def __init__(self, element: Type) -> None:
        self._element = element

    def load(self, code: Code, fields: Sequence[str]) -> str:
        element = self._element
        each = code.constant(struct.Struct("<" + element.layout).iter_unpack, "each")
        data = code.kept(f"crossing.elements_at({fields[0]}, {fields[1]}, {element.size}, {element.align})")
        made, parts = code.kept("[]"), code.names(element.fields)
        with code.under(f"for {tuple_of(parts)} in {each}({data}):"):
            code.line(f"{made}.append({element.load(code, parts)})")
        return made

    def store(self, code: Code, value: str) -> list[str]:
        element, pack = self._element, code.packer(self._element.layout)
        parts, one = code.kept("[]"), code.name()
        with code.under(f"for {one} in {value}:"):
            code.line(f"{parts}.append({pack}({', '.join(element.store(code, one))}))")
        return [code.kept(f"crossing.give(b''.join({parts}), {element.align})"), f"len({parts})"]


class Record(Type):
    """record and tuple."""

    def __init__(self, fields: Sequence[Type]) -> None:
        at, self.layout, self._parts = 0, "", tuple(fields)
        for one in fields:
            self.layout += "x" * (_up(at, one.align) - at) + one.layout
            at = _up(at, one.align) + one.size
        self.align = max((one.align for one in fields), default=1)
        self.size = _up(at, self.align)
        self.layout += "x" * (self.size - at)
        self.fields = sum(one.fields for one in fields)
        self.flat = tuple(kind for one in fields for kind in one.flat)

    def load(self, code: Code, fields: Sequence[str]) -> str:
        return tuple_of(self.loaded(code, fields))

    def loaded(self, code: Code, fields: Sequence[str]) -> list[str]:
        """The values of the fields."""
        rest = iter(fields)
        return [one.load(code, [next(rest) for _ in range(one.fields)]) for one in self._parts]

    def lift(self, code: Code, numbers: Sequence[str]) -> str:
        return tuple_of(self.lifted(code, numbers))

    def lifted(self, code: Code, numbers: Sequence[str]) -> list[str]:
        """The values of the fields."""
        rest = iter(numbers)
        return [one.lift(code, [next(rest) for _ in one.flat]) for one in self._parts]

    def store(self, code: Code, value: str) -> list[str]:
        parts = unpacked(code, len(self._parts), value)
        return [field for one, part in zip(self._parts, parts, strict=True) for field in one.store(code, part)]

    def lower(self, code: Code, value: str) -> list[str]:
        parts = unpacked(code, len(self._parts), value)
        return [number for one, part in zip(self._parts, parts, strict=True) for number in one.lower(code, part)]


class Flags(Type):
    """flags, of at most 32 names."""

    flat = (ValType.I32,)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.size = self.align = 1 if len(names) <= 8 else 2 if len(names) <= 16 else 4
        self.layout = {1: "B", 2: "H", 4: "I"}[self.size]

    def load(self, code: Code, fields: Sequence[str]) -> str:
        names = code.constant(self._names, "names")
        return f"frozenset([name for at, name in enumerate({names}) if {fields[0]} >> at & 1])"

    def store(self, code: Code, value: str) -> list[str]:
        names = code.constant(self._names, "names")
        return [f"sum([1 << at for at, name in enumerate({names}) if name in {value}])"]


class Variant(Type):
    """variant, and what is one: result, option and enum."""

    def __init__(self, cases: Sequence[tuple[str, Type | None]]) -> None:
        self._cases = tuple(cases)
        kinds = [kind for _, kind in cases if kind is not None]
        self._tag = 1 if len(cases) <= 1 << 8 else 2
        self.align = max([self._tag, *(kind.align for kind in kinds)])
        self._payload = _up(self._tag, max((kind.align for kind in kinds), default=1))
        self.size = _up(self._payload + max((kind.size for kind in kinds), default=0), self.align)
        self._tag_layout = "B" if self._tag == 1 else "H"
        #: A variant with values is one field, for the fields in it depend on the case.
        self.layout = f"{self.size}s" if kinds else self._tag_layout
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
        self._valued = [(number, name, kind) for number, (name, kind) in enumerate(cases) if kind is not None]

        self._long = len(self._valued) > _MOST_INSIDE
        self._apart = {way: Apart(partial(self._write_apart, way)) for way in ("load", "lift", "store", "lower")}

    def _write_apart(self, way: str) -> Callable[..., Any]:
        """One of the four below, as a function of its own."""
        code = Code(**NAMES)
        code.line("handles = crossing.handles")
        given = code.names({"load": 1, "lift": len(self.flat), "store": 1, "lower": 1}[way])
        if way in ("load", "lift"):
            made = self._loaded(code, given[0]) if way == "load" else self._lifted(code, given)
        else:
            made = self._stored(code, given[0]) if way == "store" else tuple_of(self._lowered(code, given[0]))
        code.line(f"return {made}")
        return code.made(way, ["crossing", *given])

    # ---- to a value ----

    def load(self, code: Code, fields: Sequence[str]) -> str:
        if not self._valued:
            return self._bare(code, fields[0])
        if self._long:
            return code.kept(f"{code.constant(self._apart['load'], 'load')}(crossing, {fields[0]})")
        return self._loaded(code, fields[0])

    def _loaded(self, code: Code, data: str) -> str:
        tag = code.kept(f"{data}[0]" if self._tag == 1 else f"{data}[0] | {data}[1] << 8")

        def value(kind: Type) -> str:
            parts = unpacked(code, kind.fields, f"{code.unpacker(kind.layout)}({data}, {self._payload})")
            return kind.load(code, parts)

        return self._chosen(code, tag, value)

    def lift(self, code: Code, numbers: Sequence[str]) -> str:
        if not self._valued:
            return self._bare(code, numbers[0])
        if self._long:
            return code.kept(f"{code.constant(self._apart['lift'], 'lift')}(crossing, {', '.join(numbers)})")
        return self._lifted(code, numbers)

    def _lifted(self, code: Code, numbers: Sequence[str]) -> str:
        def value(kind: Type) -> str:
            given = zip(numbers[1:], self._joined, kind.flat, strict=False)
            return kind.lift(code, [_narrowed(code, one, have, want) for one, have, want in given])

        return self._chosen(code, numbers[0], value)

    def _bare(self, code: Code, tag: str) -> str:
        """The value where no case has one of its own."""
        self._check(code, tag, "if")
        return f"{self._plain(code)}[{tag}]"

    def _chosen(self, code: Code, tag: str, value: Callable[[Type], str]) -> str:
        made = code.name()
        for index, (number, name, kind) in enumerate(self._valued):
            with code.under(f"{'el' if index else ''}if {tag} == {number}:"):
                code.line(f"{made} = {self.made(code, name, value(kind))}")
        self._check(code, tag, "elif")
        with code.under("else:"):
            code.line(f"{made} = {self._plain(code)}[{tag}]")
        return made

    def _check(self, code: Code, tag: str, word: str) -> None:
        with code.under(f"{word} {tag} >= {len(self._cases)}:"):
            code.line(f"raise no_case({tag}, {len(self._cases)})")

    def _plain(self, code: Code) -> str:
        """The cases without values of their own, by number."""
        return code.constant(tuple([self.plain(name) for name, _ in self._cases]), "cases")

    # ---- from a value ----

    def store(self, code: Code, value: str) -> list[str]:
        if not self._valued:
            return self.lower(code, value)
        if self._long:
            return [code.kept(f"{code.constant(self._apart['store'], 'store')}(crossing, {value})")]
        return [self._stored(code, value)]

    def _stored(self, code: Code, value: str) -> str:
        field, (name, part) = code.name(), self._taken(code, value)
        for index, (number, case, _) in enumerate(self._valued):
            with code.under(f"{'el' if index else ''}if {name} == {case!r}:"):
                code.line(f"{field} = {self.stored(code, number, part)}")
        with code.under("else:"):
            plain = {case: self._tag_alone(number) for number, (case, kind) in enumerate(self._cases) if kind is None}
            code.line(f"{field} = {code.constant(plain, 'cases')}[{name}]")
        return field

    def lower(self, code: Code, value: str) -> list[str]:
        if not self._valued:
            numbers = {self.plain(name): number for number, (name, _) in enumerate(self._cases)}
            return [f"{code.constant(numbers, 'numbers')}[{value}]"]
        if self._long:
            lower = code.constant(self._apart["lower"], "lower")
            return unpacked(code, len(self.flat), f"{lower}(crossing, {value})")
        return self._lowered(code, value)

    def _lowered(self, code: Code, value: str) -> list[str]:
        names, (name, part) = code.names(len(self.flat)), self._taken(code, value)
        for index, (number, case, _) in enumerate(self._valued):
            with code.under(f"{'el' if index else ''}if {name} == {case!r}:"):
                code.line(f"{', '.join(names)} = {', '.join(self.lowered(code, number, part))}")
        with code.under("else:"):
            plain = {case: number for number, (case, kind) in enumerate(self._cases) if kind is None}
            code.line(f"{names[0]} = {code.constant(plain, 'numbers')}[{name}]")
            code.line(f"{' = '.join(names[1:])} = 0")
        return names

    def _taken(self, code: Code, value: str) -> tuple[str, str]:
        """The name of a value's case, and the case's value."""
        name, part = unpacked(code, 2, value)
        return name, part

    def _tag_alone(self, number: int) -> bytes:
        return number.to_bytes(self.size, "little")

    def stored(self, code: Code, number: int, part: str) -> str:
        """The bytes of a case, whose value is `part`."""
        kind = self._cases[number][1]
        if kind is None:
            return code.constant(self._tag_alone(number), "case")
        before, behind = self._payload - self._tag, self.size - self._payload - kind.size
        fields = kind.store(code, part)
        pack = code.packer(f"{self._tag_layout}{'x' * before}{kind.layout}{'x' * behind}")
        return f"{pack}({', '.join([str(number), *fields])})"

    def lowered(self, code: Code, number: int, part: str) -> list[str]:
        """The numbers of a case, whose value is `part`."""
        kind = self._cases[number][1]
        numbers = [str(number)]
        if kind is not None:
            lowered = zip(kind.lower(code, part), kind.flat, self._joined, strict=False)
            numbers += [_widened(code, one, have, want) for one, have, want in lowered]
        return numbers + ["0"] * (len(self.flat) - len(numbers))

    def made(self, code: Code, name: str, value: str) -> str:
        """A case with a value."""
        return f"Case({name!r}, {value})"

    def plain(self, name: str) -> Any:
        """A case without one."""
        return Case(name)


class Option(Variant):
    """option<T>."""

    def __init__(self, kind: Type) -> None:
        super().__init__([("none", None), ("some", kind)])

    def _taken(self, code: Code, value: str) -> tuple[str, str]:
        return code.kept(f"'none' if {value} is None else 'some'"), value

    def made(self, code: Code, name: str, value: str) -> str:
        return value

    def plain(self, name: str) -> Any:
        return None


class Enum(Variant):
    """enum."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__([(name, None) for name in names])

    def plain(self, name: str) -> Any:
        return name


class Result(Variant):
    """result<T, E>."""

    def __init__(self, ok: Type | None, error: Type | None) -> None:
        super().__init__([("ok", ok), ("err", error)])


class Resource:
    """A resource: what handles are of. `kind` is the host's class for it, set where the interface is answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.kind: type[Any] | None = None


class Nothing:
    """The class of a resource that the host does not have: no handle is one of it."""


class Handle(Type):
    """own<T> and borrow<T>."""

    size = align = 4
    flat = (ValType.I32,)
    layout = "I"

    def __init__(self, resource: Resource, owned: bool) -> None:
        self.resource = resource
        self.owned = owned

    def load(self, code: Code, fields: Sequence[str]) -> str:
        kind = code.constant(self.resource.kind or Nothing, "kind")
        item = code.kept(f"handles.open.get({fields[0]})")
        with code.under(f"if not isinstance({item}, {kind}):"):
            code.line(f"raise no_handle({code.constant(self.resource.name, 'resource')}, {fields[0]})")
        if self.owned:
            code.line(f"del handles.open[{fields[0]}]")
        return item

    def store(self, code: Code, value: str) -> list[str]:
        return [code.kept(f"handles.add({value})")]


def _up(at: int, align: int) -> int:
    return (at + align - 1) // align * align


_BITS = {ValType.F32: struct.Struct("<f"), ValType.F64: struct.Struct("<d")}
_RAW = {ValType.F32: struct.Struct("<I"), ValType.F64: struct.Struct("<Q")}


def _narrowed(code: Code, number: str, have: ValType, want: ValType) -> str:
    """A number of the joined type as one of a case's own type."""
    if have is want:
        return number
    if want is ValType.I32:
        return f"({number} & 0xffffffff)"
    bits, raw = code.unpacker(_BITS[want].format[1:]), code.packer(_RAW[want].format[1:])
    return f"{bits}({raw}({number} & {'0xffffffff' if want is ValType.F32 else '0xffffffffffffffff'}))[0]"


def _widened(code: Code, number: str, have: ValType, want: ValType) -> str:
    """The other way."""
    if have is want or have is ValType.I32:
        return number
    raw, bits = code.unpacker(_RAW[have].format[1:]), code.packer(_BITS[have].format[1:])
    return f"{raw}({bits}({number}))[0]"


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

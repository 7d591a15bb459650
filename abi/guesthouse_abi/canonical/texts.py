"""Reads the texts of interfaces: the packages in the folder `wit`, each one file, in WIT.

A package is read when a guest imports something of it, and then kept. All that WASI 0.2 uses is understood, gates
(`@since` …) and worlds are skipped; an interface stands behind those that it uses. Versions are left out: those of
`0.2` differ by what was added. The texts of WASI 0.2 are the public ones, unchanged, with their licence beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from guesthouse_abi.canonical.types import (
    PLAIN,
    Enum,
    Flags,
    Handle,
    Option,
    Record,
    Resource,
    Result,
    Type,
    Variant,
    list_of,
)

FOLDER = Path(__file__).parent.parent / "wit"

#: Comments, gates (`@since(…)`) and versions: all that no interface depends on.
_LEFT_OUT = re.compile(
    r"//[^\n]*|/\*.*?\*/|@\d+\.\d+\.\d+(?:-[a-z0-9-]+(?:\.[a-z0-9]+)*)?|@[a-z]+(?:\([^)]*\))?", re.DOTALL
)
_read: set[str] = set()  # packages
_TOKEN = re.compile(r"%?([A-Za-z_][A-Za-z0-9-]*|->|[{}()<>,;:=./*])|(\S)")


@dataclass(frozen=True, slots=True)
class Signature:
    """A function's parameters and its result."""

    parameters: tuple[tuple[str, Type], ...]
    result: Type | None


@dataclass(slots=True)
class Interface:
    """What one interface declares. Functions have the names of imports, as `[method]input-stream.read`."""

    name: str
    functions: dict[str, Signature] = field(default_factory=dict)
    types: dict[str, Type | Resource] = field(default_factory=dict)

    def resource(self, name: str) -> Resource | None:
        """The resource of this name."""
        found = self.types.get(name)
        return found if isinstance(found, Resource) else None


class Unreadable(Exception):
    """A text that is not understood."""


def interface(name: str) -> Interface | None:
    """An interface by its name without a version, as `wasi:io/streams`; None where there is no text of it."""
    package, _, short = name.partition("/")
    return _package(package).get(short)


def packages_read() -> int:
    """How many texts were read so far."""
    return len(_read)


def is_read(name: str) -> bool:
    """Whether the text of this interface was read."""
    return name.partition("/")[0] in _read


@cache
def _package(name: str) -> Mapping[str, Interface]:
    path = FOLDER / f"{name.replace(':', '-')}.wit"
    if not re.fullmatch(r"[a-z0-9-]+:[a-z0-9-]+", name) or not path.is_file():
        return {}
    made = read(name, path.read_text(encoding="utf-8"))
    _read.add(name)
    return made


def read(package: str, text: str) -> Mapping[str, Interface]:
    """The interfaces of a package. Raises `Unreadable`."""
    parser = _Parser(package, _tokens(text))
    parser.read()
    return parser.interfaces


def _tokens(text: str) -> Iterator[str]:
    found = _TOKEN.findall(_LEFT_OUT.sub(" ", text))
    if any(other for _, other in found):
        raise Unreadable(f"{next(other for _, other in found if other)!r} is no character of WIT")
    return iter([*[one for one, _ in found], ""])


class _Parser:
    def __init__(self, package: str, tokens: Iterator[str]) -> None:
        self.interfaces: dict[str, Interface] = {}
        self._package = package
        self._tokens = tokens
        self._next = next(tokens)
        self._scope: dict[str, Type | Resource] = {}
        self._ahead: set[str] = set()  # resources that were named before they were declared

    def _take(self, wanted: str = "") -> str:
        found = self._next
        if (wanted and found != wanted) or not found:
            raise Unreadable(f"{self._package}: {found or 'the end'!r} where {wanted or 'a word'!r} is due")
        self._next = next(self._tokens)
        return found

    def _has(self, mark: str) -> bool:
        if self._next != mark:
            return False
        self._take()
        return True

    def read(self) -> None:
        while self._next:
            word = self._take()
            if word == "package":
                self._skip_to(";")
            elif word == "interface":
                self._interface(self._take())
            elif word == "world":
                self._take()
                self._skip_braces()
            else:
                raise Unreadable(f"{self._package}: {word!r} where an interface is due")

    def _skip_to(self, mark: str) -> None:
        while self._take() != mark:
            pass

    def _skip_braces(self) -> None:
        depth = 0
        while True:
            mark = self._take()
            depth += (mark == "{") - (mark == "}")
            if mark == "}" and not depth:
                return

    def _interface(self, name: str) -> None:
        made = Interface(f"{self._package}/{name}")
        self._scope = made.types
        self.interfaces[name] = made
        self._take("{")
        while not self._has("}"):
            word = self._take()
            if word == "use":
                self._use()
            elif word == "type":
                named = self._take()
                self._take("=")
                made.types[named] = self._alias()
                self._take(";")
            elif word == "resource":
                self._resource(made, self._take())
            elif word in ("record", "flags", "variant", "enum"):
                named = self._take()
                made.types[named] = getattr(self, f"_{word}")()
            else:
                self._take(":")
                made.functions[word] = self._signature(())
                self._take(";")
        if self._ahead:
            raise Unreadable(f"{self._package}: there is no type {min(self._ahead)!r}")

    def _use(self) -> None:
        path = self._take()
        while not self._has("."):
            path += self._take()
        source = interface(path) if ":" in path else self.interfaces.get(path)
        if source is None:
            raise Unreadable(f"{self._package}: there is no text of {path}")
        self._take("{")
        while not self._has("}"):
            name = self._take()
            self._scope[self._take() if self._has("as") else name] = source.types[name]
            self._has(",")
        self._take(";")

    def _alias(self) -> Type | Resource:
        found = self._scope.get(self._next)
        return self._scope[self._take()] if isinstance(found, Resource) else self._type()

    def _resource(self, made: Interface, name: str) -> None:
        found = made.types.get(name)
        resource = found if isinstance(found, Resource) else Resource(name)
        made.types[name] = resource
        self._ahead.discard(name)
        itself = (("self", Handle(resource, owned=False)),)
        if self._has(";"):
            return
        self._take("{")
        while not self._has("}"):
            word = self._take()
            if word == "constructor":
                parameters = self._parameters()
                made.functions[f"[constructor]{name}"] = Signature(parameters, Handle(resource, owned=True))
            else:
                self._take(":")
                if self._has("static"):
                    made.functions[f"[static]{name}.{word}"] = self._signature(())
                else:
                    made.functions[f"[method]{name}.{word}"] = self._signature(itself)
            self._take(";")

    def _signature(self, before: tuple[tuple[str, Type], ...]) -> Signature:
        self._take("func")
        parameters = before + self._parameters()
        return Signature(parameters, self._type() if self._has("->") else None)

    def _parameters(self) -> tuple[tuple[str, Type], ...]:
        self._take("(")
        parameters = []
        while not self._has(")"):
            name = self._take()
            self._take(":")
            parameters.append((name, self._type()))
            self._has(",")
        return tuple(parameters)

    def _listed(self) -> Iterator[str]:
        """The names in braces; what follows each is read by the caller."""
        self._take("{")
        while not self._has("}"):
            yield self._take()
            self._has(",")

    def _record(self) -> Type:
        fields = []
        for _ in self._listed():
            self._take(":")
            fields.append(self._type())
        return Record(fields)

    def _flags(self) -> Type:
        return Flags(list(self._listed()))

    def _enum(self) -> Type:
        return Enum(list(self._listed()))

    def _variant(self) -> Type:
        cases: list[tuple[str, Type | None]] = []
        for name in self._listed():
            kind = None
            if self._has("("):
                kind = self._type()
                self._take(")")
            cases.append((name, kind))
        return Variant(cases)

    def _type(self) -> Type:
        name = self._take()
        if name in PLAIN:
            return PLAIN[name]
        if name == "result":
            return self._result()
        if name in ("list", "option", "borrow", "own", "tuple"):
            return self._generic(name)
        found = self._named(name)
        return Handle(found, owned=True) if isinstance(found, Resource) else found

    def _named(self, name: str) -> Type | Resource:
        if name not in self._scope:
            self._ahead.add(name)
            self._scope[name] = Resource(name)
        return self._scope[name]

    def _generic(self, name: str) -> Type:
        self._take("<")
        if name in ("borrow", "own"):
            found = self._named(self._take())
            if not isinstance(found, Resource):
                raise Unreadable(f"{self._package}: {name} of what is no resource")
            self._take(">")
            return Handle(found, owned=name == "own")
        parts = [self._type()]
        while self._has(","):
            parts.append(self._type())
        self._take(">")
        if name == "tuple":
            return Record(parts)
        return list_of(parts[0]) if name == "list" else Option(parts[0])

    def _result(self) -> Type:
        if not self._has("<"):
            return Result(None, None)
        ok = None if self._has("_") else self._type()
        error = self._type() if self._has(",") else None
        self._take(">")
        return Result(ok, error)

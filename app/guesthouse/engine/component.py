"""The core module inside a component: what today's toolchains build is one such module, and small ones around it.

`wit-component`, which most toolchains end with, makes a component of one main module, which has the program and its
memory; a shim and a fix-up module, which only break a circle of imports; and, for programs of WASI preview 1, an
adapter to preview 2. The host needs the main module alone: it answers preview 1 and preview 2 by itself. So a component
is read here, its main module is taken out, and from there on it is a module like others.

Every import of the main module is followed through the component to what it stands for. In the module that comes out,
it has the name of the interface and of the function there, as `wasi:io/streams@0.2.4` and
`[method]output-stream.write`. What cannot be taken apart so is refused, with the reason.

The bytes are hostile: this is read before anything has validated them. Each entry is read once, all counts together
have a bound, and whatever is followed is followed a fixed number of steps. What a component means is in the Component
Model's `Binary.md`; how the values of its functions lie in memory is in `guesthouse_abi.canonical`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from guesthouse.engine.wasm_sections import leb128

#: The first eight bytes of a component.
PREAMBLE = b"\0asm\x0d\0\1\0"
#: A component's digest names its compiled code, so what is taken out of it must not change unnoticed: with what this
#: module gives for the same component, this number changes.
REVISION = "component1"

_CORE = b"\0asm\1\0\0\0"
_MOST = 100_000  # entries of all sections together; the largest component seen has some thousands
_HOPS = 8  # steps from an import to what it stands for; three are usual
_NAME = 4096  # bytes of a name
_NAMES = 1 << 22  # characters of the names of all imports together, as the host has them
_PREVIEW1 = ("wasi_snapshot_preview1", "wasi_unstable")
_RUN = "wasi:cli/run"
_REALLOC, _INITIALIZE, _TABLE = "cabi_realloc", "_initialize", "$imports"

_FIXUP_ARGUMENTS = 4  # of a fix-up module: the table, and what goes into it
_FUNC, _TABLE_SORT, _MODULE_SORT = 0, 1, 0x11  # sorts of core definitions
_ENCODINGS = {0: "UTF-8", 1: "UTF-16", 2: "Latin-1 or UTF-16"}
_ASYNC = "it has asynchronous functions (WASI 0.3): build it for WASI 0.2"
_SEVERAL = (
    "it has several main modules (it is composed of others, or linked when it is loaded): link it into one module"
)


class NotUnwrapped(Exception):
    """A component that is not served. The text says why, as words after "it is a component, but"."""


def is_component(wasm: bytes) -> bool:
    """Whether these bytes begin as a component's do."""
    return wasm[:8] == PREAMBLE


class Core:
    """The core module that a file is, or that is taken out of the component that it is. Raises `NotUnwrapped`.

    Nothing is copied until the module's bytes are asked for: they may be many, and most files are compiled already.
    """

    def __init__(self, wasm: bytes) -> None:
        self._wasm = wasm
        self._parts = _Parts(memoryview(wasm), 0, 0, b"")
        if is_component(wasm):
            found = _Component(memoryview(wasm))
            found.read()
            self._parts = _Main(found).parts()

    @property
    def inside(self) -> memoryview:
        """The module as it stands in the file: its imports may have names of the component's own."""
        return self._parts.inside

    def bytes(self) -> bytes:
        """The module, with imports that are named as the component's interfaces name them."""
        parts = self._parts
        if len(parts.inside) == len(self._wasm):
            return self._wasm
        return b"".join((parts.inside[: parts.begin], parts.imports, parts.inside[parts.end :]))


def unwrapped(component: bytes) -> bytes:
    """The main module of a component, as bytes. Raises `NotUnwrapped`."""
    return Core(component).bytes()


# ---- reading ----


class _Reader:
    """A range of the bytes, read from its beginning to its end."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: memoryview, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def byte(self) -> int:
        if self.at >= self.end:
            raise NotUnwrapped("it ends in the middle of a section: build it again, or copy it whole")
        self.at += 1
        return self.data[self.at - 1]

    def u32(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 32:
                    break
                return value
        raise NotUnwrapped("it has a number of more than 32 bits where none may be")

    def name(self) -> str:
        return str(self.part(self.u32(), _NAME), "utf-8", "replace")

    def part(self, length: int, most: int) -> memoryview:
        if length > most:
            raise NotUnwrapped(f"it has a name of {length} bytes; at most {most} are read")
        if length > self.end - self.at:
            raise NotUnwrapped("it ends in the middle of a section: build it again, or copy it whole")
        self.at += length
        return self.data[self.at - length : self.at]

    def section(self) -> tuple[int, _Reader]:
        """The id of the section that begins here, and its contents; this reader goes on behind it."""
        kind, size = self.byte(), self.u32()
        begin, self.at = self.at, self.at + size
        if self.at > self.end:
            raise NotUnwrapped("it ends in the middle of a section: build it again, or copy it whole")
        return kind, _Reader(self.data, begin, self.at)

    @property
    def more(self) -> bool:
        return self.at < self.end


class _Of(NamedTuple):
    """An export of an instance: what an alias names."""

    instance: int
    name: str


class _Imported(NamedTuple):
    """What the component imports by this name."""

    name: str


@dataclass(slots=True)
class _Options:
    """How a function's values cross (`canonopt`)."""

    encoding: int = 0
    memory: int | None = None
    realloc: int | None = None
    asynchronous: bool = False


@dataclass(slots=True)
class _Lower:
    """A core function that is one of the component's (`canon lower`)."""

    function: int
    options: _Options


@dataclass(slots=True)
class _Lift:
    """A function of the component that is a core one (`canon lift`)."""

    function: int
    options: _Options


class _Drop(NamedTuple):
    """A core function that drops a handle of this type."""

    type: int


class _Other(NamedTuple):
    """Something that no import may stand for."""

    what: str


@dataclass(slots=True)
class _CoreInstance:
    """A core instance: of a module with arguments, or the exports that are listed."""

    module: int | None = None
    arguments: dict[str, int] = field(default_factory=dict)
    exports: dict[str, tuple[int, int]] = field(default_factory=dict)  # sort and index


_Origin = _Of | _Imported | _Lower | _Lift | _Drop | _Other
_UNKNOWN = _Other("something of the component's own")


class _Component:
    """The index spaces of a component, each entry as far as it matters here."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.modules: list[tuple[int, int]] = []  # where each begins and ends
        self.core_instances: list[_CoreInstance] = []
        self.core_functions: list[_Origin] = []
        self.core_memories: list[_Origin] = []
        self.functions: list[_Origin] = []
        self.instances: list[_Origin] = []
        self.types: list[_Origin] = []
        self.exports: set[str] = set()
        self.core_tables: list[_Origin] = []
        self._entries = 0

    def read(self) -> None:
        """Read all sections. Raises `NotUnwrapped`."""
        reader = _Reader(self.data, len(PREAMBLE), len(self.data))
        readers = {
            2: self._core_instance,
            5: self._instance,
            6: self._alias,
            7: None,  # types are counted alone
            8: self._canon,
            10: self._import,
            11: self._export,
        }
        while reader.more:
            self._count(1)
            kind, contents = reader.section()
            if kind == 1:
                self.modules.append((contents.at, contents.end))
            elif kind == 4:
                _check_nested(self, contents)
            elif kind == 7:
                self.types += [_UNKNOWN] * self._count(contents.u32())
            elif kind == 9:
                raise NotUnwrapped("it has a start function of its own, which is not served")
            elif kind == 12:
                raise NotUnwrapped("it has values besides functions, which are not served")
            elif kind in readers:
                one = readers[kind]
                assert one is not None
                for _ in range(self._count(contents.u32())):
                    one(contents)

    def _count(self, entries: int) -> int:
        self._entries += entries
        if self._entries > _MOST:
            raise NotUnwrapped(f"it has more than {_MOST} entries, which are not read")
        return entries

    def count(self) -> None:
        """One more entry. Raises `NotUnwrapped`."""
        self._count(1)

    def _core_instance(self, reader: _Reader) -> None:
        instance = _CoreInstance()
        kind = reader.byte()
        if kind == 0:
            instance.module = reader.u32()
            _at(self.modules, instance.module, "core module")
            for _ in range(self._count(reader.u32())):
                name = reader.name()
                reader.byte()  # it is an instance
                instance.arguments[name] = self._earlier(reader.u32())
        elif kind == 1:
            for _ in range(self._count(reader.u32())):
                name = reader.name()
                instance.exports[name] = reader.byte(), reader.u32()
        else:
            raise NotUnwrapped(f"it has a core instance of the unknown kind {kind}")
        self.core_instances.append(instance)

    def _earlier(self, index: int) -> int:
        _at(self.core_instances, index, "core instance")
        return index

    def _sort(self, reader: _Reader) -> tuple[bool, int]:
        """Whether a sort is one of core definitions, and its number."""
        sort = reader.byte()
        return (True, reader.byte()) if sort == 0 else (False, sort)

    def _add(self, core: bool, sort: int, origin: _Origin) -> None:
        if core:
            space = {0: self.core_functions, 1: self.core_tables, 2: self.core_memories}.get(sort)
            if sort == _MODULE_SORT:
                raise NotUnwrapped("it takes a core module from elsewhere, which is not served")
            if sort == 0x12:
                raise NotUnwrapped("it takes a core instance from elsewhere, which is not served")
        else:
            space = {1: self.functions, 3: self.types, 5: self.instances}.get(sort)
            if sort == 2:
                raise NotUnwrapped("it has values besides functions, which are not served")
        if space is not None:
            space.append(origin)

    def _instance(self, reader: _Reader) -> None:
        kind = reader.byte()
        if kind not in (0, 1):
            raise NotUnwrapped(f"it has an instance of the unknown kind {kind}")
        if kind == 0:
            reader.u32()
        for _ in range(self._count(reader.u32())):
            if kind == 1:
                reader.byte()
            reader.name()
            self._sort(reader)
            reader.u32()
        self.instances.append(_UNKNOWN)

    def _alias(self, reader: _Reader) -> None:
        core, sort = self._sort(reader)
        target = reader.byte()
        if target in (0, 1):
            if core != (target == 1) and (not core or sort != _MODULE_SORT):
                raise NotUnwrapped("it has an alias that takes a definition from an instance which has none such")
            instance, name = reader.u32(), reader.name()
            _at(self.instances if target == 0 else self.core_instances, instance, "instance")
            self._add(core, sort, _Of(instance, name))
        elif target == 2:
            reader.u32()
            reader.u32()
            self._add(core, sort, _UNKNOWN)
        else:
            raise NotUnwrapped(f"it has an alias of the unknown kind {target}")

    def _canon(self, reader: _Reader) -> None:
        kind = reader.byte()
        if kind in (0, 1):
            reader.byte()  # 0: of a function
            function, options = reader.u32(), self._options(reader)
            if kind == 0:
                reader.u32()  # its type
                _at(self.core_functions, function, "core function")
                self.functions.append(_Lift(function, options))
            else:
                _at(self.functions, function, "function")
                self.core_functions.append(_Lower(function, options))
        elif kind == 3:
            self.core_functions.append(_Drop(reader.u32()))
        elif kind in (2, 4):
            reader.u32()
            self.core_functions.append(_Other("a resource of the component's own"))
        else:
            raise NotUnwrapped(_ASYNC)

    def _options(self, reader: _Reader) -> _Options:
        options = _Options()
        for _ in range(self._count(reader.u32())):
            option = reader.byte()
            if option in _ENCODINGS:
                options.encoding = option
            elif option == 3:
                options.memory = reader.u32()
            elif option == 4:
                options.realloc = reader.u32()
            elif option == 5:
                reader.u32()
            elif option in (6, 7):
                options.asynchronous = True
                if option == 7:
                    reader.u32()
            else:
                raise NotUnwrapped("it keeps values in the garbage-collected heap of Wasm, which is not served")
        return options

    def _import(self, reader: _Reader) -> None:
        name = self._extern_name(reader)
        kind = self._described(reader)
        self._add(kind == 0, _MODULE_SORT if kind == 0 else kind, _Imported(name))

    def _export(self, reader: _Reader) -> None:
        self.exports.add(self._extern_name(reader))
        core, sort = self._sort(reader)
        reader.u32()
        if reader.byte():
            self._described(reader)
        self._add(core, sort, _UNKNOWN)

    def _extern_name(self, reader: _Reader) -> str:
        if reader.byte() > 1:
            raise NotUnwrapped("it has a name of an unknown kind: build it by older tools")
        return reader.name()

    def _described(self, reader: _Reader) -> int:
        """The sort of an `externdesc`."""
        kind = reader.byte()
        if kind == 0:
            reader.byte()
            reader.u32()
        elif kind == 3:
            if reader.byte() == 0:
                reader.u32()
        elif kind == 2:
            raise NotUnwrapped("it has values besides functions, which are not served")
        else:
            reader.u32()
        return kind


def _check_nested(component: _Component, reader: _Reader) -> None:
    """A component inside may only give names to functions, as `wit-component` does for the interfaces it exports."""
    if reader.data[reader.at : reader.at + 8] != PREAMBLE:
        raise NotUnwrapped("a component inside it does not begin as one")
    reader.at += 8
    while reader.more:
        component.count()
        kind, _ = reader.section()
        if kind in (1, 4):
            raise NotUnwrapped(_SEVERAL)


def _at(space: Sequence[object], index: int, what: str) -> None:
    if index >= len(space):
        raise NotUnwrapped(f"it names the {what} {index}, and has only {len(space)} before that")


# ---- taking the main module out ----


class _CoreImport(NamedTuple):
    """An import of a core module; `kind` is the bytes of its kind and type."""

    module: str
    name: str
    kind: bytes


class _Parts(NamedTuple):
    """A module, and the section of imports that stands for its bytes from `begin` to `end`."""

    inside: memoryview
    begin: int
    end: int
    imports: bytes


class _Main:
    """The main module of a component, found and looked at."""

    def __init__(self, component: _Component) -> None:
        self._component = component
        #: What fills a shim's table, by the shim: the arguments of its fix-up module.
        self._fixups: dict[int, list[Mapping[str, tuple[int, int]]]] = {}
        self._small: set[int] = set()
        self._main = self._find_main()
        self._find_fixups()
        self._adapters: set[int] = set()

    def _find_fixups(self) -> None:
        component = self._component
        tables = component.core_tables
        for index, instance in enumerate(component.core_instances):
            if instance.module is None or len(instance.arguments) > _FIXUP_ARGUMENTS:
                continue
            given: list[Mapping[str, tuple[int, int]]] = [
                component.core_instances[argument].exports for argument in instance.arguments.values()
            ]
            for argument in instance.arguments.values():
                shim = component.core_instances[argument]
                sort, table = shim.exports.get(_TABLE, (-1, 0))
                origin = tables[table] if sort == _TABLE_SORT and table < len(tables) else None
                if isinstance(origin, _Of) and origin.name == _TABLE:  # of wit-component until 2025: its table alone
                    argument, shim = origin.instance, component.core_instances[origin.instance]
                if shim.module is not None and not shim.arguments and argument != self._main:
                    self._fixups[argument] = given
                    self._small |= {index, argument}

    def _find_main(self) -> int:
        component = self._component
        owners = set()
        for function in (*component.core_functions, *component.functions):
            if isinstance(function, (_Lower, _Lift)) and function.options.memory is not None:
                _at(component.core_memories, function.options.memory, "core memory")
                memory = component.core_memories[function.options.memory]
                owners.add(memory.instance if isinstance(memory, _Of) else -1)
        if not owners:  # no function has values in memory
            owners = {
                origin.instance
                for lift in component.functions
                if isinstance(lift, _Lift) and isinstance(origin := component.core_functions[lift.function], _Of)
            }
        if not owners:
            raise NotUnwrapped("it exports no function of a core module: there is nothing to call")
        main = owners.pop()
        if owners or main < 0 or component.core_instances[main].module is None:
            raise NotUnwrapped(_SEVERAL)
        return main

    def parts(self) -> _Parts:
        """The main module. Raises `NotUnwrapped`."""
        component = self._component
        index = component.core_instances[self._main].module
        assert index is not None
        begin, end = component.modules[index]
        wasm = component.data[begin:end]
        if wasm[:8] != _CORE:
            raise NotUnwrapped("its main module does not begin as a core module")
        imports, at = _imports_of(wasm, component)
        named = [self._named(one) for one in imports]
        self._check_lifts()
        self._check_others()
        if named == imports or at is None:
            return _Parts(wasm, 0, 0, b"")
        # Many imports may stand for one function, whose long name each of them would get.
        if sum(len(one.module) + len(one.name) for one in named) > _NAMES:
            raise NotUnwrapped(f"its main module's imports have names of more than {_NAMES} characters together")
        section = leb128(len(named)) + b"".join(_text(one.module) + _text(one.name) + one.kind for one in named)
        return _Parts(wasm, *at, b"\2" + leb128(len(section)) + section)

    def _named(self, one: _CoreImport) -> _CoreImport:
        """An import of the main module by the name of what it stands for."""
        component = self._component
        argument = component.core_instances[self._main].arguments.get(one.module)
        if argument is None:
            raise NotUnwrapped(f"its main module is not given the import {one.module}.{one.name}")
        instance = component.core_instances[argument]
        if instance.module is not None:
            origin: _Origin = _Of(argument, one.name)
        else:
            sort, index = instance.exports.get(one.name, (-1, 0))
            if sort != _FUNC:
                return one  # a memory or a global, say: nothing answers it, and the check of imports says so
            _at(component.core_functions, index, "core function")
            origin = component.core_functions[index]
        for _ in range(_HOPS):
            if not isinstance(origin, _Of):
                break
            filled = self._fixups.get(origin.instance, ())
            sort, index = next((given[origin.name] for given in filled if origin.name in given), (-1, 0))
            if sort != _FUNC:
                break
            _at(component.core_functions, index, "core function")
            origin = component.core_functions[index]
        else:
            raise NotUnwrapped(f"the import {one.module}.{one.name} leads around in a circle")
        return self._answered(one, origin)

    def _answered(self, one: _CoreImport, origin: _Origin) -> _CoreImport:
        component = self._component
        if isinstance(origin, _Of):
            if one.module not in _PREVIEW1 or origin.instance == self._main:
                raise NotUnwrapped(_SEVERAL)
            self._adapters.add(origin.instance)
            return one
        if isinstance(origin, _Lower):
            self._check_options(origin.options, f"{one.module}.{one.name}")
            function = component.functions[origin.function]
            if isinstance(function, _Imported):
                return _CoreImport("$root", function.name, one.kind)
            if isinstance(function, _Of):
                interface = component.instances[function.instance]
                if isinstance(interface, _Imported):
                    return _CoreImport(interface.name, function.name, one.kind)
        if isinstance(origin, _Drop):
            _at(component.types, origin.type, "type")
            kind = component.types[origin.type]
            if isinstance(kind, _Of):
                interface = component.instances[kind.instance]
                if isinstance(interface, _Imported):
                    return _CoreImport(interface.name, f"[resource-drop]{kind.name}", one.kind)
        raise NotUnwrapped(f"the import {one.module}.{one.name} is none of the host's: it has resources of its own")

    def _check_options(self, options: _Options, where: str) -> None:
        component = self._component
        if options.asynchronous:
            raise NotUnwrapped(_ASYNC)
        if options.encoding:
            raise NotUnwrapped(f"{where} has texts in {_ENCODINGS[options.encoding]}, and UTF-8 alone is served")
        if options.memory is not None and component.core_memories[options.memory] != _Of(self._main, "memory"):
            raise NotUnwrapped(f"{where} has its values in another memory than the main module's export memory")
        if options.realloc is not None:
            _at(component.core_functions, options.realloc, "core function")
            if component.core_functions[options.realloc] != _Of(self._main, _REALLOC):
                raise NotUnwrapped(f"{where} has another allocator than the main module's export {_REALLOC}")

    def _check_lifts(self) -> None:
        component = self._component
        for lift in component.functions:
            if not isinstance(lift, _Lift):
                continue
            origin = component.core_functions[lift.function]
            where = origin.name if isinstance(origin, _Of) else "a function that it exports"
            if lift.options.asynchronous:
                raise NotUnwrapped(_ASYNC)
            if not isinstance(origin, _Of):
                raise NotUnwrapped(f"{where} is none of its main module's")
            if origin.instance == self._main:
                self._check_options(lift.options, where)
                interface, found, _ = origin.name.rpartition("#")
                if found and interface not in component.exports:
                    raise NotUnwrapped(f"its main module has {origin.name}, and it exports no {interface}")
            elif where.startswith(_RUN):  # the adapter's, which calls the main module's `_start`
                self._adapters.add(origin.instance)
            else:
                raise NotUnwrapped(_SEVERAL)

    def _check_others(self) -> None:
        """What else is instantiated must be known: nothing that a program needs may be left out."""
        component = self._component
        known = self._small | self._adapters | {self._main}
        for index, instance in enumerate(component.core_instances):
            if instance.module is None or index in known:
                continue
            if not self._initializes(instance):
                raise NotUnwrapped(_SEVERAL)

    def _initializes(self, instance: _CoreInstance) -> bool:
        """Whether it only calls the main module's `_initialize`, as the host does by itself."""
        component = self._component
        given = [component.core_instances[argument].exports for argument in instance.arguments.values()]
        if sum(map(len, given)) != 1:
            return False
        sort, index = next(one for exports in given for one in exports.values())
        functions = component.core_functions
        return sort == _FUNC and index < len(functions) and functions[index] == _Of(self._main, _INITIALIZE)


def _imports_of(wasm: memoryview, component: _Component) -> tuple[list[_CoreImport], tuple[int, int] | None]:
    """The imports of a core module, and where their section begins and ends."""
    reader = _Reader(wasm, len(_CORE), len(wasm))
    while reader.more:
        begin = reader.at
        kind, contents = reader.section()
        component.count()
        if kind == 2:
            imports = []
            for _ in range(contents.u32()):
                component.count()
                module, name, at = contents.name(), contents.name(), contents.at
                _skip_type(contents)
                imports.append(_CoreImport(module, name, bytes(wasm[at : contents.at])))
            return imports, (begin, reader.at)
    return [], None


def _skip_type(reader: _Reader) -> None:
    kind = reader.byte()
    if kind == 0:
        reader.u32()
    elif kind == 3:
        reader.part(2, 2)
    elif kind in (1, 2):
        if kind == 1:
            reader.byte()
        flags = reader.u32()
        reader.u32()
        if flags & 1:
            reader.u32()
    else:
        raise NotUnwrapped("its main module imports something of an unknown kind")


def _text(name: str) -> bytes:
    encoded = name.encode()
    return leb128(len(encoded)) + encoded

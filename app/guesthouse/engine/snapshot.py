"""Snapshots: a module whose instances begin as an initialised instance of another module was.

`observed` changes a module so that all of an instance's state can be read: its memory, its mutable globals and its
tables get exports, and the start section becomes an export, so that it can be read what there is before it runs.
`frozen` makes the snapshot of what was read: the memory is the contents of data segments, the globals begin with the
values that they had, and there is no start section. Tables must be as at the start, for their elements have no form in
a module that would be the same for all engines. Running the initialisation is in `initialise.py`.

A snapshot is a module like others, for any engine. Data segments with constant addresses are what an engine can map
into each instance's memory, so that instances share the pages that they do not write to.

The module must be valid. It is hostile all the same: everything here is linear in its size, and nothing walks through
memory byte by byte. What is read of it is in https://webassembly.github.io/spec/core/binary/modules.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from guesthouse.engine.wasm_sections import (
    START,
    export_names,
    leb128,
    memory_minimums,
    sections,
    signed,
    start_exported,
    unsigned,
    with_size,
)

#: A snapshot is kept by what it was made of, so it must not change unnoticed: with what this module and `initialise`
#: give for the same module, this number changes.
REVISION = "snapshot1"
#: Bytes of the largest memory that is frozen, and how many of them may be in parts of 4 KiB that are not all zeros.
MOST_MEMORY, MOST_BYTES = 1 << 30, 256 << 20

_PAGE = 65536
_GRAIN = 4096  # bytes: parts of this size that are all zeros are left out
_MOST_PARTS = 10_000  # data segments that the memory becomes
_MOST_SEGMENTS = 90_000  # that the module may have already; engines take 100,000
_NAMES = "guesthouse:snapshot:"
_MEMORY_NAME = _NAMES + "memory"
_FUNC, _TABLE, _MEMORY, _GLOBAL = range(4)  # kinds of exports
_IMPORTS, _TABLES, _MEMORIES, _GLOBALS, _EXPORTS, _START, _CODE, _DATA, _DATA_COUNT = 2, 4, 5, 6, 7, 8, 10, 11, 12
_FUNCREF = 0x70
_NUMBERS = {0x7F: 4, 0x7E: 8, 0x7D: 4, 0x7C: 8}  # i32, i64, f32, f64: bytes of a value
_OPERATORS = {0x7F: b"\x41", 0x7E: b"\x42", 0x7D: b"\x43", 0x7C: b"\x44"}  # i32.const and so on


class NotFrozen(Exception):
    """No snapshot can be made. The text says why, as words after "no snapshot can be made of it: "."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A module of whose instances all state can be read, by these exports."""

    wasm: bytes
    memory: str  # empty where it has none
    tables: tuple[str, ...]
    globals: tuple[str, ...]  # those that are mutable, in their order
    starts: bool  # whether it has a start function, which is the export `wasm_sections.START`


@dataclass(frozen=True, slots=True)
class State:
    """What was read of an instance: its memory, and the bytes of each mutable global's value."""

    memory: bytes
    globals: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Global:
    type: int
    mutable: bool
    begin: int  # of the entry
    value: int  # of its first value
    end: int


def observed(wasm: bytes) -> Observed:
    """The module with exports for all that an initialisation may change. Raises `NotFrozen`."""
    taken = [name for name in export_names(wasm) if name.startswith(_NAMES) or name == START]
    if taken:
        raise NotFrozen(f"it has an export named {taken[0]!a}, a name that the host keeps for itself")
    memories, tables = memory_minimums(wasm), list(_tables(wasm))
    if len(memories) > 1:
        raise NotFrozen("it has several memories, and only one can be frozen")
    if any(kind != _FUNCREF for kind in tables):
        raise NotFrozen("it has a table of references that are not plain functions, which cannot be frozen")
    entries: list[tuple[str, int, int]] = [(_MEMORY_NAME, _MEMORY, 0)] if memories else []
    table_names = [f"{_NAMES}table {index}" for index in range(len(tables))]
    entries += [(name, _TABLE, index) for index, name in enumerate(table_names)]
    global_names = []
    for index, one in enumerate(_globals(wasm)):
        if one.mutable:
            if one.type not in _NUMBERS:
                raise NotFrozen("a global variable of it is a vector or a reference, and only numbers can be frozen")
            global_names.append(f"{_NAMES}global {index}")
            entries.append((global_names[-1], _GLOBAL, index))
    starts = any(section == _START for section, _ in sections(wasm))
    changed = _with_exports(start_exported(wasm), (), entries)
    name = _MEMORY_NAME if memories else ""
    return Observed(changed, name, tuple(table_names), tuple(global_names), starts)


def frozen(
    wasm: bytes, state: State, without: Collection[str] = frozenset(), functions: Mapping[str, int] | None = None
) -> bytes:
    """The module `wasm`, with the state of one of its instances as the state that it begins with.

    It has no export named in `without`, and exports the `functions`, by their indexes, under these names besides.
    Raises `NotFrozen`.
    """
    functions = functions or {}
    doubled = [name for name in export_names(wasm) if name in functions and name not in without]
    if doubled:
        raise NotFrozen(f"it has an export named {doubled[0]!a} already")
    wasm = _with_exports(wasm, without, [(name, _FUNC, index) for name, index in functions.items()])
    counted = any(section == _DATA_COUNT for section, _ in sections(wasm))
    segments = _segments(wasm, state.memory, counted)
    data = leb128(len(segments)) + b"".join(segments)
    made = [wasm[:8]]
    for section, contents in sections(wasm):
        if section == _MEMORIES and state.memory:
            made.append(with_size(section, _grown(contents, len(state.memory) // _PAGE)))
        elif section == _GLOBALS:
            made.append(with_size(section, _valued(wasm, contents, state.globals)))
        elif section == _DATA_COUNT:
            made.append(with_size(section, leb128(len(segments))))
        elif section not in (_START, _DATA):
            made.append(with_size(section, contents))
    if segments:
        made.append(with_size(_DATA, data))  # the last of the sections that are not custom ones
    return b"".join(made)


# ---- exports ----


def _with_exports(wasm: bytes, without: Collection[str], more: Sequence[tuple[str, int, int]]) -> bytes:
    """The module without some exports, and with these, as (name, kind, index)."""
    added = b"".join(_text(name) + bytes([kind]) + leb128(index) for name, kind, index in more)
    made, found = [wasm[:8]], False
    for section, contents in sections(wasm):
        if section == _EXPORTS:
            found = True
            kept = [contents[begin:end] for name, begin, end in _exports(contents) if name not in without]
            made.append(with_size(section, leb128(len(kept) + len(more)) + b"".join(kept) + added))
            continue
        if not found and more and section >= _START:  # it has none, and here they belong
            found = True
            made.append(with_size(_EXPORTS, leb128(len(more)) + added))
        made.append(with_size(section, contents))
    if not found and more:
        made.append(with_size(_EXPORTS, leb128(len(more)) + added))
    return b"".join(made)


def _exports(contents: bytes) -> Iterator[tuple[str, int, int]]:
    """The exports of a section: their names, and where they begin and end."""
    count, at = unsigned(contents, 0)
    for _ in range(count):
        begin = at
        length, at = unsigned(contents, at)
        name = contents[at : at + length].decode()
        _, at = unsigned(contents, at + length + 1)
        yield name, begin, at


def _text(name: str) -> bytes:
    encoded = name.encode()
    return leb128(len(encoded)) + encoded


# ---- tables, memories and globals ----


def _contents(wasm: bytes, wanted: int) -> bytes:
    return next((contents for section, contents in sections(wasm) if section == wanted), b"\0")


def _tables(wasm: bytes) -> Iterator[int]:
    """The first byte of the type of each table's elements."""
    contents = _contents(wasm, _TABLES)
    count, at = unsigned(contents, 0)
    for _ in range(count):
        initialised = contents[at] == 0x40  # 0x40 0x00 stands before its type, an expression after its limits
        at += 2 if initialised else 0
        yield contents[at]
        at = _after_type(contents, at)
        flags = contents[at]
        _, at = unsigned(contents, at + 1)
        if flags & 1:
            _, at = unsigned(contents, at)
        if initialised:
            at = _after_expression(contents, at)


def _grown(contents: bytes, pages: int) -> bytes:
    """The section of one memory with another minimum."""
    _, rest = unsigned(contents, 2)  # after the number of memories, and the flags
    return contents[:2] + leb128(pages) + contents[rest:]


def _globals(wasm: bytes) -> Iterator[_Global]:
    contents = _contents(wasm, _GLOBALS)
    count, at = unsigned(contents, 0)
    for _ in range(count):
        begin, kind = at, contents[at]
        at = _after_type(contents, at)
        value = at + 1
        end = _after_expression(contents, value)
        yield _Global(kind, contents[at] == 1, begin, value, end)
        at = end


def _valued(wasm: bytes, contents: bytes, values: Sequence[bytes]) -> bytes:
    """The section of globals in which the mutable ones begin with these values."""
    found = list(_globals(wasm))
    left = iter(values)
    return leb128(len(found)) + b"".join(
        contents[one.begin : one.value] + _constant(one.type, next(left))
        if one.mutable
        else contents[one.begin : one.end]
        for one in found
    )


def _constant(kind: int, value: bytes) -> bytes:
    """The expression for a number."""
    value = value[: _NUMBERS[kind]]
    if kind in (0x7F, 0x7E):
        value = signed(int.from_bytes(value, "little", signed=True))
    return _OPERATORS[kind] + value + b"\x0b"


def _after_type(contents: bytes, at: int) -> int:
    """The position after a value type."""
    if contents[at] in (0x63, 0x64):  # a reference, whose heap type follows as a number
        return _after_number(contents, at + 1)
    return at + 1


def _after_number(contents: bytes, at: int) -> int:
    while contents[at] >= 0x80:
        at += 1
    return at + 1


def _after_expression(contents: bytes, at: int) -> int:
    """The position after a constant expression. Raises `NotFrozen`."""
    while True:
        operator = contents[at]
        at += 1
        if operator == 0x0B:
            return at
        if operator in (0x41, 0x42, 0x23, 0xD0, 0xD2):  # i32.const, i64.const, global.get, ref.null, ref.func
            at = _after_number(contents, at)
        elif operator in (0x43, 0x44):  # f32.const, f64.const
            at += 4 if operator == 0x43 else 8
        elif operator == 0xFD:  # v128.const
            at = _after_number(contents, at) + 16
        elif operator not in (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E):  # addition, subtraction, multiplication
            raise NotFrozen("it begins with objects in the garbage-collected heap of Wasm, which cannot be frozen")


# ---- data ----


def _segments(wasm: bytes, memory: bytes, counted: bool) -> list[bytes]:
    """The data segments of the snapshot.

    Where the code names segments by number, which a section 12 tells, these keep their numbers: the active ones, whose
    bytes are in the memory, are empty then, as they are in every instance. The passive ones are whole.
    """
    passive = list(_passive(wasm)) if counted else []
    if len(passive) > _MOST_SEGMENTS:
        raise NotFrozen(f"it has {len(passive)} data segments; at most {_MOST_SEGMENTS} can be frozen")
    return passive + [
        b"\0\x41" + signed(at) + b"\x0b" + leb128(len(part)) + part
        for at, end in _parts(memory)
        for part in (memory[at:end].rstrip(b"\0"),)
    ]


def _passive(wasm: bytes) -> Iterator[bytes]:
    contents = _contents(wasm, _DATA)
    count, at = unsigned(contents, 0)
    for _ in range(count):
        begin = at
        flags, at = unsigned(contents, at)
        if flags == 2:
            _, at = unsigned(contents, at)  # the memory
        if flags != 1:
            at = _after_expression(contents, at)
        length, at = unsigned(contents, at)
        at += length
        yield contents[begin:at] if flags == 1 else b"\1\0"


def _parts(memory: bytes) -> Iterator[tuple[int, int]]:
    """Where the memory is not zero: from, to. Raises `NotFrozen` where that is too much."""
    words = np.frombuffer(memory, np.uint64)
    grain = _GRAIN
    used = words.reshape(-1, grain // 8).any(axis=1)
    if int(used.sum()) * grain > MOST_BYTES:
        raise NotFrozen(f"more than {MOST_BYTES >> 20} MiB of its memory are in use after its initialisation")
    while True:
        changes = np.flatnonzero(np.diff(used, prepend=False, append=False))
        if len(changes) <= 2 * _MOST_PARTS:
            break
        even = np.append(used, [False] * (used.size % 2))
        used, grain = even.reshape(-1, 2).any(axis=1), 2 * grain  # coarser: fewer parts, with zeros in them
    for begin, end in changes.reshape(-1, 2).tolist():
        yield begin * grain, end * grain

"""What a module declares of its memories and tables, read from the binary itself and lowered in it: an engine does not
tell of what is not exported, may refuse the whole module, with less to say, for what is too large, or not bound it.

Only the table and memory sections (ids 4 and 5 of the core specification's binary format) are looked at; the module is
known to be valid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_TABLE_SECTION = 4
_MEMORY_SECTION = 5


class _Limits(NamedTuple):
    """A limits record: its numbers, and where it is."""

    minimum: int
    maximum: int | None
    begin: int
    end: int


def memory_minimums(wasm: bytes) -> list[int]:
    """The minimum of each memory that a valid module declares, in pages."""
    return [limits.minimum for limits in _memories(wasm)]


def table_minimums(wasm: bytes) -> list[int]:
    """The minimum of each table that a valid module declares, in elements; of none after one with an initialiser."""
    return [limits.minimum for limits in _tables(wasm)]


def bounded(wasm: bytes, pages: int, elements: int) -> bytes:
    """A valid module whose memories cannot grow beyond `pages`, nor its tables beyond `elements`.

    What starts larger keeps its size. For modules without table initialisers and 64-bit memories.
    """
    for section, most in ((_TABLE_SECTION, elements), (_MEMORY_SECTION, pages)):
        found = list(_tables(wasm) if section == _TABLE_SECTION else _memories(wasm))
        if found:
            wasm = _rewritten(wasm, section, found, most)
    return wasm


def _rewritten(wasm: bytes, section: int, found: list[_Limits], most: int) -> bytes:
    size_at, at = _section(wasm, section) or (0, 0)
    end, contents = found[-1].end, b""
    for limits in found:
        maximum = max(limits.minimum, most if limits.maximum is None else min(limits.maximum, most))
        contents += wasm[at : limits.begin] + b"\1" + _leb128(limits.minimum) + _leb128(maximum)
        at = limits.end
    return wasm[:size_at] + _leb128(len(contents)) + contents + wasm[end:]


def _memories(wasm: bytes) -> Iterator[_Limits]:
    count, at = _entries(wasm, _MEMORY_SECTION)
    for _ in range(count):
        limits = _limits(wasm, at)
        at = limits.end
        yield limits


def _tables(wasm: bytes) -> Iterator[_Limits]:
    count, at = _entries(wasm, _TABLE_SECTION)
    for _ in range(count):
        initialised = wasm[at] == 0x40  # 0x40 0x00 before its type, an expression behind it
        if initialised:
            at += 2
        at += 1
        if wasm[at - 1] in (0x63, 0x64):  # a reference to a heap type, which follows as a number
            _, at = _unsigned(wasm, at)
        limits = _limits(wasm, at)
        at = limits.end
        yield limits
        if initialised:
            return


def _entries(wasm: bytes, wanted: int) -> tuple[int, int]:
    """How many entries a section has, and where they begin."""
    section = _section(wasm, wanted)
    return (0, 0) if section is None else _unsigned(wasm, section[1])


def _section(wasm: bytes, wanted: int) -> tuple[int, int] | None:
    """Where a section's size is written, and where its contents begin."""
    at = 8  # magic and version
    while at < len(wasm):
        section, size_at = wasm[at], at + 1
        size, at = _unsigned(wasm, size_at)
        if section == wanted:
            return size_at, at
        at += size
    return None


def _limits(wasm: bytes, begin: int) -> _Limits:
    flags = wasm[begin]
    minimum, at = _unsigned(wasm, begin + 1)
    maximum = None
    if flags & 1:
        maximum, at = _unsigned(wasm, at)
    return _Limits(minimum, maximum, begin, at)


def _unsigned(wasm: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number and the position behind it."""
    value = shift = 0
    while True:
        byte = wasm[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _leb128(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))

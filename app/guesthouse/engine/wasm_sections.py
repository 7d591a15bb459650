"""A module's sections for tables, memories, exports and start, read and rewritten in the Wasm binary itself.

The binary is read here for three reasons. An engine does not tell of memories and tables that are not exported. It may
refuse a module whose memory or table is too large with a text that says less. And wasmer cannot bound them.

Only these sections are looked at (ids 4, 5, 7 and 8 of the core specification's binary format). The module must be
valid. What a snapshot changes in a module, data and globals among it, is in `snapshot.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: A module, or one inside a component, which is not copied.
Bytes = bytes | memoryview

_TABLE_SECTION = 4
_MEMORY_SECTION = 5
_EXPORT_SECTION = 7
_START_SECTION = 8
#: The name of the export that the start section becomes.
START = "guesthouse:start"


class _Limits(NamedTuple):
    """A limits record of a memory or table, and its position in the binary."""

    minimum: int
    maximum: int | None
    begin: int
    end: int


def memory_minimums(wasm: Bytes) -> list[int]:
    """The minimum of each memory that a valid module declares, in pages."""
    return [limits.minimum for limits in _memories(wasm)]


def table_minimums(wasm: Bytes) -> list[int]:
    """The minimum of each table that a valid module declares, in elements; up to the first one with an initialiser."""
    return [limits.minimum for limits in _tables(wasm)]


def bounded(wasm: bytes, pages: int, elements: int) -> bytes:
    """The module, changed so that no memory grows beyond `pages` and no table beyond `elements`.

    One that starts larger keeps its size. The module must have no table initialisers and no 64-bit memories.
    """
    for section, most in ((_TABLE_SECTION, elements), (_MEMORY_SECTION, pages)):
        found = list(_tables(wasm) if section == _TABLE_SECTION else _memories(wasm))
        if found:
            wasm = _rewritten(wasm, section, found, most)
    return wasm


def export_names(wasm: bytes) -> list[str]:
    """The names that a valid module exports."""
    count, at = _entries(wasm, _EXPORT_SECTION)
    names = []
    for _ in range(count):
        length, at = unsigned(wasm, at)
        names.append(wasm[at : at + length].decode())
        _, at = unsigned(wasm, at + length + 1)  # the index of the export, after its kind
    return names


def start_exported(wasm: bytes) -> bytes:
    """The module with the export `START` for its start section, where it has one. No export may have that name."""
    start = _section(wasm, _START_SECTION)
    if start is None:
        return wasm
    size_at, at = start
    size, _ = unsigned(wasm, size_at)
    name = START.encode()
    entry = leb128(len(name)) + name + b"\0" + wasm[at : at + size]
    begin, rest = wasm[: size_at - 1], wasm[at + size :]
    exports = _section(wasm, _EXPORT_SECTION)  # stands before the start section
    if exports is None:
        return begin + with_size(_EXPORT_SECTION, b"\1" + entry) + rest
    size_at, at = exports
    size, _ = unsigned(wasm, size_at)
    count, entries_at = unsigned(wasm, at)
    contents = leb128(count + 1) + wasm[entries_at : at + size] + entry
    return wasm[: size_at - 1] + with_size(_EXPORT_SECTION, contents) + begin[at + size :] + rest


def _rewritten(wasm: bytes, section: int, found: list[_Limits], most: int) -> bytes:
    size_at, at = _section(wasm, section) or (0, 0)
    end, contents = found[-1].end, b""
    for limits in found:
        maximum = max(limits.minimum, most if limits.maximum is None else min(limits.maximum, most))
        contents += wasm[at : limits.begin] + b"\1" + leb128(limits.minimum) + leb128(maximum)
        at = limits.end
    return wasm[:size_at] + leb128(len(contents)) + contents + wasm[end:]


def _memories(wasm: Bytes) -> Iterator[_Limits]:
    count, at = _entries(wasm, _MEMORY_SECTION)
    for _ in range(count):
        limits = _limits(wasm, at)
        at = limits.end
        yield limits


def _tables(wasm: Bytes) -> Iterator[_Limits]:
    count, at = _entries(wasm, _TABLE_SECTION)
    for _ in range(count):
        initialised = wasm[at] == 0x40  # 0x40 0x00 stands before its type, an expression after its limits
        if initialised:
            at += 2
        at += 1
        if wasm[at - 1] in (0x63, 0x64):  # a reference type whose heap type follows as a number
            _, at = unsigned(wasm, at)
        limits = _limits(wasm, at)
        at = limits.end
        yield limits
        if initialised:
            return


def _entries(wasm: Bytes, wanted: int) -> tuple[int, int]:
    """The number of entries of a section, and the position of the first."""
    section = _section(wasm, wanted)
    return (0, 0) if section is None else unsigned(wasm, section[1])


def _section(wasm: Bytes, wanted: int) -> tuple[int, int] | None:
    """The position of a section's size, and of its contents; None where the module does not have the section."""
    at = 8  # magic and version
    while at < len(wasm):
        section, size_at = wasm[at], at + 1
        size, at = unsigned(wasm, size_at)
        if section == wanted:
            return size_at, at
        at += size
    return None


def _limits(wasm: Bytes, begin: int) -> _Limits:
    flags = wasm[begin]
    minimum, at = unsigned(wasm, begin + 1)
    maximum = None
    if flags & 1:
        maximum, at = unsigned(wasm, at)
    return _Limits(minimum, maximum, begin, at)


def sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    """The sections of a valid module in their order: the id and the contents of each."""
    at = 8  # magic and version
    while at < len(wasm):
        section = wasm[at]
        size, at = unsigned(wasm, at + 1)
        yield section, wasm[at : at + size]
        at += size


def with_size(section: int, contents: bytes) -> bytes:
    """A section with its id and its size."""
    return bytes([section]) + leb128(len(contents)) + contents


def unsigned(wasm: Bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and the position after it."""
    value = shift = 0
    while True:
        byte = wasm[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def leb128(value: int) -> bytes:
    """An unsigned number as WebAssembly's binary format has it."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))


def signed(value: int) -> bytes:
    """A signed LEB128 number."""
    found = bytearray()
    while not -64 <= value < 64:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value & 0x7F))

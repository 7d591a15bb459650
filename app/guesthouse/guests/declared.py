"""What a module declares of its memories and tables, read from the binary itself: an engine does not tell of what is
not exported, and may refuse the whole module, with less to say, for what is too large.

Only the table and memory sections (ids 4 and 5 of the core specification's binary format) are looked at; the module is
known to be valid.
"""

from __future__ import annotations

_TABLE_SECTION = 4
_MEMORY_SECTION = 5


def memory_minimums(wasm: bytes) -> list[int]:
    """The minimum of each memory that a valid module declares, in pages."""
    at = _section(wasm, _MEMORY_SECTION)
    if at is None:
        return []
    count, at = _unsigned(wasm, at)
    minimums = []
    for _ in range(count):
        minimum, at = _limits(wasm, at)
        minimums.append(minimum)
    return minimums


def table_minimums(wasm: bytes) -> list[int]:
    """The minimum of each table that a valid module declares, in elements; of none after one with an initialiser."""
    at = _section(wasm, _TABLE_SECTION)
    if at is None:
        return []
    count, at = _unsigned(wasm, at)
    minimums = []
    for _ in range(count):
        initialised = wasm[at] == 0x40  # 0x40 0x00 before its type, an expression behind it
        if initialised:
            at += 2
        at += 1
        if wasm[at - 1] in (0x63, 0x64):  # a reference to a heap type, which follows as a number
            _, at = _unsigned(wasm, at)
        minimum, at = _limits(wasm, at)
        minimums.append(minimum)
        if initialised:
            break
    return minimums


def _section(wasm: bytes, wanted: int) -> int | None:
    """Where the contents of a section begin."""
    at = 8  # magic and version
    while at < len(wasm):
        section = wasm[at]
        size, at = _unsigned(wasm, at + 1)
        if section == wanted:
            return at
        at += size
    return None


def _limits(wasm: bytes, at: int) -> tuple[int, int]:
    """The minimum of a limits record, and the position behind it."""
    flags = wasm[at]
    minimum, at = _unsigned(wasm, at + 1)
    if flags & 1:
        _, at = _unsigned(wasm, at)
    return minimum, at


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

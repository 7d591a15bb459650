"""What a module declares of its tables, read from the binary itself: engines do not tell of tables that are not exported.

Only the table section (id 4 of the core specification's binary format) is looked at; the module is known to be valid.
"""

from __future__ import annotations

_TABLE_SECTION = 4


def table_minimums(wasm: bytes) -> list[int]:
    """The minimum of each table that a valid module declares, in elements."""
    at = 8  # magic and version
    while at < len(wasm):
        section = wasm[at]
        size, at = _unsigned(wasm, at + 1)
        if section == _TABLE_SECTION:
            return _tables(wasm, at)
        at += size
    return []


def _tables(wasm: bytes, at: int) -> list[int]:
    count, at = _unsigned(wasm, at)
    minimums = []
    for _ in range(count):
        initialised = wasm[at] == 0x40  # a table with an initialiser: 0x40 0x00 before its type
        if initialised:
            at += 2
        at += 1
        if wasm[at - 1] in (0x63, 0x64):  # a reference to a heap type, which follows as a signed number
            _, at = _unsigned(wasm, at)
        flags = wasm[at]
        minimum, at = _unsigned(wasm, at + 1)
        minimums.append(minimum)
        if flags & 1:
            _, at = _unsigned(wasm, at)
        if initialised:
            break  # an expression follows; the tables read so far are what is checked at load
    return minimums


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

"""Names with values in one piece of memory: the *pairs* of abi/spec/dapr_v1.md, section 1.

`u32 name_length, u32 value_length, name, value`, one pair behind the other, little-endian, without padding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from guesthouse_abi.errors import BadText

#: Pairs that are read at once.
MOST = 1024
_LENGTHS = struct.Struct("<II")


def encode(pairs: Iterable[tuple[str, str | bytes]]) -> bytes:
    """The pairs as bytes; text as UTF-8."""
    parts = []
    for name, value in pairs:
        key = name.encode("utf-8", "replace")
        content = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
        parts += [_LENGTHS.pack(len(key), len(content)), key, content]
    return b"".join(parts)


def decode(data: bytes) -> tuple[tuple[str, str], ...]:
    """What `encode` wrote, of text. Raises `BadText`."""
    try:
        return tuple([(name.decode(), value.decode()) for name, value in each(data)])
    except UnicodeDecodeError:
        raise BadText("a pair that is not UTF-8") from None


def each(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The pairs that `encode` wrote, as bytes. Raises `BadText`."""
    at = count = 0
    while at < len(data):
        if count == MOST:
            raise BadText(f"more than {MOST} pairs")
        if at + _LENGTHS.size > len(data):
            raise BadText("pairs that end within a length")
        name, value = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        if at + name + value > len(data):
            raise BadText("pairs that are longer than what they came in")
        yield data[at : at + name], data[at + name : at + name + value]
        at += name + value
        count += 1

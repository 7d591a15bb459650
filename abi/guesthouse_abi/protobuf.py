"""The wire format of protobuf, read and written field by field. What a field means is decided elsewhere.

The encoding: https://protobuf.dev/programming-guides/encoding. Groups, which no message here has, are refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """The bytes are no protobuf message."""


def fields(data: bytes, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of the message at data[position:end], each as (field number, wire type, begin, stop).

    `begin` is the value itself for a `VARINT`, else the position of its first byte. Raises `Malformed`.
    """
    while position < end:
        tag, position = varint(data, position, end)
        number, kind = (tag & 0xFFFFFFFF) >> 3, tag & 7  # protobuf's parsers use the low 32 bits of a tag
        if kind == VARINT:
            value, position = varint(data, position, end)
            yield number, kind, value, position
        elif kind in (BYTES, FIXED64, FIXED32):
            if kind == BYTES:
                length, position = varint(data, position, end)
            else:
                length = 8 if kind == FIXED64 else 4
            if length > end - position:
                raise Malformed
            yield number, kind, position, position + length
            position += length
        else:
            raise Malformed


def varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """The base-128 number at `position`, and the position after it. Raises `Malformed`."""
    value = shift = 0
    while position < end and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise Malformed


def encoded(value: int) -> bytes:
    """A number of 0 or more as a varint."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def signed(value: int) -> int:
    """The int64 that a varint stands for (two's complement of 64 bits)."""
    value &= 2**64 - 1
    return value - 2**64 if value >> 63 else value


# ---- writing; what is empty, or 0, is left out, as protobuf has it ----


def part(number: int, data: bytes) -> bytes:
    """A field of bytes, text or another message, also where it is empty."""
    return encoded(number << 3 | BYTES) + encoded(len(data)) + data


def text_field(number: int, text: str) -> bytes:
    """A field of text."""
    return part(number, text.encode(errors="replace")) if text else b""


def bytes_field(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    return part(number, data) if data else b""


def number_field(number: int, value: int) -> bytes:
    """A field of a number of 0 or more."""
    return encoded(number << 3 | VARINT) + encoded(value) if value else b""


def map_field(number: int, items: Iterable[tuple[str, str]]) -> bytes:
    """A map of texts."""
    return b"".join(part(number, text_field(1, key) + text_field(2, value)) for key, value in items)

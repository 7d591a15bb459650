"""Values of functions: the results of wasmedge-bindgen as bytes of a reply, and both parameters and results as JSON.

As JSON (`values = "json"` in the guest's table) the body is an array with an element for each parameter, and the reply
one with an element for each result. A module does not say what types its parameters have. What the manifest's
`parameters` says is checked; without it each element's kind decides:

===============================  =====================================================================================
element                          what the function gets
===============================  =====================================================================================
text                             its UTF-8 (`String`, `Vec<u8>`)
a whole number                   eight little-endian bytes, which every type of whole numbers may read the first of
a number with a point            f64
true, false                      bool
whole numbers from 0 to 255      a `Vec<u8>`
===============================  =====================================================================================

How values get into the guest and out of it is not here, but in `calling/bindgen.py` and `imports/bindgen_results.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, MalformedEvent, TooMuch

#: Parameters or results of one function.
MOST_VALUES = 64

TRIPLE = struct.Struct("<III")

# Type tags of results: the Rust type, and its little-endian layout for a scalar.
_SCALARS: dict[int, tuple[str, str]] = {
    1: ("u8", "<u1"),
    2: ("i8", "<i1"),
    3: ("u16", "<u2"),
    4: ("i16", "<i2"),
    5: ("u32", "<u4"),
    6: ("i32", "<i4"),
    7: ("u64", "<u8"),
    8: ("i64", "<i8"),
    9: ("f32", "<f4"),
    10: ("f64", "<f8"),
}
_BOOL, _CHAR = 11, 12
_VECTORS = {21: "<u1", 22: "<i1", 23: "<u2", 24: "<i2", 25: "<u4", 26: "<i4", 27: "<u8", 28: "<i8"}
_BYTES, _STRING = 21, 31

_LAYOUTS = dict(_SCALARS.values())
_WHOLE = tuple(name for name in _LAYOUTS if name[0] != "f")
#: What `parameters` may name.
TYPES = (*_LAYOUTS, "bool", "char", "String", *(f"Vec<{name}>" for name in _WHOLE))

_DIGITS, _FRACTION = 20, 400  # characters of a number in JSON
_LOOK = 1 << 16  # numbers between two looks at the deadline
_VALUE = 64  # bytes that Python needs for one value of JSON, about
_SHOWN = 40


def check_output(context: Context, length: int) -> None:
    """Raise `BadReply` for a reply beyond the limit."""
    if length > context.limits.output:
        raise BadReply(f"a reply of {length} bytes; the limit output is {context.limits.output}")


# ---- results as they are ----


def known_value(tag: int, length: int) -> bool:
    """Whether a triple's tag and byte count fit together."""
    if tag in _SCALARS:
        return length == np.dtype(_SCALARS[tag][1]).itemsize
    return tag in _VECTORS or tag == _STRING or (tag == _BOOL and length == 1) or (tag == _CHAR and length == 4)


def _read(context: Context, pointer: int, tag: int, length: int) -> bytes:
    check_output(context, length)
    if not known_value(tag, length):
        raise BadReply(f"a result with the type tag {tag} and {length} bytes")
    return context.memory.read(pointer, length)


def _scalar(tag: int, data: bytes) -> str:
    """A number, bool or char as text."""
    if tag == _BOOL:
        return "true" if data[0] else "false"
    if tag == _CHAR:
        point = int.from_bytes(data, "little")
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise BadReply(f"a char of {point:#x}")
        return chr(point)
    return str(np.frombuffer(data, _SCALARS[tag][1])[0])


def result_as_bytes(context: Context, pointer: int, count: int) -> bytes:
    """`count` triples as the body of a reply: one value, or none for an empty body. Raises `BadReply`."""
    if count == 0:
        return b""
    if count > 1:
        raise BadReply(f'{count} results; a function for events returns one, or has values = "json" in the manifest')
    at, tag, length = context.memory.unpack(TRIPLE, pointer)
    data = _read(context, at, tag, length)
    return data if tag in _VECTORS or tag == _STRING else _scalar(tag, data).encode()


# ---- results as JSON ----


def results_as_json(context: Context, pointer: int, count: int) -> bytes:
    """`count` triples as a JSON array. Raises `BadReply`."""
    if count > MOST_VALUES:
        raise BadReply(f"{count} results; a function may have {MOST_VALUES}")
    triples = list(TRIPLE.iter_unpack(context.memory.read(pointer, count * TRIPLE.size)))
    check_output(context, sum(length for _, _, length in triples))
    reply = bytearray(b"[")
    for at, tag, length in triples:
        if len(reply) > 1:
            reply += b","
        _add_json(context, reply, tag, _read(context, at, tag, length))
        check_output(context, len(reply))
    return bytes(reply + b"]")


def _add_json(context: Context, reply: bytearray, tag: int, data: bytes) -> None:
    if tag == _BYTES:
        reply += b'"' + base64.b64encode(data) + b'"'
    elif tag in _VECTORS:
        _add_numbers(context, reply, data, np.dtype(_VECTORS[tag]))
    elif tag == _STRING:
        try:
            reply += json.dumps(data.decode(), ensure_ascii=False).encode()
        except UnicodeDecodeError:
            raise BadReply("a String that is not UTF-8") from None
    elif tag == _CHAR:
        reply += json.dumps(_scalar(tag, data), ensure_ascii=False).encode()
    elif tag in _SCALARS and _SCALARS[tag][0][0] == "f":
        text = _scalar(tag, data)
        reply += (text if math.isfinite(float(text)) else "null").encode()  # as JavaScript has it
    else:
        reply += _scalar(tag, data).encode()


def _add_numbers(context: Context, reply: bytearray, data: bytes, layout: np.dtype[Any]) -> None:
    if len(data) % layout.itemsize:
        raise BadReply(f"a Vec of {len(data)} bytes, whose elements have {layout.itemsize}")
    numbers = np.frombuffer(data, layout)
    reply += b"["
    for start in range(0, len(numbers), _LOOK):
        context.deadline.check()
        if start:
            reply += b","
        reply += ",".join(map(str, numbers[start : start + _LOOK].tolist())).encode()
        check_output(context, len(reply))
    reply += b"]"


# ---- parameters as JSON ----


#: What the guest is handed: bytes, and the count beside them (elements of a `Vec`, bytes of a `String`, else 1).
Parameter = tuple[bytes, int]


def parameters_from_json(context: Context, body: bytes, types: Sequence[str]) -> list[Parameter]:
    """The parameters that a body has; `types` are those that the manifest names, none where it names none.

    Raises `MalformedEvent`, with the element that is wrong.
    """
    if not body.strip():
        return _parameters(context, [], types)
    # Accounted for before it is parsed: its texts, and Python's objects for its values.
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    size = len(body) * (4 if body.isascii() else 12) + _VALUE * values
    try:
        context.hold(size)
    except TooMuch as error:
        raise MalformedEvent(f"the body is more JSON than can be held: {error}") from None
    try:
        return _parameters(context, _parsed(context, body), types)
    finally:
        context.release(size)


def _parameters(context: Context, elements: Sequence[object], types: Sequence[str]) -> list[Parameter]:
    if types and len(types) != len(elements):
        raise MalformedEvent(f"the body has {len(elements)} elements; the function has {len(types)} parameters")
    if len(elements) > MOST_VALUES:
        raise MalformedEvent(f"the body has {len(elements)} elements; a function may have {MOST_VALUES} parameters")
    found = []
    for index, element in enumerate(elements):
        context.deadline.check()
        found.append(_parameter(element, types[index] if types else "", f"element {index} of the body"))
    return found


def _parsed(context: Context, body: bytes) -> list[object]:
    numbers = _Numbers(context)
    try:
        elements = json.loads(
            body.decode(), parse_int=numbers.whole, parse_float=numbers.fraction, parse_constant=numbers.refused
        )
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MalformedEvent(f"the body is not JSON: {reason}") from None
    if not isinstance(elements, list):
        raise MalformedEvent("the body is JSON and no array: write one, with an element for each parameter")
    return elements


class _Numbers:
    """Makes numbers of JSON's. Left alone, the parser would take any number of digits, and look at no deadline."""

    def __init__(self, context: Context) -> None:
        self._deadline = context.deadline
        self._seen = 0

    def whole(self, text: str) -> int:
        self._check(text, _DIGITS)
        return int(text)

    def fraction(self, text: str) -> float:
        self._check(text, _FRACTION)
        return float(text)

    def refused(self, text: str) -> object:
        raise ValueError(f"{text} is no number of JSON's")

    def _check(self, text: str, most: int) -> None:
        self._seen += 1
        if self._seen % _LOOK == 0:
            self._deadline.check()
        if len(text) > most:
            raise ValueError(f"a number of {len(text)} characters")


def _parameter(value: object, kind: str, where: str) -> Parameter:
    if not kind:
        return _by_its_kind(value, where)
    if kind.startswith("Vec<"):
        return _vector(value, kind[4:-1], where)
    if kind == "String" and isinstance(value, str):
        return _text(value, where)
    if kind == "bool" and isinstance(value, bool):
        return (bytes([value]), 1)
    if kind == "char" and isinstance(value, str) and len(value) == 1 and not 0xD800 <= ord(value) <= 0xDFFF:
        return (ord(value).to_bytes(4, "little"), 1)
    if kind in _WHOLE and type(value) is int:
        least, most = _range(kind)
        if least <= value <= most:
            return (value.to_bytes(np.dtype(_LAYOUTS[kind]).itemsize, "little", signed=value < 0), 1)
        raise MalformedEvent(f"{where} is {value}; {kind} goes from {least} to {most}")
    if kind in ("f32", "f64") and type(value) in (int, float):
        return _fraction(float(value), kind, where)  # type: ignore[arg-type]
    raise MalformedEvent(f"{where} is {_shown(value)}, and no {kind}")


def _by_its_kind(value: object, where: str) -> Parameter:
    if isinstance(value, bool):
        return (bytes([value]), 1)
    if isinstance(value, int):
        return _parameter(value, "i64" if value < 0 else "u64", where)
    if isinstance(value, float):
        return _fraction(value, "f64", where)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, list):
        return _vector(value, "u8", where)
    raise MalformedEvent(f"{where} is {_shown(value)}, which no parameter can be")


def _text(value: str, where: str) -> Parameter:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise MalformedEvent(f"{where} is a text with half a surrogate pair in it") from None
    return (data, len(data))


def _fraction(value: float, kind: str, where: str) -> Parameter:
    try:
        data = struct.pack("<f" if kind == "f32" else "<d", value)
    except OverflowError:
        data = b""
    if not data or not math.isfinite(value):
        raise MalformedEvent(f"{where} is {value!r}, which is too large for {kind}")
    return (data, 1)


def _vector(value: object, kind: str, where: str) -> Parameter:
    if kind == "u8" and isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
        except (ValueError, binascii.Error) as error:
            raise MalformedEvent(f"{where} is no base64: {error}") from None
        return (data, len(data))
    if not isinstance(value, list):
        raise MalformedEvent(f"{where} is {_shown(value)}, and no list of {kind}")
    least, most = _range(kind)
    if value and not ({int}.issuperset(map(type, value)) and least <= min(value) and max(value) <= most):
        index = next(i for i, one in enumerate(value) if type(one) is not int or not least <= one <= most)
        raise MalformedEvent(
            f"{where} has {_shown(value[index])} at {index}; Vec<{kind}> has whole numbers from {least} to {most}"
        )
    return (np.array(value, _LAYOUTS[kind]).tobytes(), len(value))


def _range(kind: str) -> tuple[int, int]:
    info = np.iinfo(np.dtype(_LAYOUTS[kind]))
    return int(info.min), int(info.max)


def _shown(value: object) -> str:
    """A value of JSON, cut; lists and objects by their kind."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

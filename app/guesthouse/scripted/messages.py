"""Protobuf messages as tables of TOML: a message is made of a table, or compared with what a table says of it.

A table is the message's JSON form (https://protobuf.dev/programming-guides/json/), with one thing more. Bytes, which
JSON has in base64, may be a table with one of the keys `text`, `json` and `base64`. So is an `Any`, which in Dapr's
messages carries bytes of any kind.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from guesthouse.manifest.text import shown
from guesthouse.scripted.tables import in_words, mistaken, written_bytes

_ANY = "google.protobuf.Any"
_BYTES = FieldDescriptor.TYPE_BYTES


class NoMessage(ValueError):
    """A table that is not the message; `at` is the path to what is wrong in it."""

    def __init__(self, what: str, at: str) -> None:
        super().__init__(what)
        self.at = at


def fill(message: Any, table: Any, at: str) -> None:
    """Put what a table says into a message. Raises `NoMessage`."""
    if not isinstance(table, dict):
        raise NoMessage(mistaken(table, "a table"), at)
    if message.DESCRIPTOR.full_name == _ANY:
        message.value = _bytes(table, at)
        return
    for key, value in table.items():
        place = f"{at}.{key}"
        field = _field(message, key, place)
        if not _own(field):
            try:
                json_format.ParseDict({field.json_name: value}, message)
            except (json_format.ParseError, TypeError, ValueError) as error:
                raise NoMessage(" ".join(str(error).split()), place) from None
        elif _is_map(field) or field.is_repeated:
            target = getattr(message, field.name)
            for name, one in _elements(field, value, place):
                if _content(field).type == _BYTES:
                    _put(target, name, _bytes(one, f"{place}[{name!a}]"))
                else:
                    fill(target[name] if _is_map(field) else target.add(), one, f"{place}[{name!a}]")
        elif field.type == _BYTES:
            setattr(message, field.name, _bytes(value, place))
        else:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(inner, value, place)


def difference(message: Any, wanted: Any, table: Any, at: str) -> str:
    """Where a message differs from what a table says of it, in words; empty where it does not.

    `wanted` is the message that the table was filled into. What the table does not name may be anything.
    """
    if message.DESCRIPTOR.full_name == _ANY:
        return _difference_of_bytes(message.value, wanted.value, table, at)
    for key, value in table.items():
        place = f"{at}.{key}"
        field = _field(wanted, key, place)
        got, want = getattr(message, field.name), getattr(wanted, field.name)
        if _is_map(field) or (field.is_repeated and _own(field)):
            found = _difference_inside(field, got, want, value, place)
        else:
            found = _difference_of_one(field, got, want, value, place)
        if found:
            return found
    return ""


def _difference_inside(field: FieldDescriptor, got: Any, want: Any, value: Any, at: str) -> str:
    """Of a list, element by element; of a map, what the table names of it."""
    if not _is_map(field) and len(got) != len(want):
        return f"{at} has {len(got)} elements, not {len(want)}"
    for name, one in _elements(field, value, at):
        if _is_map(field) and name not in got:
            return f"{at} has no {shown(name)}"
        if found := _difference_of_one(_content(field), got[name], want[name], one, f"{at}[{name!a}]"):
            return found
    return ""


def _difference_of_one(field: FieldDescriptor, got: Any, want: Any, value: Any, at: str) -> str:
    if not _own(field):
        return "" if got == want else f"{at} is {_plain(got)}, not {_plain(want)}"
    if field.type == _BYTES:
        return _difference_of_bytes(got, want, value, at)
    return difference(got, want, value, at)


def _difference_of_bytes(got: bytes, want: bytes, value: Any, at: str) -> str:
    """As JSON where the table has it so: spaces and the order of keys do not count then."""
    same = got == want or (isinstance(value, dict) and "json" in value and same_json(got, want))
    return "" if same else f"{at} is {in_words(got)}, not {in_words(want)}"


def same_json(one: bytes, other: bytes) -> bool:
    """Whether two texts are the same JSON."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False


def _field(message: Any, key: str, at: str) -> FieldDescriptor:
    fields: list[FieldDescriptor] = message.DESCRIPTOR.fields
    for field in fields:
        if key in (field.json_name, field.name):
            return field
    names = ", ".join(field.json_name for field in fields)
    raise NoMessage(f"{message.DESCRIPTOR.name} has no field {shown(key)}; it has {names}", at)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _content(field: FieldDescriptor) -> FieldDescriptor:
    """What a map or a list has in it."""
    kind: Any = field.message_type
    return kind.fields_by_name["value"] if _is_map(field) else field


def _own(field: FieldDescriptor) -> bool:
    """Whether there is something in the field that is read here: bytes, or a message that is not one of protobuf's own.
    The rest is left to protobuf."""
    content = _content(field)
    if content.message_type is None:
        return content.type == _BYTES
    name = content.message_type.full_name
    return name == _ANY or not name.startswith("google.protobuf.")


def _elements(field: FieldDescriptor, value: Any, at: str) -> Iterator[tuple[Any, Any]]:
    """What a table says of a list or a map, by position or name."""
    kind = dict if _is_map(field) else list
    if not isinstance(value, kind):
        raise NoMessage(mistaken(value, "a table" if kind is dict else "a list"), at)
    yield from value.items() if isinstance(value, dict) else enumerate(value)


def _put(target: Any, name: Any, data: bytes) -> None:
    if isinstance(name, int):
        target.append(data)
    else:
        target[name] = data


def _bytes(value: Any, at: str) -> bytes:
    """Bytes as a table has them. A text is base64, as in JSON; protobuf itself would skip what is none."""
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise NoMessage(f'{shown(value)} is not base64; of a text make {{ text = "…" }}', at) from None
    try:
        return written_bytes(value)
    except ValueError as error:
        raise NoMessage(f'{error}; write {{ text = "…" }}, {{ json = … }} or {{ base64 = "…" }}', at) from None


def _plain(value: Any) -> str:
    """A value of protobuf in a message."""
    if isinstance(value, Message):
        return json_format.MessageToJson(value, indent=None)[:200]
    return shown(value) if isinstance(value, str | int | float) else str(value)[:200]

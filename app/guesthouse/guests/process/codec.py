"""A guest's settings on their way to a worker: dataclasses as JSON, and back again by the types of their fields.

A new field needs nothing here, as long as it is a text, a number, true or false, a path, a dataclass, or a tuple, a
frozenset or an optional one of those. What goes to and fro in an event is not of this kind: see `wire` and the files of
`guests/capabilities`.
"""

from __future__ import annotations

import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

_PLAIN = (str, int, float, bool)


def encode(value: Any) -> Any:
    """A value for `json.dumps`. Raises `TypeError` for one that has no form here."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, frozenset):
        return sorted(map(encode, value))
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    raise TypeError(f"a {type(value).__name__} cannot be handed to a worker process")


def decode(kind: Any, value: Any) -> Any:
    """The value of type `kind` that `encode` wrote. Raises `TypeError` and `ValueError` where it wrote another one."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: decode(hints[name], item) for name, item in value.items()})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        (some,) = (one for one in inner if one is not type(None))
        return None if value is None else decode(some, value)
    if origin is tuple and inner[-1] is ...:
        return tuple(decode(inner[0], item) for item in value)
    if origin is tuple:
        return tuple(decode(one, item) for one, item in zip(inner, value, strict=True))
    if origin is frozenset:
        return frozenset(decode(inner[0], item) for item in value)
    if kind is Path:
        return Path(value)
    if kind not in _PLAIN or not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(f"{value!r} is no {kind}")
    return value

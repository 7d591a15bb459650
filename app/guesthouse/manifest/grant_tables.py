"""Tables of guests that are made of frozen dataclasses: the grants of capabilities.

This room knows of a capability only its name and a dataclass, which says what a guest can be granted of it. That
becomes a table of the manifest, checked and described as all others are. A field of the dataclass is a text, a whole
number, a number of seconds (float), true or false, a tuple of one of these, or one of these or None. What
`pydantic.Field` takes besides stands in the field's `metadata`: its `description`, and bounds such as `ge` and `le`. A
`check` there is called with each text of the field: it returns what is wrong with the text and what to write, or None.

    @dataclass(frozen=True)
    class KeyValueGrant:
        "The keys that the guest may use."  # this says in docs/manifest.md what the table is for

        keys: tuple[str, ...] = field(metadata={"description": "their names"})
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, create_model

from guesthouse.manifest.tables import Count, Duration, Guest, Manifest, Name, SomeText, Switch, Table
from guesthouse.manifest.text import wrong

Grants = Mapping[str, type[Any]]
"""A dataclass for each table, by the table's name."""

Check = Callable[[str], "tuple[str, str] | None"]
"""What is wrong with a text, to follow the text, and what to write instead; None where nothing is."""

_VALUES: dict[Any, Any] = {str: SomeText, int: Count, float: Duration, bool: Switch}


def manifest_with(grants: Grants) -> type[Manifest]:
    """The manifest where each guest may have these tables too: the same class each time, for a class is not small, and
    each reload asks for it."""
    return _manifest_with(tuple(sorted(grants.items())))


@functools.lru_cache(maxsize=16)
def _manifest_with(grants_by_name: tuple[tuple[str, type[Any]], ...]) -> type[Manifest]:
    grants = dict(grants_by_name)
    if not grants:
        return Manifest
    if taken := sorted(grants.keys() & Guest.model_fields.keys()):
        raise ValueError(f"guests have {', '.join(taken)} already")
    tables: dict[str, Any] = {
        name: (_table_of(name, kind) | None, Field(default=None, description=_words(kind)))
        for name, kind in grants.items()
    }
    guest = create_model("Guest", __base__=Guest, __doc__=Guest.__doc__, **tables)
    guest.grant_kinds = dict(grants)
    guests: Any = (Mapping[Name, guest], Field(default_factory=dict))  # type: ignore[valid-type]
    return create_model("Manifest", __base__=Manifest, __doc__=Manifest.__doc__, guests=guests)


def _words(kind: type[Any]) -> str:
    """What its docstring says, on one line: Python before 3.13 keeps the indentation."""
    return " ".join((kind.__doc__ or "").split())


def _table_of(name: str, kind: type[Any]) -> type[Table]:
    hints = typing.get_type_hints(kind)
    fields: dict[str, Any] = {}
    for one in dataclasses.fields(kind):
        settings = dict(one.metadata)
        value = _value_of(hints[one.name], settings.pop("check", None))
        fields[one.name] = (value, Field(default=_default_of(one), **settings))
    return create_model(name, __base__=Table, __doc__=_words(kind), **fields)


def _value_of(hint: Any, check: Check | None = None) -> Any:
    """What stands in a table for a field of this type. Raises `TypeError`."""
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and inner[1:] == (...,):
        return tuple[_value_of(inner[0], check), ...]  # type: ignore[misc]
    if typing.get_origin(hint) in (types.UnionType, typing.Union) and inner[1:] == (type(None),):
        return _value_of(inner[0], check)  # TOML has no null: None is the default alone
    if hint not in _VALUES:
        raise TypeError(f"a grant has no field of type {hint}")
    return _VALUES[hint] if check is None else Annotated[_VALUES[hint], AfterValidator(_checked_by(check))]


def _checked_by(check: Check) -> Callable[[str], str]:
    def checked(value: str) -> str:
        if found := check(value):
            raise wrong(*found)
        return value

    return checked


def _default_of(field: dataclasses.Field[Any]) -> Any:
    return ... if field.default is dataclasses.MISSING else field.default

"""The forms of text in a manifest: sizes, durations, `${NAME}` from the environment; and how errors show keys and
values.

Which keys a manifest has is in `tables.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from guesthouse.text import escaped

Where = tuple[str | int, ...]
"""The position of a value in the manifest: the keys and list indices that lead to it."""

_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))? ?(B|KB|MB|GB|KiB|MiB|GiB)?", re.ASCII)
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|m|us|s)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{)", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SHOWN = 60


def wrong(what: str, remedy: str) -> PydanticCustomError:
    """The error that a validator raises. Its message is the value followed by `what`; `remedy` says what to do."""
    return PydanticCustomError("wrong", "{what}", {"what": what, "remedy": remedy})


def shown(value: object) -> str:
    """A value as the user wrote it, on one line and cut; of a table or list, only what kind of value it is."""
    if not isinstance(value, str | int | float):
        return kind_of(value)
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # a whole number with more digits than Python converts to text
        return kind_of(value)
    text = escaped(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def kind_of(value: object) -> str:
    """What kind of TOML value this is, in words."""
    names = ((bool, "true or false"), (str, "text"), (int, "a whole number"), (float, "a number"))
    containers = ((Mapping, "a table"), (list, "a list"))
    return next((name for kind, name in (*names, *containers) if isinstance(value, kind)), "a date or time")


def key_path(where: Where) -> str:
    """A position as text: `guests.classify.limits.memory`, or `[[invoke]] #2: method` in a list of tables."""
    if len(where) > 1 and isinstance(where[1], int):
        table, rest = f"[[{where[0]}]] #{where[1] + 1}", _dotted(where[2:])
        return f"{table}: {rest}" if rest else table
    return _dotted(where)


def _dotted(where: Where) -> str:
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else shown(part))
    return text


def parse_size(value: object) -> int:
    """The bytes of a size: a whole number, or text as in `128MiB`, `16MB`, `1.5GiB`."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if match:
        whole, fraction, unit = match[1], match[2] or "", _UNITS[match[3] or ""]
        size, left = divmod(int(whole + fraction) * unit, int("1" + "0" * len(fraction)))
        if not left:
            return size
    raise wrong("is not a size", "write bytes, or a number with KiB, MiB, GiB, KB, MB or GB, as in 128MiB")


def format_size(size: int) -> str:
    """The shortest text that `parse_size` reads as `size`."""
    for unit in ("GiB", "MiB", "KiB", "GB", "MB", "KB"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return f"{size}B"


def parse_duration(value: object) -> float:
    """The seconds of a duration, as in `5s`, `200ms`, `1m30s`, `1.5s`."""
    if isinstance(value, str):
        parts = _PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))
    raise wrong("is not a duration", "write numbers with h, m, s, ms or us, as in 5s, 200ms or 1m30s")


def format_duration(seconds: float) -> str:
    """Text that `parse_duration` reads as `seconds`, to the microsecond."""
    left = round(seconds * 1_000_000)
    text = ""
    for unit, micros in (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)):
        count, left = divmod(left, micros)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${NAME}` by the variable NAME of `environ`, and `$$` by a dollar sign.

    `${NAME:-default}` gives the default where NAME is not set or empty. Other dollar signs stay. Raises what `wrong`
    makes for a variable that is not set and has no default, and for `${` without a name after it. No message shows a
    variable's value.
    """

    def one(match: re.Match[str]) -> str:
        dollar, name, default = match.groups()
        if dollar:
            return "$"
        if name is None:
            raise wrong("has ${ without a name and a closing brace", "write ${NAME}, or $${ for the text itself")
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise wrong(f"needs ${name}, which is not set", f"set {name}, or write ${{{name}:-default}}")
        return environ[name]

    return _REFERENCE.sub(one, text)


def expand_all(
    value: Any, environ: Mapping[str, str], refuse: Callable[[Where, PydanticCustomError], None], where: Where = ()
) -> Any:
    """A copy of nested tables and lists with every string expanded. Keys are not expanded.

    For a string that cannot be expanded, `refuse` is called with its position and the error; the string stays as it is.
    """
    if isinstance(value, dict):
        return {key: expand_all(item, environ, refuse, (*where, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [expand_all(item, environ, refuse, (*where, index)) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return expand(value, environ)
    except PydanticCustomError as error:
        refuse(where, error)
        return value

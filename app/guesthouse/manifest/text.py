"""The text side of the manifest: sizes, durations, `${NAME}` from the environment, and how places and values read.

Nothing here knows which keys there are; those are in `tables.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from guesthouse.text import escaped

Where = tuple[str | int, ...]
"""Where a value stands: the keys and list positions that lead to it."""

_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9}))? ?(B|KB|MB|GB|KiB|MiB|GiB)?", re.ASCII)
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(h|ms|m|us|s)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_REFERENCE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{)", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SHOWN = 60


def wrong(what: str, remedy: str) -> PydanticCustomError:
    """What a validator raises: `what` follows the value that was found, `remedy` says what to do."""
    return PydanticCustomError("wrong", "{what}", {"what": what, "remedy": remedy})


def shown(value: object) -> str:
    """A value as the user wrote it, on one line and cut to a readable length; tables and lists by their kind only."""
    if not isinstance(value, str | int | float):
        return kind_of(value)
    try:
        text = json.dumps(value, ensure_ascii=False)
    except ValueError:  # a whole number of more digits than Python turns into text
        return kind_of(value)
    text = escaped(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def kind_of(value: object) -> str:
    """What a TOML value is, in words."""
    names = ((bool, "true or false"), (str, "text"), (int, "a whole number"), (float, "a number"))
    containers = ((Mapping, "a table"), (list, "a list"))
    return next((name for kind, name in (*names, *containers) if isinstance(value, kind)), "a date or time")


def key_path(where: Where) -> str:
    """`guests.classify.limits.memory`, and `[[invoke]] #2: method` for what stands in a list of tables."""
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
    """Bytes: a whole number, or `128MiB`, `16MB`, `1.5GiB`."""
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
    """Seconds: `5s`, `200ms`, `1m30s`, `1.5s`."""
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
    """`${NAME}` and `${NAME:-default}` (for an unset or empty NAME) from `environ`; `$$` is a dollar.

    Other dollars stay as they are. Raises as `wrong` does for an unset variable without a default, and for `${` with
    anything but a name behind it. No message ever has a variable's value in it.
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
    """A copy of nested tables and lists with every string expanded (keys stay as they are).

    A string that cannot be expanded stays as written, and `refuse` is told where it stands and why.
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

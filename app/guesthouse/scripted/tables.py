"""A TOML file that a guest's author writes, key by key. The first mistake in it is a `ScriptFaults`."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from guesthouse.faults import Faults, fault
from guesthouse.manifest.text import kind_of, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 16 << 20  # bytes of a file
FORMS = ("text", "json", "base64", "file")
"""Ways to write bytes, as the one key of a table."""


class ScriptFaults(Faults):
    """A file with scripted answers or a test cannot be used."""


class Table:
    """A table of a file. Take all keys that it may have, then call `end`: what is left is unknown."""

    def __init__(self, values: Mapping[str, Any], file: Path, at: str = "") -> None:
        self.file = file
        self.at = at
        self._values = values
        self._taken: set[str] = set()

    def refuse(self, what: str, remedy: str, key: str = "") -> NoReturn:
        """Raise the fault of a key, or of the table itself."""
        place = self._place(key).rstrip(":")
        raise ScriptFaults(fault(what, f"{self.file}: {place}" if place else str(self.file), remedy))

    def has(self, key: str) -> bool:
        """Whether the file has the key."""
        return key in self._values

    def take(self, key: str) -> Any:
        """The value of a key as it is; None where it is missing."""
        self._taken.add(key)
        return self._values.get(key)

    def text(self, key: str, remedy: str = "") -> str:
        """The text of a key; empty where it is missing. With a remedy it must be there."""
        value = self.take(key)
        if value is None and not remedy:
            return ""
        if not isinstance(value, str) or (remedy and not value):
            what = f"{key} is missing" if value in (None, "") else mistaken(value, "text")
            self.refuse(what, remedy or "write text in quotes", key)
        return value

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """The text of a key that has only these values."""
        value = self.take(key)
        value = default if value is None else value
        if value not in choices:
            self.refuse(f"{shown(value)} is none of its values", f"write one of {', '.join(choices)}", key)
        return str(value)

    def texts(self, key: str) -> dict[str, str]:
        """A table from names to texts; empty where it is missing."""
        table = self.table(key)
        if table is None:
            return {}
        return {name: table.text(name) for name in table.names()}

    def table(self, key: str) -> Table | None:
        """The table of a key; None where it is missing."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(mistaken(value, "a table"), "write a table", key)
        return Table(value, self.file, self._place(key))

    def tables(self, key: str) -> Iterator[Table]:
        """The tables of a list of tables."""
        value = self.take(key)
        if value is None:
            return
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.refuse(f"{key} is no list of tables", f"write [[{key}]] before each", key)
        for number, one in enumerate(value):
            yield Table(one, self.file, f"[[{key}]] #{number + 1}:")

    def names(self) -> list[str]:
        """All keys."""
        return list(self._values)

    def bytes_of(self, key: str) -> bytes | None:
        """Bytes: a text, or a table with one of `FORMS`; None where the key is missing."""
        value = self.take(key)
        if value is None or isinstance(value, str):
            return None if value is None else value.encode()
        try:
            return written_bytes(value, self.file.parent)
        except ValueError as error:
            self.refuse(str(error), "write text, or a table with one of " + ", ".join(FORMS), key)

    def end(self) -> None:
        """Refuse what nobody has taken."""
        if unknown := [key for key in self._values if key not in self._taken]:
            self.refuse(f"unknown key {shown(unknown[0])}", f"it may have {', '.join(sorted(self._taken))}", unknown[0])

    def _place(self, key: str) -> str:
        between = " " if self.at.endswith(":") else "."
        return between.join(filter(None, (self.at, key)))


def mistaken(value: object, wanted: str) -> str:
    """That a value is of another kind than is wanted."""
    kind = kind_of(value)
    return f"{kind}, not {wanted}" if shown(value) == kind else f"{shown(value)} is {kind}, not {wanted}"


def written_bytes(value: object, folder: Path | None = None) -> bytes:
    """The bytes that a table with one of `FORMS` stands for; no file without a `folder`. Raises `ValueError`."""
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(mistaken(value, "bytes"))
    ((form, content),) = value.items()
    if form == "json":
        try:
            return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        except TypeError:
            raise ValueError("has a value that JSON does not have") from None
    if form not in FORMS or not isinstance(content, str) or (form == "file" and folder is None):
        raise ValueError(f"has {shown(form)}, which is no way to write bytes")
    if form == "text":
        return content.encode()
    if form == "base64":
        try:
            return base64.b64decode(content, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"{shown(content)} is not base64") from None
    assert folder is not None
    try:
        return (folder / content).read_bytes()
    except OSError as error:
        raise ValueError(f"{folder / content} cannot be read ({error.strerror})") from None


def in_words(data: bytes) -> str:
    """Bytes for a message: the text that they are, cut; else how many they are."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"{len(data)} bytes that are no text"
    return shown(text)


def read(path: Path) -> Table:
    """The document in a file. Raises `ScriptFaults`."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ScriptFaults(fault(f"cannot be read ({error.strerror})", str(path), "name a TOML file")) from error
    if len(data) > LARGEST:
        raise ScriptFaults(fault(f"over {LARGEST} bytes large", str(path), "put large bodies into files of their own"))
    try:
        return Table(tomllib.loads(data.decode("utf-8-sig")), path)
    except (ValueError, RecursionError) as error:  # not UTF-8 and not TOML are ValueErrors
        raise ScriptFaults(fault(f"not TOML: {error}", str(path), "correct it there")) from error

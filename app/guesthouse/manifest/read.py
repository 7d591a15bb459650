"""Reads the manifest: the file, its TOML, variables of the environment, the tables; and lists every fault.

No message shows a value that came from the environment: a text with `${NAME}` is shown as it was written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from guesthouse.faults import Faults, fault
from guesthouse.manifest.grant_tables import Grants, manifest_with
from guesthouse.manifest.rules import closest, disagreements
from guesthouse.manifest.tables import Manifest, ValueKind
from guesthouse.manifest.text import Where, expand_all, format_duration, format_size, key_path, kind_of, shown
from guesthouse.text import escaped

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 4 << 20  # bytes of a manifest
_FROM_ENVIRONMENT = {
    ("server", "port"): "APP_PORT",
    ("server", "token"): "APP_API_TOKEN",
    ("engine", "cache"): "GUESTHOUSE_CACHE",
}
_MAY_BE_SECRET = frozenset({"token", "env"})
_MISSING = object()
_NO_GRANTS: Grants = {}
Left = tuple[str, str, Path]
"""A guest or a model that was left out: (its table, its name, its file)."""
_FILES = {"guests": "module", "models": "path"}
_LOOKED_INTO = ("engine", "signatures", "require_digests", *_FILES)


class ManifestError(Faults):
    """A manifest cannot be used. `faults` has every reason: what, where, what to do."""


def load(path: Path, environ: Mapping[str, str] = os.environ, grants: Grants = _NO_GRANTS) -> Manifest:
    """The manifest in a file, where guests may have the tables of `grants` too. Raises `ManifestError`."""
    return parse(_document(path), path, environ, grants)


def _document(path: Path) -> dict[str, Any]:
    """The TOML document in a file. Raises `ManifestError`."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        remedy = "write one (docs/manifest.md shows how), or name it with --manifest"
        raise ManifestError([fault("there is no manifest", str(path), remedy)]) from error
    except OSError as error:
        raise ManifestError(
            [fault(f"the manifest cannot be read ({error.strerror})", str(path), "name a TOML file that you may read")]
        ) from error
    if len(data) > LARGEST:
        raise ManifestError([fault(f"over {format_size(LARGEST)} large", str(path), "name the manifest, a TOML file")])
    try:
        raw: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError([fault("not UTF-8", f"{path}: line {line}", "save it as UTF-8")]) from error
    except tomllib.TOMLDecodeError as error:
        text, _, position = str(error).removesuffix(")").partition(" (at ")
        where = f"{path}: {position}" if position else str(path)
        raise ManifestError([fault(f"not TOML: {text}", where, "correct it there or in the line before")]) from error
    except (RecursionError, ValueError) as error:  # nested without end; a number of thousands of digits
        raise ManifestError([fault("not TOML that can be read", str(path), "write it by docs/manifest.md")]) from error
    return raw


def sound_part(
    path: Path, environ: Mapping[str, str] = os.environ, grants: Grants = _NO_GRANTS
) -> tuple[Manifest, list[Left]]:
    """The guests and models of a faulty manifest that have no faults, for further checks; and those left out.

    The manifest that is returned has no routes. Raises `ManifestError` where the file is not TOML.
    """
    return _Reading(_document(path), path, environ, manifest_with(grants)).sound_part()


def parse(
    raw: dict[str, Any], path: Path, environ: Mapping[str, str] = os.environ, grants: Grants = _NO_GRANTS
) -> Manifest:
    """The manifest in the TOML document of the file `path`. Raises `ManifestError`."""
    try:
        return _Reading(raw, path, environ, manifest_with(grants)).manifest()
    except RecursionError as error:
        raise ManifestError([fault("nested too deeply", str(path), "write it by docs/manifest.md")]) from error


class _Reading:
    """Reads one document: what was written, what it becomes, and the faults so far."""

    def __init__(
        self, raw: dict[str, Any], path: Path, environ: Mapping[str, str], model: type[Manifest] = Manifest
    ) -> None:
        self.path = path
        self.model = model
        self.written = raw
        self.faults: dict[Where, str] = {}  # by position; the first fault counts, for further ones often follow from it
        self.variables: dict[Where, str] = {}  # positions whose value came from an environment variable
        self.raw = expand_all(raw, environ, self._unexpanded)
        for where, variable in _FROM_ENVIRONMENT.items():
            self._fill(where, variable, environ.get(variable, ""))

    def manifest(self) -> Manifest:
        manifest = None
        try:
            manifest = self.model.model_validate(self.raw, context=self.path.absolute().parent)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self._invalid(detail)
        for where, what, remedy in disagreements(self.raw):
            self._add(where, self._about(where, what), remedy)
        if manifest is None or self.faults:
            raise ManifestError(list(self.faults.values()))
        return _with_message(manifest)

    def sound_part(self) -> tuple[Manifest, list[Left]]:
        """See `read.sound_part`."""
        raw = {key: self.raw[key] for key in _LOOKED_INTO if isinstance(self.raw.get(key), dict | bool)}
        raw["app"] = {"name": "app"}
        left: list[Left] = []
        while True:
            reading = _Reading(raw, self.path, {}, self.model)
            try:
                return reading.manifest(), left
            except ManifestError:
                faulty = {where[:2] for where in reading.faults}
            for table, *name in faulty:
                found: Any = raw.get(str(table))
                if not name or not isinstance(found, dict) or not isinstance(found.get(name[0]), dict):
                    raw.pop(str(table), None)
                elif isinstance(file := found.pop(name[0]).get(_FILES.get(str(table), "")), str):
                    left.append((str(table), str(name[0]), self.path.absolute().parent / file))

    def _fill(self, where: Where, variable: str, value: str) -> None:
        section, key = where
        table = self.raw.setdefault(section, {})
        if key == "token" and isinstance(table, dict) and "token_file" in table:
            return  # a token that is taken out of the file must not be accepted for the environment's sake
        if value and isinstance(table, dict) and key not in table:
            table[key] = os.path.abspath(value) if variable == "GUESTHOUSE_CACHE" else value
            self.variables[where] = variable

    def _unexpanded(self, where: Where, error: PydanticCustomError) -> None:
        context = error.context or {}
        self._add(where, self._about(where, context["what"]), context["remedy"])

    def _invalid(self, detail: ErrorDetails) -> None:
        where = tuple(detail["loc"])
        kind, context = detail["type"], detail.get("ctx", {})
        if kind == "extra_forbidden":
            self._add(where, f"unknown key {shown(where[-1])}", _known_keys(self.model, where))
        elif kind == "missing":
            self._add(where, f"{where[-1]} is missing", "write " + _description(self.model, where))
        elif where and where[-1] == "[key]" and "what" in context:  # the name of a table
            self._add(where[:-1], context["what"].removeprefix("is "), context["remedy"])
        else:
            what, remedy = _explained(self.model, kind, context, detail["input"], where)
            self._add(where, self._about(where, what), remedy)

    def _about(self, where: Where, what: str) -> str:
        """`what` after the value as the user wrote it, unless the value is a table or list or may be a secret."""
        value = self._written_at(where)
        secret = where in self.variables or not _MAY_BE_SECRET.isdisjoint(where)
        if secret or value is _MISSING or isinstance(value, dict | list):
            return what
        return f"{shown(value)} {what}"

    def _written_at(self, where: Where) -> object:
        value: Any = self.written
        try:
            for part in where:
                value = value[part]
        except (LookupError, TypeError):
            return _MISSING
        return value

    def _add(self, where: Where, what: str, remedy: str) -> None:
        shown_where = f"{self.path}: {key_path(where)}"
        if where in self.variables:
            shown_where = f"${self.variables[where]} in the environment"
        self.faults.setdefault(where, escaped(fault(what, shown_where, remedy)))


def _with_message(manifest: Manifest) -> Manifest:
    """The manifest with a `server.message` that is large enough for every guest, unless the user has set it."""
    if "message" in manifest.server.model_fields_set or not manifest.guests:
        return manifest
    largest = max(guest.limits.input for guest in manifest.guests.values())
    server = manifest.server.model_copy(update={"message": largest + 65536})
    return manifest.model_copy(update={"server": server})


# ---- messages for the errors that pydantic finds ----


def _explained(
    model: type[Manifest], kind: str, context: Mapping[str, Any], value: object, where: Where
) -> tuple[str, str]:
    """What is wrong with a value (text that follows the value), and what to do."""
    if kind == "wrong":
        return context["what"], context["remedy"]
    if kind == "literal_error":
        return "is not a choice", f"write {context['expected']}".replace("'", '"')
    bounds = {
        "greater_than": ("is too little", "more than"),
        "greater_than_equal": ("is too little", "at least"),
        "less_than": ("is too much", "less than"),
        "less_than_equal": ("is too much", "at most"),
    }
    if kind in bounds:
        what, remedy = bounds[kind]
        return what, f"write {remedy} {_bound(model, next(iter(context.values())), where)}"
    if kind == "tuple_type" and len(where) == 1:
        return f"is {kind_of(value)}, not a list of tables", f"write [[{where[0]}]], with two brackets"
    expected = {"string_type": "text", "tuple_type": "a list", "path_type": "a path"}
    wanted = expected.get(kind, "a table")
    return f"is {kind_of(value)}, not {wanted}", f"write {wanted}"


def _bound(model: type[Manifest], bound: float, where: Where) -> str:
    if where[-1] in ("time", "queue_wait", "delay", "wait", "acknowledge"):
        return format_duration(bound)
    return format_size(int(bound)) if bound >= 65536 and _is_size(model, where) else str(bound)


def _is_size(model: type[Manifest], where: Where) -> bool:
    table = _table_at(model, where[:-1])
    field = table.model_fields.get(str(where[-1])) if table else None
    return field is not None and any(isinstance(one, ValueKind) and one.text == "size" for one in field.metadata)


def _known_keys(model: type[Manifest], where: Where) -> str:
    table = _table_at(model, where[:-1])
    return closest(str(where[-1]), table.model_fields if table else (), "the keys here are")


def _description(model: type[Manifest], where: Where) -> str:
    table = _table_at(model, where[:-1])
    field = table.model_fields.get(str(where[-1])) if table else None
    return (field and field.description) or "it"


def _table_at(model: type[Manifest], where: Where) -> type[BaseModel] | None:
    """The class of the table at a position; None where there is no table."""
    table: type[BaseModel] = model
    for part in where:
        field = table.model_fields.get(str(part))
        if field is not None:  # an index of a list, or a name in a table of tables, stays in the same class
            found = next(tables_of(field.annotation), None)
            if found is None:
                return None
            table = found
    return table


def tables_of(annotation: object) -> Iterator[type[BaseModel]]:
    """The classes of tables in a field's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from tables_of(inner)

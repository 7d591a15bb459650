"""Writes docs/manifest.md from the manifest's models, so that the page cannot say anything else than the code does; the
table in docs/engines.md from the rules and columns of tests/compat; and the examples in docs/dapr-abi.md from those of
the SDKs.

python docs/generate.py           # or: make docs
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest.grant_tables import manifest_with
from guesthouse.manifest.read import tables_of
from guesthouse.manifest.tables import Manifest, Table, ValueKind
from guesthouse.manifest.text import format_duration, format_size

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "manifest.md"
ENGINES = DOCS / "engines.md"
TOUR = DOCS / "dapr-abi.md"
SDK = DOCS.parent / "guests" / "sdk"
#: By the folder of an SDK: the language's name, how a fence names it, and where an example is (`TenReads` is the second
#: form of the name `ten_reads`).
LANGUAGES = {
    "javascript": ("JavaScript", "js", "examples/{0}.js"),
    "python": ("Python", "python", "examples/{0}.py"),
    "rust": ("Rust", "rust", "examples/{0}.rs"),
    "c": ("C", "c", "examples/{0}.c"),
    "go": ("Go", "go", "examples/{0}/main.go"),
    "assemblyscript": ("AssemblyScript", "ts", "examples/{0}.ts"),
    "kotlin": ("Kotlin", "kotlin", "examples/{0}.kt"),
    "java": ("Java", "java", "src/main/java/examples/{1}.java"),
}
BEGIN, END = "<!-- Written by docs/generate.py: `make docs`. -->\n", "<!-- End of what is written. -->\n"

INTRODUCTION = """\
# The manifest

<!-- Written by docs/generate.py from app/guesthouse/manifest/tables.py: change it there, then `make docs`. -->

`guesthouse.toml` says what is loaded, who may use it and what is answered. `guesthouse check` lists everything that is
wrong with one, each fault with its position and a remedy; `guesthouse serve` starts with none. Unknown keys are errors.

```toml
{example}```

- **Paths** are relative to the manifest's folder.
- **Names** of guests: letters, digits, `_` and `-`. Of models: any text without control characters, in quotes where it
  has others than those, as in `[models."mobilenet.v2"]`.
- **Sizes** are bytes, or text with a unit: `"128MiB"` (KiB, MiB, GiB), `"16MB"` (KB, MB, GB).
- **Durations** are text with units: `"5s"`, `"200ms"`, `"1m30s"` (h, m, s, ms, us).
- **The environment**: `${{NAME}}` in any text is the variable's value, `${{NAME:-default}}` has a default for an unset
  or empty one; unset without a default is an error. `$$` is a dollar. Numbers may be given so too, as in
  `port = "${{PORT}}"`. Values never appear in error messages.
- **Digests**: `sha256sum FILE` prints them, and `guesthouse check` those of granted files and folders.
"""

EXAMPLE = """\
[app]
name = "vision"

[models.classifier]
path = "models/efficientnet-lite0.onnx"

[guests.classify]
module = "guests/classify/classify.wasm"
calling = "bindgen"
function = "infer"
models = ["classifier"]
reply_type = "application/json"
limits = { memory = "128MiB", time = "5s", concurrency = 4 }

[[invoke]]                          # Dapr service invocation
method = "api/image"
guest = "classify"

[[binding]]                         # a Dapr input binding, by the component's name
name = "camera"
guest = "classify"
to = ["results"]                    # output bindings that receive the reply
attempts = 5                        # an event that fails so often is given up

[[topic]]                           # a Dapr subscription
pubsub = "pubsub"
topic = "photos"
guest = "classify"
dead_letter = "photos-failed"       # the topic for messages that could not be handled
"""


def page() -> str:
    """docs/manifest.md."""
    return "\n".join([INTRODUCTION.format(example=EXAMPLE), top(), *sections(manifest_with(GRANTS))])


def top() -> str:
    """The keys that stand in no table."""
    keys = {n: field for n, field in Manifest.model_fields.items() if next(tables_of(field.annotation), None) is None}
    return "## Above all tables\n\n" + rows("Before the first table.", keys)


def sections(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """A section for each table of `model`, and for the tables inside it."""
    for name, field in model.model_fields.items():
        table = next(tables_of(field.annotation), None)
        if table is not None:
            key = path + name + (".NAME" if is_named(field) else "")
            title = f"[[{key}]]" if is_list(field) else f"[{key}]"
            yield f"## {title}\n\n{described(table)}"
            yield from sections(table, f"{key}.")


def described(table: type[BaseModel]) -> str:
    """What a table is for, and its keys."""
    return rows(inspect.cleandoc(table.__doc__ or ""), table.model_fields)


def rows(text: str, fields: Mapping[str, FieldInfo]) -> str:
    """A text and a table of keys."""
    lines = [text, "", "| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        cells = [f"`{name}`", kind(field), default(field), field.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def kind(field: FieldInfo) -> str:
    """What a key's value is, in words."""
    return named_kind(field.annotation, field.metadata)


def named_kind(annotation: Any, metadata: list[Any]) -> str:
    for mark in metadata:
        if isinstance(mark, ValueKind):
            return mark.text
    if hasattr(annotation, "__metadata__"):
        return named_kind(get_args(annotation)[0], list(annotation.__metadata__))
    if get_origin(annotation) is Literal:
        return " or ".join(f'`"{choice}"`' for choice in get_args(annotation))
    inner = [part for part in get_args(annotation) if part not in (type(None), ...)]
    if get_origin(annotation) is tuple:
        return "list of " + named_kind(inner[0], [])
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return "table"
    if len(inner) == 2:
        return "table of " + named_kind(inner[1], [])
    return named_kind(inner[0], [])


def default(field: FieldInfo) -> str:
    """A key's default as a user would write it."""
    if isinstance(field.json_schema_extra, dict) and "default" in field.json_schema_extra:
        return str(field.json_schema_extra["default"])
    if field.is_required():
        return "**required**"
    value = field.default
    if value in (None, (), "") or field.default_factory is not None or isinstance(value, Table):
        return ""
    if kind(field) == "size":
        return f'`"{format_size(value)}"`'
    if kind(field) == "duration":
        return f'`"{format_duration(value)}"`'
    return {True: "`true`", False: "`false`"}[value] if isinstance(value, bool) else f"`{value!r}`".replace("'", '"')


def is_list(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is tuple


def is_named(field: FieldInfo) -> bool:
    return not is_list(field) and len([part for part in get_args(field.annotation) if part is not type(None)]) == 2


def engines() -> str:
    """docs/engines.md as it is, with the table written anew between its marks."""
    sys.path.insert(0, str(DOCS.parent))
    try:
        from tests.compat.report import tables
    finally:
        del sys.path[0]
    before, _, rest = ENGINES.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{ENGINES.name} has no place for the table: {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tour() -> str:
    """docs/dapr-abi.md as it is, with the examples written anew: `<!-- example NAME -->` is where one begins."""
    before, *rest = TOUR.read_text(encoding="utf-8").split("<!-- example ")
    parts = [before]
    for part in rest:
        name, _, more = part.partition(" -->")
        _, mark, after = more.partition(END)
        if not mark:
            raise ValueError(f"{TOUR.name}: the example {name} has no {END.strip()}")
        parts.append(f"<!-- example {name} -->\n\n{''.join(_example(name))}{END}{after}")
    return "".join(parts)


def _example(name: str) -> Iterator[str]:
    for folder, (language, fence, place) in LANGUAGES.items():
        path = SDK / folder / place.format(name, name.title().replace("_", ""))
        if path.exists():
            code = path.read_text(encoding="utf-8").strip()
            yield f"<details><summary>{language}</summary>\n\n```{fence}\n{code}\n```\n\n</details>\n\n"


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit("usage: python docs/generate.py")
    PAGE.write_text(page(), encoding="utf-8")
    ENGINES.write_text(engines(), encoding="utf-8")
    TOUR.write_text(tour(), encoding="utf-8")

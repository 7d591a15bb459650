"""The rules of the compatibility kit as they are written in `rules/*.toml`: read, expanded, and checked for being well
formed. What a guest of a rule looks like is `guestwat.py`'s matter, how one is run `kit.py`'s.

A file is one group: a title, a frame (`rules/FRAME.wat`), data and guest settings that all its rules share, and rules:

    [[rule]]
    id = "tf2-run_session-unknown"           # also the guest's name
    says = "an unknown session is error 1"   # the rule, in one sentence
    calls = "run_session 9 -> 1"             # what the guest does, and what must come of it; or:
    body = "(i32.const 16)"                  # the same as WAT, in the group's frame; or:
    module = "(module)"                      # a module of its own
    reply = "1"                              # the outcome, where `calls` does not say it; or:
    fails = ["TRAP", "unreachable"]          # reason, a part of the text, its length if that matters; or:
    refused = "exports no memory"            # a part of a fault at load

`log` has parts of lines that must be logged, `guest` keys of the guest's table in the manifest, `event` fields of the
event, `times` how often it is sent. Of an actor's turn, `saved` has what each transaction must have written, `stops`
says whether a timer or reminder must be stopped. In `data`, `<id>` is the rule's id, which is also the actor's type.
`[[each]]` makes a rule for every row: `<key>` in its template is the row's value.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parent / "rules"
ROOT = FOLDER.parents[2]
ABI = ROOT / "docs" / "abi.md"
#: Of the functions of components' interfaces, as wasm-tools computes them.
SIGNATURES = ROOT / "tests" / "data" / "wasi-signatures.txt"

#: Of all guests, unless a rule says otherwise: little, so that hundreds fit into one plan; and time for slow machines.
LIMITS = {"memory": "2MiB", "concurrency": 1, "queue": 1, "time": "20s"}


@dataclass(frozen=True)
class Call:
    """One line of `calls`: a host function (or a word of `guestwat.WORDS`), its arguments, and the answer."""

    name: str
    arguments: tuple[str, ...]
    answer: str | None  # None: there is none, or it is not looked at


@dataclass(frozen=True)
class Rule:
    """One rule, its guest and its outcome: exactly one of `reply`, `fails` and `refused`."""

    id: str
    says: str
    group: str  # the file's name
    calls: tuple[Call, ...] = ()
    body: str = ""
    module: str = ""
    type: str = ""  # of the exported function; "": the group's
    data: Mapping[str, Any] = field(default_factory=dict)
    guest: Mapping[str, Any] = field(default_factory=dict)
    event: Mapping[str, Any] = field(default_factory=dict)
    times: int = 1
    reply: bytes | None = None
    fails: tuple[Any, ...] | None = None
    refused: str | None = None
    log: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    stops: bool = False
    covers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """One file of rules."""

    name: str
    title: str
    frame: str
    type: str
    modules: tuple[str, ...]
    data: Mapping[str, Any]
    rules: tuple[Rule, ...]


def read(path: Path) -> Group:
    """The rules of a file. Raises `ValueError`, with the rule's id, for what is not well formed."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    guest = raw.get("guest", {})
    rules = [_rule(path.stem, written, guest) for written in [*raw.get("rule", []), *_expanded(raw.get("each", []))]]
    return Group(
        path.stem,
        raw["title"],
        raw.get("frame", ""),
        raw.get("type", ""),
        tuple(raw.get("modules", ())),
        raw.get("data", {}),
        tuple(rules),
    )


def import_of(group: Group, name: str) -> tuple[str, str] | None:
    """Module and name of the import that a line of `calls` means, None for a word of another kind.

    A name that several of the group's modules have is the first one's, unless it is written `module.name`.
    """
    pages = documented()
    for module in group.modules:
        own = name.removeprefix(f"{module}.")
        if own in pages[module]:
            return module, own
    return None


def all_groups() -> tuple[Group, ...]:
    """Every file of rules, in order of their names."""
    groups = tuple(read(path) for path in sorted(FOLDER.glob("*.toml")))
    ids = [rule.id for group in groups for rule in group.rules]
    twice = {one for one in ids if ids.count(one) > 1}
    if twice:
        raise ValueError(f"rules of the same id: {sorted(twice)}")
    return groups


def _expanded(tables: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for table in tables:
        rows = table["rows"]
        if isinstance(rows, str):
            rows = tomllib.loads((FOLDER / "shared" / rows).read_text(encoding="utf-8"))["row"]
        for row in rows:
            rule = filled({key: value for key, value in table.items() if key != "rows"}, row)
            yield {**rule, "id": rule["id"].replace(" ", "-")}


def filled(template: Any, row: Mapping[str, Any]) -> Any:
    """`template` with `<key>` replaced where the row has it; a text that is just `<key>` becomes the value itself."""
    if isinstance(template, dict):
        return {filled(key, row): filled(value, row) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(item, row) for item in template]
    if not isinstance(template, str):
        return template
    if template[1:-1] in row and template == f"<{template[1:-1]}>":
        return row[template[1:-1]]
    return re.sub(r"<(\w+)>", lambda found: str(row.get(found[1], found[0])), template)


def _rule(group: str, written: dict[str, Any], guest: Mapping[str, Any]) -> Rule:
    raw = dict(written)
    calls = tuple(_calls(raw.pop("calls", "")))
    text: str | None = raw.pop("reply", None)
    reply = None if text is None else text.encode()
    if "reply_hex" in raw:
        reply = bytes.fromhex(raw.pop("reply_hex"))
    fails = raw.pop("fails", None)
    if calls and reply is None and fails is None:
        reply = "\n".join(call.answer for call in calls if call.answer is not None).encode()
    rule = Rule(
        group=group,
        calls=calls,
        reply=reply,
        fails=tuple(fails) if fails is not None else None,
        log=tuple(raw.pop("log", ())),
        saved=tuple(raw.pop("saved", ())),
        covers=tuple(raw.pop("covers", ())),
        guest=_guest(guest, raw.pop("guest", {})),
        **raw,
    )
    if sum(outcome is not None for outcome in (rule.reply, rule.fails, rule.refused)) != 1:
        raise ValueError(f"{rule.id}: not exactly one of reply, fails and refused")
    if sum(map(bool, (rule.calls, rule.body, rule.module))) != 1:
        raise ValueError(f"{rule.id}: not exactly one of calls, body and module")
    return rule


def _guest(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    limits = {**LIMITS, **shared.get("limits", {}), **own.get("limits", {})}
    return {**shared, **own, "limits": limits}


def _calls(text: str) -> Iterator[Call]:
    for line in text.splitlines():
        line = line.partition("//")[0].strip()
        if not line:
            continue
        if line.startswith("wat "):
            yield Call("wat", (line[4:],), None)
            continue
        words, arrow, answer = line.partition(" -> ")
        name, *arguments = words.split()
        yield Call(name, tuple(arguments), answer.strip() if arrow else None)


# ---- what the page says ----

_ROW = re.compile(r"\| `([\w.]+)\([^)`]*\)` \| `\(([^)]*)\)->\(([^)]*)\)` \|")
_HEADING = re.compile(r"#+ (.*)")


@functools.lru_cache(maxsize=1)
def documented() -> dict[str, dict[str, tuple[list[str], list[str]]]]:
    """By module, every import that docs/abi.md has: its parameters' and results' types. Guests are written to that."""
    found: dict[str, dict[str, tuple[list[str], list[str]]]] = {}
    module = ""
    for line in ABI.read_text(encoding="utf-8").splitlines():
        if heading := _HEADING.match(line):
            named = re.findall(r"`([\w:/-]+)`", heading[1])
            module = "wasi_snapshot_preview1" if heading[1] == "WASI preview 1" else "".join(named[:1])
        elif row := _ROW.match(line):
            found.setdefault(module, {})[row[1]] = (row[2].split(), row[3].split())
    found["wasi_unstable"] = dict(found["wasi_snapshot_preview1"])  # as the page says of WASI of 2019
    del found["wasi_unstable"]["sock_accept"]
    for (interface, name), (_, _, params, results) in components().items():
        found.setdefault(interface, {})[name] = (params, results)
    return found


@functools.lru_cache(maxsize=1)
def components() -> dict[tuple[str, str], tuple[str, str, list[str], list[str]]]:
    """By interface and a short name, every function that components import: its import, parameters' and results' types.

    `[method]` and `[static]` are left out of names, `[constructor]` is `new-` and `[resource-drop]` is `drop-`. The
    older draft of an interface with two has `-draft` behind its name.
    """
    found = {}
    for line in SIGNATURES.read_text(encoding="utf-8").splitlines():
        module, name, kind = line.split(" ", 2)
        interface, _, version = module.partition("@")
        if interface.startswith("wasi:keyvalue/") and version == "0.2.0-draft":
            interface += "-draft"
        short = name.replace("[constructor]", "new-").replace("[resource-drop]", "drop-").rpartition("]")[2]
        params, results = re.fullmatch(r"\((.*)\)->\((.*)\)", kind).groups()  # type: ignore[union-attr]
        found[interface, short] = module, name, params.split(), results.split()
    return found

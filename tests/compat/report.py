"""The kit's results as tables for docs/engines.md, and which documented answers its rules have."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .kit import Column, columns
from .rulebook import Group, Rule, all_groups, documented, import_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCUMENTED = Path(__file__).resolve().parent / "documented.toml"


def tables() -> str:
    """What of each group's rules every column passes, and below it the exceptions with their reasons."""
    groups, found = all_groups(), columns()
    lines = [
        "| rules | " + " | ".join(column.name for column in found) + " |",
        "|---|" + "---|" * len(found),
        *(f"| {group.title} | " + " | ".join(_passed(group.rules, c) for c in found) + " |" for group in groups),
        "| **all** | " + " | ".join(_passed([r for g in groups for r in g.rules], c) for c in found) + " |",
    ]
    for column in found:
        lines += ["", *_exceptions(groups, column)]
    return "\n".join(lines) + "\n"


def _passed(rules: Sequence[Rule], column: Column) -> str:
    return f"{sum(rule.id not in column.exceptions for rule in rules)} of {len(rules)}"


def _exceptions(groups: Sequence[Group], column: Column) -> Iterator[str]:
    if not column.exceptions:
        yield f"{column.name}: no exceptions."
        return
    says = {rule.id: rule.says for group in groups for rule in group.rules}
    yield f"| {column.name} cannot do | the rule | why |"
    yield "|---|---|---|"
    for rule, reason in column.exceptions.items():
        yield f"| `{rule}` | {says[rule]} | {reason} |".replace("<", "&lt;")


def wanted() -> set[str]:
    """`module.function answer`, for everything that the documentation says an import can answer."""
    listed = tomllib.loads(DOCUMENTED.read_text(encoding="utf-8"))
    return {
        f"{module}.{function} {answer}"
        for module, functions in listed.items()
        for function, answers in functions.items()
        for answer in answers.split()
    }


def covered(groups: Sequence[Group]) -> set[str]:
    """The same, for everything that a rule shows."""
    return {answer for group in groups for rule in group.rules for answer in _answers(group, rule)}


def _answers(group: Group, rule: Rule) -> Iterator[str]:
    yield from rule.covers
    pages = documented()
    for index, call in enumerate(rule.calls):
        found = import_of(group, call.name)
        if found is None:
            continue
        module, function = found
        name = f"{module}.{function}"
        if rule.fails is not None:
            if index == len(rule.calls) - 1:
                yield f"{name} {rule.fails[0].lower()}"
        elif pages[module][function][1]:
            if call.answer is not None:
                yield f"{name} {call.answer}"
                if call.answer != "0":
                    yield f"{name} ok"
        else:
            refused = any(line.startswith(f"{function}: ") for line in rule.log)
            yield f"{name} {'log' if refused else 'done'}"

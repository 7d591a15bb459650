"""The compatibility kit by itself: every rule of calling conventions and import modules, on one engine and isolation.

python -m tests.compat --engine wasmtime --isolation thread
python -m tests.compat --engine wasmer --isolation process --python wasmer/bin/python
python -m tests.compat --all                   # every column of columns.toml, one after the other
python -m tests.compat --only 'tf2-*'          # some rules
python -m tests.compat --show tf2-x            # one rule, and its guest as WAT

Exit code 0: every rule passed, but for those that columns.toml lists for this column, each with its reason.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from dataclasses import replace

from guesthouse.engine.base import EngineError
from guesthouse.engine.cache import CacheError
from guesthouse.manifest import ManifestError
from guesthouse.plan.plan import PlanFaults

from . import kit
from .guestwat import module_of
from .rulebook import Group, all_groups


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser("python -m tests.compat", description="The compatibility kit.")
    parser.add_argument("--engine", default="wasmtime", help="[engine] name of the manifest (wasmtime)")
    parser.add_argument("--python", metavar="PATH", help="[engine] python: the one that has wasmer, if not this one")
    parser.add_argument("--isolation", default="thread", choices=list(kit.TOGETHER), help="of every guest (thread)")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="rules whose id matches")
    parser.add_argument("--show", metavar="RULE", help="print a rule and its guest's module, and run nothing")
    parser.add_argument("--record", action="store_true", help="write the number of rules passed into columns.toml")
    parser.add_argument("--all", action="store_true", help="every engine and isolation of columns.toml")
    options = parser.parse_args()
    if options.show:
        return show(options.show)
    columns = kit.columns() if options.all else [kit.column(options.engine, options.isolation)]
    groups = [chosen(group, options.only) for group in all_groups()]
    if not any(group.rules for group in groups):
        print(f"no rule's id matches {options.only!r}", file=sys.stderr)
        return 2
    record = options.record and options.only == "*"
    return max(tried(column, groups, record, options.python) for column in columns)


def tried(column: kit.Column, groups: list[Group], record: bool, python: str | None) -> int:
    """Run the rules of a column and print what came of it; the exit code."""
    found = {}
    try:
        for rule, wrong in kit.run(
            groups, column.engine, column.isolation, python if column.engine == "wasmer" else None
        ):
            found[rule.id] = wrong
            if wrong:
                state = "excepted" if rule.id in column.exceptions else "FAILED"
                print(f"{state:8} {rule.id} ({rule.says})\n    {wrong}")
    except (ManifestError, PlanFaults, CacheError, EngineError) as error:
        print(f"{column.name} is not to be had here: {error}", file=sys.stderr)
        return 2
    for group in groups:
        if group.rules:
            good = sum(not found[rule.id] for rule in group.rules)
            print(f"{good:4} of {len(group.rules):3}  {group.title}")
    passed = sum(not wrong for wrong in found.values())
    unexpected = kit.judge(found, column.exceptions)
    print(f"{column.name}: {passed} of {len(found)} rules passed, {len(unexpected)} results are unexpected")
    for line in unexpected:
        print(f"unexpected: {line}", file=sys.stderr)
    if record and not unexpected:
        kit.record(column.engine, column.isolation, passed)
    return 1 if unexpected else 0


def chosen(group: Group, pattern: str) -> Group:
    """The group with the rules that match."""
    return replace(group, rules=tuple(rule for rule in group.rules if fnmatch.fnmatch(rule.id, pattern)))


def show(name: str) -> int:
    for group in all_groups():
        for rule in group.rules:
            if rule.id == name:
                print(f"{rule.id}: {rule.says}\n{rule}\n\n{rule.module or module_of(replace(group, rules=(rule,)))}")
                return 0
    print(f"no rule {name!r}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())

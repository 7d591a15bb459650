"""The kit has a rule for everything that docs/abi.md says: every answer of every import, every type of every era."""

from __future__ import annotations

import re

from guesthouse_abi.imports import host_modules, ssvm
from tests.compat import kit, report
from tests.compat.rulebook import ABI, FOLDER, all_groups, components, import_of

GROUPS = all_groups()
FRAME = (FOLDER / "component.wat").read_text(encoding="utf-8")
TAGS = {f"tag {tag}" for tag in (*range(1, 13), *range(21, 29), 31)}


def covers(era: str) -> set[str]:
    return {text for group in GROUPS for rule in group.rules if rule.id.startswith(f"{era}-") for text in rule.covers}


def test_every_import_of_the_host_has_documented_answers():
    modules = [module for module in host_modules().values() if module not in ssvm.MODULES]  # others by an older name
    functions = {f"{module.name}.{name}" for module in modules for name in module.functions}
    # What `wasi_unstable` has of preview 1 unchanged is the same function, and has its rules there.
    now, then = host_modules()["wasi_snapshot_preview1"].functions, host_modules()["wasi_unstable"].functions
    functions -= {f"wasi_unstable.{name}" for name, function in then.items() if function.body is now[name].body}
    assert {answer.split()[0] for answer in report.wanted()} == functions


def test_the_error_numbers_of_wasi_are_those_that_the_page_names():
    section = ABI.read_text(encoding="utf-8").partition("## WASI preview 1")[2].partition("\n## ")[0]
    numbers = {name: number for number, name in re.findall(r"\| (\d+) \| (\w+)", section)}
    rows = re.findall(r"^\| `(\w+)\(.*?\)` \| `[^`]*` \| (\w+)", section, re.MULTILINE)
    named = {f"wasi_snapshot_preview1.{function} {numbers[answer]}" for function, answer in rows if answer in numbers}
    assert len(named) > 25
    assert not sorted(named - report.wanted())


def test_every_documented_answer_of_every_import_has_a_rule():
    missing = report.wanted() - report.covered(GROUPS)
    assert not sorted(missing)


def test_every_error_number_that_the_code_can_answer_with_is_documented_somewhere():
    numbers = {answer.rpartition(" ")[2] for answer in report.wanted()}
    for module in host_modules().values():
        for function in module.functions.values():
            assert {str(number) for number in (function.faults or {}).values()} <= numbers, function.name


def test_every_interface_of_components_has_a_rule():
    calls = (import_of(group, call.name) for group in GROUPS for rule in group.rules for call in rule.calls)
    called = {found[0].removesuffix("-draft") for found in calls if found is not None}
    called |= {interface for interface, _ in components() if f'"{interface}@' in FRAME}
    assert not sorted({interface.removesuffix("-draft") for interface, _ in components()} - called)


def test_eras_with_type_tags_have_a_rule_for_each_tag():
    assert covers("C") >= TAGS
    assert covers("B1") >= TAGS


def test_eras_without_type_tags_have_a_rule_for_each_kind_of_result():
    assert covers("A") == {"array", "string", "i32", "void"}
    assert "raw" in covers("B0")
    assert "raw" in covers("B0p")


def test_every_rule_says_what_it_is_in_one_sentence_of_its_own():
    rules = [rule for group in GROUPS for rule in group.rules]
    assert all(rule.says and "<" not in rule.says.replace("Vec<", "") for rule in rules)
    assert len(rules) > 700


def test_every_column_is_of_these_rules_and_gives_a_reason_for_each_exception():
    rules = {rule.id for group in GROUPS for rule in group.rules}
    for column in kit.columns():
        assert set(column.exceptions) <= rules, column.name
        assert all(reason.strip() for reason in column.exceptions.values()), column.name
        assert column.passed == len(rules) - len(column.exceptions), f"{column.name}: python -m tests.compat --record"

"""Every rule of the kit on wasmtime in threads, and one of each kind in worker processes; `make test-compat` runs all
columns.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from tests.compat import __main__ as program
from tests.compat import kit, report
from tests.compat.kit import Column
from tests.compat.rulebook import Rule, all_groups, read
from tests.support import places

GROUPS = all_groups()
RULES = {rule.id: rule for group in GROUPS for rule in group.rules}


@pytest.fixture(scope="module", params=GROUPS, ids=lambda group: group.name)
def results(request: pytest.FixtureRequest) -> dict[str, str]:
    """What went wrong, by rule, of one group."""
    return {rule.id: wrong for rule, wrong in kit.run([request.param], "wasmtime", "thread")}


def test_every_rule_of_the_group_passes(results):
    assert results
    assert not kit.judge(results, kit.column("wasmtime", "thread").exceptions)


#: What crosses between a worker process and its parent, and what a worker may lack: models, log, ends, bytes, codecs.
IN_PROCESSES = (
    "lite2-output-that-cannot-be-given",
    "nn-input-of-any-shape",
    "nn-model-named-by-the-guest",
    "nn-no-rows",
    "nn-output-that-cannot-be-given",
    "tf2-create_session_saved_model",
    "A-echo",
    "B1-error",
    "C-json-several",
    "C-time",
    "C-trap-stack",
    "command-args-lines",
    "command-exit-64",
    "command-start-section",
    "command-stdin",
    "env-abort-message",
    "env-console-log",
    "env-trace",
    "image2-load_jpg-0",
    "load-import-type",
    "tf1-model-bytes",
    "tf2-model-named",
    "lite2-model-own",
    "wasi-random_get",
)


@pytest.mark.parametrize("place", places.IN_PROCESSES)
def test_a_rule_of_each_kind_passes_in_a_worker_process(place: str):
    groups = [replace(group, rules=tuple(r for r in group.rules if r.id in IN_PROCESSES)) for group in GROUPS]
    engine = places.engine_of(place)
    found = {rule.id: wrong for rule, wrong in kit.run(groups, engine["name"], "process", engine.get("python"))}
    assert set(found) == set(IN_PROCESSES)
    assert not kit.judge(found, kit.column(engine["name"], "process").exceptions)


def only(rule: Rule) -> dict[str, str]:
    group = next(group for group in GROUPS if group.name == rule.group)
    return {one.id: wrong for one, wrong in kit.run([replace(group, rules=(rule,))], "wasmtime", "thread")}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(RULES["B0-echo"], reply=b"other"), "not b'other'"),
        (replace(RULES["B0-echo"], reply=None, fails=("TRAP", "")), "answered b'"),
        (replace(RULES["B0-error"], fails=("GUEST", "no tea")), "failed otherwise: GUEST 'no cup'"),
        (replace(RULES["B0-error"], fails=("TRAP", "no cup")), "failed otherwise: GUEST 'no cup'"),
        (replace(RULES["B0-error"], fails=("GUEST", "no cup", 7)), "failed otherwise: GUEST 'no cup'"),
        (replace(RULES["B0-error"], fails=None, reply=b""), "failed: GUEST 'no cup'"),
        (replace(RULES["B0-echo"], log=("a line",)), "and not ['a line']"),
        (
            replace(RULES["load-command-no-start"], refused="no such fault"),
            "not refused with 'no such fault', but with",
        ),
        (replace(RULES["load-runs-nothing"], module="(module)"), "does not load: "),
    ],
    ids=["reply", "reply for failure", "text", "reason", "length", "failure for reply", "log", "refusal", "load"],
)
def test_an_outcome_that_is_not_the_rules_own_is_told(changed, said):
    assert said in only(changed)[changed.id]


def test_a_listed_exception_that_passes_is_told_as_is_an_unlisted_one_that_fails():
    found = {"a": "", "b": "wrong", "c": "", "d": "wrong"}
    assert kit.judge(found, {"a": "cannot", "b": "cannot"}) == [
        "d: wrong",
        "a: passed, and is listed as an exception",
    ]


def test_exceptions_are_listed_with_the_rule_and_their_reason(monkeypatch):
    column = Column("slow", "process", 1, {"C-feature-simd": "it has no SIMD"})
    monkeypatch.setattr(report, "columns", lambda: (column,))
    text = report.tables()
    total = len(RULES)
    assert "| rules | slow, process |" in text
    assert f"| **all** | {total - 1} of {total} |" in text
    assert "| `C-feature-simd` | SIMD instructions are available to guests | it has no SIMD |" in text


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('calls = "sched_yield"\nfails = ["TRAP", ""]\nreply = "1"', "not exactly one of reply, fails and refused"),
        ('reply = ""', "not exactly one of calls, body and module"),
    ],
)
def test_a_rule_without_one_outcome_and_one_guest_is_an_error(tmp_path, rule, said):
    path = tmp_path / "odd.toml"
    path.write_text(f'title = "odd"\n[[rule]]\nid = "odd"\nsays = "odd"\n{rule}\n')
    with pytest.raises(ValueError, match=f"odd: {said}"):
        read(path)


# ---- by itself ----


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["compat", *arguments])
    return program.main()


def test_some_rules_can_be_run_by_name(monkeypatch, capsys):
    assert called(monkeypatch, "--only", "A-number-*") == 0
    said = capsys.readouterr().out
    assert "   5 of   5  era A (rustwasmc, wasm-bindgen 0.2.61)" in said
    assert "wasmtime, thread: 5 of 5 rules passed, 0 results are unexpected" in said


def test_a_name_of_no_rule_is_told(monkeypatch, capsys):
    assert called(monkeypatch, "--only", "Z-*") == 2
    assert "no rule's id matches 'Z-*'" in capsys.readouterr().err


def test_an_exception_that_passes_fails_the_run(monkeypatch, capsys):
    column = Column("wasmtime", "thread", 0, {"A-void": "it cannot"})
    monkeypatch.setattr(kit, "columns", lambda: (column,))
    assert called(monkeypatch, "--all", "--only", "A-void") == 1
    assert "unexpected: A-void: passed, and is listed as an exception" in capsys.readouterr().err


def test_an_engine_that_there_is_not_is_told(monkeypatch, capsys):
    assert called(monkeypatch, "--engine", "steam", "--only", "A-void") == 2
    assert "steam, thread is not to be had here: " in capsys.readouterr().err


def test_a_rule_is_shown_with_its_guest(monkeypatch, capsys):
    assert called(monkeypatch, "--show", "A-void") == 0
    said = capsys.readouterr().out
    assert said.startswith("A-void: a function that returns nothing gives an empty reply\n")
    assert '(func (export "A-void") (param i32 i32) (drop (i32.load8_u (local.get 0))) )' in said
    assert called(monkeypatch, "--show", "A-nothing") == 2


def test_a_result_is_recorded_in_its_column_alone(monkeypatch, tmp_path):
    written = '[[column]]\nengine = "a"\nisolation = "thread"\npassed = 1\n'
    monkeypatch.setattr(kit, "COLUMNS", tmp_path / "columns.toml")
    kit.COLUMNS.write_text(written + written.replace('"a"', '"b"'))
    kit.record("b", "thread", 77)
    assert [column.passed for column in kit.columns()] == [1, 77]
    with pytest.raises(ValueError, match="has no column for a, process: add one"):
        kit.record("a", "process", 77)

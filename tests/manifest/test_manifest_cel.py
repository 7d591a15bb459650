"""What is said of a topic's `match` before a sidecar sees it. tests/dapr_real shows what a sidecar does with some."""

from __future__ import annotations

import pytest

from guesthouse.manifest import cel


@pytest.mark.parametrize(
    "text",
    [
        "",
        'event.type == "photo"',
        "event['type'] in ['a', \"b\"] && !(event.source.startsWith(r'x'))",
        'has(event.data.amount) && event.data.amount > 5.0 || event.topic == """t"""',
        'has(event.data.items) && event.data.items.exists(one, one.price > 0 && one.name != "x")',
        "has(event.data.a.b) ? event.data.a.b == 1u && has(event.data.a) && event.data.a != null : false",
        '"k-x" in event.data && event.data["k-x"] == 1 && has(event.data)',
        "type(event.id) == string && size(event.id) % 2 == 0 && -1 < 0x1F",
        "true",
        "event.type.matches('^com\\\\.')",
    ],
)
def test_what_is_right_passes_without_a_word(text):
    assert cel.read(text) == cel.Reading()


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ('event.type = "photo"', "is not CEL: nothing may follow like '= \"photo\"' at character 12", "with =="),
        ("event.type == 'a'\n  and true", "is not CEL: nothing may follow like 'and true' at line 2", "there"),
        ('event.type == "photo', "is not CEL", "correct it"),
        ("(event.type", "is not CEL", ""),
        ('subject == "x"', "asks for subject, which is not there", "write event.subject"),
        ('evnt.type == "x"', "asks for evnt, which is not there", "those of event"),
        ('event.Type == "x"', "asks for event.Type, a name that no event has", "did you mean event.type?"),
        ("event.type.starts_with('x')", "calls the method starts_with(), which CEL does not have", "startsWith()?"),
        ("lower(event.type) == 'x'", "calls the function lower(), which CEL does not have", "there are bool"),
        ("has(event)", "gives has() something else than one field", "has(event.data.amount)"),
        ('has(event["type"])', "gives has() something else than one field", "has(event.data.amount)"),
        ("has(event.data.l) && event.data.l.all(1, true)", "does not name the variable of all()", "list.all(one"),
        ("1 + 1", "is neither true nor false", "event.type =="),
        ('("photo")', "is neither true nor false", "event.type =="),
        ("[true]", "is neither true nor false", "event.type =="),
        ("true" * 2000, "has 8000 characters", "at most 4096"),
        ("!" * 4000 + "true", "is nested too deeply", "several rules"),
        ("(" * 2000 + "true" + ")" * 2000, "opens more than 128 brackets", "fewer"),
    ],
)
def test_what_a_sidecar_cannot_use_is_a_fault(text, what, remedy):
    faults = cel.read(text).faults
    assert len(faults) == 1, faults
    assert faults[0][0].startswith(what)
    assert remedy in faults[0][1]


def test_every_fault_of_an_expression_is_told_once():
    found = cel.read("foo(a) && foo(a) && event.Id == b")
    assert [what for what, _ in found.faults] == [
        "calls the function foo(), which CEL does not have",
        "asks for a, which is not there",
        "asks for event.Id, a name that no event has",
        "asks for b, which is not there",
    ]


@pytest.mark.parametrize(
    ("text", "path", "remedy"),
    [
        ("event.data.amount > 5", "event.data.amount", "write has(event.data.amount) && … before it"),
        ("has(event.data) && event.data.amount > 5", "event.data.amount", "has(event.data.amount)"),
        ("event.subject == 'x'", "event.subject", "has(event.subject)"),
        ('event.data["k-x"] == 1', "event.data.k-x", 'write "k-x" in event.data && … before it'),
        ("event.data.l.exists(one, one == 1)", "event.data.l", "has(event.data.l)"),
    ],
)
def test_a_field_that_an_event_may_not_have_is_a_warning(text, path, remedy):
    found = cel.read(text)
    assert found.faults == []
    assert len(found.warnings) == 1, found.warnings
    assert found.warnings[0][0].startswith(f"fails for an event without {path}:")
    assert remedy in found.warnings[0][1]


def test_a_variable_of_a_macro_may_be_called_event():
    assert cel.read("['a'].exists(event, event.Type == 'b')") == cel.Reading()

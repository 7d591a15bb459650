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


#: What the compiler of a sidecar (cel-go 0.20, daprd 1.18) said of each.
COMPILES = """
event.data.n == 5.0 || event.data.n == 5
event.type in ["a", 1]
"a" in {"a": 1}
timestamp(event.time) > timestamp("2020-01-01T00:00:00Z")
timestamp(event.time) - timestamp("x") > duration("1h")
timestamp(event.time).getFullYear() == 2020 && event.time.getHours("UTC") > 1
duration("1h").getHours() > 1
event.data.l.map(x, x > 1, x * 2) == [1] && event.data.l.filter(x, x > 1).size() > 0
{"a": 1}.a == 1 && {1: 2}[1] == 2 && [1][0] == 1
event.x ? true : false
type(event.type) == string
dyn(1) == "a"
event.data == null
"a" + event.type == "a1"
5 / 2 == 2 && -9223372036854775808 == 1
'\\u00e9' == 'x' || r"a\\q" == "b"
event.data["in"] == 1 && event.if == 1
event.l[0] + event.l[1] == 3
event["data"].a + event["data"].b > 3
matches(event.type, "a")
""".strip().splitlines()
DOES_NOT = """
1 == "a"
size(1) == 1
event.type.startsWith(1)
event.type.startsWith()
event.type.size() > "3"
double(event.data.n) > 5
timestamp(event.time) > "2020-01-01T00:00:00Z"
"x".getFullYear() == 1
duration("1h").getFullYear() > 1
"a" && true
!1
-"a" == "a"
[1] == ["a"]
event.type in "abc"
1 in ["a"]
event.data.l.exists(x, 1)
"abc".exists(x, true)
event.exists(x, true)
[1, 2].all(x, x > "a")
event.data.l.all(x, true, true)
event.data.l.all(package, true)
{"a": 1}.b == "x"
[1]["a"] == 1
true ? 1 : "a"
type(1) == "int"
b"a" == "a"
5.0 % 2.0 == 1.0
99999999999999999999 == 1
1e400 == 1.0
"\\q" == "a"
event.data.in == 1
event.data.null == 1
.event.type == "a"
event.data[b"x"] == 1
event["data"]["a"] + event["data"]["b"] > 3
""".strip().splitlines()


@pytest.mark.parametrize("text", COMPILES)
def test_what_a_sidecar_compiles_is_no_fault(text):
    assert cel.read(text).faults == []


@pytest.mark.parametrize("text", DOES_NOT)
def test_what_a_sidecar_does_not_compile_is_one_fault(text):
    assert len(cel.read(text).faults) == 1


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("double(event.data.n) > 5", "puts > to a double and an int", "1.0 a double"),
        ("size(1) == 1", "gives size() an int", "it takes a bytes or a list or a map or a string"),
        ('type(1) == "int"', "compares a type with a string", "one type"),
        ('"a" && true', "takes a string for true or false", "compare it"),
        ("event.data.in == 1", "has a word of CEL's own for a field, .in", 'write ["in"]'),
        (".event.type == 'a'", "begins a name with a dot", "write event"),
        ('"\\q" == "a"', 'has a \\ that stands for nothing in "\\q"', "write \\\\ for one"),
    ],
)
def test_types_that_do_not_go_together_are_said_in_words(text, what, remedy):
    ((said, then),) = cel.read(text).faults
    assert (said, remedy in then) == (what, True)


def test_types_of_types_are_told_in_no_time():
    """Each step would double what there is to compare."""
    text = "[1]" + "".join(f".map(x{n}, {{x{n}: x{n}}})" for n in range(60)) + ".size() == 1"
    assert cel.read(text).faults == []


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
    assert cel.read("[{'Type': 'b'}].exists(event, event.Type == 'b')") == cel.Reading()

"""send, test and explain for guests that are actors, without a sidecar."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wasmtime

from guesthouse.cli.timeline import Timeline
from guesthouse.event import Actor, Cost, Event, Reply, Trigger
from tests.support.actors import CALLER, answers, call, get, script, write

MANIFEST = """
[app]
name = "shop"
[guests.cart]
module = "cart.wasm"
calling = "dapr"
[guests.cart.dapr]
publish = ["pubsub/orders"]
actors = ["Cart/*"]
[guests.other]
module = "missing.wasm"
calling = "dapr"
[[actor]]
type = "Other"
guest = "other"
[[actor]]
type = "Cart"
guest = "cart"
"""
BODY = script(get("a"), write(("upsert", "a", b"2"), ("delete", "b", b""), ("upsert", "c", b"\xff")), get("a"))
SCRIPT = '[[call]]\nmethod = "PublishEvent"\nrequest = { topic = "orders" }\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guesthouse.toml").write_text(MANIFEST)
    (tmp_path / "cart.wasm").write_bytes(wasmtime.wat2wasm(CALLER))
    (tmp_path / "body").write_bytes(BODY)
    (tmp_path / "calls.toml").write_text(SCRIPT)
    return tmp_path


def reply_of(out: str) -> list[tuple[int, bytes]]:
    return answers(out.encode("latin-1", "replace"))


@pytest.mark.parametrize("kind", ["actor", "timer", "reminder"])
def test_send_runs_a_turn_with_its_state_in_a_file(guesthouse, folder: Path, kind: str) -> None:
    state = folder / "state.json"
    state.write_text('{"a": 1, "b": {"json": {"text": "x"}}, "d": [1, 2]}')
    done = guesthouse("send", kind, "Cart/7", "0", "--data", "body", "--state", "state.json", "-v")
    assert done.code == 0, done.err
    assert [code for code, _ in reply_of(done.out)] == [0, 0, 0]
    assert json.loads(state.read_text()) == {"a": 2, "c": {"base64": "/w=="}, "d": [1, 2]}
    said = [line for line in done.err.splitlines() if line.startswith("state ")]
    assert said == [
        'state "a" is "2", was "1"',
        'state "b" is deleted, was "{\\"text\\":\\"x\\"}"',
        'state "c" is new: 1 bytes that are no text',
    ]


def test_send_makes_the_file_where_there_is_none_and_a_state_in_memory_is_empty(guesthouse, folder: Path) -> None:
    for _ in range(2):
        done = guesthouse("send", "actor", "Cart/7", "0", "--data", "body", "-v")
        assert 'state "a" is new: "2"' in done.err
    assert guesthouse("send", "actor", "Cart/7", "0", "--data", "body", "--state", "new.json").code == 0
    assert json.loads((folder / "new.json").read_text()) == {"a": 2, "c": {"base64": "/w=="}}


def test_send_changes_nothing_where_the_turn_fails(guesthouse, folder: Path) -> None:
    (folder / "state.json").write_text('{"a": 1}')
    done = guesthouse("send", "actor", "Cart/7", "1", "--data", "body", "--state", "state.json")
    assert done.code == 1
    assert "— actor Cart/7 1 — the reason is GUEST" in done.err
    assert (folder / "state.json").read_text() == '{"a": 1}'


def test_send_says_that_a_timer_stops(guesthouse, folder: Path) -> None:
    done = guesthouse("send", "timer", "Cart/7", "4")
    assert (done.code, done.err.splitlines()[-1]) == (
        0, "the guest has stopped it: a host would unregister the timer"
    )  # fmt: skip


def test_send_answers_an_actors_other_calls_by_a_script_and_says_where_there_is_no_sidecar(
    guesthouse, folder: Path
) -> None:
    (folder / "body").write_bytes(script(("PublishEvent", b"\x0a\x06pubsub\x12\x06orders"), get("a")))
    done = guesthouse("send", "actor", "Cart/7", "0", "--data", "body", "--dapr", "calls.toml")
    assert done.code == 0, done.err
    assert [code for code, _ in reply_of(done.out)] == [0, 0]
    done = guesthouse("send", "actor", "Cart/7", "0", "--data", "body")
    assert reply_of(done.out) == [(14, b"there is no sidecar here"), (0, b"")]


def test_a_script_may_answer_for_the_state_too(guesthouse, folder: Path) -> None:
    (folder / "body").write_bytes(script(write(("upsert", "a", b"1"))))
    (folder / "calls.toml").write_text(
        '[[call]]\nmethod = "ExecuteActorStateTransaction"\nstatus = "UNAVAILABLE"\ntext = "the store is away"\n'
    )
    done = guesthouse("send", "actor", "Cart/7", "0", "--data", "body", "--dapr", "calls.toml")
    assert done.code == 1
    assert "was not saved: the sidecar says UNAVAILABLE: the store is away" in done.err


def test_a_reentrant_actor_may_call_itself_here_as_there(guesthouse, folder: Path) -> None:
    (folder / "body").write_bytes(script(call("InvokeActor", method="m")))
    (folder / "calls.toml").write_text('[[call]]\nmethod = "InvokeActor"\nrequest = { actorId = "7" }\n')
    send = ("send", "actor", "Cart/7", "o", "--data", "body", "--dapr", "calls.toml")
    assert "call 1 (InvokeActor) did not come" in guesthouse(*send).err
    (folder / "guesthouse.toml").write_text(MANIFEST + "reentrant = true\n")
    done = guesthouse(*send)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["actor", "Cart", "add"], '"Cart" names no actor — actor — write TYPE/ID, as in Cart/7'),
        (["timer", "Cart/a/b", "add"], '"a/b" is no name of an actor or of its type — timer — write TYPE/ID'),
        (["actor", "/7", "add"], '"" is no name of an actor'),
        (["actor", "Cart/7"], "which method, timer or reminder is missing — actor Cart/7 — write actor Cart/7 METHOD"),
        (["activate", "Cart/7", "x"], '"x" is one argument too many — activate Cart/7 — write activate Cart/7'),
        (["actor", "Bank/7", "add"], "no guest answers the actor 'Bank'"),
        (["actor", "Cart/7", "add", "--to", "127.0.0.1:1"],
         "an actor is called through its sidecar — actor Cart/7 — call it by InvokeActor"),
    ],
)  # fmt: skip
def test_send_says_what_is_wrong_with_a_turn(guesthouse, arguments: list[str], why: str) -> None:
    done = guesthouse("send", *arguments)
    assert done.code == 1
    assert why in done.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["invoke", "cart", "add"], "METHOD: is for actors, and this is of the kind invoke"),
        (["job", "cart", "--state", "x.json"], "--state: is for actors, and this is of the kind job"),
        (["job", "cart", "--callback", "x"], "--callback: is for actors"),
        (["actor", "Cart/7", "add", "--to", "a:1", "--state", "x.json"], "--state: is for a guest that is run here"),
    ],
)
def test_send_takes_what_is_for_actors_for_them_alone(guesthouse, arguments: list[str], why: str) -> None:
    done = guesthouse("send", *arguments)
    assert done.code == 2
    assert why in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON: "),
        ("[" * 100_000, "not JSON: "),
        ("[1]", "is no JSON object — state.json — write the values by their keys, in { }"),
        ('{"a": {"base64": "é"}}', '"é" is not base64 — state.json: a — write one of text, json, base64 with'),
        ('{"a": {"text": 5}}', "which is no way to write bytes — state.json: a — write one of text, json, base64"),
    ],
)  # fmt: skip
def test_send_says_what_is_wrong_with_a_state(guesthouse, folder: Path, text: str, why: str) -> None:
    (folder / "state.json").write_text(text)
    done = guesthouse("send", "actor", "Cart/7", "0", "--state", "state.json")
    assert done.code == 1
    assert why in done.err


def test_bench_does_not_call_actors(guesthouse) -> None:
    done = guesthouse("bench", "actor", "Cart/7")
    assert done.code == 1
    assert "an actor is called through its sidecar — actor Cart/7 — " in done.err


CASE = """
[event]
trigger = "{trigger}"
name = "Cart"
actor = "7"
method = "{method}"
body = {{ file = "../body" }}
[state]
a = {{ json = 1 }}
b = "gone"
[state_after]
{after}
"""
AFTER = 'a = "2"\nc = { base64 = "/w==" }'
BEFORE = 'a = { json = 1 }\nb = "gone"'


@pytest.mark.parametrize(
    ("trigger", "method", "more"),
    [
        ("actor", "0", AFTER),
        ("timer", "4", f"{AFTER}\n[reply]\nstop = true"),
        ("reminder", "0", f"{AFTER}\n[reply]\nstop = false"),
        ("actor", "1", f'{BEFORE}\n[failure]\nreason = "GUEST"'),
    ],
)
def test_a_test_of_a_turn_says_what_the_state_is_before_and_after(
    guesthouse, folder: Path, trigger: str, method: str, more: str
) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "turn.toml").write_text(CASE.format(trigger=trigger, method=method, after=more))
    (folder / "guesthouse.toml").write_text(MANIFEST.replace("missing.wasm", "cart.wasm"))
    done = guesthouse("test")
    assert done.code == 0, done.out + done.err


def test_a_test_of_a_turn_says_how_the_state_differs(guesthouse, folder: Path) -> None:
    (folder / "tests").mkdir()
    case = CASE.format(trigger="timer", method="0", after='a = "3"\nx = "1"') + "[reply]\nstop = true\n"
    (folder / "tests" / "turn.toml").write_text(case)
    (folder / "guesthouse.toml").write_text(MANIFEST.replace("missing.wasm", "cart.wasm"))
    done = guesthouse("test")
    assert done.code == 1
    assert [line.strip() for line in done.out.splitlines()][1:5] == [
        "it goes on: the outcome is not STOP",
        'the state "a" is "2", not "3"',
        'the state has "c" too: 1 bytes that are no text',
        'the state has no "x", which is to be "1"',
    ]


def test_explain_gives_a_table_to_a_guest_that_is_an_actor(guesthouse, folder: Path) -> None:
    handlers = CALLER.replace('"dapr_on_event"', '"dapr_on_actor"')
    (folder / "cart.wasm").write_bytes(wasmtime.wat2wasm(handlers))
    done = guesthouse("explain", "cart.wasm")
    assert '"dapr" fits: handlers for actor, timer, reminder' in done.out
    assert done.out.endswith('[[actor]]\ntype = "cart"\nguest = "cart"\n')


def test_explain_gives_none_to_a_guest_of_any_events(guesthouse) -> None:
    done = guesthouse("explain", "cart.wasm")
    assert "[[job]]" in done.out
    assert "[[actor]]" not in done.out


def test_explain_asks_for_no_grant_for_what_is_an_actors_own(guesthouse, folder: Path) -> None:
    data = "(data (i32.const 32)"
    named = CALLER.replace(data, f'(data (i32.const 4096) "GetActorState InvokeActor") {data}')
    (folder / "cart.wasm").write_bytes(wasmtime.wat2wasm(named))
    done = guesthouse("explain", "cart.wasm")
    assert done.code == 0, done.err
    assert 'actors = ["TYPE/ID"]  # InvokeActor' in done.out
    assert "own_actor" not in done.out


def test_the_timeline_says_whose_turn_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    event = Event(Trigger.TIMER, "Cart", b"1", actor=Actor("7", "tick"))
    Timeline().answered(event, Reply(b"", cost=Cost()))
    assert " timer Cart/7 tick, 1 bytes: 200, 0 bytes" in capsys.readouterr().out

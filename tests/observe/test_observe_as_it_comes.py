"""A guest's lines are in the log as it writes them: what it said before it hung is seen while it still hangs."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import wasmtime

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.observe import logs
from tests.support.logged import json_lines
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.serving import serving

WASI = """(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 64) "developing\\nfixing")
  (func $say (param $stream i32)
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 17))
    (drop (call $write (local.get $stream) (i32.const 0) (i32.const 1) (i32.const 8))))"""
#: A subscription to a clock, an hour from now.
SLEEPS = """(i32.store (i32.const 144) (i32.const 1)) (i64.store (i32.const 152) (i64.const 3600000000000))
  (drop (call $poll (i32.const 128) (i32.const 192) (i32.const 1) (i32.const 240)))"""
LOOPS = "(loop br 0)"

#: name -> (calling, module): a program, whose standard output is its reply, and a function, whose is its log.
GUESTS = {
    f"{calling}-{hangs}": (calling, f"(module {WASI} {begin} (call $say (i32.const {stream})) {body} {end})")
    for calling, stream, begin, end in (
        ("command", 2, '(func (export "_start")', ")"),
        ("bindgen", 1, '(func (export "f") (param i32 i32) (result i32)', "(i32.const 0))"),
    )
    for hangs, body in (("loops", LOOPS), ("sleeps", SLEEPS))
}
ALLOCATE = '(func (export "allocate") (param i32) (result i32) (i32.const 1024))'


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with json_lines(logs.Level.INFO) as lines:
        yield lines


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def served(folder: Path, place: str, seconds: str) -> Iterator[Client]:
    text = f'[app]\nname = "t"\n{engine_table(place)}'
    for name, (calling, wat) in GUESTS.items():
        module = wat if calling == "command" else f"{wat[:-1]} {ALLOCATE})"
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(module))
        text += f'[guests.{name}]\nmodule = "{name}.wasm"\ncalling = "{calling}"\n'
        text += 'function = "f"\n' if calling == "bindgen" else ""
        text += f'isolation = "{isolation_of(place)}"\nlimits = {{ time = "{seconds}", concurrency = 1 }}\n'
        text += f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'
    (folder / "guesthouse.toml").write_text(text)
    with serving(folder / "guesthouse.toml", place) as (client, _):
        yield client


def said(stream: io.StringIO, guest: str) -> list[str]:
    """The guest's own lines and those of its events, in the order in which they were logged."""
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    of_events = ("guesthouse.guest", "guesthouse.events")
    return [line["event"] for line in lines if line.get("guest") == guest and line["logger"] in of_events]


def test_what_a_guest_said_before_its_deadline_is_in_the_log_before_its_failure(place: str, tmp_path: Path, stream):
    # wasmer cannot end a loop: its process is killed, and with it a line that has no end yet.
    rests: dict[str, list[str]] = {name: ["fixing"] for name in GUESTS}
    if place == "wasmer":
        rests |= {name: [] for name in GUESTS if name.endswith("loops")}
    expected = {name: ["developing", *rest, "failed"] for name, rest in rests.items()}
    for seconds in ("500ms", "5s", "20s"):  # on a busy machine the first of them may be too short
        stream.truncate(stream.seek(0))
        with served(tmp_path, place, seconds) as client:
            for name in GUESTS:
                with pytest.raises(Failure) as caught:
                    client.send(Event(Trigger.INVOKE, name), timeout=60)
                assert caught.value.reason is Reason.DEADLINE
        found = {name: said(stream, name) for name in GUESTS}
        if found == expected:
            break
    assert found == expected


def test_a_line_is_in_the_log_while_its_guest_still_hangs(place: str, tmp_path: Path, stream):
    with served(tmp_path, place, "50s") as client, ThreadPoolExecutor(len(GUESTS)) as threads:
        events = {name: threads.submit(client.send, Event(Trigger.INVOKE, name), 30) for name in GUESTS}
        try:
            for name, event in events.items():
                while "developing" not in said(stream, name):
                    assert not event.done(), said(stream, name)
                    time.sleep(0.01)
                assert not event.done()
        finally:
            client.close()  # its callers hang up

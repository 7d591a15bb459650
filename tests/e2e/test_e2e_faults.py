"""What bad guests and bad manifests get: a status and a log line, or a list of faults before any port opens."""

from __future__ import annotations

import gc
import struct
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import structlog
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import load
from guesthouse.plan.plan import PlanFaults
from tests.support.serving import serving
from tests.support.waiting import until

ALLOCATOR = """(global $at (mut i32) (i32.const 1024))
  (func (export "allocate") (param i32) (result i32)
    global.get $at (global.set $at (i32.add (global.get $at) (local.get 0))))"""


def guest(body: str, data: bytes = b"", pages: int = 1) -> str:
    text = "".join(f"\\{byte:02x}" for byte in data)
    return f"""(module (memory (export "memory") {pages}) {ALLOCATOR} (data (i32.const 16) "{text}")
      (func (export "f") (param i32 i32) (result i32) {body}))"""


RECORD = struct.Struct("<BII")
TRIPLE = struct.Struct("<III")

#: name -> (module, limits, reason, what the caller reads)
BAD: dict[str, tuple[str, str, Reason, str]] = {
    "traps": (guest("unreachable"), "", Reason.TRAP, "trap: unreachable"),
    "loops": (guest("(loop br 0) i32.const 0"), 'time = "200ms"', Reason.DEADLINE, "time limit 0.2 s"),
    "grows": (
        guest("(loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 16))))) unreachable"),
        'memory = "8MiB"',
        Reason.TRAP,
        "trap: unreachable",
    ),
    "points-out": (guest("i32.const -1"), "", Reason.BAD_REPLY, "outside the guest's memory"),
    "says-too-much": (
        guest("i32.const 16", RECORD.pack(0, 32, 1) + bytes(7) + TRIPLE.pack(0, 21, 50_000)),
        'output = "1KB"',
        Reason.BAD_REPLY,
        "a reply of 50000 bytes; the limit output is 1000",
    ),
    "overflows-its-stack": (
        f"""(module (memory (export "memory") 1) {ALLOCATOR} (func $r call $r)
          (func (export "f") (param i32 i32) (result i32) call $r i32.const 0))""",
        "",
        Reason.TRAP,
        "trap: stack overflow",
    ),
    "loops-in-allocate": (
        """(module (memory (export "memory") 1)
          (func (export "allocate") (param i32) (result i32) (loop br 0) i32.const 0)
          (func (export "f") (param i32 i32) (result i32) i32.const 0))""",
        'time = "200ms"',
        Reason.DEADLINE,
        "time limit 0.2 s",
    ),
    "loops-at-its-start": (
        f"""(module (memory (export "memory") 1) {ALLOCATOR} (func $s (loop br 0)) (start $s)
          (func (export "f") (param i32 i32) (result i32) i32.const 0))""",
        'time = "200ms"',
        Reason.DEADLINE,
        "time limit 0.2 s",
    ),
}


@pytest.fixture
def hostile(serve: Callable[[str], Client], tmp_path: Path) -> Client:
    """Every bad guest and a good one in one application."""
    text = '[app]\nname = "t"\n[guests.echo]\nmodule = "GUESTS/echo/echo.wasm"\nfunction = "echo"\n'
    text += '[[invoke]]\nmethod = "echo"\nguest = "echo"\n'
    for name, (wat, limits, _, _) in BAD.items():
        (tmp_path / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
        text += f'[guests.{name}]\nmodule = "{name}.wasm"\nfunction = "f"\nlimits = {{ {limits} }}\n'
        text += f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'
    return serve(text)


def invoke(client: Client, method: str, body: bytes = b"x") -> bytes:
    return client.send(Event(Trigger.INVOKE, method, body), timeout=60).body


def test_a_bad_guest_is_one_failed_call_with_its_status_and_a_log_line(hostile: Client):
    for name, (_, _, reason, said) in BAD.items():
        with structlog.testing.capture_logs() as logs, pytest.raises(Failure) as caught:
            invoke(hostile, name)
        assert caught.value.reason is reason, name
        assert said in str(caught.value), name
        assert [log for log in logs if log["event"] == "failed" and log["guest"] == name], name
        assert invoke(hostile, "echo", b"next") == b"next"


def freed(like: Event) -> bool:
    """Whether no other event with this one's body is in memory."""
    return sum(type(found) is Event and found.body == like.body for found in gc.get_objects()) == 1


def test_a_failed_event_waits_for_no_garbage_collector(hostile: Client):
    for name in BAD:
        sent = Event(Trigger.INVOKE, name, uuid.uuid4().bytes)
        gc.collect()
        gc.disable()  # then what is in a cycle stays
        try:
            with pytest.raises(Failure):
                hostile.send(sent, timeout=60)
            until(partial(freed, sent), f"{name} is freed")  # its thread may be at its end still
        finally:
            gc.enable()


LOOPER = """
[app]
name = "t"
[guests.loop]
module = "loop.wasm"
function = "f"
limits = { time = "10m", concurrency = 2, queue = 1, queue_wait = "10m" }
[[invoke]]
method = "loop"
guest = "loop"
"""


def test_health_and_refusals_are_quick_while_every_slot_loops(tmp_path: Path, place: str):
    (tmp_path / "loop.wasm").write_bytes(wasmtime.wat2wasm(BAD["loops"][0]))
    (tmp_path / "guesthouse.toml").write_text(LOOPER)
    with serving(tmp_path / "guesthouse.toml", place) as (client, plan), ThreadPoolExecutor(3) as pool:
        slots = plan.guests["loop"].slots
        with Client(client.address, token="") as others:
            calls = [pool.submit(others.send, Event(Trigger.INVOKE, "loop", b"x"), 600) for _ in range(3)]
            try:
                until(lambda: (slots.busy, slots.queued) == (2, 1))
                # None of them waits for a slot, which is not free for minutes.
                client.wait_until_healthy(60)
                with pytest.raises(Failure, match=r"1 callers wait already \(queue 1\)") as caught:
                    client.send(Event(Trigger.INVOKE, "loop", b""), timeout=60)
                assert caught.value.reason is Reason.FULL
                assert not any(call.done() for call in calls)
            finally:
                others.close()  # its callers hang up
        assert {type(call.exception(60)) for call in calls} == {Failure}
        until(lambda: (slots.busy, slots.queued) == (0, 0))


def test_a_caller_that_hangs_up_frees_its_slot(tmp_path: Path, place: str):
    (tmp_path / "loop.wasm").write_bytes(wasmtime.wat2wasm(BAD["loops"][0]))
    (tmp_path / "guesthouse.toml").write_text(LOOPER.replace("concurrency = 2", "concurrency = 1"))
    with serving(tmp_path / "guesthouse.toml", place) as (client, plan):
        slots = plan.guests["loop"].slots
        for _ in range(3):
            with Client(client.address, token="") as caller, ThreadPoolExecutor(1) as pool:
                call = pool.submit(caller.send, Event(Trigger.INVOKE, "loop", b""), 600)
                until(lambda: slots.busy)
                caller.close()
                assert isinstance(call.exception(60), Failure)
            until(lambda: not slots.busy)  # and not when its guest has had its ten minutes


def test_on_error_drop_acknowledges_what_the_guest_fails(serve, tmp_path: Path):
    (tmp_path / "trap.wasm").write_bytes(wasmtime.wat2wasm(BAD["traps"][0]))
    client = serve("""
        [app]
        name = "t"
        [guests.trap]
        module = "trap.wasm"
        function = "f"
        [[binding]]
        name = "kept"
        guest = "trap"
        [[binding]]
        name = "dropped"
        guest = "trap"
        on_error = "drop"
    """)
    with pytest.raises(Failure):
        client.send(Event(Trigger.BINDING, "kept", b""), timeout=10)
    client.send(Event(Trigger.BINDING, "dropped", b""), timeout=10)


def test_a_reply_that_its_output_does_not_take_fails_the_event(serve, guests_folder: Path):
    client = serve("""
        [app]
        name = "t"
        [guests.echo]
        module = "GUESTS/echo/echo.wasm"
        function = "echo"
        [[binding]]
        name = "camera"
        guest = "echo"
        to = ["results"]
    """)
    with pytest.raises(Failure, match="results") as caught:
        client.send(Event(Trigger.BINDING, "camera", b"x"), timeout=30)
    assert caught.value.reason is Reason.OUTPUT


def faults_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "guesthouse.toml"
    path.write_text('[app]\nname = "t"\n' + text)
    threads = threading.active_count()
    with pytest.raises(PlanFaults) as caught, open_plan(load(path)):
        pass
    # Those of other tests may end meanwhile, none of ours may stay.
    until(lambda: threading.active_count() <= threads, "its threads end")
    return caught.value.faults


def test_every_fault_of_every_guest_and_model_is_told_at_once(tmp_path: Path, guests_folder: Path):
    (tmp_path / "not.wasm").write_bytes(b"#!/bin/sh")
    (tmp_path / "component.wasm").write_bytes(b"\0asm\x0d\0\1\0")
    (tmp_path / "invalid.wasm").write_bytes(b"\0asm\1\0\0\0\xff\xff")
    (tmp_path / "imports.wasm").write_bytes(
        wasmtime.wat2wasm("""(module (import "nowhere" "f" (func)) (import "wasmedge_image" "g" (func))
          (import "wasmedge_image" "load_jpg" (func (param i32))) (memory (export "memory") 1))""")
    )
    (tmp_path / "huge.wasm").write_bytes(
        wasmtime.wat2wasm('(module (memory (export "memory") 4000) (table 200000 funcref))')
    )
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    names = ["missing", "not", "component", "invalid", "imports", "huge"]
    text = "".join(f'[guests.{n}]\nmodule = "{n}.wasm"\nfunction = "f"\n' for n in names)
    text += f'[guests.pinned]\nmodule = "{guests_folder}/echo/echo.wasm"\nfunction = "echo"\nsha256 = "{"0" * 64}"\n'
    text += f'[guests.misnamed]\nmodule = "{guests_folder}/echo/echo.wasm"\nfunction = "infer"\n'
    text += f'[guests.no-command]\nmodule = "{guests_folder}/echo/echo.wasm"\ncalling = "command"\n'
    text += '[models.broken]\npath = "broken.onnx"\n[models.absent]\npath = "absent.onnx"\n'
    faults = faults_of(tmp_path, text)
    for expected in (
        ["missing", "missing.wasm cannot be read (No such file or directory): build it or correct the path"],
        ["not", "is not a Wasm module"],
        ["component", "is a component that cannot be served: it exports no function of a core module"],
        ["invalid", "does not compile"],
        ["imports", "import nowhere.f (function ()->()) has no answer: the host modules are"],
        ["imports", "import wasmedge_image.g (function ()->()) has no answer: wasmedge_image has no such field"],
        ["imports", "import wasmedge_image.load_jpg is function (i32)->(), the host has function"],
        ["huge", "its memory starts with 262144000 bytes, the limit memory is 134217728: raise it"],
        ["huge", "a table starts with 200000 elements; at most 100000 are served"],
        ["imports", "exports no function 'f'"],
        ["pinned", "the manifest wants 0000"],
        ["misnamed", "exports no function 'infer' (functions that it has: echo)"],
        ["no-command", "_start"],
        ["broken", "broken.onnx"],
        ["absent", "absent.onnx"],
    ):
        assert [f for f in faults if all(part in f for part in expected)], (expected, faults)

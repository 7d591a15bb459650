"""Guests that are snapshots: initialised once, when they are loaded, and not with each event."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.engine.base import Refused
from guesthouse.event import Event, Failure, Reply, Trigger
from guesthouse.guests import initialising
from guesthouse.guests.capabilities import GRANTS
from guesthouse.guests.files import NOTHING, Granted
from guesthouse.guests.process import confine
from guesthouse.guests.snapshots import Beginning, Snapshot, key_of, packed, unpacked
from guesthouse.manifest import load
from guesthouse.plan.build import build
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants, Limits
from tests.support.places import PLACES, engine_table, isolation_of

ROOT = Path(__file__).resolve().parents[2]
WASI = "wasi_snapshot_preview1"
IMPORTS = f"""
  (import "dapr_v1" "reply_write" (func $reply (param i32 i32) (result i32)))
  (import "dapr_v1" "event_read" (func $event (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "config_read" (func $config (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_ephemeral_nn" "load_by_name" (func $model (param i32 i32 i32) (result i32)))
  (import "{WASI}" "args_get" (func $args (param i32 i32) (result i32)))
  (import "{WASI}" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))
  (import "{WASI}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "{WASI}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "{WASI}" "fd_close" (func $close (param i32) (result i32)))
  (import "{WASI}" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "{WASI}" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "{WASI}" "proc_exit" (func $exit (param i32)))
"""
#: A guest whose initialisation is CODE. Its reply is 64 bytes from the address 1024 on.
GUEST = f"""(module {IMPORTS} (memory (export "memory") 4)
  (global $runs (mut i32) (i32.const 48))
  (data (i32.const 16) "/a.txt") (data (i32.const 32) "colour") (data (i32.const 48) "/tmp/new")
  (func (export "_initialize")
    (global.set $runs (i32.add (global.get $runs) (i32.const 1)))
    CODE)
  (func (export "dapr_on_event") (result i32)
    (i32.store8 (i32.const 1024) (global.get $runs))
    (global.set $runs (i32.const 99))
    (drop (call $reply (i32.const 1024) (i32.const 64)))
    (i32.store8 (i32.const 1025) (i32.const 33))
    (i32.const 0)))"""
#: Opens the file /a.txt; its descriptor is at the address 512.
OPENED = """(drop (call $open (i32.const 3) (i32.const 0) (i32.const 17) (i32.const 5) (i32.const 0)
  (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 512)))"""
READ = f"""{OPENED} (i32.store (i32.const 520) (i32.const 1040)) (i32.store (i32.const 524) (i32.const 8))
  (drop (call $read (i32.load (i32.const 512)) (i32.const 520) (i32.const 1) (i32.const 528)))"""
PRINTED = """(i32.store (i32.const 520) (i32.const 32)) (i32.store (i32.const 524) (i32.const 6))
  (drop (call $write (i32.const 2) (i32.const 520) (i32.const 1) (i32.const 528)))"""

Opened = Callable[..., Plan]


def written(folder: Path, wat: str, place: str = "thread", more: str = "", calling: str = "dapr") -> Path:
    (folder / "guest.wasm").write_bytes(wasmtime.wat2wasm(wat))
    if not (folder / "a.txt").exists():
        (folder / "a.txt").write_text("a file")
    (folder / "guesthouse.toml").write_text(f"""{engine_table(place)}
[app]
name = "t"
[guests.g]
module = "guest.wasm"
calling = "{calling}"
snapshot = true
isolation = "{isolation_of(place)}"
files = {{ "/a.txt" = "a.txt" }}
scratch = "64KiB"
config = {{ colour = "blue" }}
limits = {{ time = "20s", memory = "1MiB" }}
{more}
""")
    return folder / "guesthouse.toml"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of code that begins empty: a snapshot of an earlier run would hide what this one makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUESTHOUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Load a guest; the plan is closed at the end."""
    plans = []

    def opened(wat: str, place: str = "thread", more: str = "", calling: str = "dapr") -> Plan:
        plans.append(open_plan(load(written(tmp_path, wat, place, more, calling), grants=GRANTS)))
        return plans[-1].__enter__()

    yield opened
    for plan in reversed(plans):
        plan.__exit__(None, None, None)


def guest(code: str) -> str:
    return GUEST.replace("CODE", code)


def run(plan: Plan, body: bytes = b"", **facts: Any) -> Reply:
    return plan.guests["g"].run(Event(facts.pop("trigger", Trigger.INVOKE), "m", body, **facts), Deadline.after(30))


def refusal(opened: Opened, wat: str, **how: str) -> str:
    with pytest.raises(PlanFaults) as refused:
        opened(wat, **how)
    (fault,) = refused.value.faults
    return fault.partition("guest.wasm: ")[2]


# ---- what an event begins with ----


@pytest.mark.parametrize("place", PLACES)
def test_a_guest_is_initialised_once_and_each_event_begins_as_it_was_then(opened: Opened, place: str) -> None:
    plan = opened(guest(""), place)
    assert [run(plan).body[:2] for _ in range(3)] == [b"1\0"] * 3


def test_wizers_export_is_called_after_the_usual_one(opened: Opened) -> None:
    wat = guest("").replace(
        '(func (export "dapr_on_event")',
        """(func (export "wizer.initialize") (global.set $runs (i32.mul (global.get $runs) (i32.const 2))))
        (func (export "dapr_on_event")""",
    )
    assert run(opened(wat)).body[:1] == bytes([98])


@pytest.mark.parametrize("place", PLACES)
def test_files_that_it_reads_and_closes_are_read_once(opened: Opened, place: str) -> None:
    plan = opened(guest(f"{READ} (drop (call $close (i32.load (i32.const 512))))"), place)
    assert run(plan).body[16:22] == b"a file"


def test_arguments_variables_and_settings_are_those_of_events(opened: Opened) -> None:
    plan = opened(
        guest(
            """(drop (call $args (i32.const 512) (i32.const 1040)))
            (drop (call $environ (i32.const 512) (i32.const 1056)))
            (drop (call $config (i32.const 32) (i32.const 6) (i32.const 0) (i32.const 1064) (i32.const 4)))"""
        ),
        more='env = { A = "bcd" }',
    )
    assert run(plan).body[16:44] == b"g\0" + bytes(14) + b"A=bcd\0" + bytes(2) + b"blue"


def test_random_bytes_and_times_of_the_initialisation_are_frozen_and_those_of_events_are_not(opened: Opened) -> None:
    drawn = "(drop (call $random (i32.const AT) (i32.const 8)))"
    wat = guest(drawn.replace("AT", "1040") + "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 1048)))")
    plan = opened(
        wat.replace("(global.set $runs (i32.const 99))", drawn.replace("AT", "1056")),
    )
    first, second = run(plan).body, run(plan).body
    assert first[16:32] == second[16:32] != bytes(16)
    assert first[32:40] != second[32:40]


def test_a_guest_that_ends_itself_well_is_initialised(opened: Opened) -> None:
    assert run(opened(guest("(call $exit (i32.const 0))"))).body[:1] == b"1"


# ---- ways to call ----

BINDGEN = """(module (memory (export "memory") 1) (global $n (mut i32) (i32.const 48))
  (func (export "INITIALIZE") (global.set $n (i32.add (global.get $n) (i32.const 1))))
  (func (export "allocate") (param i32) (result i32) (i32.const 4096))
  (func (export "deallocate") (param i32 i32))
  (func (export "f") (param i32 i32) (result i32)
    (i32.store8 (i32.const 3000) (global.get $n))
    (i32.store (i32.const 100) (i32.const 3000))
    (i32.store (i32.const 104) (i32.const 21))
    (i32.store (i32.const 108) (i32.const 1))
    (i32.store (i32.const 81) (i32.const 100))
    (i32.store (i32.const 85) (i32.const 1))
    (i32.const 80)))"""
PROGRAM = f"""(module (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (global $n (mut i32) (i32.const 48))
  (func (export "INITIALIZE") (global.set $n (i32.add (global.get $n) (i32.const 1))))
  (func (export "_start")
    (i32.store8 (i32.const 0) (global.get $n))
    (i32.store (i32.const 12) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"""


def test_a_function_is_called_in_a_snapshot(opened: Opened) -> None:
    plan = opened(BINDGEN.replace("INITIALIZE", "_initialize"), calling="bindgen", more='function = "f"')
    assert [run(plan).body for _ in range(2)] == [b"1", b"1"]


@pytest.mark.parametrize("place", PLACES)
def test_a_program_is_called_in_a_snapshot_made_by_wizers_export(opened: Opened, place: str) -> None:
    plan = opened(PROGRAM.replace("INITIALIZE", "wizer.initialize"), place, calling="command")
    assert [run(plan).body for _ in range(2)] == [b"1", b"1"]


def test_a_program_without_that_export_is_refused(opened: Opened) -> None:
    told = refusal(opened, PROGRAM.replace("INITIALIZE", "other"), calling="command")
    assert told == (
        "no snapshot can be made of it: it has nothing that initialises it: it exports neither _initialize nor "
        "wizer.initialize (docs/guests.md); change what it does there, or take `snapshot` out of its table"
    )


def test_a_library_with_a_main_function_has_that_run_once(opened: Opened) -> None:
    """As a guest of dapr_v1 that was built as a program: `_start` is run before its handlers."""
    plan = opened(guest("").replace('(export "_initialize")', '(export "_start")'))
    assert [run(plan).body[:1] for _ in range(2)] == [b"1", b"1"]


def test_a_module_that_cannot_be_called_is_refused_as_without_a_snapshot(opened: Opened) -> None:
    with pytest.raises(PlanFaults, match="exports no handler"):
        opened('(module (memory (export "memory") 1) (func (export "_initialize")))')


def test_a_component_whose_initialisation_calls_none_of_its_interfaces_is_a_snapshot(tmp_path: Path) -> None:
    path = written(tmp_path, "(module)", calling="command")
    module = (ROOT / "guests" / "c_component" / "c_component.wasm").read_bytes()
    (tmp_path / "guest.wasm").write_bytes(module)
    with open_plan(load(path, grants=GRANTS)) as plan:
        assert "_initialize" not in plan.guests["g"].code.module.exports
        assert [run(plan, b"hello").body for _ in range(2)] == [b"HELLO"] * 2


# ---- what is refused ----

REFUSED = {
    "a model": (
        "(drop (call $model (i32.const 0) (i32.const 0) (i32.const 0)))",
        "its initialisation calls wasi_ephemeral_nn.load_by_name, which there is only during an event",
    ),
    "the event": (
        "(drop (call $event (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
        "its initialisation calls dapr_v1.event_read, which there is only during an event",
    ),
    "standard input": (
        "(drop (call $read (i32.const 0) (i32.const 520) (i32.const 1) (i32.const 528)))",
        "its initialisation reads standard input, where the body of an event would be",
    ),
    "a file left open": (
        OPENED,
        "its initialisation leaves descriptor 5 open, and an event has the descriptors of the start",
    ),
    "a stream closed": (
        "(drop (call $close (i32.const 2)))",
        "its initialisation closes descriptor 2, and an event has the descriptors of the start",
    ),
    "a stream that is a file": (
        f"{OPENED} (drop (call $renumber (i32.load (i32.const 512)) (i32.const 0)))",
        "its initialisation leaves descriptor 0 open, and an event has the descriptors of the start",
    ),
    "a stream under another number": (
        "(drop (call $renumber (i32.const 2) (i32.const 1)))",
        "its initialisation leaves descriptor 1 open, and an event has the descriptors of the start",
    ),
    "the root closed": (
        "(drop (call $close (i32.const 3)))",
        "its initialisation closes descriptor 3, and an event has the descriptors of the start",
    ),
    "a file left in scratch": (
        """(drop (call $open (i32.const 3) (i32.const 0) (i32.const 49) (i32.const 7) (i32.const 1)
        (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 512)))
        (drop (call $close (i32.load (i32.const 512))))""",
        "its initialisation leaves 1024 bytes in files of the scratch folder, which no event would find",
    ),
    "an exit code, with words": (
        f"{PRINTED} (call $exit (i32.const 3))",
        "its initialisation ends with exit code 3: colour",
    ),
    "a trap, with words": (f"{PRINTED} (unreachable)", "its initialisation fails: unreachable: colour"),
    "more memory than it may have": (
        "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then (unreachable)))",
        "its initialisation fails: unreachable",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_frozen_is_refused_with_the_reason(opened: Opened, case: str) -> None:
    code, reason = REFUSED[case]
    told = refusal(opened, guest(code))
    assert told == (
        f"no snapshot can be made of it: {reason}; change what it does there, or take `snapshot` out of its table"
    )


def test_a_module_that_is_not_valid_is_refused_by_the_validator(opened: Opened, tmp_path: Path) -> None:
    path = written(tmp_path, guest(""))
    whole = (tmp_path / "guest.wasm").read_bytes()
    (tmp_path / "guest.wasm").write_bytes(whole[:-10])
    with pytest.raises(PlanFaults, match="does not compile: "), open_plan(load(path, grants=GRANTS)):
        pass


# ---- in the child, whose steps are called here ----


def data(code: str, **grants: Any) -> bytes:
    beginning = Beginning("g", Snapshot(), "dapr", grants=Grants(**grants), limits=Limits(memory=1 << 20))
    return packed(beginning, NOTHING, bytes(wasmtime.wat2wasm(guest(code))))


def test_a_guest_that_loops_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "when_loaded", lambda memory: [])
    monkeypatch.setattr(initialising, "TIME", 0.2)
    with pytest.raises(Refused, match=r"its initialisation takes more than 0\.2 s"):
        initialising.translate(data("(loop (br 0))"))


def test_the_process_is_confined_before_the_guests_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def random(size: int) -> bytes:
        order.append("the guest's code")
        return bytes(size)

    monkeypatch.setattr(confine, "when_loaded", lambda memory: order.append("confined"))
    monkeypatch.setattr(os, "urandom", random)
    initialising.translate(data("(drop (call $random (i32.const 0) (i32.const 8)))"))
    assert order == ["confined", "the guest's code"]


def test_no_snapshot_is_made_where_processes_must_be_confined_and_cannot_be(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine, "lacking", lambda: ["no filter of system calls (seccomp)"])
    with pytest.raises(PlanFaults) as refused:
        opened(guest("(unreachable)"), "process", '[process]\nconfinement = "required"')
    told = "where the guest is initialised, too, and here no filter of system calls (seccomp)"
    assert f"guest 'g': process.confinement is \"required\" {told}" in refused.value.faults


def test_what_the_child_is_given_comes_back_whole() -> None:
    beginning = Beginning(
        "g",
        Snapshot(("_start",), (("run", 7),)),
        "command",
        grants=Grants(models=frozenset({"m"}), env=(("A", "b"),), args=("x",)),
        limits=Limits(memory=5 << 20, time=1.5),
    )
    granted = Granted(Files({"/a": b"", "/b/c": b"12345"}))
    found, files, wasm = unpacked(packed(beginning, granted, b"\0asm..."))
    assert (found, dict(files.contents), wasm) == (beginning, {"/a": b"", "/b/c": b"12345"}, b"\0asm...")


def test_a_snapshot_is_kept_by_all_that_went_into_it() -> None:
    beginning = Beginning("g", Snapshot(), "dapr")
    others = [
        key_of(replace(beginning, name="h"), "code", "files"),
        key_of(replace(beginning, grants=Grants(env=(("A", "b"),))), "code", "files"),
        key_of(replace(beginning, limits=Limits(memory=1 << 20)), "code", "files"),
        key_of(replace(beginning, snapshot=Snapshot(("a",))), "code", "files"),
        key_of(beginning, "code2", "files"),
        key_of(beginning, "code", "files2"),
    ]
    assert len({key_of(beginning, "code", "files"), *others}) == 7
    slower = replace(beginning, limits=Limits(time=9.0, concurrency=7))
    assert key_of(slower, "code", "files") == key_of(beginning, "code", "files")


def test_what_is_unchanged_is_not_initialised_again_and_what_changed_is(opened: Opened, tmp_path: Path) -> None:
    wat = guest(f"{READ} (drop (call $close (i32.load (i32.const 512))))")
    (tmp_path / "a.txt").write_text("one file")
    assert opened(wat).guests["g"].code.compiled
    assert not opened(wat).guests["g"].code.compiled
    (tmp_path / "a.txt").write_text("another.")
    plan = opened(wat)
    assert plan.guests["g"].code.compiled
    assert run(plan).body[16:24] == b"another."
    assert not plan.guests["g"].code.artefact.stat().st_mode & 0o077  # what it has read is in its code


def test_a_reload_keeps_a_snapshot_that_is_as_before_and_makes_one_that_is_not(opened: Opened, tmp_path: Path) -> None:
    plan = opened(guest(f"{READ} (drop (call $close (i32.load (i32.const 512))))"))
    runner, module = plan.guests["g"].runner, plan.guests["g"].code.module
    with closing(build(plan.manifest, plan.host, plan)) as same:
        assert (same.guests["g"].runner, same.guests["g"].code.module) == (runner, module)
    (tmp_path / "a.txt").write_text("changed.")
    with closing(build(plan.manifest, plan.host, plan)) as other:
        assert run(other).body[16:24] == b"changed."
        assert run(plan).body[16:22] == b"a file"


def test_without_the_key_nothing_runs_at_load(opened: Opened, tmp_path: Path) -> None:
    path = written(tmp_path, guest("(unreachable)"))
    path.write_text(path.read_text().replace("snapshot = true\n", ""))
    with open_plan(load(path, grants=GRANTS)) as plan, pytest.raises(Failure, match="unreachable"):
        run(plan)

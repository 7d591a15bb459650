"""Snapshots: what an initialised instance has is what each instance of the new module begins with."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.engine import open_engine, snapshot
from guesthouse.engine.base import Engine, EngineConfig, Instance, Module, Refused
from guesthouse.engine.initialise import compiled, state_after
from guesthouse.engine.snapshot import NotFrozen, State, frozen, observed
from guesthouse.engine.wasm_sections import START, export_names, sections
from guesthouse.guests.guest import resolve
from guesthouse_abi.errors import DeadlineExceeded, Exit, Trap
from guesthouse_abi.host import HostFunction
from guesthouse_abi.imports import host_modules
from tests.support import wat
from tests.support.places import ENGINES

PAGE = 65536
EXIT = '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'


def module(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def functions(found: Module) -> Sequence[HostFunction]:
    made, faults = resolve(found, host_modules())
    assert faults == []
    return made


def snapshot_of(text: str | bytes, *calls: str, without: Sequence[str] = (), **exports: int) -> bytes:
    """The snapshot after these calls, made in this process."""
    wasm = text if isinstance(text, bytes) else module(text)
    state = state_after(*compiled(wasm), functions, wat.context(), calls)
    return frozen(wasm, state, (*calls, *without), exports)


def refusal(text: str, *calls: str) -> str:
    with pytest.raises(NotFrozen) as refused:
        snapshot_of(text, *calls)
    return str(refused.value)


@pytest.fixture(params=ENGINES, scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with closing(open_engine(request.param, EngineConfig())) as made:
        yield made


def instance(engine: Engine, wasm: bytes, memory: int = 8 << 20) -> Instance:
    ctx = wat.context(memory=memory)
    return wat.linked(engine, wasm, memory).instantiate(ctx)


# ---- what is frozen ----

STATE = f"""(module {EXIT}
  (memory (export "memory") 1 40)
  (global $i32 (mut i32) (i32.const 1)) (global $i64 (mut i64) (i64.const 1)) (global $still i64 (i64.const 9))
  (global $f32 (mut f32) (f32.const 1)) (global $f64 (mut f64) (f64.const 1))
  (data (i32.const 8) "from the start")
  (func (export "_initialize")
    (global.set $i32 (i32.const 0x80000000)) (global.set $i64 (i64.const -2))
    (global.set $f32 (f32.const nan:0x200001)) (global.set $f64 (f64.const -0))
    (drop (memory.grow (i32.const 20)))
    (i32.store (i32.const 8) (i32.const 0x21212121))
    (i64.store (i32.const 1376248) (i64.const -1)))
  (func (export "change") (global.set $i32 (i32.const 5)) (i32.store (i32.const 8) (i32.const 5)))
  (func (export "i32") (result i32) (global.get $i32)) (func (export "i64") (result i64) (global.get $i64))
  (func (export "f32") (result i32) (i32.reinterpret_f32 (global.get $f32)))
  (func (export "f64") (result i64) (i64.reinterpret_f64 (global.get $f64)))
  (func (export "still") (result i64) (global.get $still)))"""


def test_an_instance_begins_with_the_memory_and_the_numbers_of_the_initialised_one(engine: Engine):
    wasm = snapshot_of(STATE, "_initialize")
    for _ in range(2):
        guest = instance(engine, wasm)
        found = {name: guest.call(name) for name in ("i32", "i64", "f32", "f64", "still")}
        assert found == {"i32": 0x80000000, "i64": (1 << 64) - 2, "f32": 0x7FA00001, "f64": 1 << 63, "still": 9}
        assert guest.memory is not None
        assert guest.memory.size == 21 * PAGE
        assert guest.memory.read(0, 24) == bytes(8) + b"!!!!" + b" the start" + bytes(2)
        assert guest.memory.read(21 * PAGE - 16, 16) == bytes(8) + b"\xff" * 8
        guest.call("change")  # and the next one knows nothing of it
        guest.close()


def test_what_was_called_is_no_export_any_more_and_what_was_asked_for_is_one():
    wasm = snapshot_of(STATE, "_initialize", without=["change"], inner=6)
    assert export_names(wasm) == ["memory", "i32", "i64", "f32", "f64", "still", "inner"]


def test_an_export_is_added_to_a_module_that_had_none(engine: Engine):
    wasm = snapshot_of("(module (func (result i32) (i32.const 7)))", answer=0)
    guest = instance(engine, wasm)
    assert guest.call("answer") == 7
    guest.close()


def test_a_start_function_runs_once(engine: Engine):
    wasm = snapshot_of(
        """(module (memory (export "memory") 1) (global $n (mut i32) (i32.const 0)) (start $start)
        (func $start (global.set $n (i32.add (global.get $n) (i32.const 1))))
        (func (export "_initialize") (global.set $n (i32.mul (global.get $n) (i32.const 10))))
        (func (export "n") (result i32) (global.get $n)))""",
        "_initialize",
    )
    guest = instance(engine, wasm)
    assert guest.call("n") == 10
    guest.close()
    assert START not in export_names(wasm)


def test_a_guest_that_ends_itself_in_the_middle_is_frozen_as_it_was_there(engine: Engine):
    wasm = snapshot_of(
        f"""(module {EXIT} (memory (export "memory") 1) (global $depth (mut i32) (i32.const 0))
        (func $deeper (param i32)
          (global.set $depth (local.get 0))
          (if (i32.eq (local.get 0) (i32.const 5)) (then (call $exit (i32.const 0))))
          (call $deeper (i32.add (local.get 0) (i32.const 1)))
          (global.set $depth (i32.const 99)))
        (func (export "_start") (call $deeper (i32.const 0)))
        (func (export "depth") (result i32) (global.get $depth)))""",
        "_start",
    )
    guest = instance(engine, wasm)
    assert guest.call("depth") == 5
    guest.close()


SEGMENTS = """(module (memory (export "memory") 1)
  (type $number (func (result i32)))
  (table 4 funcref) (elem (i32.const 1) $one $two)
  (data (i32.const 100) "active") (data "passive") (data (i32.const 200) "again")
  (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
  (func (export "_initialize") (i32.store8 (i32.const 100) (i32.const 65)))
  (func (export "copy") (memory.init 1 (i32.const 0) (i32.const 0) (i32.const 7)))
  (func (export "again") (memory.init 0 (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "call") (param i32) (result i32) (call_indirect (type $number) (local.get 0))))"""


def test_data_segments_keep_their_numbers_and_tables_their_functions(engine: Engine):
    guest = instance(engine, snapshot_of(SEGMENTS, "_initialize"))
    guest.call("copy")
    assert guest.memory is not None
    assert guest.memory.read(0, 8) == b"passive\0"
    assert guest.memory.read(100, 6) == b"Active"
    assert guest.memory.read(200, 5) == b"again"
    assert [guest.call("call", 1), guest.call("call", 2)] == [1, 2]
    with pytest.raises(Trap, match="out of bounds"):  # an active segment is empty in every instance
        guest.call("again")
    guest.close()


def test_a_module_without_memory_is_frozen_too(engine: Engine):
    wasm = snapshot_of(
        '(module (global $n (mut i32) (i32.const 1)) (func (export "_initialize") (global.set $n (i32.const 2)))'
        '(func (export "n") (result i32) (global.get $n)))',
        "_initialize",
    )
    guest = instance(engine, wasm)
    assert guest.call("n") == 2
    guest.close()


def test_what_is_empty_is_left_out():
    """A memory that has grown by much and is mostly zeros makes no large module."""
    wasm = snapshot_of(
        """(module (memory (export "memory") 1)
        (func (export "_initialize") (drop (memory.grow (i32.const 1000)))
          (i32.store8 (i32.const 60000000) (i32.const 1))))""",
        "_initialize",
    )
    assert len(wasm) < 5000


ONE_PAGE = module('(module (memory (export "memory") 1) (global (mut i64) (i64.const 0)))')


@given(
    st.lists(st.tuples(st.integers(0, 3 * PAGE - 8), st.binary(min_size=1, max_size=8)), max_size=8),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(1, 4),
)
def test_any_memory_and_any_number_come_back_as_they_were(writes, number, parts):
    memory = bytearray(3 * PAGE)
    for at, data in writes:
        memory[at : at + len(data)] = data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "_MOST_PARTS", parts)  # parts with zeros between them become one
        wasm = frozen(ONE_PAGE, State(bytes(memory), [struct.pack("<qq", number, -1)]))
    store = wasmtime.Store()
    made = wasmtime.Instance(store, wasmtime.Module(store.engine, observed(wasm).wasm), []).exports(store)
    found, value = made["memory"], made["guesthouse:snapshot:global 0"]
    assert isinstance(found, wasmtime.Memory)
    assert isinstance(value, wasmtime.Global)
    assert found.read(store, 0, found.data_len(store)) == memory
    assert value.value(store) == number


# ---- what is refused ----

REFUSED = {
    "several elements set": (
        "(table 2 funcref) (elem declare func $f)",
        "(table.set (i32.const 1) (ref.func $f))",
        "its initialisation changes a table of functions",
    ),
    "an element taken away": (
        "(table 2 funcref) (elem (i32.const 0) $f)",
        "(table.set (i32.const 0) (ref.null func))",
        "its initialisation changes a table of functions",
    ),
    "two elements exchanged": (
        "(table 2 funcref) (elem (i32.const 0) $f $g) (func $g (param i32))",
        "(table.copy (i32.const 0) (i32.const 1) (i32.const 1))",
        "its initialisation changes a table of functions",
    ),
    "a table grown": (
        "(table 2 funcref)",
        "(drop (table.grow (ref.null func) (i32.const 1)))",
        "its initialisation changes a table of functions",
    ),
    "a table of objects": ("(table 2 externref)", "", "a table of references that are not plain functions"),
    "a reference": ("(global (mut funcref) (ref.null func))", "", "a global variable of it is a vector or a reference"),
    "a vector": (
        "(global (mut v128) (v128.const i64x2 0 0))",
        "",
        "a global variable of it is a vector or a reference",
    ),
    "a memory of others": ('(import "env" "memory" (memory 1))', "", "it imports something that is no function"),
    "a name of the host's": ('(export "guesthouse:snapshot:memory" (func $f))', "", "a name that the host keeps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_frozen_is_refused_with_the_reason(case: str):
    more, code, reason = REFUSED[case]
    imported, own = (more, "") if more.startswith("(import") else ("", more)
    assert reason in refusal(f'(module {imported} {own} (func $f (export "_initialize") {code}))', "_initialize")


def test_a_table_that_is_changed_and_put_back_is_as_at_the_start():
    snapshot_of(
        """(module (table 2 funcref) (elem (i32.const 0) $f)
        (func $f (export "_initialize")
          (table.set (i32.const 0) (ref.null func)) (table.set (i32.const 0) (ref.func $f)))
        (elem declare func $f))""",
        "_initialize",
    )


def test_a_memory_beyond_the_bounds_is_refused(monkeypatch: pytest.MonkeyPatch):
    text = '(module (memory 4) (func (export "_initialize") (i32.store (i32.const 70000) (i32.const 1))))'
    monkeypatch.setattr(snapshot, "MOST_BYTES", 4095)
    assert "of its memory are in use after its initialisation" in refusal(text, "_initialize")
    monkeypatch.setattr("guesthouse.engine.initialise.MOST_MEMORY", 4 * PAGE - 1)
    assert "its memory has 0 MiB after its initialisation; at most 0 MiB can be frozen" in refusal(text, "_initialize")


def test_many_data_segments_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "_MOST_SEGMENTS", 2)
    assert refusal(SEGMENTS, "_initialize") == "it has 3 data segments; at most 2 can be frozen"


def test_an_export_that_is_asked_for_must_have_a_name_of_its_own():
    with pytest.raises(NotFrozen, match="it has an export named 'change' already"):
        snapshot_of(STATE, "_initialize", change=2)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("(unreachable)", Trap),
        ("(call $exit (i32.const 3))", Exit),
        ("(loop (br 0))", DeadlineExceeded),
        ("(i32.store (i32.const -1) (i32.const 0))", Trap),
    ],
)
def test_an_initialisation_that_fails_makes_no_snapshot(code: str, fault: type[Exception]):
    watched = compiled(module(f'(module {EXIT} (memory 1) (func (export "_initialize") {code}))'))
    with pytest.raises(fault):
        state_after(*watched, functions, wat.context(0.2), ["_initialize"])


def test_an_initialisation_gets_no_more_memory_than_the_guest_may_have():
    watched = compiled(
        module(
            """(module (memory (export "memory") 1) (func (export "_initialize")
            (if (i32.eq (memory.grow (i32.const 100)) (i32.const -1))
              (then (i32.store8 (i32.const 0) (i32.const 1))))))"""
        )
    )
    state = state_after(*watched, functions, wat.context(memory=50 * PAGE), ["_initialize"])
    assert (len(state.memory), state.memory[0]) == (PAGE, 1)


WHOLE = module(STATE)


def test_a_module_that_was_cut_is_refused_by_the_validator():
    ends = {8 + sum(2 + len(contents) for _, contents in list(sections(WHOLE))[:count]) for count in range(20)}
    for length in range(len(WHOLE)):
        if length not in ends:  # what ends with a section may well be a module
            with pytest.raises(Refused):
                compiled(WHOLE[:length])


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_module_is_refused_or_sound(damage):
    wasm = bytearray(WHOLE)
    for at, byte in damage:
        wasm[at] = byte
    try:
        watched, _ = compiled(bytes(wasm))
        made = frozen(bytes(wasm), State(bytes(PAGE), [bytes(16)] * len(watched.globals)))
    except (Refused, NotFrozen):
        return
    wasmtime.Module.validate(wasmtime.Engine(), made)


def test_an_initialisation_may_call_as_deep_as_an_event(engine: Engine):
    """What is compiled for the initialisation needs more stack than the code of events."""
    kept = range(40)
    deep = "(func $deep (param i32) (result i32) " + "(local i32)" * len(kept)
    deep += "(if (i32.eqz (local.get 0)) (then (return (i32.const 0))))"
    deep += "".join(f"(local.set {1 + at} (i32.mul (local.get 0) (i32.const {3 + 2 * at})))" for at in kept)
    deep += "(call $deep (i32.sub (local.get 0) (i32.const 1)))"
    deep += "".join(f"(local.get {1 + at}) i32.add" for at in kept) + ")"
    text = f"""(module {deep} (global $sum (mut i32) (i32.const 0))
      (func (export "_initialize") (global.set $sum (call $deep (i32.const 1300))))
      (func (export "sum") (result i32) (global.get $sum))
      (func (export "again") (result i32) (call $deep (i32.const 1300))))"""
    guest = instance(engine, snapshot_of(text, "_initialize"))
    assert guest.call("sum") == guest.call("again")
    guest.close()

"""The engine seam on wasmtime: calls, traps, limits, deadlines, host functions, threads, leaks."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import psutil
import pytest
import wasmtime

import wat
from guesthouse.engine.base import EngineConfig, EngineError
from guesthouse.engine.wasmtime import WasmtimeEngine
from guesthouse_abi.context import Context
from guesthouse_abi.errors import Cancelled, DeadlineExceeded, HostFault, OutOfBounds, Trap
from guesthouse_abi.host import I32, I64, U32, HostModule

ARITHMETIC = """(module (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "wide") (param i64) (result i64) local.get 0 i64.const 1 i64.sub)
  (func (export "nothing")))"""


def call(engine: WasmtimeEngine, text: str, name: str, *arguments: int, ctx: Context | None = None) -> int:
    instance = wat.linked(engine, text).instantiate(ctx or wat.context())
    try:
        return instance.call(name, *arguments)
    finally:
        instance.close()


def test_numbers_come_back_unsigned(engine):
    assert call(engine, ARITHMETIC, "add", 1, 2) == 3
    assert call(engine, ARITHMETIC, "add", 0xFFFFFFFF, 0) == 0xFFFFFFFF
    assert call(engine, ARITHMETIC, "wide", 0) == 0xFFFFFFFFFFFFFFFF
    assert call(engine, ARITHMETIC, "nothing") == 0


def test_memory_is_found_and_checked(engine):
    ctx = wat.context()
    instance = wat.linked(engine, ARITHMETIC).instantiate(ctx)
    ctx.memory.write(65532, b"abcd")
    assert ctx.memory.read(65532, 4) == b"abcd"
    assert ctx.memory.size == 65536
    with pytest.raises(OutOfBounds):
        ctx.memory.write(65533, b"abcd")
    instance.close()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("unreachable", "unreachable"),
        ("(drop (i32.load (i32.const -1)))", "memory out of bounds"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "integer division by zero"),
        ("call 0", "stack overflow"),
        ("(call_indirect (i32.const 0))", "indirect call to null"),
    ],
)
def test_a_trap_has_its_kind_and_the_engine_goes_on(engine, body, kind):
    text = f'(module (memory (export "memory") 1) (table 1 funcref) (func (export "f") {body}))'
    with pytest.raises(Trap) as caught:
        call(engine, text, "f")
    assert caught.value.kind == kind
    assert call(engine, ARITHMETIC, "add", 1, 2) == 3


LOOP = '(module (memory (export "memory") 1) (func (export "f") (loop br 0)))'
START_LOOP = '(module (memory (export "memory") 1) (func $f (loop br 0)) (start $f))'


def test_an_endless_loop_ends_at_the_deadline(engine):
    with pytest.raises(DeadlineExceeded):
        call(engine, LOOP, "f", ctx=wat.context(0.1))


def test_a_start_function_that_loops_ends_at_the_deadline(engine):
    with pytest.raises(DeadlineExceeded):
        wat.linked(engine, START_LOOP).instantiate(wat.context(0.1))


def test_a_cancelled_event_ends_its_guest(engine):
    ctx = wat.context(60)
    timer = threading.Timer(0.1, ctx.deadline.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        call(engine, LOOP, "f", ctx=ctx)


def test_a_guest_within_its_deadline_outlives_many_epochs(engine):
    text = """(module (memory (export "memory") 1) (func (export "f") (param i64) (result i64)
      (loop (br_if 0 (i64.ne (i64.const 0) (local.tee 0 (i64.sub (local.get 0) (i64.const 1)))))) local.get 0))"""
    assert call(engine, text, "f", 200_000_000, ctx=wat.context(60)) == 0


def test_memory_cannot_grow_past_its_limit(engine):
    text = """(module (memory (export "memory") 1)
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""
    assert call(engine, text, "grow", 15, ctx=wat.context(memory=1 << 20)) == 1
    assert call(engine, text, "grow", 16, ctx=wat.context(memory=1 << 20)) == 0xFFFFFFFF


def test_memory_that_starts_over_its_limit_is_refused(engine):
    with pytest.raises(Trap, match="memory minimum size"):
        wat.linked(engine, '(module (memory (export "memory") 17))').instantiate(wat.context(memory=1 << 20))


def test_tables_cannot_grow_for_ever(engine):
    text = """(module (memory (export "memory") 1) (table 1 funcref)
      (func (export "grow") (result i32) (table.grow (ref.null func) (i32.const 1000000))))"""
    assert call(engine, text, "grow") == 0xFFFFFFFF


HOST = HostModule("t", {OutOfBounds: 21})


@HOST.function()
def numbers(context: Context, a: U32, b: I32, c: I64) -> I64:
    assert (a, b, c) == (0xFFFFFFFF, -1, -2)
    return I64(-3)


@HOST.function()
def touch(context: Context, pointer: U32) -> U32:
    context.memory.read(pointer, 4)
    return U32(0)


@HOST.function("break")
def broken(context: Context) -> None:
    raise ZeroDivisionError("ours")


@HOST.function()
def stop(context: Context) -> None:
    context.memory.read(0xFFFFFFF0, 4)


HOSTED = """(module
  (import "t" "numbers" (func $n (param i32 i32 i64) (result i64)))
  (import "t" "touch" (func $t (param i32) (result i32)))
  (import "t" "break" (func $b)) (import "t" "stop" (func $s))
  (memory (export "memory") 1)
  (func (export "numbers") (result i64) (call $n (i32.const -1) (i32.const -1) (i64.const -2)))
  (func (export "touch") (param i32) (result i32) (call $t (local.get 0)))
  (func (export "break") call $b) (func (export "stop") call $s))"""


def hosted(engine: WasmtimeEngine, name: str, *arguments: int) -> int:
    module = wat.compiled(engine, HOSTED)
    instance = module.link([HOST.functions[i.name] for i in module.imports]).instantiate(wat.context())
    try:
        return instance.call(name, *arguments)
    finally:
        instance.close()


def test_host_functions_get_and_give_typed_numbers(engine):
    assert hosted(engine, "numbers") == (1 << 64) - 3


def test_a_bad_pointer_is_the_modules_own_error_number(engine):
    assert hosted(engine, "touch", 0) == 0
    assert hosted(engine, "touch", 65533) == 21
    assert hosted(engine, "touch", 0xFFFFFFFF) == 21


def test_a_bad_pointer_without_an_error_number_is_a_trap(engine):
    with pytest.raises(Trap, match=r"t\.stop: 4 bytes at 0xfffffff0 are outside the guest's memory of 65536 bytes"):
        hosted(engine, "stop")


def test_an_exception_of_the_hosts_own_stops_the_guest_only(engine):
    with pytest.raises(HostFault) as caught:
        hosted(engine, "break")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert hosted(engine, "touch", 0) == 0


def test_threads_never_see_each_others_exceptions(engine):
    module = wat.compiled(engine, HOSTED)
    link = module.link([HOST.functions[i.name] for i in module.imports])
    wrong: list[object] = []

    def work(name: str, expected: type[BaseException]) -> None:
        for _ in range(200):
            instance = link.instantiate(wat.context())
            try:
                instance.call(name)
            except expected:
                pass
            except BaseException as error:
                wrong.append(error)
            finally:
                instance.close()

    threads = [threading.Thread(target=work, args=a) for a in [("break", HostFault), ("stop", Trap)] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_sandboxes_leave_nothing_behind(engine):
    link = wat.linked(engine, ARITHMETIC)
    process = psutil.Process()

    def cycles(count: int) -> None:
        for _ in range(count):
            instance = link.instantiate(wat.context())
            instance.call("add", 1, 2)
            instance.close()

    cycles(500)
    gc.collect()
    before = process.memory_info().rss, process.num_fds(), threading.active_count()
    cycles(5000)
    gc.collect()
    after = process.memory_info().rss, process.num_fds(), threading.active_count()
    assert after[0] - before[0] < 1 << 20
    assert after[1:] == before[1:]


def test_the_ticker_sleeps_when_no_guest_runs():
    made = WasmtimeEngine(EngineConfig(instances=4))
    call(made, ARITHMETIC, "add", 1, 2)
    assert made.ticker._awake
    for _ in range(600):
        if not made.ticker._awake:
            break
        time.sleep(0.01)
    assert not made.ticker._awake
    with pytest.raises(DeadlineExceeded):
        call(made, LOOP, "f", ctx=wat.context(0.05))
    made.close()


def test_an_artefact_that_is_none_is_refused(engine, tmp_path: Path):
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(EngineError):
        engine.load(tmp_path / "x")
    with pytest.raises(EngineError):
        engine.load(b"nothing")


def test_a_guest_cannot_use_features_that_its_artefact_was_not_compiled_for(engine):
    other = wasmtime.Module(wasmtime.Engine(), wasmtime.wat2wasm(ARITHMETIC)).serialize()
    with pytest.raises(EngineError, match="epoch"):
        engine.load(bytes(other))


def test_an_instance_waits_for_a_place_in_the_pool():
    """More events than places: while those that began before a reload end."""
    engine = WasmtimeEngine(EngineConfig(instances=1))
    linked = wat.linked(engine, ARITHMETIC)
    first = linked.instantiate(wat.context())
    with pytest.raises(DeadlineExceeded):
        linked.instantiate(wat.context(0.05))
    ctx = wat.context(60)
    ctx.deadline.cancel()
    with pytest.raises(Cancelled):
        linked.instantiate(ctx)
    threading.Timer(0.1, first.close).start()
    second = linked.instantiate(wat.context(20))
    assert second.call("add", 1, 2) == 3
    second.close()
    with pytest.raises(Trap):  # an instance that does not come to be gives its place back
        wat.linked(engine, '(module (memory (export "memory") 1) (func $f unreachable) (start $f))').instantiate(
            wat.context()
        )
    linked.instantiate(wat.context()).close()
    engine.close()

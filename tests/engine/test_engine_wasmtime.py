"""What is wasmtime's own: deadlines inside a guest, threads, the ticker, the pool of instances."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref

import pytest
import wasmtime

from guesthouse.engine.base import EngineConfig, EngineError
from guesthouse.engine.wasmtime import WasmtimeEngine
from guesthouse_abi.errors import Cancelled, DeadlineExceeded, HostFunctionError, Trap
from tests.engine.seam import ARITHMETIC, HOST, HOSTED, assert_instances_are_as_declared, call
from tests.support import wat
from tests.support.waiting import join, until

LOOP = '(module (memory (export "memory") 1) (func (export "f") (loop br 0)))'
START_LOOP = '(module (memory (export "memory") 1) (func $f (loop br 0)) (start $f))'


def test_an_endless_loop_ends_at_the_deadline(engine):
    with pytest.raises(DeadlineExceeded):
        call(engine, LOOP, "f", ctx=wat.context(0.1))


def test_a_start_function_that_loops_ends_at_the_deadline(engine):
    with pytest.raises(DeadlineExceeded):
        wat.linked(engine, START_LOOP).instantiate(wat.context(0.1))


@pytest.mark.parametrize("function", ['(func (export "f")', "(start $f) (func $f"])
def test_an_exception_that_nobody_catches_has_a_name(engine, function):
    text = (
        f'(module (tag $t (export "t") (param i32)) (memory (export "memory") 1) {function} (throw $t (i32.const 7))))'
    )
    with pytest.raises(Trap, match=r"^an exception that nobody caught$"):
        call(engine, text, "f")


def test_an_exception_that_is_caught_is_the_guests_own_affair(engine):
    text = """(module (tag $t (param i32)) (memory (export "memory") 1)
      (func $throws (throw $t (i32.const 7)))
      (func $f (export "f") (result i32)
        (block $caught (result i32) (try_table (catch $t $caught) call $throws) i32.const 1))
      (func (export "then") (result i32) (drop (call $f)) unreachable))"""
    assert call(engine, text, "f") == 7
    with pytest.raises(Trap, match=r"^unreachable$"):
        call(engine, text, "then")


def test_an_export_with_more_values_than_a_call_has_room_for_is_not_called(engine):
    texts = [f'(func (export "f") (result {"i32 " * count}) {"(i32.const 7) " * count})' for count in (32, 33)]
    assert call(engine, f"(module {texts[0]})", "f") == 7
    with pytest.raises(KeyError):
        call(engine, f"(module {texts[1]})", "f")


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


def test_memory_that_starts_over_its_limit_is_refused(engine):
    with pytest.raises(Trap, match="memory minimum size"):
        wat.linked(engine, '(module (memory (export "memory") 17))').instantiate(wat.context(memory=1 << 20))


COLLECTED = """(module
  (type $block (array (mut i8)))
  (type $list (struct (field (ref null $list)) (field (ref $block))))
  (memory (export "memory") 1)
  (func (export "f") (result i32) (local $kept (ref null $list)) (local $left i32)
    (local.set $left (i32.const 24))
    (loop $more
      (local.set $kept (struct.new $list (local.get $kept) (array.new_default $block (i32.const 1048576))))
      (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (i32.const 7)))"""


def test_the_limit_of_memory_holds_the_heap_of_the_garbage_collector_too(engine):
    """24 MiB in a heap that the module's own memory has no part of."""
    assert call(engine, COLLECTED, "f", ctx=wat.context(memory=64 << 20)) == 7
    with pytest.raises(Trap, match=r"^GC heap out of memory: no capacity for allocation of \d+ bytes$"):
        call(engine, COLLECTED, "f", ctx=wat.context(memory=16 << 20))


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

    threads = [threading.Thread(target=work, args=a) for a in [("break", HostFunctionError), ("stop", Trap)] * 3]
    for thread in threads:
        thread.start()
    join(*threads)
    assert not wrong


def test_the_ticker_sleeps_when_no_guest_runs():
    made = WasmtimeEngine(EngineConfig(instances=4))
    call(made, ARITHMETIC, "add", 1, 2)
    assert made.ticker._awake
    until(lambda: not made.ticker._awake)
    with pytest.raises(DeadlineExceeded):
        call(made, LOOP, "f", ctx=wat.context(0.05))
    made.close()


def test_a_guest_cannot_use_features_that_its_artefact_was_not_compiled_for(engine):
    other = wasmtime.Module(wasmtime.Engine(), bytes(wasmtime.wat2wasm(ARITHMETIC))).serialize()
    with pytest.raises(EngineError, match="epoch"):
        engine.load(bytes(other))


def test_an_instance_in_the_place_of_another_has_nothing_of_it():
    with contextlib.closing(WasmtimeEngine(EngineConfig(instances=1))) as engine:
        assert engine.pooling
        assert_instances_are_as_declared(engine)


def test_an_engine_that_nobody_closed_is_not_freed_under_its_ticker():
    engine = WasmtimeEngine(EngineConfig())
    ticker, inner = engine.ticker, weakref.ref(engine.engine)
    del engine
    gc.collect()
    assert inner() is not None
    ticker.close()
    del ticker
    gc.collect()
    assert inner() is None


def test_an_instance_waits_for_a_place_in_the_pool():
    """More events than instances in the pool: while those that began before a reload end."""
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

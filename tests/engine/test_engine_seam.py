"""The engine seam, on every engine that this Python has: calls, traps, limits, host functions, leaks."""

from __future__ import annotations

import gc
import math
import struct
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from guesthouse.engine.base import Engine, EngineError
from guesthouse_abi.errors import CallError, HostFunctionError, OutOfBounds, Trap
from tests.engine.seam import ARITHMETIC, HOST, assert_instances_are_as_declared, call, hosted
from tests.support import wat


def test_numbers_come_back_unsigned(any_engine):
    assert call(any_engine, ARITHMETIC, "add", 1, 2) == 3
    assert call(any_engine, ARITHMETIC, "add", 0xFFFFFFFF, 0) == 0xFFFFFFFF
    assert call(any_engine, ARITHMETIC, "wide", 0) == 0xFFFFFFFFFFFFFFFF
    assert call(any_engine, ARITHMETIC, "nothing") == 0


def test_memory_is_found_and_checked(any_engine):
    ctx = wat.context()
    instance = wat.linked(any_engine, ARITHMETIC).instantiate(ctx)
    ctx.memory.write(65532, b"abcd")
    assert ctx.memory.read(65532, 4) == b"abcd"
    assert ctx.memory.size == 65536
    with pytest.raises(OutOfBounds):
        ctx.memory.write(65533, b"abcd")
    instance.close()


def test_a_memory_that_was_kept_has_no_bytes_when_its_instance_is_gone(any_engine):
    """Its address is another guest's then."""
    linked = wat.linked(any_engine, ARITHMETIC)
    for touch in (False, True):
        ctx = wat.context()
        instance = linked.instantiate(ctx)
        kept = ctx.memory
        if touch:
            kept.write(0, b"secret")
        instance.close()
        assert kept.size == 0
        for access, *arguments in ((kept.read, 0, 1), (kept.write, 0, b"x"), (kept.array, 0, 1, "u1")):
            with pytest.raises(OutOfBounds):
                access(*arguments)
        assert kept.read(0, 0) == b""


def test_an_instance_has_nothing_of_those_before_it(any_engine):
    assert_instances_are_as_declared(any_engine)


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
def test_a_trap_has_its_kind_and_the_engine_goes_on(any_engine, body, kind):
    text = f'(module (memory (export "memory") 1) (table 1 funcref) (func (export "f") {body}))'
    with pytest.raises(Trap) as caught:
        call(any_engine, text, "f")
    assert caught.value.kind == kind
    assert call(any_engine, ARITHMETIC, "add", 1, 2) == 3


def test_memory_cannot_grow_past_its_limit(any_engine):
    text = """(module (memory (export "memory") 1)
      (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""
    assert call(any_engine, text, "grow", 15, ctx=wat.context(memory=1 << 20)) == 1
    assert call(any_engine, text, "grow", 16, ctx=wat.context(memory=1 << 20)) == 0xFFFFFFFF


def test_tables_cannot_grow_for_ever(any_engine):
    text = """(module (memory (export "memory") 1) (table 1 funcref)
      (func (export "grow") (result i32) (table.grow (ref.null func) (i32.const 1000000))))"""
    assert call(any_engine, text, "grow") == 0xFFFFFFFF


def test_host_functions_get_and_give_typed_numbers(any_engine):
    assert hosted(any_engine, "numbers") == (1 << 64) - 3


def bits(number: float) -> int:
    return int.from_bytes(struct.pack("<d", number), "little")


def test_host_functions_get_and_give_floating_point_numbers(any_engine):
    assert hosted(any_engine, "halves") == bits(-0.3)


@pytest.mark.parametrize("value", [0.1, -0.0, 1e300, -1e300, math.inf, -math.inf, math.nan])
def test_a_number_that_does_not_fit_f32_is_rounded_or_infinite(any_engine, value):
    (got,) = struct.unpack("<f", hosted(any_engine, "short", bits(value)).to_bytes(4, "little"))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(np.float32(got), np.float32(value))
    assert math.copysign(1, got) == math.copysign(1, value) or math.isnan(value)


STARTS = """(module (import "t" "touch" (func $t (param i32) (result i32)))
  (import "t" "break" (func $b)) (import "t" "stop" (func $s))
  (memory (export "memory") 1 2) (global $said (mut i32) (i32.const -1)) (data (i32.const 8) "abcd") (elem func $start)
  {exports}
  (func (export "said") (result i32) (global.get $said))
  (func $start {body}) (start $start) (@custom "c" "x"))"""


def started(engine: Engine, body: str, exports: str = "") -> int:
    module = wat.compiled(engine, STARTS.format(body=body, exports=exports))
    assert set(module.exports) - {"other"} == {"memory", "said"}
    instance = module.link([HOST.functions[i.name] for i in module.imports]).instantiate(wat.context())
    try:
        assert instance.memory is not None
        assert instance.memory.read(8, 4) == b"abcd"
        return instance.call("said")
    finally:
        instance.close()


def test_a_host_function_reads_the_memory_in_a_start_section(any_engine):
    assert started(any_engine, "(global.set $said (call $t (i32.const 8)))") == 0
    assert started(any_engine, "(global.set $said (call $t (i32.const 65533)))", '(export "other" (func $t))') == 21
    grown = "(drop (memory.grow (i32.const 1))) (global.set $said (call $t (i32.const 65533)))"
    assert started(any_engine, f"(drop (call $t (i32.const 8))) {grown}") == 0


def test_the_memory_has_the_size_that_a_start_section_gave_it(any_engine):
    body = "(drop (call $t (i32.const 8))) (drop (memory.grow (i32.const 1)))"
    module = wat.compiled(any_engine, STARTS.format(body=body, exports=""))
    instance = module.link([HOST.functions[i.name] for i in module.imports]).instantiate(wat.context())
    try:
        assert instance.memory is not None
        assert instance.memory.size == 2 * 65536
    finally:
        instance.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [("unreachable", "unreachable"), ("call $s", "outside the guest's memory"), ("call $b", "a host function failed")],
)
def test_what_ends_a_start_section_comes_out_as_it_was(any_engine, body, error):
    with pytest.raises(CallError, match=error):
        started(any_engine, body)


def test_a_start_section_without_exports_runs(any_engine):
    module = wat.compiled(any_engine, '(module (import "t" "break" (func $b)) (start $b))')
    assert not module.exports
    with pytest.raises(HostFunctionError):
        module.link([HOST.functions["break"]]).instantiate(wat.context())


def test_a_bad_pointer_is_the_modules_own_error_number(any_engine):
    assert hosted(any_engine, "touch", 0) == 0
    assert hosted(any_engine, "touch", 65533) == 21
    assert hosted(any_engine, "touch", 0xFFFFFFFF) == 21


def test_a_bad_pointer_without_an_error_number_is_a_trap(any_engine):
    with pytest.raises(Trap, match=r"t\.stop: 4 bytes at 0xfffffff0 are outside the guest's memory of 65536 bytes"):
        hosted(any_engine, "stop")


def test_an_exception_of_the_hosts_own_stops_the_guest_only(any_engine):
    with pytest.raises(HostFunctionError) as caught:
        hosted(any_engine, "break")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert hosted(any_engine, "touch", 0) == 0


def test_many_sandboxes_leave_nothing_behind(any_engine):
    link = wat.linked(any_engine, ARITHMETIC)
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
    # Not equal: what an earlier test has closed may still be on its way out.
    assert after[1] <= before[1]
    assert after[2] <= before[2]


def test_an_artefact_that_is_none_is_refused(any_engine, tmp_path: Path):
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(EngineError):
        any_engine.load(tmp_path / "x")
    with pytest.raises(EngineError):
        any_engine.load(b"nothing")


def test_ctrl_c_in_a_host_function_stays_what_it_is(any_engine):
    """And is no error of the host's: `guesthouse send` ends as any command does."""
    with pytest.raises(KeyboardInterrupt):
        hosted(any_engine, "press")

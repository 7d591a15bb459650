"""Guests and host functions for the tests of engines."""

from __future__ import annotations

from guesthouse.engine.base import Engine
from guesthouse_abi.context import Context
from guesthouse_abi.errors import OutOfBounds
from guesthouse_abi.host import F32, F64, I32, I64, U32, HostModule
from tests.support import wat

ARITHMETIC = """(module (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "wide") (param i64) (result i64) local.get 0 i64.const 1 i64.sub)
  (func (export "nothing")))"""


def call(engine: Engine, text: str, name: str, *arguments: int, ctx: Context | None = None) -> int:
    ctx = ctx or wat.context()
    instance = wat.linked(engine, text, ctx.limits.memory).instantiate(ctx)
    try:
        return instance.call(name, *arguments)
    finally:
        instance.close()


#: Has 1 MiB of memory, a table and a global; `soil` fills them all, and as much memory again.
SOILED = """(module (memory (export "memory") 16 64) (table 100 funcref) (global $g (mut i64) (i64.const 7))
  (data (i32.const 1000) "initial") (elem declare func $f) (func $f)
  (func (export "soil")
    (drop (memory.grow (i32.const 16)))
    (memory.fill (i32.const 0) (i32.const 0xA5) (i32.const 0x200000))
    (table.fill (i32.const 0) (ref.func $f) (i32.const 100))
    (global.set $g (i64.const -1)))
  (func (export "grow") (result i32) (memory.grow (i32.const 16)))
  (func (export "table") (result i32) (local $n i32) (local $set i32)
    (loop $more
      (local.set $set (i32.add (local.get $set) (i32.eqz (ref.is_null (table.get (local.get $n))))))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))
    (local.get $set))
  (func (export "global") (result i64) (global.get $g)))"""


def assert_instances_are_as_declared(engine: Engine) -> None:
    """Of the module that was soiled, and of another one, which an allocator may put into the same place."""
    soiled, other = (wat.linked(engine, text) for text in (SOILED, SOILED.replace('"initial"', '"another"')))
    for _ in range(3):
        for linked, data in ((soiled, b"initial"), (other, b"another")):
            first = soiled.instantiate(wat.context())
            first.call("soil")
            first.close()
            ctx = wat.context()
            instance = linked.instantiate(ctx)
            declared = bytes(1000) + data + bytes((1 << 20) - 1007)
            assert ctx.memory.read(0, ctx.memory.size) == declared
            assert instance.call("grow") == 16
            assert ctx.memory.read(0, ctx.memory.size) == declared + bytes(1 << 20)
            assert (instance.call("table"), instance.call("global")) == (0, 7)
            instance.close()


HOST = HostModule("t", {OutOfBounds: 21})


@HOST.function()
def numbers(context: Context, a: U32, b: I32, c: I64) -> I64:
    assert (a, b, c) == (0xFFFFFFFF, -1, -2)
    return I64(-3)


@HOST.function()
def halves(context: Context, a: F32, b: I32, c: F64, d: U32) -> F64:
    assert (a, b, c, d) == (0.5, -1, -0.1, 0xFFFFFFFF)
    return F64(-0.3)


@HOST.function()
def short(context: Context, value: F64) -> F32:
    return F32(value)


@HOST.function()
def touch(context: Context, pointer: U32) -> U32:
    context.memory.read(pointer, 4)
    return U32(0)


@HOST.function("break")
def broken(context: Context) -> None:
    raise ZeroDivisionError("ours")


@HOST.function()
def press(context: Context) -> None:
    raise KeyboardInterrupt


@HOST.function()
def stop(context: Context) -> None:
    context.memory.read(0xFFFFFFF0, 4)


HOSTED = """(module
  (import "t" "numbers" (func $n (param i32 i32 i64) (result i64)))
  (import "t" "halves" (func $h (param f32 i32 f64 i32) (result f64)))
  (import "t" "short" (func $short (param f64) (result f32)))
  (import "t" "touch" (func $t (param i32) (result i32)))
  (import "t" "break" (func $b)) (import "t" "stop" (func $s))
  (import "t" "press" (func $press))
  (memory (export "memory") 1)
  (func (export "numbers") (result i64) (call $n (i32.const -1) (i32.const -1) (i64.const -2)))
  (func (export "halves") (result f64) (call $h (f32.const 0.5) (i32.const -1) (f64.const -0.1) (i32.const -1)))
  (func (export "short") (param f64) (result f32) (call $short (local.get 0)))
  (func (export "touch") (param i32) (result i32) (call $t (local.get 0)))
  (func (export "break") call $b) (func (export "stop") call $s)
  (func (export "press") call $press))"""


def hosted(engine: Engine, name: str, *arguments: int) -> int:
    module = wat.compiled(engine, HOSTED)
    instance = module.link([HOST.functions[i.name] for i in module.imports]).instantiate(wat.context())
    try:
        return instance.call(name, *arguments)
    finally:
        instance.close()

"""Modules for tests, written as WAT beside their assertions, and the parts to run them with."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import replace
from typing import Any

import wasmtime

from guesthouse.engine.base import Engine, Instance, Linked, Module
from guesthouse.guests.guest import Shape, resolve
from guesthouse_abi.calling import Caller, Convention, Request, Unfit
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports import host_modules as host_modules
from guesthouse_abi.services import Inference, Log, Services
from tests.support.doubles import Lines


def compiled(engine: Engine, wat: str | bytes, memory: int = Limits().memory) -> Module:
    """A module, compiled in this process: the compiling children have tests of their own."""
    made = wat if isinstance(wat, bytes) else bytes(wasmtime.wat2wasm(wat))
    for step in engine.steps(memory):
        made = importlib.import_module(step.module).translate(made, *step.arguments)
    return engine.load(made)


def linked(engine: Engine, wat: str | bytes, memory: int = Limits().memory) -> Linked:
    """A module linked against the real host modules."""
    module = compiled(engine, wat, memory)
    functions, faults = resolve(module, host_modules())
    assert faults == []
    return module.link(functions)


LOOPS = '(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))'
#: Prints its environment, a zero byte after each NAME=value.
ENVIRONMENT = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (memory (export "memory") 4)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $environ (i32.const 1024) (i32.const 65536)))
    (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))"""


def context(seconds: float = 5.0, *, inference: Any = None, grants: Grants | None = None, **limits: Any) -> Context:
    """A context with a log that keeps its lines (`lines`)."""
    services = Services({Inference: inference, Log: Lines()})
    return Context(Deadline.after(seconds), grants or Grants(), replace(Limits(), **limits), services)


def lines(ctx: Context) -> list[tuple[str, str]]:
    """What was logged in such a context: (stream, text) of each line."""
    log = ctx.services[Log]
    assert isinstance(log, Lines)
    return log.lines


def run(engine: Engine, wat: str, convention: Convention, body: bytes, ctx: Context | None = None) -> bytes:
    """Call a WAT guest by a convention, in a fresh instance."""
    return called(linked(engine, wat), convention.bind(Shape(compiled(engine, wat))), body, ctx or context())


def problems(engine: Engine, wat: str, convention: Convention) -> list[str]:
    """What keeps a WAT guest from being called by a convention."""
    try:
        convention.bind(Shape(compiled(engine, wat)))
    except Unfit as unfit:
        return unfit.problems
    return []


def called(module: Linked, caller: Caller, body: bytes, ctx: Context) -> bytes:
    """Call a linked guest, in a fresh instance."""
    with contextlib.ExitStack() as stack:

        def start() -> Instance:
            instance = module.instantiate(ctx)
            stack.callback(instance.close)
            return instance

        return caller.run(start, ctx, Request(body)).body


def cat(path: str, most: int = 1024, between: str = "") -> bytes:
    """A program that replies with the first bytes of a file, or with one byte, the error number of opening it.

    `between` is done when it has opened the file and not read it yet; it may call `$write`.
    """
    return bytes(
        wasmtime.wat2wasm(
            f"""(module
              (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") {1 + (4096 + most) // 65536}) (data (i32.const 64) "{path.lstrip("/")}")
              (func $reply (param $at i32) (param $size i32)
                (i32.store (i32.const 16) (local.get $at)) (i32.store (i32.const 20) (local.get $size))
                (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))))
              (func (export "_start") (local $error i32)
                (local.set $error (call $open (i32.const 3) (i32.const 0) (i32.const 64)
                  (i32.const {len(path.lstrip("/").encode())}) (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0)
                  (i32.const 32)))
                (if (local.get $error) (then
                  (i32.store (i32.const 40) (local.get $error))
                  (call $reply (i32.const 40) (i32.const 1)) (return)))
                {between}
                (i32.store (i32.const 16) (i32.const 4096)) (i32.store (i32.const 20) (i32.const {most}))
                (if (call $read (i32.load (i32.const 32)) (i32.const 16) (i32.const 1) (i32.const 8))
                  (then unreachable))
                (call $reply (i32.const 4096) (i32.load (i32.const 8)))))"""
        )
    )

"""What one sandbox costs inside a process: the cycle of an event, single calls, and model bytes that a guest embeds."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import wasmtime

from bench import bare
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.servers import ROOT
from guesthouse.engine.base import EngineConfig, Linked
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.wasmtime import WasmtimeEngine, WasmtimeLinked, configure
from guesthouse.event import Event, Trigger
from guesthouse.guests.files import NOTHING, FileGrant, Granted, Shelf
from guesthouse.guests.guest import Guest, GuestConfig, load_code
from guesthouse.guests.sandbox import Sandbox
from guesthouse_abi.calling import Request
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import I32, HostModule
from guesthouse_abi.services import Inference, Log, Services
from guesthouse_abi.sessions.model_lookup import KnownBlobs, resolve

ALLOCATORS = {"pooling": True, "on demand": False}


class _Silence:
    """A log that drops all lines."""

    def line(self, stream: str, text: str) -> None:
        """Drop the line."""


SERVICES = Services({Log: _Silence()})  # the guests here use no models


def microseconds(run: Callable[[], object], count: int) -> Callable[[], float]:
    """A side of a comparison: the mean microseconds of `count` runs."""

    def side() -> float:
        started = perf_counter()
        for _ in range(count):
            run()
        return (perf_counter() - started) / count * 1e6

    return side


@contextmanager
def engine_of(pooling: bool) -> Iterator[WasmtimeEngine]:
    """An engine with one of its allocators."""
    with closing(WasmtimeEngine(EngineConfig(instances=16, pooling=pooling))) as engine:
        assert engine.pooling == pooling
        yield engine


def compiled(wasm: bytes) -> bytes:
    """An artefact as the compiling child makes it."""
    config = wasmtime.Config()
    configure(config)
    return bytes(wasmtime.Module(wasmtime.Engine(config), wasm).serialize())


def echo_guest(engine: WasmtimeEngine, folder: Path) -> Guest:
    """The guest `echo`, loaded as a server loads it."""
    config = GuestConfig("echo", ROOT / "guests" / "echo" / "echo.wasm", "bindgen", "echo")
    return guest_of(config, engine, CodeCache(folder / "cache"))


def guest_of(config: GuestConfig, engine: WasmtimeEngine, cache: CodeCache, granted: Granted = NOTHING) -> Guest:
    """A guest that runs in this process."""
    code = load_code(config, engine, cache, granted=granted)
    return Guest(config, code, Sandbox(code.linked(), code.caller), SERVICES, granted=granted)


def cycle(options: Options, folder: Path) -> Findings:
    """A fresh sandbox for each event, 1 KiB echoed, against the bare cycle and against the public API."""
    findings = Findings()
    body = bytes(range(256)) * 4
    artefact = compiled((ROOT / "guests" / "echo" / "echo.wasm").read_bytes())
    event = Event(Trigger.INVOKE, "echo", body)
    for name, pooling in ALLOCATORS.items():
        options.say(f"a fresh sandbox for each event, {name}")
        with engine_of(pooling) as engine:
            guest = echo_guest(engine, folder)
            linked = guest.code.linked()

            def engine_alone(guest: Guest = guest, linked: Linked = linked) -> bytes:
                context = Context(Deadline.after(5), Grants(), guest.limits, SERVICES)
                instance = linked.instantiate(context)
                try:
                    return guest.code.caller.run(lambda: instance, context, Request(body)).body
                finally:
                    instance.close()

            def whole(guest: Guest = guest) -> bytes:
                return guest.runner.run(guest, event, Deadline(math.inf)).body

            sides = {
                "bare": bare.cycle(engine.engine, artefact, body),
                "engine": engine_alone,
                "sandbox": whole,
                "public": bare.public(engine.engine, artefact, body),
            }
            assert all(run() == body for run in sides.values())
            found = take_turns({n: microseconds(run, 400) for n, run in sides.items()}, options.rounds(25))
            del guest, linked
        middle = {n: Spread.of(values).median for n, values in found.items()}
        findings.figures += [
            Figure(
                "cycle",
                f"{name}: {what}",
                ratios(found[side], found["bare"]),
                target=Target(1.25) if side != "public" else None,
                note=f"{middle[side]:.1f} µs : {middle['bare']:.1f} µs",
            )
            for side, what in (
                ("engine", "the engine alone"),
                ("sandbox", "the whole sandbox (grants, limits, costs)"),
                ("public", "wasmtime's public Python API"),
            )
        ]
    return findings


GRANTED = 10 << 20  # bytes of granted files
#: Standard input to standard output, up to 32 KiB: a program asks for its descriptors, so its files are set up.
PROGRAM = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 32768)) (i32.store (i32.const 4) (i32.const 32768))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
"""


def files(options: Options, folder: Path) -> Findings:
    """An event of a guest that is granted 10 MB of files, against one of the same guest without any."""
    findings = Findings()
    (folder / "granted").mkdir(parents=True)
    for number in range(10):
        (folder / "granted" / f"{number}.bin").write_bytes(os.urandom(GRANTED // 10))
    (folder / "program.wasm").write_bytes(wasmtime.wat2wasm(PROGRAM))
    configs = {
        "a function": GuestConfig("echo", ROOT / "guests" / "echo" / "echo.wasm", "bindgen", "echo"),
        "a program": GuestConfig("program", folder / "program.wasm", "command"),
    }
    event = Event(Trigger.INVOKE, "echo", bytes(range(256)) * 4)
    granted = Shelf().granted([FileGrant("/granted", folder / "granted")], GRANTED, seal=False)
    for name, pooling in ALLOCATORS.items():
        options.say(f"events with 10 MB of granted files, {name}")
        with engine_of(pooling) as engine, closing(CodeCache(folder / "cache")) as cache:
            for what, config in configs.items():

                def side(granted: Granted, config: GuestConfig = config) -> Callable[[], bytes]:
                    guest = guest_of(config, engine, cache, granted)
                    return lambda: guest.runner.run(guest, event, Deadline(math.inf)).body

                sides = {"with": side(granted), "without": side(NOTHING)}
                assert all(run() == event.body for run in sides.values())
                found = take_turns({n: microseconds(run, 100) for n, run in sides.items()}, options.rounds(101))
                middle = {n: Spread.of(values).median for n, values in found.items()}
                findings.figures.append(
                    Figure(
                        "files",
                        f"{name}: {what} with 10 MB of files, against the same without",
                        ratios(found["with"], found["without"]),
                        target=Target(1.05),
                        note=f"{middle['with']:.1f} µs : {middle['without']:.1f} µs",
                    )
                )
                del sides
    return findings


CALLS = """
(module
  (import "bench" "nothing" (func $nothing))
  (import "bench" "add" (func $add (param i32 i32) (result i32)))
  (import "bench" "six" (func $six (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 32)
  (func (export "none"))
  (func (export "same") (param i32) (result i32) local.get 0)
  (func (export "sum") (param i32 i32 i32 i32 i32 i32) (result i32) local.get 0)
  (func (export "nothings") (param $n i32)
    (loop $again (call $nothing)
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "adds") (param $n i32)
    (loop $again (drop (call $add (local.get $n) (i32.const 1)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "sixes") (param $n i32)
    (loop $again
      (drop (call $six (local.get $n) (local.get $n) (local.get $n) (local.get $n) (local.get $n) (local.get $n)))
      (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))
"""
_IMPORTS = HostModule("bench")


@_IMPORTS.function()
def nothing(context: Context) -> None:
    """An import that costs its call."""


@_IMPORTS.function()
def add(context: Context, a: I32, b: I32) -> I32:
    """One of two parameters."""
    return I32(a + b)


@_IMPORTS.function()
def six(context: Context, a: I32, b: I32, c: I32, d: I32, e: I32, f: I32) -> I32:
    """One of six."""
    return a


def _public_instance(engine: wasmtime.Engine, artefact: bytes) -> tuple[wasmtime.Store, Any]:
    i32 = wasmtime.ValType.i32
    linker = wasmtime.Linker(engine)
    linker.define_func("bench", "nothing", wasmtime.FuncType([], []), lambda: None)
    linker.define_func("bench", "add", wasmtime.FuncType([i32()] * 2, [i32()]), lambda a, b: a + b)
    linker.define_func("bench", "six", wasmtime.FuncType([i32()] * 6, [i32()]), lambda a, b, c, d, e, f: a)
    store = wasmtime.Store(engine)
    store.set_epoch_deadline(1_000_000)
    return store, linker.instantiate(store, wasmtime.Module.deserialize(engine, artefact)).exports(store)


def calls(options: Options, folder: Path) -> Findings:
    """Single calls and accesses, through the engine's seam and through the public Python API."""
    options.say("single calls")
    artefact = compiled(bytes(wasmtime.wat2wasm(CALLS)))
    large = os.urandom(600_000)
    with engine_of(False) as engine:
        linked: WasmtimeLinked = engine.load(artefact).link(list(_IMPORTS.functions.values()))
        context = Context(Deadline.after(3600), Grants(), Limits(), SERVICES)
        instance = linked.instantiate(context)
        own, memory = instance.call, context.memory
        store, exports = _public_instance(engine.engine, artefact)
        theirs, nothings, adds, sixes = (exports[n] for n in ("memory", "nothings", "adds", "sixes"))
        none, same, total = (exports[n] for n in ("none", "same", "sum"))
        pairs: list[tuple[str, Callable[[], object], Callable[[], object], int]] = [
            ("host call ()->()", lambda: own("nothings", 200), lambda: nothings(store, 200), 200),
            ("host call (i32 i32)->(i32)", lambda: own("adds", 200), lambda: adds(store, 200), 200),
            ("host call (6 x i32)->(i32)", lambda: own("sixes", 200), lambda: sixes(store, 200), 200),
            ("export call ()->()", lambda: own("none"), lambda: none(store), 1),
            ("export call (i32)->(i32)", lambda: own("same", 1), lambda: same(store, 1), 1),
            (
                "export call (6 x i32)->(i32)",
                lambda: own("sum", 1, 2, 3, 4, 5, 6),
                lambda: total(store, 1, 2, 3, 4, 5, 6),
                1,
            ),
            ("read 1 KiB", lambda: memory.read(0, 1024), lambda: theirs.read(store, 0, 1024), 1),
            ("write 600 KB", lambda: memory.write(0, large), lambda: theirs.write(store, large, 0), 1),
            ("read 600 KB", lambda: memory.read(0, 600_000), lambda: theirs.read(store, 0, 600_000), 1),
        ]
        rows = []
        for what, seam, public, inner in pairs:
            count = 50 if inner > 1 or "600" in what else 2000
            sides = {"seam": microseconds(seam, count), "public": microseconds(public, count)}
            found = take_turns(sides, options.rounds(7))
            ours, other = (Spread.of(found[side]).median / inner for side in ("seam", "public"))
            ratio = ratios(found["seam"], found["public"])
            spread = f"{ratio.median:.2f} ({ratio.least:.2f}–{ratio.greatest:.2f})"
            rows.append([what, f"{ours:.2f}", f"{other:.2f}", spread])
        instance.close()
        store.close()
    header = ["µs", "engine seam", "wasmtime's public Python API", "ratio"]
    return Findings(tables=[("Single calls", header, rows)])


SIZE = 10_000_000  # bytes of an embedded model


class _Model:
    """A model by its name alone: none is run here."""

    name = "embedded"


class _Inference:
    """Models by digest."""

    def __init__(self, digest: str) -> None:
        self._digest = digest
        self._model = _Model()

    def standing_for(self, sha256: str) -> _Model | None:
        """See `services.Inference`."""
        return self._model if sha256 == self._digest else None


def _leb(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append((value & 0x7F) | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def _embedding(data: bytes) -> bytes:
    """A module that exports a memory which begins with `data`."""

    def section(number: int, content: bytes) -> bytes:
        return bytes([number]) + _leb(len(content)) + content

    return (
        b"\0asm\1\0\0\0"
        + section(5, b"\1\0" + _leb(-(-len(data) // 65536)))
        + section(7, b"\1\6memory\2\0")
        + section(11, b"\1\0\x41\0\x0b" + _leb(len(data)) + data)
    )


def embedded(options: Options, folder: Path) -> Findings:
    """A guest that embeds 10 MB of model opens a session: the first time by digest, later by comparison."""
    findings = Findings()
    data = os.urandom(SIZE)
    services = Services({Inference: _Inference(hashlib.sha256(data).hexdigest()), Log: _Silence()})
    grants = Grants(models=frozenset({"embedded"}))
    artefact = compiled(_embedding(data))
    for name, pooling in ALLOCATORS.items():
        options.say(f"a session on embedded model bytes, {name}")
        with engine_of(pooling) as engine:
            linked = engine.load(artefact).link([])

            def opening(
                known: KnownBlobs | None, touched: bool = False, linked: WasmtimeLinked = linked
            ) -> Callable[[], float]:
                def once() -> float:
                    context = Context(Deadline.after(60), grants, Limits(), services)
                    instance = linked.instantiate(context)
                    if touched:
                        context.memory.equals(0, data)
                    started = perf_counter()
                    resolve(context, context.memory.bytes_at(0, SIZE), known or KnownBlobs())
                    took = perf_counter() - started
                    instance.close()
                    return took * 1000

                return once

            known = KnownBlobs()
            sides = {"first": opening(None), "again": opening(known), "touched": opening(known, touched=True)}
            found = take_turns(sides, options.rounds(25))
            del linked, sides
        findings.figures += [
            Figure("embedded", f"{name}: 10 MB seen before", Spread.of(found["again"]), "ms", Target(1.0)),
            Figure("embedded", f"{name}: the same, pages mapped already", Spread.of(found["touched"]), "ms"),
            Figure("embedded", f"{name}: 10 MB for the first time", Spread.of(found["first"]), "ms"),
        ]
    return findings

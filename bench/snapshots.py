"""What a guest's own start costs each event, and what is left of it in a snapshot: the same guest with and without.

CPU time of the thread that runs the events, which other work on the machine changes less than the clock's.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from time import thread_time

from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.micro import engine_of, guest_of
from bench.servers import ROOT
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.wasmtime import WasmtimeEngine
from guesthouse.event import Event, Trigger
from guesthouse.guests.files import FileGrant, Granted, Shelf
from guesthouse.guests.guest import JAVASCRIPT, GuestConfig
from guesthouse.guests.snapshots import Snapshot
from guesthouse_abi.deadline import Deadline

SDK = ROOT / "guests" / "sdk"
EVENT = Event(Trigger.INVOKE, "hello", b"", query="name=Ada")
GO_TARGET = 300.0  # µs of an event
_EVENTS = 50  # of one round


def snapshots(options: Options, folder: Path) -> Findings:
    """The example `hello` in Go and in JavaScript, in this process: with a snapshot against without."""
    findings = Findings()
    script = FileGrant("/script.js", SDK / "javascript" / "examples" / "hello.js")
    cases: dict[str, tuple[Path | None, tuple[FileGrant, ...]]] = {
        "Go": (_compiled_by_go(folder), ()),
        "JavaScript": (JAVASCRIPT, (script,)),
    }
    with engine_of(True) as engine, closing(CodeCache(folder / "cache")) as cache:
        for language, (module, files) in cases.items():
            if module is None:
                options.say("no Go here: not measured")
                continue
            options.say(f"an event in {language}, with a snapshot and without")
            granted = Shelf().granted(files, 1 << 20, seal=False)
            sides = _sides(GuestConfig(language, module, "dapr"), engine, cache, granted)
            assert all(run() == b"Hello, Ada!" for run in sides.values())
            found = take_turns({n: _cpu_time(run) for n, run in sides.items()}, options.rounds(25))
            own = Spread.of(found["with"])
            findings.figures += [
                Figure(
                    "snapshots",
                    f"hello in {language}, with a snapshot against without",
                    ratios(found["with"], found["without"]),
                    note=f"{own.median:.0f} µs : {Spread.of(found['without']).median:.0f} µs",
                ),
                Figure(
                    "snapshots",
                    f"hello in {language}, with a snapshot",
                    own,
                    "µs",
                    Target(GO_TARGET) if language == "Go" else None,
                ),
            ]
    return findings


def _cpu_time(run: Callable[[], object]) -> Callable[[], float]:
    """A side of a comparison: the mean microseconds of some runs."""

    def side() -> float:
        started = thread_time()
        for _ in range(_EVENTS):
            run()
        return (thread_time() - started) / _EVENTS * 1e6

    return side


def _sides(
    config: GuestConfig, engine: WasmtimeEngine, cache: CodeCache, granted: Granted
) -> Mapping[str, Callable[[], bytes]]:
    def side(config: GuestConfig) -> Callable[[], bytes]:
        guest = guest_of(config, engine, cache, granted)
        return lambda: guest.runner.run(guest, EVENT, Deadline(math.inf)).body

    return {"with": side(replace(config, snapshot=Snapshot())), "without": side(config)}


def _compiled_by_go(folder: Path) -> Path | None:
    """The example in Go, as a module; None where there is no Go."""
    go = shutil.which("go")
    if go is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    module = folder / "go.wasm"
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOTOOLCHAIN": "local"}
    flags = ["-trimpath", "-buildmode=c-shared", "-ldflags=-s -w"]
    subprocess.run([go, "build", *flags, "-o", module, "./examples/hello"], cwd=SDK / "go", env=environment, check=True)
    return module

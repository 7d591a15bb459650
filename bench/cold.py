"""The first event of a server's life, with and without compiled code on disk.

`python -m bench.cold MANIFEST METHOD BODY` is the process in which it happens: it loads the manifest as `serve` does,
answers one event and then some more, and prints what it saw as JSON.

`python -m bench.cold FILE.wasm CALLING` loads one module, or component, again and again, as a reload does, and answers
events of 1 KiB with it: how long a large one takes. Its code comes from the code cache from the second run on.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from bench import micro, servers
from bench.measure import Figure, Findings, Options, Spread, Target
from bench.over_grpc import GRANT, PHOTOS, invoke
from guesthouse.assembly import open_plan
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.guests.guest import Guest, GuestConfig, load_code
from guesthouse.guests.sandbox import Sandbox
from guesthouse.manifest import load, read
from guesthouse.plan.current import Plans
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.imports import host_modules
from guesthouse_abi.imports.preview2 import interfaces

MORE = 20  # events after the first


class _NoOutputs:
    """Outputs for routes that have no destination."""

    def deliver(self, *_: object) -> None:
        """Never called."""
        raise AssertionError


def first_events(manifest: Path, method: str, body: bytes) -> dict[str, Any]:
    """In ms: loading, the first event, and the events after it. And whether a guest was compiled."""
    started = perf_counter()
    with open_plan(load(manifest)) as plan:
        loaded = perf_counter()
        dispatcher, times = Dispatcher(Plans(plan), _NoOutputs()), []
        for _ in range(1 + MORE):
            before = perf_counter()
            dispatcher.dispatch(invoke(method, body))
            times.append((perf_counter() - before) * 1000)
        compiled = any(guest.code.compiled for guest in plan.guests.values())
    return {"load": (loaded - started) * 1000, "first": times[0], "more": times[1:], "compiled": compiled}


def _child(folder: Path, manifest: Path, method: str, cache: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.cold", str(manifest), method, str(folder / f"{method}.body")]
    environment = {**servers.environment(cache), "GUESTHOUSE_LOG_LEVEL": "error"}
    done = subprocess.run(command, cwd=servers.ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cold(options: Options, folder: Path) -> Findings:
    """The first event of a new process, when the code was on disk, and when it had to be compiled."""
    findings = Findings()
    folder.mkdir(parents=True, exist_ok=True)
    kinds = (
        ("echo", servers.guest("echo", "echo"), bytes(1024)),
        (
            "classify",
            servers.CLASSIFIER + servers.guest("classify", "infer", more=GRANT),
            (PHOTOS / "coffee.png").read_bytes(),
        ),
    )
    for name, manifest, body in kinds:
        options.say(f"cold start, {name}")
        path = folder / f"{name}.toml"
        path.write_text(servers.APP + manifest)
        (folder / f"{name}.body").write_bytes(body)
        rounds = options.rounds(9)
        compiled = [_child(folder, path, name, folder / f"{name}-{n}") for n in range(rounds)]
        cached = [_child(folder, path, name, folder / f"{name}-{n}") for n in range(rounds)]
        assert all(c["compiled"] for c in compiled)
        assert not any(c["compiled"] for c in cached)
        for found, how in ((cached, "code from disk"), (compiled, "compiled at load")):
            findings.figures += _figures(name, how, found)
    findings.tables.append(_compiling(folder))
    return findings


def _figures(name: str, how: str, found: list[dict[str, Any]]) -> list[Figure]:
    first = Spread.of([f["first"] for f in found])
    steady = Spread.of([Spread.of(f["more"]).median for f in found])
    over = Spread.of([f["first"] - Spread.of(f["more"]).median for f in found])
    load_ms = Spread.of([f["load"] for f in found]).median
    note = f"later ones {steady.median:.2f} ms; loading all took {load_ms:.0f} ms, before the port opens"
    target = Target(5.0) if how == "code from disk" else None
    if name == "echo":
        return [Figure("cold", f"{name}, {how}: first event", first, "ms", target, note)]
    return [
        Figure(
            "cold", f"{name}, {how}: first event over a later one", over, "ms", target, f"{first.median:.2f} ms, {note}"
        )
    ]


def _compiling(folder: Path) -> tuple[str, list[str], list[list[str]]]:
    """How long compiling takes, which happens once on a machine, and how long mapping the result."""
    rows = []
    with closing(open_engine("wasmtime", EngineConfig())) as engine, closing(CodeCache(folder / "compiling")) as cache:
        for name in ("echo", "classify_c", "classify", "grayscale"):
            wasm = (servers.ROOT / "guests" / name / f"{name}.wasm").read_bytes()
            times = []
            for _ in range(2):
                started = perf_counter()
                cache.load(engine, wasm, EngineConfig().memory)
                times.append((perf_counter() - started) * 1000)
            rows.append([name, f"{len(wasm) / 1024:.0f}", f"{times[0]:.0f}", f"{times[1]:.2f}"])
    return "Compiling and mapping a guest", ["guest", "KiB of Wasm", "compile, ms", "map from disk, ms"], rows


def loads(file: Path, calling: str) -> dict[str, Any]:
    """In ms of CPU time: the first time that a process loads and links a module, later times, and events.

    Its code is kept in the code cache.
    """
    interfaces(), host_modules()  # a server has loaded these for other guests
    settings = read.parse({"app": {"name": "bench"}}, Path("guesthouse.toml")).engine
    event, found = invoke("it", bytes(range(97, 123)) * 39 + bytes(range(97, 107))), []
    with closing(CodeCache(settings.cache)) as cache, micro.engine_of(pooling=True) as engine:
        config = GuestConfig("it", file.absolute(), calling)
        for _ in range(1 + MORE):
            before = thread_time()
            code = load_code(config, engine, cache)
            linked = code.linked()
            found.append((thread_time() - before) * 1000)
            if len(found) == 1:
                compiled = code.compiled
        guest, events = Guest(config, code, Sandbox(linked, code.caller), micro.SERVICES), []
        for _ in range(1 + MORE):
            before = thread_time()
            guest.runner.run(guest, event, Deadline(math.inf))
            events.append((thread_time() - before) * 1000)
        del code, linked, guest
    return {
        "compiled": compiled,
        "load": found[0],
        "load again": asdict(Spread.of(found[1:])),
        "event": events[0],
        "event again": asdict(Spread.of(events[1:])),
    }


if __name__ == "__main__" and len(sys.argv) == 3:
    print(json.dumps(loads(Path(sys.argv[1]), sys.argv[2])))
elif __name__ == "__main__":
    print(json.dumps(first_events(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes())))

"""Both engines and both isolations: the cost of an event, a host call, a start, an idle guest, a dead worker."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil
import wasmtime

from bench import servers
from bench.measure import Figure, Findings, Options, Spread, ratios, take_turns
from bench.over_grpc import GRANT, PHOTOS, invoke, latency, race, throughput
from guesthouse.cli.load_generator import Job, Load
from guesthouse.engine import wasmer
from guesthouse.event import Event

LIMITS = "limits = { concurrency = 4 }"
#: A Python 3.10 that has wasmer, when it is not this one.
NAMED = os.environ.get("GUESTHOUSE_WASMER")
CALLS = 20_000
STOCK = 2  # the default of [process] stock

# As many calls of an import as the event's first four bytes say.
CALLER = """(module
  (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
  (memory (export "memory") 1) (global $heap (mut i32) (i32.const 4096))
  (func (export "allocate") (param i32) (result i32)
    (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 0))))
  (func (export "deallocate") (param i32 i32))
  (func (export "f") (param i32 i32) (result i32) (local $n i32)
    (local.set $n (i32.load (i32.load (local.get 0))))
    (block (loop (br_if 1 (i32.eqz (local.get $n)))
      (drop (call $yield)) (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br 0)))
    (i32.const 64)))"""


def setups() -> Mapping[str, tuple[str, str]]:
    """The setups by name, the slowest first: the `[engine]` table, and the isolation in a guest's table."""
    process, thread = 'isolation = "process"', 'isolation = "thread"'
    found = {"wasmtime, process": ("", process), "wasmtime, thread": ("", thread)}
    if NAMED or wasmer.found():
        engine = '[engine]\nname = "wasmer"\n' + (f'python = "{NAMED}"\n' if NAMED else "")
        return {"wasmer, process": (engine, process), **found}
    return found


def _kinds(folder: Path) -> Mapping[str, tuple[str, str, Event]]:
    """The guests by name: (the manifest's models, the guest's part of the manifest with a line MORE, an event)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "caller.wasm").write_bytes(wasmtime.wat2wasm(CALLER))
    caller = servers.guest("caller", "f", more="MORE").replace(
        f"{servers.ROOT}/guests/caller/caller.wasm", f"{folder}/caller.wasm"
    )
    return {
        "echo": ("", servers.guest("echo", "echo", more="MORE"), invoke("echo", bytes(range(256)) * 4)),
        "classify": (
            servers.CLASSIFIER,
            servers.guest("classify", "infer", more=GRANT + "\nMORE"),
            invoke("classify", (PHOTOS / "coffee.png").read_bytes()),
        ),
        "host calls": ("", caller, invoke("caller", CALLS.to_bytes(4, "little"))),
    }


def engines(options: Options, folder: Path) -> Findings:
    """Each setup against wasmtime in threads; and wasmer against wasmtime, both in processes."""
    findings = Findings()
    for name, (models, guest, event) in _kinds(folder).items():
        with ExitStack() as stack:
            running: dict[str, servers.Running] = {}
            starts: dict[str, list[float]] = {}
            for setup, (engine, isolation) in setups().items():
                manifest = engine + models + guest.replace("MORE", f"{isolation}\n{LIMITS}")
                own = folder / f"{name} {setup}"
                with _started(own, manifest, starts.setdefault(setup, [])):
                    pass  # with it, code is on disk
                running[setup] = stack.enter_context(_started(own, manifest, starts[setup]))
            if name == "host calls":
                findings.tables.append(_host_calls(options, running, event))
                continue
            sides = {setup: (server, event) for setup, server in running.items()}
            for callers, requests in ((1, 600), (4, 1200)) if name == "echo" else ((1, 30), (4, 60)):
                options.say(f"engines, {name}, {callers} callers")
                blocks = race(sides, callers, requests, options.rounds(9))
                many = f"{callers} caller{'s' if callers > 1 else ''}"
                for pair in _pairs(running):
                    what = f"{name}, {pair[0]} against {pair[1]}, {many}"
                    findings.figures += [
                        latency("engines", what, blocks, pair, None),
                        throughput("engines", what, blocks, pair, None),
                    ]
            findings.tables.append(_memory(name, running, starts))
            if name == "echo":
                findings.figures += [
                    _recovery(options, setup, server, event) for setup, server in running.items() if "process" in setup
                ]
    findings.tables.append(_idle(options, folder))
    return findings


@contextlib.contextmanager
def _started(folder: Path, manifest: str, seconds: list[float]) -> Iterator[servers.Running]:
    """A server. The seconds that it took to start are added to `seconds`."""
    began = time.perf_counter()
    with servers.guesthouse(folder, manifest) as server:
        seconds.append(time.perf_counter() - began)
        yield server


def _pairs(running: Mapping[str, servers.Running]) -> list[tuple[str, str]]:
    pairs = [("wasmtime, process", "wasmtime, thread")]
    if "wasmer, process" in running:
        pairs += [("wasmer, process", "wasmtime, process"), ("wasmer, process", "wasmtime, thread")]
    return pairs


def _host_calls(
    options: Options, running: Mapping[str, servers.Running], event: Event
) -> tuple[str, list[str], list[list[str]]]:
    """µs of one call of an import that does nothing: an event with many such calls, minus an event without any."""
    nothing = invoke("caller", bytes(4))
    options.say("engines, host calls")

    def cost(server: servers.Running) -> float:
        """µs of one call."""
        with Load(1) as load:
            many = load.run(Job(server.address, event, 1, 20)).percentile(0.5)
            none = load.run(Job(server.address, nothing, 1, 20)).percentile(0.5)
        return (many - none) / CALLS * 1e6

    found = take_turns({setup: functools.partial(cost, server) for setup, server in running.items()}, options.rounds(9))
    base = found["wasmtime, thread"]
    rows = [
        [setup, f"{Spread.of(costs).median:.2f}", f"{ratios(costs, base).median:.2f}x"]
        for setup, costs in found.items()
    ]
    return "A host call that does nothing (`sched_yield`)", ["engine, isolation", "µs", "against threads"], rows


def _workers(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


def _memory(
    name: str, running: Mapping[str, servers.Running], starts: Mapping[str, list[float]]
) -> tuple[str, list[str], list[list[str]]]:
    """Memory as proportional set size (of a page that n processes share, each has 1/n), and the time of a start."""
    rows = []
    for setup, server in running.items():
        own = psutil.Process(server.pid).memory_full_info().pss / (1 << 20)
        each = [worker.memory_full_info() for worker in _workers(server.pid)]
        pss = Spread.of([one.pss / (1 << 20) for one in each]).median if each else 0.0
        uss = Spread.of([one.uss / (1 << 20) for one in each]).median if each else 0.0
        took = [f"{seconds:.2f}" for seconds in starts[setup]]
        rows.append([setup, f"{own:.1f}", f"{len(each)}", f"{pss:.1f}", f"{uss:.1f}", *took])
    header = [
        "engine, isolation",
        "server, MiB",
        "workers",
        "each, MiB",
        "of it its own alone, MiB",
        "start that compiles, s",
        "start with code on disk, s",
    ]
    return f"Memory after those events, and the start, {name}", header, rows


def _idle(options: Options, folder: Path) -> tuple[str, list[str], list[list[str]]]:
    """MiB that one more guest takes that is never called, with its workers: an eighth of what eight take."""
    rows = []
    for setup, (engine, isolation) in setups().items():
        options.say(f"engines, idle guests, {setup}")
        totals = []
        for count in (1, 9):
            more = f"{isolation}\nlimits = {{ concurrency = 1 }}"
            guests = "".join(servers.guest(f"echo{n}", "echo", module="echo", more=more) for n in range(count))
            with servers.guesthouse(folder / f"idle {setup} {count}", engine + guests) as server:
                processes = [psutil.Process(server.pid), *_workers(server.pid)]
                totals.append(sum(process.memory_full_info().pss for process in processes) / (1 << 20))
        rows.append([setup, f"{(totals[1] - totals[0]) / 8:.2f}"])
    title = (
        "A guest that nobody calls, with one slot: nothing but itself in threads, else a worker and one that stands by"
    )
    return title, ["engine, isolation", "MiB"], rows


def _recovery(options: Options, setup: str, server: servers.Running, event: Event) -> Figure:
    """ms from the death of every worker to the next answer, and to a full stock again."""
    options.say(f"engines, killed workers, {setup}")
    answers, complete = [], []
    with Load(1) as load:
        for _ in range(options.rounds(9)):
            began = time.perf_counter()
            victims = _workers(server.pid)
            for victim in victims:
                os.kill(victim.pid, signal.SIGKILL)
            while any(_threads(victim.pid) > 1 or not _is_zombie(victim) for victim in victims):
                time.sleep(0.001)  # until then the server could give one of them the next event, which would fail
            outcome = load.run(Job(server.address, event, 1, 1))
            if outcome.errors:
                raise RuntimeError(f"the event after the end of all workers: {outcome.examples}")
            answers.append((time.perf_counter() - began) * 1000)
            while _alive(server.pid) <= STOCK:
                time.sleep(0.002)
            complete.append((time.perf_counter() - began) * 1000)
    note = f"the next event was answered after {Spread.of(answers).median:.1f} ms"
    what = f"{setup}: all workers killed: a full stock again after"
    return Figure("engines", what, Spread.of(complete), "ms", note=note)


def _is_zombie(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _threads(pid: int) -> int:
    """The threads of a process. Its first one may be a zombie before the others have ended, and closed its socket."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _alive(pid: int) -> int:
    """How many workers have not ended."""
    return sum(worker.status() != psutil.STATUS_ZOMBIE for worker in _workers(pid) if worker.is_running())

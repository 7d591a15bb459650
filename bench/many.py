"""A hundred guests, each in processes of its own: what they cost before their first event, and how long that takes.

Against the same guests in threads, in one interleaved run. A first event waits for a worker that is nobody's yet, so
the stock is given time to fill between two of them, as events of a guest that nobody calls often have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from bench import servers
from bench.engines import setups
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.over_grpc import invoke
from guesthouse.dapr.client import Client

GUESTS = 100
FIRST = 20  # guests whose first event is timed, in each round
MIB = 1 << 20


def many(options: Options, folder: Path) -> Findings:
    """Starts and memory of each setup against threads; and first events of guests in processes."""
    findings = Findings()
    sides = {setup: _side(options, folder / setup.replace(", ", "-"), *how) for setup, how in setups().items()}
    found = take_turns(sides, options.rounds(5))
    base = found["wasmtime, thread"]
    for setup, rounds in found.items():
        if setup == "wasmtime, thread":
            continue
        seconds = [one["start"] for one in rounds]
        findings.figures += [
            Figure(
                "many",
                f"{setup}: serving {GUESTS} guests, against threads",
                ratios(seconds, [one["start"] for one in base]),
                target=Target(1.5),
                note=f"{Spread.of(seconds).median:.2f} s",
            ),
            Figure(
                "many",
                f"{setup}: memory before the first event, over that of threads",
                Spread.of([one["memory"] - other["memory"] for one, other in zip(rounds, base, strict=True)]),
                "MiB",
                Target(150.0),
            ),
            Figure(
                "many",
                f"{setup}: a guest's first event, with a worker in the stock",
                Spread.of([one["first"] for one in rounds]),
                "ms",
                Target(60.0),
                f"medians of {FIRST} guests; threads {Spread.of([one['first'] for one in base]).median:.1f} ms",
            ),
        ]
    return findings


def _side(options: Options, folder: Path, engine: str, isolation: str) -> Callable[[], Mapping[str, float]]:
    manifest = engine + "".join(
        servers.guest(f"echo{number}", "echo", module="echo", more=isolation) for number in range(GUESTS)
    )

    def measured() -> Mapping[str, float]:
        """Seconds to serve, MiB of all processes then, and the median in ms of some guests' first events."""
        options.say(f"{GUESTS} guests, {folder.name}")
        began = time.perf_counter()
        with servers.guesthouse(folder, manifest) as server:
            start = time.perf_counter() - began
            _settle(server.pid)
            tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            memory = sum(one.memory_full_info().pss for one in tree) / MIB
            with Client(server.address, token="") as client:
                first = [_first(client, server.pid, number) for number in range(FIRST)]
        return {"start": start, "memory": memory, "first": Spread.of(first).median}

    return measured


def _first(client: Client, pid: int, number: int) -> float:
    """ms of one guest's first event."""
    _settle(pid)
    began = time.perf_counter()
    client.send(invoke(f"echo{number}", b"x" * 1024), timeout=30)
    return (time.perf_counter() - began) * 1000


def _settle(pid: int) -> None:
    """Wait until all child processes have slept for a moment: then none is starting any more."""
    children = psutil.Process(pid).children()
    quiet, before = 0, -1.0
    while quiet < 3:
        time.sleep(0.05)
        children = psutil.Process(pid).children()
        now = sum(one.cpu_times().user + one.cpu_times().system for one in children if one.is_running())
        quiet, before = (quiet + 1 if now == before else 0), now

"""Guests in worker processes against the same in threads: what an event, a slot and a dead worker cost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench import servers
from bench.measure import Figure, Findings, Options, Spread
from bench.over_grpc import GRANT, PHOTOS, invoke, latency, race, throughput
from guesthouse.cli.load import Job, Load
from guesthouse.event import Event

PROCESS = 'isolation = "process"\nlimits = { concurrency = 4 }'
THREAD = "limits = { concurrency = 4 }"


def _kinds() -> Mapping[str, tuple[str, str, str, Event]]:
    """By name: models, function, more of the guest's table, event."""
    return {
        "echo": ("", "echo", "", invoke("echo", bytes(range(256)) * 4)),
        "classify": (
            servers.CLASSIFIER,
            "infer",
            GRANT + "\n",
            invoke("classify", (PHOTOS / "coffee.png").read_bytes()),
        ),
    }


def isolation(options: Options, folder: Path) -> Findings:
    """Echo and classify both ways; the memory of workers; the time after one was killed."""
    findings = Findings()
    for name, (models, function, more, event) in _kinds().items():
        with ExitStack() as stack:
            running = {
                how: stack.enter_context(
                    servers.guesthouse(
                        folder / f"{name}-{how}", models + servers.guest(name, function, more=more + keys)
                    )
                )
                for how, keys in (("process", PROCESS), ("thread", THREAD))
            }
            sides = {how: (server, event) for how, server in running.items()}
            for callers, requests in ((1, 600), (4, 1200)) if name == "echo" else ((1, 30), (4, 60)):
                options.say(f"isolation, {name}, {callers} callers")
                blocks = race(sides, callers, requests, options.rounds(9))
                what = f"{name}, process against thread, {callers} caller{'s' if callers > 1 else ''}"
                findings.figures += [
                    latency("isolation", what, blocks, ("process", "thread"), None),
                    throughput("isolation", what, blocks, ("process", "thread"), None),
                ]
            findings.tables.append(_memory(name, running))
            if name == "echo":
                findings.figures.append(_recovery(options, running["process"], event))
    return findings


def _workers(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children()


def _memory(name: str, running: Mapping[str, servers.Running]) -> tuple[str, list[str], list[list[str]]]:
    """Proportional set sizes: pages that several share are shared out among them."""
    rows = []
    for how, server in running.items():
        own = psutil.Process(server.pid).memory_full_info().pss / (1 << 20)
        each = [worker.memory_full_info() for worker in _workers(server.pid)]
        pss = Spread.of([one.pss / (1 << 20) for one in each]).median if each else 0.0
        uss = Spread.of([one.uss / (1 << 20) for one in each]).median if each else 0.0
        rows.append([how, f"{own:.1f}", f"{len(each)}", f"{pss:.1f}", f"{uss:.1f}"])
    header = ["isolation", "server, MiB", "workers", "each, MiB", "of it its own alone, MiB"]
    return f"Memory after those events, {name}", header, rows


def _recovery(options: Options, server: servers.Running, event: Event) -> Figure:
    """ms from the death of every worker that waits but one to the next answer, and to as many workers as before."""
    options.say("isolation, killed workers")
    answers, complete = [], []
    with Load(1) as load:
        for _ in range(options.rounds(9)):
            victims = _workers(server.pid)
            began = time.perf_counter()
            for victim in victims[1:]:
                os.kill(victim.pid, signal.SIGKILL)
            load.run(Job(server.address, event, 1, 1))
            answers.append((time.perf_counter() - began) * 1000)
            while len(_workers(server.pid)) < len(victims) or _dead(server.pid):
                time.sleep(0.002)
                load.run(Job(server.address, event, 1, 1))  # the dead are found when their turn comes
            complete.append((time.perf_counter() - began) * 1000)
    note = f"the next event was answered after {Spread.of(answers).median:.1f} ms, by the worker that was left"
    return Figure("isolation", "all workers but one killed: as many again after", Spread.of(complete), "ms", note=note)


def _dead(pid: int) -> bool:
    return any(worker.status() == psutil.STATUS_ZOMBIE for worker in _workers(pid))

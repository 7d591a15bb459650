"""A long run with faults: does a server's memory grow with the events that it has answered?

    python -m bench.soak                  # 1,000,000 echoes and 100,000 photos in threads, and in processes: an hour
    python -m bench.soak --scale 0.01     # a hundredth of that

While callers send what is answered, another one sends what fails: traps, loops, no pictures, bodies that are too large,
and calls that it hangs up; and every few seconds a worker process is killed. In between the server is told to reload
(SIGHUP), with which it returns what is free to the system, and resident memory is read, and how much of it is
anonymous. The rest are pages of files (models, code, libraries), which the kernel drops and reads again as it sees fit:
they tell nothing of what a process keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import psutil
import wasmtime

from bench import servers
from bench.over_grpc import GRANT, PHOTOS, invoke
from guesthouse.cli.load import Job, Load
from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure

ECHOES, PHOTOS_SENT, SAMPLES, CALLERS = 1_000_000, 100_000, 40, 4
WARM_UP = 0.1  # of each part: growth is counted from there
ARTICLE = 101  # requests that the article's host was measured over; it had lost 2,432 KiB
MIB = 1 << 20
_PAUSE = 0.05  # seconds between two events that fail
_KILL = 5.0  # seconds between two killed workers
_RELOAD = 30.0  # seconds that a reload may take
_CLOSING = 0.5  # seconds for the last events of the earlier plan

TRAP = """(module (memory (export "memory") 1)
  (func (export "allocate") (param i32) (result i32) i32.const 1024)
  (func (export "f") (param i32 i32) (result i32) unreachable))"""
LOOP = TRAP.replace("unreachable", "(loop br 0) i32.const 0")


class Memory(NamedTuple):
    """Memory of a process in MiB: RssAnon and VmRSS of `/proc/PID/status`."""

    anonymous: float
    resident: float

    @classmethod
    def of(cls, process: psutil.Process) -> Memory:
        info = process.memory_info()
        return cls((info.rss - info.shared) / MIB, info.rss / MIB)


@dataclass(slots=True)
class Course:
    """Memory during one part, by the number of events so far: of the server, or of the worker in the middle."""

    name: str
    points: list[tuple[int, Memory]] = field(default_factory=list)

    def __str__(self) -> str:
        anonymous, resident = self.growth
        return f"{self.name}: {anonymous:+.2f} MiB after the warm-up ({resident:+.2f} with pages of files)"

    @property
    def growth(self) -> Memory:
        """Growth from the end of the warm-up on. At both ends the median of some samples counts, for memory varies."""
        last = self.points[-1][0]
        warm = [memory for events, memory in self.points if events >= last * WARM_UP]
        before, after = (map(statistics.median, zip(*part, strict=True)) for part in (warm[:5], warm[-5:]))
        return Memory(*(end - begin for begin, end in zip(before, after, strict=True)))


def server_memory(server: servers.Running, log: Path) -> Memory:
    """Memory of the server after a reload, which returns freed memory to the system."""
    said = log.stat().st_size
    os.kill(server.pid, signal.SIGHUP)
    end = monotonic() + _RELOAD
    while b"] reloaded " not in _since(log, said):
        if monotonic() > end:
            raise RuntimeError(f"no reload within {_RELOAD:g} s: see {log}")
        sleep(0.05)
    sleep(_CLOSING)
    return Memory.of(psutil.Process(server.pid))


def _since(log: Path, size: int) -> bytes:
    """The text that was added to a log since it had `size` bytes."""
    with log.open("rb") as file:
        file.seek(size)
        return file.read()


def worker_memory(pid: int) -> Memory | None:
    """Memory of the worker with the median memory; None where there is no worker."""
    found = []
    for worker in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            found.append(Memory.of(worker))
    return statistics.median_high(found) if found else None


class Faults(threading.Thread):
    """Sends events that fail, and kills workers, until it is ended. `count` is the number of failed events."""

    def __init__(self, server: servers.Running) -> None:
        super().__init__(daemon=True)
        self.count = self.killed = 0
        self._server = server
        self._over = threading.Event()

    def run(self) -> None:
        choice = random.Random(1)
        kinds: list[tuple[Event, float]] = [
            (invoke("trap", b"x"), 10),
            (invoke("loop", b"x"), 10),
            (invoke("classify", b"no picture"), 10),
            (invoke("classify", b"\x89PNG\r\n\x1a\n" + bytes(1000)), 10),
            (invoke("echo", bytes(70_000)), 10),
            (invoke("loop", b"x"), 0.02),  # hangs up
            (invoke("nobody", b""), 10),
        ]
        began = monotonic()
        with Client(self._server.address) as client:
            while not self._over.wait(_PAUSE):
                event, timeout = choice.choice(kinds)
                try:
                    client.send(event, timeout)
                except Failure:
                    self.count += 1
                if monotonic() - began > _KILL:
                    began = monotonic()
                    workers = psutil.Process(self._server.pid).children()
                    if workers:
                        self.killed += 1
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(choice.choice(workers).pid, signal.SIGKILL)

    def end(self) -> None:
        self._over.set()
        self.join()


@contextlib.contextmanager
def server(folder: Path, isolation: str) -> Iterator[servers.Running]:
    """A server with healthy guests and with guests that fail."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = f'isolation = "{isolation}"\n'
    text = servers.CLASSIFIER + servers.guest(
        "echo", "echo", more=keys + 'limits = { concurrency = 4, input = "64KiB" }'
    )
    text += servers.guest("classify", "infer", more=GRANT + "\n" + keys + "limits = { concurrency = 4 }")
    for name, wat in (("trap", TRAP), ("loop", LOOP)):
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
        text += f'[guests.{name}]\nmodule = "{folder}/{name}.wasm"\nfunction = "f"\n{keys}'
        text += 'limits = { concurrency = 1, time = "50ms" }\n'
        text += f'[[invoke]]\nmethod = "{name}"\nguest = "{name}"\n'
    with servers.guesthouse(folder, text) as running:
        yield running


def part(running: servers.Running, log: Path, name: str, event: Event, events: int, say: Say) -> list[Course]:
    """Send so many events; memory is looked at 40 times.

    Some of more callers go before: what inference takes when all slots are at work, it keeps, and with no more callers
    than slots that happens at any time.
    """
    server, worker, done = Course(name), Course(f"{name}, a worker"), 0
    with Load(4 * CALLERS) as load:
        load.run(Job(running.address, event, 4 * CALLERS, events // SAMPLES))
    with Load(CALLERS) as load:
        for sample in range(1, SAMPLES + 1):
            until = events * sample // SAMPLES
            outcome = load.run(Job(running.address, event, CALLERS, until - done))
            # A killed worker takes its event with it: that is what was asked for.
            wrong = {reason: count for reason, count in outcome.errors.items() if reason not in ("INTERNAL", "FULL")}
            if wrong:
                raise RuntimeError(f"{wrong} {outcome.examples}")
            done = until
            server.points.append((done, server_memory(running, log)))
            anonymous, resident = server.points[-1][1]
            say(f"{name}: {done} events, {anonymous:.2f} MiB of {resident:.2f} MiB")
            if (memory := worker_memory(running.pid)) is not None:
                worker.points.append((done, memory))
    return [server, worker] if worker.points else [server]


class Say:
    """Prints lines about the progress, with the time."""

    def __init__(self) -> None:
        self._began = monotonic()

    def __call__(self, text: str) -> None:
        sys.stderr.write(f"[{monotonic() - self._began:5.0f} s] {text}\n")


def soak(folder: Path, scale: float, say: Say) -> tuple[list[Course], list[str]]:
    """Run all parts. Returns lines about them."""
    echo, photo = invoke("echo", bytes(1024)), invoke("classify", (PHOTOS / "coffee.png").read_bytes())
    courses, lines = [], []
    for isolation in ("thread", "process"):
        with server(folder / f"{isolation}-101", isolation) as running, Load(1) as load:
            process = psutil.Process(running.pid)
            load.run(Job(running.address, photo, 1, ARTICLE))
            before = Memory.of(process).resident
            load.run(Job(running.address, photo, 1, ARTICLE))
            lost = (Memory.of(process).resident - before) * 1024
            lines.append(f"{isolation}: {lost:.0f} KiB after {ARTICLE} photos more than the {ARTICLE} first")
            say(lines[-1])
        log = folder / isolation / "serve.log"
        with server(folder / isolation, isolation) as running:
            faults = Faults(running)
            faults.start()
            try:
                for name, event, events in (("echo", echo, ECHOES), ("classify", photo, PHOTOS_SENT)):
                    count = max(SAMPLES, int(events * scale))
                    for course in part(running, log, f"{isolation}, {name}", event, count, say):
                        courses.append(course)
                        lines.append(f"{course}, {count} events")
                        say(lines[-1])
            finally:
                faults.end()
            lines.append(f"{isolation}: {faults.count} events failed as they should, {faults.killed} workers killed")
            say(lines[-1])
    return courses, lines


# ---- the picture ----

_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 220, 60, 28


def drawn(courses: list[Course]) -> str:
    """An SVG with a chart for each part, one below the other."""
    height = _HEIGHT * len(courses)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    parts += [_chart(course, _HEIGHT * index) for index, course in enumerate(courses)]
    return "\n".join([*parts, "</svg>", ""])


def _chart(course: Course, top: int) -> str:
    most = max(memory.resident for _, memory in course.points) * 1.2
    last = course.points[-1][0]
    width, height = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 40
    base = top + _TOP + height

    def line(kind: int, colour: str) -> str:
        points = " ".join(
            f"{_LEFT + width * events / last:.1f},{base - height * memory[kind] / most:.1f}"
            for events, memory in course.points
        )
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

    return (
        f'<text x="{_LEFT}" y="{top + 18}">{course}</text>'
        f'<path d="M{_LEFT} {top + _TOP}V{base}H{_LEFT + width}" fill="none" stroke="#888"/>'
        f'<text x="{_LEFT - 6}" y="{top + _TOP + 10}" text-anchor="end">{most:.0f} MiB</text>'
        f'<text x="{_LEFT - 6}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{_LEFT + width}" y="{base + 16}" text-anchor="end">{last:,} events</text>'
        + line(1, "#bbb")
        + line(0, "#06c")
    )


def main() -> None:
    """Run the soak that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="a share of the events (1)")
    parser.add_argument("--out", type=Path, help="where the picture goes (docs/soak.svg)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        courses, lines = soak(Path(folder), arguments.scale, Say())
    (arguments.out or servers.ROOT / "docs" / "soak.svg").write_text(drawn(courses))
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""Closed-loop load on an application: a number of callers, each of which sends an event when its last one was answered.

The callers run in processes of their own, so that the CPU of the client does not slow the measured server down. This
module has both sides: `Load` starts the callers' processes and gives them jobs, and `main` is what these processes run.
`serving` starts the server that is measured. What is printed is in `bench.py`.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Trigger
from guesthouse.inference.cores import cores

_REPORT = 0.2  # seconds between two reports of progress
_START, _END = 60.0, 10.0  # seconds that a server may take to be healthy, and to end

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """`event`, sent to `address` by `callers` at once: `requests` of them in all, or for `seconds`, whichever ends
    first (None: no such bound; one of the two is set). `timeout` is seconds for one event."""

    address: str
    event: Event
    callers: int = 1
    requests: int | None = None
    seconds: float | None = None
    timeout: float = 60.0


@dataclass(slots=True)
class Outcome:
    """What came of a job. Times are seconds; `began` and `ended` are on the machine's monotonic clock.

    `latencies` has the answered events only, `errors` how many failed by reason, `examples` one text for each reason.
    """

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    began: float = math.inf
    ended: float = 0.0

    @property
    def rate(self) -> float:
        """Answered events per second."""
        return len(self.latencies) / (self.ended - self.began) if self.ended > self.began else 0.0

    def percentile(self, share: float) -> float:
        """The latency that `share` (0 to 1) of the answered events did not exceed; NaN when none was answered."""
        if not self.latencies:
            return math.nan
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1 if share else 0)]

    def add(self, other: Outcome) -> None:
        """Add what other callers did at the same time."""
        self.latencies += other.latencies
        self.errors.update(other.errors)
        self.examples = {**other.examples, **self.examples}
        self.began, self.ended = min(self.began, other.began), max(self.ended, other.ended)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far: seconds of CPU, and bytes of resident memory now."""

    cpu: float
    memory: int

    @classmethod
    def of(cls, pid: int) -> Usage | None:
        """From /proc; None where there is none, or no such process."""
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            return None
        ticks = int(after_name[11]) + int(after_name[12])  # utime, stime: fields 14 and 15 of proc(5)
        resident = next(line.split()[1] for line in rollup.splitlines() if line.startswith("Rss:"))
        return cls(ticks / os.sysconf("SC_CLK_TCK"), int(resident) * 1024)


def drive(client: Client, job: Job, progress: Progress) -> Outcome:
    """Do a job from threads of this process. `progress` is called with the number of events that are done."""
    outcome, lock = Outcome(), threading.Lock()
    reported = began = time.monotonic()
    end = math.inf if job.seconds is None else began + job.seconds
    tickets: Iterator[int] = itertools.count() if job.requests is None else iter(range(job.requests))
    done = itertools.count(1)

    def call() -> None:
        nonlocal reported
        mine = Outcome(began=began)
        clock, event = time.perf_counter, job.event
        while time.monotonic() < end and next(tickets, None) is not None:
            started = clock()
            try:
                client.send(event, job.timeout)
                mine.latencies.append(clock() - started)
            except Failure as failure:
                mine.errors[failure.reason.value] += 1
                mine.examples.setdefault(failure.reason.value, str(failure))
            count = next(done)
            if (now := time.monotonic()) - reported > _REPORT:
                reported = now
                progress(count)
        mine.ended = time.monotonic()
        with lock:
            outcome.add(mine)

    threads = [threading.Thread(target=call) for _ in range(job.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


class Load:
    """Up to `callers` callers in processes of their own, which keep their connections between jobs. A context manager.

    `token` is sent with the events (None: `$APP_API_TOKEN`).
    """

    def __init__(self, callers: int, token: str | None = None) -> None:
        command = [sys.executable, "-c", f"from {__name__} import main; main()"]
        environment = dict(os.environ) if token is None else {**os.environ, "APP_API_TOKEN": token}
        # One process of callers needs about as much CPU as one server: from 4 callers on there are more processes.
        self._children = [
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(1 if callers < 4 else max(2, min(4, cores() // 2)))
        ]

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the callers."""
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.communicate()

    def run(self, job: Job, progress: Progress | None = None) -> Outcome:
        """Do a job. Its callers and requests are shared out among the processes. `progress`: see `drive`."""
        shares = [share for share in _shares(job, len(self._children)) if share.callers]
        outcome, counts = Outcome(), [0] * len(shares)

        def listen(index: int, stream: IO[str], result: list[Outcome]) -> None:
            for line in stream:
                message = json.loads(line)
                if "outcome" in message:
                    result.append(_outcome(message["outcome"]))
                    return
                counts[index] = message["done"]
                if progress is not None:
                    progress(sum(counts))

        results: list[Outcome] = []
        listeners = []
        for index, share in enumerate(shares):
            child = self._children[index]
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(json.dumps(_job_fields(share)) + "\n")
            child.stdin.flush()
            listeners.append(threading.Thread(target=listen, args=(index, child.stdout, results)))
            listeners[-1].start()
        for listener in listeners:
            listener.join()
        if len(results) < len(shares):
            raise RuntimeError("a process that sends events has ended")
        for result in results:
            outcome.add(result)
        return outcome


@contextlib.contextmanager
def serving(
    command: Callable[[int], list[str]],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[tuple[str, int]]:
    """A server in a child process, ended afterwards: its address and process id, once it is healthy.

    `command` makes its command line for a port of 127.0.0.1; what it prints goes into the file `log`. Raises
    `NotServing` when it ends instead, or is not healthy within a minute.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with log.open("wb") as output:
        child = subprocess.Popen(
            command(port), cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        if not _healthy(address, child):
            raise NotServing(log.read_text(errors="replace"))
        yield address, child.pid
    finally:
        child.terminate()
        try:
            child.wait(_END)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class NotServing(Exception):
    """A server that did not start; the text is what it printed."""


def _healthy(address: str, child: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + _START
    with Client(address) as client:
        while child.poll() is None and time.monotonic() < end:
            with contextlib.suppress(Failure):
                client.wait_until_healthy(0.5)
                return True
    return False


def _shares(job: Job, count: int) -> Iterator[Job]:
    for index in range(count):
        callers = len(range(index, job.callers, count))
        requests = None
        if job.requests is not None:  # as many as its share of the callers
            before = len([c for c in range(job.callers) if c % count < index])
            requests = job.requests * (before + callers) // job.callers - job.requests * before // job.callers
        yield Job(job.address, job.event, callers, requests, job.seconds, job.timeout)


def _job_fields(job: Job) -> dict[str, Any]:
    fields = asdict(job)
    fields["event"]["body"] = base64.b64encode(job.event.body).decode()
    return fields


def _job(fields: dict[str, Any]) -> Job:
    event = fields.pop("event")
    event["body"] = base64.b64decode(event["body"])
    event["trigger"] = Trigger(event["trigger"])
    return Job(event=Event(**event), **fields)


def _outcome_fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in Outcome.__slots__}  # asdict would spoil the counter


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Outcome(**{**fields, "errors": Counter(fields["errors"])})


def main() -> None:
    """A process of callers: reads a job per line from standard input, writes progress and outcomes as lines."""
    clients: dict[str, Client] = {}

    def say(message: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            job = _job(json.loads(line))
            client = clients.get(job.address)
            if client is None:
                client = clients[job.address] = Client(job.address)
            say({"outcome": _outcome_fields(drive(client, job, lambda count: say({"done": count})))})


if __name__ == "__main__":
    main()

"""The worker processes of one guest, as the server sees them: started ahead, one event at a time each, replaced.

There are as many as the guest has slots, and one more that stands by. A worker ends an event at its deadline itself
where its engine can; one that does not is killed a moment later. Whatever a worker does costs its own event at most:
that fails, with a text that says so, and another worker has taken its place already.

A worker is told its engine and its guest (`SETUP`): another engine under another interpreter is another `Spec`, and
nothing else here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import structlog

from guesthouse import children
from guesthouse.event import Cost, Event, Failure, Reason, Reply
from guesthouse.guests.files import Granted
from guesthouse.guests.guest import Guest, GuestConfig, Tally
from guesthouse.guests.process import wire
from guesthouse.guests.process.services import Requests
from guesthouse.guests.process.wire import Arena, Channel, Ended, Frame, Kind, TooLong, WireError
from guesthouse.guests.sandbox import REASONS, TEXT
from guesthouse_abi.deadline import Deadline

GRACE = 0.2  # seconds past its deadline after which a worker is killed
START = 60.0  # seconds that a worker may take to be ready
_LOOK = 0.1  # seconds between looks at whether the caller hung up
_PAUSE = 5.0  # seconds at most between two tries to start a worker
_IDLE_LOOK = 0.5  # seconds between looks at whether those that wait are still there
_SPARE = 1
_SAID = 2000  # bytes of what a worker said on standard error that are kept, the last ones
_PIPE = 1 << 16  # bytes that a pipe holds

_log = structlog.get_logger("guesthouse.workers")


class WorkerFault(Exception):
    """A worker that does not start. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How a worker is started: the engine by its name, a module's compiled code, the Python that has the engine."""

    engine: str
    pooling: bool
    artefact: Path
    sha256: str  # of the module
    interpreter: str


class Worker:
    """One process. Used by one thread at a time, but `kill` by any."""

    def __init__(self, config: GuestConfig, granted: Granted, spec: Spec, artefact: int) -> None:
        self._config = config
        self._files = files = granted.sealed
        self._number = 0
        self._how = ""  # how it ended
        self._said = b""  # on standard error
        limits = config.limits
        arena = Arena.create(max(limits.host_memory, limits.input, limits.output) + (1 << 16))
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except BaseException:
            arena.close()
            raise
        self._channel = Channel(ours, arena)
        try:
            with theirs:
                descriptors = (theirs.fileno(), arena.fd, artefact)
                self._process = _started(spec, descriptors if files is None else (*descriptors, files.fd))
        except BaseException:
            self._channel.close()
            raise
        self.pid = self._process.pid
        self.confined = False

    def set_up(self, spec: Spec) -> None:
        """Wait until it is ready. Raises `WorkerFault`."""
        setup = {
            "engine": spec.engine,
            "pooling": spec.pooling,
            "sha256": spec.sha256,
            "config": _config(self._config),
            "files": None if self._files is None else self._files.index,
        }
        try:
            self._channel.socket.settimeout(START)
            self._channel.send(Kind.SETUP, setup)
            frame = self._channel.receive()
            if frame.kind is Kind.FAULT:
                raise WorkerFault(wire.text(wire.member(frame.head, "text"), TEXT))
            if frame.kind is not Kind.READY:
                raise WireError(f"an unexpected frame ({frame.kind.name})")
            self.confined = wire.member(frame.head, "confined") is True
        except TimeoutError:
            raise WorkerFault(f"it was not ready within {START:g} s") from None
        except Ended:
            raise WorkerFault(self.last_words(self.end())) from None
        except WireError as error:
            raise WorkerFault(f"{error}; {self.last_words(self.end())}") from None

    @property
    def alive(self) -> bool:
        """Whether it can be given an event."""
        return self._process.poll() is None

    def answer(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        """Have it answer one event, with the services of `guest`.

        Raises `Failure`; and `WireError`, when it must be ended.
        """
        self._number += 1
        number, arena = self._number, self._channel.arena
        began = perf_counter()
        head = {"number": number, "at": deadline.at, "event": wire.packed(event)}
        try:
            self._channel.send(Kind.EVENT, head, [event.body])
        except TooLong as error:
            raise Failure(Reason.TOO_LARGE, f"the event with its metadata: {error}", guest.name) from None
        requests = Requests(guest, self._channel, deadline)
        forget = deadline.on_cancel(lambda: arena.cancel(number))
        try:
            while (frame := self._next(deadline)).kind not in (Kind.REPLY, Kind.FAILURE):
                requests.answer(frame)
            return self._ending(frame, guest, requests, began)
        finally:
            forget()
            arena.clear()
            self._listen()

    def _next(self, deadline: Deadline) -> Frame:
        """The next frame. Raises `WireError` when there is none by the deadline."""
        hung_up = 0.0
        while True:
            left = deadline.at - monotonic() + GRACE
            if deadline.cancelled:
                hung_up = hung_up or monotonic()
                left = min(left, hung_up + GRACE - monotonic())
            if left <= 0:
                raise Overdue
            self._channel.socket.settimeout(min(left, _LOOK))
            with contextlib.suppress(TimeoutError):
                return self._channel.receive()
            self._listen()

    def _ending(self, frame: Frame, guest: Guest, requests: Requests, began: float) -> Reply:
        cost = _cost(wire.member(frame.head, "cost"), requests, began)
        if frame.kind is Kind.REPLY:
            if frame.size > guest.limits.output:
                raise WireError(f"a reply of {frame.size} bytes")
            return Reply(self._channel.arena.bytes(frame.size), guest.config.reply_type, guest.name, cost)
        reason = wire.text(wire.member(frame.head, "reason"), TEXT)
        if reason not in REASONS:
            raise WireError(f"a failure for the reason {reason!a}")
        raise Failure(Reason(reason), wire.text(wire.member(frame.head, "text"), TEXT), guest.name, cost)

    def _listen(self) -> None:
        """Take what it has said on standard error: a worker whose pipe is full would wait for a reader."""
        assert self._process.stderr is not None
        self._said = (self._said + (self._process.stderr.read(_PIPE) or b""))[-_SAID:]

    def end(self) -> str:
        """Kill it and let go of all that is its; returns how it ended, for people. The same when called again.

        What it said itself is not in it: that may be of any event that it has answered, and callers are told this text.
        """
        if self._how:
            return self._how
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        self._listen()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._channel.close()
        self._how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
        return self._how

    def last_words(self, how: str) -> str:
        """How it ended with the last line that it said on standard error, for the operator."""
        said = self._said.decode("utf-8", "replace").strip()
        return f"{how}: {said.splitlines()[-1]}" if said else how


class Overdue(WireError):
    """A worker did not end its event in time."""

    def __init__(self) -> None:
        super().__init__("it did not end in time")


def _started(spec: Spec, descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    worker = "guesthouse.guests.process.worker"
    process = subprocess.Popen(
        children.command(spec.interpreter, worker, str(os.getpid()), *map(str, descriptors)),
        bufsize=0,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,  # an operator's Ctrl-C is for the server alone: events under way are finished
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    return process


def _config(given: GuestConfig) -> dict[str, Any]:
    config = asdict(given)
    config["module"] = str(given.module)
    config["signed"] = None  # looked at when it was loaded
    config["files"] = ()  # read then
    config["grants"]["models"] = sorted(given.grants.models)
    return config


def _cost(told: object, requests: Requests, began: float) -> Cost:
    total = perf_counter() - began
    inference = requests.inference_seconds
    values = [wire.number(value) for value in wire.items(told, 4)]
    own, host, memory, host_memory = values if len(values) == 4 else (0.0, 0.0, 0, 0)
    return Cost(
        guest=min(own, total),
        host=max(0.0, min(host, total - inference)),
        inference=inference,
        total=total,
        memory=int(memory),
        host_memory=int(host_memory),
        began=began,
        runs=tuple(requests.runs),
    )


class Pool:
    """The workers of one guest. For any number of threads, of which as many call as the guest has slots.

    Starting begins at once; `wait` says when all are there.
    """

    def __init__(self, config: GuestConfig, granted: Granted, spec: Spec, replaced: Tally | None = None) -> None:
        self._config = config
        self._granted = granted
        self._spec = spec
        self._most = config.limits.concurrency + _SPARE
        self._artefact = os.open(spec.artefact, os.O_RDONLY | os.O_CLOEXEC)
        self._changed = threading.Condition()
        self._idle: deque[Worker] = deque()
        self._count = 0  # idle, at work or being started
        self._holders = 1
        self._closed = False
        self._fault = ""  # why the last one did not start
        self.replaced = replaced or Tally()
        # Of its own, and there to the end: a worker is killed when the thread that started it is gone (prctl(2)).
        self._thread = threading.Thread(target=self._supply, name=f"workers-{config.name}", daemon=True)
        self._thread.start()

    def wait(self) -> str:
        """Wait until all are ready, or one is not; returns why not."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault or len(self._idle) == self._most, START)
            if self._fault or len(self._idle) < self._most:
                return self._fault or f"not ready within {START:g} s"
            landlock = all(worker.confined for worker in self._idle)
        _log.info("worker processes are ready", guest=self._config.name, count=self._most, landlock=landlock)
        return ""

    @property
    def pids(self) -> list[int]:
        """The processes that wait for an event."""
        with self._changed:
            return [worker.pid for worker in self._idle]

    def retain(self) -> Pool:
        """See `guest.Runner.retain`."""
        with self._changed:
            self._holders += 1
        return self

    def run(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        """See `guest.Runner.run`: in a worker, with the services of `guest`, which a later plan may have made anew."""
        worker = self._take(deadline)
        deadline.tighten(guest.limits.time)  # not before: the wait for a process is none of the guest's time
        began = perf_counter()
        try:
            reply = worker.answer(guest, event, deadline)
        except Failure:
            self._give_back(worker)
            raise
        except WireError as error:
            how = self._drop(worker)
            cost = Cost(total=perf_counter() - began, began=began)
            raise self._failure(error, how, deadline, cost) from None
        except BaseException:
            self._drop(worker)
            raise
        self._give_back(worker)
        return reply

    def _failure(self, error: WireError, how: str, deadline: Deadline, cost: Cost) -> Failure:
        name = self._config.name
        if isinstance(error, Overdue):
            if deadline.cancelled:
                return Failure(Reason.CANCELLED, "the caller hung up", name, cost)
            text = f"stopped at its deadline (time limit {self._config.limits.time:g} s)"
            return Failure(Reason.DEADLINE, text, name, cost)
        if isinstance(error, Ended):
            text = f"the process that the guest ran in ended during the event: {how}"
            return Failure(Reason.INTERNAL, text[:TEXT], name, cost)
        return Failure(Reason.INTERNAL, "the process that the guest ran in answered nonsense and was ended", name, cost)

    def _take(self, deadline: Deadline) -> Worker:
        """A worker that waits. Raises `Failure`."""
        forget = deadline.on_cancel(self._look_again)
        try:
            while True:
                with self._changed:
                    wait = min(deadline.remaining(), self._config.limits.queue_wait)
                    self._changed.wait_for(lambda: self._idle or self._closed or deadline.cancelled, wait)
                    if not self._idle or self._closed or deadline.over:
                        raise self._gave_up(deadline)
                    worker = self._idle.popleft()
                if worker.alive:
                    return worker
                self._drop(worker)  # ended while it waited: nothing was lost
        finally:
            forget()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _gave_up(self, deadline: Deadline) -> Failure:
        name = self._config.name
        if deadline.cancelled:
            return Failure(Reason.CANCELLED, "the caller hung up while it waited for a process", name)
        why = f" (the last did not start: {self._fault})" if self._fault else ""
        if deadline.over:
            return Failure(Reason.DEADLINE, f"the deadline passed while no process was ready{why}"[:TEXT], name)
        return Failure(Reason.FULL, f"no process for the guest is ready{why}"[:TEXT], name)

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            if not self._closed:
                self._idle.appendleft(worker)  # the one whose memory is warm goes first
                self._changed.notify_all()
                return
        worker.end()

    def _drop(self, worker: Worker) -> str:
        how = worker.end()
        with self._changed:
            self._count -= 1
            self.replaced.count += 1
            self._changed.notify_all()
        said = worker.last_words(how)
        _log.warning("a worker process ended and is replaced", guest=self._config.name, pid=worker.pid, how=said)
        return how

    def _supply(self) -> None:
        """Keep as many workers as there should be."""
        pause = 0.0
        while True:
            self._reap()
            with self._changed:
                if not self._changed.wait_for(lambda: self._closed or self._count < self._most, _IDLE_LOOK):
                    continue
                if pause:
                    self._changed.wait_for(lambda: self._closed, pause)
                if self._closed:
                    return
                missing = self._most - self._count
                self._count += missing
            failed = self._start(missing)
            pause = min(_PAUSE, pause * 2 or 0.1) if failed else 0.0

    def _reap(self) -> None:
        """Have those replaced that ended while they waited."""
        with self._changed:
            dead = [worker for worker in self._idle if not worker.alive]
            for worker in dead:
                self._idle.remove(worker)
        for worker in dead:
            self._drop(worker)

    def _start(self, count: int) -> int:
        """Start so many at once; returns how many failed."""
        begun: list[Worker] = []
        faults: list[str] = []
        for _ in range(count):
            try:
                begun.append(Worker(self._config, self._granted, self._spec, self._artefact))
            except OSError as error:  # noqa: PERF203 (no descriptor, no process, no memory)
                faults.append(f"{error.strerror or error}")
        for worker in begun:
            try:
                worker.set_up(self._spec)
            except WorkerFault as error:  # noqa: PERF203
                worker.end()
                faults.append(str(error))
            else:
                self._give_back(worker)
        with self._changed:
            self._count -= len(faults)
            self._fault = faults[0] if faults else ""
            self._changed.notify_all()
        if faults and not self._closed:
            _log.error("a worker process does not start", guest=self._config.name, error=faults[0])
        return len(faults)

    def close(self) -> None:
        """Of the last holder: end all workers, also those at work, for nobody waits. Closing twice is no error."""
        with self._changed:
            self._holders -= 1
            if self._holders > 0 or self._closed:
                return
            self._closed = True
            idle, self._idle = list(self._idle), deque()
            self._changed.notify_all()
        for worker in idle:
            worker.end()
        self._thread.join()
        os.close(self._artefact)

"""Worker processes that are nobody's yet: a few are started ahead, and wait for a guest that needs one.

All guests in processes share them, and none is started for a guest that has no events. A worker becomes a guest's once
and stays that guest's until it ends (`pool`); another one is started in its place here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic

import structlog

from guesthouse.event import Failure, Reason
from guesthouse.guests.process.remote import START, Setup, Spec, Worker, WorkerFault
from guesthouse.guests.sandbox import TEXT
from guesthouse.system.threads import lasting_thread
from guesthouse_abi.deadline import Deadline

_LONGEST_PAUSE = 5.0  # seconds between two tries to start a worker
_AT_ONCE = 4  # that are started side by side: the first of them is ready sooner than of more
_SWEEP = 0.5  # seconds between looks at workers that wait for an event of their guest

_log = structlog.get_logger("guesthouse.workers")


class Stock:
    """`size` workers that wait, and more while more are asked for. For any number of threads.

    Nothing is started before the first `open`.
    """

    def __init__(self, spec: Spec, size: int) -> None:
        self._spec = spec
        self._size = size
        self._changed = threading.Condition()
        self._waiting: deque[Worker] = deque()
        self._starting = 0
        self._wanted = 0  # callers that wait for one
        self._fault = ""  # why the last one did not start
        self._pause = 0.0
        self._warned = False
        self._closed = False
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sweeps: tuple[Callable[[], None], ...] = ()

    @property
    def fault(self) -> str:
        """Why the last worker did not start; empty where it did."""
        return self._fault

    @property
    def pids(self) -> list[int]:
        """The processes that are nobody's yet."""
        with self._changed:
            return [worker.pid for worker in self._waiting]

    def open(self) -> None:
        """Begin to start workers, where that has not begun."""
        with self._changed:
            if not self._threads and not self._closed:
                # One thread starts all, and is there to the end: a worker is killed when the thread that started it is
                # gone (prctl(2)).
                self._threads = [
                    lasting_thread("workers-start", self._keep_up, self._ended),
                    lasting_thread("workers-sweep", self._sweep, self._ended),
                ]

    def wait(self) -> str:
        """Wait until a worker is there; returns why none is."""
        self.open()
        with self._changed:
            self._wanted += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._fault or self._waiting or self._closed, START)
            self._wanted -= 1
            return "" if self._waiting else self._fault or f"not ready within {START:g} s"

    def take(self, guest: str, deadline: Deadline) -> Worker:
        """A worker that is nobody's yet. Raises `Failure`: DEADLINE, CANCELLED, or FULL when none came in time."""
        self.open()
        forget = deadline.on_cancel(self._look_again)
        end = monotonic() + START
        try:
            with self._changed:
                self._wanted += 1
                self._changed.notify_all()
                try:
                    while True:
                        left = min(deadline.remaining(), end - monotonic())
                        self._changed.wait_for(lambda: self._waiting or self._closed or deadline.cancelled, left)
                        if not self._waiting or self._closed or deadline.over:
                            raise self.gave_up(guest, deadline)
                        worker = self._waiting.popleft()
                        if worker.alive:
                            return worker
                        worker.end()
                finally:
                    self._wanted -= 1
                    self._changed.notify_all()
        finally:
            forget()

    def try_out(self, setups: Mapping[str, Setup]) -> dict[str, str]:
        """Have one worker load each guest, without running any of its code; returns what is wrong, by the names."""
        if not setups:
            return {}
        if fault := self.wait():
            return dict.fromkeys(setups, fault)
        tried = _Tried(self)
        try:
            whys = {name: tried.fault(name, setup) for name, setup in setups.items()}
            self._warn_of(tried.lacking)
        finally:
            tried.end()
        return {name: why for name, why in whys.items() if why}

    def _warn_of(self, lacking: list[str]) -> None:
        """Say once what the kernel does not close."""
        if lacking and not self._warned:
            self._warned = True
            _log.warning(
                "worker processes are not closed wholly",
                lacking=lacking,
                remedy='docs/security.md says what holds without; [process] confinement = "required" refuses to serve',
            )

    def sweep(self, look: Callable[[], None]) -> Callable[[], None]:
        """Have `look` called from time to time; returns what ends that."""
        with self._changed:
            self._sweeps = (*self._sweeps, look)

        def forget() -> None:
            with self._changed:
                self._sweeps = tuple(one for one in self._sweeps if one != look)

        return forget

    def close(self) -> None:
        """End the workers that are nobody's. Those of guests end with their pools. Closing twice is no error."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        for worker in self._waiting:
            worker.end()
        self._waiting.clear()

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def gave_up(self, guest: str, deadline: Deadline) -> Failure:
        """Why an event waits for a process no longer."""
        if deadline.cancelled:
            return Failure(Reason.CANCELLED, "the caller hung up while it waited for a process", guest)
        why = f" (the last did not start: {self._fault})" if self._fault else ""
        if deadline.over:
            return Failure(Reason.DEADLINE, f"the deadline passed while no process was ready{why}"[:TEXT], guest)
        return Failure(Reason.FULL, f"no process for the guest is ready{why}"[:TEXT], guest)

    def _missing(self) -> int:
        return self._size + self._wanted - len(self._waiting) - self._starting

    def _keep_up(self) -> bool:
        """Start what is missing, after a pause where the last could not be started; False at the end."""
        with self._changed:
            if self._pause:
                self._changed.wait_for(lambda: self._closed, self._pause)
            self._changed.wait_for(lambda: self._closed or self._missing() > 0)
            if self._closed:
                return False
            missing = min(self._missing(), _AT_ONCE)
            self._starting += missing
        self._start(missing)
        return True

    def _sweep(self) -> bool:
        """Have the workers replaced that ended while they waited, here and in pools; False at the end."""
        if self._ended.wait(_SWEEP):
            return False
        with self._changed:
            dead = [worker for worker in self._waiting if not worker.alive]
            for worker in dead:
                self._waiting.remove(worker)
            self._changed.notify_all()
        for worker in dead:
            how = worker.last_words(worker.end())
            _log.warning("a worker process ended and is replaced", pid=worker.pid, how=how)
        for look in self._sweeps:
            look()
        return True

    def _start(self, count: int) -> None:
        """Start so many at once; each is there for who waits as soon as it is ready."""
        begun: list[Worker] = []
        faults: list[str] = []
        try:
            for _ in range(count):
                try:
                    begun.append(Worker(self._spec))
                except OSError as error:  # noqa: PERF203 (no descriptor, no process, no memory)
                    faults.append(error.strerror or str(error))
            while begun:
                if fault := _fault_of(begun[0]):
                    begun.pop(0).end()
                    faults.append(fault)
                    continue
                with self._changed:
                    self._waiting.append(begun.pop(0))
                    self._starting -= 1
                    count -= 1
                    self._changed.notify_all()
        finally:
            for worker in begun:
                worker.end()
            with self._changed:
                self._starting -= count
                self._fault = faults[0] if faults else ""
                self._pause = min(_LONGEST_PAUSE, self._pause * 2 or 0.1) if faults else 0.0
                self._changed.notify_all()
        if faults and not self._closed:
            _log.error("a worker process does not start", error=faults[0], next_try=self._pause)


def _fault_of(worker: Worker) -> str:
    """Wait for a worker that was started; returns why it is not ready."""
    try:
        worker.wait()
    except WorkerFault as fault:
        return str(fault)
    return ""


class _Tried:
    """A worker that loads one guest after the other, and is replaced where it does not survive one."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._worker: Worker | None = None

    @property
    def lacking(self) -> list[str]:
        return self._worker.lacking if self._worker is not None else []

    def fault(self, name: str, setup: Setup) -> str:
        try:
            self._worker = self._worker or self._stock.take(name, Deadline.after(START))
            return self._worker.try_out(setup)
        except Failure as failure:
            return failure.text
        except WorkerFault as fault:
            self.end()
            return str(fault)

    def end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None

"""The worker processes of one guest: taken from the stock when events come, ended when they have been idle for long.

Whatever a worker does, it costs no more than its own event: that fails with a text that says so, and another worker
answers the next one. A worker ends an event at its deadline itself where its engine can; one that does not is killed a
moment later. What one worker is, is said in `remote`; workers that no guest has yet are in `stock`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from time import monotonic, perf_counter

import structlog

from guesthouse.event import Cost, Event, Failure, Reason, Reply
from guesthouse.guests.files import Granted
from guesthouse.guests.guest import Code, Guest, GuestConfig, Tally
from guesthouse.guests.process.remote import START, Artefact, Overdue, Setup, Worker, WorkerFault
from guesthouse.guests.process.stock import Stock
from guesthouse.guests.process.wire import Ended, NotGiven, WireError
from guesthouse.guests.sandbox import TEXT
from guesthouse_abi.deadline import Deadline

_log = structlog.get_logger("guesthouse.workers")


class Pool:
    """A `guest.Runner` with as many workers as its guest has events at once, and always at least `least`.

    For any number of threads; as many call at once as the guest has slots.
    """

    def __init__(
        self, config: GuestConfig, code: Code, granted: Granted, stock: Stock, replaced: Tally | None = None
    ) -> None:
        """Raises `OSError` where the compiled code cannot be opened."""
        self._config = config
        self._stock = stock
        self._most = max(config.limits.concurrency, config.least)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0  # threads that wait for a change
        # Workers that wait for an event, and since when (`monotonic`); the one that was used last comes first.
        self._idle: deque[tuple[Worker, float]] = deque()
        self._count = 0  # of workers: idle, at work, or about to become the guest's
        self._holders = 1  # guests of plans that use this pool
        self._closed = False
        self.replaced = replaced or Tally()
        self.setup = Setup(config, code.sha256, Artefact(code.artefact), granted)
        self._forget = stock.sweep(self._sweep)

    def wait(self) -> str:
        """Wait until `least` workers are there; returns why they are not, or an empty text.

        It does not say whether the guest can be loaded: `Stock.try_out` does.
        """
        try:
            self._fill()
        except Failure as failure:
            return failure.text
        return ""

    @property
    def pids(self) -> list[int]:
        """The processes of workers that wait for an event."""
        with self._changed:
            return [worker.pid for worker, _ in self._idle]

    def retain(self) -> Pool:
        """See `guest.Runner.retain`."""
        with self._changed:
            self._holders += 1
        return self

    def run(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        """See `guest.Runner.run`: in a worker, with the services of `guest`, which a later plan may have made anew."""
        waited = self._idle_or_none(deadline)
        worker, at = waited or self._become(deadline), deadline.at
        deadline.tighten(guest.limits.time)  # not before: waiting for a process is not part of the guest's time
        began = perf_counter()
        try:
            reply = worker.answer(guest, event, deadline)
        except Failure:
            self._give_back(worker)
            raise
        except WireError as error:
            exit_reason = self._drop(worker)
            if isinstance(error, NotGiven) and waited is not None:  # it ended while it waited, so no event is lost
                deadline.at = at
                return self.run(guest, event, deadline)
            cost = Cost(total=perf_counter() - began, began=began)
            raise self._failure(error, exit_reason, deadline, cost) from None
        except BaseException:
            self._drop(worker)
            raise
        self._give_back(worker)
        return reply

    def _failure(self, error: WireError, exit_reason: str, deadline: Deadline, cost: Cost) -> Failure:
        """What became of an event whose worker had to be ended."""
        name = self._config.name
        if isinstance(error, Overdue):
            if deadline.cancelled:
                return Failure(Reason.CANCELLED, "the caller hung up", name, cost)
            text = f"stopped at its deadline (time limit {self._config.limits.time:g} s)"
            return Failure(Reason.DEADLINE, text, name, cost)
        if isinstance(error, Ended):
            text = f"the process that the guest ran in ended during the event: {exit_reason}"
            return Failure(Reason.INTERNAL, text[:TEXT], name, cost)
        return Failure(Reason.INTERNAL, "the process that the guest ran in answered nonsense and was ended", name, cost)

    def _idle_or_none(self, deadline: Deadline) -> Worker | None:
        """A worker that waits for an event; None where another one may be taken from the stock.

        That one is counted already. Raises `Failure`.
        """
        with self._lock:
            if self._idle:
                return self._idle.popleft()[0]
        forget = deadline.on_cancel(self._look_again)
        end = monotonic() + START
        try:
            with self._changed:
                left = min(deadline.remaining(), end - monotonic())
                self._waiting += 1
                self._changed.wait_for(
                    lambda: self._idle or self._count < self._most or self._closed or deadline.cancelled, left
                )
                self._waiting -= 1
                if self._idle:
                    return self._idle.popleft()[0]
                if self._count < self._most and not self._closed:
                    self._count += 1
                    return None
        finally:
            forget()
        raise self._stock.gave_up(self._config.name, deadline)

    def _become(self, deadline: Deadline) -> Worker:
        """Make a worker of the stock one of the guest's; it was counted already. Raises `Failure`."""
        name, worker = self._config.name, None
        try:
            worker = self._stock.take(name, deadline)
            worker.become(self.setup)
        except BaseException as error:
            if worker is not None:
                worker.end()
            with self._changed:
                self._count -= 1
                self._changed.notify_all()
            if not isinstance(error, WorkerFault):
                raise
            _log.error("a worker process does not start", guest=name, error=str(error))
            text = f"no process for the guest is ready (the last did not start: {error})"
            raise Failure(Reason.FULL, text[:TEXT], name) from None
        _log.debug("a worker process is the guest's", guest=name, pid=worker.pid, lacking=worker.lacking)
        return worker

    def _look_again(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if not self._closed:
                self._idle.appendleft((worker, monotonic()))  # its memory is warm: it answers the next event
                if self._waiting:
                    self._changed.notify_all()
                return
        self._let_go(worker)

    def _let_go(self, worker: Worker) -> str:
        """End a worker; returns how it ended."""
        exit_reason = worker.end()
        with self._changed:
            self._count -= 1
            self._changed.notify_all()
        return exit_reason

    def _drop(self, worker: Worker) -> str:
        """End a worker that has failed, and say so in the log; returns how it ended."""
        exit_reason = self._let_go(worker)
        with self._changed:
            self.replaced.count += 1
        how = worker.last_words(exit_reason)
        _log.warning("a worker process ended and is replaced", guest=self._config.name, pid=worker.pid, how=how)
        return exit_reason

    def _sweep(self) -> None:
        """End workers that have been idle for long, replace those that died, and see that `least` are there."""
        limits, now = self._config, monotonic()
        with self._changed:
            over = [one for one in self._idle if not one[0].alive]
            spare = self._count - len(over) - limits.least
            for one in reversed(self._idle):  # beginning with the worker that has waited longest
                if spare <= 0 or now - one[1] < limits.idle:
                    break
                if one not in over:
                    over.append(one)
                    spare -= 1
            for one in over:
                self._idle.remove(one)
        for worker, _ in over:
            if worker.alive:
                self._let_go(worker)
            else:
                self._drop(worker)
        with contextlib.suppress(Failure):  # it is in the log, and the next sweep tries again
            self._fill()

    def _fill(self) -> None:
        """See that `least` workers are there. Raises `Failure`."""
        while True:
            with self._changed:
                if self._closed or self._count >= self._config.least:
                    return
                self._count += 1
            self._give_back(self._become(Deadline.after(START)))

    def close(self) -> None:
        """See `guest.Runner.close`. Workers that are at work end with their event. Closing twice is no error."""
        with self._changed:
            self._holders -= 1
            if self._holders > 0 or self._closed:
                return
            self._closed = True
            idle, self._idle = list(self._idle), deque()
        self._forget()
        for worker, _ in idle:
            self._let_go(worker)

"""The worker processes of one guest: taken from the stock when events come, ended when they were idle for long.

Whatever a worker does costs its own event at most: that fails, with a text that says so, and the next event has another
worker. A worker ends an event at its deadline itself where its engine can; one that does not is killed a moment later.
One process as such is `remote`'s matter, those that are no guest's yet are `stock`'s.
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
from guesthouse.guests.process.wire import Ended, WireError
from guesthouse.guests.sandbox import TEXT
from guesthouse_abi.deadline import Deadline

_log = structlog.get_logger("guesthouse.workers")


class Pool:
    """A `guest.Runner`: as many workers as the guest has events at once, and `least` of them always.

    For any number of threads, of which as many call as the guest has slots.
    """

    def __init__(
        self, config: GuestConfig, code: Code, granted: Granted, stock: Stock, replaced: Tally | None = None
    ) -> None:
        """Raises `OSError` where the compiled code cannot be opened."""
        self._config = config
        self._stock = stock
        self._most = max(config.limits.concurrency, config.least)
        self._changed = threading.Condition(threading.Lock())
        self._idle: deque[tuple[Worker, float]] = deque()  # and since when, by `monotonic`; the one used last first
        self._count = 0  # idle, at work, or about to be the guest's
        self._holders = 1
        self._closed = False
        self.replaced = replaced or Tally()
        self.setup = Setup(config, code.sha256, Artefact(code.artefact), granted)
        self._forget = stock.sweep(self._sweep)

    def wait(self) -> str:
        """Until `least` workers are there; returns why they are not. Whether the guest loads, `Stock.try_out` says."""
        try:
            self._fill()
        except Failure as failure:
            return failure.text
        return ""

    @property
    def pids(self) -> list[int]:
        """The processes that wait for an event."""
        with self._changed:
            return [worker.pid for worker, _ in self._idle]

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
        """A worker of the guest's. Raises `Failure`."""
        worker = self._idle_or_none(deadline)
        while worker is not None:
            if worker.alive:
                return worker
            self._drop(worker)  # ended while it waited: nothing was lost
            worker = self._idle_or_none(deadline)
        return self._become(deadline)

    def _idle_or_none(self, deadline: Deadline) -> Worker | None:
        """One that waits for an event; None where one more may be taken from the stock, which is counted then."""
        forget = deadline.on_cancel(self._look_again)
        end = monotonic() + START
        try:
            with self._changed:
                left = min(deadline.remaining(), end - monotonic())
                self._changed.wait_for(
                    lambda: self._idle or self._count < self._most or self._closed or deadline.cancelled, left
                )
                if self._idle:
                    return self._idle.popleft()[0]
                if self._count < self._most and not self._closed:
                    self._count += 1
                    return None
        finally:
            forget()
        raise self._stock.gave_up(self._config.name, deadline)

    def _become(self, deadline: Deadline) -> Worker:
        """A worker of the stock's as one of the guest's, which was counted already. Raises `Failure`."""
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
        with self._changed:
            if not self._closed:
                self._idle.appendleft((worker, monotonic()))  # the one whose memory is warm goes first
                self._changed.notify_all()
                return
        self._let_go(worker)

    def _let_go(self, worker: Worker) -> str:
        how = worker.end()
        with self._changed:
            self._count -= 1
            self._changed.notify_all()
        return how

    def _drop(self, worker: Worker) -> str:
        how = self._let_go(worker)
        with self._changed:
            self.replaced.count += 1
        said = worker.last_words(how)
        _log.warning("a worker process ended and is replaced", guest=self._config.name, pid=worker.pid, how=said)
        return how

    def _sweep(self) -> None:
        """End workers that were idle for long, let go of those that ended, and see that `least` are there."""
        limits, now = self._config, monotonic()
        with self._changed:
            over = [one for one in self._idle if not one[0].alive]
            spare = self._count - len(over) - limits.least
            for one in reversed(self._idle):  # the one that has waited longest first
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
        with contextlib.suppress(Failure):  # it was logged, and is tried again with the next look
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
        """See `guest.Runner.close`: also those at work end, for nobody waits. Closing twice is no error."""
        with self._changed:
            self._holders -= 1
            if self._holders > 0 or self._closed:
                return
            self._closed = True
            idle, self._idle = list(self._idle), deque()
        self._forget()
        for worker, _ in idle:
            self._let_go(worker)

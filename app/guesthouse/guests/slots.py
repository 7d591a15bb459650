"""Admission to one guest: how many events it answers at once, how many wait in order of arrival, who is refused."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic

from guesthouse.event import Failure, Reason
from guesthouse_abi.deadline import Deadline


class _Waiter:
    __slots__ = ("granted", "signal")

    def __init__(self) -> None:
        self.granted = False
        self.signal = threading.Event()


class Slots:
    """Takes `limit` events at once; `queue` more may wait, for `wait` seconds each. For any number of threads."""

    def __init__(self, guest: str, limit: int, queue: int, wait: float) -> None:
        self._guest = guest
        self.limit = limit
        self.queue = queue
        self._wait = wait
        self._lock = threading.Lock()
        self._free = limit
        self._waiters: deque[_Waiter] = deque()

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.limit - self._free

    @property
    def queued(self) -> int:
        """Callers waiting."""
        return len(self._waiters)

    def acquire(self, deadline: Deadline) -> float:
        """Take a slot, waiting for one if need be; returns the seconds waited.

        Raises `Failure`: FULL when the queue is full or the wait was too long, DEADLINE, CANCELLED.
        """
        with self._lock:
            if self._free > 0 and not self._waiters:
                self._free -= 1
                return 0.0
            if len(self._waiters) >= self.queue:
                waiting = f"{len(self._waiters)} callers wait already (queue {self.queue})"
                raise Failure(Reason.FULL, f"all {self.limit} slots are busy and {waiting}", self._guest)
            waiter = _Waiter()
            self._waiters.append(waiter)
        began = monotonic()
        forget = deadline.on_cancel(waiter.signal.set)
        try:
            waiter.signal.wait(min(self._wait, deadline.remaining()))
        finally:
            forget()
        with self._lock:
            if not waiter.granted:
                self._waiters.remove(waiter)
        if waiter.granted and not deadline.over:
            return monotonic() - began
        if waiter.granted:
            self.release()
        raise self._gave_up(deadline)

    def _gave_up(self, deadline: Deadline) -> Failure:
        """Why a caller that waited got no slot."""
        if deadline.cancelled:
            return Failure(Reason.CANCELLED, "the caller hung up while it waited for a slot", self._guest)
        if deadline.over:
            return Failure(Reason.DEADLINE, "the deadline passed while the event waited for a slot", self._guest)
        return Failure(Reason.FULL, f"no slot became free within queue_wait ({self._wait:g} s)", self._guest)

    def release(self) -> None:
        """Give a slot back. If callers wait, the one that has waited longest gets it."""
        with self._lock:
            self._free += 1
            granted = self._grant()
        for waiter in granted:
            waiter.signal.set()

    def resize(self, limit: int, queue: int, wait: float) -> None:
        """Set other limits. Events keep the slots that they have. Callers that wait now go by the old `wait`."""
        with self._lock:
            self._free += limit - self.limit
            self.limit, self.queue, self._wait = limit, queue, wait
            granted = self._grant()
        for waiter in granted:
            waiter.signal.set()

    def _grant(self) -> list[_Waiter]:
        """Hand the free slots to the callers that have waited longest, and return these.

        After a resize to fewer slots than are taken, `_free` is negative: then nobody gets one.
        """
        granted = []
        while self._free > 0 and self._waiters:
            self._free -= 1
            granted.append(self._waiters.popleft())
            granted[-1].granted = True
        return granted

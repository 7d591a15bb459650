"""How many events may be inside one transport at once; none any more when it drains.

Guests have slots and queues of their own. This bound is for the threads of a server, whose number is finite: an event
holds a thread from start to end, also while its reply is handed on, and health probes must always find a free one.
"""

from __future__ import annotations

import threading

from guesthouse.event import Failure, Reason


class Admission:
    """Counts the events in flight; `capacity` is the most at a time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._in_flight = 0
        self._closed = False
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)

    def enter(self) -> None:
        """Take a place; `leave` gives it back. Raises `Failure` (`FULL`, `DRAINING`) at once when there is none."""
        with self._lock:
            if self._closed:
                raise Failure(Reason.DRAINING, "the application is shutting down; send the event again later")
            if self._in_flight >= self._capacity:
                raise Failure(Reason.FULL, f"the application is busy with {self._in_flight} events; try again later")
            self._in_flight += 1

    def leave(self) -> None:
        """Give the place back."""
        with self._lock:
            self._in_flight -= 1
            if self._closed and not self._in_flight:
                self._empty.notify_all()

    def close(self, seconds: float) -> bool:
        """Let no event in any more and wait up to `seconds` for those in flight. Returns whether all have left."""
        with self._lock:
            self._closed = True
            return self._empty.wait_for(lambda: not self._in_flight, seconds)

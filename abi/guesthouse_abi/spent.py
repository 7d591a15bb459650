"""What one event spent in the services of its host: seconds by capability, and the first of its calls.

An import module notes a call when it is over. What is noted is part of what the event cost: the log, metrics and traces
have it by the capability's name, and nothing there needs to know the capability.
"""

from __future__ import annotations

from time import perf_counter
from types import TracebackType
from typing import NamedTuple

CALLS = 32  # of one event that are kept; the time of all of them is counted


class Call(NamedTuple):
    """One call of a service: which capability, what was called (a model's name, say), begin and end.

    The last two are seconds of `time.perf_counter`.
    """

    capability: str
    subject: str
    began: float
    ended: float


class Spent:
    """What one event has spent so far. Used by one thread at a time."""

    __slots__ = ("calls", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: list[Call] = []

    def timed(self, capability: str, subject: str) -> Timed:
        """Note a call that is made inside `with`, however it ends."""
        return Timed(self, capability, subject)

    def add(self, capability: str, subject: str, began: float, ended: float) -> None:
        """Note a call that is over."""
        self.seconds[capability] = self.seconds.get(capability, 0.0) + ended - began
        if len(self.calls) < CALLS:
            self.calls.append(Call(capability, subject, began, ended))


class Timed:
    """A call that is being made: see `Spent.timed`."""

    __slots__ = ("_began", "_capability", "_spent", "_subject")

    def __init__(self, spent: Spent, capability: str, subject: str) -> None:
        self._spent = spent
        self._capability = capability
        self._subject = subject
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._spent.add(self._capability, self._subject, self._began, perf_counter())


#: Of an event that called nothing. Never added to.
NOTHING = Spent()

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
    """One call of a service: which capability, what was called (a model's name, say), begin and end, and how it ended.

    Begin and end are seconds of `time.perf_counter`. `status` is a word of the capability's, empty where it has none.
    """

    capability: str
    subject: str
    began: float
    ended: float
    status: str = ""


class Spent:
    """What one event has spent so far. Used by one thread at a time."""

    __slots__ = ("calls", "durations", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: list[Call] = []
        self.durations: dict[tuple[str, str, str], list[float]] = {}
        """How long calls with a status took, all of them: by capability, subject and status."""

    def timed(self, capability: str, subject: str) -> Timed:
        """Note a call that is made inside `with`, however it ends."""
        return Timed(self, capability, subject)

    def add(self, capability: str, subject: str, began: float, ended: float) -> None:
        """Note a call that is over, during which the guest waited."""
        self.wait(capability, ended - began)
        self.note(Call(capability, subject, began, ended))

    def wait(self, capability: str, seconds: float) -> None:
        """Note that the guest waited for the capability."""
        self.seconds[capability] = self.seconds.get(capability, 0.0) + seconds

    def note(self, call: Call) -> None:
        """Note a call that is over. Calls may overlap, so how long the guest waited for them is told by `wait`."""
        if len(self.calls) < CALLS:
            self.calls.append(call)
        if call.status:
            kind = (call.capability, call.subject, call.status)
            self.durations.setdefault(kind, []).append(call.ended - call.began)


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

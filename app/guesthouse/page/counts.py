"""What the page shows of a guest: how many events it answered, how fast, and why others failed.

`Counts` hears of every event (`event.Observer`) and keeps a bounded amount of each guest, whatever comes: totals,
failures by reason, its calls to the sidecar, and two counters and a histogram for each of the last `STEPS` steps of
time. Who may ask is decided in `methods`.
"""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from guesthouse.event import Cost, Event, Failure, Reply
from guesthouse.page import Json
from guesthouse.page.calls import Calls
from guesthouse_abi.calls import CAPABILITY

STEP = 5.0  # seconds
STEPS = 60
TEXT_BYTES = 2048  # of an event, of its reply, or of a failure
PARTS = ("queued", "guest", "host", "inference", CAPABILITY)
"""The parts of an event's time, as `Cost.times` names them: the last are calls to the sidecar."""

# Latencies are counted in bins, eight for each doubling from 0.1 ms on: a percentile is right within 5 %.
_FIRST, _PER_DOUBLING, _BINS = 1e-4, 8, 168


class Counts:
    """See `event.Observer`. For any number of threads. `clock` never goes back, `wall` is the time of day."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._guests: dict[str, _Guest] = {}

    def answered(self, event: Event, reply: Reply) -> None:
        """Count the event for the guest that answered it."""
        with self._lock:
            guest = self._guests.get(reply.guest) or self._of(reply.guest)
            guest.answered(int(self._clock() / STEP), reply.cost)

    def failed(self, event: Event, failure: Failure) -> None:
        """Count the failure. One without a guest failed before its route was found."""
        with self._lock:
            self._of(failure.guest).failed(self._step(), failure, self._wall())

    def summary(self, guest: str) -> dict[str, Json]:
        """What one guest has answered: since the start, and in the last `STEPS` steps of `STEP` seconds."""
        with self._lock:
            return self._of(guest).summary(self._step())

    def details(self, guest: str) -> dict[str, Json]:
        """What is kept of one guest besides: failures by reason, calls to the sidecar by method and by how they ended,
        and the most memory that an event took."""
        with self._lock:
            return self._of(guest).details()

    @property
    def unrouted(self) -> int:
        """Events for which no guest was found."""
        with self._lock:
            return self._guests[""].failures if "" in self._guests else 0

    def _of(self, guest: str) -> _Guest:
        return self._guests.get(guest) or self._guests.setdefault(guest, _Guest())

    def _step(self) -> int:
        return int(self._clock() / STEP)


class _Step:
    """What one guest answered in one step of time."""

    __slots__ = ("bins", "calls", "failures", "number", "sums")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = 0
        self.failures = 0
        self.bins = array("I", bytes(4 * _BINS))
        self.sums = [0.0] * len(PARTS)


class _Failures(NamedTuple):
    """One guest's failures of one reason: how many, and the last of them."""

    number: int
    text: str
    at: float


class _Guest:
    """What is counted of one guest."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self._reasons: dict[str, _Failures] = {}  # no more than there are reasons
        self._last: dict[str, Json] | None = None
        self._memory = 0  # the most of any event
        self._host_memory = 0
        self._calls = Calls()
        self._steps: deque[_Step] = deque(maxlen=STEPS)

    def answered(self, now: int, cost: Cost) -> None:
        self.calls += 1
        step = self._at(now)
        step.calls += 1
        self._measured(step, cost)

    def failed(self, now: int, failure: Failure, at: float) -> None:
        self.calls += 1
        self.failures += 1
        reason, text = failure.reason.value, failure.text[:TEXT_BYTES]
        self._last = {"reason": reason, "text": text, "at": round(at, 3)}
        old = self._reasons.get(reason)
        self._reasons[reason] = _Failures((old.number if old is not None else 0) + 1, text, at)
        step = self._at(now)
        step.calls += 1
        step.failures += 1
        if failure.cost is not None:
            self._measured(step, failure.cost)

    def _at(self, now: int) -> _Step:
        if not self._steps or self._steps[-1].number != now:
            self._steps.append(_Step(now))
        return self._steps[-1]

    def _measured(self, step: _Step, cost: Cost) -> None:
        self._memory = max(self._memory, cost.memory)
        self._host_memory = max(self._host_memory, cost.host_memory)
        step.bins[_bin(cost.queued + cost.total)] += 1
        times = cost.times()
        for index, name in enumerate(PARTS):
            step.sums[index] += times.get(name, 0.0)
        self._calls.add(cost.durations)

    def summary(self, now: int) -> dict[str, Json]:
        steps = {step.number: step for step in self._steps if step.number > now - STEPS}
        series = [steps.get(number) for number in range(now - STEPS + 1, now + 1)]
        kept = list(steps.values())
        bins = [sum(column) for column in zip(*(step.bins for step in kept), strict=True)] if kept else []
        measured = sum(bins)
        means = [sum(step.sums[index] for step in kept) / measured if measured else 0.0 for index in range(len(PARTS))]
        return {
            "calls": self.calls,
            "failures": self.failures,
            "reasons": {reason: kept.number for reason, kept in self._reasons.items()},
            "last_failure": self._last,
            "sidecar": self._calls.by_block(),
            "window": {
                "calls": sum(step.calls for step in kept),
                "failures": sum(step.failures for step in kept),
                "latency": {name: percentile(bins, part) for name, part in _PERCENTILES.items()},
                "mean": {name: _ms(mean) for name, mean in zip(PARTS, means, strict=True)},
            },
            "series": {
                "calls": [step.calls if step else 0 for step in series],
                "failures": [step.failures if step else 0 for step in series],
                **{
                    name: [percentile(step.bins, part) if step else None for step in series]
                    for name, part in _PERCENTILES.items()
                    if name != "p99"
                },
            },
        }

    def details(self) -> dict[str, Json]:
        return {
            "failed": [
                {"reason": reason, "count": kept.number, "text": kept.text, "at": round(kept.at, 3)}
                for reason, kept in sorted(self._reasons.items(), key=lambda item: -item[1].number)
            ],
            "sidecar_calls": self._calls.by_status(),
            "peak": {"memory": self._memory, "host_memory": self._host_memory},
        }


_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _bin(seconds: float) -> int:
    if seconds <= _FIRST:
        return 0
    return min(_BINS - 1, int(math.log2(seconds / _FIRST) * _PER_DOUBLING))


def percentile(bins: Sequence[int], part: float) -> float | None:
    """The latency in milliseconds that `part` of the events in `bins` did not exceed; None without any event."""
    left = part * sum(bins)
    if not left:
        return None
    for index, count in enumerate(bins):
        left -= count
        if count and left <= 1e-9:
            return _ms(_FIRST * 2 ** ((index + 0.5) / _PER_DOUBLING))
    raise AssertionError("a part of the events is larger than all of them")


def milliseconds(cost: Cost) -> dict[str, Json]:
    """The times of a cost in milliseconds, by the names of its parts."""
    return {name: _ms(seconds) for name, seconds in cost.times().items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)

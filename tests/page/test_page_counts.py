"""What the host counts of each guest for the page: calls, failures by reason, and percentiles, all of it bounded."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.event import Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.page import counts as module
from guesthouse.page.counts import STEP, STEPS, TEXT_BYTES, Counts, percentile
from tests.support.waiting import join


class Time:
    """A clock that stands still unless it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def counts(clock: Time) -> Counts:
    return Counts(clock=clock, wall=lambda: 1234.5)


# The answers are JSON, which the page takes apart by its names, and so do the tests.


def summary(counts: Counts, guest: str) -> Any:
    return counts.summary(guest)


def details(counts: Counts, guest: str) -> Any:
    return counts.details(guest)


def reply(total: float = 0.01, *, memory: int = 0, host_memory: int = 0, **parts: Any) -> Reply:
    cost = replace(Cost(total=total, memory=memory, host_memory=host_memory), **parts)
    return Reply(b"{}", "application/json", "classify", cost)


def test_counts_have_the_window_and_the_last_failure(counts: Counts, clock: Time):
    for total in (0.010, 0.010, 0.010, 0.200):
        counts.answered(Event(Trigger.INVOKE, "m"), reply(total, guest=0.002, spent={"inference": total - 0.004}))
    clock.now += 2 * STEP
    counts.failed(Event(Trigger.INVOKE, "m"), Failure(Reason.FULL, "busy", "classify"))
    found = summary(counts, "classify")
    assert (found["calls"], found["failures"], found["reasons"]) == (5, 1, {"FULL": 1})
    assert found["last_failure"] == {"reason": "FULL", "text": "busy", "at": 1234.5}
    assert (found["window"]["calls"], found["window"]["failures"]) == (5, 1)
    assert found["window"]["latency"]["p50"] == pytest.approx(10, rel=0.05)
    assert found["window"]["latency"]["p99"] == pytest.approx(200, rel=0.05)
    assert found["window"]["mean"]["guest"] == pytest.approx(2)
    assert found["series"]["calls"][-3:] == [4, 0, 1]
    assert found["series"]["failures"][-3:] == [0, 0, 1]
    assert found["series"]["p50"][-2:] == [None, None]
    assert len(found["series"]["calls"]) == STEPS


def test_failures_are_kept_by_reason_with_the_last_of_each_and_the_most_memory(counts: Counts):
    event = Event(Trigger.INVOKE, "m")
    counts.answered(event, reply(memory=5, host_memory=9))
    for text in ("x" * 9000, "no photo"):
        counts.failed(event, Failure(Reason.GUEST, text, "classify", Cost(memory=7)))
    counts.failed(event, Failure(Reason.FULL, "x" * 9000, "classify"))
    found = details(counts, "classify")
    assert found["peak"] == {"memory": 7, "host_memory": 9}
    guest, full = found["failed"]
    assert guest == {"reason": "GUEST", "count": 2, "text": "no photo", "at": 1234.5}
    assert (full["reason"], full["count"], len(full["text"])) == ("FULL", 1, TEXT_BYTES)


def test_calls_to_the_sidecar_are_counted_whether_the_event_failed_or_not(counts: Counts):
    event, durations = Event(Trigger.INVOKE, "m"), {("dapr", "GetState", "OK"): [0.002]}
    counts.answered(event, reply(spent={"dapr": 0.002}, durations=durations))
    counts.failed(event, Failure(Reason.GUEST, "no", "classify", Cost(spent={"dapr": 0.004}, durations=durations)))
    found = summary(counts, "classify")
    assert found["sidecar"] == [{"block": "state", "count": 2, "ms": 4.0, "failed": 0}]
    assert found["window"]["mean"]["dapr"] == pytest.approx(3)
    assert details(counts, "classify")["sidecar_calls"] == [
        {"block": "state", "method": "GetState", "status": "OK", "count": 2, "ms": 4.0}
    ]
    assert summary(counts, "another")["sidecar"] == []


def test_what_is_older_than_the_window_counts_no_more(counts: Counts, clock: Time):
    counts.answered(Event(Trigger.INVOKE, "m"), reply())
    clock.now += STEP * STEPS
    found = summary(counts, "classify")
    assert found["calls"] == 1
    assert (found["window"]["calls"], found["window"]["latency"]["p50"]) == (0, None)
    assert sum(found["series"]["calls"]) == 0


def test_events_without_a_guest_are_unrouted(counts: Counts):
    assert counts.unrouted == 0
    counts.failed(Event(Trigger.INVOKE, "nothing"), Failure(Reason.NOT_FOUND, "no guest"))
    assert counts.unrouted == 1


@given(st.lists(st.floats(1e-4, 60), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_within_five_per_cent(seconds: list[float], part: float):
    bins = [0] * module._BINS
    for one in seconds:
        bins[module._bin(one)] += 1
    wanted = sorted(seconds)[max(0, -int(-part * len(seconds) // 1) - 1)]
    assert percentile(bins, part) == pytest.approx(wanted * 1000, rel=0.05)


@given(st.floats(0, 1e9))
def test_every_latency_has_a_bin(seconds: float):
    assert 0 <= module._bin(seconds) < module._BINS


def test_many_threads_may_count(counts: Counts):
    def count() -> None:
        for _ in range(200):
            counts.answered(Event(Trigger.BINDING, "camera"), reply())

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert summary(counts, "classify")["calls"] == 800

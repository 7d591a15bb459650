"""Metrics, read over HTTP from a served application after real events."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import HistogramMetricFamily

from guesthouse import __version__
from guesthouse.event import Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.observe.metrics import Histogram, Metrics
from guesthouse.plan.current import Plans
from tests.observe.watched import Watched
from tests.support.waiting import until

PARTS = ("event", "event_queued", "event_guest", "event_host", "event_inference")


def invoke(app: Watched, method: str, body: bytes = b"") -> bytes:
    return app.client.send(Event(Trigger.INVOKE, method, body), timeout=60).body


def test_everything_is_there_before_anything_has_happened(app: Watched):
    found = app.scrape()
    assert found("guesthouse_events_total", guest="echo", trigger="invoke") == 0
    assert found("guesthouse_events_total", guest="traps", trigger="job") == 0
    assert found("guesthouse_failures_total", guest="echo", trigger="topic", reason="DEADLINE") == 0
    assert found("guesthouse_event_seconds_count", guest="echo", trigger="binding") == 0
    assert found("guesthouse_model_run_seconds_count", model="person") == 0
    assert found("guesthouse_slots_limit", guest="loops") == 1
    assert found("guesthouse_queue_limit", guest="loops") == 3
    assert found("guesthouse_model_memory_bytes", model="person") >= 0
    assert found("guesthouse_log_lines_dropped_total", guest="echo") == 0
    assert found("guesthouse_code_compiles_total") + found("guesthouse_code_cache_hits_total") == 5
    assert found("guesthouse_build_info", version=__version__) == 1
    assert found("process_resident_memory_bytes") > 2**20


def test_events_are_counted_by_guest_and_trigger_and_failures_by_reason(app: Watched):
    for _ in range(3):
        invoke(app, "echo", b"x")
    app.client.send(Event(Trigger.BINDING, "timer", b"x"), timeout=60)
    for reason, send in (("TRAP", lambda: invoke(app, "traps")), ("NOT_FOUND", lambda: invoke(app, "nobody"))):
        with pytest.raises(Failure) as failed:
            send()
        assert failed.value.reason.value == reason
    found = app.scrape()
    assert found("guesthouse_events_total", guest="echo", trigger="invoke") == 3
    assert found("guesthouse_events_total", guest="echo", trigger="binding") == 1
    assert found("guesthouse_events_total", guest="traps", trigger="invoke") == 1
    assert found("guesthouse_failures_total", guest="traps", trigger="invoke", reason="TRAP") == 1
    assert found("guesthouse_failures_total", guest="", trigger="invoke", reason="NOT_FOUND") == 1
    failures = (value for (name, _), value in found.values.items() if name == "guesthouse_failures_total")
    assert sum(failures) == 2
    for part in PARTS:
        assert found(f"guesthouse_{part}_seconds_count", guest="echo", trigger="invoke") == 3
        assert found(f"guesthouse_{part}_seconds_count", guest="traps", trigger="invoke") == 1
        assert found(f"guesthouse_{part}_seconds_count", guest="", trigger="invoke") == 0
    assert found("guesthouse_event_seconds_sum", guest="echo", trigger="invoke") > 0
    assert found("guesthouse_guest_memory_bytes_sum", guest="traps", trigger="invoke") == 3 * 65536


def test_runs_of_models_are_measured_with_the_size_of_their_batches(app: Watched, photos, monkeypatch):
    photo = (photos / "coffee.png").read_bytes()
    batcher = app.plan.models.models[0]._batcher
    assert batcher is not None
    run, first = batcher._run, threading.Lock()

    def run_when_others_wait(inputs: Any, *arguments: Any) -> Any:
        if first.acquire(blocking=False):  # however slow the machine is, the callers meet
            others = 4 - len(next(iter(inputs.values())))  # some may have come into the first run already
            until(lambda: len(batcher._waiting) >= others)
            with batcher._changed:
                batcher._delay = 0.0
                batcher._changed.notify_all()
        return run(inputs, *arguments)

    monkeypatch.setattr(batcher, "_run", run_when_others_wait)
    monkeypatch.setattr(batcher, "_delay", 60.0)
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda _: invoke(app, "person", photo), range(8)))
    found = app.scrape()
    runs = found("guesthouse_model_run_rows_count", model="person")
    assert 1 <= runs < 8
    assert found("guesthouse_model_run_rows_sum", model="person") == 8
    assert found("guesthouse_model_run_seconds_count", model="person") == runs
    assert found("guesthouse_model_run_seconds_sum", model="person") > 0
    assert found("guesthouse_event_inference_seconds_sum", guest="person", trigger="invoke") > 0
    assert found("guesthouse_host_memory_bytes_sum", guest="person", trigger="invoke") > 8 * 96 * 96


def test_slots_and_queue_are_read_when_they_are_asked_for(app: Watched):
    slots = app.plan.guests["loops"].slots
    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(app.client.send, Event(Trigger.INVOKE, "loops"), 60) for _ in range(2)]
        try:
            until(lambda: slots.busy and slots.queued)
            found = app.scrape()
            assert app.get("/readyz") == (200, "ok\n")
        finally:
            app.client.close()  # its callers hang up
        assert all(isinstance(one.exception(60), Failure) for one in calls)
    assert found("guesthouse_slots_busy", guest="loops") == 1
    assert found("guesthouse_queue_length", guest="loops") == 1
    until(lambda: not slots.busy)
    assert app.scrape()("guesthouse_slots_busy", guest="loops") == 0


def test_callers_make_no_series(app: Watched):
    def send(trigger: Trigger, name: str) -> None:
        with pytest.raises(Failure):
            app.client.send(Event(trigger, name), timeout=60)

    triggers = (Trigger.INVOKE, Trigger.BINDING, Trigger.JOB)
    for trigger in triggers:
        send(trigger, "first")
    before = app.scrape()
    for number in range(20):
        for trigger in triggers:
            send(trigger, f'nobody"\n{{{number}')
    after = app.scrape()
    assert after.values.keys() == before.values.keys()
    assert after("guesthouse_events_total", guest="", trigger="invoke") == 21


def test_a_guest_that_the_manifest_has_not_makes_no_series(app: Watched):
    metrics = Metrics(Plans(app.plan))
    for name in ("stranger", "other"):
        metrics.answered(Event(Trigger.TOPIC, "p/t"), Reply(b"", guest=name))
        metrics.failed(Event(Trigger.TOPIC, "p/t"), Failure(Reason.GUEST, "no", name))
    (events,) = (family for family in metrics.collect() if family.name == "guesthouse_events")
    counted = {(s.labels["guest"], s.labels["trigger"]): s.value for s in events.samples}
    assert counted[("", "topic")] == 4
    assert {guest for guest, _ in counted} <= {"", *app.plan.guests}


def test_threads_lose_no_count(app: Watched):
    metrics = Metrics(Plans(app.plan))
    event, reply = Event(Trigger.INVOKE, "echo"), Reply(b"", guest="echo", cost=Cost(total=0.001))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: metrics.answered(event, reply), range(2000)))
    (seconds,) = (family for family in metrics.collect() if family.name == "guesthouse_event_seconds")
    labels = {"guest": "echo", "trigger": "invoke"}
    assert [s.value for s in seconds.samples if s.name.endswith("_count") and s.labels == labels] == [2000]


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_what_lies_up_to_each_bound(values):
    bounds = (0.5, 1.0, 10.0)
    histogram = Histogram(bounds)
    for value in values:
        histogram.add(value)
    family = HistogramMetricFamily("x", "", labels=["l"])
    histogram.add_to(family, ["a"])
    found = {s.labels["le"]: s.value for s in family.samples if s.name == "x_bucket"}
    assert found == {**{str(b): sum(v <= b for v in values) for b in bounds}, "+Inf": len(values)}
    (total,) = (s.value for s in family.samples if s.name == "x_sum")
    assert total == pytest.approx(sum(values))

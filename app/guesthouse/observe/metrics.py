"""Metrics for Prometheus: events and runs of models are counted as they end; all else is read at each scrape.

Every value of a label comes from the manifest or from an enumeration, so that no caller can make new series. How
metrics are served is in `probes`.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from guesthouse import __version__
from guesthouse.engine import version_of
from guesthouse.event import ACTOR_TRIGGERS, Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.guest import Guest
from guesthouse.guests.log import GuestLog
from guesthouse.inference import session
from guesthouse.manifest import Manifest
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse.plan.reload import ReloadOutcome
from guesthouse_abi.services import Log

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BYTES = tuple(65536.0 * 4**power for power in range(9))  # 64 KiB to 4 GiB
ROWS = tuple(2.0**power for power in range(9))

# The parts of a `Cost`: name, help text, bounds of the histogram, and the value.
_PARTS: tuple[tuple[str, str, Sequence[float], Callable[[Cost], float]], ...] = (
    ("event_seconds", "Waiting for a slot, and in it.", SECONDS, lambda cost: cost.queued + cost.total),
    ("event_queued_seconds", "Waiting for a slot.", SECONDS, lambda cost: cost.queued),
    ("event_guest_seconds", "In the guest's own code and the engine's.", SECONDS, lambda cost: cost.guest),
    ("event_host_seconds", "In host functions, without capabilities.", SECONDS, lambda cost: cost.host),
    ("event_inference_seconds", "In models, waiting for a batch included.", SECONDS, lambda cost: cost.inference),
    ("guest_memory_bytes", "The guest's linear memory when it ended.", BYTES, lambda cost: cost.memory),
    ("host_memory_bytes", "The most that the host held for the event.", BYTES, lambda cost: cost.host_memory),
)
_EVENT = ("guest", "trigger")


class Histogram:
    """How many values are at most each of `bounds`, and the sum of all. For one thread at a time."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add the counts in Prometheus's way: a bucket includes the buckets before it, the last one has all values."""
        bounds = [*map(str, self.bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(self.counts), strict=True)), self.sum)


class _Series:
    """The events of one guest by one trigger."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.events = 0
        self.failures = dict.fromkeys(Reason, 0)
        self.parts = [Histogram(bounds) for _, _, bounds, _ in _PARTS]
        self.spent: dict[str, Histogram] = {}  # by capability: no more than there are
        self.calls: dict[tuple[str, str, str], Histogram] = {}  # by capability, method and status: the same

    def count(self, cost: Cost | None, reason: Reason | None) -> None:
        with self.lock:
            self.events += 1
            if reason is not None:
                self.failures[reason] += 1
            if cost is not None:
                for histogram, (_, _, _, value) in zip(self.parts, _PARTS, strict=True):
                    histogram.add(value(cost))
                for capability, seconds in cost.spent.items():
                    if capability not in self.spent:
                        self.spent[capability] = Histogram(SECONDS)
                    self.spent[capability].add(seconds)
                for kind, durations in cost.durations.items():
                    if kind not in self.calls:
                        self.calls[kind] = Histogram(SECONDS)
                    for seconds in durations:
                        self.calls[kind].add(seconds)


class _Runs:
    """What one model's runs came to: `inference.model.Observe`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seconds = Histogram(SECONDS)
        self.rows = Histogram(ROWS)

    def __call__(self, rows: int, seconds: float) -> None:
        with self.lock:
            self.seconds.add(seconds)
            self.rows.add(rows)


class _Turns:
    """The turns of one type of actors. Activations and deactivations are turns, too."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.turns = dict.fromkeys(sorted(ACTOR_TRIGGERS), 0)
        self.failures = dict.fromkeys(Reason, 0)
        self.seconds = Histogram(SECONDS)
        self.read = self.saved = 0  # bytes of state

    def count(self, event: Event, cost: Cost | None, reason: Reason | None) -> None:
        state = event.actor.state if event.actor is not None else None
        with self.lock:
            self.turns[event.trigger] += 1
            if reason is not None:
                self.failures[reason] += 1
            if cost is not None:
                self.seconds.add(cost.queued + cost.total)
            if state is not None:
                self.read += state.read_bytes
                self.saved += state.saved_bytes


class HostedActors(Protocol):
    """What a host of actors says of itself."""

    @property
    def open(self) -> bool:
        """Whether the sidecar has the types now."""

    @property
    def active(self) -> Mapping[str, int]:
        """Actors that are active now, by type."""

    @property
    def activated(self) -> Mapping[str, int]:
        """Actors that became active, by type."""


class Metrics(Collector):
    """An `event.Observer` that counts for Prometheus. For any number of threads."""

    def __init__(
        self,
        plans: Plans,
        topics: Callable[[], Mapping[str, bool]] = dict,
        actors: Callable[[], HostedActors | None] = lambda: None,
    ) -> None:
        """`topics` gives for each topic whether the sidecar has subscribed to it, as far as that is known. `actors` is
        what hosts actors."""
        self._plans = plans
        self._topics = topics
        self._actors = actors
        self._turns: dict[str, _Turns] = {}
        self._lock = threading.Lock()
        self._series: dict[tuple[str, Trigger], _Series] = {}
        self._runs: dict[str, _Runs] = {}
        self._guests_known: set[str] = set()
        self._loads = {True: 0, False: 0}  # guests, by whether they had to be compiled
        self._reloads = dict.fromkeys(ReloadOutcome, 0)
        self._reloaded = time.time()
        self._last = ReloadOutcome.DONE
        plans.subscribe(self._begin)

    def _begin(self, plan: Plan, before: Plan | None) -> None:
        """Begin to count for a plan. Earlier counts stay, also of guests and models that the plan does not have."""
        loaded = {id(guest.code.module) for guest in before.guests.values()} if before is not None else set()
        with self._lock:
            for pair in _routed(plan.manifest):
                self._series.setdefault(pair, _Series())
            for actor in plan.manifest.actor:
                self._turns.setdefault(actor.type, _Turns())
            for guest in plan.guests.values():
                self._guests_known.add(guest.name)
                if id(guest.code.module) not in loaded:
                    self._loads[guest.code.compiled] += 1
        for model in plan.models.models:
            model.observe = self._runs.setdefault(model.name, _Runs())

    def reloaded(self, outcome: ReloadOutcome, _why: str = "") -> None:
        """A reload has ended."""
        with self._lock:
            self._reloads[outcome] += 1
            self._last = outcome
            if outcome is ReloadOutcome.DONE:
                self._reloaded = time.time()

    def registry(self) -> CollectorRegistry:
        """All metrics that are served: these and those of the process (`process_…`)."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return registry

    # ---- in the event's thread ----

    def answered(self, event: Event, reply: Reply) -> None:
        """See `event.Observer`."""
        self._of(reply.guest, event.trigger).count(reply.cost, None)
        if (turns := self._turns_of(event)) is not None:
            turns.count(event, reply.cost, None)

    def failed(self, event: Event, failure: Failure) -> None:
        """See `event.Observer`. An event for which no guest was found has an empty `guest`."""
        self._of(failure.guest, event.trigger).count(failure.cost, failure.reason)
        if (turns := self._turns_of(event)) is not None:
            turns.count(event, failure.cost, failure.reason)

    def _of(self, guest: str, trigger: Trigger) -> _Series:
        found = self._series.get((guest, trigger))
        if found is None:  # seldom: the manifest has no route for this guest and trigger
            with self._lock:
                known = guest if guest in self._guests_known else ""
                found = self._series.setdefault((known, trigger), _Series())
        return found

    def _turns_of(self, event: Event) -> _Turns | None:
        """Where the event is counted by its actor's type; None for events that are no turns, and for unknown types."""
        return self._turns.get(event.name) if event.trigger in ACTOR_TRIGGERS else None

    # ---- when it is asked for ----

    def collect(self) -> Iterator[Metric]:
        """All metrics, with a series for each guest or model, also where nothing was counted yet.

        Two metrics have no series until an event has called the capability that the series names.
        """
        yield from self._events()
        yield from self._guests()
        yield from self._of_actors()
        yield from self._models()
        yield CounterMetricFamily(
            "guesthouse_code_compiles", "Guests compiled when they were loaded.", self._loads[True]
        )
        hits = self._loads[False]
        yield CounterMetricFamily("guesthouse_code_cache_hits", "Guests whose code was in the cache.", hits)
        subscribed = GaugeMetricFamily(
            "guesthouse_topic_subscribed", "Whether the sidecar has subscribed to it.", labels=["topic"]
        )
        for topic, known in self._topics().items():
            subscribed.add_metric([topic], float(known))
        yield subscribed
        yield from self._of_reloads()
        engine = version_of(self._plans.now.manifest.engine.name)
        versions = {"version": __version__, "engine": engine, "onnxruntime": session.VERSION}
        yield InfoMetricFamily("guesthouse_build", "What runs here.", versions)

    def _events(self) -> Iterator[Metric]:
        events = CounterMetricFamily("guesthouse_events", "Events that ended, well or not.", labels=_EVENT)
        failures = CounterMetricFamily("guesthouse_failures", "Events that failed.", labels=(*_EVENT, "reason"))
        parts = [HistogramMetricFamily(f"guesthouse_{name}", text, labels=_EVENT) for name, text, _, _ in _PARTS]
        spent = HistogramMetricFamily(
            "guesthouse_event_capability_seconds",
            "In what the guest called of the host's, inference included, for events that did.",
            labels=(*_EVENT, "capability"),
        )
        calls = HistogramMetricFamily(
            "guesthouse_call_seconds",
            "Calls that guests made to the sidecar, by method and by how they ended.",
            labels=(*_EVENT, "capability", "method", "status"),
        )
        with self._lock:
            series = list(self._series.items())
        for (guest, trigger), one in series:
            labels = (guest, trigger.value)
            with one.lock:
                events.add_metric(labels, one.events)
                for reason, count in one.failures.items():
                    failures.add_metric((*labels, reason.value), count)
                for histogram, family in zip(one.parts, parts, strict=True):
                    histogram.add_to(family, labels)
                for capability, histogram in one.spent.items():
                    histogram.add_to(spent, (*labels, capability))
                for kind, histogram in one.calls.items():
                    histogram.add_to(calls, (*labels, *kind))
        return iter((events, failures, *parts, spent, calls))

    def _of_reloads(self) -> Iterable[Metric]:
        reloads = CounterMetricFamily("guesthouse_reloads", "Reloads of the manifest.", labels=["outcome"])
        with self._lock:
            for outcome, count in self._reloads.items():
                reloads.add_metric([outcome.value], count)
            good, since = self._last is ReloadOutcome.DONE, self._reloaded
        yield reloads
        yield GaugeMetricFamily("guesthouse_reload_last_successful", "Whether the last was.", float(good))
        text = "When what is served was loaded, seconds since 1970."
        yield GaugeMetricFamily("guesthouse_reload_last_success_timestamp_seconds", text, since)
        yield GaugeMetricFamily(
            "guesthouse_plans", "This plan, and earlier ones with events inside.", self._plans.alive
        )

    def _guests(self) -> Iterable[Metric]:
        guests = self._plans.now.guests
        yield _gauge("slots_limit", "Events that the guest may answer at once.", guests, lambda g: g.slots.limit)
        yield _gauge("slots_busy", "Events that it answers now.", guests, lambda g: g.slots.busy)
        yield _gauge("queue_limit", "Events that may wait for it.", guests, lambda g: g.slots.queue)
        yield _gauge("queue_length", "Events that wait for it now.", guests, lambda g: g.slots.queued)
        dropped = CounterMetricFamily("guesthouse_log_lines_dropped", "Its lines that were too many.", labels=["guest"])
        for name, guest in guests.items():
            log = guest.services[Log]
            dropped.add_metric([name], log.dropped if isinstance(log, GuestLog) else 0)
        yield dropped
        ended = CounterMetricFamily("guesthouse_workers_ended", "Its processes that were replaced.", labels=["guest"])
        for name, guest in guests.items():
            ended.add_metric([name], guest.runner.replaced.count)
        yield ended
        text = "1 where the last worker process that was to be started did not start."
        failing = float(bool(self._plans.now.host.stock.fault))
        yield GaugeMetricFamily("guesthouse_workers_failing", text, failing)

    def _of_actors(self) -> Iterable[Metric]:
        kind = ["type"]
        turns = CounterMetricFamily(
            "guesthouse_actor_turns", "Turns that ended, well or not.", labels=(*kind, "trigger")
        )
        failures = CounterMetricFamily("guesthouse_actor_failures", "Turns that failed.", labels=(*kind, "reason"))
        text = "Waiting for a slot, and in it; not: for the actor's turns before."
        seconds = HistogramMetricFamily("guesthouse_actor_turn_seconds", text, labels=kind)
        read = CounterMetricFamily("guesthouse_actor_state_read_bytes", "State that came.", labels=kind)
        saved = CounterMetricFamily("guesthouse_actor_state_saved_bytes", "State that was saved.", labels=kind)
        activated = CounterMetricFamily("guesthouse_actor_activations", "Actors that became active.", labels=kind)
        active = GaugeMetricFamily("guesthouse_actors_active", "Actors that are active now.", labels=kind)
        with self._lock:
            known = list(self._turns.items())
        hosted = self._actors()
        for name, one in known:
            with one.lock:
                for trigger, count in one.turns.items():
                    turns.add_metric((name, trigger.value), count)
                for reason, count in one.failures.items():
                    failures.add_metric((name, reason.value), count)
                one.seconds.add_to(seconds, [name])
                read.add_metric([name], one.read)
                saved.add_metric([name], one.saved)
            activated.add_metric([name], hosted.activated.get(name, 0) if hosted is not None else 0)
            active.add_metric([name], hosted.active.get(name, 0) if hosted is not None else 0)
        hosts = GaugeMetricFamily(
            "guesthouse_actors_hosted",
            "Whether the sidecar has the types of actors.",
            float(bool(hosted and hosted.open)),
        )
        return turns, failures, seconds, read, saved, activated, active, hosts

    def _models(self) -> Iterable[Metric]:
        seconds = HistogramMetricFamily("guesthouse_model_run_seconds", "Runs of the model.", labels=["model"])
        rows = HistogramMetricFamily(
            "guesthouse_model_run_rows", "Rows in a run: the size of a batch.", labels=["model"]
        )
        memory = GaugeMetricFamily("guesthouse_model_memory_bytes", "What its sessions took, about.", labels=["model"])
        for model in self._plans.now.models.models:
            runs = self._runs[model.name]
            with runs.lock:
                runs.seconds.add_to(seconds, [model.name])
                runs.rows.add_to(rows, [model.name])
            memory.add_metric([model.name], model.cost())
        return seconds, rows, memory


def _routed(manifest: Manifest) -> Iterator[tuple[str, Trigger]]:
    """The guests and triggers of the manifest's routes: their series are there from the start."""
    return ((route.guest, route.trigger) for route in manifest.routes())


def _gauge(name: str, text: str, guests: Mapping[str, Guest], value: Callable[[Guest], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"guesthouse_{name}", text, labels=["guest"])
    for guest in guests.values():
        family.add_metric([guest.name], value(guest))
    return family

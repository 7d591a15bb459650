"""All that one manifest loads: guests, models, routes. Built and checked as a whole, immutable afterwards.

Building opens no port and runs no guest code; it lists every fault of the manifest's guests and models, not the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from guesthouse.engine.base import Engine
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.guests import sandbox
from guesthouse.guests.guest import Guest, GuestConfig, GuestFaults, load_guest
from guesthouse.guests.process.pool import Pool, Spec
from guesthouse.inference.onnx import ModelConfig
from guesthouse.inference.registry import ModelFaults, Registry
from guesthouse.manifest import Manifest
from guesthouse.manifest import tables as written
from guesthouse.observe.guestlog import GuestLog
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Services


class PlanFaults(Exception):
    """A manifest that cannot be served; `faults` has every reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Route:
    """Which guest answers, and where its reply goes besides the caller."""

    guest: str
    to: tuple[str, ...] = ()
    state: tuple[str, str] | None = None  # (store, key)
    drop: bool = False  # a guest's own failure is not worth sending the event again
    attempts: int = 0  # an event that failed so often is given up; 0: never
    dead_letter: str = ""  # the output binding that it goes to then


class Routes:
    """The manifest's routes, by what an event carries."""

    def __init__(self, manifest: Manifest) -> None:
        self._methods: dict[str, list[tuple[tuple[str, ...], Route]]] = {}
        for invoke in manifest.invoke:
            self._methods.setdefault(invoke.method, []).append((invoke.verbs, Route(invoke.guest)))
        self._topics: dict[str, dict[str | None, Route]] = {}
        for topic in manifest.topic:
            # A topic's events that no rule of the manifest's names by path go to the table without a match.
            path = topic.route.path if topic.route is not None and topic.route.match else None
            self._topics.setdefault(f"{topic.pubsub}/{topic.topic}", {})[path] = _route(topic)
        self._others = {
            Trigger.BINDING: {b.name: _binding(b) for b in manifest.binding},
            Trigger.JOB: {j.name: Route(j.guest) for j in manifest.job},
            Trigger.OPERATION: {name: Route(name) for name in manifest.operations},
        }

    def find(self, event: Event) -> Route:
        """The route of an event. Raises `Failure` (`NOT_FOUND`)."""
        if event.trigger is Trigger.INVOKE:
            return self._method(event)
        if event.trigger is Trigger.TOPIC:
            paths = self._topics.get(event.name, {})
            route = paths.get(event.path) or paths.get(None)
        else:
            route = self._others[event.trigger].get(event.name)
        if route is None:
            path = f" with the path {event.path!r}" if event.path else ""
            raise Failure(Reason.NOT_FOUND, f"no guest answers the {event.trigger.value} {event.name!r}{path}")
        return route

    def _method(self, event: Event) -> Route:
        choices = self._methods.get(event.name.strip("/"), [])
        for verbs, route in choices:
            if not verbs or not event.verb or event.verb in verbs:
                return route
        if choices:
            only = ", ".join(v for verbs, _ in choices for v in verbs)
            raise Failure(Reason.NOT_FOUND, f"the method {event.name!r} is not answered for {event.verb}, only {only}")
        raise Failure(Reason.NOT_FOUND, f"no guest answers the method {event.name!r}")


def _route(table: written.Binding | written.Topic) -> Route:
    state = (table.state.store, table.state.key) if table.state is not None else None
    return Route(table.guest, table.to, state, table.on_error == "drop")


def _binding(table: written.Binding) -> Route:
    return replace(_route(table), attempts=table.attempts or 0, dead_letter=table.dead_letter or "")


@dataclass(frozen=True, slots=True)
class Plan:
    """What events are answered with."""

    manifest: Manifest
    models: Registry
    guests: Mapping[str, Guest]
    routes: Routes
    pools: Mapping[str, Pool] = field(default_factory=dict)  # of the guests that run in processes of their own

    def route(self, event: Event) -> Route:
        """See `Routes.find`."""
        return self.routes.find(event)

    @property
    def places(self) -> int:
        """Events that may be inside at once: all slots and all queues."""
        return sum(g.slots.limit + g.slots.queue for g in self.guests.values())

    def run(self, name: str, event: Event, deadline: Deadline, queued: float) -> Reply:
        """Answer `event` by the guest of that name, in a thread or a process as the manifest says. Raises `Failure`."""
        pool = self.pools.get(name)
        if pool is not None:
            return pool.run(event, deadline, queued)
        return sandbox.run(self.guests[name], event, deadline, queued)

    def close(self) -> None:
        """End the worker processes and let go of the models. Guests in threads hold nothing between events."""
        for pool in self.pools.values():
            pool.close()
        self.models.close()


def model_config(name: str, model: written.Model) -> ModelConfig:
    """A model of the manifest as the inference room takes it."""
    return ModelConfig(
        name=name,
        path=model.path,
        sha256=model.sha256,
        stands_for=model.stands_for,
        threads=model.threads,
        batch=(model.batch.size, model.batch.delay) if model.batch is not None else None,
        max_batch=model.max_batch,
        inputs=dict(model.inputs),
        outputs=dict(model.outputs),
    )


def build(manifest: Manifest, engine: Engine, cache: CodeCache) -> Plan:
    """Open every model and load every guest. Raises `PlanFaults`."""
    faults: list[str] = []
    try:
        models = Registry.open([model_config(n, m) for n, m in manifest.models.items()])
    except ModelFaults as error:
        faults += error.faults
        models = Registry.open([])
    guests: dict[str, Guest] = {}
    for name, guest in manifest.guests.items():
        config = GuestConfig(
            name=name,
            module=guest.module,
            calling=guest.calling,
            function=guest.function,
            sha256=guest.sha256,
            reply_type=guest.reply_type,
            grants=guest.grants(),
            limits=guest.limits.limits(),
            isolation=guest.isolation,
        )
        try:
            log = GuestLog(name, burst=config.limits.log)
            guests[name] = load_guest(config, engine, cache, Services(models, log))
        except GuestFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
    pools = {} if faults else _pools(guests, engine, cache)
    for name, pool in pools.items():  # all were begun before the first is waited for
        if fault := pool.wait():
            faults.append(f"guest {name!r}: its worker process does not start: {fault}")
    plan = Plan(manifest, models, guests, Routes(manifest), pools)
    if faults:
        plan.close()
        raise PlanFaults(faults)
    return plan


def _pools(guests: Mapping[str, Guest], engine: Engine, cache: CodeCache) -> dict[str, Pool]:
    return {
        name: Pool(guest, Spec(engine.name, engine.pooling, cache.path(engine, guest.sha256)))
        for name, guest in guests.items()
        if guest.config.isolation == "process"
    }

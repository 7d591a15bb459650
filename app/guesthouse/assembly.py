"""The composition root: makes an application from a manifest, for commands, benches and tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from guesthouse.dapr.actors.messages import ActorType
from guesthouse.dapr.actors.state import TurnState
from guesthouse.dapr.actors.stream import Actors
from guesthouse.dapr.application import Application
from guesthouse.dapr.callback import Fetched
from guesthouse.dapr.component.input_binding import Replies
from guesthouse.dapr.component.reader import Bounds
from guesthouse.dapr.component.server import Component, ComponentConfig
from guesthouse.dapr.component.unix_socket import socket_folder
from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.executor import SPARE_THREADS
from guesthouse.dapr.guest_calls import GuestCalls
from guesthouse.dapr.listing import Bulk, Listing, Rule, Subscription
from guesthouse.dapr.server import Server, ServerConfig
from guesthouse.dapr.transport import Drain
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.engine import PixelCode, open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.event import ActorCalls, Event, Handler, Observer, Outputs, Trigger
from guesthouse.guests.capabilities import CAPABILITIES, Capabilities
from guesthouse.guests.process.remote import WorkerSpec
from guesthouse.guests.process.stock import Stock
from guesthouse.inference.cores import cores
from guesthouse.manifest import Manifest
from guesthouse.manifest.tables import Actor as ActorTable
from guesthouse.manifest.tables import Component as ComponentTable
from guesthouse.manifest.tables import Topic
from guesthouse.observe.events import EventLog
from guesthouse.observe.logs import InLog
from guesthouse.page.arrivals import Arrivals
from guesthouse.page.counts import Counts
from guesthouse.page.methods import HostMethods
from guesthouse.plan.build import build
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Host, Plan
from guesthouse.plan.reload import Reloads
from guesthouse.plan.routes import Routes
from guesthouse.plan.sizing import Capacity, capacity_for

if TYPE_CHECKING:  # OpenTelemetry is imported where traces are on, and may not be installed elsewhere
    from guesthouse.observe.traces import Traces

_AT_WORK = 8  # threads that answer 3,000 calls a second of 2.5 ms each; Python itself does not manage more
# Capacity beyond what the manifest's guests need: a reload may add guests while events of the previous plan are still
# inside. Memory and threads are taken only when they are used.
_SPARE_INSTANCES = 64
_SPARE_PLACES = 1024


@contextlib.contextmanager
def open_plan(
    manifest: Manifest, services: Mapping[str, object] | None = None, capabilities: Capabilities = CAPABILITIES
) -> Iterator[Plan]:
    """The plan of a manifest, on an engine of the capacity that the plan needs. Both are closed at the end.

    `capabilities` is what the plan's guests may reach, `services` what these are made of (see `plan.Host`): without
    "dapr" among them, the sidecar of the environment, to which the first call connects.

    Raises `Faults`: what is wrong with the plan, with the cache of compiled code, or why there is no such engine.
    """
    size = capacity_with_spare(manifest)
    settings = manifest.engine
    config = EngineConfig(size.instances, size.memory, settings.pooling, settings.python)
    cache = CodeCache(settings.cache, settings.cache_size)
    if cache.note:
        structlog.get_logger("guesthouse").warning(cache.note)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(cache))
        engine = stack.enter_context(contextlib.closing(open_engine(settings.name, config)))
        confinement = manifest.process.confinement
        pixels = PixelCode(cache)
        spec = WorkerSpec(engine.name, engine.pooling, engine.interpreter, pixels.artefact, confinement, capabilities)
        stock = stack.enter_context(contextlib.closing(Stock(spec, manifest.process.stock)))
        if any(manifest.isolation_of(guest) == "process" for guest in manifest.guests.values() if guest.enabled):
            stock.open()  # its processes start while everything else is loaded
        found = dict(services or {})
        if "dapr" not in found:
            connection = SidecarConnection(Endpoint.from_environment())
            found["dapr"] = GuestCalls(stack.enter_context(contextlib.closing(connection)))
        host = Host(engine, cache, stock, pixels, capabilities, found)
        yield stack.enter_context(contextlib.closing(build(manifest, host)))


def capacity_with_spare(manifest: Manifest) -> Capacity:
    """What a process is made for that begins with this manifest and may be reloaded."""
    size = capacity_for(manifest)
    memory = max(size.memory, EngineConfig().memory)
    return Capacity(size.instances + _SPARE_INSTANCES, memory, size.places + _SPARE_PLACES)


def narrowed_to(manifest: Manifest, event: Event) -> Manifest:
    """The manifest with only what answers one event: its guest and that guest's models. Raises `Failure`."""
    name = Routes(manifest).find(event).guest
    guest = manifest.guests[name]
    guest = guest.model_copy(update={"limits": guest.limits.model_copy(update={"concurrency": 1})})
    models = {model: manifest.models[model] for model in guest.models.values()}
    return manifest.model_copy(update={"guests": {name: guest}, "models": models})


def with_component(manifest: Manifest, name: str) -> Manifest:
    """The manifest with a component of this name, in place of the one that the manifest names."""
    settings = manifest.component
    component = ComponentTable(name=name) if settings is None else settings.model_copy(update={"name": name})
    return manifest.model_copy(update={"component": component})


class ServedApplication(Application):
    """The application of a manifest; its list of transports is made here."""

    def __init__(self, server: Server, component: Component | None, actors: Actors, drain: Drain) -> None:
        self.server = server
        self.component = component
        self.actors = actors
        # The component before the server: whoever sees its port open may start a sidecar, which looks for the component
        # at once. The actors last: a sidecar sends turns as soon as it has their types.
        super().__init__([server, actors] if component is None else [component, server, actors], drain)


def application_for(
    plans: Plans,
    outputs: Outputs,
    *,
    host: str | None = None,
    port: int | None = None,
    observers: Sequence[Observer] = (),
    traces: Traces | None = None,
    fetched: Fetched | None = None,
    reloads: Reloads | None = None,
    sidecar: Endpoint | None = None,
    actor_calls: ActorCalls | None = None,
) -> ServedApplication:
    """The application of plans, not started yet. `host` and `port` go before the manifest's.

    `sidecar` is the one that actors are hosted for; None: that of the environment. `actor_calls` has actors answer the
    events of routes to them.

    `observers` are called at the end of every event, besides the log and the page. `fetched` is called each time that a
    sidecar has asked for its subscriptions. `reloads` knows how the last reload ended.
    """
    manifest = plans.now.manifest
    settings, threads = manifest.server, _threads(manifest)
    config = ServerConfig(
        host=host if host is not None else settings.host,
        port=port if port is not None else settings.port,
        message=settings.message,
        metadata=settings.metadata,
        tokens=plans.now.tokens,
        tls=(settings.tls.certificate, settings.tls.key) if settings.tls is not None else None,
        threads=threads,
        at_work=_at_work(),
        reflection=settings.reflection,
        core=settings.core,
    )
    drain = Drain(settings.drain.notice, settings.drain.limit)
    component = manifest.component
    replies = None if component is None else _replies(component)
    heard_by = observers if replies is None else [*observers, replies]
    handler = _handler(plans, outputs, heard_by, traces, reloads, actor_calls)
    actors = Actors(
        sidecar or Endpoint.from_environment(),
        handler,
        TurnState,
        actor_types(plans.now),
        at_work=_at_work(),
        threads=threads,
    )
    server = Server(config, handler, listing(manifest), fetched)
    if component is None or replies is None:
        return ServedApplication(server, None, actors, drain)
    return ServedApplication(server, Component(_component(manifest, component), handler, replies), actors, drain)


def _threads(manifest: Manifest) -> int:
    """Enough for all slots and queues, and the spare threads twice.

    Once for health probes; once so that an overload is refused by the guest's queue, whose refusal has its numbers, and
    not by the server's admission.
    """
    return capacity_with_spare(manifest).places + 2 * SPARE_THREADS


def _at_work() -> int:
    """One thread for each core, so that guests run on all; more than `_AT_WORK` only contend for the interpreter."""
    return max(2, min(cores(), _AT_WORK))


def _component(manifest: Manifest, settings: ComponentTable) -> ComponentConfig:
    server = manifest.server
    return ComponentConfig(
        name=settings.name,
        folder=settings.folder or socket_folder(),
        permissions=settings.permissions,
        guests=manifest.operations,
        message=server.message,
        threads=_threads(manifest),
        at_work=_at_work(),
        core=server.core,
    )


def _replies(settings: ComponentTable) -> Replies:
    bounds = Bounds(
        unacknowledged=settings.unacknowledged,
        acknowledge=settings.acknowledge,
        attempts=settings.attempts,
        buffer=settings.buffer,
        keep=settings.keep,
    )
    return Replies(settings.name, settings.replies, bounds)


def _handler(
    plans: Plans,
    outputs: Outputs,
    observers: Sequence[Observer],
    traces: Traces | None,
    reloads: Reloads | None,
    actor_calls: ActorCalls | None,
) -> Handler:
    """What answers events, from the outermost handler to the dispatcher.

    The page's own methods come first: they are no events, so they are neither traced nor counted. Counts and arrivals
    are only kept where the manifest names applications that may ask for them.
    """
    page = (Counts(), Arrivals()) if plans.now.manifest.page.apps else ()
    heard_by: list[Observer] = [EventLog(), *observers, *page]
    delivering = outputs if traces is None else traces.outputs(outputs)
    handler: Handler = InLog(Dispatcher(plans, delivering, heard_by, actor_calls))
    if traces is not None:
        handler = traces.handler(handler)
    return HostMethods(plans, *page, handler, reloads) if page else handler


def listing(manifest: Manifest) -> Listing:
    """The topics and bindings of a manifest. All tables of one topic are one subscription with rules."""
    topics: dict[tuple[str, str], list[Topic]] = {}
    for topic in manifest.topic:
        topics.setdefault((topic.pubsub, topic.topic), []).append(topic)
    return Listing(
        subscriptions=tuple(_subscription(tables) for tables in topics.values()),
        bindings=tuple(binding.name for binding in manifest.binding),
    )


def actor_types(plan: Plan) -> tuple[ActorType, ...]:
    """The types of actors of a plan, with what their guests can do."""
    return tuple(_actor_type(plan, table) for table in plan.manifest.actor)


def _actor_type(plan: Plan, table: ActorTable) -> ActorType:
    guest = plan.guests.get(table.guest)
    triggers = guest.code.caller.triggers if guest is not None else None
    limits = plan.manifest.guests[table.guest].limits
    return ActorType(
        table.type,
        table.idle,
        table.drain,
        table.reentrant,
        table.guest,
        places=limits.concurrency + limits.queue,
        wait=limits.queue_wait,
        activates=triggers is not None and Trigger.ACTIVATE.value in triggers,
        deactivates=triggers is not None and Trigger.DEACTIVATE.value in triggers,
    )


def update_application(application: ServedApplication, plan: Plan, before: Plan) -> None:
    """Give the transports what a reload may change of them: accepted tokens, the listing, the types of actors."""
    _update_server(application.server, plan, before)
    application.actors.host(actor_types(plan))


def _update_server(server: Server, plan: Plan, before: Plan) -> None:
    if plan.tokens != before.tokens:
        server.accept(plan.tokens)
        structlog.get_logger("guesthouse").info("other tokens are accepted from now on", accepted=len(plan.tokens))
    _update_listing(server, plan, before)


def _update_listing(server: Server, plan: Plan, before: Plan) -> None:
    """Give the server a plan's listing, and log what has changed in it: running sidecars do not know of that."""
    new, old = listing(plan.manifest), listing(before.manifest)
    if new == old:
        return
    server.set_listing(new)
    topics = {f"{s.pubsub}/{s.topic}" for s in set(new.subscriptions) ^ set(old.subscriptions)}
    structlog.get_logger("guesthouse").warning(
        "a sidecar asks for topics and bindings when it starts: kill -HUP daprd, or restart it, to tell it of these",
        topics=sorted(topics),
        bindings=sorted(set(new.bindings) ^ set(old.bindings)),
    )


def _subscription(tables: list[Topic]) -> Subscription:
    rules = [Rule(t.route.match, t.route.path) for t in tables if t.route is not None and t.route.match]
    others = next((t for t in tables if t.route is None or not t.route.match), None)
    default = ""
    if others is not None and (rules or others.route is not None):
        # Beside rules, a sidecar delivers what none of them matches only when the default has a path.
        default = others.route.path if others.route is not None else "default"
    bulk = next((t.bulk for t in tables if t.bulk is not None), None)
    return Subscription(
        pubsub=tables[0].pubsub,
        topic=tables[0].topic,
        rules=tuple(rules),
        default=default,
        dead_letter=next((t.dead_letter for t in tables if t.dead_letter), ""),
        metadata=(("rawPayload", "true"),) if any(t.raw for t in tables) else (),
        bulk=Bulk(bulk.messages or 0, round((bulk.wait or 0) * 1000)) if bulk is not None else None,
    )

"""Puts the parts of an application together from a manifest, for the commands that need them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from guesthouse.dapr.application import Application
from guesthouse.dapr.callback import Fetched
from guesthouse.dapr.component import Component, ComponentConfig
from guesthouse.dapr.component_input import Replies
from guesthouse.dapr.component_reader import Bounds
from guesthouse.dapr.component_socket import socket_folder
from guesthouse.dapr.server import SPARE_THREADS, Server, ServerConfig
from guesthouse.dapr.topics import Bulk, Listing, Rule, Subscription
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event, Handler, Observer, Outputs
from guesthouse.guests.process.remote import Spec
from guesthouse.guests.process.stock import Stock
from guesthouse.inference.cores import cores
from guesthouse.manifest import Manifest
from guesthouse.manifest.tables import Component as ComponentTable
from guesthouse.manifest.tables import Topic
from guesthouse.observe.events import EventLog
from guesthouse.observe.logs import InLog
from guesthouse.page.feed import Feed
from guesthouse.page.methods import HostMethods
from guesthouse.plan.build import build
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Host, Plan
from guesthouse.plan.reload import Reloads
from guesthouse.plan.routes import Routes
from guesthouse.plan.sizing import Capacity, capacity_for

if TYPE_CHECKING:  # OpenTelemetry is imported where traces are on, and may not be installed elsewhere
    from guesthouse.observe.traces import Traces

_AT_WORK = 8  # as many as answer 3,000 calls a second of 2.5 ms each; Python itself does not manage more
# What the process is made for beyond what the manifest's guests need: a reload may add some, and events of before may
# still be inside. Memory and threads are taken when they are used.
_ROOM_INSTANCES = 64
_ROOM_PLACES = 1024


@contextlib.contextmanager
def opened(manifest: Manifest) -> Iterator[Plan]:
    """The plan of a manifest, on an engine of its size; closed at the end.

    Raises `PlanFaults`, `CacheError`, and what an engine raises that cannot be had.
    """
    size = room_for(manifest)
    settings = manifest.engine
    config = EngineConfig(size.instances, size.memory, settings.pooling, settings.python)
    cache = CodeCache(settings.cache)
    if cache.note:
        structlog.get_logger("guesthouse").warning(cache.note)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(cache))
        engine = stack.enter_context(contextlib.closing(open_engine(settings.name, config)))
        spec = Spec(engine.name, engine.pooling, engine.interpreter, manifest.process.confinement)
        stock = stack.enter_context(contextlib.closing(Stock(spec, manifest.process.stock)))
        if any(manifest.isolation_of(guest) == "process" for guest in manifest.guests.values() if guest.enabled):
            stock.open()  # while all else is loaded
        yield stack.enter_context(contextlib.closing(build(manifest, Host(engine, cache, stock))))


def room_for(manifest: Manifest) -> Capacity:
    """What a process that begins with this manifest is made for."""
    size = capacity_for(manifest)
    memory = max(size.memory, EngineConfig().memory)
    return Capacity(size.instances + _ROOM_INSTANCES, memory, size.places + _ROOM_PLACES)


def needed(manifest: Manifest, event: Event) -> Manifest:
    """The manifest with no more than answers one event: its guest, and the models of that. Raises `Failure`."""
    name = Routes(manifest).find(event).guest
    guest = manifest.guests[name]
    guest = guest.model_copy(update={"limits": guest.limits.model_copy(update={"concurrency": 1})})
    models = {model: manifest.models[model] for model in guest.models.values()}
    return manifest.model_copy(update={"guests": {name: guest}, "models": models})


def with_component(manifest: Manifest, name: str) -> Manifest:
    """The manifest with a component of this name, whatever it says itself."""
    settings = manifest.component
    component = ComponentTable(name=name) if settings is None else settings.model_copy(update={"name": name})
    return manifest.model_copy(update={"component": component})


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
) -> Application:
    """The gRPC application over plans, not started yet; `host` and `port` go before the manifest's.

    `observers` hear of every event besides the log, and what the manifest itself asks for; `fetched` hears of each
    time that a sidecar asked for its subscriptions; `reloads` knows how the last one ended.
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
        notice=settings.drain.notice,
        limit=settings.drain.limit,
        reflection=settings.reflection,
        core=settings.core,
    )
    component = manifest.component
    if component is None:
        handler = _handler(plans, outputs, observers, traces, reloads)
        return Application(Server(config, handler, listing(manifest), fetched))
    replies = _replies(component)
    handler = _handler(plans, outputs, [*observers, replies], traces, reloads)
    return Application(
        Server(config, handler, listing(manifest), fetched),
        Component(_component(manifest, component), handler, replies),
    )


def _threads(manifest: Manifest) -> int:
    """The same again, so that a caller too many is refused by its guest, which can say more, not by the server."""
    return room_for(manifest).places + 2 * SPARE_THREADS


def _at_work() -> int:
    """One for each core, so that guests run on all; but more than a few only contend for the interpreter."""
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
        notice=server.drain.notice,
        limit=server.drain.limit,
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
) -> Handler:
    """What answers events; what the page asks for is only kept where the manifest has a page."""
    feed = Feed() if plans.now.manifest.page.apps else None
    heard_by: list[Observer] = [EventLog(), *observers]
    if feed is not None:
        heard_by.append(feed)
    handler: Handler = InLog(Dispatcher(plans, outputs if traces is None else traces.outputs(outputs), heard_by))
    if traces is not None:
        handler = traces.handler(handler)
    return handler if feed is None else HostMethods(plans, feed, handler, reloads)


def listing(manifest: Manifest) -> Listing:
    """What the sidecar is told of topics and bindings. Tables for one topic are one subscription with rules."""
    topics: dict[tuple[str, str], list[Topic]] = {}
    for topic in manifest.topic:
        topics.setdefault((topic.pubsub, topic.topic), []).append(topic)
    return Listing(
        subscriptions=tuple(_subscription(tables) for tables in topics.values()),
        bindings=tuple(binding.name for binding in manifest.binding),
    )


def take_in(server: Server, plan: Plan, before: Plan) -> None:
    """Have the server go on with what another plan changes of it: its tokens, and what it tells sidecars."""
    if plan.tokens != before.tokens:
        server.accept(plan.tokens)
        structlog.get_logger("guesthouse").info("other tokens are accepted from now on", accepted=len(plan.tokens))
    _tell_sidecars(server, plan, before)


def _tell_sidecars(server: Server, plan: Plan, before: Plan) -> None:
    """Have the server tell sidecars of a plan's topics and bindings, and say what those that run have not heard of."""
    new, old = listing(plan.manifest), listing(before.manifest)
    if new == old:
        return
    server.tell(new)
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

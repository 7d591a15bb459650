"""Puts the parts of an application together from a manifest, for the commands that need them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import structlog

from guesthouse.dapr.application import Application
from guesthouse.dapr.component import Component, ComponentConfig
from guesthouse.dapr.component_input import Replies
from guesthouse.dapr.component_reader import Bounds
from guesthouse.dapr.component_socket import socket_folder
from guesthouse.dapr.server import SPARE_THREADS, Server, ServerConfig
from guesthouse.dapr.topics import Bulk, Listing, Rule, Subscription
from guesthouse.dispatcher import Dispatcher
from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event, Handler, Observer, Outputs
from guesthouse.feed import Feed
from guesthouse.hostmethods import HostMethods
from guesthouse.inference.cores import cores
from guesthouse.manifest import Manifest
from guesthouse.manifest.tables import Component as ComponentTable
from guesthouse.manifest.tables import Topic
from guesthouse.observe.events import EventLog
from guesthouse.observe.logs import InLog
from guesthouse.plan import Plan, Routes, build

if TYPE_CHECKING:  # OpenTelemetry is imported where traces are on, and may not be installed elsewhere
    from guesthouse.observe.traces import Traces

_AT_WORK = 8  # as many as answer 3,000 calls a second of 2.5 ms each; Python itself does not manage more
_SPARE = 2  # instance slots beyond those that events can take: an instance is freed just after its slot


@contextlib.contextmanager
def opened(manifest: Manifest) -> Iterator[Plan]:
    """The plan of a manifest, on an engine of its size; closed at the end.

    Raises `PlanFaults`, `CacheError`.
    """
    limits = [guest.limits for guest in manifest.guests.values()]
    config = EngineConfig(
        instances=sum(one.concurrency for one in limits) + _SPARE,
        memory=max((one.memory for one in limits), default=EngineConfig().memory),
        pooling=manifest.engine.pooling,
    )
    cache = CodeCache(manifest.engine.cache)
    if cache.note:
        structlog.get_logger("guesthouse").warning(cache.note)
    with contextlib.closing(cache), contextlib.closing(open_engine(manifest.engine.name, config)) as engine:
        plan = build(manifest, engine, cache)
        try:
            yield plan
        finally:
            plan.close()


def needed(manifest: Manifest, event: Event) -> Manifest:
    """The manifest with no more than answers one event: its guest, and the models of that. Raises `Failure`."""
    name = Routes(manifest).find(event).guest
    guest = manifest.guests[name]
    guest = guest.model_copy(update={"limits": guest.limits.model_copy(update={"concurrency": 1})})
    models = {model: manifest.models[model] for model in guest.models}
    return manifest.model_copy(update={"guests": {name: guest}, "models": models})


def with_component(manifest: Manifest, name: str) -> Manifest:
    """The manifest with a component of this name, whatever it says itself."""
    settings = manifest.component
    component = ComponentTable(name=name) if settings is None else settings.model_copy(update={"name": name})
    return manifest.model_copy(update={"component": component})


def application_for(
    plan: Plan,
    outputs: Outputs,
    *,
    host: str | None = None,
    port: int | None = None,
    observers: Sequence[Observer] = (),
    traces: Traces | None = None,
) -> Application:
    """The gRPC application for a plan, not started yet; `host` and `port` go before the manifest's.

    `observers` hear of every event besides the log, and what the manifest itself asks for.
    """
    settings = plan.manifest.server
    config = ServerConfig(
        host=host if host is not None else settings.host,
        port=port if port is not None else settings.port,
        message=settings.message,
        tokens=tuple(token.get_secret_value() for token in settings.token),
        tls=(settings.tls.certificate, settings.tls.key) if settings.tls is not None else None,
        threads=_threads(plan),
        at_work=_at_work(),
        notice=settings.drain.notice,
        limit=settings.drain.limit,
    )
    component = plan.manifest.component
    if component is None:
        return Application(Server(config, _handler(plan, outputs, observers, traces), listing(plan.manifest)))
    replies = _replies(component)
    handler = _handler(plan, outputs, [*observers, replies], traces)
    return Application(
        Server(config, handler, listing(plan.manifest)), Component(_component(plan, component), handler, replies)
    )


def _threads(plan: Plan) -> int:
    """The same again, so that a caller too many is refused by its guest, which can say more, not by the server."""
    return plan.places + 2 * SPARE_THREADS


def _at_work() -> int:
    """One for each core, so that guests run on all; but more than a few only contend for the interpreter."""
    return max(2, min(cores(), _AT_WORK))


def _component(plan: Plan, settings: ComponentTable) -> ComponentConfig:
    server = plan.manifest.server
    return ComponentConfig(
        name=settings.name,
        folder=settings.folder or socket_folder(),
        permissions=settings.permissions,
        guests=plan.manifest.operations,
        message=server.message,
        threads=_threads(plan),
        at_work=_at_work(),
        notice=server.drain.notice,
        limit=server.drain.limit,
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


def _handler(plan: Plan, outputs: Outputs, observers: Sequence[Observer], traces: Traces | None) -> Handler:
    """What answers events; what the page asks for is only kept where the manifest has a page."""
    feed = Feed() if plan.manifest.page.apps else None
    heard_by: list[Observer] = [EventLog(), *observers]
    if feed is not None:
        heard_by.append(feed)
    handler: Handler = InLog(Dispatcher(plan, outputs if traces is None else traces.outputs(outputs), heard_by))
    if traces is not None:
        handler = traces.handler(handler)
    return handler if feed is None else HostMethods(plan, feed, handler)


def listing(manifest: Manifest) -> Listing:
    """What the sidecar is told of topics and bindings. Tables for one topic are one subscription with rules."""
    topics: dict[tuple[str, str], list[Topic]] = {}
    for topic in manifest.topic:
        topics.setdefault((topic.pubsub, topic.topic), []).append(topic)
    return Listing(
        subscriptions=tuple(_subscription(tables) for tables in topics.values()),
        bindings=tuple(binding.name for binding in manifest.binding),
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
        bulk=Bulk(bulk.messages or 0, round((bulk.wait or 0) * 1000)) if bulk is not None else None,
    )

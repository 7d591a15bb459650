"""Finds the route of an event: which guest answers it, and where its reply goes. The guests are in `plan`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from guesthouse.event import ACTOR_TRIGGERS, Event, Failure, Reason, Trigger
from guesthouse.manifest import Manifest
from guesthouse.manifest import tables as written
from guesthouse.manifest.addresses import Address


@dataclass(frozen=True, slots=True)
class Route:
    """Which guest answers, or which actor, and where the reply goes besides to the caller."""

    guest: str
    to: tuple[str, ...] = ()
    state: tuple[str, str] | None = None  # (store, key)
    drop: bool = False  # on_error = "drop": an event that its guest fails on is not sent again
    attempts: int = 0  # an event that has failed so often is given up; 0: never
    dead_letter: str = ""  # the output binding that gets an event that is given up; "": none
    enabled: bool = True
    actor: tuple[Address, str] | None = None  # who answers instead of a guest, by which method


class Routes:
    """The manifest's routes, found by an event's trigger, name, verb and path."""

    def __init__(self, manifest: Manifest) -> None:
        self._off = frozenset(name for name, guest in manifest.guests.items() if not guest.enabled)
        self._methods: dict[str, list[tuple[tuple[str, ...], Route]]] = {}
        self._topics: dict[str, dict[str | None, Route]] = {}
        self._others: dict[tuple[Trigger, str], Route] = {}
        for entry in manifest.routes():
            table, route = entry.table, _route(entry)
            if isinstance(table, written.Invoke):
                self._methods.setdefault(entry.name, []).append((table.verbs, route))
            elif isinstance(table, written.Topic):
                # A path names a table with a `match`. The table without one takes the topic's other events.
                path = table.route.path if table.route is not None and table.route.match else None
                self._topics.setdefault(entry.name, {})[path] = route
            else:
                self._others[entry.trigger, entry.name] = route

    def find(self, event: Event) -> Route:
        """The route of an event. Raises `Failure` (`NOT_FOUND`, `OFF`)."""
        route = self._find(event)
        if not route.enabled:
            raise Failure(Reason.OFF, f"the {event.trigger.value} {event.name!r} is switched off", route.guest)
        if route.guest in self._off:
            raise Failure(Reason.OFF, f"guest {route.guest!r} is switched off", route.guest)
        return route

    def _find(self, event: Event) -> Route:
        if event.trigger is Trigger.INVOKE:
            return self._method(event)
        if event.trigger is Trigger.TOPIC:
            paths = self._topics.get(event.name, {})
            route = paths.get(event.path) or paths.get(None)
        else:
            trigger = Trigger.ACTOR if event.trigger in ACTOR_TRIGGERS else event.trigger
            route = self._others.get((trigger, event.name))
        if route is None:
            path = f" with the path {event.path!r}" if event.path else ""
            raise Failure(Reason.NOT_FOUND, f"no guest answers the {event.trigger.value} {event.name!r}{path}")
        return route

    def _method(self, event: Event) -> Route:
        choices = self._methods.get(event.name.strip("/"), [])
        for verbs, route in choices:
            if _answers(verbs, event.verb):
                return route
        if choices:
            named = ", ".join(v for verbs, _ in choices for v in verbs)
            only = f"only {named}" if named else "for none of its tables names it in verbs"
            raise Failure(Reason.NOT_FOUND, f"the method {event.name!r} is not answered for {event.verb}, {only}")
        raise Failure(Reason.NOT_FOUND, f"no guest answers the method {event.name!r}")


def _answers(verbs: tuple[str, ...], verb: str) -> bool:
    """Whether a table with `verbs` answers a call with `verb`, which is empty where the call had none."""
    return (not verb or verb in verbs) if verbs else verb not in written.ASKING_VERBS


def _route(entry: written.RouteEntry) -> Route:
    """The route of a table of the manifest. What the table cannot say keeps its default."""
    table, route = entry.table, Route(entry.guest, enabled=entry.enabled)
    if isinstance(table, (written.Binding, written.Topic)):
        state = (table.state.store, table.state.key) if table.state is not None else None
        route = replace(route, to=table.to, state=state, drop=table.on_error == "drop")
    if isinstance(table, written.Topic) and table.actor is not None:
        route = replace(route, actor=(Address.parse(table.actor), table.method or table.topic))
    if isinstance(table, written.Binding):
        route = replace(route, attempts=table.attempts or 0, dead_letter=table.dead_letter or "")
    return route

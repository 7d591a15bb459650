"""Methods that the host answers itself, for the page: `_guesthouse/status`, `guests/NAME`, `events`, `pictures/ID` and
`cancel/CALL`.

`HostMethods` stands before the dispatcher. It answers only the applications that the manifest names in `[page] apps`,
by the app id that their sidecar gave to ours (`dapr-caller-app-id`); for all other applications these methods do not
exist. Each reply to a named application has headers that say which guest answered and what that cost. A named
application can also cancel a call: a sidecar does not say that its caller hung up, so the application names its call by
a header, and asks to cancel the call of that name.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
from urllib.parse import parse_qs

from guesthouse import __version__, masking
from guesthouse.engine import version_of
from guesthouse.event import Event, Failure, Handler, Headers, Reason, Reply, Trigger
from guesthouse.guests.guest import Guest
from guesthouse.guests.log import GuestLog
from guesthouse.inference import session
from guesthouse.manifest import tables
from guesthouse.manifest.tables import RESERVED
from guesthouse.page import Json
from guesthouse.page.arrivals import Arrivals
from guesthouse.page.counts import STEP, STEPS, Counts, milliseconds
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse.plan.reload import Reloads
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Log

CALLER = "dapr-caller-app-id"
CALL = "guesthouse-call"  # the header that names a call; the name cannot be guessed
WHY = 2000  # characters of why a reload was refused

_CALL = re.compile(r"[0-9a-f]{32}", re.ASCII)
_FOLDERS = re.compile(r"(?<![\w.~-])/(?:[^\s/:;,'\"]+/)+")


class HostMethods:
    """An `event.Handler` before another one."""

    def __init__(
        self, plans: Plans, counts: Counts, arrivals: Arrivals, following: Handler, reloads: Reloads | None = None
    ) -> None:
        self._plans = plans
        self._counts = counts
        self._arrivals = arrivals
        self._following = following
        self._reloads = reloads if reloads is not None else Reloads()
        self._calls: dict[str, Deadline] = {}  # calls under way that can be cancelled, by name
        self._apps = frozenset(plans.now.manifest.page.apps)
        self._began = time.monotonic()
        self._loaded: dict[str, float] = {}  # when each guest was last loaded or changed, as time of day
        self._switched = 0.0  # when the plan was switched to, as time of day
        plans.subscribe(self._switch)

    def _switch(self, plan: Plan, before: Plan | None) -> None:
        now, old = time.time(), before.guests if before is not None else {}
        kept = {
            name: self._loaded[name]
            for name in old
            if name in plan.guests and plan.guests[name].state == old[name].state
        }
        self._loaded = {name: kept.get(name, now) for name in plan.guests}
        self._switched = now

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """See `event.Handler.dispatch`."""
        # A header that the caller wrote itself is joined with the sidecar's own: the two together are no app's name.
        if event.trigger is not Trigger.INVOKE or event.metadata.get(CALLER) not in self._apps:
            return self._following.dispatch(event, deadline)
        name = event.name.strip("/")
        if name.startswith(RESERVED):
            return self._answer(name.removeprefix(RESERVED), event)
        call = event.metadata.get(CALL, "")
        deadline = deadline if deadline is not None else Deadline(math.inf)
        if _CALL.fullmatch(call):
            self._calls[call] = deadline
            metadata = {key: value for key, value in event.metadata.items() if key != CALL}
            event = dataclasses.replace(event, metadata=metadata)
        try:
            reply = self._following.dispatch(event, deadline)
        finally:
            self._calls.pop(call, None)
        return dataclasses.replace(reply, headers=(*reply.headers, *headers(reply)))

    def _answer(self, name: str, event: Event) -> Reply:
        if name == "status":
            return _json_reply(self.status())
        if name == "events":
            return _json_reply(self._arrivals.after(parse_qs(event.query).get("after", [""])[-1]))
        kind, _, id = name.partition("/")
        plan = self._plans.now
        if kind == "cancel" and _CALL.fullmatch(id):
            return _json_reply({"canceled": self._cancel(id)})
        if kind == "guests" and id in plan.guests:
            return _json_reply(self._details(plan, id))
        picture = self._arrivals.picture(id, large=event.query == "large") if kind == "pictures" else None
        if picture is None:
            raise Failure(Reason.NOT_FOUND, f"the host does not answer the method {event.name!r}")
        return Reply(picture, "image/jpeg")

    def _cancel(self, call: str) -> bool:
        """End a call as if its caller had hung up. False where no call of that name is under way."""
        deadline = self._calls.get(call)
        if deadline is not None:
            deadline.cancel()
        return deadline is not None

    def _reload(self) -> dict[str, Json] | None:
        last = self._reloads.last
        if last is None:
            return None
        # The page does not show in which folders the operator's files are.
        why = masking.masked(_FOLDERS.sub("", last.why))[:WHY]
        return {"at": round(last.at, 3), "outcome": last.outcome.value, "why": why}

    def status(self) -> dict[str, Json]:
        """What is loaded, and what it has answered.

        Times are milliseconds. A `series` has steps of `step` seconds, the newest last.
        """
        plan = self._plans.now
        manifest = plan.manifest
        return {
            "app": manifest.app.name,
            "version": __version__,
            "engine": version_of(manifest.engine.name),
            "onnxruntime": session.VERSION,
            "uptime": round(time.monotonic() - self._began, 1),
            "loaded": round(self._switched, 3),
            "reload": self._reload(),
            "step": STEP,
            "steps": STEPS,
            "routes": [_route(entry) for entry in manifest.routes()],
            "guests": [self._guest(plan, name) for name in plan.guests],
            "models": [
                {
                    "name": model.name,
                    "inputs": [str(info) for info in model.inputs],
                    "outputs": [str(info) for info in model.outputs],
                    "bytes": model.size,
                    "guests": [name for name, guest in manifest.guests.items() if model.name in guest.models.values()],
                }
                for model in plan.models.models
            ],
            "unrouted": self._counts.unrouted,
        }

    def _guest(self, plan: Plan, name: str) -> dict[str, Json]:
        guest, table = plan.guests[name], plan.manifest.guests[name]
        slots = guest.slots
        return {
            "name": name,
            "calling": table.calling,
            "takes": takes(table, guest),
            "reply_type": table.reply_type,
            "models": sorted(set(table.models.values())),
            "limits": {"input": guest.limits.input, "time": guest.limits.time},
            "slots": {"busy": slots.busy, "limit": slots.limit, "queued": slots.queued, "queue": slots.queue},
            **self._counts.summary(name),
        }

    def _details(self, plan: Plan, name: str) -> dict[str, Json]:
        """All that is known of one guest: its part of the status, and what is too much for every status."""
        guest, log = plan.guests[name], plan.guests[name].services[Log]
        return {
            **self._guest(plan, name),
            "isolation": guest.config.isolation,
            "function": guest.config.function,
            "sha256": guest.code.sha256,
            "loaded": round(self._loaded.get(name, self._switched), 3),
            "limits": dataclasses.asdict(guest.limits),
            **self._counts.details(name),
            "log": [
                {"at": round(line.at, 3), "stream": line.stream, "text": masking.masked(line.text), "cut": line.cut}
                for line in (log.last() if isinstance(log, GuestLog) else ())
            ],
            "log_dropped": log.dropped if isinstance(log, GuestLog) else 0,
        }


def takes(table: tables.Guest, guest: Guest) -> list[str]:
    """The content types that a guest takes: those that the manifest names, else by the picture functions that it
    imports.

    Empty where neither says.
    """
    if table.takes:
        return list(table.takes)
    pictures = {name for module, name in guest.code.reached if module == "wasmedge_image"}
    formats = {"image/jpeg": "load_jpg", "image/png": "load_png"}
    return [kind for kind, part in formats.items() if any(part in name or name == "load_image" for name in pictures)]


def _route(entry: tables.RouteEntry) -> dict[str, Json]:
    """`arrives`: whether the events of this route appear in the live feed."""
    verbs = {"verbs": entry.table.verbs} if isinstance(entry.table, tables.Invoke) else {}
    return {
        "trigger": entry.trigger.value,
        "name": entry.name,
        "guest": entry.guest,
        "arrives": entry.trigger.arrives,
        **verbs,
    }


def headers(reply: Reply) -> Headers:
    """Which guest answered, and what it cost, as https://www.w3.org/TR/server-timing/ writes it (milliseconds)."""
    timing = ", ".join(f"{name};dur={value}" for name, value in milliseconds(reply.cost).items())
    return (("guesthouse-guest", reply.guest), ("server-timing", timing))


def _json_reply(value: Json) -> Reply:
    return Reply(json.dumps(value, separators=(",", ":")).encode(), "application/json")

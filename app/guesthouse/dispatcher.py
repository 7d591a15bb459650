"""Which guest answers which event, and under which deadline.

The one way from any transport to a guest: route, size, slot, sandbox, outputs, reply. Knows neither Dapr nor Wasm.
"""

from __future__ import annotations

import dataclasses
import math

import structlog

from guesthouse.event import Event, Failure, Outputs, Reason, Reply
from guesthouse.guests import sandbox
from guesthouse.guests.guest import Guest
from guesthouse.plan import Plan, Route
from guesthouse_abi.deadline import Deadline

_log = structlog.get_logger("guesthouse.dispatcher")

#: What a guest itself can be at fault for: here a route's `on_error = "drop"` holds.
_GUEST_FAULTS = frozenset({Reason.TRAP, Reason.BAD_REPLY, Reason.GUEST})


class Dispatcher:
    """Answers events with the guests of a plan. For any number of threads."""

    def __init__(self, plan: Plan, outputs: Outputs) -> None:
        self._plan = plan
        self._outputs = outputs

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """See `event.Handler.dispatch`."""
        plan = self._plan  # an event keeps the plan that it began with
        route = plan.route(event)
        guest = plan.guests[route.guest]
        if deadline is None:
            deadline = Deadline(math.inf)
        try:
            reply = _answer(guest, event, deadline)
            if route.to or route.state:
                self._outputs.deliver(reply, event, route, deadline)
        except Failure as failure:
            failure.drop = route.drop and failure.reason in _GUEST_FAULTS
            _tell(event, failure)
            raise
        _log.debug(
            "answered",
            guest=guest.name,
            trigger=event.trigger.value,
            name=event.name,
            bytes=len(reply.body),
            **_rounded(reply.cost),
        )
        return reply


def _answer(guest: Guest, event: Event, deadline: Deadline) -> Reply:
    limits = guest.limits
    if len(event.body) > limits.input:
        raise Failure(
            Reason.TOO_LARGE,
            f"a body of {len(event.body)} bytes; the limit input is {limits.input}",
            guest.name,
        )
    deadline.tighten(limits.queue_wait + limits.time)
    queued = guest.slots.acquire(deadline)
    try:
        return sandbox.run(guest, event, deadline, queued)
    finally:
        guest.slots.release()


def _tell(event: Event, failure: Failure) -> None:
    facts = _rounded(failure.cost) if failure.cost is not None else {}
    _log.warning(
        "failed",
        guest=failure.guest,
        trigger=event.trigger.value,
        name=event.name,
        reason=failure.reason.value,
        error=failure.text,
        exc_info=failure.__cause__.__cause__ if failure.reason is Reason.INTERNAL and failure.__cause__ else None,
        **facts,
    )


def _rounded(cost: object) -> dict[str, object]:
    """A cost's fields for a log line: seconds as milliseconds."""
    fields = dataclasses.asdict(cost)  # type: ignore[call-overload]
    return {
        f"{k}_ms" if isinstance(v, float) else k: round(v * 1000, 3) if isinstance(v, float) else v
        for k, v in fields.items()
    }


__all__ = ["Dispatcher", "Route"]

"""Which guest answers which event, and under which deadline.

The one way from any transport to a guest: route, size, slot, sandbox, outputs, reply. Knows neither Dapr nor Wasm; who
is told of events is decided where it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from guesthouse.event import Event, Failure, Observer, Outputs, Reason, Reply
from guesthouse.guests import sandbox
from guesthouse.guests.guest import Guest
from guesthouse.plan import Plan
from guesthouse_abi.deadline import Deadline

#: What a guest itself can be at fault for: here a route's `on_error = "drop"` holds.
_GUEST_FAULTS = frozenset({Reason.TRAP, Reason.BAD_REPLY, Reason.GUEST})


class Dispatcher:
    """Answers events with the guests of a plan. For any number of threads."""

    def __init__(self, plan: Plan, outputs: Outputs, observers: Sequence[Observer] = ()) -> None:
        self._plan = plan
        self._outputs = outputs
        self._observers = observers

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """See `event.Handler.dispatch`."""
        try:
            reply = self._answer(event, deadline if deadline is not None else Deadline(math.inf))
        except Failure as failure:
            for observer in self._observers:
                observer.failed(event, failure)
            raise
        for observer in self._observers:
            observer.answered(event, reply)
        return reply

    def _answer(self, event: Event, deadline: Deadline) -> Reply:
        plan = self._plan  # an event keeps the plan that it began with
        route = plan.route(event)
        try:
            reply = _run(plan.guests[route.guest], event, deadline)
            if route.to or route.state:
                self._outputs.deliver(reply, event, route, deadline)
        except Failure as failure:
            failure.drop = route.drop and failure.reason in _GUEST_FAULTS
            raise
        return reply


def _run(guest: Guest, event: Event, deadline: Deadline) -> Reply:
    limits = guest.limits
    if len(event.body) > limits.input:
        raise Failure(
            Reason.TOO_LARGE, f"a body of {len(event.body)} bytes; the limit input is {limits.input}", guest.name
        )
    deadline.tighten(limits.queue_wait + limits.time)
    queued = guest.slots.acquire(deadline)
    try:
        return sandbox.run(guest, event, deadline, queued)
    finally:
        guest.slots.release()

"""Which guest answers which event, and under which deadline.

The one way from any transport to a guest: route, size, slot, sandbox, outputs, reply. Knows neither Dapr nor Wasm; who
is told of events is decided where it is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog

from guesthouse.attempts import Attempts, digest
from guesthouse.event import EVENT_FAULTS, Event, Failure, Observer, Outputs, Reason, Reply
from guesthouse.guests.guest import Guest
from guesthouse.plan import Plan, Route
from guesthouse.plans import Plans
from guesthouse_abi.deadline import Deadline

#: What the guest or the event can be at fault for: here a route's `on_error = "drop"` holds.
_FAULTS = frozenset({Reason.TRAP, Reason.BAD_REPLY, Reason.GUEST}) | EVENT_FAULTS
#: What an event is given up for in the end. Not for what may end without it: a full queue, an output that is away.
_COUNTED = _FAULTS | {Reason.DEADLINE, Reason.INTERNAL}
_DEAD_LETTER_TIME = 10.0  # seconds: of its own, for the event's time may be over

_log = structlog.get_logger("guesthouse.events")


class Dispatcher:
    """Answers events, each with the guests of the plan that it began with. For any number of threads."""

    def __init__(self, plans: Plans, outputs: Outputs, observers: Sequence[Observer] = ()) -> None:
        self._plans = plans
        self._outputs = outputs
        self._observers = observers
        self._attempts = Attempts()

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
        plan = self._plans.take()
        try:
            return self._by(plan, event, deadline)
        finally:
            self._plans.give_back(plan)

    def _by(self, plan: Plan, event: Event, deadline: Deadline) -> Reply:
        route = plan.route(event)
        try:
            reply = _run(plan, plan.guests[route.guest], event, deadline)
            event.check_room(reply)
            if route.to or route.state:
                self._outputs.deliver(reply, event, route, deadline)
        except Failure as failure:
            failure.drop = (route.drop and failure.reason in _FAULTS) or self._given_up(event, route, failure)
            raise
        if route.attempts:
            self._attempts.forget(event)
        return reply

    def _given_up(self, event: Event, route: Route, failure: Failure) -> bool:
        """Count a failure; True when it was the event's last, and its dead letter, if it has one, was accepted.

        An event that is at fault itself has one attempt: more cannot help it.
        """
        if not route.attempts or failure.reason not in _COUNTED:
            return False
        attempts = self._attempts.failed(event)
        if attempts < route.attempts and failure.reason not in EVENT_FAULTS:
            return False
        if route.dead_letter:
            letter, box = Reply(event.body, event.content_type, route.guest), Route(route.guest, (route.dead_letter,))
            try:
                self._outputs.deliver(letter, event, box, Deadline.after(_DEAD_LETTER_TIME))
            except Failure as refused:
                _log.error("kept an event that was to be given up", name=event.name, error=str(refused))
                return False
        self._attempts.forget(event)
        _log.error(
            "gave an event up",
            guest=route.guest,
            trigger=event.trigger.value,
            name=event.name,
            sha256=digest(event),
            attempts=attempts,
            dead_letter=route.dead_letter,
            error=failure.text,
        )
        return True


def _run(plan: Plan, guest: Guest, event: Event, deadline: Deadline) -> Reply:
    limits = guest.limits
    if len(event.body) > limits.input:
        raise Failure(
            Reason.TOO_LARGE, f"a body of {len(event.body)} bytes; the limit input is {limits.input}", guest.name
        )
    deadline.tighten(limits.queue_wait + limits.time)
    queued = guest.slots.acquire(deadline)
    try:
        return plan.run(guest.name, event, deadline, queued)
    finally:
        guest.slots.release()

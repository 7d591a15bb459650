"""The way of every event from a transport to a guest: find the route, run the guest, save its actor, deliver the reply.

Here it is also decided when an event that fails is given up. The dispatcher knows neither Dapr nor Wasm. Who observes
events is decided where the dispatcher is made (`assembly.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from guesthouse.dispatch.attempts import Attempts, digest
from guesthouse.event import EVENT_FAULTS, ActorCalls, Event, Failure, Observer, Outputs, Reason, Reply, failure_of
from guesthouse.manifest.addresses import Address
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse.plan.routes import Route
from guesthouse_abi.deadline import Deadline

#: Failures that are the guest's own or the event's own. For these a route's `on_error = "drop"` holds.
_GUEST_OR_EVENT = frozenset({Reason.TRAP, Reason.BAD_REPLY, Reason.GUEST}) | EVENT_FAULTS
#: Failures that count as an attempt. Not: what may pass by itself, as a full queue or an output that is away.
_COUNTS_AS_ATTEMPT = _GUEST_OR_EVENT | {Reason.DEADLINE, Reason.INTERNAL}

Ending = TypeVar("Ending", Reply, Failure)

_log = structlog.get_logger("guesthouse.events")


class Dispatcher:
    """Answers events, each with the guests of the plan that it began with. For any number of threads."""

    def __init__(
        self,
        plans: Plans,
        outputs: Outputs,
        observers: Sequence[Observer] = (),
        actors: ActorCalls | None = None,
    ) -> None:
        """`actors` answers the events of routes to actors; None where no actor can be reached."""
        self._plans = plans
        self._outputs = outputs
        self._observers = observers
        self._actors = actors
        self._attempts = Attempts()

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """See `event.Handler.dispatch`. Without a reply it raises a `Failure`, also for an error of our own."""
        try:
            reply = self._answer(event, deadline if deadline is not None else Deadline(math.inf))
        except Exception as error:
            raise self._failed(event, error)  # noqa: B904 (its cause is set; a variable would keep the body in memory)
        for observer in self._observers:
            _tell(observer.answered, event, reply)
        return reply

    def _failed(self, event: Event, error: Exception) -> Failure:
        """Tell the observers that an event has failed. Returns the failure."""
        failure = failure_of(error)
        for observer in self._observers:
            _tell(observer.failed, event, failure)
        return failure

    def _answer(self, event: Event, deadline: Deadline) -> Reply:
        plan = self._plans.take()
        try:
            return self._answer_with(plan, event, deadline)
        finally:
            self._plans.give_back(plan)

    def _answer_with(self, plan: Plan, event: Event, deadline: Deadline) -> Reply:
        try:
            route = plan.route(event)
        except Failure:
            if event.fault is not None:  # says more than a missing route
                raise event.fault from None
            raise
        try:
            if event.fault is not None:
                raise event.fault
            if route.actor is not None:
                reply = self._asked(event, *route.actor, deadline)
            else:
                reply = plan.guests[route.guest].run(event, deadline)
            event.check_reply(reply)
            if event.actor is not None and event.actor.state is not None:
                event.actor.state.commit(deadline)
            if route.to or route.state:
                self._outputs.deliver(reply, event, route, deadline)
        except Exception as error:
            raise self._judged(event, route, error)  # noqa: B904 (as above)
        if route.attempts:
            self._attempts.forget(event)
        return reply

    def _asked(self, event: Event, address: Address, method: str, deadline: Deadline) -> Reply:
        """An actor's answer. Raises `Failure`."""
        if self._actors is None:
            raise Failure(Reason.OUTPUT, f"no actor {address.type!r} can be reached from here: there is no sidecar")
        return self._actors.answer(event, (address.type, address.id_for(event)), method, deadline)

    def _judged(self, event: Event, route: Route, error: Exception) -> Failure:
        """The failure of an event on this route, with its guest, and whether the event is dropped or sent again."""
        failure = failure_of(error, route.guest)
        failure.guest = failure.guest or route.guest
        at_fault = failure.reason in _GUEST_OR_EVENT
        failure.drop = (route.drop and at_fault) or self._give_up_when_exhausted(event, route, failure)
        return failure

    def _give_up_when_exhausted(self, event: Event, route: Route, failure: Failure) -> bool:
        """Count a failure. Returns whether the event is given up: it has no attempt left, and its dead letter, where
        the route has one, was delivered.

        An event that is itself wrong (too large, malformed) has one attempt: another cannot succeed.
        """
        if not route.attempts or failure.reason not in _COUNTS_AS_ATTEMPT:
            return False
        attempts = self._attempts.failed(event)
        if attempts < route.attempts and failure.reason not in EVENT_FAULTS:
            return False
        if route.dead_letter:
            dead_letter = Reply(event.body, event.content_type, route.guest)
            destination = Route(route.guest, (route.dead_letter,))
            try:
                self._outputs.deliver(dead_letter, event, destination, Deadline(math.inf))
            except Exception as refused:
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


def _tell(observe: Callable[[Event, Ending], None], event: Event, ending: Ending) -> None:
    """Tell an observer. When it fails, this is logged; the event and the other observers are not affected."""
    try:
        observe(event, ending)
    except Exception:
        _log.exception("an observer failed", guest=ending.guest, name=event.name)

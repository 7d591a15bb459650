"""The filters that an invocation goes through before its route: guests of http-wasm, one behind the other.

A filter may answer an event itself, or pass it on, changed or not, and then change the reply. What it may change is in
`guests/capabilities/onward.py`. Where a filter fails, the event fails, or the filter is left out (`Filter.open`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from guesthouse.event import Event, Failure, Reason, Reply, failure_of
from guesthouse.plan.plan import Plan
from guesthouse.plan.routes import Filter
from guesthouse_abi.deadline import Deadline

Answer = Callable[[Event, Deadline], Reply]

_log = structlog.get_logger("guesthouse.events")


def filtered(plan: Plan, filters: Sequence[Filter], event: Event, deadline: Deadline, route: Answer) -> Reply:
    """The reply to an event that goes through the filters which are for it, in order, and then to `route`.

    Whether a filter is for an event is decided when its turn comes, by the method that the event then has. Raises
    `Failure`.
    """
    if not filters:
        return route(event, deadline)
    one, *rest = filters

    def answer(event: Event, deadline: Deadline) -> Reply:
        return filtered(plan, rest, event, deadline, route)

    return _through(plan, one, event, deadline, _Behind(answer)) if one.takes(event) else answer(event, deadline)


class _Behind:
    """What stands behind a filter, and how it has answered."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.reply: Reply | None = None
        self.failure: Exception | None = None

    def __call__(self, event: Event, deadline: Deadline) -> Reply | None:
        """See `Event.onward`."""
        try:
            self.reply = self.answer(event, deadline)
        except Exception as error:
            self.failure = error
        return self.reply


def _through(plan: Plan, one: Filter, event: Event, deadline: Deadline, behind: _Behind) -> Reply:
    # Its own time ends its own deadline: where it is left out, the event goes on with the time that it had.
    own = Deadline(deadline.at)
    forget = deadline.on_cancel(own.cancel)
    try:
        guest = plan.guests.get(one.guest)
        if guest is None:
            raise Failure(Reason.OFF, f"the filter {one.guest!r} is switched off", one.guest)
        reply = guest.run(replace(event, onward=behind), own)
    except Exception as error:
        if behind.failure is not None:
            raise behind.failure from None
        failure = failure_of(error, one.guest)
        failure.guest = failure.guest or one.guest
        if not one.open or failure.reason is Reason.CANCELLED:
            raise failure  # noqa: B904 (its cause is set; a variable would keep the body in memory)
        _log.warning("left a filter out", guest=one.guest, name=event.name, error=failure.text)
        return behind.reply if behind.reply is not None else behind.answer(event, deadline)
    finally:
        forget()
    if behind.failure is not None:
        raise behind.failure
    if behind.reply is not None:
        _complete(reply, behind.reply)
    return reply


def _complete(reply: Reply, behind: Reply) -> None:
    """Add to a filter's reply what the reply behind it had, and no response of HTTP carries."""
    reply.cost = reply.cost.around(behind.cost, "next")
    reply.guest = behind.guest
    mine, its = reply.answer, behind.answer
    if mine is not None and its is not None and mine.status == its.status and reply.body == behind.body:
        reply.answer = its

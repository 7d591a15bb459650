"""Events in the log: how many were answered (level info), what each cost (debug), and which failed (warning).

The first answered event after a quiet minute has a line at once. Then there is one line a minute, with the number of
events since the last one. So whoever sends a first event sees it arrive, and a busy server's log stays readable.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

import structlog

from guesthouse.dispatch.attempts import digest
from guesthouse.event import Cost, Event, Failure, Reason, Reply

_log = structlog.get_logger("guesthouse.events")
_events = logging.getLogger("guesthouse.events")


MINUTE = 60.0  # seconds between two lines of answered events


class EventLog:
    """See `event.Observer`. For any number of threads."""

    def __init__(self, every: float = MINUTE) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._answered: Counter[str] | None = None  # by guest, since the last line; None after a minute without events

    def answered(self, event: Event, reply: Reply) -> None:
        """At level debug, log the event; at level info, log it where it is the first for a minute, else count it."""
        if _events.isEnabledFor(logging.DEBUG):
            self._line(_log.debug, event, reply)
        elif _events.isEnabledFor(logging.INFO) and self._is_first(reply.guest):
            self._line(_log.info, event, reply)

    @staticmethod
    def _line(log: Callable[..., object], event: Event, reply: Reply) -> None:
        log(
            "answered",
            guest=reply.guest,
            trigger=event.trigger.value,
            name=event.name,
            **_which(event),
            bytes=len(reply.body),
            **fields(reply.cost),
        )

    def _is_first(self, guest: str) -> bool:
        with self._lock:
            if self._answered is not None:
                self._answered[guest] += 1
                return False
            self._answered = Counter()
        self._sum_up_later()
        return True

    def _sum_up_later(self) -> None:
        timer = threading.Timer(self._every, self._sum_up)
        timer.daemon = True
        timer.start()

    def _sum_up(self) -> None:
        with self._lock:
            counts = self._answered or Counter()
            self._answered = Counter() if counts else None
        if counts:
            _log.info("answered since", events=counts.total(), guests=dict(counts), seconds=self._every)
            self._sum_up_later()

    def failed(self, event: Event, failure: Failure) -> None:
        """Log the failure with its reason; an error of our own with its traceback."""
        cause = _origin(failure) if failure.reason is Reason.INTERNAL else None
        _log.warning(
            "failed",
            guest=failure.guest,
            trigger=event.trigger.value,
            name=event.name,
            **_which(event),
            bytes=len(event.body),
            sha256=digest(event),
            reason=failure.reason.value,
            error=failure.text,
            **({"retry_after": failure.retry_after} if failure.retry_after is not None else {}),
            exc_info=cause,
            **(fields(failure.cost) if failure.cost is not None else {}),
        )


def _which(event: Event) -> dict[str, str]:
    """What tells an event from others of its name, where it has that."""
    found = {"id": event.id} if event.id else {}
    if event.actor is not None:
        found["actor"] = event.actor.id
        if event.actor.method:
            found["method"] = event.actor.method
    return found


def _origin(failure: Failure) -> BaseException | None:
    """The exception that caused a failure first; None where the failure has no cause."""
    error: BaseException = failure
    while error.__cause__ is not None:
        error = error.__cause__
    return error if error is not failure else None


def fields(cost: Cost) -> dict[str, float | int]:
    """A cost for a log line: seconds as milliseconds, with the unit in the name."""
    return {
        **{f"{name}_ms": round(seconds * 1000, 3) for name, seconds in cost.times().items()},
        "memory": cost.memory,
        "host_memory": cost.host_memory,
    }

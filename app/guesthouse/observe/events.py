"""Events in the log: what was answered and what it cost (level debug), and what failed (level warning)."""

from __future__ import annotations

import logging

import structlog

from guesthouse.event import Cost, Event, Failure, Reason, Reply

TIMES = ("queued", "guest", "host", "inference", "total")
"""The seconds in a `Cost`."""

_log = structlog.get_logger("guesthouse.events")
_debug = logging.getLogger("guesthouse.events")


class EventLog:
    """See `event.Observer`."""

    def answered(self, event: Event, reply: Reply) -> None:
        """A line with the event's cost, where anybody wants it."""
        if not _debug.isEnabledFor(logging.DEBUG):
            return
        _log.debug(
            "answered",
            guest=reply.guest,
            trigger=event.trigger.value,
            name=event.name,
            bytes=len(reply.body),
            **fields(reply.cost),
        )

    def failed(self, event: Event, failure: Failure) -> None:
        """A line with the reason; for a fault of our own, with its traceback."""
        cause = failure.__cause__.__cause__ if failure.reason is Reason.INTERNAL and failure.__cause__ else None
        _log.warning(
            "failed",
            guest=failure.guest,
            trigger=event.trigger.value,
            name=event.name,
            reason=failure.reason.value,
            error=failure.text,
            exc_info=cause,
            **(fields(failure.cost) if failure.cost is not None else {}),
        )


def fields(cost: Cost) -> dict[str, float | int]:
    """A cost for a log line: seconds as milliseconds, with the unit in the name."""
    return {
        **{f"{name}_ms": round(getattr(cost, name) * 1000, 3) for name in TIMES},
        "memory": cost.memory,
        "host_memory": cost.host_memory,
    }

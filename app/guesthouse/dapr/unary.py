"""Events that come as one call of gRPC each: what `Events` needs is taken from the call's context."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from guesthouse.dapr.convert import Metadata
from guesthouse.dapr.events import Events
from guesthouse.event import Event, Reply, ReplyLimit
from guesthouse_abi.deadline import Deadline

Request = TypeVar("Request")

AROUND = 64  # bytes of an answer that are neither a reply's body nor its content type, and more

_NEAR = 0.5  # seconds before a caller's deadline in which its end is taken for that of its time
_UNBOUNDED = 10 * 365 * 86400.0  # seconds: gRPC reports "no deadline" as hundreds of years


class UnaryCalls:
    """Answers gRPC calls by `events`. `message` is the largest message that can be sent, in bytes; None for any."""

    def __init__(self, events: Events, message: int | None = None) -> None:
        self._events = events
        self._reply_limit = None if message is None else ReplyLimit(message - AROUND)

    def answer(
        self,
        to_event: Callable[[Request, Metadata], Event],
        request: Request,
        context: grpc.ServicerContext,
    ) -> Reply:
        """Answer the event of one call. Raises as `Events` does."""
        metadata, events = context.invocation_metadata(), self._events
        events.admit(metadata, context.peer)
        try:
            event = to_event(request, metadata)
            if event.trigger.in_message:
                event.reply_limit = self._reply_limit
            return events.dispatch(event, deadline_of(context))
        finally:
            events.leave()


def deadline_of(context: grpc.ServicerContext) -> Deadline:
    """What the caller left, cancelled when it hangs up. A sidecar usually sets no bound: then it lies at infinity."""
    remaining = context.time_remaining()
    if remaining >= _UNBOUNDED:
        deadline = Deadline(math.inf)
        ended = deadline.cancel
    else:
        deadline = Deadline.after(remaining)
        ended = _hang_up(deadline, time.monotonic() + remaining - min(_NEAR, remaining / 2))
    if not context.add_callback(ended):
        ended()
    return deadline


def _hang_up(deadline: Deadline, until: float) -> Callable[[], None]:
    """Cancels a deadline when its call ends before `until`.

    gRPC ends a call whose deadline has passed as it ends one whose caller hung up, and the caller's clock is a little
    ahead of ours. A call that ends after `until` has run out of time: the deadline then says so by itself.
    """

    def ended() -> None:
        if time.monotonic() < until:
            deadline.cancel()

    return ended

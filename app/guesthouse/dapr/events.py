"""The way that every event goes, whatever transport it came by: it is let in, answered under its deadline, and leaves.

No gRPC here: `unary` takes what is needed from a gRPC call, and a stream or another protocol does the same for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from guesthouse.dapr.admission import Admission
from guesthouse.dapr.tokens import Tokens
from guesthouse.event import Event, Failure, Handler, Reply
from guesthouse_abi.deadline import Deadline

_log = structlog.get_logger("guesthouse.events")


class Events:
    """The events of one transport: `admit`, then `dispatch`, and `leave` whatever has come of it."""

    def __init__(self, handler: Handler, tokens: Tokens, admission: Admission) -> None:
        self._handler = handler
        self._tokens = tokens
        self._admission = admission
        self.heard = False  # whether a sender has ever sent an event, or asked which ones it may send
        self.leave = admission.leave
        """Give back the place that `admit` took."""

    def admit(self, metadata: Iterable[tuple[str, str | bytes]], peer: Callable[[], str]) -> None:
        """Check the sender's token, and take a place for its event, until `leave`. `peer` says who the sender is.

        Raises `Failure` (`DENIED`, `FULL`, `DRAINING`); there is no event then, and nothing to leave.
        """
        self.heard = True
        try:
            self._tokens.check(metadata)
            self._admission.enter()
        except Failure as failure:  # no event yet that an observer could hear of
            _log.warning("refused", reason=failure.reason.value, error=failure.text, peer=peer())
            raise

    def dispatch(self, event: Event, deadline: Deadline) -> Reply:
        """Answer an event that was admitted. Raises `Failure`; any other exception is an error of ours.

        `deadline` is what the sender left; it is cancelled when the sender hangs up.
        """
        reply = self._handler.dispatch(event, deadline)
        event.check_reply(reply)  # the host's own methods have replies too
        return reply

"""All transports of one process: they start and end together. What each of them serves is its own matter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from guesthouse.dapr.transport import Drain, Transport

_log = structlog.get_logger("guesthouse")

_LEAST = 1.0  # seconds for replies that are still to be read, however long the events took


class Application:
    """Transports over the same guests. They start in their order, and stop in the opposite one."""

    def __init__(self, transports: Sequence[Transport], drain: Drain = Drain()) -> None:  # noqa: B008 (frozen)
        self.transports = tuple(transports)
        self._drain = drain

    def start(self) -> None:
        """Start all transports. Raises `ServeError` where one cannot start; then none of them serves."""
        try:
            for transport in self.transports:
                transport.start()
        except BaseException:
            self.stop()
            raise

    def drain(self) -> bool:
        """End gently; returns whether all events have ended and all their replies were read.

        The transports drain side by side: one that waits for its events keeps no other one open. Replies are read until
        the last transport has drained, for its events may still publish some.
        """
        end = time.monotonic() + self._drain.notice + self._drain.limit
        with ThreadPoolExecutor(len(self.transports), "drain") as threads:
            finished = list(threads.map(lambda transport: transport.drain(self._drain), self.transports))
        unread = [transport.stop(max(_LEAST, end - time.monotonic())) for transport in reversed(self.transports)]
        for transport, done, left in zip(self.transports, finished, reversed(unread), strict=True):
            if not done or left:
                _log.warning(
                    "not all events ended well", transport=transport.name, cut_off=not done, unread_replies=left
                )
        return all(finished) and not any(unread)

    def stop(self) -> None:
        """End at once."""
        for transport in reversed(self.transports):
            transport.stop()

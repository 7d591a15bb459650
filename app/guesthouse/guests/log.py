"""Guests' own lines in the log, under their names, and no more of them than a log can take.

`limits.log` bounds what one event may log. Here is the bound on what all events of a guest may log together. Where the
manifest has a page, the last lines are also kept for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

RATE = 128 * 1024  # bytes that a guest may log each second, on average
BURST = 1024 * 1024  # bytes that may come at once after a quiet time; more where one event may log more
LINE = 200  # bytes that a line takes besides its text: time, names
KEPT = 100  # lines that are kept for the page
KEPT_TEXT = 500  # characters of a kept line

_lines = logging.getLogger("guesthouse.guest")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Line(NamedTuple):
    """A line that is kept."""

    at: float  # time of day, seconds since 1970
    stream: str
    text: str
    cut: bool


class GuestLog:
    """The `guesthouse_abi.services.Log` of one guest: a token bucket of bytes. For any number of threads.

    When the bucket is empty, lines are dropped until it holds a second's worth again. One line says that dropping
    begins, another one says at its end how many lines were dropped. The last `keep` lines can be asked for, whatever
    the log's level is.
    """

    def __init__(
        self,
        guest: str,
        burst: int = 0,
        keep: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._log = structlog.get_logger("guesthouse.guest").bind(guest=guest)
        self._burst = max(burst + LINE, BURST)
        self._clock = clock
        self._wall = wall
        self._kept: deque[Line] = deque(maxlen=keep)
        self._lock = threading.Lock()
        self._left = float(self._burst)
        self._filled = clock()
        self._unsaid = 0
        self.dropped = 0  # lines, since the start

    def line(self, stream: str, text: str) -> None:
        """See `guesthouse_abi.services.Log`."""
        level = logging.WARNING if stream == "host" else logging.INFO
        if not self._keep(level, stream, text, len(text)):
            return
        if stream == "host":
            self._log.warning(text)
        else:
            self._log.info(text, stream=stream)

    def entry(self, level: str, text: str, fields: Mapping[str, str]) -> None:
        """See `guesthouse_abi.services.Log`. The fields are one field of the log, so that they cannot hide its own."""
        shown = f"{text} {dict(fields)}" if fields else text
        if self._keep(_LEVELS[level], level, shown, len(shown)):
            self._log.log(_LEVELS[level], text, **({"fields": dict(fields)} if fields else {}))

    def _keep(self, level: int, stream: str, text: str, size: int) -> bool:
        """Keep a line for the page, if it passes. Returns whether it is to be logged."""
        if not self._kept.maxlen and not _lines.isEnabledFor(level):
            return False
        passes, lines = self._passes(size + LINE)
        if lines:
            what = f"{lines} lines of the guest were dropped" if passes else "lines of the guest are dropped from here"
            self._log.warning(f"{what}: it logs more than {RATE} bytes a second")
        if passes:
            self._kept.append(Line(self._wall(), stream, text[:KEPT_TEXT], len(text) > KEPT_TEXT))
        return passes

    def last(self) -> list[Line]:
        """The lines that are kept, the oldest first."""
        return list(self._kept)

    def _passes(self, size: int) -> tuple[bool, int]:
        """Whether a line of `size` bytes may be logged; and how many dropped lines the log has to tell of before it."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._filled) * RATE)
            self._filled = now
            dropped = self._unsaid
            if size > self._left or (dropped and self._left < RATE):
                self.dropped += 1
                self._unsaid += 1
                return False, 0 if dropped else 1
            self._left -= size
            self._unsaid = 0
            return True, dropped

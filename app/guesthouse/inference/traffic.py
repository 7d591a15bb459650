"""Whether a run of inference is alone on this process's cores, over all models that share them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

CALM = 0.1  # seconds after two runs have met, in which no run counts as alone


class Traffic:
    """Counts the runs that are under way. For any number of threads."""

    __slots__ = ("_clock", "_lock", "_met", "_running")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running = 0
        self._met = -math.inf  # when two runs were last under way at once

    def enter(self) -> bool:
        """A run begins. Returns whether it is alone: no other run is under way, and no two have met within `CALM`.

        With many callers there are moments with one run, while the other callers' pictures keep the cores busy.
        """
        with self._lock:
            self._running += 1
            now = self._clock()
            if self._running > 1:
                self._met = now
            return now - self._met > CALM

    def leave(self) -> None:
        """A run has ended."""
        with self._lock:
            self._running -= 1

"""How runs of inference share the cores, over all models: whether a run is alone, and when it waits for a core."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from guesthouse.inference.cores import cores
from guesthouse_abi.deadline import Deadline

PATIENCE = 0.05  # seconds that a run waits at most for a core
CALM = 0.1  # seconds after two runs have met, in which no run counts as alone


class Traffic:
    """Counts the runs that are under way. For any number of threads.

    As many runs go on at once as there are cores. More would only take the processors' caches from each other, so one
    more run waits, but not longer than `PATIENCE`: one guest's long runs must not hold up another's short ones.
    """

    __slots__ = ("_clock", "_free", "_lock", "_met", "_running")

    def __init__(self, clock: Callable[[], float] = time.monotonic, at_once: int | None = None) -> None:
        """`at_once` is how many runs go on without waiting (None: one for each core)."""
        self._clock = clock
        self._free = threading.Semaphore(cores() if at_once is None else at_once)
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

    @contextmanager
    def core(self, deadline: Deadline) -> Iterator[None]:
        """Have a core for a run. Waits for one up to `PATIENCE` seconds or the deadline, then goes on without one."""
        taken = self._free.acquire(timeout=max(0.0, min(PATIENCE, deadline.remaining())))
        try:
            yield
        finally:
            if taken:
                self._free.release()

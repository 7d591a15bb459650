"""How many cores this process may use, and whether a run of inference is alone on them."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """The cores that this process may keep busy: its affinity, bounded by the CPU quota of its container.

    The quota is read from cgroup v2's `cpu.max` or v1's `cpu.cfs_quota_us` and `cpu.cfs_period_us`; a part of a core
    counts as one.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(cgroup)))


def _quota(cgroup: Path) -> int:
    """The cores that the quota amounts to; all that there are where there is none."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        if all((cgroup / name).is_file() for name in names):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1


CALM = 0.1  # seconds after runs have met in which none counts as alone


class Traffic:
    """How many runs are under way, over all models that share the cores."""

    __slots__ = ("_clock", "_lock", "_met", "_running")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running = 0
        self._met = -math.inf  # when runs met last

    def enter(self) -> bool:
        """A run begins. True when it is alone: the only one, and no two have met lately.

        Between two runs of many callers there is a moment with one run; the cores are busy with the others' pictures.
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

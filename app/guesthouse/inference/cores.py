"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """The number of cores that this process may keep busy: its affinity, at most the CPU quota of its container.

    The quota is read from `cpu.max` (cgroup v2), or `cpu.cfs_quota_us` and `cpu.cfs_period_us` (v1). A quota of two and
    a half cores counts as three.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _quota(cgroup)))


def _quota(cgroup: Path) -> int:
    """The number of cores that the quota allows; where there is no quota, all cores of the machine."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        if all((cgroup / name).is_file() for name in names):
            quota, period = " ".join((cgroup / name).read_text() for name in names).split()
            if quota not in ("max", "-1"):
                return math.ceil(int(quota) / int(period))
    return os.cpu_count() or 1

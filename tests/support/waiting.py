"""Waiting for what another thread or process is about to make true, and never without end.

Times are generous: on a busy machine all of it takes long, and a test that fails by its time alone says nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

PATIENCE = 60.0  # seconds


def until(
    condition: Callable[[], object],
    what: str = "it did not come to pass",
    seconds: float = PATIENCE,
    pause: float | None = None,
) -> Any:
    """Ask until the answer is true, and return it. `what` is said where that takes more than `seconds`.

    `pause` is the time between two questions; left out, it is 1 ms at first and 50 ms later.
    """
    end, between = monotonic() + seconds, pause or 0.001
    while not (answer := condition()):
        assert monotonic() < end, f"{what}: not within {seconds:g} s"
        sleep(between)
        between = pause or min(2 * between, 0.05)
    return answer


def join(*threads: threading.Thread, seconds: float = PATIENCE) -> None:
    """Wait until each of them has ended."""
    for thread in threads:
        thread.join(seconds)
        assert not thread.is_alive(), f"{thread.name} has not ended after {seconds:g} s"

"""Threads that the process needs until its end. What they do is their owners' matter."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_FIRST, _LONGEST = 0.1, 5.0  # seconds of a pause after a fault

_log = logging.getLogger("guesthouse")  # the standard library's: worker processes have no other


def lasting_thread(name: str, step: Callable[[], bool], ended: threading.Event | None = None) -> threading.Thread:
    """A started thread that calls `step` again and again until it returns False.

    An exception does not end it: it is logged, and after a pause, which grows with each in a row, `step` is called
    again. `ended` cuts such a pause short, after which the thread is over.
    """
    stop = ended or threading.Event()

    def work() -> None:
        pause = _FIRST
        while True:
            try:
                if not step():
                    return
                pause = _FIRST
            except Exception:  # noqa: PERF203 (a step is long)
                _log.exception("the thread %s goes on in %g s, after a fault of ours", name, pause)
                if stop.wait(pause):
                    return
                pause = min(_LONGEST, pause * 2)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread

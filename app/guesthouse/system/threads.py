"""Threads that go on until they are told to end, whatever exception they meet; and what a thread says of itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

_FIRST, _LONGEST = 0.1, 5.0  # seconds of the first and of the longest pause after an exception


class _Here(threading.local):
    """This thread's own."""

    waits = 0


_HERE = _Here()


def note_wait() -> None:
    """Say that this thread waits for another process now: it does without the interpreter for most of its work."""
    _HERE.waits += 1


def waits_noted() -> int:
    """How often this thread has said so."""
    return _HERE.waits


_log = logging.getLogger("guesthouse")  # the standard library's: worker processes have no other


def lasting_thread(name: str, step: Callable[[], bool], ended: threading.Event | None = None) -> threading.Thread:
    """Start a thread that calls `step` again and again until `step` returns False.

    An exception does not end the thread. It is logged, and `step` is called again after a pause, which grows with each
    exception in a row. When `ended` is set during a pause, the thread ends.
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
                _log.exception("the thread %s goes on in %g s, after an error of ours", name, pause)
                if stop.wait(pause):
                    return
                pause = min(_LONGEST, pause * 2)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread

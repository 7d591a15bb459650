"""The one deadline of an event. Everything that may take over a millisecond is handed it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guesthouse_abi.errors import Cancelled, DeadlineExceeded


class Deadline:
    """A point on the monotonic clock, and whether the caller is still there.

    Made by the transport, tightened when the guest gets its slot. `cancel` may be called from any thread.
    """

    __slots__ = ("_callbacks", "_lock", "at", "cancelled")

    def __init__(self, at: float) -> None:
        self.at = at
        self.cancelled = False
        self._callbacks: list[Callable[[], None]] | None = None
        self._lock = threading.Lock()

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def tighten(self, seconds: float) -> None:
        """Bring the deadline forward to `seconds` from now, if that is earlier."""
        self.at = min(self.at, time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, never negative; 0 when cancelled."""
        return 0.0 if self.cancelled else max(0.0, self.at - time.monotonic())

    @property
    def over(self) -> bool:
        """Whether there is nothing left to work for."""
        return self.cancelled or time.monotonic() >= self.at

    def check(self) -> None:
        """Raise `DeadlineExceeded` or `Cancelled` when the event's time is over."""
        if self.cancelled:
            raise Cancelled("the caller hung up")
        if time.monotonic() >= self.at:
            raise DeadlineExceeded("the time limit was reached")

    def cancel(self) -> None:
        """The caller hung up: end the event's work at the next opportunity."""
        with self._lock:
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` (short, from any thread) when the event is cancelled; at once if it already is.

        Returns a function that takes the callback back.
        """
        with self._lock:
            if not self.cancelled:
                callbacks = self._callbacks
                if callbacks is None:
                    callbacks = self._callbacks = []
                callbacks.append(callback)
        if self.cancelled:
            callback()

        def forget() -> None:
            with self._lock:
                if self._callbacks is not None and callback in self._callbacks:
                    self._callbacks.remove(callback)

        return forget

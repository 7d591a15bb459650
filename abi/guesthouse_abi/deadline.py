"""The one deadline of an event. Everything that may take over a millisecond is handed it."""

from __future__ import annotations

import time
from collections.abc import Callable

from guesthouse_abi.errors import Cancelled, DeadlineExceeded


class Deadline:
    """A point on the monotonic clock, and whether the caller is still there.

    Made by the transport, tightened when the guest gets its slot. `cancel` may be called from any thread.
    """

    __slots__ = ("_callbacks", "at", "cancelled")

    def __init__(self, at: float) -> None:
        self.at = at
        self.cancelled = False
        self._callbacks: list[Callable[[], None]] = []

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
        self.cancelled = True
        # Without a lock, which each event would have to make: who takes a callback out of the list calls it, so it is
        # called once, also when `on_cancel` finds at the same time that the event is cancelled.
        callbacks = self._callbacks
        while callbacks:
            try:
                callback = callbacks.pop()
            except IndexError:
                return
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], object]:
        """Call `callback` (short, from any thread) when the event is cancelled; at once if it already is.

        Returns a function that takes the callback back.
        """
        callbacks = self._callbacks
        callbacks.append(callback)

        def forget() -> bool:
            try:
                callbacks.remove(callback)
            except ValueError:
                return False
            return True

        if self.cancelled and forget():
            callback()
        return forget

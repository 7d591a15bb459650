"""The one deadline of an event. Everything that may take longer than a millisecond gets it."""

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
        """Whether the time has passed, or the caller is gone."""
        return self.cancelled or time.monotonic() >= self.at

    def check(self) -> None:
        """Raise `DeadlineExceeded` or `Cancelled` when the event's time is over."""
        if self.cancelled:
            raise Cancelled("the caller hung up")
        if time.monotonic() >= self.at:
            raise DeadlineExceeded("the time limit was reached")

    def cancel(self) -> None:
        """Say that the caller hung up: the event's work ends as soon as it looks at the deadline."""
        self.cancelled = True
        # There is no lock, for every event would have to make one. Whichever thread pops a callback from the list calls
        # it. So each is called once, also when `on_cancel` sees the cancellation at the same time.
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

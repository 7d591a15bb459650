"""The current plan, which new events begin with, and earlier plans until their last event has ended.

A plan is never changed. A reload builds another plan (`reload`), and switches to it here. What plans share (models,
code, slots) lives until the last of these plans is closed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from guesthouse.plan.plan import Plan
from guesthouse.system import malloc
from guesthouse.system.threads import lasting_thread

_CLOSE_WAIT = 5.0  # seconds that `close` waits for the events of earlier plans

_log = logging.getLogger("guesthouse")


class Plans:
    """Gives each event the current plan, and closes an earlier plan after its last event. For any number of threads."""

    def __init__(self, plan: Plan) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._events = {id(plan): 0}  # how many events each plan has; for all plans that are not closed
        self._retired: list[Plan] = []  # earlier plans, whose events have not ended
        self._closing: threading.Thread | None = None
        self._closed = False
        self._now = plan
        self._listeners: list[Callable[[Plan, Plan | None], None]] = []

    @property
    def now(self) -> Plan:
        """The current plan. It may be closed at any time: an event uses `take`, which keeps its plan open."""
        return self._now

    @property
    def alive(self) -> int:
        """How many plans are not closed: the current one, and earlier ones whose events have not ended."""
        return len(self._events)

    def subscribe(self, listener: Callable[[Plan, Plan | None], None]) -> None:
        """Call `listener(new, old)` before each switch, and once now with `(current, None)`.

        When a listener fails at a switch, this is logged, and the switch goes on.
        """
        self._listeners.append(listener)
        listener(self._now, None)

    def take(self) -> Plan:
        """The current plan, for an event that begins. It stays open until the event calls `give_back`."""
        with self._changed:
            plan = self._now
            self._events[id(plan)] += 1
        return plan

    def give_back(self, plan: Plan) -> None:
        """An event of this plan has ended."""
        with self._changed:
            self._events[id(plan)] -= 1
            if plan is not self._now:
                self._changed.notify_all()

    def switch(self, plan: Plan) -> None:
        """Let events begin with `plan` from now on. The plan before is closed after its last event.

        Raises `RuntimeError` where the system has no thread left for closing it; then nothing is switched.
        """
        if self._closing is None:
            # A thread of its own closes plans: the last event's thread has a caller to answer, and closing may take
            # long.
            self._closing = lasting_thread("retired-plans", self._close_retired)
        for listener in self._listeners:
            try:
                listener(plan, self._now)
            except Exception:  # noqa: PERF203 (seldom)
                _log.exception("a listener failed at a reload")
        with self._changed:
            self._retired.append(self._now)
            self._now = plan
            self._events[id(plan)] = 0
            for guest in plan.guests.values():
                guest.take_limits()
            self._changed.notify_all()

    def close(self) -> None:
        """Close all plans. Earlier plans are closed after their last events, for which this waits a little."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) <= 1, _CLOSE_WAIT)
            self._closed = True
            self._changed.notify_all()
        self._now.close()

    def _close_retired(self) -> bool:
        """Wait for an earlier plan whose last event has ended, and close it. False: all are closed, and so is this."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ended() is not None)
            plan = self._ended()
            if plan is None:
                return False
            self._retired.remove(plan)
        try:
            plan.close()
            malloc.give_back()
        finally:
            with self._changed:
                del self._events[id(plan)]
                self._changed.notify_all()
        return True

    def _ended(self) -> Plan | None:
        """An earlier plan whose last event has ended."""
        return next((plan for plan in self._retired if not self._events[id(plan)]), None)

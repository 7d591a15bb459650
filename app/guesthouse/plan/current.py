"""The plan that events begin with, and earlier ones until their last event has ended.

A plan is never changed: a reload builds another one beside it (`reload`) and switches to it here. What plans share
(models, code, slots) lives as long as any of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from guesthouse.plan.plan import Plan
from guesthouse.system import malloc
from guesthouse.system.threads import lasting

_PATIENCE = 5.0  # seconds, at the end of the process, for events that were told to end

_log = logging.getLogger("guesthouse")


class Plans:
    """Hands each event its plan, and closes a plan with its last event. For any number of threads."""

    def __init__(self, plan: Plan) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._events = {id(plan): 0}  # by plan, of the plans that are not closed
        self._retired: list[Plan] = []  # those whose events have not ended
        self._closing: threading.Thread | None = None
        self._closed = False
        self._now = plan
        self._listeners: list[Callable[[Plan, Plan | None], None]] = []

    @property
    def now(self) -> Plan:
        """The plan that an event would begin with. Its models may be closed when it is used later: see `take`."""
        return self._now

    @property
    def alive(self) -> int:
        """Plans that are not closed: this one, and those whose events have not ended."""
        return len(self._events)

    def subscribe(self, listener: Callable[[Plan, Plan | None], None]) -> None:
        """Call `listener(new, old)` before each switch, and once now with `(current, None)`.

        A listener that fails later is logged, and holds up no switch.
        """
        self._listeners.append(listener)
        listener(self._now, None)

    def take(self) -> Plan:
        """The plan of an event that begins; it lives until it is given back."""
        with self._changed:
            plan = self._now
            self._events[id(plan)] += 1
        return plan

    def give_back(self, plan: Plan) -> None:
        """The event has ended."""
        with self._changed:
            self._events[id(plan)] -= 1
            if plan is not self._now:
                self._changed.notify_all()

    def switch(self, plan: Plan) -> None:
        """Let events begin with `plan` from now on. The one before ends with its last event.

        Raises `RuntimeError` where the system gives no thread for the end of that; nothing is switched then.
        """
        if self._closing is None:
            # Of its own: the last event's thread still has to answer, and closing may wait.
            self._closing = lasting("retired-plans", self._close_retired)
        for listener in self._listeners:
            try:
                listener(plan, self._now)
            except Exception:  # noqa: PERF203 (seldom)
                _log.exception("a listener failed to hear of a reload")
        with self._changed:
            self._retired.append(self._now)
            self._now = plan
            self._events[id(plan)] = 0
            for guest in plan.guests.values():
                guest.take_limits()
            self._changed.notify_all()

    def close(self) -> None:
        """Close all plans: the earlier ones with their last events, for which it waits a little."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._events) <= 1, _PATIENCE)
            self._closed = True
            self._changed.notify_all()
        self._now.close()

    def _close_retired(self) -> bool:
        """Close one plan whose last event has ended; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._over() is not None)
            plan = self._over()
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

    def _over(self) -> Plan | None:
        return next((plan for plan in self._retired if not self._events[id(plan)]), None)

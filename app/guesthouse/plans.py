"""The plan that events begin with, and earlier ones until their last event has ended.

A plan is never changed: a reload builds another one beside it (`reload`) and switches to it here. What plans share
(models, code, slots) lives as long as any of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from guesthouse import malloc
from guesthouse.plan import Plan

_PATIENCE = 5.0  # seconds, at the end of the process, for events that were told to end


class Plans:
    """Hands each event its plan, and closes a plan with its last event. For any number of threads."""

    def __init__(self, plan: Plan) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._held = {id(plan): 0}  # events by plan, of the plans that are not closed
        self._retired: dict[int, threading.Thread] = {}
        self._now = plan
        self._hears: list[Callable[[Plan, Plan | None], None]] = []

    @property
    def now(self) -> Plan:
        """The plan that an event would begin with. Its models may be closed when it is used later: see `take`."""
        return self._now

    @property
    def alive(self) -> int:
        """Plans that are not closed: this one, and those whose events have not ended."""
        return len(self._held)

    def tell(self, hears: Callable[[Plan, Plan | None], None]) -> None:
        """Call `hears` with each new plan and the one before it, just before events begin with it; with this one now.

        It must not raise.
        """
        self._hears.append(hears)
        hears(self._now, None)

    def take(self) -> Plan:
        """The plan of an event that begins; it lives until it is given back."""
        with self._changed:
            plan = self._now
            self._held[id(plan)] += 1
        return plan

    def give_back(self, plan: Plan) -> None:
        """The event has ended."""
        with self._changed:
            self._held[id(plan)] -= 1
            if plan is not self._now:
                self._changed.notify_all()

    def switch(self, plan: Plan) -> None:
        """Let events begin with `plan` from now on. The one before ends with its last event."""
        for hears in self._hears:
            hears(plan, self._now)
        with self._changed:
            before, self._now = self._now, plan
            self._held[id(plan)] = 0
            for guest in plan.guests.values():
                guest.take_limits()
            # Of its own: the last event's thread still has to answer, and closing may wait.
            retired = threading.Thread(target=self._close, args=(before,), name="retired-plan", daemon=True)
            self._retired[id(before)] = retired
        retired.start()

    def close(self) -> None:
        """Close all plans: the earlier ones with their last events, for which it waits a little."""
        end = time.monotonic() + _PATIENCE
        with self._changed:
            retired = list(self._retired.values())
        for thread in retired:
            thread.join(max(0.0, end - time.monotonic()))
        self._now.close()

    def _close(self, plan: Plan) -> None:
        key = id(plan)
        with self._changed:
            self._changed.wait_for(lambda: not self._held[key])
        plan.close()
        malloc.give_back()
        with self._changed:
            del self._held[key], self._retired[key]

"""Single events by the guests of a plan, and how they fail."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.plan.plan import Plan
from guesthouse_abi.deadline import Deadline


class Run:
    """Answer one event by a guest of the plan: by `usual`, unless another is named."""

    def __init__(self, plan: Plan, usual: str) -> None:
        self._plan = plan
        self._usual = usual

    def __call__(self, name: str, body: bytes = b"", guest: str = "", **facts: Any) -> Reply:
        event = Event(facts.pop("trigger", Trigger.INVOKE), name, body, **facts)
        return self._plan.guests[guest or self._usual].run(event, Deadline.after(30))

    def failure(self, name: str, body: bytes = b"", guest: str = "", **facts: Any) -> tuple[Reason, str]:
        """The same for an event that fails: why."""
        with pytest.raises(Failure) as failed:
            self(name, body, guest, **facts)
        return failed.value.reason, failed.value.text

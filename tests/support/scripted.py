"""A sidecar for guests that answers as a test says. Requests are read as for a real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from guesthouse.dapr.api_methods import Requests, method_of
from guesthouse.plan.plan import Plan
from guesthouse_abi.services import Ended


class Scripted(Requests):
    """A sidecar that answers as `reply` says, and remembers the calls that were made: `sidecar.SidecarApi`."""

    def __init__(self) -> None:
        self.made: list[tuple[str, bytes, dict[str, str]]] = []
        self.reply: Callable[[str, Callable[[Ended], None]], object] = lambda method, done: done(Ended(0, "", b"ok"))
        self.cancelled = 0

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        self.made.append((method, message, dict(metadata)))
        self.reply(method, done)
        return self._cancel

    def _cancel(self) -> None:
        self.cancelled += 1


def sidecar_of(plan: Plan) -> Scripted:
    sidecar = plan.host.services["dapr"]
    assert isinstance(sidecar, Scripted)
    return sidecar


def encoded(method: str, fields: Mapping[str, Any]) -> bytes:
    """A request of a method, as a guest would write it."""
    return method_of(method.partition("*")[0]).request(**fields).SerializeToString()

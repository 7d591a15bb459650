"""What all transports have in common: a transport brings events in by one way, and is started, drained and stopped.

Transports are `server.Server` (the sidecar calls the application) and `component.server.Component` (the sidecar calls
the pluggable component). `application` starts and ends them together; `events` is what they hand their events to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from guesthouse.faults import Faults


class ServeError(Faults):
    """A transport cannot start."""


@dataclass(frozen=True, slots=True)
class Drain:
    """How gently a transport ends, in seconds.

    For `notice`, senders are told that the end is near, and events are still taken. Then the events inside have `limit`
    to end.
    """

    notice: float = 0.0
    limit: float = 20.0


class Transport(Protocol):
    """One way by which events come in. Nobody can send anything before `start`."""

    @property
    def name(self) -> str:
        """The name of this transport in the log."""

    def start(self) -> None:
        """Take events from now on. Raises `ServeError`."""

    def drain(self, drain: Drain) -> bool:
        """Take no more events, as gently as `drain` says. Returns whether all events that were inside have ended."""

    def stop(self, seconds: float = 0.0) -> int:
        """End. What is inside is cancelled; replies that are still to be read have up to `seconds`.

        Returns how many of these nobody has read. May be called at any time, also before `start` and again.
        """

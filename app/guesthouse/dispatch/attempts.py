"""Counts how often an event has failed, for routes with `attempts`. In memory: a new process begins at zero.

The events of a binding carry nothing that tells an event that is sent again from a new one. So an event is known by the
name of its binding and by its body: two events with the same body are counted as one. (Some components count deliveries
in the metadata; MQTT's has only the topic there.) Each process counts only the failures that it has seen itself.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from guesthouse.event import Event

ENTRIES = 16384  # events that are counted at once; of more, those that failed longest ago are forgotten
KEEP = 3600.0  # seconds that an event is remembered after its latest failure

Key = tuple[str, str]


def digest(event: Event) -> str:
    """The sha256 of an event's body, as `sha256sum` prints it."""
    return hashlib.sha256(event.body).hexdigest()


class Attempts:
    """How often each event has failed in a row, of the events that failed lately. For any number of threads."""

    def __init__(self, entries: int = ENTRIES, keep: float = KEEP, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[Key, tuple[int, float]] = (
            OrderedDict()
        )  # the event with the latest failure is the last

    def failed(self, event: Event) -> int:
        """Count one more failure of an event. Returns how many failures that makes."""
        key, now = (event.name, digest(event)), self._clock()
        with self._lock:
            count, latest = self._failed.pop(key, (0, now))
            count = count + 1 if now - latest <= self._keep else 1
            self._failed[key] = (count, now)
            while len(self._failed) > self._entries:
                self._failed.popitem(last=False)
        return count

    def forget(self, event: Event) -> None:
        """The event was answered, or given up: its failures are not counted any more."""
        if not self._failed:  # no event has failed lately, so no digest has to be made
            return
        key = (event.name, digest(event))
        with self._lock:
            self._failed.pop(key, None)

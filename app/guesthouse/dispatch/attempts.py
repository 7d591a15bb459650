"""How often an event has failed, for routes that give one up. In memory: a process that starts again begins anew.

A binding's events carry nothing that tells one sent again from a new one (of MQTT comes the topic alone, and other
components count deliveries in their metadata), so an event is known by its binding and its body: the same body sent
twice is counted as one. Each process counts what it has seen itself.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from guesthouse.event import Event

ENTRIES = 16384
KEEP = 3600.0  # seconds after an event's latest failure

Key = tuple[str, str]


def digest(event: Event) -> str:
    """The sha256 of an event's body: what its sender finds with `sha256sum`."""
    return hashlib.sha256(event.body).hexdigest()


class Attempts:
    """Failures in a row of the events that failed lately. For any number of threads."""

    def __init__(self, entries: int = ENTRIES, keep: float = KEEP, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: OrderedDict[Key, tuple[int, float]] = OrderedDict()  # the latest failure last

    def failed(self, event: Event) -> int:
        """Count one more failure of an event: how many that makes."""
        key, now = (event.name, digest(event)), self._clock()
        with self._lock:
            count, latest = self._failed.pop(key, (0, now))
            count = count + 1 if now - latest <= self._keep else 1
            self._failed[key] = (count, now)
            while len(self._failed) > self._entries:
                self._failed.popitem(last=False)
        return count

    def forget(self, event: Event) -> None:
        """The event is over: answered, or given up."""
        if not self._failed:  # nothing fails: no body need be read for it
            return
        key = (event.name, digest(event))
        with self._lock:
            self._failed.pop(key, None)

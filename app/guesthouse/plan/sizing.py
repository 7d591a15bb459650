"""How much of a process a manifest needs: what the engine's pool and the server's threads are made for."""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Size:
    """What guests need together: instances at once, the largest memory in bytes, events inside with those that wait."""

    instances: int
    memory: int
    places: int


def size_of(manifest: Manifest) -> Size:
    """What a manifest's guests need, also those that are switched off: they may be switched on."""
    limits = [guest.limits for guest in manifest.guests.values()]
    instances = sum(one.concurrency for one in limits)
    return Size(instances, max((one.memory for one in limits), default=0), instances + sum(one.queue for one in limits))

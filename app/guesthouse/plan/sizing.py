"""How large a process a manifest needs: the engine's pool of instances and the server's threads are made for this."""

from __future__ import annotations

from dataclasses import dataclass

from guesthouse.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Capacity:
    """What all guests need together, or what a process has.

    `instances` is how many instances may live at once, `memory` the bytes of the largest guest memory, `places` how
    many events may be inside the server, at work or waiting in a queue.
    """

    instances: int
    memory: int
    places: int


def capacity_for(manifest: Manifest) -> Capacity:
    """What a manifest's guests need. Guests that are switched off count: a reload may switch them on."""
    limits = [guest.limits for guest in manifest.guests.values()]
    instances = sum(one.concurrency for one in limits)
    return Capacity(
        instances, max((one.memory for one in limits), default=0), instances + sum(one.queue for one in limits)
    )

"""Calls of guests to the sidecar, counted for the page: how often, how they ended and how long they took.

`Calls` counts by method and status. A guest cannot make new names: what an event has spent names methods of the
sidecar's API and codes of gRPC only (`guesthouse_abi.calls.CallTable`), so what is kept here is bounded by these.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from guesthouse.page import Json
from guesthouse.sidecar import building_block
from guesthouse_abi.calls import CAPABILITY, Code


class Calls:
    """Calls of one guest, or of one event. For one thread at a time."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _Sum] = defaultdict(_Sum)  # by method and status

    def add(self, durations: Mapping[tuple[str, str, str], Sequence[float]]) -> None:
        """Count the calls of an event: see `Spent.durations`."""
        for (capability, method, status), seconds in durations.items():
            if capability == CAPABILITY:
                self._kinds[method, status].add(len(seconds), sum(seconds))

    def in_all(self) -> dict[str, Json]:
        """How many calls there were, how many of them did not end well, and their milliseconds together."""
        return _counted(self._kinds.items())

    def by_block(self) -> list[Json]:
        """The same for each building block of Dapr."""
        blocks = defaultdict(list)
        for kind, found in self._kinds.items():
            blocks[building_block(kind[0])].append((kind, found))
        return [{"block": block, **_counted(kinds)} for block, kinds in sorted(blocks.items())]

    def by_status(self) -> list[Json]:
        """How many calls of each method ended with each status, those of one building block together."""
        rows = sorted((building_block(method), method, status) for method, status in self._kinds)
        return [
            {"block": block, "method": method, "status": status, **self._kinds[method, status].json()}
            for block, method, status in rows
        ]


class _Sum:
    """How many calls, and their seconds."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def add(self, count: int, seconds: float) -> None:
        self.count += count
        self.seconds += seconds

    def json(self) -> dict[str, Json]:
        return {"count": self.count, "ms": round(self.seconds * 1000, 3)}


def _counted(kinds: Iterable[tuple[tuple[str, str], _Sum]]) -> dict[str, Json]:
    together, failed = _Sum(), 0
    for (_, status), found in kinds:
        together.add(found.count, found.seconds)
        failed += found.count if status != Code.OK.name else 0
    return {**together.json(), "failed": failed}

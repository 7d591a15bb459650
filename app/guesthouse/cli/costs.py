"""What an event cost, in words: for `send`, `test` and `dev`."""

from __future__ import annotations

from collections.abc import Iterator

from guesthouse.event import Cost


def in_words(cost: Cost) -> str:
    """A cost in one line."""
    spent = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in {"inference": 0.0, **cost.spent}.items())
    return (
        f"took {cost.total * 1000:.1f} ms: guest {cost.guest * 1000:.1f}, host calls {cost.host * 1000:.1f}, "
        f"{spent}; waited {cost.queued * 1000:.1f} ms; "
        f"guest memory {cost.memory / 2**20:.1f} MiB, host memory {cost.host_memory / 2**20:.1f} MiB"
    )


def calls(cost: Cost) -> Iterator[str]:
    """The calls to the sidecar, a line for each: method, status, how long it took and when it began."""
    for call in cost.calls:
        if call.status:
            took, began = (call.ended - call.began) * 1000, (call.began - cost.began) * 1000
            yield f"call {call.subject}: {call.status} in {took:.1f} ms, begun after {began:.1f} ms"

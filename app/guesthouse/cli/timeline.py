"""What happened in an event, in the order of time: the calls that its guest made, what it logged, and how it ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import typer

from guesthouse.event import Cost, Event, Failure, Reply
from guesthouse.text import escaped

_GUESTS = "guesthouse.guest"  # the logger of guests' own lines


class Timeline(logging.Handler):
    """Prints each event when it is over: `event.Observer`, for any number of threads.

    As a handler of the log it takes guests' lines, which come in the thread of their event. `after` is called after
    each event, and returns what else is to be said of it.
    """

    def __init__(self, after: Callable[[], list[str]] = list) -> None:
        super().__init__()
        self._after = after
        self._lines = threading.local()

    def install(self) -> None:
        """Take guests' lines out of the log."""
        logger = logging.getLogger(_GUESTS)
        logger.addHandler(self)
        logger.propagate = False

    def remove(self) -> None:
        """Let guests' lines go into the log again."""
        logger = logging.getLogger(_GUESTS)
        logger.removeHandler(self)
        logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        said: object = record.msg
        line: dict[str, Any] = said if isinstance(said, dict) else {"event": record.getMessage()}
        fields = "".join(f" {name}={value}" for name, value in line.get("fields", {}).items())
        source = line.get("stream") or record.levelname.lower()
        self._taken().append((time.perf_counter(), f"{source}: {line.get('event', '')}{fields}"))

    def answered(self, event: Event, reply: Reply) -> None:
        """See `event.Observer`."""
        status = reply.answer.status if reply.answer is not None else 200
        why = f" ({reply.answer.text})" if reply.answer is not None and reply.answer.text else ""
        kind = f" {reply.content_type}" if reply.content_type else ""
        self._print(event, f"{status}{why}, {len(reply.body)} bytes{kind}", reply.cost)

    def failed(self, event: Event, failure: Failure) -> None:
        """See `event.Observer`."""
        self._print(event, f"{typer.style('failed', fg='red')} with {failure.reason.value}: {failure}", failure.cost)

    def _print(self, event: Event, ending: str, cost: Cost | None) -> None:
        what = f"{event.trigger.value} {event.name}{'?' if event.query else ''}{event.query}"
        if event.actor is not None:
            what = " ".join(filter(None, (f"{what}/{event.actor.id}", event.actor.method)))
        head, _, rest = ending.partition("\n")
        lines = [f"{time.strftime('%H:%M:%S')} {escaped(what)}, {len(event.body)} bytes: {head}{escaped(rest)}"]
        lines += self._moments(cost or Cost())
        lines += [f"           {typer.style('!', fg='red')} {escaped(one)}" for one in self._after()]
        typer.echo("\n".join(lines))

    def _moments(self, cost: Cost) -> Iterator[str]:
        """What happened, each with its milliseconds after the start of the guest."""
        moments = list(self._taken())
        self._taken().clear()
        for call in cost.calls:
            took = f"in {(call.ended - call.began) * 1000:.1f} ms"
            moments.append((call.began, " ".join(filter(None, (call.subject, call.status, took)))))
        began = cost.began or min((at for at, _ in moments), default=0.0)
        for at, text in sorted(moments):
            yield f"{(at - began) * 1000:8.1f} ms {escaped(text)}"
        if cost.began:
            times = cost.times()
            total = times.pop("total")
            parts = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in times.items())
            yield f"{total * 1000:8.1f} ms in all ({parts}), {cost.memory / 2**20:.1f} MiB"

    def _taken(self) -> list[tuple[float, str]]:
        """The lines of this thread's event so far."""
        if not hasattr(self._lines, "taken"):
            self._lines.taken = []
        taken: list[tuple[float, str]] = self._lines.taken
        return taken

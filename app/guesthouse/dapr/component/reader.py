"""The messages of an input binding for one sidecar: waiting, sent and not acknowledged yet, or to be sent again.

No gRPC and no guests here. A `Reader` is handed messages, and says which of them may be sent now. A reader lives longer
than the stream that takes from it: a sidecar ends its stream while its application is unhealthy, and opens a new one
later.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 1.0  # seconds before a message that failed is sent again; doubles with each attempt
LONGEST_PAUSE = 30.0
_EACH = 512  # bytes that a message costs beyond its own size


@dataclass(frozen=True, slots=True)
class Bounds:
    """At most `unacknowledged` messages are with the sidecar, each for `acknowledge` seconds and `attempts` times.

    `buffer` bounds the bytes of all messages of one reader. A reader without a stream is kept for `keep` seconds.
    """

    unacknowledged: int = 16
    acknowledge: float = 60.0
    attempts: int = 10
    buffer: int = 64 * 2**20
    keep: float = 600.0


@dataclass(order=True, slots=True)
class _Message(Generic[T]):
    due: float  # waiting: when it may be sent; sent: when its acknowledgement is overdue
    number: int  # order of arrival
    id: str = field(compare=False)
    content: T = field(compare=False)
    size: int = field(compare=False)
    attempts: int = field(default=0, compare=False)


class Stream:
    """Stands for one stream that takes from a reader."""


class Reader(Generic[T]):
    """Messages for one sidecar, in order of arrival. For any number of threads; `clock` never goes back.

    Within the bounds, a message is delivered at least once: one that its stream did not acknowledge goes to the next
    stream, with the same id. Beyond `buffer` the oldest waiting messages are given up, and so is a message that failed
    `attempts` times.
    """

    def __init__(self, name: str, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._bounds = bounds
        self._clock = clock
        self._changed = threading.Condition()
        self._stream: Stream | None = None
        self._alone_since = clock()
        self._number = 0
        self._bytes = 0
        self._waiting: deque[_Message[T]] = deque()
        self._later: list[_Message[T]] = []  # a heap: failed, to be sent again
        self._sent: dict[str, _Message[T]] = {}  # in the order in which they are overdue

    def __len__(self) -> int:
        """How many messages are not acknowledged yet."""
        with self._changed:
            return len(self._waiting) + len(self._later) + len(self._sent)

    @property
    def unacknowledged(self) -> int:
        """Messages that are with the sidecar."""
        with self._changed:
            return len(self._sent)

    @property
    def bytes_kept(self) -> int:
        """Bytes of all messages that are not acknowledged yet."""
        with self._changed:
            return self._bytes

    @property
    def free(self) -> bool:
        """Whether no stream takes from this reader."""
        with self._changed:
            return self._stream is None

    @property
    def abandoned(self) -> bool:
        """Whether no stream has come for longer than a reader is kept."""
        with self._changed:
            return self._stream is None and self._clock() - self._alone_since > self._bounds.keep

    def attach(self) -> Stream:
        """A new stream, which takes from here from now on. What the last stream did not acknowledge is sent first."""
        with self._changed:
            self._stream = Stream()
            for message in self._sent.values():
                message.attempts -= 1  # the stream failed, not the message
            again = sorted((*self._sent.values(), *self._waiting), key=lambda message: message.number)
            self._sent.clear()
            self._waiting = deque(again)
            self._changed.notify_all()
            return self._stream

    def detach(self, stream: Stream) -> None:
        """End a stream: `take` returns None to it from now on."""
        with self._changed:
            if self._stream is stream:
                self._stream = None
                self._alone_since = self._clock()
                self._changed.notify_all()

    def offer(self, id: str, content: T, size: int) -> None:
        """Keep a message of `size` bytes for the sidecar. Never waits."""
        lost = 0
        with self._changed:
            self._number += 1
            self._waiting.append(_Message(0.0, self._number, id, content, size + _EACH))
            self._bytes += size + _EACH
            while self._bytes > self._bounds.buffer and self._waiting:
                self._bytes -= self._waiting.popleft().size
                lost += 1
            self._changed.notify_all()
        if lost:
            _log.warning("%s: gave up %d of the oldest replies: nobody takes them fast enough", self.name, lost)

    def take(self, stream: Stream, seconds: float = math.inf) -> T | None:
        """The next message to send; waits for it, up to `seconds`. None when there is none, or the stream has ended."""
        end = self._clock() + seconds
        with self._changed:
            while self._stream is stream:
                now = self._clock()
                self._overdue(now)
                if (message := self._next(now)) is not None:
                    message.attempts += 1
                    message.due = now + self._bounds.acknowledge
                    self._sent[message.id] = message
                    return message.content
                if now >= end:
                    break
                wait = min(self._next_due(now), end - now)
                self._changed.wait(None if math.isinf(wait) else wait)
        return None

    def acknowledge(self, stream: Stream, id: str, error: str = "") -> None:
        """The sidecar has handled a message, or with `error` failed to. An unknown id is ignored."""
        with self._changed:
            if self._stream is not stream or (message := self._sent.pop(id, None)) is None:
                return
            if error:
                self._failed(message, error, _pause(message.attempts))
            else:
                self._bytes -= message.size
            self._changed.notify_all()

    def finish(self, seconds: float) -> bool:
        """Wait until every message is acknowledged, then end the stream. Returns whether every message was.

        Waits up to `seconds`, and not at all where no stream takes from this reader.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._stream is None or not self._bytes, seconds)
            self._stream = None
            self._changed.notify_all()
            return not self._bytes

    def _next(self, now: float) -> _Message[T] | None:
        if len(self._sent) >= self._bounds.unacknowledged:
            return None
        if self._later and self._later[0].due <= now:
            return heapq.heappop(self._later)
        return self._waiting.popleft() if self._waiting else None

    def _next_due(self, now: float) -> float:
        """Seconds until a message is overdue or may be sent again."""
        first = list(self._sent.values())[:1]
        if len(self._sent) < self._bounds.unacknowledged:
            first += self._later[:1]
        return max(0.0, min((message.due for message in first), default=math.inf) - now)

    def _overdue(self, now: float) -> None:
        for message in [message for message in self._sent.values() if message.due <= now]:
            del self._sent[message.id]
            self._failed(message, f"not acknowledged within {self._bounds.acknowledge:g} s", 0.0)

    def _failed(self, message: _Message[T], why: str, pause: float) -> None:
        if message.attempts >= self._bounds.attempts:
            self._bytes -= message.size
            _log.warning("%s: gave up reply %s after %d attempts: %s", self.name, message.id, message.attempts, why)
            return
        _log.info("%s: reply %s failed, attempt %d: %s", self.name, message.id, message.attempts, why)
        message.due = self._clock() + pause
        heapq.heappush(self._later, message)


def _pause(attempts: int) -> float:
    return float(min(FIRST_PAUSE * 2 ** min(attempts - 1, 30), LONGEST_PAUSE))

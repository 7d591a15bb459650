"""One thread that ends work whose deadline has passed. What that work is, and how it is ended, is the caller's."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType

from guesthouse.system.threads import lasting
from guesthouse_abi.deadline import Deadline


class Watch:
    """Calls back what is still under way when its deadline passes. Safe for any number of threads.

    The thread starts with the first entry and sleeps until the earliest deadline that it has seen. An entry that ends
    before that wakes nobody: deadlines come in nearly ascending order, so a short run costs two dictionary operations.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._entries: dict[_Watched, float] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False
        self._holders = 1

    def held(self) -> Watch:
        """The same watch for one holder more, who closes it as well."""
        with self._changed:
            self._holders += 1
        return self

    def until(self, deadline: Deadline, stop: Callable[[], None]) -> _Watched:
        """A context in which `stop` is called, once or more, when `deadline` passes or is cancelled.

        `stop` must be short and must not raise; it may still be called while the context is being left.
        """
        return _Watched(self, deadline, stop)

    def close(self) -> None:
        """Of the last holder: end the thread when nothing is left to watch. What is under way is watched to its end."""
        with self._changed:
            self._holders -= 1
            if self._holders <= 0:
                self._closed = True
                self._changed.notify()

    def _add(self, entry: _Watched, at: float) -> None:
        with self._changed:
            self._entries[entry] = at
            if self._thread is None:
                self._thread = lasting("inference-watch", self._work)
            if at < self._wakes_at:
                self._changed.notify()

    def _remove(self, entry: _Watched) -> None:
        with self._changed:
            self._entries.pop(entry, None)
            if self._closed:
                self._changed.notify()

    def _work(self) -> bool:
        """End one that is due, or sleep until one is; False when it is closed and nothing is left."""
        with self._changed:
            now = time.monotonic()
            due = next((entry for entry, at in self._entries.items() if at <= now), None)
            if due is not None:
                del self._entries[due]
            else:
                if self._closed and not self._entries:
                    self._thread = None
                    return False
                self._wakes_at = min(self._entries.values(), default=math.inf)
                self._changed.wait(min(self._wakes_at - now, threading.TIMEOUT_MAX))
        if due is not None:
            due.stop()
        return True


class _Watched:
    """The context that `Watch.until` gives."""

    __slots__ = ("_deadline", "_forget", "_watch", "stop")

    def __init__(self, watch: Watch, deadline: Deadline, stop: Callable[[], None]) -> None:
        self._watch = watch
        self._deadline = deadline
        self._forget: Callable[[], object] | None = None
        self.stop = stop

    def __enter__(self) -> None:
        if self._deadline.at != math.inf:
            self._watch._add(self, self._deadline.at)
        self._forget = self._deadline.on_cancel(self.stop)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._forget is not None:
            self._forget()
        self._watch._remove(self)

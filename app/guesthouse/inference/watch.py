"""One thread that ends work whose deadline has passed. The caller says what ends the work."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType

from guesthouse.system.threads import lasting_thread
from guesthouse_abi.deadline import Deadline


class Watch:
    """Calls a function for each entry whose deadline passes. Safe for any number of threads.

    The thread starts with the first entry and sleeps until the earliest deadline that it has seen. An entry that leaves
    before its deadline does not wake the thread, so a short run costs two dictionary operations.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._entries: dict[_Watched, float] = {}
        self._wakes_at = math.inf
        self._thread: threading.Thread | None = None
        self._closed = False
        self._holders = 1

    def retain(self) -> Watch:
        """Returns this watch to one more holder. It lives until each holder has called `close`."""
        with self._changed:
            self._holders += 1
        return self

    def until(self, deadline: Deadline, stop: Callable[[], None]) -> _Watched:
        """A context in which `stop` is called, once or more, when `deadline` passes or is cancelled.

        `stop` must be short and must not raise. It may still be called while the context is being left.
        """
        return _Watched(self, deadline, stop)

    def close(self) -> None:
        """One holder lets go. After the last one, the thread ends as soon as it has no entry left."""
        with self._changed:
            self._holders -= 1
            if self._holders <= 0:
                self._closed = True
                self._changed.notify()

    def _add(self, entry: _Watched, at: float) -> None:
        with self._changed:
            self._entries[entry] = at
            if self._thread is None:
                self._thread = lasting_thread("inference-watch", self._work)
            if at < self._wakes_at:
                self._changed.notify()

    def _remove(self, entry: _Watched) -> None:
        with self._changed:
            self._entries.pop(entry, None)
            if self._closed:
                self._changed.notify()

    def _work(self) -> bool:
        """Stop one entry whose deadline has passed, or sleep until there is one. False: closed, with no entry left."""
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
    """An entry of the watch: the context that `Watch.until` returns."""

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

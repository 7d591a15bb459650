"""The threads that answer a server's calls: few at work, and one more for each call that takes long.

A short call is mostly Python, and Python runs one thread at a time. With many threads at work, most of what a call
costs would go into handing the interpreter from one thread to the next. So while calls are short on average, one thread
answers them all. A long call is a guest at work, inference, or an event that waits for a slot. It does without the
interpreter, and needs a thread of its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from time import monotonic
from typing import ParamSpec, Protocol, TypeVar

from guesthouse.system.threads import lasting_thread, waits_noted

P = ParamSpec("P")
T = TypeVar("T")

SPARE_THREADS = 8  # of a server, never taken by events: health probes and refusals find one at once
TICK = 0.005  # seconds between two looks at the calls, while there are more of them than threads at work
_SHORT = 0.0005  # seconds that calls take on average, below which one thread answers them all
_WEIGHT = 1 / 16  # of one call in an average
_MANY = 0.25  # the share of calls that wait for another process, from which on many are answered at a time
_WAITING = 2  # times `least`: so many calls at a time, when many of them wait for another process
_QUIET_LOOKS = 200  # looks in a row without a waiting call, after which nobody looks until calls wait again


class Calls(Protocol):
    """Where threads take calls from."""

    def take(self) -> Callable[[], None] | None:
        """The next call, waited for; None for a thread that is to end."""

    def waiting(self) -> int | None:
        """How many calls wait to be taken; None where that is not known."""


class ElasticThreads:
    """Answer calls in order of arrival: `least` at a time, besides those that have taken over `tick` seconds.

    While calls are short on average, they are answered one at a time: two threads would only take the interpreter from
    each other. Calls that wait for another process do without the interpreter for most of their time, so twice as many
    of them as `least` are answered at a time, also where they are short. `most` is the greatest number of threads. A
    call must not raise. `pressing` says whether something waits for a thread that takes calls, and must not wait for
    `tick` seconds: then one more thread takes calls where all at work are busy, and none parks.
    """

    def __init__(
        self,
        calls: Calls,
        least: int,
        most: int,
        name: str,
        tick: float = TICK,
        pressing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._calls = calls
        self._least = min(least, most)
        self._most = most
        self._name = name
        self._tick = tick
        self._pressing = pressing
        self._parked: SimpleQueue[None] = SimpleQueue()  # each entry wakes one parked thread
        self._lock = threading.Lock()
        self._began: list[float] = []  # by thread: when its call began, infinity when it has none
        self._at_work = 0  # threads that answer calls or wait for one
        self._allowed = 0  # how many of them there should be
        self._busy = 0  # those that answer one
        self._watched = threading.Event()
        self._ended = threading.Event()
        self._quiet = 0  # looks in a row without a call that waits
        self._average = 0.0  # seconds that a call takes
        self._waiting = 0.0  # share of calls that wait for another process

    @property
    def at_work(self) -> int:
        """Threads that answer calls or wait for one."""
        return self._at_work

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended.is_set()

    def start(self) -> None:
        """Take calls from now on."""
        self._allow(self._at_a_time)
        lasting_thread(f"{self._name}-watch", self._watch, self._ended)

    def end(self) -> int:
        """Start no more threads; returns how many there are. Each of them ends when it is given None for a call."""
        if self._ended.is_set():
            return 0
        self._ended.set()
        self._watched.set()
        with self._lock:
            parked = len(self._began) - self._at_work
            self._at_work = self._allowed = len(self._began)
        for _ in range(parked):
            self._parked.put(None)
        return len(self._began)

    def look(self) -> None:
        """Wake the watching thread when there are more calls than threads at work; or one more thread, for what is
        pressing."""
        if not self._too_few:
            return
        if not self._watched.is_set():
            self._watched.set()
        if self._pressing():
            self.more()

    def more(self) -> None:
        """Have one more thread take calls at once, where there can be one."""
        try:
            self._allow(self._at_work + 1)
        except RuntimeError:  # no thread can be started
            return

    @property
    def _at_a_time(self) -> int:
        """How many calls to answer at a time, besides the long ones."""
        if self._waiting >= _MANY:
            return _WAITING * self._least
        return 1 if self._average < _SHORT else self._least

    @property
    def _too_few(self) -> bool:
        waiting = self._calls.waiting()
        # Where the number is not known, one may wait whenever nobody is there to take it.
        return self._busy + (1 if waiting is None else waiting) > self._at_work

    def _allow(self, count: int) -> None:
        """Have `count` threads at work: missing ones begin at once, others park as their calls end."""
        with self._lock:
            if self._ended.is_set():
                return
            self._allowed = min(count, self._most)
            add = max(0, self._allowed - self._at_work)
            known = len(self._began)
            parked = min(add, known - self._at_work)
            self._at_work += parked
        for _ in range(parked):
            self._parked.put(None)
        for _ in range(add - parked):
            self._start()

    def _start(self) -> None:
        """Start one more thread. Raises `RuntimeError` where the system gives none; no thread is counted then."""
        with self._lock:
            if self._ended.is_set():
                return
            number = len(self._began)
            self._began.append(math.inf)
            self._at_work += 1
        thread = threading.Thread(target=self._work, args=(number,), name=f"{self._name}-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._began.pop()
                self._at_work -= 1
            raise

    def _work(self, number: int) -> None:
        take, lock, began = self._calls.take, self._lock, self._began
        while (call := take()) is not None:
            with lock:
                self._busy += 1
            began[number] = monotonic()
            self.look()
            waits = waits_noted()
            call()
            del call  # frees what the call holds before this thread waits for the next one
            took = monotonic() - began[number]
            began[number] = math.inf
            with lock:
                self._average += (took - self._average) * _WEIGHT
                self._waiting += ((waits_noted() > waits) - self._waiting) * _WEIGHT
                self._busy -= 1
                park = self._at_work > self._allowed and not self._pressing()
                self._at_work -= park
            if park:
                self._parked.get()

    def _watch(self) -> bool:
        """Look once at the calls, as soon as there are more of them than threads at work. False after `end`."""
        if not self._watched.wait() or self._ended.wait(self._tick):
            return False
        long = monotonic() - self._tick
        long_calls = sum(began < long for began in self._began)
        waiting, too_few = self._calls.waiting(), self._too_few
        more = self._at_a_time
        # A call that takes longer than a tick does without the interpreter: one more thread may work beside it. Where
        # all threads have such calls, every waiting call has waited for a whole tick, and gets a thread.
        if long_calls >= self._at_work:
            more = max(more, long_calls if waiting is None else waiting)
        self._allow(long_calls + more)
        self._quiet = 0 if too_few else self._quiet + 1
        if self._quiet > _QUIET_LOOKS:
            self._quiet = 0
            self._watched.clear()
            self.look()
        return True


class ElasticExecutor(Executor):
    """`ElasticThreads` over a queue of their own, as an executor."""

    def __init__(self, least: int, most: int, name: str, tick: float = TICK) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.take = self._calls.get
        self._threads = ElasticThreads(self, least, most, name, tick)
        self._threads.start()

    @property
    def at_work(self) -> int:
        """See `ElasticThreads.at_work`."""
        return self._threads.at_work

    def waiting(self) -> int:
        """See `Calls.waiting`."""
        return self._calls.qsize()

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """See `concurrent.futures.Executor.submit`. Raises `RuntimeError` after `shutdown`."""
        if self._threads.ended:
            raise RuntimeError("no calls are taken after shutdown")
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*arguments, **named)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._calls.put(call)
        self._threads.look()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; the threads end after those that were taken. Waits for nothing, cancels nothing."""
        for _ in range(self._threads.end()):
            self._calls.put(None)

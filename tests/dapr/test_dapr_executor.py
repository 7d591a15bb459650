"""The threads of a server: how many are at work, and who waits for whom."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any

import pytest

from guesthouse.dapr.executor import ElasticExecutor, ElasticThreads
from guesthouse.system.threads import note_wait
from tests.support.waiting import PATIENCE, until

NEVER = 3600.0  # a tick that no test sees
_NUMBERS = itertools.count()


@pytest.fixture
def make() -> Iterator[Callable[..., ElasticExecutor]]:
    made: list[ElasticExecutor] = []
    test = next(_NUMBERS)  # threads of another test, if it failed, are not this one's

    def workers(least: int, most: int, tick: float = 0.01) -> ElasticExecutor:
        made.append(ElasticExecutor(least, most, f"test{test}-{len(made)}", tick))
        return made[-1]

    yield workers
    for one in made:
        one.shutdown()


def threads_of(workers: ElasticExecutor) -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(f"{workers._threads._name}-")]


def test_short_calls_are_answered_one_at_a_time(make):
    workers = make(2, 50, NEVER)
    names = {f.result(20) for f in [workers.submit(lambda: threading.current_thread().name) for _ in range(500)]}
    assert len(names) == 1
    assert workers.at_work == 1


def test_calls_that_take_a_while_are_answered_by_as_many_threads_as_were_asked_for(make):
    workers: ElasticExecutor = make(3, 50, 0.5)  # none of them takes that long: nobody is given a thread for that

    def at_work_after_some() -> int:
        wait([workers.submit(time.sleep, 0.005) for _ in range(200)], 60)
        return workers.at_work

    until(lambda: at_work_after_some() == 3, "three threads are at work")
    until(lambda: wait([workers.submit(int) for _ in range(2000)], 60) and workers.at_work == 1, "one is enough again")


def test_calls_that_wait_for_another_process_are_answered_by_twice_as_many_threads(make):
    workers: ElasticExecutor = make(3, 50, 0.5)

    def at_work_after_some() -> int:
        wait([workers.submit(note_wait) for _ in range(5000)], 60)
        return workers.at_work

    until(lambda: at_work_after_some() == 6, "six threads are at work")


def test_calls_begin_in_order_of_arrival(make):
    workers = make(1, 1)
    begun: list[int] = []
    wait([workers.submit(begun.append, number) for number in range(100)], 20)
    assert begun == list(range(100))


def test_a_call_that_takes_long_does_not_hold_up_those_behind_it(make):
    workers, go = make(1, 10), threading.Event()
    held = workers.submit(go.wait)
    assert workers.submit(lambda: "answered").result(20) == "answered"
    assert not held.done()
    go.set()
    assert held.result(20)


def test_many_calls_that_take_long_all_get_a_thread_and_give_it_back(make):
    workers = make(2, 40)
    everybody = threading.Barrier(40)  # only if all 40 are at work at once does any of them end
    wait([workers.submit(everybody.wait, 20) for _ in range(40)], 20)
    assert not everybody.broken
    until(lambda: workers.submit(int).result(20) == 0 and workers.at_work == 2)


def test_no_more_than_the_most_are_at_work(make):
    workers, go = make(2, 3), threading.Event()
    begun: list[int] = []

    def hold(number: int) -> None:
        begun.append(number)
        assert go.wait(20)

    calls = [workers.submit(hold, number) for number in range(8)]
    until(lambda: len(begun) == 3)
    time.sleep(0.1)  # ten looks
    assert sorted(begun) == [0, 1, 2]
    assert workers.at_work == 3
    go.set()
    wait(calls, 20)
    assert sorted(begun) == list(range(8))


def test_what_is_pressing_brings_one_more_thread_at_once_and_keeps_it() -> None:
    class Calls:
        queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()

        def take(self) -> Any:
            return self.queue.get()

        def waiting(self) -> None:
            return None

    calls, pressing, go = Calls(), threading.Event(), threading.Event()
    threads = ElasticThreads(calls, 1, 2, "pressed", NEVER, pressing.is_set)
    threads.start()
    calls.queue.put(lambda: assert_(go.wait(PATIENCE)))
    until(lambda: threads._busy == 1)
    done = threading.Semaphore(0)
    calls.queue.put(done.release)
    pressing.set()
    threads.look()
    assert done.acquire(timeout=PATIENCE)
    calls.queue.put(lambda: threads._allow(1))  # as a look does where no call waits
    calls.queue.put(done.release)
    assert done.acquire(timeout=PATIENCE), "it has parked"
    assert not go.is_set()
    go.set()
    for _ in range(threads.end()):
        calls.queue.put(None)


def assert_(held: bool) -> None:
    assert held


def test_parked_threads_are_taken_before_new_ones_are_made(make):
    workers = make(1, 20)
    for _ in range(5):
        everybody = threading.Barrier(6)
        wait([workers.submit(everybody.wait, 20) for _ in range(6)], 20)
        until(lambda: workers.submit(int).result(20) == 0 and workers.at_work == 1)
    assert len(threads_of(workers)) <= 12  # 6 at a time, some more where a look found all of them held up


def test_what_a_call_raises_is_its_own_matter(make):
    workers = make(1, 1)
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 // 0).result(20)
    assert workers.submit(int).result(20) == 0


def test_a_call_that_was_cancelled_while_it_waited_is_not_begun(make):
    workers, go = make(1, 1), threading.Event()
    begun: list[int] = []
    workers.submit(go.wait)
    call: Future[None] = workers.submit(begun.append, 1)
    assert call.cancel()
    go.set()
    workers.submit(int).result(20)
    assert not begun


def test_after_shutdown_what_was_taken_is_answered_and_the_threads_end(make):
    workers, go = make(2, 10), threading.Event()
    calls = [workers.submit(go.wait) for _ in range(6)]
    until(lambda: workers.at_work >= 6)
    workers.shutdown()
    workers.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        workers.submit(int)
    go.set()
    assert all(call.result(20) for call in calls)
    until(lambda: not threads_of(workers))


def test_a_system_that_gives_no_thread_for_a_while_costs_none_for_good(make, monkeypatch):
    """A bound on processes (pids.max) that others have used up, say."""
    start, refused = threading.Thread.start, threading.Event()

    def start_or_not(thread: threading.Thread) -> None:
        if thread.name.startswith("test") and not allowed.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    workers, go, allowed = make(1, 10), threading.Event(), threading.Event()
    monkeypatch.setattr(threading.Thread, "start", start_or_not)
    held = workers.submit(go.wait, 20)
    behind = workers.submit(lambda: "answered")
    assert refused.wait(20)
    assert not behind.done()
    allowed.set()
    assert behind.result(20) == "answered"
    go.set()
    assert held.result(20)
    until(lambda: workers.at_work <= 2)

"""The thread that ends what is over its deadline."""

from __future__ import annotations

import math
import threading
import time

import pytest

from guesthouse.inference import traffic as traffic_module
from guesthouse.inference.cores import cores
from guesthouse.inference.traffic import Traffic
from guesthouse.inference.watch import Watch
from guesthouse_abi.deadline import Deadline
from tests.support.waiting import join, until


def test_stops_each_at_its_deadline(watch):
    stopped = [threading.Event() for _ in range(3)]
    for delay, stop in zip((0.06, 0.03, 0.0), stopped, strict=True):
        watch.until(Deadline.after(delay), stop.set).__enter__()
    assert all(stop.wait(60) for stop in stopped)


def test_leaves_alone_what_ended_in_time(watch):
    stopped: list[str] = []
    with watch.until(Deadline.after(0.02), lambda: stopped.append("ended")):
        pass
    done = threading.Event()
    with watch.until(Deadline.after(0.05), done.set):
        assert done.wait(60)
    assert stopped == []


def test_stops_at_once_when_cancelled(watch):
    deadline = Deadline(math.inf)
    stopped = threading.Event()
    with watch.until(deadline, stopped.set):
        assert not stopped.is_set()
        deadline.cancel()
        assert stopped.is_set()


def test_stops_at_once_what_was_cancelled_before(watch):
    deadline = Deadline.after(5)
    deadline.cancel()
    stopped = threading.Event()
    with watch.until(deadline, stopped.set):
        assert stopped.is_set()


def test_keeps_nothing_of_what_ended(watch):
    deadline = Deadline.after(3600)
    for _ in range(100):
        with watch.until(deadline, lambda: None):
            pass
    assert not watch._entries
    assert not deadline._callbacks


def test_has_no_thread_before_the_first_entry_and_none_after_closing():
    watch = Watch()
    before = watch._thread
    assert before is None
    stopped = threading.Event()
    with watch.until(Deadline.after(0.05), stopped.set):
        thread = watch._thread
        assert thread is not None
        watch.close()
        assert stopped.wait(60)  # what is under way is still watched
    thread.join(60)
    assert not thread.is_alive()


def test_its_thread_ends_when_the_last_entry_does_after_closing():
    watch = Watch()
    with watch.until(Deadline.after(3600), lambda: None):
        thread = watch._thread
        asleep(watch)
        watch._wakes_at = math.inf
        watch.close()
        asleep(watch)
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()


def asleep(watch: Watch) -> None:
    """Wait until the thread sleeps for the deadline that it knows."""
    until(lambda: watch._wakes_at != math.inf)


def test_wakes_for_a_deadline_before_the_one_that_it_sleeps_for(watch):
    stopped = threading.Event()
    with watch.until(Deadline.after(3600), lambda: None):
        asleep(watch)
        with watch.until(Deadline.after(0.02), stopped.set):
            assert stopped.wait(60)


def test_sleeps_through_short_entries(watch):
    """An entry that ends before the deadline that the thread sleeps for costs no wake-up."""
    with watch.until(Deadline.after(3600), lambda: None):
        asleep(watch)
        first = watch._wakes_at
    with watch.until(Deadline.after(7200), lambda: None):
        time.sleep(0.01)
        assert watch._wakes_at == first


def test_a_run_is_alone_when_it_is_the_only_one_and_none_have_met_lately():
    now = [100.0]
    traffic = Traffic(lambda: now[0])
    assert traffic.enter()
    assert not traffic.enter()
    traffic.leave()
    assert not traffic.enter()
    traffic.leave()
    traffic.leave()
    now[0] += 0.09
    assert not traffic.enter()  # the only one, but others met a moment ago
    traffic.leave()
    now[0] += 0.02
    assert traffic.enter()
    traffic.leave()
    assert traffic.enter()


def test_counts_no_more_cores_than_a_containers_quota_allows(tmp_path):
    unlimited = cores(tmp_path)
    assert unlimited >= 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cores(tmp_path) == unlimited
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert cores(tmp_path) == 1
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores(tmp_path) == unlimited
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("100000\n")
    assert cores(tmp_path) == 1


def test_a_run_waits_for_a_core_while_all_are_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traffic_module, "PATIENCE", 3600.0)
    traffic, order = Traffic(at_once=1), list[str]()

    def other() -> None:
        with traffic.core(Deadline.after(3600)):
            order.append("second")

    with traffic.core(Deadline.after(3600)):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.1)  # enough for the second one to go on, if it did not wait
        order.append("first")
    join(thread)
    assert order == ["first", "second"]


def test_a_run_waits_no_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch):
    """A guest's long runs do not hold up another's."""
    monkeypatch.setattr(traffic_module, "PATIENCE", 0.01)
    traffic = Traffic(at_once=1)
    with traffic.core(Deadline.after(3600)):
        with traffic.core(Deadline.after(3600)):
            pass
        assert traffic._free._value == 0  # what went on without a core gives none back
    assert traffic._free._value == 1


def test_a_run_does_not_wait_past_its_deadline(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traffic_module, "PATIENCE", 3600.0)
    traffic = Traffic(at_once=1)
    with traffic.core(Deadline.after(3600)), traffic.core(Deadline.after(0.01)):
        pass

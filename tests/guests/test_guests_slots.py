"""Admission to a guest: slots, order of arrival, a bounded queue, and callers that give up."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from guesthouse.event import Failure, Reason
from guesthouse.guests.slots import Slots
from guesthouse_abi.deadline import Deadline
from tests.support.waiting import join, until


def waiting(slots: Slots, deadline: Deadline, done: list[object]) -> threading.Thread:
    """A thread that waits for a slot, and notes what it got."""
    before = slots.queued

    def work() -> None:
        try:
            slots.acquire(deadline)
            done.append("slot")
        except Failure as failure:
            done.append(failure.reason)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: slots.queued == before + 1 or done)
    return thread


def test_slots_are_taken_and_given_back():
    slots = Slots("g", 2, 0, 1)
    assert slots.acquire(Deadline.after(1)) == 0
    slots.acquire(Deadline.after(1))
    assert slots.busy == 2
    with pytest.raises(Failure, match="all 2 slots are busy and 0 callers wait already") as caught:
        slots.acquire(Deadline.after(1))
    assert caught.value.reason is Reason.FULL
    slots.release()
    slots.acquire(Deadline.after(1))


def test_callers_get_slots_in_order_of_arrival():
    slots = Slots("g", 1, 8, 60)
    slots.acquire(Deadline.after(60))
    order: list[list[object]] = [[] for _ in range(4)]
    threads = [waiting(slots, Deadline.after(60), done) for done in order]
    for index, done in enumerate(order):
        slots.release()
        until(partial(bool, done))
        assert [bool(d) for d in order] == [True] * (index + 1) + [False] * (3 - index)
    join(*threads)


def test_beyond_the_queue_callers_are_refused_at_once():
    slots = Slots("g", 1, 1, 60)
    slots.acquire(Deadline.after(60))
    done: list[object] = []
    thread = waiting(slots, Deadline.after(60), done)
    with pytest.raises(Failure, match=r"1 callers wait already \(queue 1\)"):
        slots.acquire(Deadline.after(60))
    slots.release()
    join(thread)
    assert done == ["slot"]


def test_a_wait_longer_than_queue_wait_is_full():
    slots = Slots("g", 1, 1, 0.05)
    slots.acquire(Deadline.after(60))
    with pytest.raises(Failure, match=r"no slot became free within queue_wait \(0.05 s\)") as caught:
        slots.acquire(Deadline.after(60))
    assert caught.value.reason is Reason.FULL
    assert slots.queued == 0


def test_a_wait_past_the_deadline_is_a_deadline():
    slots = Slots("g", 1, 1, 60)
    slots.acquire(Deadline.after(60))
    with pytest.raises(Failure, match="the deadline passed while the event waited") as caught:
        slots.acquire(Deadline.after(0.05))
    assert caught.value.reason is Reason.DEADLINE


def test_a_caller_that_hangs_up_gives_its_place_back():
    slots = Slots("g", 1, 1, 60)
    slots.acquire(Deadline.after(60))
    deadline = Deadline.after(60)
    done: list[object] = []
    thread = waiting(slots, deadline, done)
    deadline.cancel()
    join(thread)
    assert done == [Reason.CANCELLED]
    assert slots.queued == 0
    slots.release()
    assert slots.busy == 0


def test_no_slot_is_lost_when_callers_give_up_as_slots_become_free():
    slots = Slots("g", 2, 64, 0.002)

    def work() -> None:
        for _ in range(200):
            try:
                slots.acquire(Deadline.after(0.001))
            except Failure:
                continue
            slots.release()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert slots.busy == 0
    assert slots.queued == 0


def test_more_slots_are_for_those_who_wait_and_fewer_hold_when_enough_have_left():
    slots = Slots("g", 1, 8, 60)
    slots.acquire(Deadline.after(60))
    done: list[list[object]] = [[], []]
    threads = [waiting(slots, Deadline.after(60), one) for one in done]
    slots.resize(2, 8, 60)
    until(lambda: done[0])
    assert (done[1], slots.busy, slots.queued) == ([], 2, 1)
    slots.resize(1, 0, 60)
    slots.release()
    assert (slots.busy, slots.queued) == (1, 1)
    with pytest.raises(Failure, match="all 1 slots are busy"):
        slots.acquire(Deadline.after(1))
    slots.release()
    until(lambda: done[1])
    join(*threads)
    slots.release()
    assert slots.busy == 0

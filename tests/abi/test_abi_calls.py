"""Calls whose end is noticed while a thread attends to them: who does, and when. What guests see of calls is tested in
test_abi_dapr_v1.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from guesthouse_abi.calls import CallTable, Driven
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Cancelled, DeadlineExceeded
from guesthouse_abi.services import CallRequest, Ended
from guesthouse_abi.spent import Spent


class Nothing:
    def hold(self, count: int) -> None: ...
    def release(self, count: int) -> None: ...


class Watched(Driven):
    """Notes what is done to it; ends when somebody attends to it."""

    def __init__(self, done: Callable[[Ended], None]) -> None:
        self._done = done
        self.log: list[str] = []
        self.in_drive: Callable[[], object] = lambda: done(Ended(0, "", b"found"))

    def __call__(self) -> None:
        self.log.append("given up")
        self._done(Ended(1, "cancelled"))

    def drive(self) -> None:
        self.log.append("driven")
        self.in_drive()

    def watch(self) -> None:
        self.log.append("watched")
        self._done(Ended(0, "", b"found"))


class Table:
    """A table of three calls that were started."""

    def __init__(self, seconds: float = 60.0) -> None:
        self.calls: list[Watched] = []
        self.deadline = Deadline.after(seconds)
        self.table = CallTable(self._begin, 8, 8, self.deadline, Spent(), Nothing())
        for _ in range(3):
            self.table.start(CallRequest("GetState", b""))

    def _begin(self, request: CallRequest, seconds: float, done: Callable[[Ended], None]) -> Watched:
        self.calls.append(Watched(done))
        return self.calls[-1]

    @property
    def log(self) -> list[list[str]]:
        return [call.log for call in self.calls]


@pytest.fixture
def table() -> Table:
    return Table()


def test_nobody_attends_to_a_call_that_was_only_started(table: Table) -> None:
    assert table.log == [[], [], []]


def test_who_waits_for_all_attends_to_them_itself(table: Table) -> None:
    assert table.table.wait([1, 3], True, None) == 2
    assert table.log == [["driven"], [], ["driven"]]


def test_who_waits_for_one_attends_to_it_itself(table: Table) -> None:
    assert table.table.wait([2], False, None) == 0
    assert table.log == [[], ["driven"], []]


def test_who_waits_for_any_of_several_attends_to_none(table: Table) -> None:
    assert table.table.wait([1, 2], False, None) == 0
    assert table.log == [["watched"], ["watched"], []]


def test_who_waits_for_any_and_has_one_needs_nobody(table: Table) -> None:
    table.table.wait([2], False, None)
    assert table.table.wait([1, 2], False, None) == 1
    assert table.log == [[], ["driven"], []]


def test_who_only_looks_has_another_attend(table: Table) -> None:
    table.table.wait([1], True, 0)
    assert table.table.ended(2) is None
    assert table.log == [["watched"], ["watched"], []]


def test_the_end_of_an_event_gives_up_what_nobody_waited_for(table: Table) -> None:
    table.table.wait([1], True, None)
    table.table.finish()
    assert table.log == [["driven"], ["given up"], ["given up"]]


def test_an_event_that_is_cancelled_gives_up_the_calls_that_it_waits_for(table: Table) -> None:
    table.calls[0].in_drive = table.deadline.cancel
    with pytest.raises(Cancelled):
        table.table.wait([1], True, None)
    assert table.log == [["driven", "given up"], [], []]


def test_an_event_whose_time_is_over_ends_though_its_call_has_ended_too() -> None:
    table = Table()
    call = table.calls[0]

    def late() -> None:
        table.deadline.tighten(0)
        call._done(Ended(4, "too late"))

    call.in_drive = late
    with pytest.raises(DeadlineExceeded):
        table.table.wait([1], True, None)

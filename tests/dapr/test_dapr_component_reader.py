"""What a sidecar reads of replies: order, bounds, acknowledgements, and that nothing is lost within the bounds."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from guesthouse.dapr.component.reader import FIRST_PAUSE, Bounds, Reader, Stream
from tests.support.budget import examples
from tests.support.waiting import until

BOUNDS = Bounds(unacknowledged=3, acknowledge=10.0, attempts=3, buffer=20_000, keep=100.0)
LARGE = 5_000


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(clock: Clock) -> Reader[str]:
    return Reader("component test", BOUNDS, clock)


def offer(reader: Reader[str], *ids: str, size: int = 100) -> None:
    for id in ids:
        reader.offer(id, id, size)


def take_all(reader: Reader[str], stream: Stream) -> list[str]:
    """What may be sent now."""
    taken = []
    while (message := reader.take(stream, seconds=0)) is not None:
        taken.append(message)
    return taken


# Examples


def test_messages_come_in_order_and_no_more_than_may_be_unacknowledged(reader: Reader[str]):
    offer(reader, *"abcde")
    stream = reader.attach()
    assert take_all(reader, stream) == ["a", "b", "c"]
    reader.acknowledge(stream, "b")
    assert take_all(reader, stream) == ["d"]


def test_what_a_stream_did_not_acknowledge_goes_first_to_the_next(reader: Reader[str]):
    offer(reader, *"abcd")
    first = reader.attach()
    take_all(reader, first)
    reader.acknowledge(first, "b")
    reader.detach(first)
    assert take_all(reader, first) == []
    second = reader.attach()
    assert take_all(reader, second) == ["a", "c", "d"]


def test_a_late_word_of_an_ended_stream_is_passed_over(reader: Reader[str]):
    offer(reader, "a")
    first = reader.attach()
    take_all(reader, first)
    reader.detach(first)
    second = reader.attach()
    reader.acknowledge(first, "a")
    assert take_all(reader, second) == ["a"]


def test_a_message_that_failed_comes_again_after_a_growing_pause(reader: Reader[str], clock: Clock):
    offer(reader, "a")
    stream = reader.attach()
    for pause in (FIRST_PAUSE, FIRST_PAUSE * 2):
        assert take_all(reader, stream) == ["a"]
        reader.acknowledge(stream, "a", "no film")
        clock.now += pause * 0.99
        assert take_all(reader, stream) == []
        clock.now += pause * 0.02
    assert take_all(reader, stream) == ["a"]


def test_a_message_is_given_up_after_its_last_attempt(reader: Reader[str], clock: Clock, caplog):
    offer(reader, "a")
    stream = reader.attach()
    for _ in range(BOUNDS.attempts):
        clock.now += 60
        assert take_all(reader, stream) == ["a"]
        reader.acknowledge(stream, "a", "no film")
    assert (len(reader), reader.bytes_kept) == (0, 0)
    assert caplog.messages[-1] == "component test: gave up reply a after 3 attempts: no film"


def test_the_end_of_a_stream_is_no_attempt(reader: Reader[str]):
    offer(reader, "a")
    for _ in range(BOUNDS.attempts + 2):
        stream = reader.attach()
        assert take_all(reader, stream) == ["a"]
        reader.detach(stream)
    stream = reader.attach()
    take_all(reader, stream)
    reader.acknowledge(stream, "a", "no film")
    assert len(reader) == 1


def test_a_message_that_is_not_acknowledged_in_time_comes_again(reader: Reader[str], clock: Clock, caplog):
    offer(reader, *"abcd")
    stream = reader.attach()
    take_all(reader, stream)
    clock.now += BOUNDS.acknowledge
    assert take_all(reader, stream) == ["a", "b", "c"]
    clock.now += BOUNDS.acknowledge * 2
    take_all(reader, stream)
    clock.now += BOUNDS.acknowledge * 2
    assert take_all(reader, stream) == ["d"]
    assert caplog.messages[-1] == "component test: gave up reply c after 3 attempts: not acknowledged within 10 s"


def test_the_oldest_are_given_up_beyond_the_buffer(reader: Reader[str], caplog):
    offer(reader, *"abcde", size=LARGE)
    assert reader.bytes_kept <= BOUNDS.buffer
    assert take_all(reader, reader.attach()) == ["c", "d", "e"]
    warning = "component test: gave up 1 of the oldest replies: nobody takes them fast enough"
    assert caplog.messages == [warning, warning]


def test_is_abandoned_when_no_stream_comes(reader: Reader[str], clock: Clock):
    def abandoned() -> bool:
        return reader.abandoned

    clock.now += 99
    assert not abandoned()
    clock.now += 2
    assert abandoned()
    stream = reader.attach()
    assert not abandoned()
    clock.now += 1000
    reader.detach(stream)
    assert not abandoned()


# Waiting


@pytest.fixture
def waiting():
    """A reader with a stream, and a thread that collects what it takes."""
    reader: Reader[str] = Reader("component test", Bounds(unacknowledged=1, acknowledge=0.05, attempts=2))
    stream = reader.attach()
    taken: list[str | None] = []

    def take() -> None:
        while (message := reader.take(stream)) is not None:
            taken.append(message)
        taken.append(None)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield reader, stream, taken
    reader.detach(stream)
    thread.join(10)
    assert not thread.is_alive()


def test_taking_waits_for_a_message_for_room_and_for_time(waiting):
    reader, stream, taken = waiting
    offer(reader, "a")
    until(lambda: taken == ["a"])
    offer(reader, "b")
    reader.acknowledge(stream, "a")
    until(lambda: taken == ["a", "b", "b"])  # the second time because its acknowledgement was overdue


def test_taking_sleeps_while_there_is_no_room():
    asked = 0

    def clock() -> float:
        nonlocal asked
        asked += 1
        return time.monotonic()

    reader: Reader[str] = Reader("component test", Bounds(unacknowledged=1), clock)
    stream = reader.attach()
    offer(reader, "a", "b")
    take_all(reader, stream)
    reader.acknowledge(stream, "a", "no film")
    take_all(reader, stream)  # now b is with the sidecar, and a is to be sent again
    time.sleep(FIRST_PAUSE)
    asked = 0
    assert reader.take(stream, seconds=0.05) is None
    assert asked < 10


def test_taking_ends_with_the_stream(waiting):
    reader, stream, taken = waiting
    reader.detach(stream)
    until(lambda: taken == [None])


def test_finishing_waits_for_acknowledgements_and_ends_the_stream(waiting):
    reader, stream, taken = waiting
    offer(reader, "a")
    until(lambda: taken)
    threading.Timer(0.02, reader.acknowledge, (stream, "a")).start()
    assert reader.finish(10) is True
    until(lambda: taken[-1] is None)


def test_finishing_does_not_wait_without_a_stream(reader: Reader[str]):
    offer(reader, "a")
    assert reader.finish(1000) is False


# Any order of what can happen


class AnyOrder(RuleBasedStateMachine):
    """Streams come and go, messages are handled, fail, or are forgotten: the bounds hold, and nothing gets lost."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.reader: Reader[int] = Reader("component test", BOUNDS, self.clock)
        self.stream: Stream | None = None
        self.offered = 0
        self.newest = 0  # of those that were sent
        self.sent: dict[int, float] = {}  # on this stream, and when
        self.attempts: dict[int, int] = {}
        self.over: set[int] = set()  # acknowledged

    @rule(count=st.integers(1, 4))
    def offer(self, count: int) -> None:
        for _ in range(count):
            self.offered += 1
            self.reader.offer(str(self.offered), self.offered, 1_000)

    @rule()
    def attach(self) -> None:
        self.stream = self.reader.attach()
        for id in self.sent:
            self.attempts[id] -= 1
        self.sent.clear()

    @precondition(lambda self: self.stream)
    @rule()
    def detach(self) -> None:
        assert self.stream is not None
        self.reader.detach(self.stream)
        self.stream = None

    @precondition(lambda self: self.stream)
    @rule()
    def take(self) -> None:
        assert self.stream is not None
        id = self.reader.take(self.stream, seconds=0)
        now = self.clock.now
        self.sent = {sent: at for sent, at in self.sent.items() if now - at < BOUNDS.acknowledge}
        if id is None:
            return
        assert id not in self.sent
        assert id not in self.over
        if id not in self.attempts:
            assert id > self.newest
            self.newest = id
        self.attempts[id] = self.attempts.get(id, 0) + 1
        assert self.attempts[id] <= BOUNDS.attempts
        self.sent[id] = now

    @precondition(lambda self: self.stream and self.sent)
    @rule(data=st.data(), error=st.sampled_from(["", "", "no film"]))
    def acknowledge(self, data: st.DataObject, error: str) -> None:
        assert self.stream is not None
        id = data.draw(st.sampled_from(sorted(self.sent)))
        self.reader.acknowledge(self.stream, str(id), error)
        del self.sent[id]
        if not error:
            self.over.add(id)

    @precondition(lambda self: self.stream)
    @rule(id=st.integers(-5, 50), error=st.sampled_from(["", "x"]))
    def acknowledge_what_was_not_sent(self, id: int, error: str) -> None:
        assert self.stream is not None
        if id not in self.sent:
            before = len(self.reader)
            self.reader.acknowledge(self.stream, str(id), error)
            assert len(self.reader) == before

    @rule(seconds=st.sampled_from([0.5, 1.0, 9.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def the_bounds_hold(self) -> None:
        assert self.reader.unacknowledged <= BOUNDS.unacknowledged
        assert 0 <= self.reader.bytes_kept <= BOUNDS.buffer
        assert (self.reader.bytes_kept == 0) == (len(self.reader) == 0)

    def teardown(self) -> None:
        """A sidecar that acknowledges everything gets all that is held, once."""
        held = len(self.reader)
        stream, last = self.reader.attach(), []
        while len(self.reader):
            self.clock.now += 8
            while (id := self.reader.take(stream, seconds=0)) is not None:
                last.append(id)
                self.reader.acknowledge(stream, str(id))
        assert len(last) == len(set(last)) == held
        assert not self.over & set(last)
        assert self.reader.bytes_kept == 0


AnyOrder.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase

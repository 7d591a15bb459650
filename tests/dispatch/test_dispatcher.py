"""What the dispatcher does with an event, over a guest whose runner is three lines."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Cost, Event, Failure, Reason, Reply, ReplyLimit, Trigger
from guesthouse.guests.guest import Guest, GuestConfig
from guesthouse.manifest import Manifest
from guesthouse.plan.current import Plans
from guesthouse.plan.routes import Routes
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Limits

MANIFEST = Manifest.model_validate(
    {
        "app": {"name": "t"},
        "guests": {"echo": {"module": "echo.wasm", "function": "echo"}},
        "invoke": [{"method": "echo", "guest": "echo"}],
        "binding": [
            {"name": "camera", "guest": "echo", "to": ["results"]},
            {"name": "counted", "guest": "echo", "attempts": 2},
            {"name": "dropped", "guest": "echo", "on_error": "drop"},
        ],
    }
)


class Runner:
    """Answers as the test says."""

    def __init__(self, answer: Callable[[Event], Reply]) -> None:
        self.answer = answer

    def run(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        return self.answer(event)


class Recorder:
    """Outputs and an observer that keep what they hear."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def deliver(self, reply, event, destination, deadline) -> None:
        self.heard.append(destination.to)

    def answered(self, event, reply) -> None:
        self.heard.append("answered")

    def failed(self, event, failure) -> None:
        self.heard.append(failure)


def echo(event: Event) -> Reply:
    return Reply(event.body, guest="echo")


def raising(error: Exception) -> Callable[[Event], Reply]:
    def answer(event: Event) -> Reply:
        raise error

    return answer


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def runner() -> Runner:
    return Runner(echo)


@pytest.fixture
def dispatcher(runner: Runner, recorder: Recorder) -> Dispatcher:
    return dispatcher_of(runner, recorder)


def dispatcher_of(runner: Runner, *observers: Any, limits: Limits | None = None) -> Dispatcher:
    config = GuestConfig("echo", MANIFEST.guests["echo"].file, "bindgen", "echo", limits=limits or Limits())
    nothing: Any = None
    guest = Guest(config, nothing, runner, nothing)  # type: ignore[arg-type]
    plan: Any = SimpleNamespace(guests={"echo": guest}, filters=(), route=Routes(MANIFEST).find)
    return Dispatcher(Plans(plan), observers[0], observers)


def event(name: str = "echo", body: bytes = b"photo", trigger: Trigger = Trigger.BINDING, **more: Any) -> Event:
    return Event(trigger, name, body, **more)


def failure(dispatcher: Dispatcher, event: Event) -> Failure:
    with pytest.raises(Failure) as caught:
        dispatcher.dispatch(event)
    return caught.value


def test_a_reply_goes_to_the_outputs_then_to_the_observers_then_to_the_caller(dispatcher, recorder):
    assert dispatcher.dispatch(event("camera")).body == b"photo"
    assert recorder.heard == [("results",), "answered"]


def test_a_reply_that_cannot_be_sent_back_goes_nowhere(dispatcher, recorder):
    assert dispatcher.dispatch(event("camera", b"12345", reply_limit=ReplyLimit(5))).body == b"12345"
    recorder.heard.clear()
    failed = failure(dispatcher, event("camera", b"123456", reply_limit=ReplyLimit(5)))
    assert str(failed) == (
        "guest 'echo': a reply of 6 bytes; server.message leaves room for 5: raise it, or lower limits.output"
    )
    assert recorder.heard == [failed]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("/home/somebody")], ids=["memory", "bug"])
def test_an_error_of_ours_is_a_failure_that_observers_hear_with_its_cause(dispatcher, runner, recorder, error):
    runner.answer = raising(error)
    failed = failure(dispatcher, event("echo", trigger=Trigger.INVOKE))
    assert (failed.reason, failed.text, failed.guest) == (Reason.INTERNAL, "internal error", "echo")
    assert failed.__cause__ is error
    assert recorder.heard == [failed]


def test_an_error_of_ours_counts_as_an_attempt(dispatcher, runner):
    runner.answer = raising(MemoryError())
    assert [failure(dispatcher, event("counted")).drop for _ in range(2)] == [False, True]


def test_what_could_not_be_converted_runs_no_guest_and_ends_as_any_other_event(dispatcher, runner, recorder):
    runner.answer = raising(AssertionError("it ran"))

    def refused() -> Failure:
        return failure(dispatcher, event("counted", fault=Failure(Reason.MALFORMED, "no JSON can say NaN")))

    first, second = refused(), refused()
    assert (first.reason, first.guest, first.text) == (Reason.MALFORMED, "echo", "no JSON can say NaN")
    assert [first.drop, second.drop] == [True, True]  # it would be no better the next time
    assert recorder.heard == [first, second]


def test_a_fault_of_the_event_says_more_than_that_it_has_no_route(dispatcher, recorder):
    failed = failure(dispatcher, event("nobody", fault=Failure(Reason.MALFORMED, "create needs a guest")))
    assert failed.text == "create needs a guest"
    assert recorder.heard == [failed]


def test_an_event_without_a_route_is_heard_of(dispatcher, recorder):
    failed = failure(dispatcher, event("nobody"))
    assert (failed.reason, failed.guest) == (Reason.NOT_FOUND, "")
    assert recorder.heard == [failed]


def test_an_observer_that_fails_costs_neither_the_event_nor_the_other_observers(runner, recorder):
    class Broken(Recorder):
        def answered(self, event, reply) -> None:
            raise RuntimeError("no more memory for a counter")

        def failed(self, event, failure) -> None:
            self.answered(event, failure)

    dispatcher = dispatcher_of(runner, Broken(), recorder)
    with capture_logs() as logs:
        assert dispatcher.dispatch(event("camera")).body == b"photo"
        runner.answer = raising(Failure(Reason.GUEST, "no film", "echo"))
        failed = failure(dispatcher, event("camera"))
    assert recorder.heard == ["answered", failed]
    assert [line["event"] for line in logs] == ["an observer failed"] * 2


def test_a_guests_own_failure_is_dropped_where_the_route_says_so(dispatcher, runner):
    runner.answer = raising(Failure(Reason.GUEST, "no film", "echo"))
    assert failure(dispatcher, event("dropped")).drop
    assert not failure(dispatcher, event("camera")).drop
    runner.answer = raising(Failure(Reason.FULL, "come later", "echo"))
    assert not failure(dispatcher, event("dropped")).drop


def test_a_body_over_the_limit_does_not_run(runner, recorder):
    runner.answer = raising(AssertionError("it ran"))
    dispatcher = dispatcher_of(runner, recorder, limits=Limits(input=4))
    failed = failure(dispatcher, event("echo", trigger=Trigger.INVOKE))
    assert (failed.reason, failed.text) == (Reason.TOO_LARGE, "a body of 5 bytes; the limit input is 4")


def test_the_cost_of_a_failure_says_how_long_its_event_was_queued(runner, recorder):
    cost = Cost(queued=-1.0)
    runner.answer = raising(Failure(Reason.GUEST, "no film", "echo", cost))
    failure(dispatcher_of(runner, recorder), event("echo", trigger=Trigger.INVOKE))
    assert cost.queued >= 0

"""The host of actors against a scripted sidecar: its stream, turns one by one, activation, answers, and every end."""

from __future__ import annotations

import contextlib
import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import structlog
from dapr.proto.runtime.v1.actors_pb2 import UnregisterActorReminderRequest, UnregisterActorTimerRequest
from dapr.proto.runtime.v1.metadata_pb2 import ActiveActorsCount, ActorRuntime

from guesthouse.dapr import one_batch
from guesthouse.dapr.actors import stream
from guesthouse.dapr.actors import turns as turns_module
from guesthouse.dapr.actors.messages import ActorType
from guesthouse.dapr.actors.stream import Actors
from guesthouse.dapr.actors.turns import Turn, Turns
from guesthouse.dapr.executor import ElasticThreads
from guesthouse.dapr.transport import Drain
from guesthouse.event import Actor, Answer, Event, Failure, Reason, Reply, Trigger
from guesthouse_abi.deadline import Deadline
from tests.support.actor_sidecar import ActorSidecar, actor_sidecar
from tests.support.waiting import PATIENCE, until

CART = ActorType("Cart", idle=30, drain=1.5, guest="cart", activates=True, deactivates=True)
PLAIN = ActorType("Cart", guest="cart")


class Guest:
    """Takes turns as a guest does: each waits where the test has closed `gates`. A `Handler`.

    `began` and `ended` have the turns by `ID METHOD` or `ID TRIGGER`.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.deadlines: list[Deadline] = []
        self.began: list[str] = []
        self.ended: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.answer: Callable[[Event], Reply] = lambda event: Reply(event.body, "text/plain", "cart")

    def gate(self, name: str) -> threading.Event:
        return self.gates.setdefault(name, threading.Event())

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        assert event.actor is not None
        assert deadline is not None
        if event.fault is not None:
            raise event.fault
        name = f"{event.actor.id} {event.actor.method or event.trigger.value}"
        self.events.append(event)
        self.deadlines.append(deadline)
        self.began.append(name)
        try:
            if name in self.gates:
                assert self.gates[name].wait(PATIENCE), f"nobody opens {name}"
            return self.answer(event)
        finally:
            self.ended.append(name)


class State:
    """An actor's state that says who made it. Satisfies what turns need of `event.ActorState`."""

    def __init__(self, kind: str, id: str, reentrancy: str) -> None:
        self.of = kind, id, reentrancy
        self.given_up = False

    def give_up(self) -> None:
        self.given_up = True


def hosted(sidecar: ActorSidecar, guest: Guest, *types: ActorType) -> Actors:
    new_state: Any = State
    return Actors(sidecar.endpoint, guest, new_state, types or (CART,))


@contextlib.contextmanager
def hosting(sidecar: ActorSidecar, guest: Guest | None = None, *types: ActorType) -> Iterator[tuple[Actors, Guest]]:
    actors = hosted(sidecar, guest := guest or Guest(), *types)
    actors.start()
    try:
        until(lambda: actors.open, "the stream is open")
        yield actors, guest
    finally:
        for gate in guest.gates.values():
            gate.set()
        actors.stop()


@pytest.fixture(autouse=True, params=["directly", "the public way"])
def _streamed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How messages of the stream go: as with the installed grpcio, and as with one that was not tried."""
    if request.param == "the public way":
        monkeypatch.setattr(one_batch, "TRIED", ())


@pytest.fixture
def sidecar() -> Iterator[ActorSidecar]:
    with actor_sidecar() as made:
        yield made


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def said(lines: list[Any], event: str) -> list[Any]:
    return [line for line in lines if line["event"] == event]


# ---- the stream ----


def test_actors_are_registered_each_type_with_all_its_own_settings(sidecar: ActorSidecar) -> None:
    till = ActorType("Till", idle=3600, drain=0, reentrant=True, guest="cart")
    with hosting(sidecar, None, CART, till):
        initial = sidecar.stream().initial
    assert list(initial.entities) == ["Cart", "Till"]
    cart, other = initial.entities_config
    assert (list(cart.entities), cart.actor_idle_timeout.seconds, cart.reentrancy.enabled) == (["Cart"], 30, False)
    assert cart.drain_ongoing_call_timeout.ToMilliseconds() == 1500
    assert cart.drain_rebalanced_actors
    assert (list(other.entities), other.actor_idle_timeout.seconds, other.reentrancy.enabled) == (["Till"], 3600, True)
    assert other.HasField("drain_ongoing_call_timeout")
    assert other.HasField("drain_rebalanced_actors")


def test_without_types_of_actors_no_sidecar_is_asked_for_anything(sidecar: ActorSidecar) -> None:
    actors = Actors(sidecar.endpoint, Guest(), Any, ())  # type: ignore[arg-type]
    actors.start()
    assert actors.drain(Drain(0, 60))
    assert actors.stop() == 0
    assert (sidecar.tries, sidecar.asked) == (0, 0)


def test_the_sidecar_is_given_its_token() -> None:
    with actor_sidecar("secret") as sidecar, hosting(sidecar):
        assert sidecar.stream().initial.entities == ["Cart"]


def test_a_wrong_token_is_told_in_words(sidecar: ActorSidecar, logged: list[Any]) -> None:
    sidecar.refuse = (grpc.StatusCode.UNAUTHENTICATED, "authentication error: api token mismatch")
    actors = hosted(sidecar, Guest())
    actors.start()
    line = until(lambda: said(logged, "no turns of actors come"))[0]
    actors.stop()
    assert "api token mismatch" in line["error"]
    assert "DAPR_API_TOKEN" in line["remedy"]


def test_a_stream_that_the_sidecar_ends_is_opened_again_and_both_are_logged_once(
    sidecar: ActorSidecar, logged: list[Any]
) -> None:
    with hosting(sidecar) as (actors, _):
        sidecar.refuse = (grpc.StatusCode.UNAVAILABLE, "going away")
        tries = sidecar.tries
        sidecar.stream().end()
        until(lambda: sidecar.tries > tries + 2, "it tries again and again")
        assert not actors.open
        sidecar.refuse = None
        sidecar.stream(2)
        until(lambda: actors.open)
    (lost,) = said(logged, "the stream of actors is lost: it is opened again")
    assert lost["log_level"] == "warning"
    assert [line.get("again") for line in said(logged, "the sidecar has the types of actors")] == [None, True]
    assert len(said(logged, "no turns of actors come")) == 1, "one line for all the tries"
    assert sidecar.most_open == 1


def test_a_sidecar_that_starts_after_the_application_is_waited_for(logged: list[Any]) -> None:
    with actor_sidecar() as gone:
        endpoint = gone.endpoint
    actors = Actors(endpoint, Guest(), State, (CART,))  # type: ignore[arg-type]
    actors.start()
    line = until(lambda: said(logged, "no turns of actors come"))[0]
    actors.stop()
    assert line["log_level"] == "info"
    assert "DAPR_GRPC_PORT" in line["remedy"]


def test_a_stream_is_cancelled_and_never_half_closed(sidecar: ActorSidecar) -> None:
    with hosting(sidecar):
        opened = sidecar.stream()
    assert until(lambda: opened.how) == "cancelled"


def test_answers_that_are_more_than_the_sidecar_reads_at_a_time_all_arrive(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, PLAIN):
        bodies = [bytes([number]) * 300_000 for number in range(24)]  # gRPC's window is smaller than one
        ids = [sidecar.turn(data=body, actor_id=str(number)) for number, body in enumerate(bodies)]
        assert [sidecar.answer(id).invoke_response.data for id in ids] == bodies


def test_an_error_of_our_own_in_a_streams_thread_ends_it_by_cancelling_and_opens_another(
    sidecar: ActorSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hosting(sidecar) as (actors, _):
        with monkeypatch.context() as broken:
            broken.setattr("guesthouse.dapr.actors.messages.event_of", lambda _: fail(KeyError("ours")))
            sidecar.turn()
            assert until(lambda: sidecar.stream().how) == "cancelled"
        sidecar.stream(2)
        until(lambda: actors.open)
        sidecar.answer(sidecar.turn())


@pytest.mark.parametrize(
    ("lacks", "text", "remedy"),
    [
        (lambda m: m.actor_runtime.ClearField("runtime_status"), None, None),
        (
            lambda m: setattr(m.actor_runtime, "runtime_status", ActorRuntime.DISABLED),
            "no placement service",
            "--placement-host-address",
        ),
        (lambda m: m.ClearField("registered_components"), "no component", "actorStateStore"),
        (lambda m: setattr(m, "runtime_version", "1.17.13"), "1.17.13", "1.18.1 or later"),
        (lambda m: setattr(m.app_connection_properties, "protocol", "http"), "speaks 'http'", "--app-protocol grpc"),
        (
            lambda m: m.actor_runtime.active_actors.append(ActiveActorsCount(type="Cart", count=2)),
            "another process",
            "one host of actors",
        ),
    ],
)
def test_a_sidecar_that_can_hand_over_no_turns_is_not_asked_for_a_stream_and_the_log_says_what_it_lacks(
    sidecar: ActorSidecar, logged: list[Any], lacks: Callable[[Any], None], text: str | None, remedy: str
) -> None:
    lacks(sidecar.metadata)
    actors = hosted(sidecar, Guest())
    actors.start()
    if text is None:  # a sidecar that is still starting
        sidecar.stream()
        actors.stop()
        return
    line = until(lambda: said(logged, "no turns of actors come"))[0]
    until(lambda: sidecar.asked > 2, "it is asked again")
    actors.stop()
    assert text in line["error"]
    assert remedy in line["remedy"]
    assert line["log_level"] == "warning"
    assert sidecar.tries == 0
    assert len(said(logged, "no turns of actors come")) == 1


def test_what_a_sidecar_lacks_for_some_calls_only_is_a_warning(sidecar: ActorSidecar, logged: list[Any]) -> None:
    sidecar.metadata.ClearField("scheduler")
    sidecar.metadata.actor_runtime.placement = "placement: disconnected"
    with hosting(sidecar):
        until(lambda: len([line for line in logged if line["log_level"] == "warning"]) == 2)
    texts = [line["event"] for line in logged if line["log_level"] == "warning"]
    assert "calls of actors wait" in texts[0]
    assert "no reminder" in texts[1]


def test_an_application_that_is_no_grpc_application_is_told_in_words(sidecar: ActorSidecar, logged: list[Any]) -> None:
    sidecar.refuse = (grpc.StatusCode.FAILED_PRECONDITION, "actor callback streaming requires a gRPC app channel")
    actors = hosted(sidecar, Guest())
    actors.start()
    line = until(lambda: said(logged, "no turns of actors come"))[0]
    actors.stop()
    assert "requires a gRPC app channel" in line["error"]
    assert "--app-protocol grpc" in line["remedy"]


@pytest.mark.parametrize(("state", "text"), [("ends", "takes no calls any more"), ("forgets", "has forgotten Cart")])
def test_a_stream_by_which_no_turn_can_come_any_more_is_given_up(
    sidecar: ActorSidecar, logged: list[Any], monkeypatch: pytest.MonkeyPatch, state: str, text: str
) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.01)
    with hosting(sidecar) as (actors, _):
        asked = sidecar.asked
        until(lambda: sidecar.asked > asked + 5, "it is asked again and again")
        assert len(sidecar.streams) == 1
        setattr(sidecar, state, True)
        assert until(lambda: sidecar.stream().how) == "cancelled", "a real sidecar would wait for it for ever"
        setattr(sidecar, state, False)
        sidecar.stream(2)
        until(lambda: actors.open)
    (line,) = said(logged, "the stream of actors is lost: it is opened again")
    assert text in line["error"]


def test_a_drain_ends_as_soon_as_the_sidecar_takes_no_calls_any_more(
    sidecar: ActorSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "LOOK", 0.01)
    with hosting(sidecar) as (actors, _):
        sidecar.ends = True
        assert actors.drain(Drain(0, 10 * PATIENCE)) is True
        assert until(lambda: sidecar.stream().how) == "cancelled"


# ---- a reload ----


def test_other_types_end_the_stream_and_open_another_one_and_never_two_at_a_time(
    sidecar: ActorSidecar, logged: list[Any]
) -> None:
    with hosting(sidecar) as (actors, _):
        first = sidecar.stream()
        actors.host((CART, ActorType("Till", guest="cart")))
        assert sorted(sidecar.stream(2).initial.entities) == ["Cart", "Till"]
        assert until(lambda: first.how) == "cancelled"
    (line,) = said(logged, "other types of actors: the stream to the sidecar ends, and another one is opened")
    assert line["types"] == ["Cart", "Till"]
    assert sidecar.most_open == 1


@pytest.mark.parametrize("changed", [{"idle": 31.0}, {"drain": 9.0}, {"reentrant": True}])
def test_another_setting_of_a_type_is_told_to_the_sidecar_by_another_stream(
    sidecar: ActorSidecar, changed: dict[str, Any]
) -> None:
    with hosting(sidecar) as (actors, _):
        sidecar.stream()
        actors.host((ActorType(**{"name": "Cart", "idle": 30, "drain": 1.5, "guest": "cart", **changed}),))
        sidecar.stream(2)


def test_another_guest_or_other_limits_keep_the_stream(sidecar: ActorSidecar) -> None:
    with hosting(sidecar) as (actors, guest):
        actors.host((ActorType("Cart", idle=30, drain=1.5, guest="other", places=3),))
        sidecar.answer(sidecar.turn())
        assert len(sidecar.streams) == 1
        assert guest.began == ["7 add"], "the other guest has no handler for activations"


def test_the_first_type_of_actors_opens_a_stream_and_the_last_that_goes_ends_it(sidecar: ActorSidecar) -> None:
    actors = Actors(sidecar.endpoint, Guest(), State, ())  # type: ignore[arg-type]
    actors.start()
    actors.host((CART,))
    first = sidecar.stream()
    until(lambda: actors.open)
    actors.host(())
    assert until(lambda: first.how) == "cancelled"
    until(lambda: not actors.open)
    tries = sidecar.tries
    actors.host((CART,))
    sidecar.stream(2)
    assert sidecar.tries == tries + 1
    actors.stop()


# ---- the end ----


def test_at_the_end_the_stream_is_kept_and_turns_are_taken_until_the_sidecar_ends_it(
    sidecar: ActorSidecar, logged: list[Any]
) -> None:
    with hosting(sidecar) as (actors, _):
        ended: list[bool] = []
        thread = threading.Thread(target=lambda: ended.append(actors.drain(Drain(0, PATIENCE))))
        thread.start()
        until(lambda: said(logged, "the stream of actors is kept until the sidecar ends it"))
        assert sidecar.answer(sidecar.turn(data=b"late")).invoke_response.data == b"late"
        assert not ended
        sidecar.stream().end()
        thread.join(PATIENCE)
        assert ended == [True]
        assert len(sidecar.streams) == 1
        assert not actors.open


def test_at_the_limit_of_the_drain_the_stream_is_cancelled_and_a_turn_in_flight_is_told_of(
    sidecar: ActorSidecar,
) -> None:
    with hosting(sidecar, None, PLAIN) as (actors, guest):
        gate = guest.gate("7 add")
        sidecar.turn()
        until(lambda: guest.began)
        guest.answer = lambda event: Reply(b"", guest="cart")
        deadline = guest.deadlines[0]
        deadline.on_cancel(gate.set)
        assert actors.drain(Drain(0, 0.01)) is False
        assert until(lambda: sidecar.stream().how) == "cancelled"
        assert deadline.cancelled


def test_an_idle_stream_is_cancelled_at_the_limit_of_the_drain_and_nothing_was_cut(sidecar: ActorSidecar) -> None:
    with hosting(sidecar) as (actors, _):
        assert actors.drain(Drain(0, 0.01)) is True
        assert until(lambda: sidecar.stream().how) == "cancelled"


# ---- turns ----


def test_a_method_is_an_event_with_the_metadata_of_the_invocation(sidecar: ActorSidecar) -> None:
    metadata = {"Content-Type": "text/x", "Traceparent": "00-1", "guesthouse-depth": "2", "dapr-caller-app-id": "shop"}
    with hosting(sidecar, None, PLAIN) as (_, guest):
        answer = sidecar.answer(sidecar.turn("add", b"\x00\xff", metadata)).invoke_response
    (event,) = guest.events
    assert (event.trigger, event.name, event.body, event.content_type) == (Trigger.ACTOR, "Cart", b"\x00\xff", "text/x")
    assert event.actor is not None
    assert (event.actor.id, event.actor.method) == ("7", "add")
    assert event.metadata["traceparent"] == "00-1"
    assert event.metadata["guesthouse-depth"] == "2"
    assert (answer.data, answer.error, dict(answer.metadata)) == (b"\x00\xff", False, {"content-type": "text/plain"})


def test_the_content_type_of_grpc_itself_is_none_of_the_data(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, PLAIN) as (_, guest):
        sidecar.answer(sidecar.turn(metadata={"content-type": "application/grpc"}))
    assert guest.events[0].content_type == ""


@pytest.mark.parametrize(
    ("reply", "code", "error", "data"),
    [
        (Reply(b"ok", answer=Answer(202)), 0, False, b"ok"),
        (Reply(b"no", answer=Answer(409, "taken")), 0, True, b"no"),
        (Reply(b"", answer=Answer(404, "no such method")), 5, False, b""),
    ],
)
def test_a_status_of_the_guest_is_an_error_of_the_application_or_a_method_that_is_not_there(
    sidecar: ActorSidecar, reply: Reply, code: int, error: bool, data: bytes
) -> None:
    guest = Guest()
    guest.answer = lambda _: reply
    with hosting(sidecar, guest, PLAIN):
        answer = sidecar.answer(sidecar.turn())
    assert (answer.request_failed.code, answer.request_failed.message) == (code, "no such method" if code else "")
    assert (answer.invoke_response.error, answer.invoke_response.data) == (error, data)


@pytest.mark.parametrize(
    ("reason", "code"),
    [(Reason.TRAP, 13), (Reason.DEADLINE, 4), (Reason.TRY_AGAIN, 14), (Reason.MALFORMED, 3), (Reason.OUTPUT, 14)],
)
def test_a_failure_of_a_method_has_its_code_and_its_text(sidecar: ActorSidecar, reason: Reason, code: int) -> None:
    guest = Guest()
    guest.answer = lambda _: fail(Failure(reason, "it went wrong", "cart"))
    with hosting(sidecar, guest, PLAIN):
        answer = sidecar.answer(sidecar.turn()).request_failed
    assert (answer.code, answer.message) == (code, "guest 'cart': it went wrong")


def test_an_error_of_our_own_tells_the_caller_nothing_of_it(sidecar: ActorSidecar) -> None:
    guest = Guest()
    guest.answer = lambda _: fail(KeyError("/secret/path"))
    with hosting(sidecar, guest, PLAIN):
        answer = sidecar.answer(sidecar.turn()).request_failed
        assert (answer.code, answer.message) == (13, "internal error")
        assert sidecar.answer(sidecar.turn()).request_failed.code == 13, "the actor's next turn comes"


def test_a_reply_that_would_end_the_stream_fails_its_own_turn_alone(sidecar: ActorSidecar) -> None:
    guest = Guest()
    guest.answer = lambda event: Reply(bytes(int(event.body)), guest="cart")
    with hosting(sidecar, guest, PLAIN):
        answer = sidecar.answer(sidecar.turn(data=b"%d" % (4 << 20)))
        assert "lower limits.output" in answer.request_failed.message
        largest = sidecar.answer(sidecar.turn(data=b"%d" % ((4 << 20) - 64)))
        assert len(largest.invoke_response.data) == (4 << 20) - 64
    assert len(sidecar.streams) == 1


def fail(error: Exception) -> Reply:
    raise error


@pytest.mark.parametrize(
    ("wrapped", "given"),
    [
        (b'"AP8="', b"\x00\xff"),  # bytes by gRPC
        (b'{"a":1}', b'{"a":1}'),  # JSON by HTTP
        (b'"no base64"', b'"no base64"'),
        (b"null", b""),
        (b'""', b""),
        (b'"', b'"'),
        (b'"' + b"[" * 5000 + b'"', b'"' + b"[" * 5000 + b'"'),
    ],
)
@pytest.mark.parametrize("kind", ["timer", "reminder"])
def test_data_of_timers_and_reminders_come_back_as_they_were_given(
    sidecar: ActorSidecar, kind: str, wrapped: bytes, given: bytes
) -> None:
    with hosting(sidecar, None, PLAIN) as (_, guest):
        answer = sidecar.answer(sidecar.timed(kind, "tick", wrapped))
    (event,) = guest.events
    assert event.actor is not None
    assert event.actor.method == "tick"
    assert (event.trigger.value, event.body) == (kind, given)
    assert answer.WhichOneof("request_type") == f"{kind}_response"


def test_a_timer_has_its_callback(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, PLAIN) as (_, guest):
        sidecar.answer(sidecar.timed("timer", "tick", b'"AP8="', callback="later"))
    assert guest.events[0].actor is not None
    assert guest.events[0].actor.callback == "later"


def test_data_that_are_not_what_they_say_are_a_fault_of_the_event(sidecar: ActorSidecar) -> None:
    data = {"type_url": "type.googleapis.com/google.protobuf.BytesValue", "value": b"\xff\xff"}
    with hosting(sidecar, None, PLAIN) as (_, guest):
        answer = sidecar.answer(sidecar.ask("reminder", name="tick", data=data))
    assert answer.WhichOneof("request_type") == "reminder_response", "it would fail again"
    assert guest.began == []


@pytest.mark.parametrize(
    ("kind", "request_type"), [("timer", UnregisterActorTimerRequest), ("reminder", UnregisterActorReminderRequest)]
)
def test_a_guest_that_stops_a_timer_or_reminder_has_it_unregistered_before_its_next_turn(
    sidecar: ActorSidecar, kind: str, request_type: Any
) -> None:
    guest = Guest()
    calls_then: list[int] = []

    def answer(event: Event) -> Reply:
        calls_then.append(len(sidecar.calls))
        return Reply(b"", guest="cart", stop=event.trigger is not Trigger.ACTOR)

    guest.answer = answer
    with hosting(sidecar, guest, PLAIN):
        gate = guest.gate("7 tick")
        one, two = sidecar.timed(kind, "tick", b'""'), sidecar.turn()
        gate.set()
        assert sidecar.answer(one).WhichOneof("request_type") == f"{kind}_response"
        sidecar.answer(two)
    (call,) = sidecar.calls
    assert isinstance(call, request_type)
    assert (call.actor_type, call.actor_id, call.name) == ("Cart", "7", "tick")
    assert calls_then == [0, 1]


@pytest.mark.parametrize("kind", ["timer", "reminder"])
def test_a_timer_or_reminder_fails_but_one_that_its_guest_drops_is_done(sidecar: ActorSidecar, kind: str) -> None:
    guest = Guest()
    guest.answer = lambda event: fail(Failure(Reason(event.body.decode()), "no"))
    with hosting(sidecar, guest, PLAIN):
        dropped = sidecar.answer(sidecar.ask(kind, name="x", data={"value": b"MALFORMED"}))
        failed = sidecar.answer(sidecar.ask(kind, name="x", data={"value": b"TRAP"}))
    assert dropped.WhichOneof("request_type") == f"{kind}_response"
    assert failed.WhichOneof("request_type") == "request_failed"


def test_turns_of_one_actor_follow_each_other_and_those_of_others_go_on(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, PLAIN) as (_, guest):
        gate = guest.gate("7 first")
        ids = [sidecar.turn(method) for method in ("first", "second", "third")]
        other = sidecar.turn("other", actor_id="8")
        sidecar.answer(other)
        assert guest.began == ["7 first", "8 other"]
        gate.set()
        for id in ids:
            sidecar.answer(id)
    assert guest.began == ["7 first", "8 other", "7 second", "7 third"]
    assert [name for name in guest.ended if name.startswith("7")] == ["7 first", "7 second", "7 third"]


class Counting:
    """Runs each task in a thread of its own, and counts them; or in the caller's thread, where `in_line` is set."""

    def __init__(self) -> None:
        self.tasks = 0
        self.in_line = False

    def run(self, work: Callable[[], None]) -> None:
        self.tasks += 1
        if self.in_line:
            work()
        else:
            threading.Thread(target=work, daemon=True).start()


def directly(guest: Guest, *types: ActorType) -> tuple[Turns, Counting, Callable[..., list[Reply | Failure]]]:
    """Turns without a stream, the threads that they take, and what adds one."""
    threads, known = Counting(), {kind.name: kind for kind in types}
    turns = Turns(guest, State, lambda: known)  # type: ignore[arg-type]

    def add(id: str = "7", method: str = "add", trigger: Trigger = Trigger.ACTOR, **metadata: str) -> Any:
        endings: list[Reply | Failure] = []
        event = Event(trigger, "Cart", metadata=metadata, actor=Actor(id, method))
        work = turns.add(Turn(event, lambda _, ending: endings.append(ending), lambda *_: None))
        if work is not None:
            threads.run(work)
        return endings

    return turns, threads, add


def test_a_turn_that_waits_for_another_one_holds_no_thread() -> None:
    guest = Guest()
    _, threads, add = directly(guest, PLAIN)
    gate = guest.gate("7 add")
    endings = [add() for _ in range(20)]
    until(lambda: guest.began)
    assert threads.tasks == 1
    gate.set()
    until(lambda: all(endings))
    assert threads.tasks == 1, "the thread of one turn takes the next"


def test_where_the_system_gives_no_more_threads_turns_go_on_with_those_that_there_are(
    sidecar: ActorSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith("turn-") and thread.name != "turn-watch":
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    with hosting(sidecar, None, PLAIN) as (_, guest):
        gate = guest.gate("7 add")
        monkeypatch.setattr(threading.Thread, "start", scarce)
        first = sidecar.turn()
        until(lambda: guest.began)
        others = [sidecar.turn(), sidecar.turn(actor_id="8")]
        until(lambda: refused, "another thread was asked for")
        gate.set()
        for id in (first, *others):
            assert sidecar.answer(id).HasField("invoke_response")


def test_an_answer_is_sent_while_all_threads_that_could_read_are_at_work(
    sidecar: ActorSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC takes one answer after the other, and says that it has one to a thread that reads."""
    no_more, watch = threading.Event(), ElasticThreads._watch
    monkeypatch.setattr(ElasticThreads, "_watch", lambda threads: not no_more.is_set() and watch(threads))
    guest = Guest()
    actors = Actors(sidecar.endpoint, guest, State, [PLAIN], threads=3)  # type: ignore[arg-type]
    actors.start()
    until(lambda: actors.open)
    assert actors._turning is not None
    gates = [guest.gate(name) for name in ("7 first", "7 third", "8 long", "9 long")]
    first, second = sidecar.turn("first"), sidecar.turn("second")
    sidecar.turn("third")
    for name in ("8", "9"):
        sidecar.turn("long", actor_id=name)
    until(lambda: len(guest.began) == 3, "three threads are at work, and none reads")
    no_more.set()
    actors._turning._watched.set()
    until(lambda: all(thread.name != "turn-watch" for thread in threading.enumerate()), "no thread comes by time")
    actors._turning._most = 4
    gates[0].set()
    sidecar.answer(first)
    assert sidecar.answer(second).HasField("invoke_response")
    assert "7 third" in guest.began
    assert not [name for name in guest.ended if name in ("7 third", "8 long", "9 long")]
    for gate in gates:
        gate.set()
    actors.stop()


def test_over_concurrency_and_queue_a_turn_fails_at_once(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, ActorType("Cart", guest="cart", places=2)) as (_, guest):
        gate = guest.gate("7 add")
        first, second = sidecar.turn(), sidecar.turn()
        refused = sidecar.answer(sidecar.turn(actor_id="8")).request_failed
        assert refused.code == 8
        assert "concurrency + queue" in refused.message
        assert guest.began == ["7 add"]
        gate.set()
        sidecar.answer(first), sidecar.answer(second)
        assert sidecar.answer(sidecar.turn()).HasField("invoke_response"), "there is room again"


def test_a_turn_that_has_waited_too_long_for_its_actor_does_not_begin() -> None:
    guest = Guest()
    _, _, add = directly(guest, ActorType("Cart", guest="cart", wait=0.0))
    gate = guest.gate("7 add")
    kept = add()
    until(lambda: guest.began or kept)
    gate.set()
    (ending,) = until(lambda: kept)
    assert isinstance(ending, Failure)
    assert ending.reason is Reason.FULL
    assert "queue_wait" in ending.text


def test_a_turn_whose_stream_has_ended_is_cut_and_those_that_wait_are_dropped(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, PLAIN) as (actors, guest):
        gate = guest.gate("7 first")
        sidecar.turn("first")
        dropped = sidecar.turn("dropped")
        until(lambda: guest.began)
        sidecar.stream().end()
        until(lambda: guest.deadlines[0].cancelled, "the turn is cut")
        sidecar.stream(2)
        until(lambda: actors.open)
        again = sidecar.turn("again")
        other = sidecar.turn("other", actor_id="8")
        sidecar.answer(other)
        assert guest.began == ["7 first", "8 other"], "the guest of the first turn has not ended"
        gate.set()
        sidecar.answer(again)
        assert not sidecar.answered(dropped)
    assert guest.began == ["7 first", "8 other", "7 again"]


def test_a_turn_that_comes_from_the_turn_under_way_begins_at_once_where_its_type_is_reentrant() -> None:
    guest = Guest()
    turns, _, add = directly(guest, ActorType("Cart", guest="cart", reentrant=True))
    gate = guest.gate("7 outer")
    outer = add(method="outer", **{"dapr-reentrancy-id": "a"})
    until(lambda: guest.began)
    other = add(method="other", **{"dapr-reentrancy-id": "b"})
    inner = add(method="inner", **{"dapr-reentrancy-id": "a"})
    until(lambda: inner)
    assert guest.began == ["7 outer", "7 inner"]
    gate.set()
    until(lambda: outer and other)
    assert [event.actor.state.of[2] for event in guest.events] == ["a", "a", "b"]  # type: ignore[union-attr]
    until(lambda: not turns.begun)


@pytest.mark.parametrize("let_go", [False, True], ids=["stream lost", "deactivated"])
def test_no_turn_enters_one_that_was_cut_though_it_has_the_same_id_for_reentrancy(let_go: bool) -> None:
    """A sidecar whose policy repeats a call after the loss of a stream repeats its id, too."""
    guest = Guest()
    turns, _, add = directly(guest, ActorType("Cart", guest="cart", reentrant=True))
    gate, same = guest.gate("7 outer"), {"dapr-reentrancy-id": "r-1"}
    add(method="outer", **same)
    until(lambda: guest.began)
    if let_go:
        add(trigger=Trigger.DEACTIVATE)
    else:
        turns.end_stream()
    again, other = add(method="again", **same), add(id="8", method="other")
    until(lambda: other)
    assert not again
    assert "7 again" not in guest.began, "the guest of the turn that was cut has not ended"
    gate.set()
    until(lambda: again)


def test_a_turn_that_comes_from_the_turn_under_way_waits_where_its_type_is_not_reentrant() -> None:
    guest = Guest()
    _, threads, add = directly(guest, PLAIN)
    gate = guest.gate("7 outer")
    outer = add(method="outer", **{"dapr-reentrancy-id": "a"})
    until(lambda: guest.began)
    inner = add(method="inner", **{"dapr-reentrancy-id": "a"})
    assert threads.tasks == 1
    gate.set()
    until(lambda: outer and inner)
    assert guest.ended[0] == "7 outer"
    assert [event.actor.state.of[2] for event in guest.events] == ["", ""]  # type: ignore[union-attr]


# ---- activation ----


def test_an_actor_is_activated_before_its_first_turn_and_deactivated_when_the_sidecar_says_so(
    sidecar: ActorSidecar,
) -> None:
    with hosting(sidecar) as (actors, guest):
        for id in [sidecar.turn("one"), sidecar.turn("two")]:
            sidecar.answer(id)  # a turn that the sidecar does not wait for is dropped by a deactivation
        id = sidecar.ask("deactivate")
        assert sidecar.answer(id).deactivate_response.id == id
        assert guest.began == ["7 activate", "7 one", "7 two", "7 deactivate"]
        sidecar.answer(sidecar.turn("three"))
        assert guest.began[4:] == ["7 activate", "7 three"]
        assert actors.turns.active == {"Cart": 1}
        assert actors.turns.activated == {"Cart": 2}


def test_a_lost_stream_leaves_no_actor_active(sidecar: ActorSidecar) -> None:
    with hosting(sidecar) as (actors, guest):
        sidecar.answer(sidecar.turn())
        sidecar.stream().end()
        sidecar.stream(2)
        until(lambda: actors.open)
        assert len(actors.turns) == 0
        sidecar.answer(sidecar.turn())
        assert guest.began == ["7 activate", "7 add"] * 2


def test_a_guest_without_handlers_for_it_is_neither_activated_nor_deactivated(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, PLAIN) as (_, guest):
        sidecar.answer(sidecar.turn())
        assert sidecar.answer(sidecar.ask("deactivate")).HasField("deactivate_response")
        assert guest.began == ["7 add"]


def test_an_activation_that_fails_fails_the_turn_that_it_was_for_and_comes_again(sidecar: ActorSidecar) -> None:
    guest = Guest()
    failing = [True]

    def answer(event: Event) -> Reply:
        if event.trigger is Trigger.ACTIVATE and failing:
            failing.pop()
            raise Failure(Reason.GUEST, "not today", "cart")
        return Reply(b"ok", guest="cart")

    guest.answer = answer
    with hosting(sidecar, guest):
        refused = sidecar.answer(sidecar.turn()).request_failed
        assert "could not be activated: not today" in refused.message
        assert sidecar.answer(sidecar.turn()).invoke_response.data == b"ok"
    assert guest.began == ["7 activate", "7 activate", "7 add"]


def test_a_deactivation_that_fails_is_done_all_the_same(sidecar: ActorSidecar) -> None:
    guest = Guest()
    with hosting(sidecar, guest) as (actors, _):
        sidecar.answer(sidecar.turn())
        guest.answer = lambda _: fail(Failure(Reason.TRAP, "no"))
        assert sidecar.answer(sidecar.ask("deactivate")).HasField("deactivate_response")
        until(lambda: len(actors.turns) == 0)


def test_an_activation_is_cut_with_the_turn_that_it_is_for_and_what_it_saves_is_waited_for_no_longer() -> None:
    guest = Guest()
    _, _, add = directly(guest, ActorType("Cart", guest="cart", activates=True))
    gate = guest.gate("7 activate")
    add()
    until(lambda: guest.began)
    let_go = add(trigger=Trigger.DEACTIVATE)
    (event,) = guest.events
    assert event.actor is not None
    state: Any = event.actor.state
    assert guest.deadlines[0].cancelled
    assert state.given_up
    gate.set()
    until(lambda: let_go)


def test_an_actor_that_was_never_active_is_let_go_without_a_word_to_the_guest(sidecar: ActorSidecar) -> None:
    with hosting(sidecar) as (actors, guest):
        assert sidecar.answer(sidecar.ask("deactivate", actor_id="9")).HasField("deactivate_response")
        until(lambda: len(actors.turns) == 0)
        assert guest.began == []


def test_actors_that_are_let_go_together_leave_threads_for_turns(sidecar: ActorSidecar) -> None:
    guest = Guest()
    leaving = ActorType("Cart", guest="cart", places=4, deactivates=True)
    actors = Actors(sidecar.endpoint, guest, State, [leaving], threads=6)  # type: ignore[arg-type]
    actors.start()
    names = [str(number) for number in range(12)]
    for name in names:
        sidecar.answer(sidecar.turn(actor_id=name))
    gates = [guest.gate(f"{name} deactivate") for name in names]
    ids = [sidecar.ask("deactivate", actor_id=name) for name in names]
    assert sidecar.answer(sidecar.turn(actor_id="other")).HasField("invoke_response")
    assert len([name for name in guest.began if name.endswith("deactivate")]) < 6
    for gate in gates:
        gate.set()
    for id in ids:
        assert sidecar.answer(id).HasField("deactivate_response")
    assert sorted(name for name in guest.began if name.endswith("deactivate")) == sorted(
        f"{name} deactivate" for name in names
    )
    actors.stop()
    assert len(actors.turns) == 0


def test_an_actor_that_is_to_be_let_go_waits_for_no_turn_of_those_let_go_before(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, ActorType("Cart", guest="cart", deactivates=True)) as (_, guest):
        names = [str(number) for number in range(turns_module._LEAVING + 1)]
        for name in names:
            sidecar.answer(sidecar.turn(actor_id=name))
        gates = [guest.gate(f"{name} deactivate") for name in names[:-1]]
        again = [guest.gate(f"{name} again") for name in names[:-1]]
        ids = [sidecar.ask("deactivate", actor_id=name) for name in names]
        turns = [sidecar.turn("again", actor_id=name) for name in names[:-1]]
        sidecar.answer(sidecar.turn(actor_id="other"))  # all before it are in order
        for gate in gates:
            gate.set()
        for id in ids:
            assert sidecar.answer(id).HasField("deactivate_response")
        assert not [name for name in guest.ended if name.endswith("again")]
        for gate in again:
            gate.set()
        for id in turns:
            sidecar.answer(id)


def test_actors_that_wait_to_be_let_go_are_forgotten_with_the_stream(sidecar: ActorSidecar) -> None:
    with hosting(sidecar, None, ActorType("Cart", guest="cart", deactivates=True)) as (actors, guest):
        names = [str(number) for number in range(turns_module._LEAVING + 3)]
        for name in names:
            sidecar.answer(sidecar.turn(actor_id=name))
        gates = [guest.gate(f"{name} deactivate") for name in names]
        for name in names:
            sidecar.ask("deactivate", actor_id=name)
        sidecar.answer(sidecar.turn(actor_id="other"))
        sidecar.stream().end()
        sidecar.stream(2)
        until(lambda: actors.open)
        for gate in gates:
            gate.set()
        until(lambda: len(actors.turns) == 0)
        assert len([name for name in guest.began if name.endswith("deactivate")]) == turns_module._LEAVING
        sidecar.answer(sidecar.turn())


def test_nothing_is_kept_of_actors_that_were_let_go_and_little_of_active_ones() -> None:
    guest = Guest()
    many_places = ActorType("Cart", guest="cart", places=100_000, activates=True, deactivates=True)
    turns, threads, add = directly(guest, many_places)
    threads.in_line = True
    many = 2000
    add("warm up")
    quiet: Any = Quiet()
    turns._handler = quiet
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for number in range(many):
        add(f"customer-{number:06}")
    gc.collect()
    grown = sum(line.size_diff for line in tracemalloc.take_snapshot().compare_to(before, "filename"))
    tracemalloc.stop()
    assert turns.active["Cart"] == many + 1
    assert grown < 1024 * many, f"{grown / many:.0f} bytes an actor"
    for number in range(many):
        add(f"customer-{number:06}", trigger=Trigger.DEACTIVATE)
    assert len(turns) == 1
    assert turns.active["Cart"] == 1


class Quiet:
    """A handler that remembers nothing."""

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        return Reply(b"")

"""Events that actors answer: the call that the host makes, and what its end means for the event."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from dapr.proto.runtime.v1.actors_pb2 import InvokeActorResponse
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventResponse

from guesthouse.dapr.actors.calls import SidecarActors
from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.status import topic_status
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.manifest import Manifest
from guesthouse.plan.current import Plans
from guesthouse.plan.routes import Routes
from guesthouse_abi.deadline import Deadline
from tests.support.actor_sidecar import ActorSidecar, actor_sidecar
from tests.support.doubles import NoOutputs
from tests.support.waiting import PATIENCE, until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = Event(
    Trigger.TOPIC,
    "p/orders",
    b'{"customer": {"id": "c7"}}',
    "application/json",
    metadata={"ce_id": "e1", "ce_type": "order", "traceparent": PARENT, "dapr-x": "y"},
)


@pytest.fixture
def sidecar() -> Iterator[ActorSidecar]:
    with actor_sidecar("secret") as made:
        yield made


@contextlib.contextmanager
def calling(endpoint: Endpoint, seconds: float) -> Iterator[SidecarActors]:
    with contextlib.closing(SidecarConnection(endpoint)) as connection:
        yield SidecarActors(connection, seconds)


@pytest.fixture
def calls(sidecar: ActorSidecar) -> Iterator[SidecarActors]:
    with calling(sidecar.endpoint, PATIENCE) as made:
        yield made


def refusing(code: grpc.StatusCode, text: str) -> Any:
    def invoke(_request: object, context: grpc.ServicerContext) -> None:
        context.abort(code, text)

    return invoke


def test_an_actor_gets_the_events_body_attributes_and_trace(sidecar: ActorSidecar, calls: SidecarActors) -> None:
    sidecar.invoke = lambda *_: InvokeActorResponse(data=b"\x00ok")
    reply = calls.answer(EVENT, ("Cart", "c7"), "add", Deadline.after(PATIENCE))
    assert reply.body == b"\x00ok"
    (request,) = sidecar.calls
    assert (request.actor_type, request.actor_id, request.method) == ("Cart", "c7", "add")
    assert request.data == EVENT.body
    assert dict(request.metadata) == {
        "ce_id": "e1",
        "ce_type": "order",
        "content-type": "application/json",
        "traceparent": PARENT,
    }


@pytest.mark.parametrize(
    ("code", "text", "reason", "status"),
    [
        ("INTERNAL", "error invoke actor method: error from actor service: guest 'g': no", Reason.GUEST, "RETRY"),
        ("INTERNAL", "error invoke actor method: actor method not found: add", Reason.NOT_FOUND, "DROP"),
        ("INTERNAL", "error invoke actor method: context canceled", Reason.OUTPUT, "RETRY"),
        ("UNAVAILABLE", "placement service is not configured", Reason.OUTPUT, "RETRY"),
        ("FAILED_PRECONDITION", "did not find address for actor", Reason.OUTPUT, "RETRY"),
        ("DEADLINE_EXCEEDED", "context deadline exceeded", Reason.OUTPUT, "RETRY"),
        ("INVALID_ARGUMENT", "invalid actorId", Reason.MALFORMED, "DROP"),
        ("RESOURCE_EXHAUSTED", "received message larger than max", Reason.TOO_LARGE, "DROP"),
    ],
)
def test_what_the_sidecar_answers_says_whether_the_event_comes_again(
    sidecar: ActorSidecar, calls: SidecarActors, code: str, text: str, reason: Reason, status: str
) -> None:
    sidecar.invoke = refusing(grpc.StatusCode[code], text)
    with pytest.raises(Failure) as error:
        calls.answer(EVENT, ("Cart", "c7"), "add", Deadline.after(PATIENCE))
    assert error.value.reason is reason
    assert f"the actor 'Cart/c7' did not answer: the sidecar says {code}: {text}" in error.value.text
    assert topic_status(error.value) == TopicEventResponse.TopicEventResponseStatus.Value(status)
    assert len(sidecar.calls) == 1, "no call is made twice"


def test_a_call_ends_with_the_event_and_with_the_time_of_outputs(sidecar: ActorSidecar, calls: SidecarActors) -> None:
    going_on = threading.Event()
    sidecar.invoke = lambda _request, context: until(lambda: going_on.is_set() or not context.is_active())
    deadline = Deadline.after(PATIENCE)

    def hang_up() -> None:
        until(lambda: sidecar.calls)
        deadline.cancel()

    threading.Thread(target=hang_up).start()
    with pytest.raises(Failure) as error:
        calls.answer(EVENT, ("Cart", "c7"), "add", deadline)
    assert error.value.reason is Reason.CANCELLED
    with calling(sidecar.endpoint, 0.05) as short, pytest.raises(Failure) as error:
        short.answer(EVENT, ("Cart", "c7"), "add", Deadline.after(PATIENCE))
    assert "DEADLINE_EXCEEDED" in error.value.text
    going_on.set()


def test_without_a_sidecar_the_event_is_to_come_again() -> None:
    with calling(Endpoint("127.0.0.1:1"), PATIENCE) as calls, pytest.raises(Failure) as error:
        calls.answer(EVENT, ("Cart", "c7"), "add", Deadline.after(PATIENCE))
    assert error.value.reason is Reason.OUTPUT


# ---- the route ----


class Actors:
    """Remembers what actors were to answer. Satisfies `event.ActorCalls`."""

    def __init__(self, failure: Failure | None = None) -> None:
        self.asked: list[tuple[tuple[str, str], str]] = []
        self.failure = failure

    def answer(self, event: Event, actor: tuple[str, str], method: str, caller: Deadline) -> Reply:
        self.asked.append((actor, method))
        if self.failure is not None:
            raise self.failure
        return Reply(b"ok")


class Heard:
    """An observer."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.replies = 0

    def answered(self, event: Event, reply: Reply) -> None:
        self.replies += 1

    def failed(self, event: Event, failure: Failure) -> None:
        self.failures.append(failure)


def dispatcher(actors: Actors | None, heard: Heard, **more: Any) -> Dispatcher:
    topic = {"pubsub": "p", "topic": "orders", "actor": "Cart/{data.customer.id}", **more}
    manifest = Manifest.model_validate({"app": {"name": "t"}, "topic": [topic]})

    plan: Any = SimpleNamespace(filters=(), route=Routes(manifest).find, guests={}, close=lambda: None)
    return Dispatcher(Plans(plan), NoOutputs(), [heard], actors)


@pytest.mark.parametrize(("more", "method"), [({}, "orders"), ({"method": "add"}, "add")])
def test_a_topics_event_goes_to_the_actor_that_it_names(more: dict[str, Any], method: str) -> None:
    actors, heard = Actors(), Heard()
    assert dispatcher(actors, heard, **more).dispatch(EVENT).body == b"ok"
    assert actors.asked == [(("Cart", "c7"), method)]
    assert heard.replies == 1


def test_an_event_that_names_no_actor_fails_as_others_do_and_no_actor_hears_of_it() -> None:
    actors, heard = Actors(), Heard()
    with pytest.raises(Failure) as error:
        dispatcher(actors, heard, on_error="drop").dispatch(Event(Trigger.TOPIC, "p/orders", b"{}"))
    assert error.value.reason is Reason.MALFORMED
    assert error.value.drop
    assert heard.failures == [error.value]
    assert not actors.asked


@pytest.mark.parametrize(("on_error", "drop"), [("retry", False), ("drop", True)])
def test_an_actor_that_fails_is_as_a_guest_that_fails(on_error: str, drop: bool) -> None:
    actors = Actors(Failure(Reason.GUEST, "no"))
    with pytest.raises(Failure) as error:
        dispatcher(actors, Heard(), on_error=on_error).dispatch(EVENT)
    assert error.value.drop is drop


def test_where_no_actor_can_be_reached_the_event_says_so() -> None:
    with pytest.raises(Failure) as error:
        dispatcher(None, Heard()).dispatch(EVENT)
    assert "there is no sidecar" in error.value.text

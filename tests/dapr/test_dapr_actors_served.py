"""Actors as `guesthouse serve` hosts them, from the sidecar's stream to the guest and its state.

The sidecar is scripted. All else is real: in threads, in processes, on every engine.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import wasmtime
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventBulkRequest, TopicEventResponse
from dapr.proto.runtime.v1.appcallback_pb2_grpc import AppCallbackStub
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guesthouse.assembly import ServedApplication, application_for, capacity_with_spare, open_plan, update_application
from guesthouse.dapr.actors.calls import SidecarActors
from guesthouse.dapr.client import Client
from guesthouse.dapr.endpoint import SidecarConnection
from guesthouse.dapr.guest_calls import GuestCalls
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.traces import Traces
from guesthouse.plan.current import Plans
from guesthouse.plan.reload import Reloader, ReloadListeners, Source
from tests.support.actor_sidecar import ActorSidecar, actor_sidecar
from tests.support.actors import CALLER, answers, call, get, script, write
from tests.support.doubles import NoOutputs
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.waiting import until

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MANIFEST = """
[app]
name = "shop"
[guests.cart]
module = "caller.wasm"
calling = "dapr"
isolation = "{isolation}"
limits = {{ time = "60s", concurrency = 2 }}
[guests.cart.dapr]
actors = ["Other/*"]
[[actor]]
type = "Cart"
guest = "cart"
{more}
"""
TOPICS = """
[[topic]]
pubsub = "p"
topic = "orders"
actor = "Cart/{data.customer.id}"
dead_letter = "lost"
"""


class Heard:
    """An observer."""

    def __init__(self) -> None:
        self.endings: list[tuple[Event, Reply | Failure]] = []

    def answered(self, event: Event, reply: Reply) -> None:
        self.endings.append((event, reply))

    def failed(self, event: Event, failure: Failure) -> None:
        self.endings.append((event, failure))

    def failures(self) -> list[Failure]:
        return [ending for _, ending in self.endings if isinstance(ending, Failure)]


@dataclass
class Shop:
    """An application with its sidecar."""

    sidecar: ActorSidecar
    application: ServedApplication
    heard: Heard
    metrics: Metrics
    manifest: Path
    reload: Callable[[], object]
    client: Client

    def turn(self, *calls: tuple[str, bytes], how: str = "0", **fields: Any) -> Any:
        """The answer to a turn that makes these calls and ends as `how` says."""
        return self.sidecar.answer(self.sidecar.turn(how, script(*calls), **fields))

    def rewrite(self, old: str, new: str) -> None:
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))
        self.reload()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry().get_sample_value(name, labels)


@contextlib.contextmanager
def shop(folder: Path, place: str = "thread", more: str = "", traces: Traces | None = None) -> Iterator[Shop]:
    path = folder / "guesthouse.toml"
    (folder / "caller.wasm").write_bytes(wasmtime.wat2wasm(CALLER))
    path.write_text(engine_table(place) + MANIFEST.format(isolation=isolation_of(place), more=more))
    read = functools.partial(load, path, grants=GRANTS)
    with contextlib.ExitStack() as stack:
        sidecar = stack.enter_context(actor_sidecar())
        manifest = read()
        connection = stack.enter_context(contextlib.closing(SidecarConnection(sidecar.endpoint)))
        calls = GuestCalls(connection)
        plan = stack.enter_context(open_plan(manifest, {"dapr": calls}))
        plans = stack.enter_context(contextlib.closing(Plans(plan)))
        actor_calls = SidecarActors(connection, 60)
        heard, metrics = Heard(), Metrics(plans, actors=lambda: application.actors)
        application = application_for(
            plans,
            NoOutputs(),
            port=0,
            observers=[heard, metrics],
            sidecar=sidecar.endpoint,
            actor_calls=actor_calls,
            traces=traces,
        )
        listeners = ReloadListeners(functools.partial(update_application, application))
        reloader = Reloader(plans, Source(path, read, capacity_with_spare(manifest)), listeners, watch=False)
        stack.enter_context(contextlib.closing(reloader))
        application.start()
        stack.callback(application.stop)
        client = stack.enter_context(Client(f"127.0.0.1:{application.server.port}", token=""))
        until(lambda: application.actors.open, "the sidecar has the types")
        yield Shop(sidecar, application, heard, metrics, path, reloader.reload, client)


@pytest.fixture(scope="module", params=PLACES)
def open_shop(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("shop"), request.param) as opened:
        yield opened


@pytest.fixture
def everywhere(open_shop: Shop) -> Shop:
    """The shop, as if nothing had happened in it."""
    open_shop.sidecar.state.clear()
    open_shop.sidecar.transactions.clear()
    open_shop.sidecar.calls.clear()
    open_shop.sidecar.no_store = False
    open_shop.heard.endings.clear()
    return open_shop


def test_what_a_turn_writes_is_saved_in_one_transaction_before_it_is_answered(everywhere: Shop) -> None:
    answer = everywhere.turn(write(("upsert", "a", b"1")), write(("upsert", "b", b"2")), get("a"))
    assert [code for code, _ in answers(answer.invoke_response.data)] == [0, 0, 0]
    (transaction,) = everywhere.sidecar.transactions
    assert [(one.key, one.value.value) for one in transaction.operations] == [("a", b"1"), ("b", b"2")]
    assert everywhere.sidecar.state == {("Cart", "7", "a"): b"1", ("Cart", "7", "b"): b"2"}


@pytest.mark.parametrize(("how", "code"), [("t", 13), ("1", 13), ("2", 14), ("3", 3)])
def test_a_turn_that_fails_writes_nothing(everywhere: Shop, how: str, code: int) -> None:
    answer = everywhere.turn(write(("upsert", "a", b"1")), how=how)
    assert answer.request_failed.code == code
    assert everywhere.sidecar.transactions == []
    assert everywhere.turn().HasField("invoke_response"), "the next turn of the actor comes"


def test_a_turn_whose_state_the_sidecar_does_not_take_fails_and_observers_hear_of_it(everywhere: Shop) -> None:
    everywhere.sidecar.no_store = True
    answer = everywhere.turn(write(("upsert", "a", b"1")))
    assert answer.request_failed.code == 14
    assert "was not saved: the sidecar says INTERNAL: actor instance is missing" in answer.request_failed.message
    (failure,) = everywhere.heard.failures()
    assert failure.reason is Reason.OUTPUT
    assert failure.guest == "cart"


def test_a_turn_whose_stream_has_ended_is_stopped_and_saves_nothing(everywhere: Shop) -> None:
    shop, sidecar = everywhere, everywhere.sidecar
    number = len(sidecar.streams)
    sidecar.turn("l", script(write(("upsert", "a", b"1")), call("InvokeActor", actor_type="Other")))
    until(lambda: sidecar.calls, "the guest has written, called, and loops")
    sidecar.stream(number).end()
    (failure,) = until(shop.heard.failures, "its guest has ended")
    assert failure.reason is Reason.CANCELLED
    sidecar.stream(number + 1)
    until(lambda: shop.application.actors.open)
    assert shop.turn(write(("upsert", "b", b"2"))).HasField("invoke_response")
    assert [key for _, _, key in sidecar.state] == ["b"]


def test_a_call_to_another_actor_is_in_the_trace_of_the_turn(everywhere: Shop) -> None:
    other = call("InvokeActor", actor_type="Other", method="x")
    answer = everywhere.turn(other, metadata={"Traceparent": PARENT})
    assert answers(answer.invoke_response.data)[0][0] == 0
    (request,) = everywhere.sidecar.calls
    assert request.metadata["traceparent"] == PARENT
    assert request.metadata["guesthouse-depth"] == "1"


def test_a_turn_is_a_span_under_its_callers_which_names_the_actor(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    traces = Traces("shop", exporter)
    with contextlib.closing(traces), shop(tmp_path, traces=traces) as opened:
        opened.turn(call("InvokeActor", actor_type="Other", method="x"), metadata={"Traceparent": PARENT})
        handed_on = opened.sidecar.calls[0].metadata["traceparent"]
    (span,) = [span for span in exporter.get_finished_spans() if span.name == "guest cart"]
    assert span.parent is not None
    assert span.context is not None
    assert span.attributes is not None
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" == PARENT[3:52]
    assert handed_on == f"00-{PARENT[3:35]}-{span.context.span_id:016x}-01"
    wanted = {"guesthouse.name": "Cart", "guesthouse.actor": "7", "guesthouse.method": "0", "faas.trigger": "other"}
    assert {key: span.attributes[key] for key in wanted} == wanted


def test_turns_are_counted_by_the_type_of_their_actors(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        assert opened.metric("guesthouse_actors_hosted") == 1
        opened.sidecar.state["Cart", "7", "old"] = b"12345"
        opened.turn(get("old"), write(("upsert", "a", b"1")))
        opened.turn(how="t", actor_id="8")
        opened.sidecar.answer(opened.sidecar.timed("reminder", "0", b'""'))
        assert opened.metric("guesthouse_actor_turns_total", type="Cart", trigger="actor") == 2
        assert opened.metric("guesthouse_actor_turns_total", type="Cart", trigger="reminder") == 1
        assert opened.metric("guesthouse_actor_failures_total", type="Cart", reason="TRAP") == 1
        assert opened.metric("guesthouse_actor_turn_seconds_count", type="Cart") == 3
        assert opened.metric("guesthouse_actor_state_read_bytes_total", type="Cart") >= 5  # type: ignore[operator]
        assert opened.metric("guesthouse_actor_state_saved_bytes_total", type="Cart") >= 1  # type: ignore[operator]
        assert opened.metric("guesthouse_actor_activations_total", type="Cart") == 2
        assert opened.metric("guesthouse_actors_active", type="Cart") == 2
        opened.sidecar.answer(opened.sidecar.ask("deactivate"))
        until(lambda: opened.metric("guesthouse_actors_active", type="Cart") == 1)
        opened.sidecar.turn("0", actor_type="Unknown")
        until(lambda: opened.heard.failures()[-1].reason is Reason.NOT_FOUND)
        assert opened.metric("guesthouse_actor_turns_total", type="Unknown", trigger="actor") is None


def test_a_reload_with_another_type_opens_another_stream_and_one_with_another_limit_does_not(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.rewrite("concurrency = 2", "concurrency = 3")
        assert opened.turn().HasField("invoke_response")
        assert len(opened.sidecar.streams) == 1
        opened.rewrite('[[actor]]\ntype = "Cart"', '[[actor]]\ntype = "Till"\nguest = "cart"\n[[actor]]\ntype = "Cart"')
        assert sorted(opened.sidecar.stream(2).initial.entities) == ["Cart", "Till"]
        until(lambda: opened.application.actors.open)
        assert opened.turn(actor_type="Till").HasField("invoke_response")
        assert opened.sidecar.most_open == 1


def test_a_type_that_is_switched_off_answers_so(tmp_path: Path) -> None:
    with shop(tmp_path) as opened:
        opened.rewrite('type = "Cart"', 'type = "Cart"\nenabled = false')
        answer = opened.turn().request_failed
        assert answer.code == 14
        assert "switched off" in answer.message


def test_events_of_a_topic_become_turns_of_the_actor_that_they_name(tmp_path: Path) -> None:
    with shop(tmp_path, more=TOPICS) as opened:
        event = Event(Trigger.TOPIC, "p/orders", b'{"customer": {"id": "c7"}}', "application/json", id="e1")
        opened.client.send(event, timeout=60)
        (request,) = opened.sidecar.calls
        assert (request.actor_type, request.actor_id, request.method) == ("Cart", "c7", "orders")
        with pytest.raises(Failure) as error:
            opened.client.send(Event(Trigger.TOPIC, "p/orders", b"no JSON", "text/plain", id="e2"), timeout=60)
        assert error.value.reason is Reason.MALFORMED
        opened.sidecar.invoke = _unavailable
        with pytest.raises(Failure) as error:
            opened.client.send(event, timeout=60)
        assert error.value.reason is Reason.OUTPUT


def test_each_message_of_a_bulk_goes_to_the_actor_that_it_names(tmp_path: Path) -> None:
    with shop(tmp_path, more=TOPICS) as opened:
        request = TopicEventBulkRequest(id="1", pubsub_name="p", topic="orders")
        for id, body in (("a", b'{"customer": {"id": "c1"}}'), ("b", b"{}"), ("c", b'{"customer": {"id": "c2"}}')):
            request.entries.add(entry_id=id, bytes=body)
        with grpc.insecure_channel(f"127.0.0.1:{opened.application.server.port}") as channel:
            stub = AppCallbackStub(channel)
            answered = {one.entry_id: int(one.status) for one in stub.OnBulkTopicEvent(request, timeout=60).statuses}
        success, drop = (TopicEventResponse.TopicEventResponseStatus.Value(name) for name in ("SUCCESS", "DROP"))
        assert answered == {"a": success, "b": drop, "c": success}
        assert [one.actor_id for one in opened.sidecar.calls] == ["c1", "c2"]


def _unavailable(_request: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "no placement")

"""Replies handed on through a sidecar: a real gRPC server with the two methods that are called."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from dapr.proto.runtime.v1.binding_pb2 import InvokeBindingRequest, InvokeBindingResponse
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprServicer, add_DaprServicer_to_server
from dapr.proto.runtime.v1.state_pb2 import SaveStateRequest
from google.protobuf.empty_pb2 import Empty

from guesthouse.dapr import outputs as module
from guesthouse.dapr.endpoint import Endpoint
from guesthouse.dapr.outputs import SidecarOutputs, state_key
from guesthouse.event import Cost, Event, Failure, Outputs, Reason, Reply, Trigger
from guesthouse_abi.deadline import Deadline
from tests.support.serving import connected
from tests.support.waiting import until

EVENT = Event(Trigger.TOPIC, "bus/photos", id="7")
REPLY = Reply(b"\x00\xff not json", "image/png", "classify", Cost(guest=1.5))


@dataclass(frozen=True)
class Route:
    """What a route of the manifest says about its reply."""

    to: tuple[str, ...] = ()
    state: tuple[str, str] | None = None


class Sidecar(DaprServicer):
    """Remembers what it was sent; `before` may refuse a call."""

    def __init__(self) -> None:
        self.calls: list[InvokeBindingRequest | SaveStateRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.before: Callable[[grpc.ServicerContext], None] = lambda context: None

    def InvokeBinding(self, request, context):
        self._remember(request, context)
        return InvokeBindingResponse(data=bytes(5 * 2**20))

    def SaveState(self, request, context):
        self._remember(request, context)
        return Empty()

    def _remember(self, request, context) -> None:
        self.calls.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.before(context)


def start(sidecar_: Sidecar, port: int = 0) -> tuple[grpc.Server, int]:
    server = grpc.server(
        ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    )
    add_DaprServicer_to_server(sidecar_, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


@pytest.fixture
def daprd():
    """(the sidecar, its port)."""
    servicer = Sidecar()
    server, port = start(servicer)
    yield servicer, port
    server.stop(None)


@pytest.fixture
def outputs(daprd):
    with connected(f"127.0.0.1:{daprd[1]}", token="sesame") as connection:
        yield SidecarOutputs(connection)


def forever() -> Deadline:
    return Deadline(float("inf"))


def refuse(code: grpc.StatusCode, times: int = 10**6):
    left = [times]

    def before(context: grpc.ServicerContext) -> None:
        left[0] -= 1
        if left[0] >= 0:
            context.abort(code, "/var/lib/secret")

    return before


def test_the_reply_goes_to_the_state_store_and_then_to_each_output(daprd, outputs: SidecarOutputs):
    kept: Outputs = outputs
    kept.deliver(REPLY, EVENT, Route(to=("results", "archive"), state=("store", "photo/{id}")), Deadline.after(10))
    save, *bindings = daprd[0].calls
    (item,) = save.states
    assert (save.store_name, item.key, item.value) == ("store", "photo/7", REPLY.body)
    assert dict(item.metadata) == {"contentType": "image/png"}
    assert [call.name for call in bindings] == ["results", "archive"]
    for call in bindings:
        assert (call.operation, call.data) == ("create", REPLY.body)
        assert dict(call.metadata) == {"contentType": "image/png", "eventId": "7"}  # by which a receiver knows it again
    assert {metadata["dapr-api-token"] for metadata in daprd[0].metadata} == {"sesame"}


def test_the_calls_belong_to_the_trace_of_the_event(daprd, outputs: SidecarOutputs):
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1"}
    event = Event(Trigger.BINDING, "camera", metadata={**trace, "x-other": "1"})
    outputs.deliver(REPLY, event, Route(to=("results",), state=("store", "{name}")), forever())
    assert len(daprd[0].metadata) == 2
    for metadata in daprd[0].metadata:
        assert trace.items() <= metadata.items()
        assert "x-other" not in metadata


def test_a_route_without_outputs_calls_nothing(daprd, outputs: SidecarOutputs):
    outputs.deliver(REPLY, EVENT, Route(), forever())
    assert not daprd[0].calls


@pytest.mark.parametrize(
    ("route", "named"),
    [
        (Route(to=("results", "after")), "output binding 'results'"),
        (Route(("after",), ("db", "k")), "state store 'db'"),
    ],
)
def test_a_refusal_names_the_output_and_is_not_repeated(daprd, outputs: SidecarOutputs, caplog, route, named):
    daprd[0].before = refuse(grpc.StatusCode.INTERNAL)
    with pytest.raises(Failure) as failed:
        outputs.deliver(REPLY, EVENT, route, forever())
    assert failed.value.reason is Reason.OUTPUT
    assert failed.value.text == f"{named} did not accept the reply: the sidecar says INTERNAL: /var/lib/secret"
    assert (failed.value.guest, failed.value.cost) == ("classify", REPLY.cost)
    assert len(daprd[0].calls) == 1
    assert f"{named}, attempt 1: INTERNAL: /var/lib/secret" in caplog.text


def test_a_sidecar_that_is_not_there_for_a_moment_is_asked_again(daprd, outputs: SidecarOutputs):
    daprd[0].before = refuse(grpc.StatusCode.UNAVAILABLE, times=2)
    outputs.deliver(REPLY, EVENT, Route(to=("results",)), forever())
    assert len(daprd[0].calls) == 3


def test_a_sidecar_that_stays_away_is_given_up_after_some_attempts(daprd, outputs: SidecarOutputs, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    daprd[0].before = refuse(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Failure) as failed:
        outputs.deliver(REPLY, EVENT, Route(to=("results",)), forever())
    assert failed.value.text == (
        "output binding 'results' did not accept the reply: the sidecar cannot be reached; is it running, "
        "and are DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT right?"
    )
    assert len(daprd[0].calls) == module.ATTEMPTS


def used_up() -> Deadline:
    """Of a caller whose guest has used all of its time."""
    return Deadline(time.monotonic() - 1)


def test_outputs_have_time_of_their_own(daprd, outputs: SidecarOutputs):
    daprd[0].before = refuse(grpc.StatusCode.UNAVAILABLE, times=2)
    outputs.deliver(REPLY, EVENT, Route(to=("results",)), used_up())
    assert len(daprd[0].calls) == 3


def test_the_time_of_the_outputs_ends_the_attempts(daprd, outputs: SidecarOutputs, monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE", 60.0)
    daprd[0].before = refuse(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Failure, match="cannot be reached"):
        outputs.deliver(REPLY, EVENT, Route(to=("results",)), forever())
    assert len(daprd[0].calls) == 1


def test_the_time_of_the_outputs_ends_a_call(daprd):
    release = threading.Event()
    daprd[0].before = lambda context: release.wait(10) and None
    with (
        connected(f"127.0.0.1:{daprd[1]}") as connection,
        pytest.raises(Failure, match=r"the reply: no answer within 0\.[01]\d* s, what was left of outputs\.time; "),
    ):
        SidecarOutputs(connection, 0.1).deliver(REPLY, EVENT, Route(to=("results",)), forever())
    release.set()


def test_a_stream_that_the_sidecar_resets_as_the_time_is_over_is_no_answer(daprd, outputs: SidecarOutputs):
    daprd[0].before = lambda context: context.cancel()
    with pytest.raises(Failure, match=r"no answer within 10 s, what was left of outputs\.time;"):
        outputs.deliver(REPLY, EVENT, Route(to=("results",)), forever())


def test_a_sidecar_that_says_that_the_time_is_over_is_no_answer(daprd, outputs: SidecarOutputs):
    """As daprd does where its component notices first."""

    def before(context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.INTERNAL, "error invoking output binding shelf: context deadline exceeded")

    daprd[0].before = before
    with pytest.raises(Failure, match=r"no answer within 10 s, what was left of outputs\.time;"):
        outputs.deliver(REPLY, EVENT, Route(to=("results",)), forever())


def test_nothing_is_handed_on_for_a_caller_that_has_hung_up(daprd, outputs: SidecarOutputs):
    caller = forever()
    caller.cancel()
    with pytest.raises(Failure) as failed:
        outputs.deliver(REPLY, EVENT, Route(to=("results",)), caller)
    assert (failed.value.reason, failed.value.guest) == (Reason.CANCELLED, "classify")
    assert failed.value.text == "the caller hung up before the reply was handed on"
    assert daprd[0].calls == []


def test_a_caller_that_hangs_up_ends_the_pause_before_the_first_output_has_the_reply(
    daprd, outputs: SidecarOutputs, monkeypatch
):
    monkeypatch.setattr(module, "FIRST_PAUSE", 5.0)
    caller = forever()

    def before(context: grpc.ServicerContext) -> None:
        threading.Timer(0.05, caller.cancel).start()
        context.abort(grpc.StatusCode.UNAVAILABLE, "")

    daprd[0].before = before
    with pytest.raises(Failure, match="hung up before"):
        outputs.deliver(REPLY, EVENT, Route(to=("results",)), caller)
    assert len(daprd[0].calls) == 1


def test_what_one_output_has_the_others_get_too_though_the_caller_hung_up(daprd, outputs: SidecarOutputs):
    caller = forever()
    daprd[0].before = lambda context: caller.cancel()
    outputs.deliver(REPLY, EVENT, Route(to=("results", "archive")), caller)
    assert len(daprd[0].calls) == 2


def test_connects_to_a_sidecar_that_starts_later():
    server, port = start(Sidecar())
    server.stop(None).wait()
    with connected(f"127.0.0.1:{port}") as connection:
        outputs = SidecarOutputs(connection)
        with pytest.raises(Failure, match="cannot be reached"):
            outputs.deliver(REPLY, EVENT, Route(to=("results",)), Deadline.after(0.2))
        servicer = Sidecar()
        server, _ = start(servicer, port)

        def delivered() -> bool:
            with contextlib.suppress(Failure):
                outputs.deliver(REPLY, EVENT, Route(to=("results",)), Deadline.after(60))
            return bool(servicer.calls)

        until(delivered)
    server.stop(None)


@pytest.mark.parametrize(
    ("environment", "endpoint"),
    [
        ({}, Endpoint("127.0.0.1:50001")),
        ({"DAPR_GRPC_PORT": "3500", "DAPR_API_TOKEN": "t"}, Endpoint("127.0.0.1:3500", token="t")),
        ({"DAPR_GRPC_ENDPOINT": "daprd:50001", "DAPR_GRPC_PORT": "1"}, Endpoint("daprd:50001")),
        ({"DAPR_GRPC_ENDPOINT": "http://daprd:50001"}, Endpoint("daprd:50001")),
        ({"DAPR_GRPC_ENDPOINT": "http://daprd"}, Endpoint("daprd:80")),
        ({"DAPR_GRPC_ENDPOINT": "https://daprd.example.org"}, Endpoint("daprd.example.org:443", tls=True)),
        ({"DAPR_GRPC_ENDPOINT": "https://[::1]:4443"}, Endpoint("[::1]:4443", tls=True)),
        ({"DAPR_GRPC_ENDPOINT": "dns:daprd:50001?tls=true"}, Endpoint("dns:daprd:50001", tls=True)),
        ({"DAPR_GRPC_ENDPOINT": "unix:///run/dapr.sock"}, Endpoint("unix:///run/dapr.sock")),
    ],
)
def test_finds_the_sidecar_by_its_environment(environment, endpoint):
    assert Endpoint.from_environment(environment) == endpoint


def test_a_key_has_the_events_id_and_name():
    assert state_key("a-{name}-{id}-{other}", EVENT) == "a-bus/photos-7-{other}"
    named = Event(Trigger.TOPIC, "{id}", id="{name}")
    assert state_key("{name}{id}", named) == "{id}{name}"


def test_a_key_can_be_the_digest_of_the_body():
    event = Event(Trigger.BINDING, "camera", b"abc")
    assert state_key("{sha256}", event) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_an_event_without_an_id_is_not_said_to_have_one(daprd, outputs: SidecarOutputs):
    outputs.deliver(REPLY, Event(Trigger.BINDING, "camera"), Route(to=("results",)), forever())
    assert dict(daprd[0].calls[0].metadata) == {"contentType": "image/png"}


def test_a_key_of_an_event_without_an_id_is_new_each_time():
    event = Event(Trigger.BINDING, "camera")
    assert state_key("{id}", event) != state_key("{id}", event)

"""dapr-api-token: asked for where a sidecar sends it, and only there."""

from __future__ import annotations

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    JobEventRequest,
    TopicEventBulkRequest,
    TopicEventBulkRequestEntry,
    TopicEventRequest,
)
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from tests.dapr.dapr_ends import Application, Script

BULK = TopicEventBulkRequest(entries=[TopicEventBulkRequestEntry(entry_id="1")])
EVENTS = {
    "OnInvoke": InvokeRequest(),
    "OnBindingEvent": BindingEventRequest(),
    "OnTopicEvent": TopicEventRequest(),
    "OnBulkTopicEvent": BULK,
    "OnBulkTopicEventAlpha1": BULK,
    "OnJobEvent": JobEventRequest(),
    "OnJobEventAlpha1": JobEventRequest(),
}


@pytest.fixture
def guarded(serve, connect) -> Application:
    return Application(connect(serve(tokens=("old token", "näw"))))


@pytest.mark.parametrize("rpc", EVENTS)
def test_refuses_an_event_without_a_token(guarded: Application, handler: Script, rpc):
    with capture_logs() as lines, pytest.raises(grpc.RpcError) as refused:
        getattr(guarded, rpc)(EVENTS[rpc])
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == (
        "no dapr-api-token came with the call; give the sidecar the token of this application "
        "(APP_API_TOKEN in the environment of daprd, dapr.io/app-token-secret on Kubernetes)"
    )
    details = {one.key: one.value for one in refused.value.trailing_metadata()}
    assert b"DENIED" in bytes(details["grpc-status-details-bin"])
    assert not handler.events
    (line,) = lines
    assert (line["event"], line["reason"], line["error"]) == ("refused", "DENIED", refused.value.details())
    assert line["peer"].startswith("ipv4:127.0.0.1:")


@pytest.mark.parametrize("rpc", EVENTS)
@pytest.mark.parametrize("wrong", ["", "old", "old tokens", "OLD TOKEN"])
def test_refuses_an_event_with_a_wrong_token(guarded: Application, handler: Script, rpc, wrong):
    with pytest.raises(grpc.RpcError) as refused:
        getattr(guarded, rpc)(EVENTS[rpc], metadata=(("dapr-api-token", wrong),))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.details() == (
        "the dapr-api-token of the call is not one of this application's; "
        "APP_API_TOKEN must be the same for the sidecar and for the application"
    )
    assert not handler.events


@pytest.mark.parametrize("rpc", EVENTS)
def test_takes_any_of_the_tokens_while_they_are_rotated(serve, connect, handler: Script, rpc):
    application = Application(connect(serve(tokens=("old", "new"))))
    for token in ("old", "new"):
        getattr(application, rpc)(EVENTS[rpc], metadata=(("dapr-api-token", token),))
    assert len(handler.events) == 2
    assert all("dapr-api-token" not in event.metadata for event in handler.events)


def test_health_and_listings_need_no_token(guarded: Application):
    guarded.HealthCheck(Empty())
    guarded.ListTopicSubscriptions(Empty())
    guarded.ListInputBindings(Empty())
    health = health_pb2_grpc.HealthStub(guarded.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


def test_an_empty_token_is_no_token(serve, connect, handler: Script):
    application = Application(connect(serve(tokens=("",))))
    application.OnInvoke(InvokeRequest())
    assert len(handler.events) == 1

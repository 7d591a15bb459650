"""Whatever bytes come, the answer is one that a sidecar understands: never UNKNOWN, never UNIMPLEMENTED."""

from __future__ import annotations

import subprocess
import sys

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    JobEventRequest,
    TopicEventBulkRequest,
    TopicEventRequest,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError, Message
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.dapr.listing import Listing
from guesthouse.dapr.server import Server, ServerConfig
from tests.dapr.dapr_ends import Script
from tests.support.budget import examples

SERVICE = "dapr.proto.runtime.v1"
REQUESTS = {
    "AppCallback/OnInvoke": InvokeRequest,
    "AppCallback/OnTopicEvent": TopicEventRequest,
    "AppCallback/OnBindingEvent": BindingEventRequest,
    "AppCallback/OnBulkTopicEvent": TopicEventBulkRequest,
    "AppCallback/OnJobEvent": JobEventRequest,
    "AppCallback/ListTopicSubscriptions": None,
    "AppCallback/ListInputBindings": None,
    "AppCallbackAlpha/OnBulkTopicEventAlpha1": TopicEventBulkRequest,
    "AppCallbackAlpha/OnJobEventAlpha1": JobEventRequest,
    "AppCallbackHealthCheck/HealthCheck": None,
}


@pytest.fixture(scope="module", params=["native", "grpcio"])
def channel(request: pytest.FixtureRequest):
    if request.param == "native":
        pytest.importorskip("pygrpc_native")
    server = Server(ServerConfig(port=0, threads=12, core=request.param), Script(), Listing())
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        yield opened
    server.stop()


def answer(channel: grpc.Channel, method: str, data: bytes) -> grpc.StatusCode:
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}.{method}")
    call = ask.future(data, timeout=30)
    call.exception()  # waits
    return call.code()


numbers = st.floats() | st.integers(-(2**70), 2**70).map(float)
values = st.recursive(
    st.just(Value())
    | numbers.map(lambda number: Value(number_value=number))
    | st.text().map(lambda text: Value(string_value=text))
    | st.booleans().map(lambda truth: Value(bool_value=truth)),
    lambda inner: st.lists(inner, max_size=3).map(
        lambda items: Value(list_value={"values": items})  # type: ignore[arg-type]
    ),
    max_leaves=6,
)
structs = st.dictionaries(st.text(max_size=5), values, max_size=3).map(lambda fields: Struct(fields=fields))
anys = st.builds(
    Any,
    type_url=st.sampled_from(
        ["", "x/google.protobuf.Value", "google.protobuf.StringValue", "/google.protobuf.BytesValue"]
    )
    | st.text(max_size=5),
    value=st.binary(max_size=20) | values.map(lambda value: value.SerializeToString()),
)


@settings(max_examples=examples(25), deadline=None)
@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("method", REQUESTS)
def test_random_bytes_never_give_an_unknown_status(channel, method, data):
    parsed = _parses(REQUESTS[method], data)
    code = answer(channel, method, data)
    if parsed:
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)
    else:
        assert code is grpc.StatusCode.INTERNAL  # gRPC's own: the message cannot be read


@settings(max_examples=examples(50), deadline=None)
@given(st.builds(TopicEventRequest, id=st.text(), data=st.binary(), extensions=structs, data_content_type=st.text()))
def test_random_extensions_never_give_an_unknown_status(channel, request):
    assert answer(channel, "AppCallback/OnTopicEvent", request.SerializeToString()) is grpc.StatusCode.OK


@settings(max_examples=examples(50), deadline=None)
@given(st.builds(JobEventRequest, name=st.text(), data=anys, content_type=st.text(max_size=5)))
def test_random_job_data_never_gives_an_unknown_status(channel, request):
    code = answer(channel, "AppCallback/OnJobEvent", request.SerializeToString())
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)


def test_importing_the_package_warns_of_nothing():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import guesthouse.dapr.server, guesthouse.dapr.client"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _parses(kind: type[Message] | None, data: bytes) -> bool:
    try:
        (kind or Empty).FromString(data)
    except DecodeError:
        return False
    return True

"""The table of status codes, over the wire: what each failure is to an invocation, a job, a binding and a topic."""

from __future__ import annotations

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    JobEventRequest,
    TopicEventRequest,
    TopicEventResponse,
)
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from guesthouse.dapr.status import CODES, TOPIC_DETAILS_KEY, cut
from guesthouse.event import Failure, Reason
from tests.dapr.dapr_ends import Application, Script

TABLE = {
    Reason.TRAP: ("INTERNAL", "RETRY"),
    Reason.BAD_REPLY: ("INTERNAL", "RETRY"),
    Reason.GUEST: ("INTERNAL", "RETRY"),
    Reason.DEADLINE: ("DEADLINE_EXCEEDED", "RETRY"),
    Reason.CANCELLED: ("CANCELLED", "RETRY"),
    Reason.NOT_FOUND: ("NOT_FOUND", "DROP"),
    Reason.FULL: ("RESOURCE_EXHAUSTED", "RETRY"),
    Reason.TOO_LARGE: ("INVALID_ARGUMENT", "DROP"),
    Reason.MALFORMED: ("INVALID_ARGUMENT", "DROP"),
    Reason.TRY_AGAIN: ("UNAVAILABLE", "RETRY"),
    Reason.OFF: ("UNAVAILABLE", "RETRY"),
    Reason.DRAINING: ("UNAVAILABLE", "RETRY"),
    Reason.DENIED: ("UNAUTHENTICATED", None),
    Reason.OUTPUT: ("UNAVAILABLE", "RETRY"),
    Reason.INTERNAL: ("INTERNAL", "RETRY"),
}
CALLS = [("OnInvoke", InvokeRequest()), ("OnJobEvent", JobEventRequest()), ("OnBindingEvent", BindingEventRequest())]


def details(error: grpc.RpcError) -> Status:
    metadata = {one.key: one.value for one in error.trailing_metadata()}
    return Status.FromString(metadata["grpc-status-details-bin"])


def unpack(status: Status, kind):
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def test_the_table_has_every_reason_and_never_unimplemented():
    assert set(TABLE) == set(Reason) == set(CODES)
    assert not {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.OK} & set(CODES.values())


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize(("rpc", "request_"), CALLS, ids=[rpc for rpc, _ in CALLS])
def test_a_failure_is_a_status_with_details(application: Application, handler: Script, reason, rpc, request_):
    handler.fail(Failure(reason, "so it went", "classify"))
    with pytest.raises(grpc.RpcError) as raised:
        getattr(application, rpc)(request_)
    error = raised.value
    assert (error.code().name, error.details()) == (TABLE[reason][0], "guest 'classify': so it went")
    status = details(error)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info = unpack(status, ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason.value, "guesthouse", {"guest": "classify"})
    retry = unpack(status, RetryInfo)
    assert (retry is not None) == (reason is Reason.FULL)
    assert retry is None or retry.retry_delay.seconds == 1


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.DENIED])
def test_a_failure_is_an_answer_to_a_topics_event(application: Application, handler: Script, reason):
    handler.fail(Failure(reason, "so it went", "classify"))
    response, call = application.OnTopicEvent.with_call(TopicEventRequest())
    assert TopicEventResponse.TopicEventResponseStatus.Name(response.status) == TABLE[reason][1]
    told = Status.FromString(dict(call.trailing_metadata())[TOPIC_DETAILS_KEY])
    assert unpack(told, ErrorInfo).reason == reason.value


def test_a_refused_token_refuses_a_topics_call_as_a_whole(application: Application, handler: Script):
    handler.fail(Failure(Reason.DENIED, "no token"))
    with pytest.raises(grpc.RpcError) as raised:
        application.OnTopicEvent(TopicEventRequest())
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_topics_event_is_dropped_where_its_route_asks_for_it(application: Application, handler: Script):
    handler.fail(Failure(Reason.GUEST, "own error", drop=True))
    assert application.OnTopicEvent(TopicEventRequest()).status == TopicEventResponse.DROP


@pytest.mark.parametrize(("rpc", "request_"), CALLS, ids=[rpc for rpc, _ in CALLS])
def test_an_unexpected_exception_is_logged_and_tells_the_caller_nothing(
    application: Application, handler: Script, caplog, rpc, request_
):
    handler.fail(RuntimeError("/etc/secret"))
    with pytest.raises(grpc.RpcError) as raised:
        getattr(application, rpc)(request_)
    assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "secret" not in str(details(raised.value))
    assert "RuntimeError: /etc/secret" in caplog.text


@pytest.mark.parametrize("letter", ["a", "ü", "€", "😀", "\ud800", "\n", "\0"])
def test_a_long_text_is_cut_to_1_kib_of_valid_utf8(application: Application, handler: Script, letter):
    handler.fail(Failure(Reason.GUEST, letter * 5000, "😀" * 500))
    with pytest.raises(grpc.RpcError) as raised:
        application.OnInvoke(InvokeRequest())
    text = details(raised.value).message
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert raised.value.details() == text
    assert 1018 <= len(text.encode()) <= 1024
    assert text.endswith("…")


def test_a_text_that_fits_is_not_cut():
    assert cut("ü" * 512) == "ü" * 512
    assert cut("") == ""

"""Every RPC that carries an event: what the handler is given, and what comes back."""

from __future__ import annotations

import base64
import logging
import math
import queue
import time

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    JobEventRequest,
    TopicEventBulkRequest,
    TopicEventBulkRequestEntry,
    TopicEventCERequest,
    TopicEventRequest,
    TopicEventResponse,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from guesthouse.dapr.listing import Bulk, Listing, Rule, Subscription
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import CallError, DeadlineExceeded
from tests.dapr.dapr_ends import Application, Blocked, Script
from tests.support.serving import OVER_TIME

SUCCESS, RETRY, DROP = TopicEventResponse.SUCCESS, TopicEventResponse.RETRY, TopicEventResponse.DROP


def pack(message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


# Replies


@pytest.mark.parametrize("content_type", ["", "text/plain"])
def test_a_reply_may_fill_a_message_and_no_more(serve, connect, handler: Script, content_type: str):
    message = 1 << 20
    application = Application(connect(serve(message=message)))
    most = message - 64 - len(content_type)
    handler.answer = lambda event, deadline: Reply(bytes(most), content_type, "g")
    assert len(application.OnInvoke(InvokeRequest(method="x")).data.value) == most
    assert len(application.OnBindingEvent(BindingEventRequest(name="x")).data) == most
    handler.answer = lambda event, deadline: Reply(bytes(most + 1), content_type, "g")
    said = (
        f"guest 'g': a reply of {message - 63} bytes; server.message leaves room for {message - 64}: raise it, or lower"
    )
    for call in (
        lambda: application.OnInvoke(InvokeRequest()),
        lambda: application.OnBindingEvent(BindingEventRequest()),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert str(caught.value.details()).startswith(said)


def test_a_reply_that_is_not_sent_back_may_be_of_any_size(serve, connect, handler: Script):
    application = Application(connect(serve(message=1 << 20)))
    handler.answer = lambda event, deadline: Reply(bytes(2 << 20), "", "g")
    assert application.OnTopicEvent(TopicEventRequest()).status == SUCCESS
    application.OnJobEvent(JobEventRequest())


# Invocations


def test_an_invocation_brings_its_verb_query_content_type_and_body(application: Application, handler: Script):
    request = InvokeRequest(
        method="api/image",
        data=Any(value=b"\xff\x00photo"),
        content_type="image/png",
        http_extension=HTTPExtension(verb=HTTPExtension.PUT, querystring="top=5&q=a%20b"),
    )
    response = application.OnInvoke(request)
    (event,) = handler.events
    assert (event.trigger, event.name, event.body) == (Trigger.INVOKE, "api/image", b"\xff\x00photo")
    assert (event.verb, event.query, event.content_type) == ("PUT", "top=5&q=a%20b", "image/png")
    assert response.data.value == b"\xff\x00photo"
    assert response.data.type_url == ""
    assert response.content_type == "image/png"


@pytest.mark.parametrize(("number", "verb"), [(HTTPExtension.NONE, ""), (HTTPExtension.PATCH, "PATCH"), (77, "")])
def test_a_verb_that_is_not_given_or_not_known_is_empty(application: Application, handler: Script, number, verb):
    application.OnInvoke(InvokeRequest(http_extension=HTTPExtension(verb=number)))
    assert handler.events[0].verb == verb


def test_headers_have_their_own_names_again(application: Application, handler: Script):
    metadata = (
        ("dapr-accept", "text/html"),
        ("dapr-if-none-match", '"abc"'),
        ("dapr-caller-app-id", "web"),
        ("authorization", "Bearer x"),
        ("x-many", "one"),
        ("x-many", "two"),
        ("x-raw-bin", b"\x00\xff"),
        ("dapr-api-token", "secret"),
    )
    application.OnInvoke(InvokeRequest(method="m"), metadata=metadata)
    found = dict(handler.events[0].metadata)
    assert found == {
        "accept": "text/html",
        "if-none-match": '"abc"',
        "dapr-caller-app-id": "web",
        "authorization": "Bearer x",
        "x-many": "one, two",
        "x-raw-bin": base64.b64encode(b"\x00\xff").decode(),
    }


def test_a_reply_that_cannot_be_sent_is_an_internal_error_without_its_reason(
    application: Application, handler: Script, caplog
):
    handler.answer = lambda event, deadline: Reply("text, not bytes")  # type: ignore[arg-type]
    with pytest.raises(grpc.RpcError) as refused:
        application.OnInvoke(InvokeRequest())
    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "TypeError: expected bytes, str found" in caplog.text


# The caller's deadline and its hanging up


def test_a_caller_without_a_bound_leaves_an_infinite_deadline(application: Application, handler: Script):
    application.OnInvoke(InvokeRequest())
    assert handler.deadlines[0].at == math.inf


def test_a_callers_bound_is_the_events_deadline(application: Application, handler: Script):
    before = time.monotonic()
    application.OnInvoke(InvokeRequest(), timeout=30)
    assert before + 20 < handler.deadlines[0].at < time.monotonic() + 31


def test_a_caller_that_hangs_up_cancels_its_event(application: Application, handler: Script):
    handler.answer = blocked = Blocked()
    call = application.OnInvoke.future(InvokeRequest())
    assert blocked.entered.acquire(timeout=60)
    assert not handler.deadlines[0].cancelled
    call.cancel()
    assert blocked.cancelled.wait(60)
    assert handler.deadlines[0].cancelled


def test_a_callers_deadline_that_passes_is_a_deadline_and_no_hanging_up(application: Application, handler: Script):
    ends = queue.SimpleQueue[Exception]()

    def waits(event: Event, deadline: Deadline) -> Reply:
        while not deadline.over:
            time.sleep(0.01)
        try:
            deadline.check()
        except CallError as error:
            ends.put(error)
            raise Failure(Reason.DEADLINE, "stopped at its deadline") from error  # as a sandbox does
        return Reply(b"")

    handler.answer = waits
    with pytest.raises(grpc.RpcError) as caught:
        application.OnInvoke(InvokeRequest(), timeout=2)
    assert caught.value.code() in OVER_TIME
    assert isinstance(ends.get(timeout=20), DeadlineExceeded)


# Bindings


def test_a_binding_event_brings_its_metadata_and_takes_the_reply_as_data(application: Application, handler: Script):
    request = BindingEventRequest(name="camera", data=b"\xffjpeg", metadata={"timeZone": "UTC"})
    response = application.OnBindingEvent(request, metadata=(("traceparent", "00-1-2-01"),))
    (event,) = handler.events
    assert (event.trigger, event.name, event.body) == (Trigger.BINDING, "camera", b"\xffjpeg")
    assert dict(event.metadata) == {"timezone": "UTC", "traceparent": "00-1-2-01"}
    assert response.data == b"\xffjpeg"
    assert not response.to
    assert not response.states


def test_a_binding_that_drops_its_failures_is_acknowledged_and_logged(application, handler: Script, caplog):
    handler.fail(Failure(Reason.TRAP, "unreachable", "classify", drop=True))
    assert application.OnBindingEvent(BindingEventRequest(name="camera")).data == b""
    assert "dropped an event of binding camera: guest 'classify': unreachable" in caplog.text


# Topics


def topic_request(**fields) -> TopicEventRequest:
    known = {
        "id": "7",
        "source": "cam",
        "type": "photo",
        "spec_version": "1.0",
        "topic": "photos",
        "pubsub_name": "bus",
    }
    return TopicEventRequest(**{**known, **fields})


def test_a_topics_event_brings_its_cloud_event_attributes(application: Application, handler: Script):
    extensions = Struct()
    extensions.update({"traceid": "abc", "Weight": 3, "tags": ["a", 1.5, None], "deep": {"ü": True}})
    request = topic_request(
        data=b'{"a":1}', data_content_type="application/json", path="photos-v2", extensions=extensions
    )
    assert application.OnTopicEvent(request).status == SUCCESS
    (event,) = handler.events
    assert (event.trigger, event.name, event.path, event.id) == (Trigger.TOPIC, "bus/photos", "photos-v2", "7")
    assert (event.body, event.content_type) == (b'{"a":1}', "application/json")
    assert dict(event.metadata) == {
        "ce_id": "7",
        "ce_source": "cam",
        "ce_type": "photo",
        "ce_specversion": "1.0",
        "ce_traceid": "abc",
        "ce_weight": "3",
        "ce_tags": '["a",1.5,null]',
        "ce_deep": '{"ü":true}',
    }


def test_an_extension_that_json_cannot_say_drops_the_event(application: Application, handler: Script):
    extensions = Struct(fields={"bad": Value(number_value=math.nan)})
    assert application.OnTopicEvent(topic_request(extensions=extensions)).status == DROP
    assert not handler.events


@pytest.mark.parametrize("content_type", ["image/png", "application/vnd.x+json", "application/yaml; charset=utf-8"])
def test_warns_where_the_sidecar_lost_the_data(application: Application, caplog, content_type):
    application.OnTopicEvent(topic_request(data_content_type=content_type))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"data of type {content_type} to no gRPC application; publish it as application/octet-stream" in caplog.text


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/JSON; charset=utf-8", "application/octet-stream"]
)
def test_does_not_warn_of_data_that_was_empty_from_the_start(application: Application, caplog, content_type):
    application.OnTopicEvent(topic_request(data_content_type=content_type))
    assert not caplog.records


# Bulk


@pytest.mark.parametrize("rpc", ["OnBulkTopicEvent", "OnBulkTopicEventAlpha1"])
def test_every_entry_of_a_bulk_is_answered_by_itself(application: Application, handler: Script, rpc):
    def answer(event, deadline):
        if event.body == b"trap":
            raise Failure(Reason.TRAP, "unreachable")
        if event.body == b"bad":
            raise Failure(Reason.MALFORMED, "no photo")
        if event.body == b"bug":
            raise ZeroDivisionError
        deadline.tighten(-1)  # as a guest's limit does: it may not reach the next entry
        return Reply(b"")

    handler.answer = answer
    cloud_event = TopicEventCERequest(id="c", type="photo", data=b"ok", data_content_type="text/plain")
    request = TopicEventBulkRequest(
        topic="photos",
        pubsub_name="bus",
        path="p",
        entries=[
            TopicEventBulkRequestEntry(entry_id="1", bytes=b"trap"),
            TopicEventBulkRequestEntry(entry_id="2", bytes=b"fine", content_type="image/png", metadata={"Key": "k"}),
            TopicEventBulkRequestEntry(entry_id="3", bytes=b"bug"),
            TopicEventBulkRequestEntry(entry_id="4", cloud_event=cloud_event),
            TopicEventBulkRequestEntry(entry_id="5", bytes=b"bad"),
            TopicEventBulkRequestEntry(entry_id="6"),
        ],
    )
    response = getattr(application, rpc)(request)
    assert [(entry.entry_id, entry.status) for entry in response.statuses] == [
        ("1", RETRY),
        ("2", SUCCESS),
        ("3", RETRY),
        ("4", SUCCESS),
        ("5", DROP),
        ("6", SUCCESS),
    ]
    raw, cloud = handler.events[1], handler.events[3]
    assert (raw.name, raw.path, raw.id, raw.content_type) == ("bus/photos", "p", "2", "image/png")
    assert dict(raw.metadata) == {"key": "k"}
    assert (cloud.id, cloud.body, cloud.content_type, cloud.path) == ("c", b"ok", "text/plain", "p")
    assert cloud.metadata["ce_type"] == "photo"
    assert handler.deadlines[4].at == math.inf


# Jobs


def struct_value() -> Value:
    struct = Struct()
    struct.update({"n": 5, "x": 0.5, "list": ["ü", None, False]})
    return Value(struct_value=struct)


@pytest.mark.parametrize("rpc", ["OnJobEvent", "OnJobEventAlpha1"])
@pytest.mark.parametrize(
    ("data", "body", "content_type"),
    [
        (pack(struct_value()), '{"list":["ü",null,false],"n":5,"x":0.5}'.encode(), "application/json"),
        (pack(Value(number_value=2.0**60)), b"1.152921504606847e+18", "application/json"),
        (pack(StringValue(value="hällo")), "hällo".encode(), "text/plain; charset=utf-8"),
        (pack(BytesValue(value=b"\xff")), b"\xff", "application/octet-stream"),
        (Any(value=b"\x00raw"), b"\x00raw", ""),
    ],
    ids=["value", "large number", "text", "bytes", "untyped"],
)
def test_a_jobs_data_is_unwrapped(application: Application, handler: Script, rpc, data, body, content_type):
    request = JobEventRequest(name="nightly", data=data, method="job/nightly", content_type=data.type_url)
    request.http_extension.verb = HTTPExtension.POST
    getattr(application, rpc)(request)
    (event,) = handler.events
    assert (event.trigger, event.name, event.verb) == (Trigger.JOB, "nightly", "POST")
    if content_type == "application/json" and body.startswith(b"{"):  # the order of a protobuf map is not fixed
        assert sorted(event.body) == sorted(body)
    else:
        assert event.body == body
    assert event.content_type == content_type
    assert "type_url" not in event.metadata


def test_a_jobs_data_of_another_type_comes_as_it_is_with_its_type(application: Application, handler: Script):
    data = pack(Empty())
    application.OnJobEvent(JobEventRequest(method="job/nightly", data=data, content_type=data.type_url))
    (event,) = handler.events
    assert (event.name, event.body, event.content_type) == ("nightly", b"", "")
    assert event.metadata["type_url"] == "type.googleapis.com/google.protobuf.Empty"


def test_a_jobs_data_that_is_not_what_it_says_is_malformed(application: Application):
    data = Any(type_url="type.googleapis.com/google.protobuf.StringValue", value=b"\xff\xff")
    with pytest.raises(grpc.RpcError) as refused:
        application.OnJobEvent(JobEventRequest(name="nightly", data=data))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == (
        "the job's data is no google.protobuf.StringValue, which its type URL says it is"
    )


# What is listed


def test_lists_subscriptions_and_bindings(serve, connect):
    listing = Listing(
        subscriptions=(
            Subscription("bus", "plain"),
            Subscription(
                "bus",
                "photos",
                rules=(Rule('event.type == "v2"', "two"),),
                default="one",
                dead_letter="graveyard",
                bulk=Bulk(max_messages=100, max_await_ms=40),
                metadata=(("rawPayload", "true"),),
            ),
        ),
        bindings=("camera", "cron"),
    )
    application = Application(connect(serve(listing)))
    plain, photos = application.ListTopicSubscriptions(Empty()).subscriptions
    assert (plain.pubsub_name, plain.topic) == ("bus", "plain")
    assert not plain.HasField("routes")
    assert not plain.HasField("bulk_subscribe")
    assert [(rule.match, rule.path) for rule in photos.routes.rules] == [('event.type == "v2"', "two")]
    assert (photos.routes.default, photos.dead_letter_topic) == ("one", "graveyard")
    bulk = photos.bulk_subscribe
    assert (bulk.enabled, bulk.max_messages_count, bulk.max_await_duration_ms) == (True, 100, 40)
    assert dict(photos.metadata) == {"rawPayload": "true"}
    assert list(application.ListInputBindings(Empty()).bindings) == ["camera", "cron"]

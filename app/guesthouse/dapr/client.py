"""Sends one event to a running application as a sidecar would. For `guesthouse send --to`, the demo and tests."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import cast

import grpc
from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest
from dapr.proto.runtime.v1 import appcallback_pb2_grpc
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    JobEventRequest,
    TopicEventRequest,
    TopicEventResponse,
)
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Value
from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo

from guesthouse.dapr import status
from guesthouse.dapr.convert import PERMANENT_HEADERS
from guesthouse.dapr.tokens import TOKEN_KEY
from guesthouse.event import Event, Failure, Reason, Reply, Trigger

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
]

# Reasons for errors that do not come from Guesthouse: gRPC's own, or those of another application.
_REASONS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE,
    grpc.StatusCode.CANCELLED: Reason.CANCELLED,
    grpc.StatusCode.NOT_FOUND: Reason.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED: Reason.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.TOO_LARGE,
    grpc.StatusCode.INVALID_ARGUMENT: Reason.MALFORMED,
    grpc.StatusCode.UNAVAILABLE: Reason.TRY_AGAIN,
    grpc.StatusCode.UNAUTHENTICATED: Reason.DENIED,
}


def invoke_request(event: Event) -> InvokeRequest:
    """The message by which a sidecar hands an invocation over, but for its metadata. Raises as `Client.send` does."""
    return InvokeRequest(
        method=event.name,
        data=Any(value=event.body),
        content_type=event.content_type,
        http_extension=HTTPExtension(verb=_verb(event.verb), querystring=event.query),
    )


class Client:
    """A connection to the application at `address` (`host:port`). A context manager.

    `token` is sent with events (None: `$APP_API_TOKEN`). `ca` is a PEM file of what signed the server's certificate,
    or of that certificate itself; without it the connection is not encrypted.
    """

    def __init__(self, address: str, *, token: str | None = None, ca: Path | None = None) -> None:
        self.address = address
        token = os.environ.get("APP_API_TOKEN", "") if token is None else token
        self._token = ((TOKEN_KEY, token),) if token else ()
        if ca is None:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        else:
            credentials = grpc.ssl_channel_credentials(ca.read_bytes())
            self._channel = grpc.secure_channel(address, credentials, _OPTIONS)
        self._application = appcallback_pb2_grpc.AppCallbackStub(self._channel)  # type: ignore[no-untyped-call]
        self._health = appcallback_pb2_grpc.AppCallbackHealthCheckStub(self._channel)  # type: ignore[no-untyped-call]

        self._calls: dict[Trigger, Callable[[Event, float | None], Reply]] = {
            Trigger.INVOKE: self._invoke,
            Trigger.BINDING: self._binding,
            Trigger.TOPIC: self._topic,
            Trigger.JOB: self._job,
        }

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def wait_until_healthy(self, seconds: float) -> None:
        """Return as soon as the application says that it is healthy. Raises `Failure` when `seconds` have passed."""
        end = time.monotonic() + seconds
        while True:
            try:
                self._health.HealthCheck(Empty(), timeout=max(0.01, end - time.monotonic()))
                return
            except grpc.RpcError as error:
                if time.monotonic() >= end:
                    raise self._failure(error) from None
            time.sleep(0.05)

    def send(self, event: Event, timeout: float | None = None) -> Reply:
        """Send the event and return the reply: its body and, for an invocation, its content type.

        Raises `Failure` with the application's own reason and text; `timeout` is in seconds.
        """
        call = self._calls.get(event.trigger)
        if call is None:
            text = f"no {event.trigger.value} can be sent over this connection"
            if event.trigger is Trigger.OPERATION:
                text = f"{text}: an operation comes through the component's socket"
            raise Failure(Reason.NOT_FOUND, text)
        try:
            return call(event, timeout)
        except grpc.RpcError as error:
            raise self._failure(error) from None

    def _invoke(self, event: Event, timeout: float | None) -> Reply:
        request = invoke_request(event)
        names = ((key, f"dapr-{key}" if key in PERMANENT_HEADERS else key) for key in event.metadata)
        metadata = (*((name, event.metadata[key]) for key, name in names), *self._token)
        response = self._application.OnInvoke(request, timeout=timeout, metadata=metadata)
        return Reply(response.data.value, response.content_type)

    def _binding(self, event: Event, timeout: float | None) -> Reply:
        request = BindingEventRequest(name=event.name, data=event.body, metadata=event.metadata)
        return Reply(self._application.OnBindingEvent(request, timeout=timeout, metadata=self._token).data)

    def _topic(self, event: Event, timeout: float | None) -> Reply:
        pubsub, _, topic = event.name.partition("/")
        request = TopicEventRequest(
            id=event.id or str(uuid.uuid4()),
            source="guesthouse",
            type="com.dapr.event.sent",
            spec_version="1.0",
            data_content_type=event.content_type,
            data=event.body,
            topic=topic,
            pubsub_name=pubsub,
            path=event.path,
        )
        response, call = self._application.OnTopicEvent.with_call(request, timeout=timeout, metadata=self._token)
        if response.status == TopicEventResponse.SUCCESS:
            return Reply(b"")
        answer = TopicEventResponse.TopicEventResponseStatus.Name(response.status)
        if (failure := _failure_in_trailer(call, status.TOPIC_DETAILS_KEY)) is not None:
            raise Failure(failure.reason, f"{failure.text} (answered {answer})", failure.guest)
        raise Failure(Reason.TRY_AGAIN if answer == "RETRY" else Reason.MALFORMED, f"the application answered {answer}")

    def _job(self, event: Event, timeout: float | None) -> Reply:
        request = JobEventRequest(
            name=event.name,
            data=_job_data(event),
            method=f"job/{event.name}",
            http_extension=HTTPExtension(verb=HTTPExtension.POST),
        )
        request.content_type = request.data.type_url
        self._application.OnJobEvent(request, timeout=timeout, metadata=self._token)
        return Reply(b"")

    def _failure(self, error: grpc.RpcError) -> Failure:
        """The failure that the application answered; else gRPC's own error, with what to do about it."""
        code, text = error.code(), error.details() or ""
        if (failure := _failure_in_trailer(error, status.DETAILS_KEY)) is not None:
            return failure
        if code is grpc.StatusCode.UNAVAILABLE:
            text = f"no application at {self.address}: start one with `guesthouse serve`, or check --to ({text})"
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            text = f"{self.address} is no Dapr application (it does not know AppCallback); check --to"
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = f"{self.address} did not answer in time"
        return Failure(_REASONS.get(code, Reason.INTERNAL), text or code.name)


def _failure_in_trailer(call: grpc.Call | grpc.RpcError, key: str) -> Failure | None:
    """The application's own failure, from the `google.rpc.Status` in the call's trailer `key`."""
    trailer = cast("Iterable[tuple[str, bytes]]", call.trailing_metadata() or ())
    packed = [value for name, value in trailer if name == key]
    if not packed:
        return None
    answered = status_pb2.Status.FromString(packed[0])
    reason, guest = Reason.INTERNAL, ""
    for detail in answered.details:
        info = ErrorInfo()
        if detail.Unpack(info) and info.domain == status.DOMAIN and info.reason in Reason.__members__:
            reason, guest = Reason(info.reason), info.metadata.get("guest", "")
    # The message begins with the guest's name, as `str(Failure)` does: `Failure.text` is without it.
    before = str(Failure(reason, "", guest)) if guest else ""
    return Failure(reason, answered.message.removeprefix(before), guest)


def _verb(name: str) -> HTTPExtension.Verb.ValueType:
    """The verb by this name. As for a sidecar, an unknown verb is POST."""
    known = HTTPExtension.Verb.keys()
    return HTTPExtension.Verb.Value(name.upper() if name.upper() in known else "POST")


def _job_data(event: Event) -> Any:
    """The data of a job: JSON as the sidecar's HTTP API wraps it, anything else as bytes."""
    data = Any()
    try:
        if event.content_type.partition(";")[0].strip() == "application/json":
            data.Pack(json_format.ParseDict(json.loads(event.body), Value()))
            return data
    except (ValueError, json_format.ParseError) as error:
        raise Failure(Reason.MALFORMED, f"the data of job {event.name!r} is not JSON: {error}") from None
    data.Pack(BytesValue(value=event.body))
    return data

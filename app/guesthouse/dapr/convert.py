"""From the sidecar's protobuf messages to `Event`. No call is made and nothing is decided here.

A message that cannot be converted becomes an event all the same: its `fault` says why, so that it is counted, logged
and given up as any other event that fails.

An event's `metadata`, which a guest sees, has these keys, all lower case:

- the call's gRPC metadata. The sidecar puts `dapr-` before the names of permanent HTTP headers (`dapr-accept`); here
  they have their own names again (`accept`). Repeated ones are joined by `, `, binary ones (`…-bin`) are base64. The
  token and the sidecar's own `user-agent` are left out;
- of a topic's event, its CloudEvent attributes: `ce_id`, `ce_source`, `ce_type`, `ce_specversion`, and each extension
  as `ce_NAME`, text as it is and anything else as JSON; of a bulk entry also the entry's own metadata;
- of a binding's event, the binding's metadata;
- of a job with data of an unknown protobuf type, `type_url`.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    JobEventRequest,
    TopicEventBulkRequest,
    TopicEventBulkRequestEntry,
    TopicEventCERequest,
    TopicEventRequest,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from guesthouse.dapr.tokens import TOKEN_KEY
from guesthouse.event import Event, Failure, Reason, Trigger

_log = logging.getLogger(__name__)

Metadata: TypeAlias = Iterable[tuple[str, "str | bytes"]]
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# The HTTP headers that daprd does not pass on under their own names.
# fmt: off
PERMANENT_HEADERS = (
    "accept", "accept-charset", "accept-language", "accept-ranges", "cache-control", "connection", "content-length",
    "content-type", "cookie", "date", "expect", "from", "host", "if-match", "if-modified-since", "if-none-match",
    "if-schedule-tag-match", "if-unmodified-since", "keep-alive", "max-forwards", "origin", "pragma",
    "proxy-connection", "referer", "transfer-encoding", "upgrade", "via", "warning",
)
# fmt: on
_STRIPPED = {f"dapr-{name}": name for name in PERMANENT_HEADERS}
# What ends in -bin is between the sidecar and gRPC: gRPC's own core does not show it, the native one does.
_HIDDEN = frozenset({TOKEN_KEY, "user-agent", "grpc-trace-bin", "grpc-tags-bin"})
_DELIVERED = frozenset(
    ("", "application/json", "application/cloudevents+json", "application/xml", "application/octet-stream")
)
_VERBS = {number: name for name, number in HTTPExtension.Verb.items() if name != "NONE"}


def headers(metadata: Metadata) -> dict[str, str]:
    """The call's gRPC metadata as a guest sees it."""
    found: dict[str, str] = {}
    for key, value in metadata:
        if key in _HIDDEN:
            continue
        text = value if isinstance(value, str) else base64.b64encode(value).decode()
        name = _STRIPPED.get(key, key)
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def invoke_event(request: InvokeRequest, metadata: Metadata) -> Event:
    """Service invocation; the body is `data.value` as it is, whatever its type URL says."""
    extension = request.http_extension
    return Event(
        Trigger.INVOKE,
        request.method,
        request.data.value,
        request.content_type,
        _VERBS.get(extension.verb, ""),
        extension.querystring,
        metadata=headers(metadata),
    )


def binding_event(request: BindingEventRequest, metadata: Metadata) -> Event:
    """An input binding's event."""
    found = headers(metadata)
    found.update((key.lower(), value) for key, value in request.metadata.items())
    return Event(Trigger.BINDING, request.name, request.data, metadata=found)


def topic_event(request: TopicEventRequest, metadata: Metadata) -> Event:
    """One message of a topic."""
    return _topic_event(request.pubsub_name, request.topic, request.path, request, headers(metadata))


def bulk_entry_event(request: TopicEventBulkRequest, entry: TopicEventBulkRequestEntry, metadata: Metadata) -> Event:
    """One message of many: a CloudEvent, or the publisher's bytes as they were (then the entry's id is its id)."""
    found = headers(metadata)
    found.update((key.lower(), value) for key, value in entry.metadata.items())
    if entry.WhichOneof("event") == "cloud_event":
        return _topic_event(request.pubsub_name, request.topic, request.path, entry.cloud_event, found)
    return Event(
        Trigger.TOPIC,
        f"{request.pubsub_name}/{request.topic}",
        entry.bytes,
        entry.content_type,
        path=request.path,
        id=entry.entry_id,
        metadata=found,
    )


def job_event(request: JobEventRequest, metadata: Metadata) -> Event:
    """A scheduled job.

    Data that was scheduled over HTTP arrives as a `google.protobuf.Value` and becomes JSON; the text or bytes of
    `StringValue` and `BytesValue` are unwrapped; anything else is handed on as it is, with its `type_url`.
    """
    found = headers(metadata)
    fault = None
    try:
        body, content_type = _unpack(request.data, found)
    except Failure as failure:
        body, content_type, fault = request.data.value, "", failure
    # The sidecar repeats the type URL as the content type: that is no media type, and says nothing to a guest.
    if not content_type and request.content_type != request.data.type_url:
        content_type = request.content_type
    return Event(
        Trigger.JOB,
        request.name or request.method.removeprefix("job/"),
        body,
        content_type,
        _VERBS.get(request.http_extension.verb, ""),
        request.http_extension.querystring,
        metadata=found,
        fault=fault,
    )


def _topic_event(
    pubsub: str, topic: str, path: str, event: TopicEventRequest | TopicEventCERequest, found: dict[str, str]
) -> Event:
    fault = None
    for name, value in event.extensions.fields.items():
        try:
            text = value.string_value if value.WhichOneof("kind") == "string_value" else _json(_plain(value))
        except Failure as failure:  # noqa: PERF203 (no cost where nothing is raised)
            fault = failure
        else:
            found[f"ce_{name.lower()}"] = text
    found["ce_id"] = event.id
    found["ce_source"] = event.source
    found["ce_type"] = event.type
    found["ce_specversion"] = event.spec_version
    if not event.data and not _is_delivered(event.data_content_type):
        _log.warning(
            "event %s of %s/%s came without data: a sidecar hands data of type %s to no gRPC application; "
            "publish it as application/octet-stream, or with rawPayload",
            *(event.id, pubsub, topic, event.data_content_type),
        )
    return Event(
        Trigger.TOPIC,
        f"{pubsub}/{topic}",
        event.data,
        event.data_content_type,
        path=path,
        id=event.id,
        metadata=found,
        fault=fault,
    )


def _is_delivered(content_type: str) -> bool:
    """Whether a sidecar delivers the data of a CloudEvent of this content type; it leaves out that of other types."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind in _DELIVERED or kind.startswith("text/")


def _unpack(data: Any, found: dict[str, str]) -> tuple[bytes, str]:
    """A job's body and content type."""
    kind = data.type_url.rpartition("/")[2]
    try:
        if kind == "google.protobuf.Value":
            return _json(_plain(Value.FromString(data.value))).encode(), "application/json"
        if kind == "google.protobuf.StringValue":
            return StringValue.FromString(data.value).value.encode(), "text/plain; charset=utf-8"
        if kind == "google.protobuf.BytesValue":
            return BytesValue.FromString(data.value).value, "application/octet-stream"
    except DecodeError as error:
        raise Failure(Reason.MALFORMED, f"the job's data is no {kind}, which its type URL says it is") from error
    if data.type_url:
        found["type_url"] = data.type_url
    return data.value, ""


def _plain(value: Value) -> Json:
    """A `google.protobuf.Value` as JSON's types. Its numbers are all doubles: whole ones become integers again."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= 2**53 else number
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _plain_fields(value.struct_value)
    return None


def _plain_fields(struct: Struct) -> Json:
    fields: Mapping[str, Value] = struct.fields
    return {name: _plain(item) for name, item in fields.items()}


def _json(value: Json) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise Failure(Reason.MALFORMED, "the event has a number that JSON cannot say (NaN or infinity)") from None

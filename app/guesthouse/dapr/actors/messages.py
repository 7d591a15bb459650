"""Between the messages of the actors' stream and `Event` and `Reply`. No call is made and nothing is decided here.

The messages are those of `SubscribeActorEventsAlpha1`, `dapr/proto/runtime/v1/actors.proto`. An event's `metadata` are
those of the message, by names in lower case.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from dapr.proto.runtime.v1.actors_pb2 import (
    ActorEntityConfig,
    ActorReentrancyConfig,
    SubscribeActorEventsRequestAlpha1,
    SubscribeActorEventsRequestDeactivateResponseAlpha1,
    SubscribeActorEventsRequestFailedAlpha1,
    SubscribeActorEventsRequestInitialAlpha1,
    SubscribeActorEventsRequestInvokeResponseAlpha1,
    SubscribeActorEventsRequestReminderResponseAlpha1,
    SubscribeActorEventsResponseAlpha1,
    SubscribeActorEventsResponseReminderRequestAlpha1,
    SubscribeActorEventsResponseTimerRequestAlpha1,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import BytesValue

from guesthouse.dapr import status
from guesthouse.dapr.convert import headers
from guesthouse.event import EVENT_FAULTS, Actor, Event, Failure, Reason, Reply, ReplyLimit, Trigger

Request: TypeAlias = SubscribeActorEventsRequestAlpha1
Response: TypeAlias = SubscribeActorEventsResponseAlpha1

_DEPTH = 32  # turns of one actor inside each other, as the sidecar has it by default
# A sidecar ends the whole stream for one message that is longer, and with it the turns of all actors.
_LARGEST = 4 * 2**20
_AROUND = 64  # bytes of an answer that are no part of the reply's body
_REPLY_LIMIT = ReplyLimit(
    _LARGEST - _AROUND, "a message from a host of actors to its sidecar", "lower limits.output, or send less"
)
_NOT_FOUND, _NOT_OK = 404, 300
_CODE_NOT_FOUND = 5
_TIMED = (Trigger.TIMER, Trigger.REMINDER)


@dataclass(frozen=True, slots=True)
class ActorType:
    """A type of actors: what the sidecar is told of it, and the guest that takes the turns.

    `idle` and `drain` are in seconds. `places` is how many turns may be inside, at work or waiting, for all types of
    this guest together; a turn that has waited longer than `wait` seconds for its actor does not begin. `activates` and
    `deactivates`: whether the guest has a handler for that.
    """

    name: str
    idle: float = 3600.0
    drain: float = 2.0
    reentrant: bool = False
    guest: str = ""
    places: int = 64
    wait: float = 5.0
    activates: bool = False
    deactivates: bool = False

    @property
    def told(self) -> tuple[object, ...]:
        """All that the sidecar is told."""
        return self.name, self.idle, self.drain, self.reentrant


def initial_request(types: Iterable[ActorType]) -> Request:
    """The first message of a stream. Each type has its own settings, all of them: they replace the sidecar's wholly."""
    initial = SubscribeActorEventsRequestInitialAlpha1()
    for kind in types:
        initial.entities.append(kind.name)
        initial.entities_config.append(
            ActorEntityConfig(
                entities=[kind.name],
                actor_idle_timeout=_duration(kind.idle),
                drain_ongoing_call_timeout=_duration(kind.drain),
                drain_rebalanced_actors=kind.drain > 0,
                reentrancy=ActorReentrancyConfig(enabled=kind.reentrant, max_stack_depth=_DEPTH),
            )
        )
    return Request(initial_request=initial)


def event_of(message: Response) -> tuple[str, Event] | None:
    """A request's id and its event. None for a message that asks for nothing."""
    kind = message.WhichOneof("response_type")
    if kind == "invoke_request":
        invoke = message.invoke_request
        found = _metadata(invoke.metadata)
        content_type = found.get("content-type", "")
        event = Event(
            Trigger.ACTOR,
            invoke.actor_type,
            invoke.data,
            "" if content_type.startswith("application/grpc") else content_type,  # the caller's protocol, not its data
            metadata=found,
            reply_limit=_REPLY_LIMIT,
            actor=Actor(invoke.actor_id, invoke.method),
        )
        return invoke.id, event
    if kind == "timer_request":
        return _timed(Trigger.TIMER, message.timer_request, message.timer_request.callback)
    if kind == "reminder_request":
        return _timed(Trigger.REMINDER, message.reminder_request, "")
    if kind == "deactivate_request":
        gone = message.deactivate_request
        return gone.id, Event(Trigger.DEACTIVATE, gone.actor_type, actor=Actor(gone.actor_id))
    return None


def answer(id: str, event: Event, reply: Reply) -> Request:
    """The answer to a turn that went well."""
    if event.trigger is not Trigger.ACTOR:
        return done(id, event)
    told = reply.answer
    if told is not None and told.status == _NOT_FOUND:
        return _failed(id, _CODE_NOT_FOUND, told.text)
    metadata = {"content-type": reply.content_type} if reply.content_type else {}
    error = told is not None and told.status >= _NOT_OK
    return Request(
        invoke_response=SubscribeActorEventsRequestInvokeResponseAlpha1(
            id=id, data=reply.body, metadata=metadata, error=error
        )
    )


def failed(id: str, event: Event, failure: Failure) -> Request:
    """The answer to a turn that failed. A timer or reminder that is itself at fault is done: it would fail again."""
    if event.trigger is Trigger.DEACTIVATE or (event.trigger in _TIMED and failure.reason in EVENT_FAULTS):
        return done(id, event)
    return _failed(id, status.CODES[failure.reason].value[0], str(failure))


def done(id: str, event: Event) -> Request:
    """The answer to a timer, a reminder or a deactivation that is over."""
    if event.trigger is Trigger.DEACTIVATE:
        return Request(deactivate_response=SubscribeActorEventsRequestDeactivateResponseAlpha1(id=id))
    response = SubscribeActorEventsRequestReminderResponseAlpha1(id=id)
    if event.trigger is Trigger.TIMER:
        return Request(timer_response=response)
    return Request(reminder_response=response)


def _failed(id: str, code: int, text: str) -> Request:
    return Request(request_failed=SubscribeActorEventsRequestFailedAlpha1(id=id, code=code, message=status.cut(text)))


def _timed(
    trigger: Trigger,
    request: SubscribeActorEventsResponseTimerRequestAlpha1 | SubscribeActorEventsResponseReminderRequestAlpha1,
    callback: str,
) -> tuple[str, Event]:
    fault = None
    try:
        body = unwrapped(request.data)
    except Failure as failure:
        body, fault = b"", failure
    event = Event(
        trigger,
        request.actor_type,
        body,
        metadata=_metadata(request.metadata),
        fault=fault,
        actor=Actor(request.actor_id, request.name, callback),
    )
    return request.id, event


def unwrapped(data: Any) -> bytes:
    """The data of a timer or reminder as they were given to the sidecar. Raises `Failure` (`MALFORMED`).

    A sidecar writes bytes that came by gRPC as base64 in a JSON string, and wraps that in a `BytesValue`. JSON that
    came by HTTP is in there as it was; of that, a string that is base64 cannot be told from bytes.
    """
    if not data.value:
        return b""
    value = data.value
    if data.type_url.rpartition("/")[2] == "google.protobuf.BytesValue":
        try:
            value = BytesValue.FromString(value).value
        except DecodeError as error:
            text = "the data are no google.protobuf.BytesValue, which their type URL says they are"
            raise Failure(Reason.MALFORMED, text) from error
    if value[:1] != b'"' or value[-1:] != b'"' or len(value) < 2:
        return b"" if value == b"null" else value
    try:
        return base64.b64decode(json.loads(value), validate=True)
    except (ValueError, RecursionError, binascii.Error):
        return value


def _metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    return headers([(key.lower(), metadata[key]) for key in metadata])


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(seconds * 1000))
    return duration

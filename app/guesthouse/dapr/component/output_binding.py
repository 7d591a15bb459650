"""The output binding of our component: any application runs a guest through its own sidecar (`proto/components.proto`).

The operations are the guests' names, and Dapr's usual `create`, whose guest the metadata `guest` of the request names,
else that of the Component resource. Of the request's metadata

- `encoding` says what the data is. A sidecar's HTTP API hands over the JSON text of `data` as it was written: `text` is
  for a JSON string, `base64` for bytes in one (quotes or not), where the `null` of a request without `data` is an empty
  body. Left out: the guest gets what came;
- `failures` says how a failed event is answered: `error`, or `answer` with its reason as metadata. A sidecar makes one
  and the same status of all errors, and repeats them where a policy says so;
- `contentType` is the body's;
- all else is metadata of the event.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Iterable

import grpc

from guesthouse.dapr import convert, status
from guesthouse.dapr.component.resource import LARGEST, instance_of, properties_of
from guesthouse.dapr.proto import components_pb2_grpc
from guesthouse.dapr.proto.components_pb2 import (
    InvokeRequest,
    InvokeResponse,
    ListOperationsRequest,
    ListOperationsResponse,
    OutputBindingInitRequest,
    OutputBindingInitResponse,
    PingRequest,
    PingResponse,
)
from guesthouse.dapr.unary import AROUND, UnaryCalls
from guesthouse.event import Event, Failure, Reason, ReplyLimit, Trigger

_log = logging.getLogger(__name__)

CREATE = "create"
ENCODINGS = ("text", "base64")
FAILURES = ("error", "answer")


class OutputBinding(components_pb2_grpc.OutputBindingServicer):
    """The service by which sidecars run `guests`."""

    def __init__(self, calls: UnaryCalls, guests: Iterable[str]) -> None:
        self._calls = calls
        self._guests = tuple(guests)
        self._create: dict[str, str] = {}  # by instance: the guest that `create` runs

    def Init(self, request: OutputBindingInitRequest, context: grpc.ServicerContext) -> OutputBindingInitResponse:
        """A sidecar has loaded a Component resource. It may say so again."""
        instance = instance_of(context)
        guest = properties_of(request.metadata).get("guest", "")
        if guest and guest not in self._guests:
            status.abort(
                context,
                Failure(
                    Reason.MALFORMED,
                    f"component {instance!r}: its metadata guest names {guest!r}; {self._known}",
                ),
            )
        self._create[instance] = guest
        return OutputBindingInitResponse()

    def Invoke(self, request: InvokeRequest, context: grpc.ServicerContext) -> InvokeResponse:
        """Run a guest."""
        given = {name.lower(): value for name, value in request.metadata.items()}
        failures = given.pop("failures", "error")
        try:
            _choice("failures", failures, FAILURES)
            return self._answer(request, given, context)
        except Exception as error:
            failure = status.logged_failure(error)
        if failures != "answer":
            status.abort(context, failure)
        return InvokeResponse(
            metadata={"failure": failure.reason.value, "message": status.cut(failure.text), "guest": failure.guest}
        )

    def ListOperations(self, request: ListOperationsRequest, context: grpc.ServicerContext) -> ListOperationsResponse:
        """The operations that a sidecar lets through: all others it refuses itself."""
        return ListOperationsResponse(operations=[CREATE, *(name for name in self._guests if name != CREATE)])

    def Ping(self, request: PingRequest, context: grpc.ServicerContext) -> PingResponse:
        """It is alive."""
        return PingResponse()

    def _answer(self, request: InvokeRequest, given: dict[str, str], context: grpc.ServicerContext) -> InvokeResponse:
        named = given.pop("guest", "")

        def to_event(request: InvokeRequest, metadata: convert.Metadata) -> Event:
            guest, body, fault = request.operation, request.data, None
            encoding, content_type = given.pop("encoding", ""), given.pop("contenttype", "")
            try:
                guest = self._guest(request.operation, named, instance_of(context))
                body = decoded(request.data, encoding)
            except Failure as failure:
                fault = failure
            found = {**convert.headers(metadata), **given}
            limit = ReplyLimit(
                LARGEST - AROUND - len(guest.encode()),
                "a message from a component to its sidecar",
                "lower limits.output",
            )
            return Event(Trigger.OPERATION, guest, body, content_type, metadata=found, reply_limit=limit, fault=fault)

        reply = self._calls.answer(to_event, request, context)
        return InvokeResponse(data=reply.body, content_type=reply.content_type, metadata={"guest": reply.guest})

    def _guest(self, operation: str, named: str, instance: str) -> str:
        """The guest that an operation runs. Raises `Failure`."""
        guest = operation
        if operation == CREATE and CREATE not in self._guests:
            only = self._guests[0] if len(self._guests) == 1 else ""
            guest = named or self._create.get(instance) or only
            if not guest:
                raise Failure(
                    Reason.MALFORMED,
                    "create needs a guest: name it in the metadata guest of the request or of the Component resource",
                )
        if guest not in self._guests:
            raise Failure(Reason.NOT_FOUND, f"no guest {guest!r} is an operation of this component; {self._known}")
        return guest

    @property
    def _known(self) -> str:
        return f"its guests are {', '.join(self._guests)}"


def decoded(data: bytes, encoding: str) -> bytes:
    """The body that `data` stands for. Raises `Failure` (`MALFORMED`)."""
    if not encoding:
        return data
    _choice("encoding", encoding, ENCODINGS)
    if encoding == "base64":
        text = data.strip()
        if text == b"null":  # four letters of base64 too, which nobody has meant
            return b""
        if text[:1] == text[-1:] == b'"' and len(text) > 1:
            text = text[1:-1]
        # Lines, and what JSON writers make of line ends and slashes.
        for written, meant in ((b"\n", b""), (b"\r", b""), (b"\\n", b""), (b"\\r", b""), (b"\\/", b"/")):
            text = text.replace(written, meant)
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise Failure(Reason.MALFORMED, f"the data is not base64: {error}") from error
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Failure(Reason.MALFORMED, "the data is not JSON; the encoding text is for a JSON string") from error
    if not isinstance(value, str):
        raise Failure(Reason.MALFORMED, "the data is not a JSON string; leave the metadata encoding out")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Failure(Reason.MALFORMED, "the data is a JSON string with half a surrogate pair in it") from error


def _choice(name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise Failure(Reason.MALFORMED, f"the metadata {name} is {value[:40]!r}; it may be {' or '.join(choices)}")

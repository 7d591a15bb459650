"""`wasi:http/outgoing-handler`: a guest's own requests, which go to other applications by Dapr's service invocation.

The authority of a request is the application's id; what may be invoked is up to the grant `invoke`. Nothing else can be
reached. A request is sent when it was handed over and its body is finished, and runs while the guest does other things;
the response is there whole.
"""

from __future__ import annotations

import re

from guesthouse_abi import pairs
from guesthouse_abi.blocks import Invocation, NotDone, answer_of, invocation
from guesthouse_abi.calls import Code, calls_of
from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, Denied, TooMuch
from guesthouse_abi.imports.preview2.http import (
    FIELD,
    MOST_FIELDS,
    TYPES,
    Entry,
    Fields,
    FutureResponse,
    IncomingBody,
    IncomingResponse,
    Options,
    OutgoingBody,
    OutgoingRequest,
    Sending,
)
from guesthouse_abi.imports.preview2.io import NEVER, Pollable
from guesthouse_abi.services import Ended

HANDLER = Answered("wasi:http/outgoing-handler")
INTERFACES = (HANDLER,)

_TEXT = 1024  # characters of an error
_METADATA = 16_384  # characters of a call's metadata, which headers are
_SECOND = 10**9
#: Of a request: the sidecar and the host say them by themselves.
_NOT_SENT = frozenset({"content-length", "traceparent", "tracestate", "user-agent"})
#: How a request fails that the host or the sidecar has not sent, or that no application has answered.
_ERRORS = {
    Code.PERMISSION_DENIED: Case("HTTP-request-denied"),
    Code.FAILED_PRECONDITION: Case("HTTP-request-denied"),  # invocations within one another, too many
    Code.INVALID_ARGUMENT: Case("HTTP-request-URI-invalid"),
    Code.UNAVAILABLE: Case("destination-unavailable"),
    Code.DEADLINE_EXCEEDED: Case("HTTP-response-timeout"),
    Code.RESOURCE_EXHAUSTED: Case("HTTP-response-body-size", None),
}
#: The status for an error of an application that answers by gRPC, as the sidecar has it for callers over HTTP.
_STATUSES = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 408,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
#: What the sidecar says where it finds no application of this name, or cannot reach it.
_UNREACHED = (b"ERR_DIRECT_INVOKE", b"failed to invoke, id:", b"fail to invoke, id:")
_STATUS = re.compile(r"[1-5][0-9]{2}", re.ASCII)
_HTTP_STATUS, _GUEST_STATUS = "dapr-http-status", "wasm-status"
_NOT_TOLD = ("dapr-", "grpc-", "content-length", "content-type", "trailer", "transfer-encoding", "connection")


class Responded(Pollable):
    """A pollable that is ready when a response is there, or will never be."""

    def __init__(self, future: FutureResponse) -> None:
        super().__init__()
        self.due = NEVER
        self._future = future

    def ready(self, context: Context) -> bool:
        """See `Pollable.ready`."""
        sending = self._future.sending
        if self._future.taken or sending.error is not None:
            return True
        if sending.call is None:
            return False
        try:
            return calls_of(context).ended(sending.call) is not None
        except (BadHandle, TooMuch):
            return True  # which the response says

    def call(self) -> int | None:
        """See `Pollable.call`."""
        return self._future.sending.call


@HANDLER.function("handle")
def handle(context: Context, request: OutgoingRequest, options: Options | None) -> FutureResponse:
    asked = _invocation(request)
    if invocation(asked) is None:
        raise Fail(Case("HTTP-request-method-invalid"))
    if not asked.app:
        raise Fail(Case("HTTP-request-URI-invalid"))
    if sum(len(name) + len(value) for name, value in asked.metadata) > _METADATA:
        raise Fail(Case("HTTP-request-header-section-size", _METADATA))
    sending = Sending(asked, _seconds(options))
    body = request.body
    if body is None or body.finished:
        _send(context, sending, b"" if body is None else body.taken(context))
    else:
        body.sending = sending
    return FutureResponse(sending)


@TYPES.function("[static]outgoing-body.finish")
def finish(context: Context, body: OutgoingBody, trailers: Fields | None) -> None:
    body.finished = True
    sending, body.sending = body.sending, None
    if sending is not None and sending.error is None:
        _send(context, sending, body.taken(context))


def _seconds(options: Options | None) -> float | None:
    """How long it may take: the response is there whole, so the time to its first byte is all of it."""
    if options is None:
        return None
    times = [time for name in ("connect", "first-byte") if (time := options.times.get(name)) is not None]
    return sum(times) / _SECOND if times else None


def _invocation(request: OutgoingRequest) -> Invocation:
    path, _, query = (request.target or "/").partition("?")
    verb = request.method.value if request.method.name == "other" else request.method.name.upper()
    kind, metadata = "", []
    for name, value in request.headers.entries:
        key, text = name.lower(), value.decode("latin-1")
        if key == "content-type":
            kind = text
        elif key not in _NOT_SENT:
            metadata.append((key, text))
    return Invocation(request.authority or "", path.removeprefix("/"), verb, query, kind, b"", tuple(metadata))


def _send(context: Context, sending: Sending, body: bytes) -> None:
    """Begin the call of a request that is whole."""
    request = invocation(sending.asked._replace(body=body), sending.seconds)
    assert request is not None  # it was looked at
    try:
        started = calls_of(context).start(request)
    except TooMuch as error:
        refusal = str(error)
        sending.error = Case("connection-limit-reached")
    except Denied as error:
        refusal = str(error)
        sending.error = Case("HTTP-request-denied")
    else:
        refusal = started.refusal
        sending.call = started.handle
    if refusal:
        context.log("host", f"wasi:http/outgoing-handler: {refusal}")


# ---- the response ----


@TYPES.function("[method]future-incoming-response.subscribe")
def subscribe(context: Context, future: FutureResponse) -> Responded:
    return Responded(future)


@TYPES.function("[method]future-incoming-response.get")
def get(context: Context, future: FutureResponse) -> Case | None:
    sending = future.sending
    if future.taken:
        return Case("err")
    if sending.error is not None:
        future.taken = True
        return Case("ok", Case("err", sending.error))
    if sending.call is None:
        return None
    try:
        ended = calls_of(context).ended(sending.call)
    except TooMuch as error:
        context.log("host", f"wasi:http/outgoing-handler: {error}")
        ended = Ended(Code.RESOURCE_EXHAUSTED)
    except BadHandle:  # another interface has closed it
        ended = Ended(Code.UNAVAILABLE)
    if ended is None:
        return None
    future.release(context)
    return Case("ok", _outcome(context, ended))


def _outcome(context: Context, ended: Ended) -> Case:
    """The response, or why there is none."""
    code, told = Code(ended.code), _told(ended)
    if ended.refused or (code is not Code.OK and not ended.initial and not ended.trailing) or _unreached(ended):
        error = _ERRORS.get(code)
        if error is None:
            error = Case("internal-error", ended.text[:_TEXT])
        return Case("err", Case("destination-not-found") if _unreached(ended) else error)
    try:
        body, kind = answer_of(ended.message or b"") if code is Code.OK else (ended.text.encode(), "text/plain")
    except NotDone:
        return Case("err", Case("HTTP-protocol-error"))
    status = _number(told.get(_HTTP_STATUS)) or _STATUSES.get(code, 500)
    if code is Code.OK:
        status = _number(told.get(_HTTP_STATUS)) or _number(told.get(_GUEST_STATUS)) or 200
    headers: list[Entry] = [("content-type", kind.encode(errors="replace"))] if kind else []
    headers += [
        (name, value.encode(errors="replace")) for name, value in told.items() if not name.startswith(_NOT_TOLD)
    ]
    held = len(body) + sum(len(name) + len(value) for name, value in headers)
    try:
        context.hold(held)
    except TooMuch:
        return Case("err", _ERRORS[Code.RESOURCE_EXHAUSTED])
    return Case("ok", IncomingResponse(status, headers[:MOST_FIELDS], IncomingBody(body, held)))


def _unreached(ended: Ended) -> bool:
    """Whether the sidecar has found no such application."""
    text, details = ended.text[:_TEXT].encode(), ended.details or b""
    return ended.code == Code.INTERNAL and any(mark in text or mark in details for mark in _UNREACHED)


def _told(ended: Ended) -> dict[str, str]:
    """The metadata of the response that are text: an application's headers."""
    return {
        name.decode("utf-8", "replace"): value[:FIELD].decode("utf-8", "replace")
        for name, value in pairs.each(ended.initial)
        if not name.endswith(b"-bin")
    }


def _number(text: str | None) -> int | None:
    """The status that is written so; None for what is none."""
    return int(text) if text is not None and _STATUS.fullmatch(text) is not None else None


@TYPES.function("[method]incoming-response.status")
def status(context: Context, response: IncomingResponse) -> int:
    return response.status


@TYPES.function("[method]incoming-response.headers")
def headers(context: Context, response: IncomingResponse) -> Fields:
    return response.headers


@TYPES.function("[method]incoming-response.consume")
def consume(context: Context, response: IncomingResponse) -> IncomingBody:
    body, response.body = response.body, None
    if body is None:
        raise Fail
    return body

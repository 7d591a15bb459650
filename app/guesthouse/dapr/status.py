"""How a `Failure` is answered: by a gRPC status with `google.rpc` details, or by a topic's RETRY or DROP.

UNIMPLEMENTED is never used: a sidecar takes it for "no such RPC" and acknowledges the event, which is then lost.
"""

from __future__ import annotations

import logging
from typing import NoReturn

import grpc
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventResponse
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import status_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo

from guesthouse.event import EVENT_FAULTS, Answer, Failure, Reason, Reply

_log = logging.getLogger(__name__)

DOMAIN = "guesthouse"  # of google.rpc.ErrorInfo
TEXT_LIMIT = 1024  # bytes; gRPC metadata as a whole must stay under 8 KiB
RETRY_AFTER = Duration(seconds=1)
DETAILS_KEY = "grpc-status-details-bin"
# A topic's RETRY or DROP is a successful answer to gRPC; why it was given goes in a trailer of our own.
TOPIC_DETAILS_KEY = "guesthouse-failure-bin"

# HTTP's status of an invocation that went well but not with 200: a sidecar answers 200 all the same.
STATUS_KEY = "wasm-status"

CODES = {
    Reason.TRAP: grpc.StatusCode.INTERNAL,
    Reason.BAD_REPLY: grpc.StatusCode.INTERNAL,
    Reason.GUEST: grpc.StatusCode.INTERNAL,
    Reason.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.TRY_AGAIN: grpc.StatusCode.UNAVAILABLE,
    Reason.OFF: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.DENIED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.OUTPUT: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}

_LATER = frozenset({408, 425, 429, 503, 504})  # statuses of an invocation that may be sent again
_NOT_OK, _SERVERS = 300, 500  # the first status that is no success, and the first that is the server's fault
_HTTP = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    410: grpc.StatusCode.NOT_FOUND,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    425: grpc.StatusCode.UNAVAILABLE,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

# Sending an event again cannot help after these: it goes to the dead-letter topic, where there is one.
DROPPED = EVENT_FAULTS | {Reason.NOT_FOUND}


def logged_failure(error: Exception) -> Failure:
    """`error` itself where it is a `Failure`. Any other exception is logged here; the caller gets an internal error."""
    if isinstance(error, Failure):
        return error
    _log.error("internal error while answering an event", exc_info=error)
    return Failure(Reason.INTERNAL, "internal error")


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """`text` as valid UTF-8 of at most `limit` bytes."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode("utf-8", "ignore") + "…"


def rich_status(failure: Failure) -> status_pb2.Status:
    """`google.rpc.Status` with ErrorInfo (reason, domain, the guest's name), and RetryInfo where the queue was full."""
    info = ErrorInfo(reason=failure.reason.value, domain=DOMAIN)
    if failure.guest:
        info.metadata["guest"] = cut(failure.guest)
    status = status_pb2.Status(code=CODES[failure.reason].value[0], message=cut(str(failure)), details=[_pack(info)])
    if failure.retry_after is not None:
        status.details.append(_retry_info(failure.retry_after))
    elif failure.reason is Reason.FULL:
        status.details.append(_pack(RetryInfo(retry_delay=RETRY_AFTER)))
    return status


def code_of(answer: Answer) -> grpc.StatusCode:
    """gRPC's code for the status of a guest's own answer: abi/spec/dapr_v1.md, section 3.2."""
    if answer.status < _NOT_OK:
        return grpc.StatusCode.OK
    known = _HTTP.get(answer.status)
    if known is not None:
        return known
    return grpc.StatusCode.INVALID_ARGUMENT if answer.status < _SERVERS else grpc.StatusCode.INTERNAL


class NotOk(Exception):
    """An invocation that was answered with a status that is no success: no failure, but gRPC has no other way."""

    def __init__(self, reply: Reply, answer: Answer) -> None:
        super().__init__(answer.text)
        self.reply = reply
        self.answer = answer


def abort_with(context: grpc.ServicerContext, answered: NotOk) -> NoReturn:
    """End the call with the status that the guest answered with. Raises, as `ServicerContext.abort` does."""
    reply, answer = answered.reply, answered.answer
    code = code_of(answer)
    info = ErrorInfo(reason="STATUS", domain=DOMAIN, metadata={"status": str(answer.status), "guest": cut(reply.guest)})
    status = status_pb2.Status(code=code.value[0], message=cut(answer.text), details=[_pack(info)])
    if answer.retry_after is not None and answer.status in _LATER:
        status.details.append(_retry_info(answer.retry_after))
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(code, status.message)


def abort(context: grpc.ServicerContext, failure: Failure) -> NoReturn:
    """End the call with the failure's status. Raises, as `ServicerContext.abort` does."""
    status = rich_status(failure)
    context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
    context.abort(CODES[failure.reason], status.message)


def topic_status(failure: Failure | None) -> TopicEventResponse.TopicEventResponseStatus.ValueType:
    """SUCCESS without a failure, DROP where sending the event again cannot help or is not wanted, else RETRY."""
    if failure is None:
        return TopicEventResponse.SUCCESS
    if failure.drop or failure.reason in DROPPED:
        return TopicEventResponse.DROP
    return TopicEventResponse.RETRY


def _retry_info(seconds: float) -> Any:
    delay = Duration()
    delay.FromMilliseconds(int(seconds * 1000))
    return _pack(RetryInfo(retry_delay=delay))


def _pack(message: ErrorInfo | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed

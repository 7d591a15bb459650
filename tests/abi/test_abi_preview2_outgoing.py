"""`wasi:http/outgoing-handler`: requests to other applications, on a sidecar in memory and on one that waits."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse_abi import pairs
from guesthouse_abi.calls import Code
from guesthouse_abi.canonical.functions import Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import DeadlineExceeded, HostError
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.preview2 import http, io, outgoing
from guesthouse_abi.imports.preview2.http import FutureResponse, IncomingResponse, Options, OutgoingRequest
from guesthouse_abi.services import Ended, Log, Services, Sidecar
from tests.abi.test_abi_dapr_v1 import Scripted
from tests.support.blocks import Blocks, echoed
from tests.support.doubles import Lines

HEADERS = pairs.encode([("x-one", "1"), ("grpc-x", "2"), ("dapr-x", "3"), ("x-bin", b"\xff"), ("content-length", "9")])


def context_of(sidecar: Any, seconds: float = 60, **limits: int) -> Context:
    services = Services({Log: Lines(), Sidecar: sidecar})
    return Context(Deadline.after(seconds), Grants(), Limits(**limits), services)


def asked(
    authority: str | None = "stock",
    target: str | None = "/charge?a=1&b=2",
    method: Case | None = None,
    **headers: bytes,
) -> OutgoingRequest:
    entries = [(name.replace("_", "-"), value) for name, value in headers.items()]
    request = OutgoingRequest(http.Fields(entries))
    request.authority, request.target, request.method = authority, target, method or Case("put")
    return request


def sent(context: Context, request: OutgoingRequest, body: bytes = b"", options: Options | None = None) -> Any:
    """The future of a request with a body."""
    given = http.message_body(context, request)
    future = outgoing.handle(context, request, options)
    given.give(context, body)
    outgoing.finish(context, given, None)
    return future


def answered(context: Context, future: FutureResponse) -> Any:
    """The response or the error."""
    io.block(context, outgoing.subscribe(context, future))
    found = outgoing.get(context, future)
    assert found is not None
    assert found.name == "ok"
    assert outgoing.get(context, future) == Case("err")
    return found.value.value


def refused(sidecar: Any, request: OutgoingRequest) -> Any:
    """The code of the error."""
    context = context_of(sidecar)
    try:
        return answered(context, outgoing.handle(context, request, None))
    except Fail as failure:
        return failure.value


def test_a_request_is_an_invocation_and_its_response_that_of_the_application() -> None:
    sidecar = Blocks()
    sidecar.answer = lambda request: echoed(request)._replace(initial=HEADERS)
    context = context_of(sidecar)
    request = asked(content_type=b"text/x", X_Two=b"2", traceparent=b"theirs", user_agent=b"x")
    response = answered(context, sent(context, request, b"body"))
    ((made, metadata),) = sidecar.invoked
    assert (made.id, made.message.method, made.message.data.value) == ("stock", "charge", b"body")
    assert (made.message.http_extension.verb, made.message.http_extension.querystring) == (4, "a=1&b=2")
    assert (made.message.content_type, metadata) == ("text/x", {"x-two": "2"})
    assert (outgoing.status(context, response), response.headers.entries) == (
        200,
        [("content-type", b"text/x"), ("x-one", b"1")],
    )
    stream = http.body_stream(context, outgoing.consume(context, response))
    assert stream.take(context, 100) == b"body"


def test_requests_run_at_the_same_time_and_the_first_that_ends_is_told() -> None:
    sidecar = Scripted()
    context = context_of(sidecar)
    futures = [outgoing.handle(context, asked(target=f"/{number}"), None) for number in range(3)]
    pollables = [outgoing.subscribe(context, future) for future in futures]
    assert [outgoing.get(context, future) for future in futures] == [None] * 3
    assert not any(io.ready(context, one) for one in pollables)
    sidecar.end(2, Ended(Code.NOT_FOUND, "no such thing", initial=HEADERS))
    assert io.poll(context, pollables) == [1]
    response = answered(context, futures[1])
    assert isinstance(response, IncomingResponse)
    assert response.status == 404
    clock = io.Pollable()
    assert io.poll(context, [pollables[0], clock]) == [1]
    futures[0].release(context)
    assert sidecar.cancelled == ["InvokeService"]
    assert io.ready(context, pollables[0])


def test_a_request_is_sent_when_its_body_is_finished() -> None:
    sidecar = Scripted()
    context = context_of(sidecar)
    request = asked()
    body = http.message_body(context, request)
    future = outgoing.handle(context, request, None)
    body.give(context, b"half")
    assert sidecar.begun == []
    with pytest.raises(HostError, match="a request is sent when its body is finished"):
        io.block(context, outgoing.subscribe(context, future))
    outgoing.finish(context, body, None)
    ((call, _, _),) = sidecar.begun
    assert call.message.endswith(b"\x08\x04\x12\x07a=1&b=2")
    assert b"half" in call.message
    with pytest.raises(Fail):
        body.give(context, b"more")


def test_a_request_whose_body_is_dropped_is_never_sent() -> None:
    sidecar = Scripted()
    context = context_of(sidecar)
    request = asked()
    body = http.message_body(context, request)
    future = outgoing.handle(context, request, None)
    body.give(context, b"half")
    body.release(context)
    assert answered(context, future) == Case("HTTP-protocol-error")
    assert (sidecar.begun, context.held) == ([], 0)


def test_a_request_that_nobody_waits_for_before_it_is_whole_is_never_sent() -> None:
    sidecar = Scripted()
    context = context_of(sidecar)
    request = asked()
    body = http.message_body(context, request)
    outgoing.handle(context, request, None).release(context)
    outgoing.finish(context, body, None)
    assert sidecar.begun == []


def test_a_time_of_the_guests_own_bounds_the_call() -> None:
    sidecar, options = Scripted(), Options()
    options.times = {"first-byte": 2 * 10**9, "connect": 10**9, "between-bytes": 5}
    outgoing.handle(context_of(sidecar), asked(), options)
    assert sidecar.begun[0][0].seconds == 3
    assert sidecar.begun[0][1] <= 3


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (Ended(Code.PERMISSION_DENIED, "not granted", refused=True), "HTTP-request-denied"),
        (Ended(Code.FAILED_PRECONDITION, "too deep", refused=True), "HTTP-request-denied"),
        (Ended(Code.INVALID_ARGUMENT, "the method has", refused=True), "HTTP-request-URI-invalid"),
        (Ended(Code.UNAVAILABLE, "there is no sidecar here", refused=True), "destination-unavailable"),
        (Ended(Code.DEADLINE_EXCEEDED, "over"), "HTTP-response-timeout"),
        (Ended(Code.RESOURCE_EXHAUSTED, "too long"), "HTTP-response-body-size"),
        (Ended(Code.INTERNAL, "failed to invoke, id: x", initial=HEADERS), "destination-not-found"),
        (Ended(Code.INTERNAL, "what?"), "internal-error"),
        (Ended(0, "", b"\x0a\xff"), "HTTP-protocol-error"),
    ],
)
def test_what_is_not_answered_is_an_error_of_the_interface(ended: Ended, code: str) -> None:
    sidecar = Scripted()
    sidecar.at_once = ended
    assert refused(sidecar, asked()).name == code


def test_headers_are_no_longer_than_the_metadata_of_a_call() -> None:
    sidecar = Blocks()
    assert refused(sidecar, asked(x_one=b"a" * (16_384 - 5))).status == 200
    assert refused(sidecar, asked(x_one=b"a" * 10_000, x_two=b"a" * 6_379)) == Case(
        "HTTP-request-header-section-size", 16_384
    )


@pytest.mark.parametrize(
    ("code", "headers", "status"),
    [
        (0, [], 200),
        (0, [("wasm-status", "201")], 201),
        (0, [("dapr-http-status", "202"), ("wasm-status", "201")], 202),
        (0, [("dapr-http-status", "99999999999")], 200),
        (0, [("dapr-http-status", "²")], 200),
        (0, [("dapr-http-status", "0200" + 5000 * "0")], 200),  # longer than what int reads
        (0, [("wasm-status", "0200999")], 200),
        (Code.UNKNOWN, [("dapr-http-status", "418")], 418),
        (Code.INTERNAL, [("a", "b")], 500),
        (Code.ABORTED, [("a", "b")], 409),
    ],
)
def test_the_status_is_the_applications_own(code: int, headers: list[tuple[str, str]], status: int) -> None:
    sidecar = Scripted()
    sidecar.at_once = Ended(code, "why", b"", pairs.encode(headers))
    assert refused(sidecar, asked()).status == status


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (asked(authority=None), "HTTP-request-URI-invalid"),
        (asked(authority=""), "HTTP-request-URI-invalid"),
        (asked(method=Case("other", "PURGE")), "HTTP-request-method-invalid"),
        (asked(method=Case("other", "")), "HTTP-request-method-invalid"),
    ],
)
def test_what_is_no_invocation_is_refused_at_once(request_: OutgoingRequest, code: str) -> None:
    sidecar = Scripted()
    assert refused(sidecar, request_).name == code
    assert sidecar.begun == []


def test_too_many_requests_are_refused() -> None:
    sidecar = Scripted(most_open=1)
    context = context_of(sidecar)
    outgoing.handle(context, asked(), None)
    assert answered(context, outgoing.handle(context, asked(), None)) == Case("connection-limit-reached")


def test_a_guest_without_a_sidecar_is_denied() -> None:
    context = Context(Deadline.after(60), Grants(), Limits(), Services({Log: Lines()}))
    assert answered(context, outgoing.handle(context, asked(), None)) == Case("HTTP-request-denied")


def test_what_is_kept_of_a_response_is_counted_until_it_is_dropped() -> None:
    sidecar = Scripted()
    sidecar.at_once = Ended(0, "", b"\x0a\x88\x27\x12\x85\x27" + b"x" * 4997)
    for drop in range(3):
        context = context_of(sidecar, host_memory=20_000)
        response = answered(context, outgoing.handle(context, asked(), None))
        assert context.held == 4997
        if drop == 0:
            response.release(context)
        else:
            body = outgoing.consume(context, response)
            response.release(context)
            kept = http.body_stream(context, body) if drop == 1 else body
            assert context.held == 4997
            kept.release(context)
        assert context.held == 0
    small = context_of(sidecar, host_memory=5200)
    assert answered(small, outgoing.handle(small, asked(), None)) == Case("HTTP-response-body-size", None)


def test_the_events_deadline_ends_the_wait_for_a_response() -> None:
    context = context_of(Scripted(), seconds=0.01)
    future = outgoing.handle(context, asked(), None)
    with pytest.raises(DeadlineExceeded):
        io.block(context, outgoing.subscribe(context, future))

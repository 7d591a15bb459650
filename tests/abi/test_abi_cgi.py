"""Replies that begin with headers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.calling import Response
from guesthouse_abi.calling.cgi import response_of
from guesthouse_abi.errors import BadReply, CallError, GuestError, MalformedEvent, NotFound, TryAgain
from guesthouse_abi.headers import BLOCK, may_be_set
from tests.support.budget import examples


@pytest.mark.parametrize(
    ("output", "response"),
    [
        (b"Content-Type: text/html\n\n<p>hi", Response(b"<p>hi", "text/html")),
        (b"Content-Type: text/html\r\n\r\n<p>hi", Response(b"<p>hi", "text/html")),
        (b"Status: 201 Created\ncontent-type:image/png\n\n", Response(b"", "image/png")),
        (
            b'X-Kind:  a cup \t\nETag: "1"\n\nbody\n\nmore',
            Response(b"body\n\nmore", None, (("x-kind", "a cup"), ("etag", '"1"'))),
        ),
        (b"A:\n\n\n", Response(b"\n", None, (("a", ""),))),
        (b"a: b\n\n" + bytes(1 << 20), Response(bytes(1 << 20), None, (("a", "b"),))),
    ],
)
def test_headers_end_at_the_first_blank_line(output, response):
    assert response_of(output) == response


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        ("404 Not Found", NotFound, "no such cup"),
        ("410", NotFound, "no such cup"),
        ("400 Bad Request", MalformedEvent, "no such cup"),
        ("422", MalformedEvent, "no such cup"),
        ("503 Service Unavailable", TryAgain, "no such cup"),
        ("429", TryAgain, "no such cup"),
        ("500", GuestError, "no such cup"),
        ("599 whatever", GuestError, "no such cup"),
    ],
)
def test_a_status_that_is_no_success_is_a_failure_with_the_bodys_first_line(status, error, text):
    with pytest.raises(error) as caught:
        response_of(f"Status: {status}\nContent-Type: text/plain\n\n no such cup\nsecond line".encode())
    assert str(caught.value) == text


def test_a_failure_without_a_body_names_its_status():
    with pytest.raises(NotFound, match=r"^status 404$"):
        response_of(b"Status: 404\n\n")


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (b"", "the reply has no blank line, which ends the headers"),
        (b"hello", "the reply has no blank line"),
        (b"\nhello", "no header before its first blank line"),
        (b"\r\nhello", "no header before its first blank line"),
        (b"a: b\n" * 2000 + b"\n", f"no blank line in its first {BLOCK} bytes"),
        (b"hello\n\n", "line 1 of the reply is no header"),
        (b"a: b\nc : d\n\n", "line 2 of the reply is no header"),
        (b"a: b\n c\n\n", "line 2 of the reply is no header"),
        ("a: \u00fc\n\n".encode(), "line 1 of the reply is no header"),
        (b"a: \x1b[2J\n\n", "line 1 of the reply is no header"),
        (b"a: b\rc: d\n\n", "line 1 of the reply is no header"),
        (b"Transfer-Encoding: chunked\n\n", "sets transfer-encoding, which a guest may not"),
        (b"grpc-status: 0\n\n", "sets grpc-status, which a guest may not"),
        (b"Dapr-App-Id: x\n\n", "sets dapr-app-id, which a guest may not"),
        (b"x-bin: AA==\n\n", "sets x-bin, which a guest may not"),
        (b"Status: fine\n\n", "the reply has the status 'fine'"),
        (b"Status: 302 Found\nLocation: /\n\n", "the reply has the status '302 Found'"),
        (b"Status: 100\n\n", "the reply has the status '100'"),
    ],
)
def test_what_is_no_block_of_headers_is_a_bad_reply(output, why):
    with pytest.raises(BadReply) as caught:
        response_of(output)
    assert why in str(caught.value)


@settings(max_examples=examples(300))
@given(st.binary(max_size=200) | st.text("aS:tus \r\n0123456789-bin", max_size=60).map(str.encode))
def test_any_output_is_a_response_or_a_failure_of_the_guests(output):
    try:
        response = response_of(output)
    except CallError:
        return
    assert all(may_be_set(name, value) for name, value in response.headers)

"""A reply that begins with a block of headers, as a CGI script writes it: RFC 3875, section 6.

Lines `Name: value`, each ended by LF or CRLF, then a blank line, then the body. `Content-Type` is the reply's type,
`Status` says how it went, and any other header is handed on with an invocation's reply. What a status becomes, for Dapr
carries no HTTP status of a gRPC application:

===========================  =========================================================================================
2xx, or no `Status`          the reply
404, 410                     `NotFound`, with the body's first line as its text
408, 425, 429, 503, 504      `TryAgain`, the same
other 4xx                    `MalformedEvent`, the same
other 5xx                    `GuestError`, the same
===========================  =========================================================================================

Anything else is a `BadReply`. What a guest writes is bounded before it is looked at.
"""

from __future__ import annotations

import re

from guesthouse_abi.calling import Response
from guesthouse_abi.errors import BadReply, CallError, GuestError, MalformedEvent, NotFound, TryAgain
from guesthouse_abi.headers import BLOCK, LINE, may_be_set

TEXT = 1024  # bytes of a body that an error carries

_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"([1-5][0-9]{2})(?: [\x20-\x7e]*)?", re.ASCII)
_AGAIN = frozenset({408, 425, 429, 503, 504})
_GONE = frozenset({404, 410})


def response_of(output: bytes) -> Response:
    """The response in a program's output. Raises `CallError`."""
    if output[:1] == b"\n" or output[:2] == b"\r\n":
        raise BadReply('the reply has no header before its first blank line: Content-Type, say (reply = "cgi")')
    end = _END.search(output, 0, BLOCK + 4)
    if end is None:
        why = f"no blank line in its first {BLOCK} bytes" if len(output) > BLOCK else "no blank line"
        raise BadReply(f'the reply has {why}, which ends the headers (reply = "cgi")')
    body, content_type, status, headers = output[end.end() :], None, 200, []
    for number, line in enumerate(output[: end.start()].split(b"\n"), 1):
        name, value = _header(line, number)
        if name == "content-type":
            content_type = value
        elif name == "status":
            status = _status(value)
        elif not may_be_set(name, value):
            raise BadReply(f"line {number} of the reply sets {name}, which a guest may not")
        else:
            headers.append((name, value))
    if status >= 300:
        raise failure_of(status, body)
    return Response(body, content_type, tuple(headers))


def _header(line: bytes, number: int) -> tuple[str, str]:
    found = LINE.fullmatch(line.decode("ascii", "replace"))
    if found is None:
        raise BadReply(f"line {number} of the reply is no header of printable ASCII (Name: value)")
    return found[1].lower(), found[2]


def _status(value: str) -> int:
    found = _STATUS.fullmatch(value)
    status = int(found[1]) if found is not None else 0
    if not (200 <= status < 300 or status >= 400):
        raise BadReply(f"the reply has the status {value[:40]!r}, which is none from 200 to 299 or from 400 to 599")
    return status


def failure_of(status: int, body: bytes) -> CallError:
    """What a status from 300 on means, with the body's first line as its text."""
    text = body[:TEXT].decode("utf-8", "replace").strip().partition("\n")[0].strip() or f"status {status}"
    if status in _GONE:
        return NotFound(text)
    if status in _AGAIN:
        return TryAgain(text)
    return MalformedEvent(text) if status < 500 else GuestError(text)

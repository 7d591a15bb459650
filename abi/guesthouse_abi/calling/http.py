"""The calling convention of components for `wasi:http/incoming-handler`: an event is a request, its reply the response.

An invocation is a request with its own verb, the method as the path, the query, the headers and the body. Any other
event is a POST to the path `/NAME`. All have these headers, which no caller can set: `guesthouse-trigger`,
`guesthouse-name`, and, where the event has them, `guesthouse-path` and `guesthouse-id`.

The response's status, headers and body are the reply to an invocation, as a guest of `dapr_v1` has them. For other
events the status says how it went, as in a CGI reply (`cgi.py`).
"""

from __future__ import annotations

import re

from guesthouse_abi.calling import NOT_OK, Caller, Request, Response, Shape, Start, Unfit
from guesthouse_abi.calling.cgi import failure_of
from guesthouse_abi.calling.component import Export, export_of
from guesthouse_abi.canonical.crossing import Handles
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, Exit, GuestError
from guesthouse_abi.facts import EventFacts
from guesthouse_abi.headers import BLOCK, may_be_set
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.preview2.http import Entry, Fields, IncomingRequest, OutgoingResponse, ResponseOutparam
from guesthouse_abi.imports.wasi_preview1 import flush

HANDLER = "wasi:http/incoming-handler"
#: An actor's turns are none of them: a component has no way to its state.
TRIGGERS = frozenset({"invoke", "topic", "binding", "job", "operation"})
_HANDLE = FuncType((ValType.I32, ValType.I32), ())
_OWN = "guesthouse-"
_LOWEST = 200
_TEXT = 1024  # bytes of a body that are a status's text
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_NOT_VALUE = re.compile(r"[\x00-\x1f\x7f]")
_NOT_PATH = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=:@/%-]", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


class Http:
    """Calls `wasi:http/incoming-handler#handle`."""

    def bind(self, shape: Shape) -> Caller:
        """See `Convention.bind`."""
        handle = export_of(shape, HANDLER, "handle", _HANDLE)
        if handle is None:
            raise Unfit([f"exports no {HANDLER}: it is no component for HTTP"])
        return Handler(handle)


class Handler:
    """A `Caller`: the handler of one component."""

    triggers: frozenset[str] | None = TRIGGERS
    what = "a component for wasi:http (incoming-handler)"

    def __init__(self, handle: Export) -> None:
        self._handle = handle

    @property
    def entry(self) -> str:
        """The export that is called."""
        return self._handle.name

    @property
    def starts(self) -> tuple[str, ...]:
        """See `Caller.starts`."""
        return self._handle.starts

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`. Raises `BadReply` for a guest that gives no whole response."""
        out = ResponseOutparam()
        handles = context.state(Handles)
        try:
            instance = self._handle.ready(start, context)
            try:
                instance.call(self._handle.name, handles.add(_request(context, request.body)), handles.add(out))
            except Exit as end:
                if end.code or out.response is None:
                    raise
        finally:
            flush(context)
        if out.error is not None:
            raise GuestError(f"the guest's response is the error {out.error.name}")
        if out.response is None:
            raise BadReply("the guest gave no response (response-outparam.set)")
        return _response(context, out.response)


def _request(context: Context, body: bytes) -> IncomingRequest:
    event = context.event
    invocation = event.trigger == "invoke"
    target = "/" + _quoted(event.name.lstrip("/"))
    if invocation and event.query:
        target += "?" + _quoted(event.query, query=True)
    verb = (event.verb or "POST") if invocation else "POST"
    return IncomingRequest(verb, target, context.arguments[0] if context.arguments else "", _headers(event, body), body)


def _quoted(text: str, query: bool = False) -> str:
    return _NOT_PATH.sub(
        lambda found: (
            found[0] if query and found[0] in "?[]" else "".join(f"%{b:02X}" for b in found[0].encode(errors="replace"))
        ),
        text,
    )


def _headers(event: EventFacts, body: bytes) -> list[Entry]:
    own = [("trigger", event.trigger), ("name", event.name), ("path", event.path), ("id", event.id)]
    found = [
        (name, value)
        for name, value in event.metadata.items()
        if not name.startswith(_OWN) and name not in ("content-type", "content-length") and _NAME.fullmatch(name)
    ]
    found += [(_OWN + name, value) for name, value in own if value]
    if event.content_type:
        found.append(("content-type", event.content_type))
    found.append(("content-length", str(len(body))))
    return [(name, _NOT_VALUE.sub(" ", value).encode(errors="replace")) for name, value in found]


def _response(context: Context, response: OutgoingResponse) -> Response:
    status, body = response.status, b""
    if response.body is not None:
        if not response.body.finished:
            raise BadReply("the guest did not finish the body of its response (outgoing-body.finish)")
        body = response.body.taken(context)
    if status < _LOWEST:
        raise BadReply(f"the guest's response has the status {status}, which ends no request")
    invocation = context.event.trigger == "invoke"
    if status >= NOT_OK and not invocation:
        raise failure_of(status, body)
    kind, headers, after = _reply_headers(context, response.headers)
    if status < NOT_OK:
        return Response(body, kind, headers if invocation else (), status if invocation else 200)
    return Response(b"", kind, headers, status, _beginning(body), after)


def _reply_headers(context: Context, fields: Fields) -> tuple[str | None, tuple[tuple[str, str], ...], float | None]:
    """The content type, the headers that a guest may set, and `retry-after`."""
    kind, after, size, headers = None, None, 0, []
    for name, raw in fields.entries:
        key, value = name.lower(), raw.decode("latin-1")
        if key == "content-type":
            kind = value
        elif key == "retry-after" and _SECONDS.fullmatch(value):
            after = float(value)
        elif key in ("content-length", "date"):
            continue  # the host's to say
        elif not may_be_set(key, value):
            context.log("host", f"the header {key[:64]!a} of the response was left out: a guest may not set it")
        else:
            size += len(key) + len(value)
            if size > BLOCK:
                raise BadReply(f"the response has headers of more than {BLOCK} bytes")
            headers.append((key, value))
    return kind, tuple(headers), after


def _beginning(body: bytes) -> str:
    return body[:_TEXT].decode("utf-8", "ignore") if body else ""

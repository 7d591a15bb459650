"""The calling convention of http-wasm: `handle_request`, and `handle_response` where the request was passed on.

A guest answers an invocation by itself, or stands as a filter before what answers it. `handle_request` gives two
numbers in one: the lower 32 bits are 0 where the guest has answered, and 1 where the request is to be passed on; the
upper ones are the guest's own, and come back as the first parameter of `handle_response`. Behind a guest that is no
filter nothing stands: a request that it passes on is answered with 404. How it reads and changes request and response
is in `imports/http_handler.py`.
"""

from __future__ import annotations

from guesthouse_abi import headers
from guesthouse_abi.calling import (
    NOT_OK,
    Request,
    Response,
    Shape,
    Start,
    Unfit,
    start_up,
    starts_of,
    text_of,
    type_fault,
)
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports import http_handler
from guesthouse_abi.imports.wasi_preview1 import flush
from guesthouse_abi.services import HttpResponse, Onward

_REQUEST, _RESPONSE = "handle_request", "handle_response"
_TYPES = {
    _REQUEST: FuncType((), (ValType.I64,)),
    _RESPONSE: FuncType((ValType.I32, ValType.I32)),
}
_STARTS = ("_initialize", "_start")
_ANSWERED, _PASS_ON = 0, 1
_NOT_FOUND = HttpResponse(404)
_FAILED = HttpResponse(500)  # what stands behind has failed: nobody but the filter sees this


class HttpWasm:
    """Calls the two handlers of a request."""

    def bind(self, shape: Shape) -> HttpHandlers:
        """See `Convention.bind`."""
        problems = [] if shape.has_memory else ["exports no memory"]
        for name, kind in _TYPES.items():
            if name not in shape.functions:
                problems.append(f"exports no function {name!r}, which a guest of http-wasm has")
            elif shape.functions[name] != kind:
                problems.append(type_fault(shape, name, kind))
        if problems:
            raise Unfit(problems)
        return HttpHandlers(starts_of(shape, _STARTS)[:1])


class HttpHandlers:
    """A `Caller`: `starts` are called first."""

    what = "handlers for requests of HTTP (handle_request)"
    triggers: frozenset[str] = frozenset({"invoke"})

    def __init__(self, starts: tuple[str, ...]) -> None:
        self.starts = starts  # see `Caller.starts`

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`."""
        exchange = http_handler.begin(context)
        try:
            instance = start()
            for name in self.starts:
                start_up(instance, name)
            given = instance.call(_REQUEST)
            own, what = given >> 32, given & 0xFFFFFFFF
            if what not in (_ANSWERED, _PASS_ON):
                raise BadReply(f"{_REQUEST} gave {what} in its lower 32 bits; it is 1 to pass the request on, else 0")
            if what == _PASS_ON:
                found = _onward(context, exchange)
                exchange.take(found or _FAILED)
                instance.call(_RESPONSE, own, int(found is None))
        finally:
            flush(context)
        return _response(context, exchange)


def _onward(context: Context, exchange: http_handler.Exchange) -> HttpResponse | None:
    """What stands behind the guest answers; None where that fails."""
    service = context.services.get(Onward)
    if service is None:
        return _NOT_FOUND
    return service.answer(context.event, exchange.next_request(), context.deadline, context.spent)


def _response(context: Context, exchange: http_handler.Exchange) -> Response:
    content_type, kept = None, []
    for name, value in exchange.response.headers.pairs:
        if name == "content-type" and value.isascii() and value.isprintable():
            content_type = value
        elif not headers.may_be_set(name, value):
            context.log("host", f"the header {name} of the response is not sent: a guest may not set it, or not so")
        else:
            kept.append((name, value))
    sent = kept if content_type is None else [("content-type", content_type), *kept]
    size = sum(len(name) + len(value) for name, value in sent)
    if size > headers.BLOCK:
        raise BadReply(f"the response has headers of {size} bytes; at most {headers.BLOCK}")
    body, status = bytes(exchange.response.body), exchange.status
    text = text_of(body) if status >= NOT_OK else ""
    return Response(body, content_type, tuple(kept), status, text)

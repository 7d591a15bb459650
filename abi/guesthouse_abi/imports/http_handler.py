"""The import module `http_handler`: an HTTP request and its response, as guests of http-wasm read and change them.

The request is an invocation. Bodies are buffered whole, trailers are not supported, and no function has an error
number: what a guest may not do stops it. When its two handlers are called, and what stands behind a filter, is in
`calling/http_wasm.py`. Specified at https://http-wasm.io/http-handler-abi/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from guesthouse_abi.context import Context
from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.host import I32, U32, U64, HostModule
from guesthouse_abi.services import HttpRequest, HttpResponse

MODULE = HostModule("http_handler")

CONFIG = "guestConfig"  # the name in the guest's `config`, after the metadata of Dapr's own middleware
BUFFER_REQUEST, BUFFER_RESPONSE = 1, 2
_FEATURES = BUFFER_REQUEST | BUFFER_RESPONSE
_REQUEST, _RESPONSE, _REQUEST_TRAILERS, _RESPONSE_TRAILERS = range(4)
_MESSAGES = ("request", "response")
_PROTOCOL = b"HTTP/1.1"
_LINE = 1 << 16  # bytes of a line of the log
_LEVELS = {-1: "debug", 0: "info", 1: "warning", 2: "error"}
_VERB = re.compile(r"[A-Za-z]{1,32}", re.ASCII)
_URI = re.compile(r"(?:/[\x21\x22\x24-\x3e\x40-\x7e]*)?(?:\?[\x21\x22\x24-\x7e]*)?", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TEXT = 8192  # bytes of a URI, or of a header's value
_HEADERS = 1 << 16  # bytes of the headers of a message, with 32 more for each
_UNESCAPED = "/%:@!$&'()*+,;=~"  # of a method's name in a URI, besides letters, digits, `_`, `.` and `-`


class Headers:
    """The headers of one message, in order. Names are in lower case."""

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self.pairs = list(pairs)
        self._size = sum(map(_size, self.pairs))

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.pairs))

    def values(self, name: str) -> list[str]:
        return [value for own, value in self.pairs if own == name]

    def add(self, name: str, value: str) -> None:
        size = self._size + _size((name, value))
        if size > _HEADERS:
            raise TooMuch(f"headers of {size} bytes; at most {_HEADERS} are kept")
        self.pairs.append((name, value))
        self._size = size

    def remove(self, name: str) -> None:
        self.pairs = [pair for pair in self.pairs if pair[0] != name]
        self._size = sum(map(_size, self.pairs))


def _size(pair: tuple[str, str]) -> int:
    return 32 + len(pair[0]) + len(pair[1])


class Message:
    """The request or the response, with its body and how far the guest has read it."""

    def __init__(self, headers: Headers, body: bytes, most: int, limit: str) -> None:
        self.headers = headers
        self.body: bytes | bytearray = body
        self.read = 0
        self._most, self._limit = most, limit
        self._written = False

    def write(self, context: Context, pointer: int, length: int) -> None:
        """The first write takes the place of the body, later ones append to it."""
        context.memory.check(pointer, length)
        body = self.body if isinstance(self.body, bytearray) else bytearray()
        if len(body) + length > self._most:
            raise TooMuch(f"a body of {len(body) + length} bytes; the limit {self._limit} is {self._most}")
        context.hold(length)
        body += context.memory.read(pointer, length)
        if not self._written:
            self.read, self._written = 0, True
        self.body = body

    def fill(self, headers: Headers, body: bytes) -> None:
        """Take these from another message, as if nothing had been written."""
        self.headers, self.body, self.read, self._written = headers, body, 0, False


class Exchange:
    """A request and its response. `passed_on`: what stands behind the guest has the request, and has answered it."""

    def __init__(self, context: Context) -> None:
        event, limits = context.event, context.limits
        pairs = [(name, value.replace("\0", "")) for name, value in event.metadata.items()]
        if event.content_type:
            pairs = [
                ("content-type", event.content_type.replace("\0", "")),
                *(p for p in pairs if p[0] != "content-type"),
            ]
        self.verb = event.verb  # empty where the caller has given none: it is passed on so, too
        self.uri = "/" + quote(event.name.lstrip("/"), safe=_UNESCAPED) + (f"?{event.query}" if event.query else "")
        self.moved = False  # the guest has set another URI
        self.request = Message(Headers(pairs), event.body, limits.input, "input")
        self.response = Message(Headers(), b"", limits.output, "output")
        self.status = 200
        self.features = 0
        self.passed_on = False
        self._name, self._query = event.name, event.query

    def next_request(self) -> HttpRequest:
        """The request as it is passed on."""
        path, _, query = self.uri.partition("?")
        name, query = (path.lstrip("/"), query) if self.moved else (self._name, self._query)
        message = self.request
        return HttpRequest(self.verb, name, query, tuple(message.headers.pairs), bytes(message.body))

    def take(self, response: HttpResponse) -> None:
        """The response of what stands behind."""
        self.passed_on = True
        self.status = response.status
        self.response.fill(Headers(response.headers), response.body)


class _Event:
    """What one event has of this module."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None


def begin(context: Context) -> Exchange:
    """The exchange of an event, which the guest may see from now on."""
    exchange = context.state(_Event).exchange = Exchange(context)
    return exchange


def _exchange(context: Context) -> Exchange:
    exchange = context.state(_Event).exchange
    if exchange is None:
        raise HostError('there is no HTTP request in a guest that is not called as "http-wasm"')
    return exchange


# ---- what may be done when ----


def _changes_request(exchange: Exchange) -> None:
    if exchange.passed_on:
        raise HostError("the request was passed on: it can be changed before that alone")


def _uses_response(exchange: Exchange) -> None:
    if exchange.passed_on and not exchange.features & BUFFER_RESPONSE:
        raise HostError("the response is of what stands behind: enable the feature buffer_response (2) to use it")


def _headers(context: Context, kind: int) -> Headers:
    if kind not in (_REQUEST, _RESPONSE):
        if kind in (_REQUEST_TRAILERS, _RESPONSE_TRAILERS):
            return Headers()
        raise HostError(f"there is no kind {kind} of headers")
    exchange = _exchange(context)
    return (exchange.request if kind == _REQUEST else exchange.response).headers


def _changeable(context: Context, kind: int) -> Headers:
    if kind in (_REQUEST_TRAILERS, _RESPONSE_TRAILERS):
        raise HostError("trailers are not supported, as enable_features tells")
    headers, exchange = _headers(context, kind), _exchange(context)
    (_changes_request if kind == _REQUEST else _uses_response)(exchange)
    return headers


def _header_name(context: Context, pointer: int, length: int) -> str:
    name = context.memory.text(pointer, length, 256)
    if _NAME.fullmatch(name) is None:
        raise HostError(f"{name[:80]!a} is no name of a header")
    return name.lower()


def _header_value(context: Context, pointer: int, length: int) -> str:
    value = context.memory.text(pointer, length, _TEXT)
    if _CONTROL.search(value):
        raise HostError("a header's value with control characters")
    return value


def _message(context: Context, kind: int) -> Message:
    if kind >= len(_MESSAGES):
        raise HostError(f"there is no kind {kind} of body")
    exchange = _exchange(context)
    return exchange.request if kind == _REQUEST else exchange.response


# ---- giving ----


def _give(context: Context, data: bytes, buffer: int, limit: int) -> U32:
    """All of it or, where there is no room, nothing; and its size."""
    if data and len(data) <= limit:
        context.memory.write(buffer, data)
    return U32(len(data))


def _give_list(context: Context, texts: Sequence[str], buffer: int, limit: int) -> U64:
    data = b"".join(text.encode("utf-8", "replace") + b"\0" for text in texts)
    return U64(len(texts) << 32 | _give(context, data, buffer, limit))


# ---- the host ----


@MODULE.function()
def enable_features(context: Context, features: U32) -> U32:
    exchange = _exchange(context)
    exchange.features |= features & _FEATURES
    return U32(exchange.features)


@MODULE.function()
def get_config(context: Context, buffer: U32, limit: U32) -> U32:
    found = next((value for name, value in context.grants.config if name == CONFIG), "")
    return _give(context, found.encode(), buffer, limit)


@MODULE.function()
def log_enabled(context: Context, level: I32) -> I32:
    return I32(level in _LEVELS)


@MODULE.function()
def log(context: Context, level: I32, message: U32, length: U32) -> None:
    context.memory.check(message, length)
    if level in _LEVELS:
        text = context.memory.read(message, min(length, _LINE)).decode("utf-8", "replace")
        context.log_entry(_LEVELS[level], text, {})


# ---- the request ----


@MODULE.function()
def get_method(context: Context, buffer: U32, limit: U32) -> U32:
    verb = _exchange(context).verb or "POST"
    return _give(context, verb.encode("utf-8", "replace"), buffer, limit)


@MODULE.function()
def set_method(context: Context, method: U32, length: U32) -> None:
    exchange = _exchange(context)
    _changes_request(exchange)
    verb = context.memory.text(method, length, 32)
    if _VERB.fullmatch(verb) is None:
        raise HostError(f"{verb!a} is no method of HTTP")
    exchange.verb = verb.upper()


@MODULE.function()
def get_uri(context: Context, buffer: U32, limit: U32) -> U32:
    return _give(context, _exchange(context).uri.encode("utf-8", "replace"), buffer, limit)


@MODULE.function()
def set_uri(context: Context, uri: U32, length: U32) -> None:
    exchange = _exchange(context)
    _changes_request(exchange)
    text = context.memory.text(uri, length, _TEXT)
    if _URI.fullmatch(text) is None:
        raise HostError(f"{text[:80]!a} is no URI of a path, which begins with /, and perhaps a query")
    exchange.uri, exchange.moved = text if text.startswith("/") else f"/{text}", True


@MODULE.function()
def get_protocol_version(context: Context, buffer: U32, limit: U32) -> U32:
    return _give(context, _PROTOCOL, buffer, limit)


@MODULE.function()
def get_source_addr(context: Context, buffer: U32, limit: U32) -> U32:
    return U32(0)  # the sidecar's would say nothing, and the caller's is not known


# ---- headers ----


@MODULE.function()
def get_header_names(context: Context, kind: U32, buffer: U32, limit: U32) -> U64:
    return _give_list(context, _headers(context, kind).names(), buffer, limit)


@MODULE.function()
def get_header_values(context: Context, kind: U32, name: U32, name_length: U32, buffer: U32, limit: U32) -> U64:
    wanted = _header_name(context, name, name_length)
    return _give_list(context, _headers(context, kind).values(wanted), buffer, limit)


@MODULE.function()
def set_header_value(context: Context, kind: U32, name: U32, name_length: U32, value: U32, value_length: U32) -> None:
    headers = _changeable(context, kind)
    key, content = _header_name(context, name, name_length), _header_value(context, value, value_length)
    headers.remove(key)
    headers.add(key, content)


@MODULE.function()
def add_header_value(context: Context, kind: U32, name: U32, name_length: U32, value: U32, value_length: U32) -> None:
    headers = _changeable(context, kind)
    headers.add(_header_name(context, name, name_length), _header_value(context, value, value_length))


@MODULE.function()
def remove_header(context: Context, kind: U32, name: U32, name_length: U32) -> None:
    _changeable(context, kind).remove(_header_name(context, name, name_length))


# ---- bodies and status ----


@MODULE.function()
def read_body(context: Context, kind: U32, buffer: U32, limit: U32) -> U64:
    message, exchange = _message(context, kind), _exchange(context)
    if limit == 0:
        raise HostError("a body that is read without room for it")
    if kind == _RESPONSE:
        _uses_response(exchange)
    elif exchange.passed_on and not exchange.features & BUFFER_REQUEST:
        raise HostError("the request was passed on: enable the feature buffer_request (1) to read its body after that")
    context.memory.check(buffer, limit)
    part = bytes(memoryview(message.body)[message.read : message.read + limit])
    context.memory.write(buffer, part)
    message.read += len(part)
    return U64((len(part) < limit) << 32 | len(part))


@MODULE.function()
def write_body(context: Context, kind: U32, body: U32, length: U32) -> None:
    message, exchange = _message(context, kind), _exchange(context)
    (_changes_request if kind == _REQUEST else _uses_response)(exchange)
    message.write(context, body, length)


@MODULE.function()
def get_status_code(context: Context) -> U32:
    exchange = _exchange(context)
    _uses_response(exchange)
    return U32(exchange.status)


@MODULE.function()
def set_status_code(context: Context, status: U32) -> None:
    exchange = _exchange(context)
    _uses_response(exchange)
    if not 200 <= status <= 599:
        raise HostError(f"{status} is no status of a response (200 to 599)")
    exchange.status = status

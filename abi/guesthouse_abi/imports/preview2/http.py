"""`wasi:http`: the request that an event is, and the response that a guest makes of it.

How an event becomes a request, and a response the reply, is in `calling/http.py`. The requests that a guest makes are
sent by `outgoing.py`; what they are is here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from guesthouse_abi.blocks import Invocation
from guesthouse_abi.calls import calls_of
from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context, size_of
from guesthouse_abi.errors import BadHandle, BadReply, HostError
from guesthouse_abi.imports.preview2.io import CHUNK, InputStream, IoError, Pollable, Writer

#: Header fields of one message, and bytes of the name or the value of one of them.
MOST_FIELDS, FIELD = 256, 16_384
_OVERHEAD = 64  # bytes that are counted for a field besides its own
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_BAD = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
#: Of the connection, which is not the guest's.
_FORBIDDEN = frozenset(
    {
        "connection",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_LOWEST, _HIGHEST = 100, 599  # statuses
#: Bytes from which on a piece of a body is kept as it is. Shorter ones are put together: each would take more memory
#: than it has bytes.
_LONG = 4096

Entry = tuple[str, bytes]


class Fields:
    """The resource `fields`: headers or trailers, names as they were given."""

    __slots__ = ("entries", "fixed")

    def __init__(self, entries: Sequence[Entry] = (), fixed: bool = False) -> None:
        self.entries = list(entries)
        self.fixed = fixed  # the guest may not change them

    def values(self, name: str) -> list[bytes]:
        """The values of all fields of this name."""
        wanted = name.lower()
        return [value for key, value in self.entries if key.lower() == wanted]

    def change(self) -> None:
        """Raises `Fail` where they may not be changed."""
        if self.fixed:
            raise Fail(Case("immutable"))

    def add(self, context: Context, name: str, value: bytes) -> None:
        """Raises `Fail` for what is no field, `TooMuch`."""
        if max(len(name), len(value)) > FIELD or _NAME.fullmatch(name) is None or _BAD.search(value):
            raise Fail(Case("invalid-syntax"))
        if name.lower() in _FORBIDDEN:
            raise Fail(Case("forbidden"))
        if len(self.entries) >= MOST_FIELDS:
            raise HostError(f"more than {MOST_FIELDS} header fields")
        context.hold(len(name) + len(value) + _OVERHEAD)
        self.entries.append((name, value))

    def remove(self, name: str) -> list[bytes]:
        """The values that were there."""
        values, wanted = self.values(name), name.lower()
        self.entries = [entry for entry in self.entries if entry[0].lower() != wanted]
        return values


class IncomingBody:
    """The resource `incoming-body`. `held` bytes of it are counted until it is dropped, or its stream is."""

    __slots__ = ("data", "held")

    def __init__(self, data: bytes, held: int = 0) -> None:
        self.data: bytes | None = data  # until its stream is taken
        self.held = held

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        context.release(self.held)
        self.held = 0


class IncomingRequest:
    """The resource `incoming-request`."""

    __slots__ = ("authority", "body", "headers", "method", "target")

    def __init__(self, method: str, target: str, authority: str, headers: Sequence[Entry], body: bytes) -> None:
        self.method = _method(method)
        self.target = target
        self.authority = authority
        self.headers = Fields(headers, fixed=True)
        self.body: bytes | None = body  # until it is taken


class Sending:
    """What becomes of a request of the guest's. `asked` has no body."""

    def __init__(self, asked: Invocation, seconds: float | None) -> None:
        self.asked = asked
        self.seconds = seconds  # that it may take
        self.call: int | None = None  # to the sidecar, once it is sent
        self.error: Case | None = None  # why it never is


class OutgoingBody:
    """The resource `outgoing-body`, and the target of its stream. `reply`: it is the event's reply."""

    chunk = CHUNK

    def __init__(self, reply: bool = True) -> None:
        self._size = 0
        self._pieces: list[bytes] = []  # none of them is short, but for what lay between two long ones
        self._short = bytearray()  # what was written after these
        self.written_to = False
        self.finished = False
        self.sending: Sending | None = None  # the request that waits for its end
        self._dropped = False
        self._reply = reply

    def give(self, context: Context, data: bytes) -> None:
        """See `io.OutputStream.give`. Raises `BadReply` beyond the limit."""
        if self.finished or self._dropped:
            raise Fail(Case("closed"))
        limit = context.limits.output
        if self._reply and self._size + len(data) > limit:
            raise BadReply(f"more than limits.output ({limit} bytes) was written to a body")
        context.hold(len(data))
        self._size += len(data)
        if len(data) < _LONG:
            self._short += data
            return
        if self._short:
            self._pieces.append(bytes(self._short))
            self._short = bytearray()
        self._pieces.append(data)

    def taken(self, context: Context) -> bytes:
        """All of it, which is no longer counted here."""
        data = b"".join([*self._pieces, self._short]) if self._short else b"".join(self._pieces)
        context.release(self._size)
        self._size, self._pieces, self._short = 0, [], bytearray()
        return data

    def release(self, context: Context) -> None:
        """The guest has dropped it without an end, so its request is none."""
        self._dropped = True
        self.taken(context)
        if self.sending is not None:
            self.sending.error = Case("HTTP-protocol-error")


class OutgoingResponse:
    """The resource `outgoing-response`."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, headers: Fields) -> None:
        self.status = 200
        self.headers = headers
        self.body: OutgoingBody | None = None


class OutgoingRequest:
    """The resource `outgoing-request`."""

    def __init__(self, headers: Fields) -> None:
        self.method = Case("get")
        self.target: str | None = None
        self.scheme: Case | None = None
        self.authority: str | None = None
        self.headers = headers
        self.body: OutgoingBody | None = None


class ResponseOutparam:
    """The resource `response-outparam`: where the guest puts its response."""

    __slots__ = ("error", "response")

    def __init__(self) -> None:
        self.response: OutgoingResponse | None = None
        self.error: Case | None = None


class FutureTrailers:
    """The resource `future-trailers`: there are none."""

    taken = False


class IncomingResponse:
    """The resource `incoming-response`."""

    def __init__(self, status: int, headers: Sequence[Entry], body: IncomingBody) -> None:
        self.status = status
        self.headers = Fields(headers, fixed=True)
        self.body: IncomingBody | None = body  # until it is taken

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        if self.body is not None:
            self.body.release(context)


class FutureResponse:
    """The resource `future-incoming-response`."""

    def __init__(self, sending: Sending) -> None:
        self.sending = sending
        self.taken = False

    def release(self, context: Context) -> None:
        """The response is taken, or the guest wants none any more."""
        self.taken = True
        if self.sending.call is None:
            self.sending.error = Case("connection-terminated")
        else:
            with contextlib.suppress(BadHandle):  # another interface may have closed it
                calls_of(context).close(self.sending.call)


class Options:
    """The resource `request-options`."""

    def __init__(self) -> None:
        self.times: dict[str, int | None] = {}


def _method(verb: str) -> Case:
    plain = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
    return Case(verb.lower()) if verb in plain else Case("other", verb)


TYPES = Answered(
    "wasi:http/types",
    fields=Fields,
    incoming_request=IncomingRequest,
    incoming_body=IncomingBody,
    outgoing_request=OutgoingRequest,
    outgoing_response=OutgoingResponse,
    outgoing_body=OutgoingBody,
    response_outparam=ResponseOutparam,
    future_trailers=FutureTrailers,
    future_incoming_response=FutureResponse,
    incoming_response=IncomingResponse,
    request_options=Options,
)
INTERFACES = (TYPES,)


# ---- fields ----


@TYPES.function("[constructor]fields")
def new_fields(context: Context) -> Fields:
    return Fields()


@TYPES.function("[static]fields.from-list")
def fields_from_list(context: Context, entries: list[Entry]) -> Fields:
    made = Fields()
    for name, value in entries:
        made.add(context, name, value)
    return made


@TYPES.function("[method]fields.get")
def fields_get(context: Context, fields: Fields, name: str) -> list[bytes]:
    return fields.values(name)


@TYPES.function("[method]fields.has")
def fields_has(context: Context, fields: Fields, name: str) -> bool:
    return bool(fields.values(name))


@TYPES.function("[method]fields.set")
def fields_set(context: Context, fields: Fields, name: str, values: list[bytes]) -> None:
    fields.change()
    fields.remove(name)
    for value in values:
        fields.add(context, name, value)


@TYPES.function("[method]fields.delete")
def fields_delete(context: Context, fields: Fields, name: str) -> None:
    fields.change()
    fields.remove(name)


@TYPES.function("[method]fields.append")
def fields_append(context: Context, fields: Fields, name: str, value: bytes) -> None:
    fields.change()
    fields.add(context, name, value)


@TYPES.function("[method]fields.entries")
def fields_entries(context: Context, fields: Fields) -> list[Entry]:
    return fields.entries


@TYPES.function("[method]fields.clone")
def fields_clone(context: Context, fields: Fields) -> Fields:
    context.hold(sum(len(name) + len(value) + _OVERHEAD for name, value in fields.entries))
    return Fields(fields.entries)


# ---- the request ----


@TYPES.function("[method]incoming-request.method")
def request_method(context: Context, request: IncomingRequest) -> Case:
    return request.method


@TYPES.function("[method]incoming-request.path-with-query")
def request_path(context: Context, request: IncomingRequest) -> str:
    return request.target


@TYPES.function("[method]incoming-request.scheme")
def request_scheme(context: Context, request: IncomingRequest) -> Case:
    return Case("HTTP")


@TYPES.function("[method]incoming-request.authority")
def request_authority(context: Context, request: IncomingRequest) -> str:
    return request.authority


@TYPES.function("[method]incoming-request.headers")
def request_headers(context: Context, request: IncomingRequest) -> Fields:
    return request.headers


@TYPES.function("[method]incoming-request.consume")
def request_consume(context: Context, request: IncomingRequest) -> IncomingBody:
    body, request.body = request.body, None
    if body is None:
        raise Fail
    return IncomingBody(body)


@TYPES.function("[method]incoming-body.stream")
def body_stream(context: Context, body: IncomingBody) -> InputStream:
    data, body.data = body.data, None
    if data is None:
        raise Fail
    held, body.held = body.held, 0
    return InputStream(data, held)


@TYPES.function("[static]incoming-body.finish")
def body_finish(context: Context, body: IncomingBody) -> FutureTrailers:
    body.release(context)
    return FutureTrailers()


@TYPES.function("[method]future-trailers.subscribe")
def trailers_subscribe(context: Context, trailers: FutureTrailers) -> Pollable:
    return Pollable()


@TYPES.function("[method]future-trailers.get")
def trailers_get(context: Context, trailers: FutureTrailers) -> Case:
    if trailers.taken:
        return Case("err")
    trailers.taken = True
    return Case("ok", Case("ok"))


# ---- the response ----


@TYPES.function("[constructor]outgoing-response")
def new_response(context: Context, headers: Fields) -> OutgoingResponse:
    return OutgoingResponse(headers)


@TYPES.function("[method]outgoing-response.status-code")
def response_status(context: Context, response: OutgoingResponse) -> int:
    return response.status


@TYPES.function("[method]outgoing-response.set-status-code")
def response_set_status(context: Context, response: OutgoingResponse, status: int) -> None:
    if not _LOWEST <= status <= _HIGHEST:
        raise Fail
    response.status = status


@TYPES.function("[method]outgoing-request.headers")
@TYPES.function("[method]outgoing-response.headers")
def message_headers(context: Context, message: OutgoingResponse | OutgoingRequest) -> Fields:
    context.hold(_OVERHEAD * len(message.headers.entries))
    return Fields(message.headers.entries, fixed=True)


@TYPES.function("[method]outgoing-request.body")
@TYPES.function("[method]outgoing-response.body")
def message_body(context: Context, message: OutgoingResponse | OutgoingRequest) -> OutgoingBody:
    if message.body is not None:
        raise Fail
    message.body = OutgoingBody(reply=isinstance(message, OutgoingResponse))
    return message.body


@TYPES.function("[method]outgoing-body.write")
def body_write(context: Context, body: OutgoingBody) -> Writer:
    if body.written_to:
        raise Fail
    body.written_to = True
    return Writer(body)


@TYPES.function("[static]response-outparam.set")
def outparam_set(context: Context, out: ResponseOutparam, response: Case) -> None:
    if response.name == "ok":
        out.response = response.value
    else:
        out.error = response.value


@TYPES.function("[method]response-outparam.send-informational")
def send_informational(context: Context, out: ResponseOutparam, status: int, headers: Fields) -> None:
    raise Fail(Case("internal-error", "no caller of this host sees such a response"))


@TYPES.function("http-error-code")
def http_error_code(context: Context, error: IoError) -> None:
    return None


# ---- requests of the guest's own ----


@TYPES.function("[constructor]outgoing-request")
def new_request(context: Context, headers: Fields) -> OutgoingRequest:
    return OutgoingRequest(headers)


@TYPES.function("[method]outgoing-request.method")
def outgoing_method(context: Context, request: OutgoingRequest) -> Case:
    return request.method


@TYPES.function("[method]outgoing-request.set-method")
def outgoing_set_method(context: Context, request: OutgoingRequest, method: Case) -> None:
    _keep(context, method.value)
    request.method = method


@TYPES.function("[method]outgoing-request.path-with-query")
def outgoing_path(context: Context, request: OutgoingRequest) -> str | None:
    return request.target


@TYPES.function("[method]outgoing-request.set-path-with-query")
def outgoing_set_path(context: Context, request: OutgoingRequest, target: str | None) -> None:
    _keep(context, target)
    request.target = target


@TYPES.function("[method]outgoing-request.scheme")
def outgoing_scheme(context: Context, request: OutgoingRequest) -> Case | None:
    return request.scheme


@TYPES.function("[method]outgoing-request.set-scheme")
def outgoing_set_scheme(context: Context, request: OutgoingRequest, scheme: Case | None) -> None:
    _keep(context, scheme and scheme.value)
    request.scheme = scheme


@TYPES.function("[method]outgoing-request.authority")
def outgoing_authority(context: Context, request: OutgoingRequest) -> str | None:
    return request.authority


@TYPES.function("[method]outgoing-request.set-authority")
def outgoing_set_authority(context: Context, request: OutgoingRequest, authority: str | None) -> None:
    _keep(context, authority)
    request.authority = authority


def _keep(context: Context, text: str | None) -> None:
    """Account for a text that is kept. Raises `Fail` for a long one, `TooMuch`."""
    if text is not None:
        if len(text) > FIELD:
            raise Fail
        context.hold(size_of(text) + _OVERHEAD)


@TYPES.function("[constructor]request-options")
def new_options(context: Context) -> Options:
    return Options()


def _timeout(name: str) -> None:
    """The two functions for one of the times."""

    @TYPES.function(f"[method]request-options.{name}-timeout")
    def timeout(context: Context, options: Options) -> int | None:
        return options.times.get(name)

    @TYPES.function(f"[method]request-options.set-{name}-timeout")
    def set_timeout(context: Context, options: Options, duration: int | None) -> None:
        options.times[name] = duration


for _name in ("connect", "first-byte", "between-bytes"):
    _timeout(_name)

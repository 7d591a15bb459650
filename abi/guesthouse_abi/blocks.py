"""Dapr's building blocks on values: the state store, pub/sub, service invocation.

Interfaces that have no protobuf of their own, such as those of components, make their calls to the sidecar here: the
request messages are written, and the responses are read. What a guest may call is up to its grants, as with all calls
(`calls`); what an interface makes of an error is the interface's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from guesthouse_abi.calls import Code, call
from guesthouse_abi.context import Context
from guesthouse_abi.errors import HostError
from guesthouse_abi.protobuf import BYTES, Malformed, bytes_field, fields, map_field, number_field, part, text_field
from guesthouse_abi.services import CallRequest, Ended

INVOKE = "InvokeService"
_FIRST_WRITE, _STRONG = 1, 2  # of StateOptions
#: Of HTTPExtension, by their numbers there.
_VERBS = ("", "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
#: What the sidecar's details say of a store that it does not have.
_NO_STORE = (b"DAPR_STATE_NOT_FOUND", b"DAPR_STATE_NOT_CONFIGURED", b"ERR_STATE_STORE_NOT_FOUND")


class NotDone(HostError):
    """A call that did not end well. The text is for the guest's author."""

    def __init__(self, code: Code, text: str, no_store: bool = False) -> None:
        super().__init__(text or code.name)
        self.code = code
        self.no_store = no_store  # there is no such state store


class Stored(NamedTuple):
    """A value of a state store. `etag` changes with the value; it is empty in a store that has none."""

    value: bytes
    etag: str


def done(context: Context, request: CallRequest) -> bytes:
    """Make a call and wait for its end: the response message.

    Raises `NotDone`, `TooMuch`, `Denied`, and what ends the event.
    """
    return response_of(context, request.method, call(context, request))


def response_of(context: Context, method: str, ended: Ended) -> bytes:
    """The response message of a call. Raises `NotDone`."""
    if ended.code == Code.OK:
        return ended.message or b""
    if ended.refused:
        context.log("host", f"{method}: {ended.text}")
    details = ended.details or b""
    raise NotDone(Code(ended.code), ended.text, any(reason in details for reason in _NO_STORE))


def _read(message: bytes) -> dict[int, bytes]:
    """The last field of each number that has bytes. Raises `NotDone`."""
    return dict(_parts(message))


def _parts(message: bytes) -> Iterator[tuple[int, bytes]]:
    try:
        for number, kind, begin, end in fields(message, 0, len(message)):
            if kind == BYTES:
                yield number, message[begin:end]
    except Malformed:
        raise NotDone(Code.INTERNAL, "the sidecar's response is no message") from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# ---- state ----


def state(context: Context, store: str, key: str, *, newest: bool = False) -> Stored | None:
    """The value of a key; None where there is none. A store without etags has no empty values. Raises `NotDone`.

    `newest`: with the store's strong consistency, before the value is swapped.
    """
    request = text_field(1, store) + text_field(2, key) + number_field(3, _STRONG if newest else 0)
    found = _read(done(context, CallRequest("GetState", request)))
    return _stored(found.get(1, b""), found.get(2, b""))


def _stored(value: bytes, etag: bytes) -> Stored | None:
    return Stored(value, _text(etag)) if value or etag else None


def states(context: Context, store: str, keys: Sequence[str]) -> dict[str, bytes]:
    """The values of those of the keys that there are. Raises `NotDone`, also where one of them cannot be read."""
    if not keys:
        return {}
    request = text_field(1, store) + b"".join(part(2, key.encode(errors="replace")) for key in keys)
    values = {}
    for number, item in _parts(done(context, CallRequest("GetBulkState", request))):
        if number != 1:
            continue
        one = _read(item)
        if one.get(4):
            raise NotDone(Code.UNKNOWN, _text(one[4]))
        stored = _stored(one.get(2, b""), one.get(3, b""))
        if stored is not None:
            values[_text(one.get(1, b""))] = stored.value
    return values


def save_states(context: Context, store: str, items: Sequence[tuple[str, bytes]]) -> None:
    """Save values, one after the other or together, as the store does it. Raises `NotDone`."""
    if items:
        found = (text_field(1, key) + bytes_field(2, value) for key, value in items)
        done(context, CallRequest("SaveState", _items(store, found)))


def swap_state(context: Context, store: str, key: str, value: bytes, before: Stored | None) -> bool:
    """Save a value where nobody has changed or made it since it was `before`. False where somebody has.

    Raises `NotDone`.
    """
    if before is not None and not before.etag:
        raise NotDone(Code.UNIMPLEMENTED, f"the state store {store[:80]!a} has no etags, so nothing is atomic in it")
    etag = b"" if before is None else part(3, text_field(1, before.etag))
    options = part(5, number_field(1, _FIRST_WRITE) + number_field(2, _STRONG))
    item = text_field(1, key) + bytes_field(2, value) + etag + options
    try:
        done(context, CallRequest("SaveState", _items(store, [item])))
    except NotDone as error:
        if error.code is Code.ABORTED:
            return False
        # Without an etag, a sidecar does not say that the value is there already.
        if before is None and error.code is Code.INTERNAL and state(context, store, key, newest=True):
            return False
        raise
    return True


def delete_states(context: Context, store: str, keys: Sequence[str]) -> None:
    """Delete values, where there are any. Raises `NotDone`."""
    if len(keys) == 1:
        done(context, CallRequest("DeleteState", text_field(1, store) + text_field(2, keys[0])))
    elif keys:
        done(context, CallRequest("DeleteBulkState", _items(store, (text_field(1, key) for key in keys))))


def _items(store: str, items: Iterable[bytes]) -> bytes:
    return text_field(1, store) + b"".join(part(2, item) for item in items)


# ---- pub/sub ----


def publish(
    context: Context,
    pubsub: str,
    topic: str,
    data: bytes,
    content_type: str = "",
    metadata: Iterable[tuple[str, str]] = (),
) -> None:
    """Publish a message. Raises `NotDone`."""
    request = text_field(1, pubsub) + text_field(2, topic) + bytes_field(3, data) + text_field(4, content_type)
    done(context, CallRequest("PublishEvent", request + map_field(5, metadata)))


# ---- invocation ----


class Invocation(NamedTuple):
    """A request to a method of another application."""

    app: str
    method: str
    verb: str = "POST"
    query: str = ""
    content_type: str = ""
    body: bytes = b""
    metadata: tuple[tuple[str, str], ...] = ()


def invocation(asked: Invocation, seconds: float | None = None) -> CallRequest | None:
    """The call for a request; None for a verb that Dapr does not have."""
    if not asked.verb or asked.verb not in _VERBS:
        return None
    message = (
        text_field(1, asked.method)
        + (part(2, bytes_field(2, asked.body)) if asked.body else b"")
        + text_field(3, asked.content_type)
        + part(4, number_field(1, _VERBS.index(asked.verb)) + text_field(2, asked.query))
    )
    return CallRequest(INVOKE, text_field(1, asked.app) + part(3, message), asked.metadata, seconds)


def answer_of(message: bytes) -> tuple[bytes, str]:
    """The body and the content type of a response to an invocation. Raises `NotDone`."""
    found = _read(message)
    return _read(found.get(1, b"")).get(2, b""), _text(found.get(2, b""))

"""The import module `dapr_v1`: the event, the reply, and calls to the sidecar. Specified in abi/spec/dapr_v1.md.

Its functions are total: a guest's mistake is a number below 0, and no trap. What calls mean, on values, is in
`guesthouse_abi.calls`; which of them a guest may make is the service's business. What a reply becomes is decided by the
calling convention `dapr` (`calling/dapr.py`), which takes a `Draft` from here; for other conventions there is none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Mapping

from guesthouse_abi import headers, pairs
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, BadText, HostError, Refused, TooMuch
from guesthouse_abi.facts import EventFacts
from guesthouse_abi.host import I32, I64, U32, HostModule
from guesthouse_abi.services import CallRequest, Calls, Ended, Sidecar

ABSENT, INVALID, BAD_HANDLE, LIMIT, PENDING, UNSUPPORTED = -1, -2, -3, -4, -5, -6

MODULE = HostModule("dapr_v1", {BadHandle: BAD_HANDLE, TooMuch: LIMIT, HostError: INVALID})

TEXT = 1024  # bytes of a failure's text
_TYPE = 256  # bytes of a content type
_METHOD = 128  # bytes of a method's name
_NAME = 4096  # bytes of a name of metadata or configuration
_LINE = 1 << 16  # bytes of a line of the log, and of its fields
_METADATA = 16384  # bytes of a call's metadata
_WAITED = 1024  # handles that are waited for at once
_FOREVER = 0xFFFFFFFF
_ANY, _ALL = 0, 1
_WITH_STATUS = frozenset({"invoke", "actor"})
_WITH_HEADERS = frozenset({"invoke"})
_LEVELS = ("debug", "info", "warning", "error")


class Draft:
    """What the guest has written of its reply to an event of this trigger."""

    def __init__(self, trigger: str) -> None:
        self.trigger = trigger
        self.body = bytearray()
        self.content_type: str | None = None
        self.text: str | None = None
        self.status = 200
        self.headers: list[tuple[str, str]] = []
        self.headers_size = 0
        self.retry_after: float | None = None  # seconds


class _Event:
    """What one event has of this module."""

    def __init__(self) -> None:
        self.draft: Draft | None = None
        self.calls: Calls | None = None
        self.metadata: bytes | None = None


def begin_draft(context: Context) -> Draft:
    """The draft of an event's reply, which the guest may write from now on."""
    draft = context.state(_Event).draft = Draft(context.event.trigger)
    return draft


# ---- reading ----


def _give(context: Context, data: bytes, offset: int, buffer: int, capacity: int) -> I32:
    """Section 1.1 of the specification."""
    if capacity:
        context.memory.check(buffer, capacity)
        if offset < len(data):
            context.memory.write(buffer, data[offset : offset + capacity])
    return I32(len(data))


def _topic_part(event: EventFacts, index: int) -> str | None:
    return event.name.partition("/")[index] if event.trigger == "topic" else None


_FIELDS: Mapping[int, Callable[[EventFacts], str | None]] = {
    2: lambda event: event.trigger,
    3: lambda event: event.name,
    4: lambda event: event.content_type or None,
    5: lambda event: event.verb or None,
    6: lambda event: event.query or None,
    7: lambda event: event.path or None,
    8: lambda event: event.id or None,
    9: lambda event: _topic_part(event, 0),
    10: lambda event: _topic_part(event, 2),
    11: lambda event: event.metadata.get("ce_source") if event.trigger == "topic" else None,
    12: lambda event: event.metadata.get("ce_type") if event.trigger == "topic" else None,
    13: lambda event: event.actor.id if event.actor is not None else None,
    14: lambda event: event.actor.method or None if event.actor is not None else None,
    15: lambda event: event.actor.callback or None if event.actor is not None else None,
}


@MODULE.function()
def event_read(context: Context, field: U32, offset: U32, buffer: U32, capacity: U32) -> I32:
    if field == 1:
        return _give(context, context.event.body, offset, buffer, capacity)
    read = _FIELDS.get(field)
    found = read(context.event) if read is not None else None
    if found is None:
        return I32(ABSENT)
    return _give(context, found.encode("utf-8", "replace"), offset, buffer, capacity)


@MODULE.function()
def event_metadata(context: Context, name: U32, name_length: U32, offset: U32, buffer: U32, capacity: U32) -> I32:
    found = context.event.metadata.get(context.memory.text(name, name_length, _NAME))
    if found is None:
        return I32(ABSENT)
    return _give(context, found.encode("utf-8", "replace"), offset, buffer, capacity)


@MODULE.function()
def event_metadata_all(context: Context, offset: U32, buffer: U32, capacity: U32) -> I32:
    event = context.state(_Event)
    if event.metadata is None:
        encoded = pairs.encode(context.event.metadata.items())
        context.hold(len(encoded))
        event.metadata = encoded
    return _give(context, event.metadata, offset, buffer, capacity)


# ---- the reply ----


def _draft(context: Context, triggers: Container[str] | None = None) -> Draft:
    """The draft, where events of these triggers have what the guest wants to write; None: all have it."""
    draft = context.state(_Event).draft
    if draft is None or (triggers is not None and draft.trigger not in triggers):
        raise Refused(UNSUPPORTED)
    return draft


@MODULE.function()
def reply_write(context: Context, data: U32, length: U32) -> I32:
    body = _draft(context).body
    context.memory.check(data, length)
    if len(body) + length > context.limits.output:
        raise TooMuch(f"a reply of {len(body) + length} bytes; the limit output is {context.limits.output}")
    context.hold(length)
    body += context.memory.read(data, length)
    return I32(0)


@MODULE.function()
def reply_set(context: Context, field: U32, text: U32, length: U32) -> I32:
    draft = _draft(context)
    if field == 1:
        kind = context.memory.text(text, length, _TYPE)
        if not kind.isascii() or not kind.isprintable():
            raise BadText("a content type that is not printable ASCII")
        draft.content_type = kind
    elif field == 2:
        context.memory.check(text, length)
        try:
            cut = context.memory.read(text, min(length, TEXT)).decode("utf-8", "strict" if length <= TEXT else "ignore")
        except UnicodeDecodeError:
            raise BadText("a text that is not UTF-8") from None
        draft.text = cut
    else:
        raise Refused(INVALID)
    return I32(0)


@MODULE.function()
def reply_status(context: Context, status: U32) -> I32:
    draft = _draft(context, _WITH_STATUS)
    if not 200 <= status <= 599:
        raise Refused(INVALID)
    draft.status = status
    return I32(0)


@MODULE.function()
def reply_header(context: Context, name: U32, name_length: U32, value: U32, value_length: U32) -> I32:
    draft = _draft(context, _WITH_HEADERS)
    key = context.memory.text(name, name_length, headers.BLOCK)
    content = context.memory.text(value, value_length, headers.BLOCK)
    if key == "content-type" or not headers.may_be_set(key, content):
        raise Refused(INVALID)
    size = draft.headers_size + len(key) + len(content)
    if size > headers.BLOCK:
        raise TooMuch(f"headers of {size} bytes; at most {headers.BLOCK}")
    draft.headers_size = size
    draft.headers.append((key, content))
    return I32(0)


@MODULE.function()
def retry_after(context: Context, milliseconds: U32) -> I32:
    _draft(context).retry_after = milliseconds / 1000
    return I32(0)


# ---- log, time, configuration ----


@MODULE.function()
def log(context: Context, level: U32, text: U32, length: U32, fields: U32, fields_length: U32) -> I32:
    if level >= len(_LEVELS):
        raise Refused(INVALID)
    found = dict(_pairs(context, fields, fields_length, _LINE))
    context.log_entry(_LEVELS[level], context.memory.text(text, length, _LINE), found)
    return I32(0)


@MODULE.function()
def time_left(context: Context) -> I64:
    return I64(int(context.deadline.remaining() * 1000))


@MODULE.function()
def config_read(context: Context, name: U32, name_length: U32, offset: U32, buffer: U32, capacity: U32) -> I32:
    wanted = context.memory.text(name, name_length, _NAME)
    found = next((value for key, value in context.grants.config if key == wanted), None)
    if found is None:
        return I32(ABSENT)
    return _give(context, found.encode(), offset, buffer, capacity)


# ---- calls ----


def _pairs(context: Context, pointer: int, length: int, most: int) -> tuple[tuple[str, str], ...]:
    context.memory.check(pointer, length)
    if length > most:
        raise BadText(f"pairs of {length} bytes; at most {most} are read here")
    return pairs.decode(context.memory.read(pointer, length)) if length else ()


def _calls(context: Context) -> Calls:
    event = context.state(_Event)
    if event.calls is None:
        sidecar = context.services[Sidecar]
        event.calls = sidecar.calls(context.event, context.deadline, context.spent, context)
        context.at_end(event.calls.finish)
    return event.calls


def _calls_if_any(context: Context) -> Calls:
    calls = context.state(_Event).calls
    if calls is None:
        raise Refused(BAD_HANDLE)
    return calls


@MODULE.function()
def call_start(
    context: Context,
    method: U32,
    method_length: U32,
    request: U32,
    length: U32,
    metadata: U32,
    metadata_length: U32,
    milliseconds: U32,
) -> I32:
    name = context.memory.text(method, method_length, _METHOD)
    given = _pairs(context, metadata, metadata_length, _METADATA)
    context.memory.check(request, length)
    calls = _calls(context)
    if length > context.limits.host_memory:
        raise TooMuch(f"a request of {length} bytes; the limit host_memory is {context.limits.host_memory}")
    message = context.memory.read(request, length)
    started = calls.start(CallRequest(name, message, given, milliseconds / 1000 if milliseconds else None))
    if started.refusal:
        context.log("host", f"dapr_v1.call_start: {name}: {started.refusal}")
    return I32(started.handle)


@MODULE.function()
def call_wait(context: Context, handles: U32, count: U32, mode: U32, milliseconds: U32) -> I32:
    if mode not in (_ANY, _ALL) or count > _WAITED:
        raise Refused(INVALID)
    if count == 0:
        return I32(ABSENT if mode == _ANY else 0)
    wanted = struct.unpack(f"<{count}I", context.memory.read(handles, 4 * count))
    seconds = None if milliseconds == _FOREVER else milliseconds / 1000
    found = _calls_if_any(context).wait(wanted, mode == _ALL, seconds)
    return I32(PENDING if found is None else found)


@MODULE.function()
def call_status(context: Context, handle: U32) -> I32:
    ended = _calls_if_any(context).ended(handle)
    return I32(PENDING if ended is None else ended.code)


_PARTS: Mapping[int, Callable[[Ended], bytes | None]] = {
    0: lambda ended: ended.message if ended.code == 0 else None,
    1: lambda ended: ended.text.encode("utf-8", "replace"),
    2: lambda ended: ended.initial,
    3: lambda ended: ended.trailing,
    4: lambda ended: ended.details,
}


@MODULE.function()
def call_read(context: Context, handle: U32, part: U32, offset: U32, buffer: U32, capacity: U32) -> I32:
    ended = _calls_if_any(context).ended(handle)
    if ended is None:
        return I32(PENDING)
    read = _PARTS.get(part)
    found = read(ended) if read is not None else None
    if found is None:
        return I32(ABSENT)
    return _give(context, found, offset, buffer, capacity)


@MODULE.function()
def call_close(context: Context, handle: U32) -> I32:
    _calls_if_any(context).close(handle)
    return I32(0)

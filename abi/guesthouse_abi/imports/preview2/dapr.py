"""`dapr:guest`: calls to the sidecar, the log, time and configuration, as in `dapr_v1`. See abi/spec/dapr_guest.md.

How events come to a component that exports callbacks of `dapr:guest` is in `calling/dapr_guest.py`.
"""

from __future__ import annotations

import contextlib

from guesthouse_abi import pairs
from guesthouse_abi.calls import Code, call, calls_if_any, calls_of
from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, Denied, HostError, TooMuch
from guesthouse_abi.services import CallRequest, Calls, Ended

VERSION = "1."
_METHOD = 128  # bytes of a method's name
_METADATA = 16_384  # bytes of a call's metadata
_LINE = 1 << 16  # bytes of a line of the log, and of its fields
_WAITED = 1024  # calls that are waited for at once
_CODES = tuple(code.name.lower().replace("_", "-") for code in Code)
Metadata = list[tuple[str, str]]


class Call:
    """The resource `call`."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        with contextlib.suppress(BadHandle):  # it may have been closed by another interface
            calls_of(context).close(self.handle)


TYPES = Answered("dapr:guest/types", VERSION)
SIDECAR = Answered("dapr:guest/sidecar", VERSION, call=Call)
RUNTIME = Answered("dapr:guest/runtime", VERSION)
INTERFACES = (TYPES, SIDECAR, RUNTIME)


def _request(method: str, message: bytes, metadata: Metadata, milliseconds: int | None) -> CallRequest:
    """Raises `HostError` for what dapr_v1 answers with INVALID."""
    if len(method) > _METHOD:
        raise HostError(f"a method's name of {len(method)} characters; at most {_METHOD} are read")
    _check("metadata", metadata, _METADATA)
    return CallRequest(method, message, tuple(metadata), None if milliseconds is None else milliseconds / 1000)


def _check(what: str, found: Metadata, most: int) -> None:
    """Raises `HostError` for too many pairs, or too long ones."""
    if len(found) > pairs.MOST or sum(len(name.encode()) + len(value.encode()) for name, value in found) > most:
        raise HostError(f"{what} of more than {pairs.MOST} names, or of more than {most} bytes")


def _calls(context: Context) -> Calls:
    calls = calls_if_any(context)
    if calls is None:
        raise BadHandle("there is no open call")
    return calls


def _ended(context: Context, one: Call) -> Ended | None:
    """Raises `HostError`."""
    return _calls(context).ended(one.handle)


def _error(ended: Ended) -> tuple[str, str, bytes | None]:
    return _CODES[ended.code], ended.text, ended.details


@SIDECAR.function("[static]call.start")
def start(context: Context, method: str, request: bytes, metadata: Metadata, milliseconds: int | None) -> Call:
    asked = _request(method, request, metadata, milliseconds)
    try:
        started = calls_of(context).start(asked)
    except TooMuch as error:
        raise Fail(str(error)) from error
    if started.refusal:
        context.log("host", f"dapr:guest call.start: {method}: {started.refusal}")
    return Call(started.handle)


@SIDECAR.function("[method]call.status")
def status(context: Context, one: Call) -> str | None:
    ended = _ended(context, one)
    return None if ended is None else _CODES[ended.code]


@SIDECAR.function("[method]call.response")
def response(context: Context, one: Call) -> Case | None:
    ended = _ended(context, one)
    if ended is None:
        return None
    return Case("ok", ended.message or b"") if ended.code == Code.OK else Case("err", _error(ended))


@SIDECAR.function("[method]call.response-metadata")
def response_metadata(context: Context, one: Call) -> tuple[Metadata, Metadata] | None:
    ended = _ended(context, one)
    return None if ended is None else (_told(ended.initial), _told(ended.trailing))


def _told(encoded: bytes) -> Metadata:
    found = (pair for pair in pairs.each(encoded) if not pair[0].endswith(b"-bin"))
    return [(name.decode("utf-8", "replace"), value.decode("utf-8", "replace")) for name, value in found]


@SIDECAR.function("wait-any")
def wait_any(context: Context, some: list[Call], milliseconds: int | None) -> int | None:
    return _wait(context, some, False, milliseconds) if some else None


@SIDECAR.function("wait-all")
def wait_all(context: Context, some: list[Call], milliseconds: int | None) -> bool:
    return not some or _wait(context, some, True, milliseconds) is not None


def _wait(context: Context, some: list[Call], every: bool, milliseconds: int | None) -> int | None:
    if len(some) > _WAITED:
        raise HostError(f"{len(some)} calls are waited for at once; at most {_WAITED} may be")
    seconds = None if milliseconds is None else milliseconds / 1000
    return _calls(context).wait([one.handle for one in some], every, seconds)


@SIDECAR.function("invoke")
def invoke(context: Context, method: str, request: bytes, metadata: Metadata) -> bytes:
    asked = _request(method, request, metadata, None)
    try:
        ended = call(context, asked)
    except TooMuch as error:
        raise Fail((_CODES[Code.RESOURCE_EXHAUSTED], str(error), None)) from error
    except Denied as error:
        raise Fail((_CODES[Code.PERMISSION_DENIED], str(error), None)) from error
    if ended.refused:
        context.log("host", f"dapr:guest invoke: {method}: {ended.text}")
    if ended.code != Code.OK:
        raise Fail(_error(ended))
    return ended.message or b""


# ---- besides calls ----


@RUNTIME.function("log")
def log(context: Context, level: str, text: str, fields: Metadata) -> None:
    if len(text.encode()) > _LINE:
        raise HostError(f"a line of the log of more than {_LINE} bytes")
    _check("fields of a line of the log", fields, _LINE)
    context.log_entry(level, text, dict(fields))


@RUNTIME.function("time-left")
def time_left(context: Context) -> int:
    return int(context.deadline.remaining() * 1000)


@RUNTIME.function("config")
def config(context: Context, name: str) -> str | None:
    return next((value for key, value in context.grants.config if key == name), None)

"""The log: structlog over the standard library's logging, on standard error, as text for people or as JSON lines.

Everything goes through one handler: our own lines, guests' lines (logger `guesthouse.guest`, with `guest` and `stream`)
and what libraries log. A line that is logged while an event is answered has the event's trigger and trace. Text that
was given to `masking.hide` is in no line.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from guesthouse.event import Event, Handler, Reply
from guesthouse.masking import MARK, masked
from guesthouse.text import escaped
from guesthouse.tracecontext import trace_id
from guesthouse_abi.deadline import Deadline

_EVENT: ContextVar[Event] = ContextVar("event")
_SECRET_KEYS = frozenset({"token", "tokens", "password", "authorization", "dapr-api-token"})
_OUR_KEYS = frozenset({"level", "logger", "time", "trigger"})  # their values come from Guesthouse alone


class Format(str, enum.Enum):
    """How a line looks."""

    TEXT = "text"
    JSON = "json"


class Level(str, enum.Enum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


#: The format of the last call of `configure`.
in_use = Format.TEXT


def configure(format: Format = Format.TEXT, level: Level = Level.INFO, stream: TextIO | None = None) -> None:
    """Send the whole process's log to `stream` (standard error). May be called again, to change it."""
    global in_use
    in_use = format
    stream = sys.stderr if stream is None else stream
    threshold = logging.getLevelName(level.value.upper())
    before: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _of_event,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _without_secret_keys,
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=False,  # else a second call would not reach the loggers that were used before it
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(processors=_last(format, stream), foreign_pre_chain=before))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler.formatter, _Formatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    logging.captureWarnings(True)


class InLog:
    """An `event.Handler` before another one: lines that this thread logs meanwhile say which event they are of."""

    def __init__(self, following: Handler) -> None:
        self._following = following

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """See `event.Handler.dispatch`."""
        before = _EVENT.set(event)
        try:
            return self._following.dispatch(event, deadline)
        finally:
            _EVENT.reset(before)


class _Formatter(structlog.stdlib.ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        # A line of JSON has its secrets hidden before it is one (`_hidden`).
        return line if in_use is Format.JSON else masked(line)


def _hidden(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Hide secrets in values that come from outside. A token that is also one of our keys must not break the JSON."""
    return {key: _masked_in(value) if key not in _OUR_KEYS else value for key, value in line.items()}


def _masked_in(value: object) -> object:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(str(key)): _masked_in(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked_in(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value  # no text, so no secret; a number that equals one does not say that it does
    return masked(str(value))


def _last(format: Format, stream: TextIO) -> list[Processor]:
    """The last steps that make a line of what was logged."""
    strip: Processor = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if format is Format.JSON:
        return [strip, structlog.processors.format_exc_info, _hidden, structlog.processors.JSONRenderer()]
    colours = stream.isatty() and "NO_COLOR" not in os.environ
    formatter = structlog.dev.plain_traceback
    renderer = structlog.dev.ConsoleRenderer(
        colors=colours, timestamp_key="time", exception_formatter=formatter, sort_keys=False, pad_event_to=0
    )
    return [strip, _printable, renderer]


def _of_event(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Add which event the line is of. It is looked up only here, since most events have no line."""
    event = _EVENT.get(None)
    if event is not None:
        line.setdefault("trigger", event.trigger.value)
        if trace := trace_id(event.metadata):
            line["trace_id"] = trace
    return line


def _without_secret_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: MARK if key.lower() in _SECRET_KEYS else value for key, value in event.items()}


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape text of guests and callers: it must not steer a terminal, nor look like another line."""
    return {key: escaped(value) if isinstance(value, str) else value for key, value in event.items()}

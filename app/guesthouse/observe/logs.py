"""The log: structlog over the standard library's logging, on standard error, as text for people or as JSON lines.

Everything goes through one handler: our own events, guests' lines (logger `guesthouse.guest`, with `guest` and
`stream`) and what libraries log. What is logged while an event is handled says its trigger and trace. Nothing that was
given to `masking.hide` leaves it.
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
_OUR_WORDS = frozenset({"level", "logger", "time", "trigger"})  # keys whose values nobody else writes


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


#: What `configure` was last told.
in_use = Format.TEXT


def configure(format: Format = Format.TEXT, level: Level = Level.INFO, stream: TextIO | None = None) -> None:
    """Send the whole process's log to `stream` (standard error). May be called again."""
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
    """An `event.Handler` before another one: lines that are logged meanwhile, in this thread, say which event's."""

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
    """Hide secrets in values alone: a token may be a word of the line's own, and must not break its JSON."""
    return {key: _without_secrets_in(value) if key not in _OUR_WORDS else value for key, value in line.items()}


def _without_secrets_in(value: object) -> object:
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {masked(str(key)): _without_secrets_in(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets_in(inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value  # never a secret's text; a number that is one would tell nobody which
    return masked(str(value))


def _last(format: Format, stream: TextIO) -> list[Processor]:
    """How an event becomes a line."""
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
    """Which event the line is of. Looked up when there is a line: most events have none."""
    event = _EVENT.get(None)
    if event is not None:
        line.setdefault("trigger", event.trigger.value)
        if trace := trace_id(event.metadata):
            line["trace_id"] = trace
    return line


def _without_secret_keys(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: MARK if key.lower() in _SECRET_KEYS else value for key, value in event.items()}


def _printable(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """What a guest or a caller says must not steer the terminal it is shown on, nor look like another line."""
    return {key: escaped(value) if isinstance(value, str) else value for key, value in event.items()}

"""`wasi:logging`: lines of the log with a level. What a guest calls the context is a field of the line."""

from __future__ import annotations

from guesthouse_abi.canonical.functions import Answered
from guesthouse_abi.context import Context

LOGGING = Answered("wasi:logging/logging", "0.1.0-draft")
INTERFACES = (LOGGING,)

_TEXT = 4096  # characters of a line
_LEVELS = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "error": "error", "critical": "error"}


@LOGGING.function("log")
def log(context: Context, level: str, about: str, message: str) -> None:
    fields = {"context": about[:_TEXT]} if about else {}
    context.log_entry(_LEVELS[level], message[:_TEXT], fields)

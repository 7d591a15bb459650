"""The log for as long as a test looks at it or changes it: afterwards it is as it was before."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import structlog

from guesthouse.observe import logs


@contextlib.contextmanager
def own_log() -> Iterator[None]:
    """Whatever is done to the log here, it is as it was afterwards: its form, too, which commands ask for."""
    root = logging.getLogger()
    handlers, level, form = list(root.handlers), root.level, logs.in_use
    try:
        yield
    finally:
        root.handlers[:], root.level, logs.in_use = handlers, level, form
        logging.captureWarnings(False)
        structlog.reset_defaults()


@contextlib.contextmanager
def json_lines(level: logs.Level = logs.Level.INFO) -> Iterator[io.StringIO]:
    """What is logged from `level` on."""
    with own_log():
        made = io.StringIO()
        logs.configure(logs.Format.JSON, level, made)
        yield made

"""The whole log as JSON lines, as `--log-format json` writes it, for as long as a test looks at it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator

import structlog

from guesthouse.observe import logs


@contextlib.contextmanager
def json_lines(level: logs.Level) -> Iterator[io.StringIO]:
    """What is logged from `level` on; then the log is as it was."""
    root = logging.getLogger()
    handlers, before = list(root.handlers), root.level
    made = io.StringIO()
    logs.configure(logs.Format.JSON, level, made)
    yield made
    root.handlers[:], root.level = handlers, before
    logging.captureWarnings(False)
    structlog.reset_defaults()

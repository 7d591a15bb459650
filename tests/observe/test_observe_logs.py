"""The log: its two forms, its levels, and what must never be in it."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from guesthouse import masking
from guesthouse.observe import logs
from tests.support.logged import own_log


@pytest.fixture(autouse=True)
def _own_log(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(masking, "_HIDDEN", ())
    with own_log():
        logs.in_use = logs.Format.TEXT
        yield


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def guest(name="door"):
    return structlog.get_logger("guesthouse.guest").bind(guest=name)


def test_writes_a_line_of_json_for_each_event(stream):
    logs.configure(logs.Format.JSON, stream=stream)
    guest().info("hello", stream="stderr", n=1.5)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "hello",
        "guest": "door",
        "level": "info",
        "logger": "guesthouse.guest",
        "n": 1.5,
        "stream": "stderr",
    }


def test_writes_text_for_people_without_colour_in_a_pipe(stream):
    logs.configure(stream=stream)
    guest().warning("hello", stream="host")
    assert "\x1b" not in stream.getvalue()
    assert "[warning  ] hello [guesthouse.guest] guest=door stream=host\n" in stream.getvalue()


def test_has_colour_on_a_terminal_unless_it_is_refused(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    coloured, plain = Terminal(), Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    logs.configure(stream=coloured)
    guest().info("hello")
    monkeypatch.setenv("NO_COLOR", "")
    logs.configure(stream=plain)
    guest().info("hello")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()


def test_leaves_out_what_is_under_the_level(stream):
    logs.configure(logs.Format.JSON, logs.Level.WARNING, stream)
    guest().info("no")
    logging.getLogger("grpc").info("no")
    guest().warning("yes")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_may_be_configured_again(stream):
    logs.configure(stream=io.StringIO())
    logger = structlog.get_logger("guesthouse")
    logger.info("elsewhere")
    logs.configure(logs.Format.JSON, stream=stream)
    logger.info("here")
    assert json.loads(stream.getvalue())["event"] == "here"


def test_takes_what_libraries_log_and_warn_of(stream):
    logs.configure(logs.Format.JSON, stream=stream)
    logging.getLogger("grpc").warning("from %s", "outside")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("careful", stacklevel=1)
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["event"], first["logger"]) == ("from outside", "grpc")
    assert "careful" in second["event"]


def test_keeps_a_guests_text_on_its_line(stream):
    logs.configure(stream=stream)
    guest().info("one\n2026 [error] two \x1b[2J", stream="a\nb")
    assert stream.getvalue().count("\n") == 1
    assert "one\\n2026 [error] two \\x1b[2J" in stream.getvalue()


@pytest.mark.parametrize("format", logs.Format)
def test_never_writes_a_secret(stream, format):
    masking.hide(['hun"ter2', ""])
    logs.configure(format, stream=stream)
    guest().info('token hun"ter2', header={"x": 'hun"ter2'}, token="other", Authorization="Bearer x")
    try:
        raise ValueError('hun"ter2')
    except ValueError:
        structlog.get_logger("guesthouse").error("failed", exc_info=True)
    text = stream.getvalue()
    assert "ValueError" in text
    assert "ter2" not in text
    assert "other" not in text
    assert "Bearer" not in text
    assert "token ***" in text


@pytest.mark.parametrize("format", logs.Format)
def test_a_secret_that_another_one_begins_with_is_hidden_whole(stream, format):
    secrets = [f"secret{'-of-the-rotation' * count}" for count in range(20)] + ["tab\tnew\nline", "ümlaut"]
    for secret in secrets:
        masking.hide([secret])
    logs.configure(format, stream=stream)
    for secret in secrets:
        guest().info(f"<{secret}>")
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(secrets)
    assert all("<***>" in line for line in lines)


def test_a_secret_may_be_added_while_a_line_is_written(stream, monkeypatch):
    """By another thread, as a reload does it: the line is not lost."""

    class Line(str):
        def replace(self, old: str, new: str) -> Line:  # type: ignore[override]
            masking.hide([f"{old} and more"])
            return Line(str.replace(self, old, new))

    monkeypatch.setattr(structlog.stdlib.ProcessorFormatter, "format", lambda *_: Line("a secret in a line"))
    monkeypatch.setattr(logging, "raiseExceptions", False)
    masking.hide(["a secret", "another"])
    logs.configure(stream=stream)
    guest().info("a line")
    assert stream.getvalue() == "*** in a line\n"


@pytest.mark.parametrize("token", ["guest", "0", "level", '"', "{", "info", "event"])
def test_a_secret_that_is_a_word_of_the_line_does_not_break_its_json(stream, token):
    masking.hide([token])
    logs.configure(logs.Format.JSON, stream=stream)
    guest().info(f"<{token}>", count=10, more=[{token: f"<{token}>"}])
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"], line["event"], line["count"]) == ("info", "guesthouse.guest", "<***>", 10)
    assert line["more"] == [{"***": "<***>"}]


def test_what_a_test_does_to_the_log_ends_with_it():
    with own_log():
        logs.configure(logs.Format.JSON, stream=io.StringIO())
    assert logs.in_use is logs.Format.TEXT

"""The guest's log from a worker process: `guesthouse_abi.services.Log`. Every guest has it; nothing grants it.

=========  ==================  =======  ======
question   arguments           payload  answer
=========  ==================  =======  ======
line       [stream, text]      none     null
entry      [level, text,       none     null
           {name: value}]
=========  ==================  =======  ======
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from guesthouse.guests.capabilities.capability import Answer, Ask, AskedEvent, Capability, Question
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process.wire import WireError, items, pair, text
from guesthouse_abi.services import Log

_STREAMS = {"stdout", "stderr", "host"}
LEVELS = ("debug", "info", "warning", "error")
_FIELDS = 1024  # of one line
_LINE = 1 << 20  # characters of a line at most
_WORDS = 256  # characters that a worker adds where it cuts a line


class RemoteLog:
    """The remote half."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def line(self, stream: str, text: str) -> None:
        """See `services.Log`."""
        self._ask("line", [stream, text])

    def entry(self, level: str, text: str, fields: Mapping[str, str]) -> None:
        """See `services.Log`."""
        self._ask("entry", [level, text, dict(fields)])


class _Answers:
    """The answering half, for one event: it counts the text again against the guest's limit."""

    def __init__(self, log: Log, event: AskedEvent) -> None:
        self._log = log
        self._left = event.guest.limits.log + _WORDS

    def __call__(self, question: Question) -> Answer:
        if question.what == "entry":
            return self._entry(question)
        if question.what != "line":
            raise question.unknown()
        stream, line = (text(one, _LINE) for one in pair(question.arguments))
        if stream not in _STREAMS:
            raise WireError("a line of an unknown stream")
        self._left -= len(line) + 1
        if self._left >= 0:
            self._log.line(stream, line)
        return Answer()

    def _entry(self, question: Question) -> Answer:
        level, line, given = items(question.arguments, 3)
        if level not in LEVELS or not isinstance(given, dict) or len(given) > _FIELDS:
            raise WireError("a line of an unknown level, or with fields that are none")
        fields = {text(name, _LINE): text(value, _LINE) for name, value in given.items()}
        size = len(text(line, _LINE)) + 1 + sum(len(name) + len(value) + 2 for name, value in fields.items())
        self._left -= size
        if self._left >= 0:
            self._log.entry(level, line, fields)
        return Answer()


def _log_of(logs: Callable[[GuestConfig], Log], config: GuestConfig) -> Log:
    return logs(config)


CAPABILITY = Capability(__name__, "log", Log, _log_of, RemoteLog, _Answers)

"""The guest's log from a worker process: `guesthouse_abi.services.Log`. Every guest has it; nothing grants it.

=========  ==================  =======  ======
question   arguments           payload  answer
=========  ==================  =======  ======
line       [stream, text]      none     null
=========  ==================  =======  ======
"""

from __future__ import annotations

from collections.abc import Callable

from guesthouse.guests.capabilities.capability import Answer, Ask, AskedEvent, Capability, Question
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process.wire import WireError, pair, text
from guesthouse_abi.services import Log

_STREAMS = {"stdout", "stderr", "host"}
_LINE = 1 << 20  # characters of a line at most
_WORDS = 256  # characters that a worker adds where it cuts a line


class RemoteLog:
    """The remote half."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def line(self, stream: str, text: str) -> None:
        """See `services.Log`."""
        self._ask("line", [stream, text])


class _Answers:
    """The answering half, for one event: it counts the text again against the guest's limit."""

    def __init__(self, log: Log, event: AskedEvent) -> None:
        self._log = log
        self._left = event.guest.limits.log + _WORDS

    def __call__(self, question: Question) -> Answer:
        if question.what != "line":
            raise question.unknown()
        stream, line = (text(one, _LINE) for one in pair(question.arguments))
        if stream not in _STREAMS:
            raise WireError("a line of an unknown stream")
        self._left -= len(line) + 1
        if self._left >= 0:
            self._log.line(stream, line)
        return Answer()


def _log_of(logs: Callable[[GuestConfig], Log], config: GuestConfig) -> Log:
    return logs(config)


CAPABILITY = Capability(__name__, "log", Log, _log_of, RemoteLog, _Answers)

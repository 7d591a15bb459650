"""The server's answers to a worker's questions during one event.

Which guest may ask what is decided here and in the capabilities' answering halves, for a guest that broke out of its
engine would not ask the worker's own half. What calls take is measured here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from guesthouse.event import Event
from guesthouse.guests.capabilities.capability import ERRORS, Answerer, AskedEvent, Capability, question_of
from guesthouse.guests.guest import Guest
from guesthouse.guests.process.wire import Channel, Frame, Kind, TooLong, WireError
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.spent import NOTHING, Spent

_log = structlog.get_logger("guesthouse.workers")


class Answers:
    """What one event's questions are answered by."""

    def __init__(
        self,
        guest: Guest,
        event: Event,
        deadline: Deadline,
        channel: Channel,
        capabilities: Mapping[str, Capability[Any]],
    ) -> None:
        self._guest = guest
        self._event = event
        self._deadline = deadline
        self._channel = channel
        self._capabilities = capabilities
        self._asked: AskedEvent | None = None  # once something was asked, which most events do not
        self._answerers: dict[str, Answerer] = {}  # of the capabilities that were asked, by name

    @property
    def spent(self) -> Spent:
        """What the answers took so far."""
        return self._asked.spent if self._asked is not None else NOTHING

    def answer(self, frame: Frame) -> None:
        """Answer one question, or refuse it.

        Raises `WireError` where the protocol is broken, `Ended` where the worker is gone.
        """
        allowed = ERRORS
        try:
            name, question = question_of(frame)
            capability = self._capabilities.get(name)
            if capability is None:
                raise WireError(f"a question to an unknown capability ({name!a})")
            allowed = capability.all_errors
            value, payload = self._answerer(capability)(question)
            self._channel.send(Kind.ANSWER, value, payload)
        except TooLong as error:
            self._refuse("TooMuch", f"the answer does not fit between host and worker: {error}")
        except WireError:
            raise
        except Exception as error:
            kind = next((kind.__name__ for kind in type(error).__mro__ if kind in allowed), "")
            if not kind:
                _log.exception("a worker's question could not be answered", guest=self._guest.name)
            self._refuse(kind or "HostFunctionError", str(error) if kind else "a host function failed")

    def close(self) -> None:
        """The event is over."""
        if self._asked is not None:
            self._asked.ending.close()

    def _answerer(self, capability: Capability[Any]) -> Answerer:
        """What answers questions to a capability. Raises `Denied` where the guest has none of it."""
        if self._asked is None:
            self._asked = AskedEvent(self._guest, self._event, self._deadline)
        if capability.name not in self._answerers:
            service = self._guest.services[capability.protocol]
            self._answerers[capability.name] = capability.answerer(service, self._asked)
        return self._answerers[capability.name]

    def _refuse(self, error: str, text: str) -> None:
        self._channel.send(Kind.REFUSAL, {"error": error, "text": text})

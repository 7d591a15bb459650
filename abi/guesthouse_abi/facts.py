"""What host functions may tell a guest of its event. No event is made here, and nothing of transports is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class ActorFacts(Protocol):
    """What only an actor's events have."""

    @property
    def id(self) -> str: ...

    @property
    def method(self) -> str:
        """The method, the timer or the reminder."""

    @property
    def callback(self) -> str:
        """What a timer was registered with."""


class EventFacts(Protocol):
    """An event, as far as a guest may read it. What each of them means is in abi/spec/dapr_v1.md, section 3.1."""

    @property
    def trigger(self) -> str:
        """`invoke`, `topic`, `binding`, `job`, `operation`; `actor`, `timer`, `reminder`, `activate`, `deactivate`."""

    @property
    def name(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    @property
    def content_type(self) -> str: ...

    @property
    def verb(self) -> str: ...

    @property
    def query(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def metadata(self) -> Mapping[str, str]:
        """By names in lower case."""

    @property
    def actor(self) -> ActorFacts | None:
        """None for the events of other triggers."""


@dataclass(frozen=True, slots=True)
class PlainFacts:
    """Facts by themselves, for embedders and tests."""

    trigger: str = ""
    name: str = ""
    body: bytes = b""
    content_type: str = ""
    verb: str = ""
    query: str = ""
    path: str = ""
    id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    actor: ActorFacts | None = None


#: Where a guest is called without an event.
NO_EVENT = PlainFacts()

"""Which actor an event is for, as the manifest writes it: `Cart/{data.customer.id}`.

`{data.…}` is a value of the event's body, which must be JSON, found by names of objects; `{metadata.NAME}` is a piece
of the event's metadata. All else is taken as it is written. A manifest's text becomes an `Address` once, when it is
read, and an `Address` names an actor for each event.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from guesthouse.event import Event, Failure, Reason

#: A type's or an id's name; others a sidecar refuses.
ACTOR_NAME = re.compile(r"[^/\\#?\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
LONGEST_ID = 255  # bytes
_PLACE = re.compile(r"\{([^{}]*)\}")
_PATH = re.compile(r"data(?:\.[^.{}]+)+|metadata\.[^{}]+")
_EXAMPLE = "as in Cart/{data.customer.id} or Cart/{metadata.partitionkey}"


class AddressFault(Exception):
    """What is wrong with the text of an address: `what` continues the text, `remedy` says what to write."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


@dataclass(frozen=True, slots=True)
class Address:
    """Names an actor by an event. `parts` make its id: texts, and in turn with them what stands between braces."""

    type: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises `AddressFault`."""
        kind, slash, id = text.partition("/")
        if not slash or not id:
            raise AddressFault("names no actor", f"write TYPE/ID, {_EXAMPLE}")
        if not ACTOR_NAME.fullmatch(kind) or "{" in kind or "}" in kind:
            raise AddressFault("has no type of actors before the /", f"write the type's name as it is, {_EXAMPLE}")
        parts = _PLACE.split(id)
        for text in parts[::2]:
            if "{" in text or "}" in text:
                raise AddressFault("has a brace without its other half", f"write {{data.NAME}}, {_EXAMPLE}")
            if text and not ACTOR_NAME.fullmatch(text):
                raise AddressFault(
                    "has / \\ # ? or a control character in its id", "an id of an actor has none of them"
                )
        for place in parts[1::2]:
            if not _PATH.fullmatch(place):
                raise AddressFault(f"has {{{place}}}, which stands for nothing", f"write {{data.NAME}}, {_EXAMPLE}")
        return cls(kind, tuple(parts))

    def id_for(self, event: Event) -> str:
        """The id of the actor that the event is for. Raises `Failure` (`MALFORMED`)."""
        body: object = None
        if any(place.startswith("data.") for place in self.parts[1::2]):
            body = _json(event)
        filled = list(self.parts)
        for at in range(1, len(filled), 2):
            filled[at] = _value(filled[at], event, body)
        id = "".join(filled)
        if not ACTOR_NAME.fullmatch(id) or len(id.encode()) > LONGEST_ID:
            raise Failure(
                Reason.MALFORMED,
                f"the event names the actor {id[:80]!a}: an id has up to {LONGEST_ID} bytes, and none of / \\ # ? or "
                "control characters",
            )
        return id


def _json(event: Event) -> object:
    try:
        return json.loads(event.body)
    except (ValueError, RecursionError):
        raise Failure(Reason.MALFORMED, "the body is not JSON, and the key of its actor is to be found there") from None


def _value(place: str, event: Event, body: object) -> str:
    kind, _, path = place.partition(".")
    if kind == "metadata":
        found = event.metadata.get(path.lower(), "")
        if not found:
            raise Failure(Reason.MALFORMED, f"the event has no metadata {path!a}, which names its actor")
        return found
    value = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise Failure(Reason.MALFORMED, f"the body has no text or whole number at {place!a}, which names its actor")
    return str(value)

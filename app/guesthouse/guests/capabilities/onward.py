"""What stands behind a guest that is a filter: `guesthouse_abi.services.Onward`. Guests called as "http-wasm" have it.

Which event has something behind it is decided by the dispatcher (`Event.onward`). What a filter may not change of a
request is kept here: metadata of Dapr's, of gRPC's and of the host's own go on as they came, also past a filter.

========  ======================================================  ========  =====================================
question  arguments                                               payload   answer
========  ======================================================  ========  =====================================
answer    {"verb", "name", "query", "headers": [[name, value]]}   the body  null where what stands behind failed;
                                                                            else {"status", "headers"} and the body
========  ======================================================  ========  =====================================
"""

from __future__ import annotations

import dataclasses

from guesthouse.event import Event
from guesthouse.guests.capabilities.capability import Answer, Ask, AskedEvent, Capability, Question
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process.wire import WireError, items, member, pair, text
from guesthouse.tracecontext import PARENT, STATE
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.facts import EventFacts
from guesthouse_abi.services import HttpRequest, HttpResponse, Onward
from guesthouse_abi.spent import Spent

NAME = "next"
_CONVENTION = "http-wasm"
_HEADERS = 4096  # of a request
_TEXT = 1 << 20  # characters of a name or a value
_CONTENT_TYPE = "content-type"
_NOTHING = HttpResponse(404)
_OK = 200


class _Onward:
    """The service, the same for all guests."""

    def answer(self, event: EventFacts, request: HttpRequest, deadline: Deadline, spent: Spent) -> HttpResponse | None:
        """See `services.Onward`."""
        if not isinstance(event, Event) or event.onward is None:
            return _NOTHING
        with spent.timed(NAME, event.name):
            reply = event.onward(_changed(event, request), deadline)
        if reply is None:
            return None
        kind = ((_CONTENT_TYPE, reply.content_type),) if reply.content_type else ()
        status = reply.answer.status if reply.answer is not None else _OK
        return HttpResponse(status, (*kind, *reply.headers), reply.body)


def _changed(event: Event, request: HttpRequest) -> Event:
    """The event with what a filter may change of it."""
    metadata = {name: value for name, value in event.metadata.items() if _kept(name)}
    content_type = ""
    for name, value in request.headers:
        if name == _CONTENT_TYPE:
            content_type = value
        elif not _kept(name):
            metadata[name] = f"{metadata[name]}, {value}" if name in metadata else value
    return dataclasses.replace(
        event,
        name=request.name,
        verb=request.verb,
        query=request.query,
        body=request.body,
        content_type=content_type,
        metadata=metadata,
        onward=None,
    )


def _kept(name: str) -> bool:
    return name in (PARENT, STATE) or name.startswith(("dapr-", "grpc-", "guesthouse-"))


class RemoteOnward:
    """The remote half."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def answer(self, event: EventFacts, request: HttpRequest, deadline: Deadline, spent: Spent) -> HttpResponse | None:
        """See `services.Onward`."""
        arguments = {
            "verb": request.verb,
            "name": request.name,
            "query": request.query,
            "headers": [list(one) for one in request.headers],
        }
        answer = self._ask("answer", arguments, [request.body])
        if answer.head is None:
            return None
        headers = tuple((name, value) for name, value in answer.head["headers"])
        return HttpResponse(answer.head["status"], headers, answer.payload())


class _Answers:
    """The answering half, for one event, which passes its request on once."""

    def __init__(self, onward: Onward, event: AskedEvent) -> None:
        self._onward = onward
        self._event = event
        self._asked = False

    def __call__(self, question: Question) -> Answer:
        if question.what != "answer":
            raise question.unknown()
        if self._asked:
            raise WireError("a request that is passed on again")
        self._asked = True
        event = self._event
        response = self._onward.answer(event.event, _request(question), event.deadline, event.spent)
        if response is None:
            return Answer()
        head = {"status": response.status, "headers": [list(one) for one in response.headers]}
        return Answer(head, [response.body])


def _request(question: Question) -> HttpRequest:
    verb, name, query = (text(member(question.arguments, key), _TEXT) for key in ("verb", "name", "query"))
    headers = [pair(one) for one in items(member(question.arguments, "headers"), _HEADERS)]
    pairs = tuple((text(name, _TEXT), text(value, _TEXT)) for name, value in headers)
    if any(name != name.lower() for name, _ in pairs):
        raise WireError("a header whose name is not in lower case")
    return HttpRequest(verb, name, query, pairs, question.payload())


def _of(nothing: object, config: GuestConfig) -> Onward | None:
    return _Onward() if config.calling == _CONVENTION else None


CAPABILITY = Capability(__name__, NAME, Onward, _of, RemoteOnward, _Answers)

"""Tests of guests: a file has one event, the calls that it leads to, and what must come of it.

    [event]
    trigger = "invoke"                 # the default
    name = "cart"
    query = "id=1"
    body = { json = { add = "tea" } }  # or a text, or { base64 = … }, { file = … }

    [[call]]                           # and `order`, as in `script.py`
    method = "GetState"
    request = { key = "cart-1" }

    [reply]                            # what is not named may be anything
    status = 201
    body = "made"
    headers = { location = "/cart/1" }

    # or, where the event must fail:
    [failure]
    reason = "TRY_AGAIN"
    text = "no broker"                 # is in the failure's text

An actor's turn names the actor, and may say what its state is before it and after it:

    [event]
    trigger = "actor"                  # or timer, reminder, activate, deactivate
    name = "Cart"                      # the actor's type
    actor = "7"                        # its id
    method = "add"                     # or the timer's or the reminder's name

    [state]
    count = { json = 1 }

    [state_after]                      # all that it is then
    count = { json = 2 }

Without `[failure]` the event must be answered. Calls that come otherwise than in the file fail the test too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from guesthouse.event import (
    ACTOR_TRIGGERS,
    Actor,
    Cost,
    Destination,
    Event,
    Failure,
    Handler,
    Reason,
    Reply,
    Trigger,
)
from guesthouse.faults import fault
from guesthouse.manifest.text import shown
from guesthouse.scripted.actors import ActorMemory, State, actor_in
from guesthouse.scripted.messages import same_json
from guesthouse.scripted.script import Script, ScriptedSidecar, script_in
from guesthouse.scripted.tables import ScriptFaults, Table, in_words, read
from guesthouse_abi.deadline import Deadline

FOLDER = "tests"


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes that a reply or a value must have; with `json`, spaces and the order of keys do not count."""

    data: bytes
    json: bool

    def is_in(self, data: bytes) -> bool:
        """Whether it is these bytes."""
        return data == self.data or (self.json and same_json(data, self.data))


@dataclass(frozen=True, slots=True)
class WantedReply:
    """What a reply must be; None: anything."""

    body: Body | None = None
    content_type: str | None = None
    status: int | None = None
    text: str = ""  # of a status from 300 on
    headers: tuple[tuple[str, str], ...] = ()
    stop: bool | None = None  # of a timer or a reminder

    def problems(self, reply: Reply) -> Iterator[str]:
        """Where a reply is another one."""
        status = reply.answer.status if reply.answer is not None else 200
        text = reply.answer.text if reply.answer is not None else ""
        if self.status is not None and status != self.status:
            yield f"the status is {status}, not {self.status}" + (f": {text}" if text else "")
        elif self.status is None and status >= 300:
            yield f"the status is {status}: {text}"
        if self.text not in text:
            yield f"the status's text is {shown(text)}, without {shown(self.text)}"
        if self.content_type is not None and reply.content_type != self.content_type:
            yield f"the content type is {shown(reply.content_type)}, not {shown(self.content_type)}"
        headers = dict(reply.headers)
        for name, value in self.headers:
            if headers.get(name) != value:
                yield f"the header {name} is {shown(headers.get(name, ''))}, not {shown(value)}"
        if self.stop is not None and reply.stop is not self.stop:
            yield "it goes on: the outcome is not STOP" if self.stop else "it is stopped: the outcome is STOP"
        if self.body is not None and not self.body.is_in(reply.body):
            yield f"the body is {in_words(reply.body)}, not {in_words(self.body.data)}"


@dataclass(frozen=True, slots=True)
class WantedFailure:
    """What a failure must be; "" and None: anything."""

    reason: Reason | None = None
    text: str = ""
    retry_after: float | None = None

    def problems(self, failure: Failure) -> Iterator[str]:
        """Where a failure is another one."""
        if self.reason is not None and failure.reason is not self.reason:
            yield f"the reason is {failure.reason.value}, not {self.reason.value}: {failure.text}"
        if self.text not in failure.text:
            yield f"the failure's text is {shown(failure.text)}, without {shown(self.text)}"
        if self.retry_after is not None and failure.retry_after != self.retry_after:
            yield f"it may be sent again after {failure.retry_after} seconds, not {self.retry_after}"


@dataclass(frozen=True, slots=True)
class Case:
    """One test."""

    name: str
    file: Path
    event: Event
    script: Script
    wanted: WantedReply | WantedFailure
    state: State = field(default_factory=dict)  # of an actor, before its turn
    state_after: Mapping[str, Body] | None = None  # None: anything


@dataclass(slots=True)
class Outcome:
    """How a test ended; without problems it passed."""

    case: Case
    problems: list[str]
    seconds: float
    cost: Cost = field(default_factory=Cost)


def cases_in(folder: Path) -> list[Case]:
    """The tests of a guest's folder, by the names of their files. Raises `ScriptFaults` with all that is wrong."""
    files = sorted((folder / FOLDER).glob("*.toml"))
    if not files:
        where = str(folder / FOLDER)
        raise ScriptFaults(fault("there are no tests (*.toml)", where, "write one (docs/guests.md shows how)"))
    cases, faults = [], []
    for file in files:
        try:
            cases.append(read_case(file))
        except ScriptFaults as error:  # noqa: PERF203 (the faults of all files)
            faults += error.faults
    if faults:
        raise ScriptFaults(faults)
    return cases


def read_case(file: Path) -> Case:
    """The test in a file. Raises `ScriptFaults`."""
    document = read(file)
    table = document.table("event")
    if table is None:
        document.refuse("event is missing", "write [event] with its name", "event")
    event = _event(table)
    script = script_in(document)
    reply, failure = document.table("reply"), document.table("failure")
    if reply is not None and failure is not None:
        document.refuse("an event has a reply or fails, not both", "leave one out", "failure")
    state, after = document.table("state"), document.table("state_after")
    for key, found in (("state", state), ("state_after", after)):
        if found is not None and event.actor is None:
            document.refuse("only an actor has a state", 'write trigger = "actor", or leave it out', key)
    document.end()
    wanted = _failure(failure) if failure is not None else _reply(reply) if reply is not None else WantedReply()
    before = {key: state.bytes_of(key) or b"" for key in state.names()} if state is not None else {}
    return Case(file.stem, file, event, script, wanted, before, _values(after))


def _values(table: Table | None) -> Mapping[str, Body] | None:
    if table is None:
        return None
    return {key: body for key in table.names() if (body := _body(table, key)) is not None}


def _body(table: Table, key: str) -> Body | None:
    written, data = table.take(key), table.bytes_of(key)
    return None if data is None else Body(data, isinstance(written, dict) and "json" in written)


def _event(table: Table) -> Event:
    trigger = Trigger(table.choice("trigger", [one.value for one in Trigger], Trigger.INVOKE.value))
    remedy = "write the method, the binding, PUBSUB/TOPIC, the job, the operation or the actor's type"
    name = table.text("name", remedy)
    if trigger is Trigger.TOPIC and not all(name.partition("/")):
        table.refuse(f"{shown(name)} names no topic of a component", "write PUBSUB/TOPIC, as in pubsub/photos", "name")
    actor = _actor(table, trigger, name) if trigger in ACTOR_TRIGGERS else None
    event = Event(
        trigger,
        name,
        table.bytes_of("body") or b"",
        table.text("content_type"),
        table.text("verb") or ("POST" if trigger is Trigger.INVOKE else ""),
        table.text("query"),
        table.text("path"),
        table.text("id"),
        {key.lower(): value for key, value in table.texts("metadata").items()},
        actor=actor,
    )
    table.end()
    return event


def _actor(table: Table, trigger: Trigger, kind: str) -> Actor:
    id = table.text("actor", "write the actor's id")
    named = trigger not in (Trigger.ACTIVATE, Trigger.DEACTIVATE)
    method = table.text("method", "write which method, timer or reminder it is") if named else ""
    try:
        return actor_in(f"{kind}/{id}", method, table.text("callback"))[1]
    except ValueError as error:
        table.refuse(str(error), "leave out / \\ # ? and control characters, as in Cart and 7", "actor")


def _reply(table: Table) -> WantedReply:
    body = _body(table, "body")
    status = table.take("status")
    if status is not None and not (isinstance(status, int) and 200 <= status <= 599):
        table.refuse(f"{shown(status)} is no status", "write a number from 200 to 599", "status")
    content_type = table.text("content_type") if table.has("content_type") else None
    headers = tuple((name.lower(), value) for name, value in table.texts("headers").items())
    stop = table.take("stop")
    if not isinstance(stop, bool | None):
        table.refuse(f"{shown(stop)} is not true or false", "write true or false", "stop")
    wanted = WantedReply(body, content_type, status, table.text("text"), headers, stop)
    table.end()
    return wanted


def _failure(table: Table) -> WantedFailure:
    reasons = [one.value for one in Reason]
    reason = Reason(table.choice("reason", reasons, "")) if table.has("reason") else None
    table.take("reason")
    after = table.take("retry_after")
    if after is not None and (isinstance(after, bool) or not isinstance(after, int | float)):
        table.refuse(f"{shown(after)} is no number of seconds", "write a number", "retry_after")
    wanted = WantedFailure(reason, table.text("text"), after)
    table.end()
    return wanted


class NoOutputs:
    """`event.Outputs` that nobody gets: a test looks at the reply itself."""

    def deliver(self, reply: Reply, event: Event, destination: Destination, caller: Deadline) -> None:
        """See `event.Outputs`."""


def run(case: Case, handler: Handler, sidecar: ScriptedSidecar, memory: ActorMemory) -> Outcome:
    """Run one test, where `sidecar`, and `memory` before it, answer the calls of the handler's guests."""
    sidecar.follow(case.script)
    event = case.event
    if event.actor is not None:
        event = replace(event, actor=replace(event.actor))
        memory.turn(event, case.state)
    began = time.perf_counter()
    problems: Sequence[str]
    try:
        reply = handler.dispatch(event)
    except Failure as failure:
        cost = failure.cost or Cost()
        if isinstance(case.wanted, WantedFailure):
            problems = list(case.wanted.problems(failure))
        else:
            problems = [f"it failed with {failure.reason.value}: {failure}"]
    else:
        cost = reply.cost
        if isinstance(case.wanted, WantedFailure):
            problems = [f"it was answered with {in_words(reply.body)}, and did not fail"]
        else:
            problems = list(case.wanted.problems(reply))
    if case.state_after is not None:
        problems = [*problems, *_differences(memory.values, case.state_after)]
    return Outcome(case, [*problems, *sidecar.faults()], time.perf_counter() - began, cost)


def _differences(state: State, wanted: Mapping[str, Body]) -> Iterator[str]:
    """Where an actor's state is another one."""
    for key in sorted({*state, *wanted}):
        if key not in state:
            yield f"the state has no {shown(key)}, which is to be {in_words(wanted[key].data)}"
        elif key not in wanted:
            yield f"the state has {shown(key)} too: {in_words(state[key])}"
        elif not wanted[key].is_in(state[key]):
            yield f"the state {shown(key)} is {in_words(state[key])}, not {in_words(wanted[key].data)}"

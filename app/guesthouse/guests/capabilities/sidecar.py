"""The sidecar's API for guests: `guesthouse_abi.services.Sidecar`. What it means to guests: abi/spec/dapr_v1.md.

A guest without the table `dapr` in the manifest has an empty grant: each call ends with PERMISSION_DENIED. Calls are
looked at and made in the server alone, from what `sidecar.SidecarApi` has read in a request.

========  ==================================================  ===========  ==========================================
question  arguments                                           payload      answer
========  ==================================================  ===========  ==========================================
start     {"method", "metadata": [[name, value]], "seconds"}  the message  [handle, why it was refused]
wait      {"handles", "every", "seconds"}                     none         a position or a count; null: not in time
ended     handle                                              none         null; or {"code", "text", "refused",
                                                                           "sizes"}, and message, initial and trailing
                                                                           metadata and details as payload
close     handle                                              none         null
========  ==================================================  ===========  ==========================================
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guesthouse.event import Event
from guesthouse.guests.capabilities.capability import Answer, Ask, AskedEvent, Capability, Question
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process.wire import WireError, items, member, number, pair, text
from guesthouse.sidecar import OWN_ACTOR, NotMade, SidecarApi, TurnCalls, Use, refused_metadata
from guesthouse.system import threads
from guesthouse.tracecontext import context_of
from guesthouse_abi.calls import CAPABILITY as NAME
from guesthouse_abi.calls import CallTable, Code, held_for
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadHandle, TooMuch
from guesthouse_abi.facts import EventFacts
from guesthouse_abi.services import Account, CallRequest, Calls, Ended, Sidecar, Started
from guesthouse_abi.spent import Spent

#: The imports by which guests make calls.
CALLS = (("dapr_v1", "call_start"), ("wapc", "__host_call"), ("extism:host/user", "dapr_call"))
#: The interfaces by which components do, and which methods; those of `dapr:guest/sidecar` are the guest's to name.
INTERFACES: Mapping[str, tuple[str, ...]] = {
    "dapr:guest/sidecar": (),
    "wasi:http/outgoing-handler": ("InvokeService",),
    "wasi:keyvalue/atomics": ("GetState", "SaveState"),
    "wasi:keyvalue/batch": ("GetBulkState", "SaveState", "DeleteBulkState"),
    "wasi:keyvalue/store": ("GetState", "SaveState", "DeleteState"),
    "wasi:messaging/producer": ("PublishEvent",),
    "wasmcloud:messaging/consumer": ("PublishEvent",),
}
_INVOKE, _INVOKE_ACTOR = "InvokeService", "InvokeActor"
_ITSELF = (
    "the actor would call itself and wait for the end of its own turn: "
    "write reentrant = true in its [[actor]], or do without the call"
)
DEPTH = "guesthouse-depth"  # metadata of an invocation: how many guests have invoked one another before it

_LATER = 0.02  # seconds that a call without a time of its own may take after its event's end, which then is the reason
_METHOD = 128  # characters
_METADATA = 1024  # pairs
_TEXT = 16384  # characters of a pair
_WAITED = 1024  # handles that are waited for at once
_U32 = 0xFFFFFFFF  # a guest may ask for any handle


def _names(what: str, form: str) -> Any:
    """A field with names of this form, such as `STORE/KEY` or `JOB`."""
    metadata = {"description": f"{what}, as `{form}`", "check": functools.partial(_misnamed, form)}
    return field(default=(), metadata=metadata)


def _misnamed(form: str, name: str) -> tuple[str, str] | None:
    """What is wrong with a name of a grant, and what to write; see `manifest.grant_tables`."""
    if "*" in name[:-1]:
        return "has a * before its end", "write * at the end alone, for all names that begin so"
    owner, slash, _ = form.partition("/")
    if slash and not all(name.partition("/")):
        return f"is no {form}", f"write {form}, or {owner}/* for all of that {owner}"
    return None


@dataclass(frozen=True)
class SidecarGrant:
    """What the guest may do by calls to the sidecar; see [guests.md](guests.md). Names are compared as they are; one
    that ends with `*` stands for all that begin so."""

    read_state: tuple[str, ...] = _names("state that it may read", "STORE/KEY")
    write_state: tuple[str, ...] = _names("state that it may save and delete", "STORE/KEY")
    query_state: tuple[str, ...] = _names("stores that it may query, and find other applications' state in", "STORE")
    publish: tuple[str, ...] = _names("topics that it may publish to", "PUBSUB/TOPIC")
    invoke: tuple[str, ...] = _names("methods of other applications that it may invoke", "APP/METHOD")
    bindings: tuple[str, ...] = _names("output bindings that it may use", "BINDING/OPERATION")
    secrets: tuple[str, ...] = _names("secrets that it may read", "STORE/NAME")
    configuration: tuple[str, ...] = _names("configuration that it may read", "STORE/KEY")
    locks: tuple[str, ...] = _names("locks that it may take and give back", "STORE/RESOURCE")
    encrypt: tuple[str, ...] = _names("keys that it may encrypt and verify with", "COMPONENT/KEY")
    decrypt: tuple[str, ...] = _names("keys that it may decrypt and sign with", "COMPONENT/KEY")
    conversation: tuple[str, ...] = _names("language models that it may use", "COMPONENT")
    read_jobs: tuple[str, ...] = _names("jobs that it may look at", "JOB")
    write_jobs: tuple[str, ...] = _names("jobs that it may schedule and delete", "JOB")
    actors: tuple[str, ...] = _names("actors that it may invoke", "TYPE/ID")
    workflows: tuple[str, ...] = _names("workflows that it may start", "WORKFLOW")
    workflow_instances: tuple[str, ...] = _names("workflows under way that it may look at and steer", "INSTANCE")
    calls: int = field(default=64, metadata={"description": "calls of one event at most", "ge": 1, "le": 10_000})
    open: int = field(default=16, metadata={"description": "calls that are open at once", "ge": 1, "le": 1000})
    depth: int = field(
        default=8,
        metadata={"description": "invocations one within the other, where guests invoke guests", "ge": 1, "le": 100},
    )

    @staticmethod
    def forms() -> dict[str, str]:
        """How the names of each key are written, such as `STORE/KEY`."""
        checks = {one.name: one.metadata.get("check") for one in dataclasses.fields(SidecarGrant)}
        return {name: check.args[0] for name, check in checks.items() if check is not None}

    def lines(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """What is granted, by key."""
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if value and isinstance(value, tuple):
                yield one.name, value


def calls_by(imports: Iterable[tuple[str, str]]) -> str:
    """By which imports, of these (module, name), calls are made, in words; empty for none."""
    found = set(imports)
    return " and ".join([*(".".join(one) for one in CALLS if one in found), *_interfaces(found)])


def methods_of(imports: Iterable[tuple[str, str]]) -> list[str]:
    """The methods of the sidecar that the interfaces behind these imports call."""
    return sorted({method for interface in _interfaces(imports) for method in INTERFACES[interface]})


def _interfaces(imports: Iterable[tuple[str, str]]) -> list[str]:
    found = {module.partition("@")[0] for module, _ in imports}
    return [interface for interface in INTERFACES if interface in found]


_WORDS = {
    "read_state": "read the state",
    "write_state": "write the state",
    "query_state": "query the state of",
    "publish": "publish to",
    "invoke": "invoke",
    "bindings": "use the output binding",
    "secrets": "read the secret",
    "configuration": "read the configuration",
    "locks": "take the lock",
    "encrypt": "encrypt with",
    "decrypt": "decrypt with",
    "conversation": "converse with",
    "read_jobs": "look at the job",
    "write_jobs": "schedule or delete the job",
    "actors": "invoke the actor",
    "workflows": "start the workflow",
    "workflow_instances": "use the workflow under way",
}


def _allows(patterns: Iterable[str], use: Use) -> bool:
    for pattern in patterns:
        if pattern.endswith("*"):
            if use.name.startswith(pattern[:-1]):
                return True
        elif pattern == use.name and not use.every:
            return True
    return False


class _GuestSidecar:
    """The service of one guest: the API, within the guest's grant."""

    def __init__(self, api: SidecarApi | None, guest: str, grant: SidecarGrant) -> None:
        self._api = api
        self._guest = guest
        self._grant = grant

    def calls(self, event: EventFacts, deadline: Deadline, spent: Spent, account: Account) -> Calls:
        """See `services.Sidecar`."""
        trace = tuple(context_of(event.metadata).items())
        turn = event.actor.state if isinstance(event, Event) and event.actor is not None else None

        def begin(request: CallRequest, seconds: float, done: Callable[[Ended], None]) -> Callable[[], object]:
            threads.note_wait()
            if request.seconds is None:
                seconds += _LATER
            try:
                if self._api is None:
                    raise NotMade(Code.UNAVAILABLE, "there is no sidecar here")
                message, metadata = self._checked(self._api, request, event, turn)
                metadata = (*metadata, *trace)
                if turn is None:
                    return self._api.begin(request.method, message, metadata, seconds, done)
                return turn.begin(self._api, request.method, message, metadata, seconds, account, done)
            except NotMade as refusal:
                done(Ended(refusal.code, str(refusal), refused=True))
                return _nothing

        return CallTable(begin, self._grant.open, self._grant.calls, deadline, spent, account)

    def _checked(
        self, api: SidecarApi, request: CallRequest, event: EventFacts, turn: TurnCalls | None
    ) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        """The message that is sent, and its metadata. Raises `NotMade` for what the guest may not do."""
        method, added = request.method, {}
        if method in (_INVOKE, _INVOKE_ACTOR):
            added[DEPTH] = str(1 + _depth(event))
        if method == _INVOKE_ACTOR:  # to an actor, the metadata of the call itself do not go
            added.update(context_of(event.metadata))
        handed_on = turn.handed_on if turn is not None and method == _INVOKE_ACTOR else {}
        checked = api.checked(method, request.message, {**added, **handed_on})
        for name, value in request.metadata:
            if why := refused_metadata(name, value):
                raise NotMade(Code.INVALID_ARGUMENT, why)
        own = None if event.actor is None else f"{event.name}/{event.actor.id}"
        for use in checked.uses:
            if use.grant == OWN_ACTOR:
                _check_own(method, use.name, own)
                if turn is None:
                    raise NotMade(Code.UNAVAILABLE, "nothing here keeps the state of actors")
            elif not _allows(getattr(self._grant, use.grant), use):
                raise NotMade(Code.PERMISSION_DENIED, self._denied(use))
            elif method == _INVOKE_ACTOR and use.name == own and not handed_on:
                raise NotMade(Code.FAILED_PRECONDITION, _ITSELF)
        if added:
            self._check_depth(event)
        if method == _INVOKE:
            return checked.message, (*request.metadata, *added.items())
        return checked.message, request.metadata

    def _check_depth(self, event: EventFacts) -> None:
        """Raise `NotMade` where an invocation of this event's would be too deep."""
        depth = _depth(event)
        if depth >= self._grant.depth:
            text = f"this event is invocation {depth} of a chain; at most {self._grant.depth} go one within the other"
            raise NotMade(Code.FAILED_PRECONDITION, f"{text} (depth in [guests.{self._guest}.dapr])")

    def _denied(self, use: Use) -> str:
        wanted = f"{use.name}*" if use.every else use.name
        return (
            f"the guest may not {_WORDS[use.grant]} {wanted[:200]!a}: "
            f"write {use.grant} = [{json.dumps(wanted[:200])}] in [guests.{self._guest}.dapr]"
        )


def _nothing() -> None:
    """Cancels a call that was not made."""


def _depth(event: EventFacts) -> int:
    """How many invocations one within the other have led to this event."""
    written = event.metadata.get(DEPTH, "")
    return int(written) if written.isascii() and written.isdigit() and len(written) < 4 else 0


def _check_own(method: str, named: str, own: str | None) -> None:
    """Raise `NotMade` for a call that is an actor's own, where that is not the actor `own` whose turn it is."""
    if own is None:
        why = "this event is no actor's turn"
    elif named != own:
        why = f"this is the turn of {own[:200]!a} and not of {named[:200]!a}"
    else:
        return
    raise NotMade(
        Code.PERMISSION_DENIED,
        f"{method} is for an actor's own turns alone, and {why}: have the guest invoke that actor (grant actors), "
        "whose own guest does it",
    )


# ---- from a worker process ----


class RemoteSidecar:
    """The remote half."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def calls(self, event: EventFacts, deadline: Deadline, spent: Spent, account: Account) -> Calls:
        """See `services.Sidecar`."""
        return _RemoteCalls(self._ask, deadline, account)


class _RemoteCalls:
    """See `services.Calls`: by questions, but which handles are open, and what has ended, is kept here.

    The guest's account is here too, as in a thread: it has all that the host holds for the event. The server counts
    what calls cost once more by itself, for it does not believe a worker.
    """

    def __init__(self, ask: Ask, deadline: Deadline, account: Account) -> None:
        self._ask = ask
        self._deadline = deadline
        self._account = account
        self._open: dict[int, int] = {}  # what is held for each
        self._ended: dict[int, Ended] = {}

    def start(self, request: CallRequest) -> Started:
        """See `services.Calls`."""
        self._deadline.check()
        arguments = {"method": request.method, "metadata": request.metadata, "seconds": request.seconds}
        size = held_for(request)
        self._account.hold(size)
        try:
            handle, refusal = self._ask("start", arguments, [request.message]).head
        except TooMuch:
            self._account.release(size)
            raise
        self._open[handle] = size
        return Started(handle, refusal)

    def wait(self, handles: Sequence[int], every: bool, seconds: float | None) -> int | None:
        """See `services.Calls`."""
        self._deadline.check()
        self._check(handles)
        found: int | None = self._ask("wait", {"handles": handles, "every": every, "seconds": seconds}).head
        return found

    def ended(self, handle: int) -> Ended | None:
        """See `services.Calls`."""
        self._check((handle,))
        if handle not in self._ended:
            answer = self._ask("ended", handle)
            if answer.head is None:
                return None
            parts, at, payload = [], 0, answer.payload()
            for size in answer.head["sizes"]:
                parts.append(None if size is None else payload[at : at + size])
                at += size or 0
            message, initial, trailing, details = parts
            head = answer.head
            ended = Ended(
                head["code"], head["text"], message, initial or b"", trailing or b"", details, head["refused"]
            )
            self._account.hold(ended.size)
            self._open[handle] += ended.size
            self._ended[handle] = ended
        return self._ended[handle]

    def close(self, handle: int) -> None:
        """See `services.Calls`."""
        self._check((handle,))
        self._ask("close", handle)
        self._ended.pop(handle, None)
        self._account.release(self._open.pop(handle))

    def finish(self) -> None:
        """See `services.Calls`: the server does that at the event's end."""

    def _check(self, handles: Iterable[int]) -> None:
        """Raise `BadHandle`, without a question to the server, for a handle that is not open."""
        for handle in handles:
            if handle not in self._open:
                raise BadHandle(f"{handle} is no open call")


class _Held:
    """What the server holds for the calls of one event of a worker's: `services.Account`. A worker that keeps its own
    account never meets this limit."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._most = most

    def hold(self, count: int) -> None:
        """See `services.Account`."""
        if count > self._left:
            raise TooMuch(f"calls of more than {self._most} bytes in one event: the limit host_memory")
        self._left -= count

    def release(self, count: int) -> None:
        """See `services.Account`."""
        self._left += count


class _Answers:
    """The answering half, for one event."""

    def __init__(self, sidecar: Sidecar, event: AskedEvent) -> None:
        account = _Held(event.guest.limits.host_memory)
        self._calls = sidecar.calls(event.event, event.deadline, event.spent, account)
        event.ending.callback(self._calls.finish)

    def __call__(self, question: Question) -> Answer:
        arguments = question.arguments
        if question.what == "start":
            started = self._calls.start(_request(question))
            return Answer([started.handle, started.refusal])
        if question.what == "wait":
            handles = [_handle(value) for value in items(member(arguments, "handles"), _WAITED)]
            if not handles:
                raise WireError("a wait for nothing")
            return Answer(self._calls.wait(handles, member(arguments, "every") is True, _seconds(arguments)))
        if question.what == "ended":
            return _answer(self._calls.ended(_handle(arguments)))
        if question.what == "close":
            self._calls.close(_handle(arguments))
            return Answer()
        raise question.unknown()


def _request(question: Question) -> CallRequest:
    method = text(member(question.arguments, "method"), _METHOD)
    metadata = [pair(one) for one in items(member(question.arguments, "metadata"), _METADATA)]
    pairs = tuple((text(name, _TEXT), text(value, _TEXT)) for name, value in metadata)
    return CallRequest(method, question.payload(), pairs, _seconds(question.arguments))


def _seconds(arguments: object) -> float | None:
    seconds = member(arguments, "seconds")
    return None if seconds is None else number(seconds)


def _handle(value: object) -> int:
    return int(number(value, _U32))


def _answer(ended: Ended | None) -> Answer:
    if ended is None:
        return Answer()
    parts = (ended.message, ended.initial, ended.trailing, ended.details)
    head = {
        "code": ended.code,
        "text": ended.text,
        "refused": ended.refused,
        "sizes": [None if part is None else len(part) for part in parts],
    }
    return Answer(head, [part for part in parts if part is not None])


def _sidecar_of(api: SidecarApi | None, config: GuestConfig) -> Sidecar:
    return _GuestSidecar(api, config.name, config.grant(SidecarGrant) or SidecarGrant())


CAPABILITY = Capability(
    __name__, NAME, Sidecar, _sidecar_of, RemoteSidecar, _Answers, SidecarGrant, errors=(BadHandle,)
)

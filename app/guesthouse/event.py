"""Event, Reply and Failure, the only types that cross from a transport to a guest; and what stands between the two.

Handler, Outputs and Observer are protocols. No protobuf here and no Wasm. `Deadline` lives in
`guesthouse_abi.deadline`, because host functions obey it too.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from guesthouse.sidecar import TurnCalls
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.spent import Call

Headers = tuple[tuple[str, str], ...]


class Trigger(str, enum.Enum):
    """What set an event off. An entry has all that other rooms ask of a trigger; its routes are `Manifest.routes`.

    - `in_message`: the reply goes back in a message of the application's server, which `server.message` bounds;
    - `arrives`: the event comes by itself, and the page's live feed shows it: nobody waits to be shown the reply;
    - `faas`: OpenTelemetry's `faas.trigger`, https://opentelemetry.io/docs/specs/semconv/faas/faas-spans/.
    """

    in_message: bool
    arrives: bool
    faas: str

    def __new__(cls, value: str, in_message: bool = False, arrives: bool = True, faas: str = "other") -> Trigger:
        self = str.__new__(cls, value)
        self._value_ = value
        self.in_message, self.arrives, self.faas = in_message, arrives, faas
        return self

    INVOKE = "invoke", True, False, "http"
    BINDING = "binding", True
    TOPIC = "topic", False, True, "pubsub"
    JOB = "job", False, True, "timer"
    OPERATION = "operation"  # of our own output binding
    ACTOR = "actor", False, True, "other"  # a method of an actor
    TIMER = "timer", False, True, "timer"  # of an actor, as the next three
    REMINDER = "reminder", False, True, "timer"
    ACTIVATE = "activate"  # before its first turn here
    DEACTIVATE = "deactivate"  # when the sidecar lets it go


#: The events of actors. The table of an actor's type is the route of all of them.
ACTOR_TRIGGERS = frozenset({Trigger.ACTOR, Trigger.TIMER, Trigger.REMINDER, Trigger.ACTIVATE, Trigger.DEACTIVATE})


@dataclass(frozen=True, slots=True)
class ReplyLimit:
    """The most bytes of a reply (body and content type) that a transport can carry.

    `of` names what sets this limit, `remedy` says what an operator can do about it.
    """

    size: int
    of: str = "server.message"
    remedy: str = "raise it, or lower limits.output"


# The next three are never changed after they are made. Not frozen: a frozen one takes three times as long to make, and
# each event makes all three.


@dataclass(slots=True)
class Event:
    """One thing to be answered by a guest.

    `name` is the method, the binding, `pubsub/topic`, the job, the operation or the actor's type; `path` the route that
    a topic's event matched (as the sidecar reports it). `actor` is what only an actor's events have. Keys of `metadata`
    are in lower case. `reply_limit` is what the transport can carry of a reply; None where it carries any size, or no
    reply. `fault` says why the event cannot be answered: the transport could not convert its message. The dispatcher
    raises it instead of running a guest, so that the event is counted and logged as any other that fails. `onward`
    answers what a guest that is a filter passes on; it returns None where that fails, and the dispatcher knows why. It
    is None where the guest is no filter.
    """

    trigger: Trigger
    name: str
    body: bytes = b""
    content_type: str = ""
    verb: str = ""
    query: str = ""
    path: str = ""
    id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    reply_limit: ReplyLimit | None = None
    fault: Failure | None = None
    actor: Actor | None = None
    onward: Callable[[Event, Deadline], Reply | None] | None = None

    def check_reply(self, reply: Reply) -> None:
        """Raise `Failure` (`TOO_LARGE`) for a reply over `reply_limit`."""
        if self.reply_limit is None:
            return
        size = len(reply.body) + len(reply.content_type.encode())
        if size > self.reply_limit.size:
            limit = self.reply_limit
            text = f"a reply of {size} bytes; {limit.of} leaves room for {limit.size}: {limit.remedy}"
            raise Failure(Reason.TOO_LARGE, text, reply.guest)


class ActorState(TurnCalls, Protocol):
    """An actor's state during one turn: what the guest writes is kept here, and saved when its turn has ended well.

    `TurnCalls` is how the guest reads and writes it.
    """

    read_bytes: int  # that came from where state is kept
    saved_bytes: int  # that were saved there

    def commit(self, deadline: Deadline) -> None:
        """Save what was written, all of it or nothing; nothing where the turn was cancelled. Called after the guest has
        ended. Raises `Failure`: `OUTPUT` where the sidecar did not take it, `CANCELLED`."""

    def give_up(self) -> None:
        """Nobody waits for the turn any more: what the guest saves meanwhile is not waited for without a bound. Called
        from any thread, after the turn was cancelled."""


@dataclass(slots=True)
class Actor:
    """The turn of an actor that an event is. The actor's type is the event's name.

    `method` is the method's, the timer's or the reminder's name, `callback` what a timer was registered with. `state`
    is None where nothing can be saved: in a worker process, whose server saves it.
    """

    id: str
    method: str = ""
    callback: str = ""
    state: ActorState | None = None


@dataclass(slots=True)
class Cost:
    """What an event cost, in seconds and bytes."""

    queued: float = 0.0
    guest: float = 0.0  # in the guest's own code
    host: float = 0.0  # in host calls, without what was `spent` in them
    spent: Mapping[str, float] = field(default_factory=dict)  # in services of the host, by the capability's name
    total: float = 0.0  # from the start of the instance to the reply
    memory: int = 0  # the guest's linear memory when it ended: it never shrinks, so its peak
    host_memory: int = 0  # the most that the host held for the event at once
    began: float = 0.0  # when the instance started, by `time.perf_counter`
    calls: tuple[Call, ...] = ()  # of those services, the first of them, by the same clock
    durations: Mapping[tuple[str, str, str], Sequence[float]] = field(default_factory=dict)  # see `Spent.durations`

    @property
    def inference(self) -> float:
        """Seconds in models."""
        return self.spent.get("inference", 0.0)

    def around(self, inner: Cost, name: str) -> Cost:
        """This cost, of a guest in whose capability `name` all of `inner` was spent, together with that."""
        spent = {key: seconds for key, seconds in self.spent.items() if key != name}
        for key, seconds in inner.spent.items():
            spent[key] = spent.get(key, 0.0) + seconds
        durations = {key: list(seconds) for key, seconds in self.durations.items()}
        for kind, more in inner.durations.items():
            durations.setdefault(kind, []).extend(more)
        return Cost(
            self.queued + inner.queued,
            self.guest + inner.guest,
            self.host + inner.host,
            spent,
            self.total,
            max(self.memory, inner.memory),
            self.host_memory + inner.host_memory,
            self.began,
            (*(call for call in self.calls if call.capability != name), *inner.calls),
            durations,
        )

    def times(self) -> dict[str, float]:
        """All its seconds by name, for those who show them. Inference is always there, another capability if called."""
        spent = {"inference": 0.0, **self.spent}
        return {"queued": self.queued, "guest": self.guest, "host": self.host, **spent, "total": self.total}


@dataclass(frozen=True, slots=True)
class Answer:
    """How an invocation went, in the guest's own terms: HTTP's status.

    From 300 on also why, in words, and after how many seconds the caller may try again.
    """

    status: int
    text: str = ""
    retry_after: float | None = None


@dataclass(slots=True)
class Reply:
    """A guest's answer."""

    body: bytes
    content_type: str = ""
    guest: str = ""
    cost: Cost = field(default_factory=Cost)
    headers: Headers = ()  # besides the content type; for invocations alone, names in lower case
    answer: Answer | None = None  # a status other than 200, for invocations and methods of actors alone
    stop: bool = False  # of a timer or a reminder: it is not to fire again


class Reason(str, enum.Enum):
    """Why an event failed: the `reason` of `google.rpc.ErrorInfo`, and what a transport maps to its own status."""

    TRAP = "TRAP"  # the engine stopped the guest
    BAD_REPLY = "BAD_REPLY"  # the guest broke its calling convention
    GUEST = "GUEST"  # the guest's own error
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"  # the caller hung up
    NOT_FOUND = "NOT_FOUND"  # no such method, binding, topic, path or job
    FULL = "FULL"  # slots and queue are taken
    TOO_LARGE = "TOO_LARGE"  # the body is over the guest's limit, or the reply over what can be sent
    MALFORMED = "MALFORMED"  # the event itself is at fault
    TRY_AGAIN = "TRY_AGAIN"  # the guest asks for the event later
    OFF = "OFF"  # the guest or its route is switched off (`enabled = false`)
    DRAINING = "DRAINING"
    DENIED = "DENIED"  # wrong or missing token
    OUTPUT = "OUTPUT"  # the reply could not be handed on to its output binding or state store
    INTERNAL = "INTERNAL"  # an error of the host's own


#: The event itself is at fault: sending it again cannot help.
EVENT_FAULTS = frozenset({Reason.MALFORMED, Reason.TOO_LARGE})


class Failure(Exception):
    """An event that was not answered. The text is for the caller: no path, no traceback.

    `drop`: the event is not to be sent again. The dispatcher sets it where the guest is at fault (`TRAP`, `BAD_REPLY`,
    `GUEST`) or the event is (`EVENT_FAULTS`) and the route asks for it (`on_error = "drop"`), and where the route gives
    the event up (`attempts`); a transport whose sender would retry then acknowledges the event.
    """

    def __init__(
        self,
        reason: Reason,
        text: str,
        guest: str = "",
        cost: Cost | None = None,
        *,
        drop: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.guest = guest
        self.cost = cost
        self.drop = drop
        self.retry_after = retry_after  # seconds, where the guest said so

    def __str__(self) -> str:
        return f"guest {self.guest!r}: {self.text}" if self.guest else self.text


def failure_of(error: Exception, guest: str = "") -> Failure:
    """`error` itself where it is a `Failure`; else one that tells the caller no more than that the error is ours."""
    if isinstance(error, Failure):
        return error
    failure = Failure(Reason.INTERNAL, "internal error", guest)
    failure.__cause__ = error
    return failure


class Destination(Protocol):
    """Where a route's reply goes besides the caller (the manifest's `to` and `state`)."""

    @property
    def to(self) -> tuple[str, ...]: ...

    @property
    def state(self) -> tuple[str, str] | None:
        """(store, key)."""


class Outputs(Protocol):
    """Hands a reply on to output bindings and state stores before its event is answered."""

    def deliver(self, reply: Reply, event: Event, destination: Destination, caller: Deadline) -> None:
        """Hand the reply on to the destination, within a time that outputs have for themselves.

        `caller` is the event's deadline, which says whether the caller still waits. Raises `Failure`: `OUTPUT` when a
        destination did not accept the reply, `CANCELLED` when the caller hung up before the first one had it.
        """


class ActorCalls(Protocol):
    """Has actors answer events."""

    def answer(self, event: Event, actor: tuple[str, str], method: str, caller: Deadline) -> Reply:
        """Have an actor, named by its type and id, answer an event by a method, within the time of outputs.

        `caller` is the event's deadline. Raises `Failure`.
        """


class Observer(Protocol):
    """Is called at the end of every event, in the event's thread, so it must be quick: the log, metrics, the page."""

    def answered(self, event: Event, reply: Reply) -> None: ...

    def failed(self, event: Event, failure: Failure) -> None: ...


class Handler(Protocol):
    """Answers events: the dispatcher, and what stands before it (traces, the page's methods)."""

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """Answer one event. `deadline` is when its caller stops waiting, None for never. Raises `Failure`."""

"""Event, Reply, Failure and the Outputs protocol: the only types that cross from a transport to a guest.

No protobuf here and no Wasm. `Deadline` lives in `guesthouse_abi.deadline`, because host functions obey it too.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.spent import Call

Headers = tuple[tuple[str, str], ...]


class Trigger(str, enum.Enum):
    """What set an event off."""

    INVOKE = "invoke"
    BINDING = "binding"
    TOPIC = "topic"
    JOB = "job"
    OPERATION = "operation"  # of our own output binding


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes of a reply (body and content type) a transport can carry, what sets that, and what to do."""

    size: int
    of: str = "server.message"
    remedy: str = "raise it, or lower limits.output"


# The next three are never changed after they are made. Not frozen: a frozen one takes three times as long to make, and
# each event makes all three.


@dataclass(slots=True)
class Event:
    """One thing to be answered by a guest.

    `name` is the method, the binding, `pubsub/topic`, the job or the operation; `path` the route that a topic's event
    matched (as the sidecar reports it). `metadata` keys are lower case. `room` is what a reply has in its transport;
    None: any, or it carries none. `fault` is why it cannot be answered: its transport could not make sense of it, and
    the dispatcher raises this instead of running a guest, so that it ends as every other event does.
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
    room: Room | None = None
    fault: Failure | None = None

    def check_room(self, reply: Reply) -> None:
        """Raise `Failure` for a reply that there is no room for."""
        if self.room is None:
            return
        size = len(reply.body) + len(reply.content_type.encode())
        if size > self.room.size:
            text = f"a reply of {size} bytes; {self.room.of} leaves room for {self.room.size}: {self.room.remedy}"
            raise Failure(Reason.TOO_LARGE, text, reply.guest)


@dataclass(slots=True)
class Cost:
    """What an event cost. Seconds and bytes."""

    queued: float = 0.0
    guest: float = 0.0  # in the guest's own code
    host: float = 0.0  # in host calls, without what was `spent` in them
    spent: Mapping[str, float] = field(default_factory=dict)  # in services of the host, by the capability's name
    total: float = 0.0  # from the start of the instance to the reply
    memory: int = 0  # the guest's linear memory when it ended: it never shrinks, so its peak
    host_memory: int = 0  # peak of what the host held for it
    began: float = 0.0  # when the instance started, by `time.perf_counter`
    calls: tuple[Call, ...] = ()  # of those services, the first of them, by the same clock

    @property
    def inference(self) -> float:
        """Seconds in models."""
        return self.spent.get("inference", 0.0)

    def times(self) -> dict[str, float]:
        """All its seconds by name, for those who show them. Inference is always there, another capability if called."""
        spent = {"inference": 0.0, **self.spent}
        return {"queued": self.queued, "guest": self.guest, "host": self.host, **spent, "total": self.total}


@dataclass(slots=True)
class Reply:
    """A guest's answer."""

    body: bytes
    content_type: str = ""
    guest: str = ""
    cost: Cost = field(default_factory=Cost)
    headers: Headers = ()  # besides the content type; for invocations alone, names in lower case


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
    INTERNAL = "INTERNAL"  # the host's own fault


#: What the event itself is at fault for: sending it again cannot help.
EVENT_FAULTS = frozenset({Reason.MALFORMED, Reason.TOO_LARGE})


class Failure(Exception):
    """An event that was not answered. The text is for the caller: no path, no traceback.

    `drop`: the event is not to be sent again. The dispatcher sets it where the guest is at fault (`TRAP`, `BAD_REPLY`,
    `GUEST`) or the event is (`EVENT_FAULTS`) and the route asks for it (`on_error = "drop"`), and where the route gives
    the event up (`attempts`); a transport whose sender would retry then acknowledges the event.
    """

    def __init__(
        self, reason: Reason, text: str, guest: str = "", cost: Cost | None = None, *, drop: bool = False
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.guest = guest
        self.cost = cost
        self.drop = drop

    def __str__(self) -> str:
        return f"guest {self.guest!r}: {self.text}" if self.guest else self.text


def failure_of(error: Exception, guest: str = "") -> Failure:
    """The failure that `error` is; any other exception is a fault of ours, of which the caller is told no more."""
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
        """Outputs have time of their own; of `caller` they learn whether anybody still waits.

        Raises `Failure`: `OUTPUT` when a destination did not accept the reply, `CANCELLED` when the caller hung up
        before the first of them had it.
        """


class Observer(Protocol):
    """Hears of every event when it is over: the log, metrics, a live feed. Called in the event's thread: be quick."""

    def answered(self, event: Event, reply: Reply) -> None: ...

    def failed(self, event: Event, failure: Failure) -> None: ...


class Handler(Protocol):
    """What a transport needs of the dispatcher."""

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """Answer one event; `deadline` is what the caller left, None for no bound. Raises `Failure`."""

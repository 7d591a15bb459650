"""What a capability is: something outside itself that a guest may reach, in this process or from a worker process.

A guest's import module asks `context.services` for a service by its protocol. In this process that is the service
itself. In a worker process it is the capability's remote half, which asks the server; there the answering half looks at
the guest's grants again and calls the service. Both halves stand in the capability's own file, so that a question and
its answer are on one page. That file is loaded by workers too: it imports `guesthouse_abi`, this file and `wire`, and
nothing that a worker may not load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from guesthouse.event import Event
from guesthouse.guests.guest import Guest, GuestConfig
from guesthouse.guests.process.wire import Buffer, Channel, Frame, Kind, Layout, WireError, fields, text
from guesthouse_abi import errors
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.host import HostModule
from guesthouse_abi.imports import host_modules
from guesthouse_abi.services import PixelKernels, Services, Tensor
from guesthouse_abi.spent import Spent

S = TypeVar("S")

_NAME = 64  # characters of a capability's name, and of what is asked of it

#: What any capability may refuse a question with.
ERRORS: tuple[type[Exception], ...] = (
    errors.TooMuch,
    errors.Denied,
    errors.DeadlineExceeded,
    errors.Cancelled,
    errors.HostFunctionError,
)


class Answer(NamedTuple):
    """An answer to a question: a value for JSON, and bytes beside it."""

    value: object = None
    payload: Sequence[Buffer] = ()


class Question:
    """A worker's question to one capability. Check all of it: a guest may have taken the worker over."""

    __slots__ = ("_frame", "arguments", "what")

    def __init__(self, what: str, arguments: Any, frame: Frame) -> None:
        self.what = what
        self.arguments = arguments  # any JSON: `wire.member`, `text`, `number` and `items` check it
        self._frame = frame

    @property
    def size(self) -> int:
        """Of the payload, in bytes."""
        return self._frame.size

    def payload(self) -> bytes:
        """A copy of the bytes beside the arguments."""
        return self._frame.payload()

    def tensors(self, layouts: Sequence[Layout]) -> list[Tensor]:
        """Copies of the tensors that are the payload. Raises `WireError` where they do not fill it exactly."""
        return self._frame.tensors(layouts)

    def unknown(self) -> WireError:
        """For a question that the capability does not have."""
        return WireError(f"an unknown question ({self.what!a})")


@dataclass(slots=True)
class AskedEvent:
    """One event of a guest in a worker process, as the answering halves see it."""

    guest: Guest
    event: Event
    deadline: Deadline
    spent: Spent = field(default_factory=Spent)
    ending: ExitStack = field(default_factory=ExitStack)  # what is called when the event is over, however it ends


Answerer = Callable[[Question], Answer]
"""Answers the questions of one event. Raises `WireError` where the protocol is broken, which ends the worker."""


class Ask:
    """In a worker: asks the server for one capability."""

    __slots__ = ("_capability", "_channel", "_errors")

    def __init__(self, channel: Channel, capability: Capability[Any]) -> None:
        self._channel = channel
        self._capability = capability.name
        self._errors = {kind.__name__: kind for kind in capability.all_errors}

    def __call__(self, what: str, arguments: object = None, payload: Sequence[Buffer] = ()) -> Frame:
        """A question and its answer: the value is the frame's `head`. Raises what the server refuses with."""
        self._channel.send(Kind.ASK, [self._capability, what, arguments], payload)
        frame = self._channel.receive()
        if frame.kind is Kind.REFUSAL:
            raise self._errors[frame.head["error"]](frame.head["text"])
        return frame


@dataclass(frozen=True)
class Capability(Generic[S]):
    """One capability. The file that makes it calls it CAPABILITY, for that is where workers look for it."""

    module: str  # the file's, as it is imported: write __name__
    name: str  # in the manifest, the log, metrics and traces
    protocol: type[S]
    #: Makes a guest's service of what the host has under the capability's name; None where the guest is granted none.
    service: Callable[[Any, GuestConfig], S | None]
    #: The remote half: the same protocol, by questions.
    remote: Callable[[Ask], S]
    #: The answering half: makes what answers one event's questions by the guest's service.
    answerer: Callable[[S, AskedEvent], Answerer]
    #: The table of that name in a guest's table of the manifest, as a frozen dataclass: see `manifest.grant_tables`.
    grant: type[Any] | None = None
    #: Import modules that come with it, besides those of `guesthouse_abi.imports`.
    imports: tuple[HostModule, ...] = ()
    #: What it may refuse a question with, besides `ERRORS`: exceptions that are made of a text.
    errors: tuple[type[Exception], ...] = ()

    @property
    def all_errors(self) -> tuple[type[Exception], ...]:
        return (*ERRORS, *self.errors)


Capabilities = tuple[Capability[Any], ...]


def question_of(frame: Frame) -> tuple[str, Question]:
    """The name of a capability, and what is asked of it. Raises `WireError`."""
    if frame.kind is not Kind.ASK:
        raise WireError(f"an unexpected frame ({frame.kind.name})")
    capability, what, arguments = fields(frame.head, 3)
    return text(capability, _NAME), Question(text(what, _NAME), arguments, frame)


def services_of(
    capabilities: Iterable[Capability[Any]],
    hosts: Mapping[str, Any],
    config: GuestConfig,
    kernels: PixelKernels | None = None,
) -> Services:
    """The services of one guest; `hosts` is what the host has for each capability, by its name."""
    made = ((one.protocol, one.service(hosts.get(one.name), config)) for one in capabilities)
    return Services({protocol: service for protocol, service in made if service is not None}, kernels)


def import_modules(capabilities: Iterable[Capability[Any]]) -> dict[str, HostModule]:
    """Every module that guests may import, by name."""
    return {**host_modules(), **{module.name: module for one in capabilities for module in one.imports}}

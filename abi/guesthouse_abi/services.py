"""What import modules may ask of the host: a protocol for each service, and `Services`, those that one guest has.

Who provides a service is not said here: the application does, or another embedder. Tensors are numpy arrays,
C-contiguous and owned by the receiver; no view of guest memory passes through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Denied
from guesthouse_abi.facts import EventFacts
from guesthouse_abi.spent import Spent

S = TypeVar("S")

Tensor = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A model's input or output.

    `dtype` is None where it is no tensor of numbers that numpy has; `kind` then says what it is. `shape` has None for a
    free dimension, and is None where the model does not say how many there are. An `optional` input has a value of the
    model's own, which a guest may replace.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | None, ...] | None
    kind: str = "not of numbers"
    optional: bool = False

    @property
    def type(self) -> str:
        """The type in a word or two: `float32`, `bfloat16`, `text`, `a map`."""
        return self.kind if self.dtype is None else self.dtype.name

    @property
    def free(self) -> bool:
        """Whether its first dimension is free."""
        return self.shape is not None and self.shape[:1] == (None,)

    def __str__(self) -> str:
        sizes = ["any shape"] if self.shape is None else ["N" if size is None else str(size) for size in self.shape]
        return f"{self.name} {self.type} [{','.join(sizes)}]{' (optional)' if self.optional else ''}"


class Model(Protocol):
    """A model that the host serves. Shared by all guests, safe for any number of threads, hashed by its identity."""

    @property
    def name(self) -> str:
        """The manifest's name for it (what a grant names)."""

    @property
    def inputs(self) -> Sequence[TensorInfo]: ...

    @property
    def outputs(self) -> Sequence[TensorInfo]: ...

    @property
    def renames(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """What guests call the model's own inputs, and its outputs, where the manifest renames them."""

    def input(self, name: str) -> TensorInfo | None:
        """The input that a guest calls `name`, after the manifest's renames; None when there is none."""

    def output(self, name: str) -> TensorInfo | None:
        """The output that a guest calls `name`, after the manifest's renames; None when there is none."""

    def run(self, inputs: Mapping[str, Tensor], outputs: Sequence[str], deadline: Deadline) -> list[Tensor]:
        """Run the network on `inputs` (by the model's own names) and return `outputs` in that order.

        Raises `InferenceError` (names, types, shapes, the run itself), `DeadlineExceeded`, `Cancelled`.
        """


class Inference(Protocol):
    """The host's models."""

    def named(self, name: str) -> Model | None:
        """The model of that name, None when the manifest has none."""

    def standing_for(self, sha256: str) -> Model | None:
        """The model that answers for model bytes with this digest (its own file's, or one of `stands_for`)."""

    def open_bytes(self, data: bytes, deadline: Deadline) -> Model:
        """A model made from a guest's own ONNX bytes (only for guests with `allow_guest_models`), bounded and cached.

        Raises `InferenceError`.
        """


class Log(Protocol):
    """Where a guest's own lines go."""

    def line(self, stream: str, text: str) -> None:
        """One line of the guest's, without its newline; `stream` is "stdout", "stderr" or "host"."""

    def entry(self, level: str, text: str, fields: Mapping[str, str]) -> None:
        """A line with a level ("debug", "info", "warning" or "error") and fields."""


class NoLog:
    """A `Log` whose lines go nowhere: for a guest that is initialised, which is no event."""

    def line(self, stream: str, text: str) -> None:
        """See `Log`."""

    def entry(self, level: str, text: str, fields: Mapping[str, str]) -> None:
        """See `Log`."""


class CallRequest(NamedTuple):
    """A call to the sidecar: a method of `dapr.proto.runtime.v1.Dapr`, and its request message in protobuf's form.

    `seconds` is how long it may take at most; None for as long as the event may.
    """

    method: str
    message: bytes
    metadata: tuple[tuple[str, str], ...] = ()
    seconds: float | None = None

    @property
    def size(self) -> int:
        """Of all of it, in bytes."""
        size = len(self.message)
        for name, value in self.metadata:
            size += len(name) + len(value)
        return size


class Ended(NamedTuple):
    """How a call to the sidecar ended. `initial` and `trailing` are metadata as pairs (`guesthouse_abi.pairs`).

    `message` is there where `code`, gRPC's, is 0. `refused` says that the host itself ended the call.
    """

    code: int
    text: str = ""
    message: bytes | None = None
    initial: bytes = b""
    trailing: bytes = b""
    details: bytes | None = None  # google.rpc.Status
    refused: bool = False

    @property
    def size(self) -> int:
        """Of all of it, in bytes."""
        return (
            len(self.text)
            + len(self.message or b"")
            + len(self.initial)
            + len(self.trailing)
            + len(self.details or b"")
        )


class Started(NamedTuple):
    """A call that was begun: its handle, and why the host has refused to make it (empty where it has not)."""

    handle: int
    refusal: str = ""


class Account(Protocol):
    """Counts what the host holds for one event: `Context`, or another."""

    def hold(self, count: int) -> None:
        """Count so many bytes more. Raises `TooMuch`."""

    def release(self, count: int) -> None:
        """Count so many bytes less."""


class Calls(Protocol):
    """The calls to the sidecar of one event. Handles are 1, 2 and so on; each method that takes one of them raises
    `BadHandle` for one that is not open."""

    def start(self, request: CallRequest) -> Started:
        """Begin a call. Raises `TooMuch` where there are too many."""

    def wait(self, handles: Sequence[int], every: bool, seconds: float | None) -> int | None:
        """Wait for all of these calls, or for one of them, at most so many seconds; None: until the deadline.

        Returns how many there are, or the position of the one that ended first; None where the time is over before.
        Raises `DeadlineExceeded`, `Cancelled` when the event's own time is over.
        """

    def ended(self, handle: int) -> Ended | None:
        """How a call ended; None where it has not. Raises `TooMuch` where that is too large for the guest."""

    def close(self, handle: int) -> None:
        """Forget a call, and cancel it where it has not ended."""

    def finish(self) -> None:
        """The event is over: close all of them."""


class Sidecar(Protocol):
    """The sidecar's API, as far as one guest may call it."""

    def calls(self, event: EventFacts, deadline: Deadline, spent: Spent, account: Account) -> Calls:
        """For the calls of one event. Call its `finish` when the event is over."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """An invocation as a request of HTTP. Names of headers are in lower case; the content type is one of them."""

    verb: str
    name: str  # the method of the invocation: the URI's path without the first slash
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Its response."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Onward(Protocol):
    """What stands behind a guest that is a filter (`calling/http_wasm.py`)."""

    def answer(self, event: EventFacts, request: HttpRequest, deadline: Deadline, spent: Spent) -> HttpResponse | None:
        """The response to a request that the filter passes on; None where what stands behind has failed.

        The answer to an event whose guest is no filter is 404. Raises `DeadlineExceeded`, `Cancelled`.
        """


class PixelKernel(Protocol):
    """The module that does what is done to each pixel (`pictures/kernel.py`), running. Used by one thread at a time.

    `memory` is all that it has, whose size never changes; a view of it must not be kept.
    """

    memory: NDArray[np.uint8]

    def call(self, function: str, *arguments: int) -> int:
        """What a function of the module answers, 0 where it has no result."""


class PixelKernels(Protocol):
    """Lends pixel kernels. For any number of threads."""

    def lend(self) -> AbstractContextManager[PixelKernel]:
        """A kernel that nobody else uses meanwhile. What its memory holds, the kernel or an earlier borrower wrote."""


class Services:
    """The services that one guest has, by their protocols: `services[Inference].named("person")`."""

    __slots__ = ("_services", "kernels")

    def __init__(self, services: Mapping[type[Any], object], kernels: PixelKernels | None = None) -> None:
        """`kernels` work on the pixels of pictures; without them, numpy and Pillow do the same."""
        self._services = services
        self.kernels = kernels

    def __getitem__(self, protocol: type[S]) -> S:
        """The service of this protocol. Raises `Denied` where the guest has none."""
        found: Any = self._services.get(protocol)
        if found is None:
            remedy = "give it the table for that (docs/manifest.md)"
            raise Denied(f"the manifest grants this guest no {protocol.__name__}: {remedy}")
        service: S = found
        return service

    def get(self, protocol: type[S]) -> S | None:
        """The service of this protocol; None where the guest has none."""
        found: Any = self._services.get(protocol)
        service: S | None = found
        return service

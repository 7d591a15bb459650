"""Inference sessions of one instance, as `wasmedge_tensorflow` and `wasmedge_tensorflowlite` share them.

Handles, the tensors that a guest appended, the results of the last run, and what of it counts as host memory. The
functions that a guest imports, their numbers and their order are in `imports/`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, BadText, Denied, HostError, InferenceError, OutOfBounds, TooMuch
from guesthouse_abi.services import Model, Tensor, TensorInfo

#: v2's error numbers. A plain `HostError` is raised for a guest without a memory.
SUCCESS, INVALID_ARGUMENT, MISSING_MEMORY, BUSY = 0, 1, 3, 4
FAULTS: dict[type[HostError], int] = {
    HostError: MISSING_MEMORY,
    OutOfBounds: MISSING_MEMORY,
    BadText: INVALID_ARGUMENT,
    BadHandle: INVALID_ARGUMENT,
    Denied: INVALID_ARGUMENT,
    InferenceError: INVALID_ARGUMENT,
    TooMuch: BUSY,
}
RUN_FAULTS: dict[type[HostError], int] = {**FAULTS, InferenceError: BUSY}
#: v1 answers so where it returns a handle, and a code.
NO_HANDLE: dict[type[HostError], int] = {HostError: 0}
FAILED: dict[type[HostError], int] = {HostError: 1}

_MOST_SESSIONS = 64
_MOST_TENSORS = 1024
_MOST_DIMENSIONS = 16
_LARGEST_EMPTY = 1 << 31  # bytes of a tensor without elements, were its zeros ones: numpy multiplies the others
# bytes that a tensor without elements would have but for its zeros: numpy multiplies the others

#: TensorFlow's data types (tensorflow/c/tf_datatype.h) that a model of the host can have.
DTYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype(name)
    for code, name in {
        1: "float32",
        2: "float64",
        3: "int32",
        4: "uint8",
        5: "int16",
        6: "int8",
        9: "int64",
        10: "bool",
        17: "uint16",
        19: "float16",
        22: "uint32",
        23: "uint64",
    }.items()
}


@dataclass(slots=True, eq=False)
class Output:
    """An output that the guest asked for; `value` is None before a run."""

    info: TensorInfo
    value: Tensor | None = None


@dataclass(slots=True, eq=False)
class Session:
    """A model, the inputs of the next run by the model's own names, and the outputs by the guest's.

    `fault` says why the next run must fail, where the function that went wrong has no error number to say it.
    """

    model: Model
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    fault: str | None = None

    def append_input(self, context: Context, name: str, tensor: Tensor) -> None:
        """Take `tensor` (already held) for the input `name`, in place of an earlier one."""
        earlier = self.inputs.pop(name, None)
        if earlier is not None:
            context.release(earlier.nbytes)
        self.inputs[name] = tensor

    def clear_inputs(self, context: Context) -> None:
        for tensor in self.inputs.values():
            context.release(tensor.nbytes)
        self.inputs.clear()
        self.fault = None

    def clear_results(self, context: Context) -> None:
        for output in self.outputs.values():
            if output.value is not None:
                context.release(output.value.nbytes)
                output.value = None

    def run(self, context: Context) -> None:
        """Run the model for all outputs that can be given to a guest: others (text, maps) never have a value.

        Raises `InferenceError`, `TooMuch`, `DeadlineExceeded`, `Cancelled`.
        """
        self.clear_results(context)
        if self.fault is not None:
            raise InferenceError(f"not run: {self.fault}")
        context.deadline.check()
        outputs = [output for output in self.outputs.values() if output.info.dtype is not None]
        if self.outputs and not outputs:
            check_given(next(iter(self.outputs.values())).info)
        names = list(dict.fromkeys(output.info.name for output in outputs))
        started = time.perf_counter()
        try:
            results = self.model.run(self.inputs, names, context.deadline)
        finally:
            context.ran(self.model.name, started, time.perf_counter())
        values = dict(zip(names, results, strict=True))
        for output in outputs:
            value = values[output.info.name]
            if value.dtype.kind not in "biuf":
                raise InferenceError(f"the output {output.info.name} of the model {self.model.name} is not of numbers")
            context.hold(value.nbytes)
            output.value = value


def check_given(info: TensorInfo) -> None:
    """Raise `InferenceError` where an output cannot be given to a guest."""
    if info.dtype is None:
        raise InferenceError(f"the output {info.name} is {info.kind}, which cannot be given to a guest")


class Sessions:
    """The handles of one instance: counted upwards from 1, never used twice, of sessions and tensors alike.

    Each import module has a class of its own made from this one, so that `Context.state` keeps them apart.
    """

    def __init__(self) -> None:
        self._last = 0
        self._sessions: dict[int, Session] = {}
        self._tensors: dict[int, tuple[Session, Output]] = {}

    def open(self, model: Model) -> tuple[int, Session]:
        """A new session on `model`. Raises `TooMuch`."""
        if len(self._sessions) >= _MOST_SESSIONS:
            raise TooMuch(f"{_MOST_SESSIONS} sessions are open; delete one first")
        session = Session(model)
        self._last += 1
        self._sessions[self._last] = session
        return self._last, session

    def find(self, handle: int) -> Session:
        """Raises `BadHandle`."""
        session = self._sessions.get(handle)
        if session is None:
            raise BadHandle(f"there is no session {handle}")
        return session

    def close(self, context: Context, handle: int) -> None:
        """Free a session and all its tensors. Raises `BadHandle`."""
        session = self.find(handle)
        self.drop_tensors(session)
        session.clear_inputs(context)
        session.clear_results(context)
        del self._sessions[handle]

    def tensor(self, session: Session, output: Output) -> int:
        """The handle of an output's tensor, the same one each time. Raises `TooMuch`."""
        for handle, (owner, known) in self._tensors.items():
            if owner is session and known is output:
                return handle
        if len(self._tensors) >= _MOST_TENSORS:
            raise TooMuch(f"{_MOST_TENSORS} tensors are open; delete a session first")
        self._last += 1
        self._tensors[self._last] = (session, output)
        return self._last

    def find_tensor(self, handle: int) -> tuple[Session, Output]:
        """The session and output behind a tensor's handle. Raises `BadHandle`."""
        found = self._tensors.get(handle)
        if found is None:
            raise BadHandle(f"there is no tensor {handle}")
        return found

    def drop_tensors(self, session: Session) -> None:
        """Every tensor handle of this session is dead from now on."""
        self._tensors = {h: entry for h, entry in self._tensors.items() if entry[0] is not session}


def quietly(function: str, context: Context, sessions: Sessions, handle: int, work: Callable[[Session], None]) -> None:
    """Do `work` on a session for a function of v1 that returns nothing.

    A pointer outside the memory raises `OutOfBounds` (a trap); any other `HostError` is logged and makes the next run
    of the session fail.
    """
    session: Session | None = None
    try:
        session = sessions.find(handle)
        work(session)
    except OutOfBounds:
        raise
    except HostError as error:
        context.log("host", f"{function}: {error}")
        if session is not None:
            session.fault = str(error)


def read_tensor(context: Context, dtype: np.dtype[Any], shape: tuple[int, ...], pointer: int) -> Tensor:
    """A copy of the guest's tensor, held. Raises `OutOfBounds` and `TooMuch` before anything is allocated."""
    count = math.prod(shape)
    size = count * dtype.itemsize
    context.memory.check(pointer, size)
    context.hold(size)
    # Guests may have any byte in a bool; numpy knows only 0 and 1.
    stored = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    return context.memory.array(pointer, count, stored).astype(dtype, copy=False).reshape(shape)


def write_tensor(context: Context, pointer: int, tensor: Tensor, most: int) -> int:
    """Copy the first `most` bytes of a tensor into the guest; returns how many these were. Raises `OutOfBounds`."""
    raw = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)[:most]
    context.memory.write_array(pointer, raw)
    return raw.size


def read_shape(context: Context, pointer: int, rank: int) -> tuple[int, ...]:
    """`rank` dimensions of 8 bytes. A scalar has none, and its pointer is not looked at. Raises `InferenceError`."""
    if rank > _MOST_DIMENSIONS:
        raise InferenceError(f"a tensor of {rank} dimensions; at most {_MOST_DIMENSIONS}")
    if rank == 0:
        return ()
    return tuple(context.memory.array(pointer, rank, np.dtype(np.int64)).tolist())


def check_size(dtype: np.dtype[Any], shape: tuple[int, ...], size: int) -> None:
    """Raise `InferenceError` unless a tensor of this type and shape has `size` bytes."""
    if any(dimension < 0 for dimension in shape):
        raise InferenceError(f"a tensor of shape {list(shape)}: a dimension is negative")
    expected = math.prod(shape) * dtype.itemsize
    if expected == 0 and math.prod(filter(None, shape)) * dtype.itemsize > _LARGEST_EMPTY:
        raise InferenceError(f"an empty tensor of shape {list(shape)}, whose other dimensions are too large")
    if expected != size:
        raise InferenceError(f"a tensor {dtype}{list(shape)} has {expected} bytes; {size} came")


def shape_of(info: TensorInfo, size: int) -> tuple[int, ...]:
    """The shape of `size` bytes for this input: one free dimension is inferred. Raises `InferenceError`."""
    if info.dtype is None:
        raise InferenceError(f"the input {described(info)} is not of numbers that a guest can give")
    if info.shape is None:
        raise InferenceError(f"the input {described(info)} has no shape of its own; bytes alone do not tell one")
    free = [place for place, dimension in enumerate(info.shape) if dimension is None]
    if len(free) > 1:
        raise InferenceError(f"the input {described(info)} has several free dimensions; bytes alone do not tell them")
    unit = static_size(info)
    if not free and size != unit:
        raise InferenceError(f"the input {described(info)} has {unit} bytes; {size} came")
    if free and (unit == 0 or size % unit):
        raise InferenceError(f"the input {described(info)} has a multiple of {unit} bytes; {size} came")
    return tuple(size // unit if dimension is None else dimension for dimension in info.shape)


def static_size(info: TensorInfo) -> int:
    """Bytes of a tensor of this kind, with every free dimension 1; 0 if it is not of numbers, or has no shape."""
    if info.dtype is None or info.shape is None:
        return 0
    return math.prod(dimension for dimension in info.shape if dimension is not None) * info.dtype.itemsize


def described(info: TensorInfo) -> str:
    """As in `input uint8[?,224,224,3]`."""
    sizes = ["any shape"] if info.shape is None else ["?" if size is None else str(size) for size in info.shape]
    return f"{info.name} {info.type}[{','.join(sizes)}]"


def choose(model: Model, kind: Literal["input", "output"], names: Sequence[str]) -> TensorInfo:
    """The model's input or output by the first of `names` that it knows. Raises `InferenceError`."""
    find, known = (model.input, model.inputs) if kind == "input" else (model.output, model.outputs)
    for name in names:
        info = find(name)
        if info is not None:
            return info
    listed = "; ".join(described(info) for info in list(known)[:16]) or "none"
    raise InferenceError(f"the model {model.name} has no {kind} {names[0]!r}; it has {listed}")

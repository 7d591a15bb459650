"""Graphs and execution contexts of wasi-nn: what its functions mean.

A graph is a model of the host, an execution context a session on it. Which number an error, an encoding or a type has
depends on the version of wasi-nn: those numbers are in `imports/wasi_nn`. Each function is described in docs/abi.md.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Denied, HostError, InferenceError
from guesthouse_abi.memory import GuestBytes
from guesthouse_abi.services import Model, Tensor, TensorInfo
from guesthouse_abi.sessions.handles import Handles
from guesthouse_abi.sessions.model_lookup import MARKER, named, resolve, resolve_parts
from guesthouse_abi.sessions.session import Output, Session
from guesthouse_abi.sessions.tensors import described, listed


class NnErrorKind(enum.Enum):
    """The errors of wasi-nn by their names."""

    INVALID_ARGUMENT = enum.auto()
    INVALID_ENCODING = enum.auto()
    MISSING_MEMORY = enum.auto()
    BUSY = enum.auto()
    RUNTIME_ERROR = enum.auto()
    UNSUPPORTED_OPERATION = enum.auto()
    TOO_LARGE = enum.auto()
    NOT_FOUND = enum.auto()


class NnError(HostError):
    """A refusal of a kind that wasi-nn names."""

    def __init__(self, kind: NnErrorKind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Encoding(enum.Enum):
    """What a guest says that a graph's bytes are."""

    OPENVINO = enum.auto()
    ONNX = enum.auto()
    TENSORFLOW = enum.auto()
    PYTORCH = enum.auto()
    TENSORFLOWLITE = enum.auto()
    AUTODETECT = enum.auto()


class Target(enum.Enum):
    """Where a guest wants a graph to run."""

    CPU = enum.auto()
    GPU = enum.auto()
    TPU = enum.auto()
    AUTO = enum.auto()


class ExecutionContext(Session):
    """A session of wasi-nn. It has all outputs of its model from the start."""

    __slots__ = ()

    interface = "wasi-nn"
    noun = "execution context"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = {info.name: Output(info) for info in model.outputs}

    def set_input(
        self, context: Context, index: int, dtype: np.dtype[Any], shape: tuple[int, ...], data: GuestBytes
    ) -> None:
        """Copy a tensor for the input of this index. Raises `NnError`, `InferenceError` and `TooMuch`."""
        info = _at(self.model, "input", self.model.inputs, index)
        _check_fits(info, dtype, shape)
        self.take_input(context, info, dtype, shape, data)

    def give_input(self, name: str, tensor: Tensor) -> None:
        """Take a tensor, which is accounted for, for the input of this name. Raises `NnError`, `InferenceError`."""
        info = self.model.input(name)
        if info is None:
            text = f"the model {self.model.name} has no input {name!r}; it has {listed(self.model.inputs)}"
            raise NnError(NnErrorKind.INVALID_ARGUMENT, text)
        _check_fits(info, tensor.dtype, tensor.shape)
        self.inputs[info.name] = tensor

    def compute(self, context: Context) -> None:
        """Run the graph on the inputs that were set, which stay for another run. Raises `NnError` and `TooMuch`."""
        try:
            self.run(context)
        except InferenceError as error:
            raise NnError(NnErrorKind.RUNTIME_ERROR, str(error)) from error

    def output(self, index: int) -> Tensor:
        """The output of this index, of the last run. Raises `NnError`."""
        info = _at(self.model, "output", self.model.outputs, index)
        if info.dtype is None:
            text = f"the output {index} ({described(info)}) is {info.kind}, which cannot be given to a guest"
            raise NnError(NnErrorKind.UNSUPPORTED_OPERATION, text)
        value = self.outputs[info.name].value
        if value is None:
            text = f"the output {info.name} has no value before compute has succeeded"
            raise NnError(NnErrorKind.RUNTIME_ERROR, text)
        return value


def _check_fits(info: TensorInfo, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raises `InferenceError`."""
    if dtype != info.dtype:
        raise InferenceError(f"the input {described(info)} does not take {dtype}")
    if info.shape is not None and (
        len(shape) != len(info.shape)
        or any(wanted not in (None, given) for wanted, given in zip(info.shape, shape, strict=True))
    ):
        raise InferenceError(f"the input {described(info)} does not take the shape {list(shape)}")


def load(context: Context, parts: Sequence[GuestBytes], encoding: Encoding, target: Target) -> int:
    """The handle of a graph from bytes, which are looked up by digest as everywhere (`model_lookup`).

    Several parts are one model. Only one part, and one that may be ONNX, may be a model of the guest's own.
    Raises `NnError` and `TooMuch`.
    """
    if target not in (Target.CPU, Target.AUTO):
        context.log("host", f"wasi-nn load: it runs on the CPU, not on a {target.name}")
    try:
        if len(parts) == 1:
            model = resolve(context, parts[0], allow_own_model=encoding in (Encoding.ONNX, Encoding.AUTODETECT))
        else:
            model = resolve_parts(context, parts)
    except (Denied, InferenceError) as error:
        raise NnError(NnErrorKind.RUNTIME_ERROR, str(error)) from error
    return context.state(Handles).add_graph(model)


def load_by_name(context: Context, name: str) -> int:
    """The handle of a graph by a name that the guest has for a model, with or without the marker before it.

    Raises `NnError`, `Denied` and `TooMuch`.
    """
    try:
        model = named(context, name.removeprefix(MARKER.decode()))
    except InferenceError as error:
        raise NnError(NnErrorKind.NOT_FOUND, str(error)) from error
    return context.state(Handles).add_graph(model)


def unload(context: Context, graph: int) -> None:
    """Forget a graph; execution contexts made from it go on. Raises `BadHandle`."""
    context.state(Handles).remove_graph(graph)


def init_execution_context(context: Context, graph: int) -> int:
    """The handle of a context to run a graph in. Raises `BadHandle` and `TooMuch`."""
    handles = context.state(Handles)
    return handles.add_session(ExecutionContext(handles.graph(graph)))


def _at(model: Model, kind: Literal["input", "output"], infos: Sequence[TensorInfo], index: int) -> TensorInfo:
    if index >= len(infos):
        text = f"the model {model.name} has no {kind} {index}; it has {listed(infos)}"
        raise NnError(NnErrorKind.INVALID_ARGUMENT, text)
    return infos[index]

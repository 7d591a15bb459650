"""Sessions of the interfaces `wasmedge_tensorflow` and `wasmedge_tensorflowlite`: what their functions mean.

Both run a model of the host. They differ in how a guest names inputs and outputs, in who says a tensor's type and
shape, and in when an output has a length and a value. Each function is described in docs/abi.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, InferenceError
from guesthouse_abi.memory import GuestBytes
from guesthouse_abi.services import Model, Tensor, TensorInfo
from guesthouse_abi.sessions.handles import Handles
from guesthouse_abi.sessions.session import Output, Session
from guesthouse_abi.sessions.tensors import check_can_be_given, find_by_name, inferred_shape, static_size


class WasmEdgeSession(Session, ABC):
    """What the functions that both interfaces have ask of a session.

    `v1_run_ends_tensors`: whether a run by a function of v1 ends the numbers of tensors.
    """

    __slots__ = ()

    v1_run_ends_tensors: ClassVar[bool]

    @abstractmethod
    def output_by_text(self, name: str) -> Output:
        """The output that a guest names by one text. Raises `InferenceError`."""

    @abstractmethod
    def number_of(self, handles: Handles, output: Output) -> int:
        """The number by which functions of v2 know this output. Raises `TooMuch`."""

    @abstractmethod
    def output_by_number(self, handles: Handles, number: int) -> Output:
        """The output of that number. Raises `BadHandle`."""

    @abstractmethod
    def length(self, output: Output) -> int:
        """Bytes that an output has. Raises `InferenceError`."""

    @abstractmethod
    def value(self, output: Output) -> Tensor | None:
        """What a function of v1 writes, None for nothing. Raises `InferenceError`."""

    @abstractmethod
    def value_for(self, output: Output, room: int) -> Tensor | None:
        """What a function of v2 writes, cut to the `room` that the guest has for it. Raises `InferenceError`."""


def full_name(text: str) -> str:
    """An operation of a TensorFlow graph and which of its outputs, `name:2`; output 0 where the text has none."""
    operation, colon, output = text.rpartition(":")
    if colon and output.isascii() and output.isdecimal():
        return f"{operation}:{int(output)}"
    return f"{text}:0"


def _forms(name: str) -> list[str]:
    """What a model is asked for: the full name, and for output 0 also the operation alone."""
    return [name, name[:-2]] if name.endswith(":0") else [name]


class TensorflowSession(WasmEdgeSession):
    """A session of `wasmedge_tensorflow`. It has the outputs that were appended. Names are full ones (`full_name`)."""

    __slots__ = ()

    interface = "wasmedge_tensorflow"
    v1_run_ends_tensors = True

    def input(self, name: str) -> TensorInfo:
        """The model's input of that name. Raises `InferenceError`."""
        return find_by_name(self.model, "input", _forms(name))

    def append_output(self, name: str) -> None:
        """Ask for an output; again is no error. Raises `InferenceError`."""
        info = find_by_name(self.model, "output", _forms(name))
        self.outputs.setdefault(name, Output(info))

    def clear_outputs(self, context: Context) -> None:
        """Forget the outputs, the numbers of their tensors, and what went wrong when they were appended."""
        context.state(Handles).remove_tensors(self)
        self.clear_results(context)
        self.outputs.clear()
        self.faults.pop("outputs", None)

    def output(self, name: str) -> Output:
        """The output that was appended by that name. Raises `InferenceError`."""
        output = self.outputs.get(name)
        if output is None:
            raise InferenceError(f"the output {name} was not appended before")
        check_can_be_given(output.info)
        return output

    def output_by_text(self, name: str) -> Output:
        return self.output(full_name(name))

    def number_of(self, handles: Handles, output: Output) -> int:
        return handles.tensor_handle(self, output)

    def output_by_number(self, handles: Handles, number: int) -> Output:
        session, output = handles.tensor(number, TensorflowSession)
        if session is not self:
            raise BadHandle(f"the tensor {number} is not of session {self.handle}")
        return output

    def length(self, output: Output) -> int:
        return 0 if output.value is None else output.value.nbytes

    def value(self, output: Output) -> Tensor | None:
        return output.value

    def value_for(self, output: Output, room: int) -> Tensor | None:
        return output.value


class TensorflowLiteSession(WasmEdgeSession):
    """A session of `wasmedge_tensorflowlite`. It has all outputs of its model from the start."""

    __slots__ = ()

    interface = "wasmedge_tensorflowlite"
    v1_run_ends_tensors = False

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.outputs = {info.name: Output(info) for info in model.outputs}

    def append_input(self, context: Context, name: str, data: GuestBytes) -> None:
        """Copy a tensor, whose type and shape are the model's. Raises `InferenceError` and `TooMuch`."""
        info = find_by_name(self.model, "input", [name])
        shape = inferred_shape(info, len(data))
        assert info.dtype is not None  # or `inferred_shape` had refused it
        self.take_input(context, info, info.dtype, shape, data)

    def output_by_text(self, name: str) -> Output:
        info = find_by_name(self.model, "output", [name])
        check_can_be_given(info)
        return self.outputs[info.name]

    def number_of(self, handles: Handles, output: Output) -> int:
        return list(self.outputs.values()).index(output)

    def output_by_number(self, handles: Handles, number: int) -> Output:
        outputs = list(self.outputs.values())
        if number >= len(outputs):
            raise BadHandle(f"there is no tensor {number}: the model {self.model.name} has {len(outputs)} outputs")
        return outputs[number]

    def length(self, output: Output) -> int:
        check_can_be_given(output.info)
        return static_size(output.info) if output.value is None else output.value.nbytes

    def value(self, output: Output) -> Tensor:
        check_can_be_given(output.info)
        if output.value is None:
            raise InferenceError(f"the output {output.info.name} has no value before run_session has succeeded")
        return output.value

    def value_for(self, output: Output, room: int) -> Tensor:
        value = self.value(output)
        if room != value.nbytes:
            raise InferenceError(f"the output {output.info.name} has {value.nbytes} bytes; the buffer has {room}")
        return value

"""A session: one model, the inputs of the next run, and the outputs of the last one.

What of it counts as host memory is decided here. How an interface names inputs and outputs is in the classes that are
made from `Session` (`tensorflow`, `wasi_nn`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.memory import GuestBytes
from guesthouse_abi.services import Model, Tensor, TensorInfo
from guesthouse_abi.sessions.tensors import check_can_be_given, copied, static_size

#: What of a session a function is about. A fault that waits for the next run is forgotten with its side.
Side = Literal["inputs", "outputs"]


@dataclass(slots=True, eq=False)
class Output:
    """An output that the guest asked for; `value` is None before a run."""

    info: TensorInfo
    value: Tensor | None = None


class Session:
    """A model, the inputs of the next run by the model's own names, and the outputs by the guest's.

    `interface` and `noun` name such a session in errors. `faults` says why a run must fail, where the function that
    went wrong before it cannot say so itself.
    """

    __slots__ = ("faults", "handle", "inputs", "model", "outputs")

    interface: ClassVar[str]
    noun: ClassVar[str] = "session"

    def __init__(self, model: Model) -> None:
        self.model = model
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Output] = {}
        self.faults: dict[Side, str] = {}
        self.handle = 0  # its number, once it has one

    def take_input(
        self, context: Context, info: TensorInfo, dtype: np.dtype[Any], shape: tuple[int, ...], data: GuestBytes
    ) -> None:
        """Copy a tensor for an input, in place of an earlier one. Raises `InferenceError` and `TooMuch`."""
        tensor = copied(context, dtype, shape, data)
        earlier = self.inputs.pop(info.name, None)
        if earlier is not None:
            context.release(earlier.nbytes)
        self.inputs[info.name] = tensor

    def clear_inputs(self, context: Context) -> None:
        """Forget the inputs, and what went wrong when they were given."""
        for tensor in self.inputs.values():
            context.release(tensor.nbytes)
        self.inputs.clear()
        self.faults.pop("inputs", None)

    def clear_results(self, context: Context) -> None:
        """Forget the values of the last run."""
        for output in self.outputs.values():
            if output.value is not None:
                context.release(output.value.nbytes)
                output.value = None

    def run(self, context: Context) -> None:
        """Run the model for all outputs that can be given to a guest: others (text, maps) never have a value.

        Raises `InferenceError`, `TooMuch`, `DeadlineExceeded`, `Cancelled`.
        """
        self.clear_results(context)
        if self.faults:
            raise InferenceError(f"not run: {'; '.join(self.faults.values())}")
        context.deadline.check()
        outputs = [output for output in self.outputs.values() if output.info.dtype is not None]
        if self.outputs and not outputs:
            check_can_be_given(next(iter(self.outputs.values())).info)
        values = self._values(context, {output.info.name: output.info for output in outputs})
        for output in outputs:
            value = values[output.info.name]
            if value.dtype.kind not in "biuf":
                raise InferenceError(f"the output {output.info.name} of the model {self.model.name} is not of numbers")
            context.hold(value.nbytes)
            output.value = value

    def _values(self, context: Context, wanted: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
        """The outputs of a run by the model's own names, which are those of `wanted`.

        Outputs whose size the model says are accounted for before it runs, so a run whose results may not be kept is
        refused and not made. The size of any other output is known only when ONNX Runtime has made it: it exists before
        `run` counts it. Not `host_memory` bounds it, but what the model makes of its inputs, which `max_batch` and
        `max_elements` bound.
        """
        names, expected = list(wanted), 0
        for info in wanted.values():
            if info.shape is not None and None not in info.shape:
                expected += static_size(info)
        context.hold(expected)
        try:
            with context.spent.timed("inference", self.model.name):
                results = self.model.run(self.inputs, names, context.deadline)
        finally:
            context.release(expected)
        return dict(zip(names, results, strict=True))

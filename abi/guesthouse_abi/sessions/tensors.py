"""Whether a tensor fits the input that it is for, and how inputs and outputs are named in an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.memory import GuestBytes
from guesthouse_abi.services import Model, Tensor, TensorInfo

#: A tensor may have this many dimensions.
MOST_DIMENSIONS = 16
#: Inputs or outputs of a model that one error lists.
_LISTED = 16
#: A tensor with a dimension 0 has no bytes, but numpy multiplies its other dimensions: bytes that these may come to.
_LARGEST_EMPTY = 1 << 31


def copied(context: Context, dtype: np.dtype[Any], shape: tuple[int, ...], data: GuestBytes) -> Tensor:
    """A copy of the guest's tensor, accounted for before it is made. Raises `InferenceError`, `TooMuch`."""
    size = len(data)
    check_size(dtype, shape, size)
    context.hold(size)
    # A guest may have any byte in a bool; numpy knows only 0 and 1.
    stored = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    return data.array(stored).astype(dtype, copy=False).reshape(shape)


def check_size(dtype: np.dtype[Any], shape: tuple[int, ...], size: int) -> None:
    """Raise `InferenceError` unless a tensor of this type and shape has `size` bytes."""
    if any(dimension < 0 for dimension in shape):
        raise InferenceError(f"a tensor of shape {list(shape)}: a dimension is negative")
    expected = math.prod(shape) * dtype.itemsize
    if expected == 0 and math.prod(filter(None, shape)) * dtype.itemsize > _LARGEST_EMPTY:
        raise InferenceError(f"an empty tensor of shape {list(shape)}, whose other dimensions are too large")
    if expected != size:
        raise InferenceError(f"a tensor {dtype}{list(shape)} has {expected} bytes; {size} came")


def inferred_shape(info: TensorInfo, size: int) -> tuple[int, ...]:
    """The shape of `size` bytes for this input: one free dimension is inferred. Raises `InferenceError`."""
    if info.dtype is None:
        raise InferenceError(f"the input {described(info)} is not of numbers that a guest can give")
    if info.shape is None:
        raise InferenceError(f"the input {described(info)} has no shape of its own; bytes alone do not tell one")
    free = [axis for axis, dimension in enumerate(info.shape) if dimension is None]
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


def check_can_be_given(info: TensorInfo) -> None:
    """Raise `InferenceError` where an output cannot be given to a guest."""
    if info.dtype is None:
        raise InferenceError(f"the output {info.name} is {info.kind}, which cannot be given to a guest")


def find_by_name(model: Model, kind: Literal["input", "output"], names: Sequence[str]) -> TensorInfo:
    """The model's input or output by the first of `names` that the model knows. Raises `InferenceError`."""
    find, known = (model.input, model.inputs) if kind == "input" else (model.output, model.outputs)
    for name in names:
        info = find(name)
        if info is not None:
            return info
    raise InferenceError(f"the model {model.name} has no {kind} {names[0]!r}; it has {listed(known)}")


def described(info: TensorInfo) -> str:
    """As in `input uint8[?,224,224,3]`."""
    sizes = ["any shape"] if info.shape is None else ["?" if size is None else str(size) for size in info.shape]
    return f"{info.name} {info.type}[{','.join(sizes)}]"


def listed(infos: Sequence[TensorInfo]) -> str:
    """The first inputs or outputs of a model, for an error."""
    return "; ".join(described(info) for info in list(infos)[:_LISTED]) or "none"

"""Whether tensors fit a model's inputs and outputs. Error texts are for a guest's author. No model is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from guesthouse_abi.errors import InferenceError
from guesthouse_abi.services import Tensor, TensorInfo

Infos = Mapping[str, TensorInfo]


def describe(info: TensorInfo) -> str:
    """Type and shape as people write them: `uint8 [?, 224, 224, 3]`, where ? is a free dimension."""
    return _words(info.type, info.shape)


def check_inputs(
    model: str, infos: Infos, tensors: Mapping[str, Tensor], max_batch: int | None, max_elements: int
) -> None:
    """Raise `InferenceError` unless `tensors` are the inputs `infos`, each of its type and shape.

    An optional input may be missing. Where the first dimension is free, it may have `max_batch` rows (None: any
    number). Other free dimensions may have any size. An input with a free dimension has at most `max_elements`
    elements.
    """
    for name in tensors:
        if name not in infos:
            raise InferenceError(f"model {model} has no input {_quoted(name)}; it has {_listed(infos)}")
    for name, info in infos.items():
        if name not in tensors:
            if info.optional:
                continue
            raise InferenceError(f"model {model}: input {_quoted(name)} is missing: {describe(info)} is expected")
        tensor = tensors[name]
        if tensor.dtype != info.dtype or not _fits(tensor.shape, info.shape):
            came = _words(tensor.dtype.name, tensor.shape)
            raise InferenceError(f"model {model}: input {_quoted(name)} is {describe(info)}, but {came} came")
        if info.free and max_batch is not None and len(tensor) > max_batch:
            raise InferenceError(
                f"model {model}: input {_quoted(name)} has {len(tensor)} rows; "
                f"up to {max_batch} (max_batch) are allowed"
            )
        if (info.shape is None or None in info.shape) and tensor.size > max_elements:
            raise InferenceError(
                f"model {model}: input {_quoted(name)} has {tensor.size} elements; up to {max_elements} (max_elements) "
                "are allowed"
            )


def check_outputs(model: str, infos: Infos, names: Sequence[str]) -> None:
    """Raise `InferenceError` unless `names` are outputs among `infos` that are tensors of numbers, at least one."""
    if not names:
        raise InferenceError(f"model {model}: no output is asked for; it has {_listed(infos)}")
    for name in names:
        if name not in infos:
            raise InferenceError(f"model {model} has no output {_quoted(name)}; it has {_listed(infos)}")
        if infos[name].dtype is None:
            raise InferenceError(
                f"model {model}: output {_quoted(name)} is {infos[name].kind}, which cannot be given to a guest"
            )


def filled(infos: Infos, value: int) -> dict[str, Tensor]:
    """A tensor for each input that is not optional: free dimensions have the size 1, each element is `value`."""
    return {
        name: np.full([1 if size is None else size for size in info.shape or ()], value, info.dtype)
        for name, info in infos.items()
        if not info.optional
    }


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...] | None) -> bool:
    return declared is None or (
        len(shape) == len(declared)
        and all(want is None or size == want for size, want in zip(shape, declared, strict=True))
    )


def _words(kind: str, shape: Sequence[int | None] | None) -> str:
    if shape is None:
        return f"{kind} of any shape"
    return f"{kind} [{', '.join('?' if size is None else str(size) for size in shape[:16])}]"


def _listed(infos: Infos) -> str:
    return ", ".join(f"{_quoted(name)} ({describe(info)})" for name, info in list(infos.items())[:16])


def _quoted(name: str) -> str:
    return ascii(name if len(name) <= 64 else name[:64] + "...")

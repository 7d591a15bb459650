"""Whether tensors fit a model's inputs and outputs, in words that a guest's author can use. No model is run here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from guesthouse_abi.errors import InferenceError
from guesthouse_abi.services import Tensor, TensorInfo

Infos = Mapping[str, TensorInfo]


def describe(info: TensorInfo) -> str:
    """Type and shape as people write them: `uint8 [?, 224, 224, 3]`, where ? is a free dimension."""
    return _words(info.dtype, info.shape)


def check_inputs(model: str, infos: Infos, tensors: Mapping[str, Tensor], max_batch: int) -> None:
    """Raise `InferenceError` unless `tensors` are exactly the inputs `infos`, each of its type and shape.

    A free first dimension takes 1 to `max_batch`; other free dimensions take any size.
    """
    for name in tensors:
        if name not in infos:
            raise InferenceError(f"model {model} has no input {_quoted(name)}; it has {_listed(infos)}")
    for name, info in infos.items():
        if name not in tensors:
            raise InferenceError(f"model {model}: input {_quoted(name)} is missing: {describe(info)} is expected")
        tensor = tensors[name]
        if tensor.dtype != info.dtype or not _fits(tensor.shape, info.shape):
            came = _words(tensor.dtype, tensor.shape)
            raise InferenceError(f"model {model}: input {_quoted(name)} is {describe(info)}, but {came} came")
        if info.shape[:1] == (None,) and not 1 <= len(tensor) <= max_batch:
            raise InferenceError(
                f"model {model}: input {_quoted(name)} has {len(tensor)} rows; 1 to {max_batch} (max_batch) are allowed"
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
                f"model {model}: output {_quoted(name)} is no tensor of numbers (text, a sequence, a map …), "
                "and cannot be given to a guest"
            )


def filled(infos: Infos, value: int) -> dict[str, Tensor]:
    """Inputs of the smallest shape that `infos` allow, free dimensions 1, each element `value`."""
    return {
        name: np.full([1 if size is None else size for size in info.shape], value, info.dtype)
        for name, info in infos.items()
    }


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(shape) == len(declared) and all(
        want is None or size == want for size, want in zip(shape, declared, strict=True)
    )


def _words(dtype: np.dtype[np.generic] | None, shape: Sequence[int | None]) -> str:
    kind = "no tensor of numbers" if dtype is None else dtype.name
    return f"{kind} [{', '.join('?' if size is None else str(size) for size in shape[:16])}]"


def _listed(infos: Infos) -> str:
    return ", ".join(f"{_quoted(name)} ({describe(info)})" for name, info in list(infos.items())[:16])


def _quoted(name: str) -> str:
    return ascii(name if len(name) <= 64 else name[:64] + "...")

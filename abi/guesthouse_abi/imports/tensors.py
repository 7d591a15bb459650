"""Tensors between a guest's memory and the values that `sessions` works on, as all modules for inference need it."""

from __future__ import annotations

from typing import Any

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.services import Tensor
from guesthouse_abi.sessions.tensors import MOST_DIMENSIONS


def read_shape(context: Context, pointer: int, rank: int, dtype: np.dtype[Any]) -> tuple[int, ...]:
    """`rank` dimensions of this type. A scalar has none, and its pointer is not looked at. Raises `InferenceError`."""
    if rank > MOST_DIMENSIONS:
        raise InferenceError(f"a tensor of {rank} dimensions; at most {MOST_DIMENSIONS}")
    if rank == 0:
        return ()
    return tuple(context.memory.array(pointer, rank, dtype).tolist())


def write_tensor(context: Context, pointer: int, tensor: Tensor, most: int | None = None) -> int:
    """Copy a tensor, or its first `most` bytes, into the guest; returns how many these were. Raises `OutOfBounds`."""
    raw = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)[:most]
    context.memory.write_array(pointer, raw)
    return raw.size

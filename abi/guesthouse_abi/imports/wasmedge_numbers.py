"""The error numbers and data types of `wasmedge_tensorflow` and `wasmedge_tensorflowlite` (docs/abi.md has their
tables)."""

from __future__ import annotations

from typing import Any

import numpy as np

from guesthouse_abi.errors import BadHandle, BadText, Denied, HostError, InferenceError, OutOfBounds, TooMuch
from guesthouse_abi.host import U32

SUCCESS = U32(0)
_INVALID_ARGUMENT, _MISSING_MEMORY, _BUSY = 1, 3, 4

#: What a function of v2 answers. A plain `HostError` is raised for a guest without a memory.
FAULTS: dict[type[HostError], int] = {
    HostError: _MISSING_MEMORY,
    OutOfBounds: _MISSING_MEMORY,
    BadText: _INVALID_ARGUMENT,
    BadHandle: _INVALID_ARGUMENT,
    Denied: _INVALID_ARGUMENT,
    InferenceError: _INVALID_ARGUMENT,
    TooMuch: _BUSY,
}
#: What `run_session` of v2 answers.
RUN_FAULTS: dict[type[HostError], int] = {**FAULTS, InferenceError: _BUSY}
#: What a function of v1 answers that returns a handle or a length, and one that returns a code.
NO_HANDLE: dict[type[HostError], int] = {HostError: 0}
FAILED: dict[type[HostError], int] = {HostError: 1}

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


def dtype_of(code: int, name: str) -> np.dtype[Any]:
    """The type that a code means for the input `name`. Raises `InferenceError`."""
    dtype = DTYPES.get(code)
    if dtype is None:
        known = ", ".join(f"{number} {kind}" for number, kind in DTYPES.items())
        raise InferenceError(f"the data type {code} of the input {name} is not one of {known}")
    return dtype

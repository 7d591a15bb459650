"""How wasi-nn numbers errors, tensor types, encodings and targets in its versions.

Nothing that a guest sends says which version it was built for. So errors have their newest numbers, unless the manifest
names an older version; and where a type's number has two meanings, the bytes of the tensor's elements decide:

=====  ============================  =======================================
type   until 2023-08 (crate 0.5)     since (crate 0.6, wasmedge-wasi-nn 0.7)
=====  ============================  =======================================
0, 1   f16, f32                      f16, f32
2, 3   u8, i32                       f64, u8
4, 5                                 i32, i64
=====  ============================  =======================================

Sources: wasi-nn.witx at 8adc5b9 (2021), e5e1a6c (2022), c1ff124 and 747d8df (2023) of WebAssembly/wasi-nn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Denied, HostError, TooMuch
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.sessions.wasi_nn import Encoding, NnError, NnErrorKind, Target

#: The guest crate's versions that a manifest may name.
VERSIONS = ("0.1", "0.2", "0.5", "0.6")

# Both are numbered from 0 in the order of their names.
_ENCODINGS, _TARGETS = tuple(Encoding), tuple(Target)

_OLD = {code: np.dtype(name) for code, name in enumerate(("float16", "float32", "uint8", "int32"))}
_NEW = {code: np.dtype(name) for code, name in enumerate(("float16", "float32", "float64", "uint8", "int32", "int64"))}
_TYPES: dict[str | None, Sequence[dict[int, np.dtype[Any]]]] = {
    "0.1": (_OLD,),
    "0.2": (_OLD,),
    "0.5": (_OLD,),
    "0.6": (_NEW,),
    None: (_NEW, _OLD),
}

_SUCCESS = U32(0)
_NEWEST = {
    NnErrorKind.INVALID_ARGUMENT: 1,
    NnErrorKind.INVALID_ENCODING: 2,
    NnErrorKind.MISSING_MEMORY: 3,
    NnErrorKind.BUSY: 4,
    NnErrorKind.RUNTIME_ERROR: 5,
    NnErrorKind.UNSUPPORTED_OPERATION: 6,
    NnErrorKind.TOO_LARGE: 7,
    NnErrorKind.NOT_FOUND: 8,
}
#: Errors that versions before 0.5 do not have.
_SINCE_2022 = {NnErrorKind.UNSUPPORTED_OPERATION: 1, NnErrorKind.TOO_LARGE: 1, NnErrorKind.NOT_FOUND: 1}
_NUMBERS: dict[str | None, dict[NnErrorKind, int]] = {
    "0.1": {
        **_SINCE_2022,
        NnErrorKind.INVALID_ARGUMENT: 1,
        NnErrorKind.INVALID_ENCODING: 1,
        NnErrorKind.MISSING_MEMORY: 2,
        NnErrorKind.BUSY: 3,
        NnErrorKind.RUNTIME_ERROR: 3,
    },
    "0.2": {**_NEWEST, **_SINCE_2022},
    "0.5": _NEWEST,
    "0.6": _NEWEST,
    None: _NEWEST,
}


def _kind(error: HostError) -> NnErrorKind:
    if isinstance(error, NnError):
        return error.kind
    if type(error) is HostError:
        return NnErrorKind.MISSING_MEMORY  # a guest without one
    if isinstance(error, TooMuch):
        return NnErrorKind.BUSY
    if isinstance(error, Denied):
        return NnErrorKind.NOT_FOUND
    return NnErrorKind.INVALID_ARGUMENT


def returns_errno(module: HostModule) -> Callable[[Callable[..., None]], Callable[..., U32]]:
    """A host function that answers with an errno: 0, or the number of its `HostError` in the guest's version."""

    def made(body: Callable[..., None]) -> Callable[..., U32]:
        @functools.wraps(body)
        def answer(context: Context, *values: Any) -> U32:
            try:
                body(context, *values)
            except HostError as error:
                context.log_refusal(f"{module.name}.{body.__name__}", error)
                return U32(_NUMBERS[context.grants.wasi_nn][_kind(error)])
            return _SUCCESS

        answer.__annotations__ = {**body.__annotations__, "return": U32}
        return answer

    return made


def encoding_of(number: int) -> Encoding:
    """Raises `NnError`."""
    if number >= len(_ENCODINGS):
        text = f"the graph encoding {number} is none of 0 to {len(_ENCODINGS) - 1}"
        raise NnError(NnErrorKind.INVALID_ENCODING, text)
    return _ENCODINGS[number]


def target_of(number: int) -> Target:
    """Raises `NnError`."""
    if number >= len(_TARGETS):
        text = f"the execution target {number} is none of 0 to {len(_TARGETS) - 1}"
        raise NnError(NnErrorKind.INVALID_ARGUMENT, text)
    return _TARGETS[number]


def type_of(context: Context, code: int, shape: tuple[int, ...], size: int | None) -> np.dtype[Any]:
    """The tensor type that a number means to this guest, with the shape and bytes of a tensor of that type.

    `size` is None where the guest's records have none: those have the older types. Raises `NnError`.
    """
    known = _TYPES[context.grants.wasi_nn] if size is not None else (_OLD,)
    choices = [types[code] for types in known if code in types]
    if not choices:
        raise NnError(NnErrorKind.INVALID_ARGUMENT, f"there is no tensor type {code}")
    count = math.prod(shape)
    fitting = [dtype for dtype in choices if count * dtype.itemsize == size]
    return (fitting or choices)[0]

"""Host functions: a Python function with annotations becomes a Wasm import with a signature, checked at import time.

Engine-neutral: an engine reads `HostFunction.signature` when it links and calls `HostFunction.invoke` with raw numbers.
What the functions do lives in `imports/`, one file a module.
"""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NewType

from guesthouse_abi.context import Context
from guesthouse_abi.errors import HostError, Refused, Trap


class ValType(enum.Enum):
    """The core value types that cross the boundary."""

    I32 = "i32"
    I64 = "i64"
    F32 = "f32"
    F64 = "f64"


@dataclass(frozen=True, slots=True)
class FuncType:
    """The type of a function."""

    params: tuple[ValType, ...] = ()
    results: tuple[ValType, ...] = ()

    def __str__(self) -> str:
        params = " ".join(p.value for p in self.params)
        results = " ".join(r.value for r in self.results)
        return f"({params})->({results})"


# Annotations of a host function's parameters and result. The U forms arrive unsigned: pointers, lengths, handles.
I32 = NewType("I32", int)
U32 = NewType("U32", int)
I64 = NewType("I64", int)
U64 = NewType("U64", int)
F32 = NewType("F32", float)
F64 = NewType("F64", float)

_WASM: dict[Any, ValType] = {
    I32: ValType.I32,
    U32: ValType.I32,
    I64: ValType.I64,
    U64: ValType.I64,
    F32: ValType.F32,
    F64: ValType.F64,
}


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One import that the host answers."""

    module: str
    name: str
    signature: FuncType
    kinds: tuple[Any, ...]  # the annotations of the parameters, in order: I32, U32 …
    body: Callable[..., Any]
    faults: Mapping[type[HostError], int] | None  # error numbers; None: every HostError is a trap

    def invoke(self, context: Context, *values: Any) -> Any:
        """Run the body; a `HostError` becomes the module's error number, or a `Trap` where it has none.

        `values` are as `kinds` says (unsigned for the U forms). `CallError`s pass; an engine must let no exception
        through into the guest.
        """
        try:
            return self.body(context, *values)
        except HostError as error:
            return self.refused(context, error)

    def refused(self, context: Context, error: HostError) -> int:
        """What the guest gets where the body has raised `error`. Raises `Trap`."""
        if isinstance(error, Refused):
            return error.number
        context.log_refusal(f"{self.module}.{self.name}", error)
        if self.faults is not None:
            for kind in type(error).__mro__:
                number = self.faults.get(kind)
                if number is not None:
                    return number
        raise Trap("host function", f"{self.module}.{self.name}: {error}") from error


class HostModule:
    """The functions of one import module, by name.

    `faults` maps a `HostError` class to the error number that the module's ABI has for it; the most derived class
    that is named wins.
    """

    def __init__(self, name: str, faults: Mapping[type[HostError], int] | None = None) -> None:
        self.name = name
        self.functions: dict[str, HostFunction] = {}
        self._faults = faults

    def function(
        self, name: str | None = None, *, faults: Mapping[type[HostError], int] | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function `(context, …) -> result`; `faults` replaces the module's for this one.

        Raises `TypeError` for a signature that has no Wasm form.
        """

        def register(body: Callable[..., Any]) -> Callable[..., Any]:
            field = name or body.__name__
            if field in self.functions:
                raise TypeError(f"{self.name}.{field} is defined twice")
            kinds, results = _signature(self.name, field, body)
            numbers = faults if faults is not None else self._faults
            self.functions[field] = HostFunction(
                self.name,
                field,
                FuncType(tuple(_WASM[k] for k in kinds), tuple(_WASM[r] for r in results)),
                kinds,
                body,
                numbers if results and results[0] not in (F32, F64) else None,
            )
            return body

        return register


def _signature(module: str, name: str, body: Callable[..., Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    hints = typing.get_type_hints(body)
    parameters = list(inspect.signature(body).parameters)
    if not parameters or hints.get(parameters[0]) is not Context:
        raise TypeError(f"{module}.{name}: the first parameter must be annotated Context")
    kinds = tuple(hints.get(p) for p in parameters[1:])
    for parameter, kind in zip(parameters[1:], kinds, strict=True):
        if kind not in _WASM:
            raise TypeError(f"{module}.{name}: parameter {parameter} has no Wasm type ({kind})")
    result = hints.get("return", inspect.Parameter.empty)
    if result is type(None):
        return kinds, ()
    if result not in _WASM:
        raise TypeError(f"{module}.{name}: the result has no Wasm type ({result})")
    return kinds, (result,)

"""What every Wasm engine is to Guesthouse: four protocols, and the types that they use.

An engine compiles modules, links them against host functions, and makes instances. It knows limits and deadlines, and
nothing of Dapr, models, calling conventions or the manifest. Two kinds of engine fit: one that runs in this process on
several threads and can be interrupted, and one that lives in worker processes.

Life cycle: `Engine.load(artefact)` -> `Module.link(functions)` -> `Linked.instantiate(context)` -> `Instance.call` …
-> `Instance.close`. All that comes before `instantiate` happens once, at load, and runs no guest code.
(What initialises a guest for its snapshot is a step of compiling, in a child process: `initialise.py`.)
"""

from __future__ import annotations

import hashlib
import math
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from guesthouse_abi.context import Context
from guesthouse_abi.errors import CallError, HostFunctionError
from guesthouse_abi.host import FuncType, HostFunction, ValType
from guesthouse_abi.memory import Memory

PAGE = 65536  # bytes of a page of Wasm memory
TABLE_ELEMENTS = 100_000  # of the largest table that a guest may have

#: The kind of trap that a guest's uncaught exception is (of Wasm's exception handling).
UNCAUGHT = "an exception that nobody caught"
_FLOATS = {
    ValType.F32: (struct.Struct("<f"), struct.Struct("<I")),
    ValType.F64: (struct.Struct("<d"), struct.Struct("<Q")),
}


class EngineError(Exception):
    """An engine refused a module or an artefact. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class ExternType:
    """The type of an import or export. `function` is set for a function whose parameters and results are numbers."""

    kind: str  # "func", "memory", "table", "global", "tag"
    function: FuncType | None = None
    minimum: int = 0  # memory: pages; table: elements
    maximum: int | None = None
    text: str = ""  # the type in messages, where the other fields do not say it

    def __str__(self) -> str:
        if self.kind == "func":
            return f"function {self.function or self.text}"
        return f"{self.kind} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Import:
    """One import of a module."""

    module: str
    name: str
    type: ExternType


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine must know before it is made.

    - `instances` is how many may live at once; `memory` the bytes of the largest guest memory.
    - `pooling` reserves memory for so many instances ahead, where the engine can.
    - `python` is the interpreter that has the engine, where this one does not have it.
    """

    instances: int = 64
    memory: int = 128 << 20
    pooling: bool = True
    python: str | None = None


class CompileStep(NamedTuple):
    """One step of compiling: `module.translate(wasm, *arguments)`, in a child process under `interpreter`.

    It returns the bytes that the next step begins with; the last step returns the artefact. It raises `Refused`.
    """

    module: str
    interpreter: str
    arguments: tuple[str, ...] = ()


class Refused(Exception):
    """A step of compiling refused the module. The text is for the operator."""


class Instance(Protocol):
    """One sandbox, with one guest in it for one event. Belongs to the thread that made it; may be closed twice."""

    memory: Memory | None

    def call(self, export: str, *arguments: int) -> int:
        """Call an exported function. Arguments and result are the bits of numbers, as unsigned integers; no result is
        0.

        Raises `CallError`: `Trap`, `DeadlineExceeded`, `Cancelled`, `Exit`, or what a host function raised.
        """

    def close(self) -> None: ...


class Linked(Protocol):
    """A module with its imports resolved."""

    def instantiate(self, context: Context) -> Instance:
        """Make a new instance under the context's limits and deadline.

        The module's start function runs here, and may use the memory that the module exports. So this raises
        `CallError`, as `Instance.call` does.
        """


class Module(Protocol):
    """Compiled code."""

    imports: Sequence[Import]
    exports: Mapping[str, ExternType]

    def link(self, functions: Sequence[HostFunction]) -> Linked:
        """Resolve the imports. `functions` has a host function for each import, of the type that the module imports."""


class Engine(Protocol):
    """A Wasm engine. `close` ends its threads; all instances must be closed before.

    `pooling` says whether memory for instances is reserved ahead. `interpreter` is the Python for worker processes.
    """

    name: str
    version: str
    pooling: bool
    interpreter: str

    def steps(self, memory: int) -> Sequence[CompileStep]:
        """The steps that compile a module for a guest that may have `memory` bytes of memory."""

    def fingerprint(self, memory: int) -> str:
        """A digest of all that an artefact depends on besides the module: engine, version, configuration, CPU, and the
        guest's `memory` where it is part of the code."""

    def load(self, artefact: Path | bytes) -> Module:
        """Map an artefact that this engine's compiler made. Raises `EngineError`.

        The module's types can be read then. It can be linked only where the engine can run guests in this process.
        """

    def close(self) -> None: ...


def number_of(bits: int, kind: ValType) -> float:
    """The number of type f32 or f64 with these bits."""
    number, raw = _FLOATS[kind]
    return float(number.unpack(raw.pack(bits))[0])


def bits_of(value: float, kind: ValType) -> int:
    """The bits of a number of type f32 or f64. A number too large for f32 becomes an infinity."""
    number, raw = _FLOATS[kind]
    try:
        return int(raw.unpack(number.pack(value))[0])
    except OverflowError:
        return int(raw.unpack(number.pack(math.copysign(math.inf, value)))[0])


def ended_by(error: BaseException) -> BaseException:
    """The exception that `Instance.call` raises after a host function raised `error`. Ctrl-C stays as it is."""
    if isinstance(error, (CallError, KeyboardInterrupt)):
        return error
    wrapped = HostFunctionError("a host function failed")
    wrapped.__cause__ = error
    return wrapped


def fingerprint(*parts: str) -> str:
    """A digest of `parts` and of this machine's CPU, on which compiled code depends."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
            cpu = next((line for line in info if line.startswith(("flags", "Features"))), "")
    except OSError:
        cpu = platform.processor()
    return hashlib.sha256("\n".join((platform.machine(), cpu, *parts)).encode()).hexdigest()[:16]

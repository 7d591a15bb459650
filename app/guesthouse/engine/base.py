"""The seam between Guesthouse and a Wasm engine.

An engine compiles, links a module against host functions, and makes instances; it knows limits and deadlines, and
nothing of Dapr, models, calling conventions or the manifest. Two kinds are meant to fit behind it: one that runs in
this process on several threads and can be interrupted, and one that lives in worker processes.

Life cycle: `Engine.load(artefact)` -> `Module.link(functions)` -> `Linked.instantiate(context)` -> `Instance.call` …
-> `Instance.close`. Everything before `instantiate` happens once, at load, and runs no guest code.
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
from guesthouse_abi.errors import CallError, HostFault
from guesthouse_abi.host import FuncType, HostFunction, ValType
from guesthouse_abi.memory import Memory

PAGE = 65536
TABLE_ELEMENTS = 100_000  # the largest table of a guest


#: The kind of trap that an exception of the guest's is (of Wasm's exception handling).
UNCAUGHT = "an exception that nobody caught"
_FLOATS = {
    ValType.F32: (struct.Struct("<f"), struct.Struct("<I")),
    ValType.F64: (struct.Struct("<d"), struct.Struct("<Q")),
}


class EngineError(Exception):
    """An engine refused a module or an artefact. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class ExternType:
    """The type of an import or export. `function` is set for functions that use numbers only."""

    kind: str  # "func", "memory", "table", "global", "tag"
    function: FuncType | None = None
    minimum: int = 0  # memory: pages; table: elements
    maximum: int | None = None
    text: str = ""  # for messages, where the rest cannot say it

    def __str__(self) -> str:
        if self.kind == "func":
            return f"function {self.function or self.text}"
        return f"{self.kind} {self.text}".strip()


@dataclass(frozen=True, slots=True)
class Import:
    """What a module asks for."""

    module: str
    name: str
    type: ExternType


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What an engine must know before it is made.

    `instances`: how many may live at once. `memory`: the largest guest memory, bytes. `pooling`: keep that many
    instance slots mapped ahead, where the engine can. `python`: the interpreter that has the engine, where that needs
    another than this one.
    """

    instances: int = 64
    memory: int = 128 << 20
    pooling: bool = True
    python: str | None = None


class Step(NamedTuple):
    """A step of compiling: `module.translate(wasm, *arguments)`, in a child of its own under an interpreter.

    It returns what the next step begins with, in the end the artefact, and raises `Refused`.
    """

    module: str
    interpreter: str
    arguments: tuple[str, ...] = ()


class Refused(Exception):
    """A module that cannot be compiled. The text is for the operator."""


class Instance(Protocol):
    """One sandbox. Belongs to the thread that made it; `close` is idempotent."""

    memory: Memory | None

    def call(self, export: str, *arguments: int) -> int:
        """Call an exported function; numbers go in and come out as unsigned integers, 0 for no result.

        Raises `CallError`: `Trap`, `DeadlineExceeded`, `Cancelled`, `Exit`, or what a host function raised.
        """

    def close(self) -> None: ...


class Linked(Protocol):
    """A module with its imports resolved."""

    def instantiate(self, context: Context) -> Instance:
        """A fresh instance under the context's limits and deadline. The start function runs here, with the memory that
        the module exports, so it may raise `CallError` just as `Instance.call`."""


class Module(Protocol):
    """Compiled code."""

    imports: Sequence[Import]
    exports: Mapping[str, ExternType]

    def link(self, functions: Sequence[HostFunction]) -> Linked:
        """Resolve the imports. `functions` are those that the module imports, with the types that it imports."""


class Engine(Protocol):
    """A Wasm engine. `close` ends its threads; modules and instances must be gone by then.

    `interpreter` is the Python that worker processes run under.
    """

    name: str
    version: str
    pooling: bool
    interpreter: str

    def steps(self, memory: int) -> Sequence[Step]:
        """How a module is compiled for a guest that may have so many bytes of memory."""

    def fingerprint(self, memory: int) -> str:
        """What an artefact depends on besides the module: engine, version, configuration, CPU, and the bytes of memory
        that its guest may have where they are part of the code."""

    def load(self, artefact: Path | bytes) -> Module:
        """Map an artefact that this engine's compiler made. Raises `EngineError`.

        Its types can be read from then on; whether it can be linked in this process is another matter.
        """

    def close(self) -> None: ...


def number_of(bits: int, kind: ValType) -> float:
    """The number of type f32 or f64 that these bits are."""
    number, raw = _FLOATS[kind]
    return float(number.unpack(raw.pack(bits))[0])


def bits_of(value: float, kind: ValType) -> int:
    """The bits of a number of type f32 or f64; what is too large for f32 becomes an infinity."""
    number, raw = _FLOATS[kind]
    try:
        return int(raw.unpack(number.pack(value))[0])
    except OverflowError:
        return int(raw.unpack(number.pack(math.copysign(math.inf, value)))[0])


def ended_by(fault: BaseException) -> BaseException:
    """What a call raises that a host function ended by `fault`; Ctrl-C, which may come in one, stays what it is."""
    if isinstance(fault, (CallError, KeyboardInterrupt)):
        return fault
    wrapped = HostFault("a host function failed")
    wrapped.__cause__ = fault
    return wrapped


def fingerprint(*parts: str) -> str:
    """A digest of `parts` and of this machine's CPU, on which compiled code depends."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
            cpu = next((line for line in info if line.startswith(("flags", "Features"))), "")
    except OSError:
        cpu = platform.processor()
    return hashlib.sha256("\n".join((platform.machine(), cpu, *parts)).encode()).hexdigest()[:16]

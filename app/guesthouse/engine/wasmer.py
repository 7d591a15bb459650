"""The wasmer engine, which runs in worker processes only.

It keeps the GIL while a guest runs, it cannot be interrupted, and an instance belongs to the thread that made it.

A loop ends because the worker is killed (`guests/process/pool.py`), memory is bounded by what the module declares
(`wasmer_gate.py`) and by the limit of the worker process. wasmer 1.1.0 exists for CPython 3.10 alone. A server under
another Python imports nothing of it: the artefact has the types that the server needs, and the worker links.

An artefact is: the SHA-256 of all that follows (32 bytes), the length of the types (4 bytes, little-endian), the types
as JSON, and wasmer's serialized module. wasmer trusts these bytes, so the digest is compared first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from ctypes import addressof, c_char
from importlib import metadata
from importlib.util import find_spec
from operator import and_
from pathlib import Path
from time import perf_counter
from typing import Any

from guesthouse.engine.base import (
    CompileStep,
    EngineConfig,
    EngineError,
    ExternType,
    Import,
    Refused,
    bits_of,
    ended_by,
    fingerprint,
    number_of,
)
from guesthouse.engine.wasm_sections import START
from guesthouse.system import children
from guesthouse_abi.context import Context
from guesthouse_abi.errors import Trap
from guesthouse_abi.host import I32, I64, U32, U64, FuncType, HostFunction, ValType
from guesthouse_abi.imports import host_modules
from guesthouse_abi.memory import Memory

VERSION = "1.1.0"

_INTERPRETER_TIME = 60.0  # seconds that another interpreter may take to say which wasmer it has
_FORMAT = "artefact 2"
_TYPES = {1: ValType.I32, 2: ValType.I64, 3: ValType.F32, 4: ValType.F64}  # wasmer's numbers
_OTHER_TYPES = {5: "v128", 6: "externref", 7: "funcref"}
_NUMBERS = {kind: number for number, kind in _TYPES.items()}
_LENGTH = struct.Struct("<I")
_FLOATS = (ValType.F32, ValType.F64)

#: wasmer's texts for traps (lib/vm/src/trap/trapcode.rs of wasmer 1.0) -> the names that wasmtime.py uses.
_KINDS = {
    "call stack exhausted": "stack overflow",
    "out of bounds memory access": "memory out of bounds",
    "undefined element: out of bounds table access": "table out of bounds",
    "out of bounds table access": "table out of bounds",
    "uninitialized element": "indirect call to null",
    "indirect call type mismatch": "indirect call type mismatch",
    "integer overflow": "integer overflow",
    "integer divide by zero": "integer division by zero",
    "invalid conversion to integer": "invalid conversion to integer",
    "unreachable": "unreachable",
}


class NoWasmer(EngineError):
    """No interpreter here has wasmer. `faults` says what to do."""

    @property
    def faults(self) -> list[str]:
        return [str(self)]


def found() -> str:
    """The versions of wasmer and of its compiler that this interpreter has; "" where one of them is missing."""
    try:
        # Under another Python than 3.10, wasmer can be installed but not imported. Only the compiling child needs its
        # compiler.
        if not (find_spec("wasmer.wasmer") and find_spec("wasmer_compiler_cranelift")):
            return ""
    except ImportError:
        return ""
    return f"{metadata.version('wasmer')} {metadata.version('wasmer-compiler-cranelift')}"


def main(_arguments: list[str]) -> int:
    """The child process under another interpreter: prints the versions of wasmer that it has."""
    host_modules()
    sys.stdout.write(found())
    return 0


def _interpreter(python: str | None) -> str:
    """The interpreter that has wasmer. Raises `NoWasmer`."""
    if python is None:
        if found() == f"{VERSION} {VERSION}":
            return sys.executable
        version = ".".join(map(str, sys.version_info[:3]))
        raise NoWasmer(f"this Python {version} has no wasmer {VERSION}: {_REMEDY}")
    program = shutil.which(python)
    if program is None:
        raise NoWasmer(f"engine.python: {python} is not found: {_REMEDY}")
    try:
        ended = subprocess.run(
            children.command(program, __name__),
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_INTERPRETER_TIME,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoWasmer(f"engine.python: {python} cannot be run ({_reason(error)}): {_REMEDY}") from None
    if ended.returncode != 0:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoWasmer(
            f"engine.python: {python} cannot run guests ({said[-1] if said else 'it gives no reason'}): {_REMEDY}"
        )
    if ended.stdout.decode() != f"{VERSION} {VERSION}":
        raise NoWasmer(f"engine.python: {python} has no wasmer {VERSION}: {_REMEDY}")
    return program


_REMEDY = (
    "it is for CPython 3.10 alone; make an environment with it (python3.10 -m venv wasmer; wasmer/bin/pip install "
    "'guesthouse[wasmer]') and name its interpreter, as in [engine] python = \"wasmer/bin/python\""
)


def _reason(error: OSError | subprocess.TimeoutExpired) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else f"no answer within {_INTERPRETER_TIME:g} s"


class WasmerEngine:
    """See `base.Engine`. Raises `NoWasmer` where neither this interpreter nor `config.python` has it."""

    name = "wasmer"
    version = VERSION
    pooling = False

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.interpreter = _interpreter((config or EngineConfig()).python)

    def steps(self, memory: int) -> Sequence[CompileStep]:
        """See `base.Engine.steps`."""
        return CompileStep("guesthouse.engine.wasmer_gate", sys.executable, (str(memory),)), CompileStep(
            __name__, self.interpreter
        )

    def fingerprint(self, memory: int) -> str:
        """See `base.Engine.fingerprint`."""
        return fingerprint("wasmer", VERSION, "universal cranelift", _FORMAT, str(memory))

    def load(self, artefact: Path | bytes) -> WasmerModule:
        """See `base.Engine.load`."""
        data = artefact.read_bytes() if isinstance(artefact, Path) else artefact
        digest, contents = data[:32], memoryview(data)[32:]
        if hashlib.sha256(contents).digest() != digest:
            raise EngineError("the compiled code is damaged")
        (length,) = _LENGTH.unpack_from(contents)
        types = json.loads(bytes(contents[4 : 4 + length]))
        return WasmerModule(types["imports"], types["exports"], bytes(contents[4 + length :]))

    def close(self) -> None:
        """Nothing is open."""


def translate(wasm: bytes) -> bytes:
    """The artefact of a module. Raises `Refused`. Runs in a child process (`compiler.py`)."""
    import wasmer
    from wasmer_compiler_cranelift import Compiler

    try:
        module = wasmer.Module(wasmer.Store(wasmer.engine.Universal(Compiler)), wasm)
    except RuntimeError as error:
        text = str(error)
        if "init_expr" in text:
            text = "it uses what wasmer 1.1.0 does not have: extended constant expressions are not enabled"
        raise Refused(text) from None
    types = {
        "imports": [(one.module, one.name, _encoded_type(one.type)) for one in module.imports],
        "exports": [(one.name, _encoded_type(one.type)) for one in module.exports],
    }
    written = json.dumps(types).encode()
    contents = _LENGTH.pack(len(written)) + written + bytes(module.serialize())
    return hashlib.sha256(contents).digest() + contents


def _encoded_type(kind: Any) -> list[object]:
    """A type of wasmer's as JSON: its kind, then its numbers."""
    name = type(kind).__name__.removesuffix("Type").lower()
    if name == "function":
        params, results = list(map(int, kind.params)), list(map(int, kind.results))
        if 5 in params or 5 in results:
            raise Refused("an import or export uses a type that hosts cannot handle (v128)")
        return ["func", params, results]
    if name in ("memory", "table"):
        return [name, kind.minimum, kind.maximum]
    return [name, int(kind.type)]


def _decoded_type(kind: str, *numbers: Any) -> ExternType:
    """The type that `_encoded_type` has written."""
    if kind == "func":
        params, results = numbers
        if all(number in _TYPES for number in (*params, *results)):
            types = [tuple(_TYPES[number] for number in numbers) for numbers in (params, results)]
            return ExternType("func", FuncType(*types))
        return ExternType("func", text=f"({_named(params)})->({_named(results)})")
    if kind in ("memory", "table"):
        return ExternType(kind, minimum=numbers[0], maximum=numbers[1])
    return ExternType(kind, text=_named(numbers))


def _named(numbers: Sequence[int]) -> str:
    return " ".join(_TYPES[number].value if number in _TYPES else _OTHER_TYPES[number] for number in numbers)


class WasmerModule:
    """See `base.Module`. wasmer itself is used only when the module is linked."""

    def __init__(self, imports: Sequence[Any], exports: Sequence[Any], code: bytes) -> None:
        self.imports: Sequence[Import] = [Import(module, name, _decoded_type(*kind)) for module, name, kind in imports]
        self.exports: Mapping[str, ExternType] = {name: _decoded_type(*kind) for name, kind in exports if name != START}
        self.starts = len(self.exports) < len(
            exports
        )  # whether it has a start function, as an export (`wasmer_gate.py`)
        self.code = code

    def link(self, functions: Sequence[HostFunction]) -> WasmerLinked:
        """See `base.Module.link`. Raises `EngineError` where this Python has no wasmer."""
        return WasmerLinked(self, functions)


class WasmerLinked:
    """See `base.Linked`. For one thread."""

    def __init__(self, module: WasmerModule, functions: Sequence[HostFunction]) -> None:
        try:
            import wasmer
        except ImportError as error:
            raise EngineError(f"this Python has no wasmer ({error})") from None
        store = wasmer.Store(wasmer.engine.Universal())  # without a compiler: the module is compiled
        try:
            self._module = wasmer.Module.deserialize(store, module.code)
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        self._instance = wasmer.Instance
        self.current: WasmerInstance | None = None  # the instance whose host functions may run
        self._imports = wasmer.ImportObject()
        spaces: dict[str, dict[str, Any]] = {}
        for function in functions:
            kind = wasmer.FunctionType(*([_NUMBERS[v] for v in values] for values in _values(function)))
            spaces.setdefault(function.module, {})[function.name] = wasmer.Function(store, self._host(function), kind)
        for name, space in spaces.items():
            self._imports.register(name, space)
        self.starts = module.starts
        self.memory_name = next((name for name, kind in module.exports.items() if kind.kind == "memory"), None)
        self.functions = {name: kind.function for name, kind in module.exports.items() if kind.function is not None}
        #: Exports with the name of an attribute of wasmer's exports object, which cannot be got as attributes.
        self.hidden = frozenset(name for name in module.exports if hasattr(wasmer.Exports, name))

    def instantiate(self, context: Context) -> WasmerInstance:
        """See `base.Linked.instantiate`."""
        return WasmerInstance(self, context)

    def new_instance(self) -> Any:
        """A new instance of wasmer's own."""
        return self._instance(self._module, self._imports)

    def _host(self, function: HostFunction) -> Callable[..., int | float | None]:
        """A host function as wasmer calls it: with signed integers. Its exception is kept in the instance."""
        read = _reader([_MASKS.get(kind) for kind in function.kinds])
        write = _WRITE[function.signature.results[0]] if function.signature.results else None
        invoke = function.invoke

        def callback(*values: Any) -> int | float | None:
            started = perf_counter()
            instance = self.current
            assert instance is not None
            instance.located = None
            try:
                result = invoke(instance.context, *read(values))
                return None if write is None else write(result)
            except BaseException as error:
                instance.pending_error = error
                raise RuntimeError("host function") from None
            finally:
                instance.context.host_seconds += perf_counter() - started

        return callback


#: The mask that turns wasmer's signed number into the number that a host function takes; None for floating-point
#: numbers.
_MASKS: dict[Any, int] = {U32: 0xFFFFFFFF, U64: 0xFFFFFFFFFFFFFFFF, I32: -1, I64: -1}
_WRITE: dict[ValType, Callable[[Any], int | float]] = {
    ValType.I32: lambda value: _signed(value, 32),
    ValType.I64: lambda value: _signed(value, 64),
    ValType.F32: float,
    ValType.F64: float,
}


def _reader(masks: Sequence[int | None]) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """A function that turns the numbers from wasmer into the numbers that a host function takes."""
    whole = [mask for mask in masks if mask is not None]
    if len(whole) == len(masks):
        return lambda values: map(and_, values, whole)
    return lambda values: [v if mask is None else v & mask for v, mask in zip(values, masks, strict=True)]


def _values(function: HostFunction) -> tuple[Sequence[ValType], Sequence[ValType]]:
    return function.signature.params, function.signature.results


def _signed(value: int, bits: int) -> int:
    sign = 1 << (bits - 1)
    return ((value & (2 * sign - 1)) ^ sign) - sign


class WasmerInstance:
    """See `base.Instance`."""

    def __init__(self, linked: WasmerLinked, context: Context) -> None:
        self._linked = linked
        self.context = context
        self.memory: Memory | None = None
        self.pending_error: BaseException | None = None  # raised in a callback; the call raises it
        self.located: tuple[int, int] | None = None
        self._exports: Any = None
        linked.current = self
        try:
            try:
                self._exports = linked.new_instance().exports
                if linked.memory_name is not None:
                    self._memory = self._export(linked.memory_name)
                    self.memory = context.memory = Memory(self._locate)
                if linked.starts:
                    self._export(START)()
                    self.located = None
            except BaseException as error:  # a panic of wasmer is no subclass of Exception
                failed = self._failure(error)
                raise failed from failed.__cause__
        except BaseException:
            self.close()
            raise

    def _export(self, name: str) -> Any:
        if name in self._linked.hidden:
            return next(export for known, export in iter(self._exports) if known == name)
        return getattr(self._exports, name)

    def _locate(self) -> tuple[int, int]:
        """The memory's address and size. Kept until the guest runs again, for only the guest can move or grow it."""
        located = self.located
        if located is None:
            size = self._memory.data_size
            # Only the address is kept: a view of the buffer would be wrong after the memory has grown.
            located = self.located = addressof(c_char.from_buffer(self._memory.buffer)) if size else 0, size
        return located

    def call(self, export: str, *arguments: int) -> int:
        """See `base.Instance.call`."""
        if self._exports is None:
            raise RuntimeError("the instance is closed")
        signature = self._linked.functions[export]
        self._linked.current = self
        given = [_to_wasmer(value, kind) for value, kind in zip(arguments, signature.params, strict=True)]
        try:
            result = self._export(export)(*given)
        except BaseException as error:  # a panic of wasmer is no subclass of Exception
            failed = self._failure(error)
            raise failed from failed.__cause__
        finally:
            self.located = None
        if isinstance(result, (tuple, list)):
            result = result[0]
        return _from_wasmer(result, signature.results[0]) if signature.results else 0

    def _failure(self, error: BaseException) -> BaseException:
        """The exception for what ended a call."""
        pending, self.pending_error = self.pending_error, None
        if pending is not None:
            return ended_by(pending)
        text = str(error).removeprefix("RuntimeError: ").partition("\n")[0]
        kind = _KINDS.get(text)
        return Trap(kind or "trap", kind or text or type(error).__name__)

    def close(self) -> None:
        """Let go of wasmer's instance. A `Memory` object that is used after this has no bytes."""
        self.memory = self.context.memory = None
        self.located = 0, 0
        self._exports = self._memory = None
        if self._linked.current is self:
            self._linked.current = None


def _to_wasmer(value: int, kind: ValType) -> int | float:
    """The bits of a number as the number that wasmer takes."""
    if kind in _FLOATS:
        return number_of(value, kind)
    return _signed(value, 32 if kind is ValType.I32 else 64)


def _from_wasmer(value: int | float, kind: ValType) -> int:
    """The number that wasmer gives, as bits."""
    if kind in _FLOATS:
        return bits_of(value, kind)
    return int(value) & (0xFFFFFFFF if kind is ValType.I32 else 0xFFFFFFFFFFFFFFFF)

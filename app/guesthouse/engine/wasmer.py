"""The wasmer engine: in worker processes only, for it holds the interpreter while a guest runs, cannot be interrupted,
and its instances belong to the thread that made them.

A loop ends because the worker is killed (`guests/process/pool.py`), memory is bounded by what the module declares
(`lowered.py`) and by the worker's own limit. wasmer 1.1.0 exists for CPython 3.10 alone; a server under another Python
imports none of it: types stand in the artefact, and it is the worker that links.

An artefact: SHA-256 of what follows (32 bytes), length of the types (4 bytes, little-endian), types as JSON, and what
wasmer serializes. wasmer trusts its bytes, therefore the digest.
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
    EngineConfig,
    EngineError,
    ExternType,
    Import,
    Refused,
    Step,
    bits_of,
    ended_by,
    fingerprint,
    number_of,
)
from guesthouse.engine.declared import START
from guesthouse.faults import Faults
from guesthouse.system import children
from guesthouse_abi.context import Context
from guesthouse_abi.errors import Trap
from guesthouse_abi.host import I32, I64, U32, U64, FuncType, HostFunction, ValType
from guesthouse_abi.imports import host_modules
from guesthouse_abi.memory import Memory

VERSION = "1.1.0"

_ANSWER = 60.0  # seconds that another interpreter may take to say what it has
_FORMAT = "artefact 2"
_TYPES = {1: ValType.I32, 2: ValType.I64, 3: ValType.F32, 4: ValType.F64}  # wasmer's numbers
_OTHER_TYPES = {5: "v128", 6: "externref", 7: "funcref"}
_NUMBERS = {kind: number for number, kind in _TYPES.items()}
_LENGTH = struct.Struct("<I")
_FLOATS = (ValType.F32, ValType.F64)

#: wasmer's texts for traps (lib/vm/src/trap/trapcode.rs of wasmer 1.0), as the other engine calls them.
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


class NoWasmer(EngineError, Faults):
    """No interpreter here has wasmer."""


def found() -> str:
    """The versions of wasmer and its compiler that this interpreter has, "" where it has none of them."""
    try:
        # On other Pythons than its own it can be installed, and not imported. The compiler is for compiling children.
        if not (find_spec("wasmer.wasmer") and find_spec("wasmer_compiler_cranelift")):
            return ""
    except ImportError:
        return ""
    return f"{metadata.version('wasmer')} {metadata.version('wasmer-compiler-cranelift')}"


def main(_arguments: list[str]) -> int:
    """A child under another interpreter: says what it has of what a worker needs."""
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
            children.command(program, __name__), env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoWasmer(f"engine.python: {python} cannot be run ({_why(error)}): {_REMEDY}") from None
    if ended.returncode != 0:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoWasmer(
            f"engine.python: {python} cannot run guests ({said[-1] if said else 'it says nothing'}): {_REMEDY}"
        )
    if ended.stdout.decode() != f"{VERSION} {VERSION}":
        raise NoWasmer(f"engine.python: {python} has no wasmer {VERSION}: {_REMEDY}")
    return program


_REMEDY = (
    "it is for CPython 3.10 alone; make an environment with it (python3.10 -m venv wasmer; wasmer/bin/pip install "
    "'guesthouse[wasmer]') and name its interpreter, as in [engine] python = \"wasmer/bin/python\""
)


def _why(error: OSError | subprocess.TimeoutExpired) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else f"no answer within {_ANSWER:g} s"


class WasmerEngine:
    """See `base.Engine`. Raises `NoWasmer` where neither this interpreter nor `config.python` has it."""

    name = "wasmer"
    version = VERSION
    pooling = False

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.interpreter = _interpreter((config or EngineConfig()).python)

    def steps(self, memory: int) -> Sequence[Step]:
        """See `base.Engine.steps`."""
        return Step("guesthouse.engine.lowered", sys.executable, (str(memory),)), Step(__name__, self.interpreter)

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
        """Nothing is held."""


def translate(wasm: bytes) -> bytes:
    """The artefact of a module. Raises `Refused`. Run in a child (`compiler.py`)."""
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
        "imports": [(one.module, one.name, _told(one.type)) for one in module.imports],
        "exports": [(one.name, _told(one.type)) for one in module.exports],
    }
    written = json.dumps(types).encode()
    contents = _LENGTH.pack(len(written)) + written + bytes(module.serialize())
    return hashlib.sha256(contents).digest() + contents


def _told(kind: Any) -> list[object]:
    """A type as JSON has it: its kind, then its numbers."""
    name = type(kind).__name__.removesuffix("Type").lower()
    if name == "function":
        params, results = list(map(int, kind.params)), list(map(int, kind.results))
        if 5 in params or 5 in results:
            raise Refused("an import or export uses a type that hosts cannot handle (v128)")
        return ["func", params, results]
    if name in ("memory", "table"):
        return [name, kind.minimum, kind.maximum]
    return [name, int(kind.type)]


def _understood(kind: str, *numbers: Any) -> ExternType:
    """What `_told` made."""
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
    """See `base.Module`. What wasmer makes of the code is made when it is linked."""

    def __init__(self, imports: Sequence[Any], exports: Sequence[Any], code: bytes) -> None:
        self.imports: Sequence[Import] = [Import(module, name, _understood(*kind)) for module, name, kind in imports]
        self.exports: Mapping[str, ExternType] = {name: _understood(*kind) for name, kind in exports if name != START}
        self.starts = len(self.exports) < len(exports)  # its start section is an export (`lowered.py`)
        self.code = code

    def link(self, functions: Sequence[HostFunction]) -> WasmerLinked:
        """See `base.Module.link`. Raises `EngineError` where this Python has no wasmer."""
        return WasmerLinked(self, functions)


class WasmerLinked:
    """A module with its imports resolved. For one thread."""

    def __init__(self, module: WasmerModule, functions: Sequence[HostFunction]) -> None:
        try:
            import wasmer
        except ImportError as error:
            raise EngineError(f"this Python has no wasmer ({error})") from None
        store = wasmer.Store(wasmer.engine.Universal())  # without a compiler: the code is there
        try:
            self._module = wasmer.Module.deserialize(store, module.code)
        except RuntimeError as error:
            raise EngineError(str(error)) from None
        self._instance = wasmer.Instance
        self.current: WasmerInstance | None = None  # the one whose host functions may run
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
        #: Names that wasmer's object for exports has itself: these are looked for one by one.
        self.hidden = frozenset(name for name in module.exports if hasattr(wasmer.Exports, name))

    def instantiate(self, context: Context) -> WasmerInstance:
        """See `base.Linked.instantiate`."""
        return WasmerInstance(self, context)

    def made(self) -> Any:
        """wasmer's own instance."""
        return self._instance(self._module, self._imports)

    def _host(self, function: HostFunction) -> Callable[..., int | float | None]:
        """A host function as wasmer calls it: with signed integers, and no exception but to say that there was one."""
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
                instance.fault = error
                raise RuntimeError("host function") from None
            finally:
                instance.context.host_seconds += perf_counter() - started

        return callback


#: What makes of wasmer's signed numbers what host functions take. Floating-point numbers are taken as they come.
_MASKS: dict[Any, int] = {U32: 0xFFFFFFFF, U64: 0xFFFFFFFFFFFFFFFF, I32: -1, I64: -1}
_WRITE: dict[ValType, Callable[[Any], int | float]] = {
    ValType.I32: lambda value: _signed(value, 32),
    ValType.I64: lambda value: _signed(value, 64),
    ValType.F32: float,
    ValType.F64: float,
}


def _reader(masks: Sequence[int | None]) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """What makes of the numbers that a guest hands over those that a host function takes."""
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
    """One sandbox."""

    def __init__(self, linked: WasmerLinked, context: Context) -> None:
        self._linked = linked
        self.context = context
        self.memory: Memory | None = None
        self.fault: BaseException | None = None
        self.located: tuple[int, int] | None = None
        self._exports: Any = None
        linked.current = self
        try:
            try:
                self._exports = linked.made().exports
                if linked.memory_name is not None:
                    self._memory = self._export(linked.memory_name)
                    self.memory = context.memory = Memory(self._locate)
                if linked.starts:
                    self._export(START)()
                    self.located = None
            except BaseException as error:  # a panic of wasmer's is none of Exception's
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
        """Asked for anew whenever the guest has run since: nobody else can move or grow its memory."""
        located = self.located
        if located is None:
            size = self._memory.data_size
            # The address alone is kept: a view would outlive a growth.
            located = self.located = addressof(c_char.from_buffer(self._memory.buffer)) if size else 0, size
        return located

    def call(self, export: str, *arguments: int) -> int:
        """See `base.Instance.call`."""
        if self._exports is None:
            raise RuntimeError("the instance is closed")
        signature = self._linked.functions[export]
        self._linked.current = self
        given = [_given(value, kind) for value, kind in zip(arguments, signature.params, strict=True)]
        try:
            result = self._export(export)(*given)
        except BaseException as error:  # a panic of wasmer's is none of Exception's
            failed = self._failure(error)
            raise failed from failed.__cause__
        finally:
            self.located = None
        if isinstance(result, (tuple, list)):
            result = result[0]
        return _taken(result, signature.results[0]) if signature.results else 0

    def _failure(self, error: BaseException) -> BaseException:
        """What ended a call."""
        fault, self.fault = self.fault, None
        if fault is not None:
            return ended_by(fault)
        text = str(error).removeprefix("RuntimeError: ").partition("\n")[0]
        kind = _KINDS.get(text)
        return Trap(kind or "trap", kind or text or type(error).__name__)

    def close(self) -> None:
        """Let go of wasmer's instance. A `Memory` that somebody kept has no bytes from here on."""
        self.memory = self.context.memory = None
        self.located = 0, 0
        self._exports = self._memory = None
        if self._linked.current is self:
            self._linked.current = None


def _given(value: int, kind: ValType) -> int | float:
    """An unsigned number as wasmer takes it."""
    if kind in _FLOATS:
        return number_of(value, kind)
    return _signed(value, 32 if kind is ValType.I32 else 64)


def _taken(value: int | float, kind: ValType) -> int:
    """What wasmer gives, as an unsigned number."""
    if kind in _FLOATS:
        return bits_of(value, kind)
    return int(value) & (0xFFFFFFFF if kind is ValType.I32 else 0xFFFFFFFFFFFFFFFF)

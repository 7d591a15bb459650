"""The wasmtime engine: in this process, on as many threads as call it. It can interrupt a guest and bound its memory.

Host functions are C callbacks of our own. They and the exports are called without a check of types, which were compared
when the module was linked. A callback finds its instance through a thread-local: an instance is used by one thread, and
its callbacks run on that thread. The C prototypes are in `capi.py`; compiling is in `compiler.py`.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from ctypes import addressof, byref, c_void_p
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any

import wasmtime

from guesthouse.engine import capi
from guesthouse.engine.base import (
    TABLE_ELEMENTS,
    UNCAUGHT,
    CompileStep,
    EngineConfig,
    EngineError,
    ExternType,
    Import,
    Refused,
    bits_of,
    ended_by,
    fingerprint,
)
from guesthouse.system.threads import lasting_thread
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import DeadlineExceeded, HostError, Trap
from guesthouse_abi.host import F32, F64, I32, I64, U32, U64, FuncType, HostFunction, ValType
from guesthouse_abi.memory import Image, Memory

STACK = 512 << 10  # bytes of a guest's stack: wasmtime's default
TICK = 0.01  # seconds between two epochs while a guest runs
_IDLE_TICKS = 200  # ticks that the ticker goes on after the last guest
_EPOCHS_TO_CHECK = 1  # epochs between two looks at an event's deadline
_RESERVE_POLL = 0.05  # seconds between two looks at the deadline of an event that waits for an instance

_KINDS = {
    code.value: name
    for code, name in (
        (wasmtime.TrapCode.STACK_OVERFLOW, "stack overflow"),
        (wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS, "memory out of bounds"),
        (wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS, "table out of bounds"),
        (wasmtime.TrapCode.INDIRECT_CALL_TO_NULL, "indirect call to null"),
        (wasmtime.TrapCode.BAD_SIGNATURE, "indirect call type mismatch"),
        (wasmtime.TrapCode.INTEGER_OVERFLOW, "integer overflow"),
        (wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO, "integer division by zero"),
        (wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER, "invalid conversion to integer"),
        (wasmtime.TrapCode.UNREACHABLE, "unreachable"),
        (wasmtime.TrapCode.INTERRUPT, "interrupt"),
    )
}

_VALTYPES = {"i32": ValType.I32, "i64": ValType.I64, "f32": ValType.F32, "f64": ValType.F64}

_FINGERPRINT = fingerprint("wasmtime", capi.VERSION, "epochs no-memory64 no-threads one-memory 1")
STEPS = (CompileStep(__name__, sys.executable),)
_MOST_VALUES = 32  # parameters, and results, of an export that can be called
_INSTANCES, _TABLES, _MEMORIES = 1, 4, 1  # of one store at most; a store has one module
_EXTERN = 32  # bytes of a wasmtime_extern_t, rounded up; its payload is at the offset 8


def configure(config: wasmtime.Config) -> None:
    """Make the settings that compiled code depends on. The compiling child makes the same."""
    config.epoch_interruption = True
    config.wasm_memory64 = False
    config.wasm_threads = False
    config.wasm_multi_memory = False


def translate(wasm: bytes) -> bytes:
    """The artefact of a module. Raises `Refused`. Runs in a child process (`compiler.py`)."""
    config = wasmtime.Config()
    configure(config)
    try:
        module = wasmtime.Module(wasmtime.Engine(config), wasm)
    except wasmtime.WasmtimeError as error:
        raise Refused(str(error)) from None
    # The process aborts when a type is read that wasmtime's C interface does not know (v128, typed references). The
    # server reads all types when it loads the artefact, so they are read here first, where only this child ends.
    for kind in [*(i.type for i in module.imports), *(e.type for e in module.exports)]:
        if isinstance(kind, wasmtime.FuncType):
            _ = [str(value) for value in (*kind.params, *kind.results)]
    return bytes(module.serialize())


class _Local(threading.local):
    """What each thread has: the instance whose callbacks may run, and arrays that its calls use again and again."""

    instance: WasmtimeInstance | None = None

    def __init__(self) -> None:
        self.raw = (
            ctypes.c_uint64 * (2 * _MOST_VALUES)
        )()  # wasmtime_val_raw_t is 16 bytes: arguments are at even indexes
        self.raw_at = addressof(self.raw)
        self.trap = c_void_p()
        self.trap_at = byref(self.trap)


_local = _Local()


def _watch(_context: Any, _data: Any, delta: Any, kind: Any) -> int | None:
    """Called in a guest's thread at each epoch: the guest goes on, or ends because its event's time is over."""
    instance = _local.instance
    try:
        if instance is not None and not instance.context.deadline.over:
            delta[0] = _EPOCHS_TO_CHECK
            kind[0] = 0  # WASMTIME_UPDATE_DEADLINE_CONTINUE
            return None
        if instance is not None and instance.pending_error is None:
            instance.context.deadline.check()
    except BaseException as error:
        assert instance is not None
        instance.pending_error = error
    return capi.new_error(b"interrupted")


_WATCH = capi.EpochCallback(_watch)


class _Ticker:
    """The thread that advances an engine's epoch. It sleeps while no guest runs.

    It keeps a reference to the engine, which must not be freed while the thread still uses its address.
    """

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._address = capi.address(engine.ptr())
        self._running = 0  # instances that exist
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = False
        self._awake = False
        self._idle = 0  # ticks in a row without an instance
        self._thread = lasting_thread("guesthouse-epochs", self._tick)

    def enter(self) -> None:
        with self._lock:
            self._running += 1
            if self._awake:
                return
            self._awake = True
        self._wake.set()

    def leave(self) -> None:
        with self._lock:
            self._running -= 1

    def _tick(self) -> bool:
        """Wait until there is an instance, then advance the epoch once. False: the ticker is closed."""
        self._wake.wait()
        time.sleep(TICK)
        capi.increment_epoch(self._address)
        with self._lock:
            self._idle = 0 if self._running else self._idle + 1
            if self._idle > _IDLE_TICKS and not self._stop:
                self._awake = False
                self._wake.clear()
        return not self._stop

    def close(self) -> None:
        with self._lock:
            self._stop = self._awake = True
            self._wake.set()
        self._thread.join()


class WasmtimeInstance:
    """See `base.Instance`: a store with one instance in it."""

    __slots__ = (
        "_context",
        "_exports",
        "_linked",
        "_located",
        "_memory_at",
        "_moved",
        "_resolved",
        "_scratch",
        "_scratch_at",
        "_store",
        "context",
        "memory",
        "pending_error",
    )

    def __init__(self, linked: WasmtimeLinked, context: Context) -> None:
        self._linked = linked
        self.context = context
        self.memory: Memory | None = None
        self.pending_error: BaseException | None = None  # raised in a callback; the call raises it
        self._scratch = linked.scratch()
        self._scratch_at = at = addressof(self._scratch)
        self._resolved: dict[str, int] = {}
        self._located = 0, -1
        self._moved = True  # the memory, perhaps
        self._memory_at = at + _EXTERN + 8
        limits = context.limits
        linked.engine.reserve_instance(context.deadline)
        self._store: int | None = capi.store_new(linked.engine.address, None, capi.NO_FINALIZER)
        if not self._store:
            linked.engine.free_instance()
            raise EngineError("no store could be made")
        self._context: int = capi.store_context(self._store)
        capi.store_limiter(self._store, limits.memory, TABLE_ELEMENTS, _INSTANCES, _TABLES, _MEMORIES)
        capi.store_epoch_callback(self._store, _WATCH, None, capi.NO_FINALIZER)
        capi.set_epoch_deadline(self._context, _EPOCHS_TO_CHECK)
        linked.engine.ticker.enter()
        try:
            local = _local
            local.instance = self
            error = capi.pre_instantiate(linked.pre, self._context, at, local.trap_at)
            self._moved = True  # by the start function
            if error or local.trap.value:
                raise self._failure(error, local)
            name = linked.memory_name
            if self.memory is None and name is not None:
                if not capi.export_get(self._context, at, name, len(name), at + _EXTERN):
                    raise EngineError("the instance does not have the memory that its module exports")
                self.memory = context.memory = Memory(self._locate, linked.image)
        except BaseException:
            self.close()
            raise

    def find_memory(self, caller: int) -> None:
        """Find the memory through the caller: while the start function runs, the instance is not known yet."""
        name = self._linked.memory_name
        if name is not None and capi.caller_export_get(caller, name, len(name), self._scratch_at + _EXTERN):
            self.memory = self.context.memory = Memory(self._locate, self._linked.image)

    def _locate(self) -> tuple[int, int]:
        """The memory's address and size. Kept until the guest runs again, for only the guest can move or grow it."""
        if self._moved:
            context, memory = self._context, self._memory_at
            size = capi.memory_data_size(context, memory)
            if size != self._located[1]:  # it moves only where it grows
                self._located = capi.memory_data(context, memory), size
            self._moved = False
        return self._located

    def call(self, export: str, *arguments: int) -> int:
        """See `base.Instance.call`."""
        linked = self._linked
        name, offset, count, mask = linked.functions[export]
        function = self._resolved.get(export)
        if function is None:
            function = self._scratch_at + offset
            if self._store is None:
                raise RuntimeError("the instance is closed")
            if not capi.export_get(self._context, self._scratch_at, name, len(name), function):
                raise EngineError(f"the instance does not have the export {export!r} of its module")
            self._resolved[export] = function = function + 8
        local = _local
        local.instance = self
        raw = local.raw
        index = 0
        for value in arguments:
            raw[index] = value
            index += 2
        error = capi.call_unchecked(self._context, function, local.raw_at, count, local.trap_at)
        self._moved = True
        if error or local.trap.value:
            raise self._failure(error, local)
        return raw[0] & mask

    def look_at(self, export: str) -> tuple[int, ctypes.Array[ctypes.c_char]]:
        """An exported table or global as the C interface has it: the store's context, and a `wasmtime_extern_t`."""
        found, name = ctypes.create_string_buffer(_EXTERN), export.encode()
        if not capi.export_get(self._context, self._scratch_at, name, len(name), addressof(found)):
            raise EngineError(f"the instance does not have the export {export!r} of its module")
        return self._context, found

    def _failure(self, error: int | None, local: _Local) -> BaseException:
        """The exception for what ended a call. The engine's error and trap are freed."""
        code, text = None, ""
        if local.trap.value:
            code, text = capi.take_trap(local.trap.value)
            local.trap.value = None
        if error:
            text = capi.take_error(error)
        pending, self.pending_error = self.pending_error, None
        if pending is not None:
            return ended_by(pending)
        if capi.has_exception(self._context):
            return Trap(UNCAUGHT)
        kind = _KINDS.get(code, "trap") if code is not None else "trap"
        if kind == "interrupt":
            return DeadlineExceeded("the time limit was reached")
        # What is no trap of the specification has a backtrace before its cause.
        said = (text.partition("Caused by:\n")[2] or text).strip()
        return Trap(kind, kind if code is not None else said.splitlines()[0] if said else kind)

    def close(self) -> None:
        """Free the store. A `Memory` object that is used after this has no bytes, for its address may be reused."""
        store, self._store = self._store, None
        if store is not None:
            self.memory = self.context.memory = None
            self._located, self._moved = (0, 0), False
            if _local.instance is self:
                _local.instance = None
            self._resolved = {}
            capi.store_delete(store)
            self._linked.engine.ticker.leave()
            self._linked.engine.free_instance()


class WasmtimeLinked:
    """See `base.Linked`."""

    def __init__(self, engine: WasmtimeEngine, module: WasmtimeModule, functions: Sequence[HostFunction]) -> None:
        self.engine = engine
        self._module = module
        self._linker = wasmtime.Linker(engine.engine)
        types: dict[FuncType, wasmtime.FuncType] = {}
        self._callbacks = [_define(self._linker, function, types) for function in functions]
        pre = c_void_p()
        error = capi.linker_pre(
            capi.address(self._linker.ptr()), capi.address(module.module.ptr()), ctypes.addressof(pre)
        )
        if error:
            raise EngineError(capi.take_error(error))
        assert pre.value is not None
        self.pre: int = pre.value
        self.image: Image = {}
        self.memory_name = next((n.encode() for n, t in module.exports.items() if t.kind == "memory"), None)
        #: name -> (encoded name, offset of its extern in the scratch, values of the call, mask of the result)
        self.functions: dict[str, tuple[bytes, int, int, int]] = {}
        for name, kind in module.exports.items():
            function = kind.function
            if function is not None and max(len(function.params), len(function.results)) <= _MOST_VALUES:
                self.functions[name] = _entry(name, function, (2 + len(self.functions)) * _EXTERN)
        self.scratch = ctypes.c_char * ((2 + len(self.functions)) * _EXTERN)

    def instantiate(self, context: Context) -> WasmtimeInstance:
        """See `base.Linked.instantiate`."""
        return WasmtimeInstance(self, context)

    def __del__(self) -> None:
        if getattr(self, "pre", None):
            capi.pre_delete(self.pre)


def _entry(name: str, signature: FuncType, offset: int) -> tuple[bytes, int, int, int]:
    mask = 0
    if signature.results:
        mask = 0xFFFFFFFF if signature.results[0] in (ValType.I32, ValType.F32) else 0xFFFFFFFFFFFFFFFF
    return name.encode(), offset, max(len(signature.params), len(signature.results)), mask


#: All addresses of this process, as a buffer: `struct` reads a call's values there, and writes its result.
_ADDRESSES = (ctypes.c_char * sys.maxsize).from_address(0)
#: How a parameter lies in the 16 bytes that it has; what is behind four bytes means nothing.
_PARAMETERS = {U32: "I12x", U64: "Q8x", I32: "i12x", I64: "q8x", F32: "f12x", F64: "d8x"}
_RESULTS: dict[ValType, tuple[struct.Struct, Callable[[Any], Any]]] = {
    ValType.I32: (struct.Struct("=I"), lambda value: value & 0xFFFFFFFF),
    ValType.I64: (struct.Struct("=Q"), lambda value: value & 0xFFFFFFFFFFFFFFFF),
    ValType.F32: (struct.Struct("=I"), lambda value: bits_of(value, ValType.F32)),
    ValType.F64: (struct.Struct("=d"), float),
}


def _function_type(signature: FuncType) -> wasmtime.FuncType:
    types = {value: getattr(wasmtime.ValType, value.value) for value in ValType}
    return wasmtime.FuncType([types[p]() for p in signature.params], [types[r]() for r in signature.results])


def _define(linker: wasmtime.Linker, function: HostFunction, types: dict[FuncType, wasmtime.FuncType]) -> Any:
    """Define one import. Returns the callback, which must live longer than every instance.

    `types` are those of the linker's functions: each is made once for it, and belongs to its engine.
    """
    read = struct.Struct("=" + "".join([_PARAMETERS[kind] for kind in function.kinds])).unpack_from
    results = function.signature.results
    layout, bits = _RESULTS[results[0] if results else ValType.I32]
    write = layout.pack_into if results else None
    body, refused = function.body, function.refused

    def callback(_env: Any, caller: Any, raw: Any, _count: int) -> int | None:
        started = perf_counter()
        instance = _local.instance
        try:
            assert instance is not None
            instance._moved = True
            if instance.memory is None:
                instance.find_memory(caller)
            try:
                result = body(instance.context, *read(_ADDRESSES, raw))
            except HostError as error:
                result = refused(instance.context, error)
            if write is not None:
                write(_ADDRESSES, raw, bits(result))
        except BaseException as error:
            if instance is not None:
                instance.pending_error = error
                instance.context.host_seconds += perf_counter() - started
            return capi.new_trap(b"host function")
        instance.context.host_seconds += perf_counter() - started
        return None

    kept = capi.HostCallback(callback)
    if function.signature not in types:
        types[function.signature] = _function_type(function.signature)
    signature = types[function.signature]
    module, name = function.module.encode(), function.name.encode()
    error = capi.linker_define(
        capi.address(linker.ptr()),
        module,
        len(module),
        name,
        len(name),
        capi.address(signature.ptr()),
        kept,
        None,
        capi.NO_FINALIZER,
    )
    if error:
        raise EngineError(capi.take_error(error))
    return kept


class WasmtimeModule:
    """See `base.Module`. Its types are read once."""

    def __init__(self, engine: WasmtimeEngine, module: wasmtime.Module) -> None:
        self._engine = engine
        self.module = module
        self.imports: Sequence[Import] = [Import(i.module, i.name or "", _extern_type(i.type)) for i in module.imports]
        self.exports: Mapping[str, ExternType] = {e.name: _extern_type(e.type) for e in module.exports}

    def link(self, functions: Sequence[HostFunction]) -> WasmtimeLinked:
        """See `base.Module.link`."""
        return WasmtimeLinked(self._engine, self, functions)


def _extern_type(kind: Any) -> ExternType:
    if isinstance(kind, wasmtime.FuncType):
        params, results = [str(p) for p in kind.params], [str(r) for r in kind.results]
        text = f"({' '.join(params)})->({' '.join(results)})"
        if all(v in _VALTYPES for v in (*params, *results)):
            function = FuncType(tuple(_VALTYPES[p] for p in params), tuple(_VALTYPES[r] for r in results))
            return ExternType("func", function, text=text)
        return ExternType("func", text=text)
    if isinstance(kind, wasmtime.MemoryType):
        return ExternType("memory", minimum=kind.limits.min, maximum=kind.limits.max)
    if isinstance(kind, wasmtime.TableType):
        return ExternType("table", minimum=kind.limits.min, maximum=kind.limits.max)
    if isinstance(kind, wasmtime.GlobalType):
        return ExternType("global", text=str(kind.content))
    return ExternType("tag")


class WasmtimeEngine:
    """See `base.Engine`."""

    name = "wasmtime"
    version = capi.VERSION
    interpreter = sys.executable

    def __init__(self, config: EngineConfig | None = None, stack: int = STACK) -> None:
        """`stack` is how many bytes of it a guest may use."""
        config = config or EngineConfig()
        self._stack = stack
        self.pooling = config.pooling and _pool_fits(config)
        self.engine = self._make(config)
        self.address = capi.address(self.engine.ptr())
        self.ticker = _Ticker(self.engine)
        # An entry for each instance that the pool has room for; None where there may be any number. Guests have fewer
        # slots than that, except while events of an earlier plan end after a reload. (A semaphore is written in Python,
        # and costs each event more.)
        self._free: SimpleQueue[None] | None = SimpleQueue() if self.pooling else None
        if self._free is not None:
            for _ in range(config.instances):
                self._free.put(None)

    def reserve_instance(self, deadline: Deadline) -> None:
        """Wait until there may be one more instance. Raises `DeadlineExceeded`, `Cancelled`."""
        if self._free is None:
            return
        try:
            self._free.get_nowait()
        except Empty:
            self._wait_for_instance(self._free, deadline)

    def _wait_for_instance(self, free: SimpleQueue[None], deadline: Deadline) -> None:
        while True:
            deadline.check()
            try:
                return free.get(timeout=min(deadline.remaining(), _RESERVE_POLL))
            except Empty:
                continue

    def free_instance(self) -> None:
        """Give back what `reserve_instance` took."""
        if self._free is not None:
            self._free.put(None)

    def _make(self, config: EngineConfig) -> wasmtime.Engine:
        settings = wasmtime.Config()
        configure(settings)
        settings.max_wasm_stack = self._stack
        if self.pooling:
            instances = config.instances
            capi.use_pool(
                capi.address(settings.ptr()),
                total_core_instances=instances,
                total_memories=instances,
                total_tables=_TABLES * instances,
                total_stacks=0,  # for asynchronous calls, which are not used here; the default is 1,000 of 2 MiB
                max_memories_per_module=_MEMORIES,
                max_tables_per_module=_TABLES,
                table_elements=TABLE_ELEMENTS,
                max_core_instance_size=1 << 20,
                max_memory_size=max(config.memory, 65536),
                linear_memory_keep_resident=256 << 10,
                table_keep_resident=16 << 10,
            )
        try:
            return wasmtime.Engine(settings)
        except wasmtime.WasmtimeError:
            if not self.pooling:
                raise
            self.pooling = False  # address space is limited on this machine; instances made on demand need less
            return self._make(config)

    def steps(self, memory: int) -> Sequence[CompileStep]:
        """See `base.Engine.steps`."""
        return STEPS

    def fingerprint(self, memory: int) -> str:
        """See `base.Engine.fingerprint`. The store limits memory, so the code does not depend on it."""
        return _FINGERPRINT

    def load(self, artefact: Path | bytes) -> WasmtimeModule:
        """See `base.Engine.load`."""
        try:
            if isinstance(artefact, Path):
                module = wasmtime.Module.deserialize_file(self.engine, str(artefact))
            else:
                module = wasmtime.Module.deserialize(self.engine, artefact)
        except wasmtime.WasmtimeError as error:
            raise EngineError(str(error)) from error
        return WasmtimeModule(self, module)

    def close(self) -> None:
        """End the ticker. All instances must be closed before."""
        self.ticker.close()


def _pool_fits(config: EngineConfig) -> bool:
    """Whether the pool fits into an address space of 47 bits: each instance reserves 4 GiB and guard pages."""
    return config.instances <= 4000 and config.memory <= 4 << 30

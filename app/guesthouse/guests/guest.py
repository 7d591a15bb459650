"""A guest, ready for events: its code as it was loaded and checked, its settings, its slots, and how it runs.

Loading runs none of the guest's code, except to initialise one that is a snapshot, in a child process. It lists every
fault of the module, not only the first. The guest's runner answers its events: `sandbox.Sandbox` in this process, or
`process.pool.Pool` in worker processes.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from guesthouse.engine.base import PAGE, TABLE_ELEMENTS, CompileStep, Engine, EngineError, Linked, Module
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.compiler import CompileError
from guesthouse.engine.component import REVISION, Core, NotUnwrapped, is_component
from guesthouse.engine.wasm_sections import Bytes, memory_minimums, table_minimums
from guesthouse.event import Event, Failure, Reason, Reply
from guesthouse.faults import Faults
from guesthouse.guests import python
from guesthouse.guests.files import NOTHING, FileGrant, Granted
from guesthouse.guests.glue import remedy
from guesthouse.guests.signatures import Signed
from guesthouse.guests.slots import Slots
from guesthouse.guests.snapshots import NONE_MADE, Beginning, Snapshot, key_of, packed
from guesthouse_abi.calling import Caller, Options, Unfit
from guesthouse_abi.calling.conventions import CONVENTIONS
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import FuncType, HostFunction, HostModule
from guesthouse_abi.imports import host_modules
from guesthouse_abi.imports.preview2 import host_function as component_function
from guesthouse_abi.imports.wasi_preview1 import calls_file
from guesthouse_abi.services import Services

T = TypeVar("T")

#: The guest that runs a script in JavaScript (guests/javascript).
JAVASCRIPT = Path(__file__).with_name("javascript.wasm")
_INITIALISE = CompileStep("guesthouse.guests.initialising", sys.executable)
MODULE_SIZE = 256 << 20  # bytes of a .wasm file that are read at most


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """What the manifest says of a guest."""

    name: str
    module: Path  # of a script in Python, the script
    calling: str  # one of `calling.conventions`
    runtime: str | None = None  # "python": the module is CPython's, frozen when the script was imported
    function: str = ""
    values: str | None = None  # "json": a function's parameters and results are JSON arrays
    parameters: tuple[str, ...] = ()  # their types, where the manifest says so
    sha256: str | None = None
    reply_type: str = ""
    reply: str | None = None  # "cgi": a program's reply begins with headers
    grants: Grants = field(default_factory=Grants)
    limits: Limits = field(default_factory=Limits)
    snapshot: Snapshot | None = None  # how it is initialised once, at load; None: with each event
    signed: Signed | None = None
    isolation: str = "thread"  # or "process"
    idle: float = 60.0  # seconds without an event after which a worker process of the guest ends
    least: int = 0  # worker processes of the guest that stay all the same
    files: tuple[FileGrant, ...] = ()
    capabilities: tuple[Any, ...] = ()  # the grants of capabilities that have a table of their own in the manifest

    def grant(self, kind: type[T]) -> T | None:
        """The grant of this kind; None where the manifest has no such table for the guest."""
        return next((grant for grant in self.capabilities if isinstance(grant, kind)), None)


class GuestFaults(Faults):
    """A guest that cannot be served; `faults` has every reason."""


class Shape:
    """See `calling.Shape`."""

    def __init__(self, module: Module) -> None:
        self.imported: Sequence[tuple[str, str]] = [(i.module, i.name) for i in module.imports]
        self.functions: Mapping[str, FuncType | None] = {
            name: kind.function for name, kind in module.exports.items() if kind.kind == "func"
        }
        self.has_memory = any(kind.kind == "memory" for kind in module.exports.values())


@dataclass(frozen=True, slots=True)
class Code:
    """A guest's module, loaded and checked, with the host functions for its imports."""

    module: Module
    sha256: str
    artefact: Path  # its compiled code
    compiled: bool  # whether it had to be compiled now, for it was not in the cache
    functions: tuple[HostFunction, ...]  # that its imports are linked to
    caller: Caller
    #: (module, name) of each host function that it may call: its imports, and those behind its file of calls.
    reached: tuple[tuple[str, str], ...] = ()

    def linked(self) -> Linked:
        """The module with its imports. Raises `EngineError`."""
        return self.module.link(self.functions)


class Tally:
    """A count that a runner keeps, and hands on to the runner after it. Change it under a lock."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Runner(Protocol):
    """Answers a guest's events. A reload may hand the same runner on to the guest in the next plan."""

    replaced: Tally  # worker processes of the guest that ended before they were told to, since the server's start

    def run(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        """Answer an event that has a slot of `guest`. Raises `Failure`, with what the attempt cost."""

    def retain(self) -> Runner:
        """This runner, for the guest of one more plan: it closes when all of them have closed it."""

    def close(self) -> None:
        """One guest needs it no longer. With the last of them, let go of what it holds, without waiting for events."""


class Guest:
    """One guest, ready for events. Shared by all threads."""

    def __init__(
        self,
        config: GuestConfig,
        code: Code,
        runner: Runner,
        services: Services,
        slots: Slots | None = None,
        granted: Granted = NOTHING,
    ) -> None:
        """`slots` are those of the same guest in an earlier plan, if there was one; `granted` is the guest's files."""
        self.config = config
        self.name = config.name
        self.limits = limits = config.limits
        self.code = code
        self.runner = runner
        self.services = services
        self.granted = granted
        self.slots = slots or Slots(config.name, limits.concurrency, limits.queue, limits.queue_wait)

    @property
    def state(self) -> tuple[object, ...]:
        """Code, settings and files: where these are equal, a guest is the same as one of another plan."""
        return state_of(self.config, self.code, self.granted)

    def run(self, event: Event, deadline: Deadline) -> Reply:
        """Answer one event, as soon as one of the slots is free. Raises `Failure`, with what the attempt cost."""
        limits = self.limits
        if len(event.body) > limits.input:
            text = f"a body of {len(event.body)} bytes; the limit input is {limits.input}"
            raise Failure(Reason.TOO_LARGE, text, self.name)
        queued = self.slots.acquire(deadline)
        try:
            reply = self.runner.run(self, event, deadline)
        except Failure as failure:
            if failure.cost is not None:
                failure.cost.queued = queued
            raise
        finally:
            self.slots.release()
        reply.cost.queued = queued
        return reply

    def take_limits(self) -> None:
        """Set the slots, which it may have from an earlier plan, to this guest's limits."""
        self.slots.resize(self.limits.concurrency, self.limits.queue, self.limits.queue_wait)


def state_of(config: GuestConfig, code: Code, granted: Granted) -> tuple[object, ...]:
    """See `Guest.state`."""
    return code.sha256, config, granted.digest


def load_code(
    config: GuestConfig,
    engine: Engine,
    cache: CodeCache,
    known: Mapping[Path, Code] | None = None,
    modules: Mapping[str, HostModule] | None = None,
    granted: Granted = NOTHING,
) -> Code:
    """Compile (or map) and check a guest's module. Raises `GuestFaults`.

    Where the guest has a snapshot, that is what is compiled; it is made with the `granted` files, as is what a script
    in Python begins with.

    `known` is code that is loaded already, by its artefact: it is used again where it is the same. `modules` are those
    that guests may import; None: those of `guesthouse_abi`.
    """
    if config.runtime == "python":
        return _script(config, engine, cache, known or {}, modules or host_modules(), granted)
    wasm = read_module(config.module)
    sha256 = hashlib.sha256(wasm).hexdigest()
    if config.sha256 is not None and config.sha256 != sha256:
        raise GuestFaults(
            [f"{config.module} has sha256 {sha256}, the manifest wants {config.sha256}: update the pin or the file"]
        )
    if config.signed is not None and (fault := config.signed.fault(config.module, wasm)):
        raise GuestFaults([fault])
    core, key, memory = core_module(config.module, wasm), cache_key(wasm, sha256), config.limits.memory
    source, steps = core.bytes, list[CompileStep]()
    if config.snapshot is not None:
        beginning = _beginning(config, config.snapshot)
        key, steps = key_of(beginning, key, granted.digest), [_INITIALISE]
        source = partial(_packed, beginning, granted, core)
    artefact = cache.path(engine, key, memory)
    same = known.get(artefact) if known is not None else None
    try:
        module, compiled = (same.module, False) if same is not None else cache.load(engine, source, memory, key, steps)
    except CompileError as error:
        what = "" if str(error).startswith(NONE_MADE) else " does not compile"
        raise GuestFaults([f"{config.module}{what}: {error}"]) from error
    except EngineError as error:
        raise GuestFaults(
            over_limits(core.inside, config.limits) or [f"the engine refuses {config.module}: {error}"]
        ) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise GuestFaults([f"its compiled code cannot be kept in {cache.folder} ({why}): is the disk full?"]) from error
    functions, caller, faults = _checked(config, module, modules or host_modules())
    faults += over_limits(core.inside, config.limits)
    if faults or caller is None:
        raise GuestFaults(faults)
    return Code(module, sha256, artefact, compiled, tuple(functions), caller, _reached(config, module))


def _packed(beginning: Beginning, granted: Granted, core: Core) -> bytes:
    return packed(beginning, granted, core.bytes())


def _script(
    config: GuestConfig,
    engine: Engine,
    cache: CodeCache,
    known: Mapping[Path, Code],
    modules: Mapping[str, HostModule],
    granted: Granted,
) -> Code:
    """The code of a script in Python: CPython's module, frozen when it had imported it. Raises `GuestFaults`."""
    memory = config.limits.memory
    if memory < python.MEMORY:
        raise GuestFaults([f"the limit memory is {memory} bytes, and Python begins with {python.MEMORY}: raise it"])
    try:
        template = python.template(python.module())
        bundle = python.bundle(granted.opened.contents, config.module, config.grants.env)
        digest = hashlib.sha256(template).hexdigest()
        held = cache.load(engine, template, memory, digest)  # a cache that is full removes no code that is in use
        frozen = python.Frozen(engine, cache.path(engine, digest, memory))
        sha256 = hashlib.sha256(bundle).hexdigest()
        artefact = cache.path(frozen, sha256, memory)
        same = known.get(artefact)
        module, compiled = (same.module, False) if same is not None else cache.load(frozen, bundle, memory)
        del held
    except python.PythonFaults as error:
        raise GuestFaults(error.faults) from error
    except (CompileError, EngineError) as error:
        raise GuestFaults([str(error)]) from error
    except OSError as error:
        why = error.strerror or str(error)
        raise GuestFaults([f"its frozen state cannot be kept in {cache.folder} ({why}): is the disk full?"]) from error
    functions, caller, faults = _checked(config, module, modules)
    if faults or caller is None:
        raise GuestFaults(faults)
    return Code(module, sha256, artefact, compiled, tuple(functions), caller, _reached(config, module))


def _reached(config: GuestConfig, module: Module) -> tuple[tuple[str, str], ...]:
    imported = [(one.module, one.name) for one in module.imports]
    return (*imported, *(calls_file.names() if config.grants.calls_file else ()))


def _beginning(config: GuestConfig, snapshot: Snapshot) -> Beginning:
    return Beginning(
        config.name,
        snapshot,
        config.calling,
        config.function,
        config.values,
        config.parameters,
        config.reply,
        config.grants,
        config.limits,
    )


def code_in_worker(
    config: GuestConfig, module: Module, sha256: str, artefact: Path, modules: Mapping[str, HostModule]
) -> Code:
    """A guest's code in a worker process, where it runs. The server has checked the file. Raises `GuestFaults`."""
    functions, caller, faults = _checked(config, module, modules)
    if faults or caller is None:
        raise GuestFaults(faults)
    return Code(module, sha256, artefact, False, tuple(functions), caller, _reached(config, module))


def _checked(
    config: GuestConfig, module: Module, modules: Mapping[str, HostModule]
) -> tuple[list[HostFunction], Caller | None, list[str]]:
    """The host functions behind the imports, what calls the guest, and what is wrong with the module."""
    functions, faults = resolve(module, modules)
    options = Options(config.function, config.values == "json", config.parameters, config.reply == "cgi")
    try:
        return functions, CONVENTIONS[config.calling](options).bind(Shape(module)), faults
    except Unfit as unfit:
        return functions, None, faults + [f"{config.module.name} {problem}" for problem in unfit.problems]


def read_module(path: Path) -> bytes:
    """The bytes of a module's file, which may be a component. Raises `GuestFaults`."""
    try:
        with path.open("rb") as file:
            size = min(os.fstat(file.fileno()).st_size, MODULE_SIZE)
            wasm = file.read(size + 1)  # room for more would take longer to get than the file to read
            if len(wasm) > size:  # it grows, or is none that has a size
                wasm += file.read(MODULE_SIZE + 1 - len(wasm))
    except OSError as error:
        raise GuestFaults([f"{path} cannot be read ({error.strerror}): build it or correct the path"]) from error
    if len(wasm) > MODULE_SIZE:
        raise GuestFaults([f"{path} is larger than {MODULE_SIZE} bytes"])
    if wasm[:4] != b"\0asm":
        raise GuestFaults([f"{path} is not a Wasm module"])
    if wasm[4:8] != b"\1\0\0\0" and not is_component(wasm):
        raise GuestFaults([f"{path} is of a version of Wasm that is not known here: build it by other tools"])
    return wasm


def core_module(path: Path, wasm: bytes) -> Core:
    """The module that is compiled: the main one of a component, else the file itself. Raises `GuestFaults`."""
    try:
        return Core(wasm)
    except NotUnwrapped as error:
        raise GuestFaults([f"{path} is a component that cannot be served: {error}"]) from None


def cache_key(wasm: bytes, sha256: str) -> str:
    """What the compiled code of a file with this digest is kept by."""
    return f"{sha256}-{REVISION}" if is_component(wasm) else sha256


def resolve(module: Module, modules: Mapping[str, HostModule]) -> tuple[list[HostFunction], list[str]]:
    """The host functions behind a module's imports, and what cannot be resolved, in words."""
    functions, faults = [], []
    for wanted in module.imports:
        where = f"import {wanted.module}.{wanted.name}"
        host = modules.get(wanted.module)
        function = host.functions.get(wanted.name) if host else component_function(wanted.module, wanted.name)
        if function is None:
            known = (
                f"the host modules are {', '.join(sorted(modules))}"
                if host is None
                else f"{wanted.module} has no such field"
            )
            told = remedy(wanted.module, wanted.name)
            faults.append(f"{where} ({wanted.type}) has no answer: {f'it {told}' if told else known}")
        elif wanted.type.function != function.signature:
            faults.append(f"{where} is {wanted.type}, the host has function {function.signature}")
        else:
            functions.append(function)
    return list({(f.module, f.name): f for f in functions}.values()), faults


def over_limits(wasm: Bytes, limits: Limits) -> list[str]:
    """Sizes that the module declares for its start and that are over the limits, so that no instance could be made."""
    faults = [
        f"its memory starts with {pages * PAGE} bytes, the limit memory is {limits.memory}: raise it"
        for pages in memory_minimums(wasm)
        if pages * PAGE > limits.memory
    ]
    faults += [
        f"a table starts with {minimum} elements; at most {TABLE_ELEMENTS} are served"
        for minimum in table_minimums(wasm)
        if minimum > TABLE_ELEMENTS
    ]
    return faults

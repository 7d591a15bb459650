"""A guest as it was loaded: compiled, linked and checked, with its grants, limits and slots.

Loading runs no guest code and lists every fault of the module, not the first. How one event is answered is
`sandbox.py`'s matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from guesthouse.engine.base import PAGE, TABLE_ELEMENTS, Engine, EngineError, Linked, Module
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.compiler import CompileError
from guesthouse.engine.declared import memory_minimums, table_minimums
from guesthouse.guests.files import NOTHING, FileGrant, Granted
from guesthouse.guests.glue import remedy
from guesthouse.guests.signatures import Signed
from guesthouse.guests.slots import Slots
from guesthouse_abi.calling import Convention
from guesthouse_abi.calling.bindgen import Bindgen
from guesthouse_abi.calling.command import Command
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import FuncType, HostFunction
from guesthouse_abi.imports import host_modules
from guesthouse_abi.services import Services

MODULE_SIZE = 256 << 20  # bytes of a .wasm file that are read at most


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """What the manifest says of a guest."""

    name: str
    module: Path
    calling: str  # "bindgen" or "command"
    function: str = ""
    values: str | None = None  # "json": a function's parameters and results are JSON arrays
    parameters: tuple[str, ...] = ()  # their types, where the manifest says so
    sha256: str | None = None
    reply_type: str = ""
    grants: Grants = field(default_factory=Grants)
    limits: Limits = field(default_factory=Limits)
    signed: Signed | None = None
    isolation: str = "thread"  # or "process"
    files: tuple[FileGrant, ...] = ()


class GuestFaults(Exception):
    """A guest that cannot be served; `faults` has every reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Shape:
    """See `calling.Shape`."""

    def __init__(self, module: Module) -> None:
        self.imported: Sequence[tuple[str, str]] = [(i.module, i.name) for i in module.imports]
        self.functions: Mapping[str, FuncType | None] = {
            name: kind.function for name, kind in module.exports.items() if kind.kind == "func"
        }
        self.has_memory = any(kind.kind == "memory" for kind in module.exports.values())


class Guest:
    """One guest, ready for events. Shared by all threads."""

    def __init__(
        self,
        config: GuestConfig,
        linked: Linked | None,
        convention: Convention,
        services: Services,
        module: Module,
        sha256: str,
        compiled: bool,
        artefact: Path | None = None,
        slots: Slots | None = None,
        granted: Granted = NOTHING,
    ) -> None:
        self.config = config
        self.name = config.name
        self.limits = config.limits
        self.linked = linked  # None where it runs in other processes than this
        self.artefact = artefact  # its compiled code
        self.convention = convention
        self.services = services
        self.module = module
        self.sha256 = sha256
        self.compiled = compiled  # whether it had to be compiled now
        self.granted = granted
        limits = config.limits
        self.slots = slots or Slots(config.name, limits.concurrency, limits.queue, limits.queue_wait)

    @property
    def state(self) -> tuple[object, ...]:
        """What tells one state of a guest from another: its code, its settings, its files."""
        return self.sha256, self.config, self.granted.digest

    def take_limits(self) -> None:
        """Let the slots, which a guest of that name before this one may have had, be as many as this one's limits."""
        self.slots.resize(self.limits.concurrency, self.limits.queue, self.limits.queue_wait)


def load_guest(
    config: GuestConfig,
    engine: Engine,
    cache: CodeCache,
    services: Services,
    known: Mapping[Path | None, Guest] | None = None,
    slots: Slots | None = None,
    granted: Granted = NOTHING,
) -> Guest:
    """Compile (or map), link and check a guest. Raises `GuestFaults`.

    `known` are loaded guests by their artefacts: their code is taken where it fits. `slots` are those that the guest
    goes on with, `granted` are its files.
    """
    wasm = read_module(config.module)
    sha256 = hashlib.sha256(wasm).hexdigest()
    if config.sha256 is not None and config.sha256 != sha256:
        raise GuestFaults(
            [f"{config.module} has sha256 {sha256}, the manifest wants {config.sha256}: update the pin or the file"]
        )
    if config.signed is not None and (fault := config.signed.fault(config.module, wasm)):
        raise GuestFaults([fault])
    artefact = cache.path(engine, sha256, config.limits.memory)
    same = known.get(artefact) if known is not None else None
    try:
        module, compiled = (same.module, False) if same is not None else cache.load(engine, wasm, config.limits.memory)
    except CompileError as error:
        raise GuestFaults([f"{config.module} does not compile: {error}"]) from error
    except EngineError as error:
        raise GuestFaults(
            _over_limits(wasm, config.limits) or [f"the engine refuses {config.module}: {error}"]
        ) from error
    functions, convention, faults = _checked(config, module)
    faults += _over_limits(wasm, config.limits)
    if faults:
        raise GuestFaults(faults)
    linked = None
    if config.isolation == "thread":
        linked = same.linked if same is not None and same.linked is not None else _linked(config, module, functions)
    return Guest(config, linked, convention, services, module, sha256, compiled, artefact, slots, granted)


def in_worker(config: GuestConfig, module: Module, services: Services, granted: Granted) -> Guest:
    """The guest again where it runs, in a worker process; `module` was looked at before. Raises `GuestFaults`."""
    functions, convention, faults = _checked(config, module)
    if faults:
        raise GuestFaults(faults)
    linked = _linked(config, module, functions)
    return Guest(config, linked, convention, services, module, "", False, granted=granted)


def _checked(config: GuestConfig, module: Module) -> tuple[list[HostFunction], Convention, list[str]]:
    """The host functions behind the imports, how the guest is called, and what is wrong with the module."""
    functions, faults = _resolve(module)
    convention = _convention(config)
    faults += [f"{config.module.name} {problem}" for problem in convention.problems(Shape(module))]
    return functions, convention, faults


def _convention(config: GuestConfig) -> Convention:
    if config.calling == "command":
        return Command()
    return Bindgen(config.function, config.values == "json", config.parameters)


def _linked(config: GuestConfig, module: Module, functions: Sequence[HostFunction]) -> Linked:
    try:
        return module.link(functions)
    except EngineError as error:
        raise GuestFaults([f"{config.module.name} cannot be linked: {error}"]) from error


def read_module(path: Path) -> bytes:
    """The bytes of a core module. Raises `GuestFaults`."""
    try:
        with path.open("rb") as file:
            wasm = file.read(MODULE_SIZE + 1)
    except OSError as error:
        raise GuestFaults([f"{path} cannot be read ({error.strerror}): build it or correct the path"]) from error
    if len(wasm) > MODULE_SIZE:
        raise GuestFaults([f"{path} is larger than {MODULE_SIZE} bytes"])
    if wasm[:4] != b"\0asm":
        raise GuestFaults([f"{path} is not a Wasm module"])
    if wasm[4:8] != b"\1\0\0\0":
        raise GuestFaults([f"{path} is a component, not a core module: build it for wasm32-wasip1"])
    return wasm


def _resolve(module: Module) -> tuple[list[HostFunction], list[str]]:
    """The host functions behind the imports, and what cannot be resolved."""
    modules = host_modules()
    functions, faults = [], []
    for wanted in module.imports:
        where = f"import {wanted.module}.{wanted.name}"
        host = modules.get(wanted.module)
        function = host.functions.get(wanted.name) if host else None
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


def _over_limits(wasm: bytes, limits: Limits) -> list[str]:
    """Declared minimums that could never be instantiated under the limits."""
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

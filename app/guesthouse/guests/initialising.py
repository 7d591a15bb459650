"""Initialises a guest for its snapshot, in a child process with bounds (`engine/compiler.py`).

The guest has what each of its events has too: arguments, the environment of the manifest, files, clocks and random
bytes. It has no event, and nothing that belongs to one: a function that would reach models, the sidecar or the event
ends the initialisation, and so the guest is refused. So does what an event would not find again: descriptors that stay
open, files in the scratch folder.

The process gives up files, sockets and system calls before any of the guest's code runs, as a worker process does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guesthouse.engine.base import EngineError, Import, Module, Refused
from guesthouse.engine.initialise import compiled, state_after
from guesthouse.engine.snapshot import MOST_BYTES, NotFrozen, frozen
from guesthouse.guests.guest import Shape
from guesthouse.guests.process import confine
from guesthouse.guests.snapshots import NONE_MADE, WIZER, Beginning, unpacked
from guesthouse_abi.calling import Options, Unfit
from guesthouse_abi.calling.conventions import CONVENTIONS
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import CallError, DeadlineExceeded, Exit, HostError, HostFunctionError
from guesthouse_abi.host import F32, F64, I32, I64, FuncType, HostFunction, ValType
from guesthouse_abi.imports import host_modules
from guesthouse_abi.imports.wasi_preview1 import last_words
from guesthouse_abi.imports.wasi_preview1.descriptors import STDIN, OpenDirectory, descriptors
from guesthouse_abi.services import Log, NoLog, Services

TIME = 60.0  # seconds that an initialisation may take

_WASI = ("wasi_snapshot_preview1", "wasi_unstable")
_OTHERS = {("dapr_v1", "log"), ("dapr_v1", "config_read")}  # besides WASI: these ask nothing of an event
_READS = ("fd_read", "fd_pread")
_STARTS = frozenset({"_initialize", "__wasm_call_ctors", "wapc_init", WIZER})  # none is for a guest that is initialised
_KINDS: dict[ValType, Any] = {ValType.I32: I32, ValType.I64: I64, ValType.F32: F32, ValType.F64: F64}
_REMEDY = "; change what it does there, or take `snapshot` out of its table"


class _NotThere(CallError):
    """The guest has asked for what there is only during an event."""


def translate(data: bytes) -> bytes:
    """The snapshot of the guest in `data` (`snapshots.packed`). Raises `Refused`. Runs in a child process."""
    beginning, files, wasm = unpacked(data)
    context = Context(
        Deadline.after(TIME),
        beginning.grants,
        beginning.limits,
        Services({Log: NoLog()}),
        arguments=(beginning.name, *beginning.grants.args),
        variables=lambda: beginning.grants.env,
        files=files,
    )
    calls: list[str] = []

    def prepared(module: Module) -> Sequence[HostFunction]:
        calls.extend(_calls(beginning, module))
        return list({(one.module, one.name): _answer(one) for one in module.imports}.values())

    def confined() -> None:
        confine.when_loaded(beginning.limits.memory + 8 * MOST_BYTES)
        context.deadline = Deadline.after(TIME)  # compiling took some of it

    dropped = {*_STARTS, *beginning.snapshot.calls, *(() if beginning.calling == "command" else ("_start",))}
    try:
        watched, code = compiled(wasm)
        state = state_after(
            watched, code, prepared, context, calls, before=confined, finish=lambda: _check_left(context)
        )
        return frozen(wasm, state, dropped, dict(beginning.snapshot.functions))
    except NotFrozen as error:
        raise Refused(f"{NONE_MADE}{error}{_REMEDY}") from None
    except EngineError as error:
        raise Refused(f"{NONE_MADE}the engine refuses it: {error}") from None
    except MemoryError:
        raise Refused(f"{NONE_MADE}there is not enough memory to keep it in{_REMEDY}") from None
    except (CallError, HostError) as error:
        raise Refused(f"{NONE_MADE}{_ended(error, last_words(context))}{_REMEDY}") from None


def _calls(beginning: Beginning, module: Module) -> Sequence[str]:
    """The exports that initialise the guest. Raises `Refused`, `NotFrozen`."""
    types = {name: kind.function for name, kind in module.exports.items()}
    calls = beginning.snapshot.calls
    if not calls:
        options = Options(
            beginning.function, beginning.values == "json", beginning.parameters, beginning.reply == "cgi"
        )
        try:
            caller = CONVENTIONS[beginning.calling](options).bind(Shape(module))
        except Unfit as unfit:
            raise Refused(f"it cannot be called: {'; '.join(unfit.problems)}") from None
        calls = (*caller.starts, *((WIZER,) if WIZER in types else ()))
        if not calls:
            raise NotFrozen(
                f"it has nothing that initialises it: it exports neither _initialize nor {WIZER} (docs/guests.md)"
            )
    for name in calls:
        if types.get(name) != FuncType():
            raise NotFrozen(f"its export {name!a} is missing, or no function ()->()")
    return calls


def _answer(wanted: Import) -> HostFunction:
    """What answers an import during the initialisation. Raises `NotFrozen`."""
    host = host_modules().get(wanted.module)
    function = host.functions.get(wanted.name) if host is not None else None
    known = wanted.module in _WASI or (wanted.module, wanted.name) in _OTHERS
    if known and function is not None and function.signature == wanted.type.function:
        return _without_stdin(function) if wanted.name in _READS else function
    signature = wanted.type.function
    if signature is None:
        raise NotFrozen(f"its import {wanted.module}.{wanted.name} is {wanted.type}")
    name = f"{wanted.module}.{wanted.name}"

    def refuse(_context: Context, *_values: object) -> object:
        raise _NotThere(f"its initialisation calls {name}, which there is only during an event")

    kinds = tuple(_KINDS[kind] for kind in signature.params)
    return HostFunction(wanted.module, wanted.name, signature, kinds, refuse, None)


def _without_stdin(function: HostFunction) -> HostFunction:
    def read(context: Context, fd: int, *values: int) -> object:
        if descriptors(context).open.get(fd) == STDIN:
            raise _NotThere("its initialisation reads standard input, where the body of an event would be")
        return function.body(context, fd, *values)

    return HostFunction(function.module, function.name, function.signature, function.kinds, read, function.faults)


def _check_left(context: Context) -> None:
    """Whether the host holds something for the guest that its events would lack. Raises `NotFrozen`."""
    table = descriptors(context)
    opened = [fd for fd, found in table.open.items() if not _always_open(fd, found)]
    closed = [fd for fd in range(3 if table.tree is None else 5) if fd not in table.open]
    if opened or closed:
        what = f"leaves descriptor {opened[0]} open" if opened else f"closes descriptor {closed[0]}"
        raise NotFrozen(f"its initialisation {what}, and an event has the descriptors of the start")
    if context.held:
        raise NotFrozen(
            f"its initialisation leaves {context.held} bytes in files of the scratch folder, which no event would find"
        )


def _always_open(fd: int, found: object) -> bool:
    if isinstance(found, OpenDirectory):
        return found.preopened is not None
    return found == fd  # a standard stream under its own number


def _ended(error: Exception, words: str) -> str:
    if isinstance(error, _NotThere):
        return str(error)
    if isinstance(error, HostFunctionError):
        return f"the host failed: {error.__cause__!r}"
    if isinstance(error, DeadlineExceeded):
        return f"its initialisation takes more than {TIME:g} s"
    how = f"its initialisation ends with {error}" if isinstance(error, Exit) else f"its initialisation fails: {error}"
    return f"{how}: {words}" if words else how

"""Builds a plan from a manifest: opens every model, loads every guest, and checks all of it.

Building opens no port. It runs no guest code, except to initialise a guest that is a snapshot, in a child process. It
finds all faults of guests and models, not only the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from guesthouse.engine.base import EngineError
from guesthouse.engine.compiler import CompileError
from guesthouse.guests.capabilities.capability import import_modules, services_of
from guesthouse.guests.files import FileFaults, FileGrant, Granted, Shelf, pin_of
from guesthouse.guests.guest import JAVASCRIPT, Code, Guest, GuestConfig, GuestFaults, Runner, load_code, state_of
from guesthouse.guests.log import KEPT, GuestLog
from guesthouse.guests.process import confine
from guesthouse.guests.process.pool import Pool
from guesthouse.guests.sandbox import Sandbox
from guesthouse.guests.signatures import SignatureFaults, Signed, public_keys
from guesthouse.guests.slots import Slots
from guesthouse.guests.snapshots import Snapshot
from guesthouse.inference.model import ModelConfig
from guesthouse.inference.registry import ModelFaults, Registry
from guesthouse.manifest import Manifest, warnings
from guesthouse.manifest import tables as written
from guesthouse.plan.plan import Host, Plan, PlanFaults
from guesthouse.plan.routes import Routes
from guesthouse.plan.tokens import TokenFault, tokens_of
from guesthouse.system.stamps import digest_of
from guesthouse_abi.imports import use_pictures
from guesthouse_abi.services import Inference, Log, PixelKernels, Services


def model_config(name: str, model: written.Model) -> ModelConfig:
    """What the manifest says about a model, as `inference/` takes it."""
    return ModelConfig(
        name=name,
        path=model.path,
        sha256=model.sha256,
        stands_for=model.stands_for,
        threads=model.threads,
        batch=(model.batch.size, model.batch.delay) if model.batch is not None else None,
        max_batch=model.max_batch,
        max_elements=model.max_elements,
        warm_up=model.warm_up,
        inputs=dict(model.inputs),
        outputs=dict(model.outputs),
    )


def build(manifest: Manifest, host: Host, previous: Plan | None = None) -> Plan:
    """Open every model and load every guest. Raises `PlanFaults`. After any exception, nothing stays open.

    What is unchanged since the plan `previous` is taken from it: models, compiled code, slots, worker processes.
    """
    with contextlib.ExitStack() as opened:
        plan, faults = _build(manifest, host, previous, opened)
        if faults:
            raise PlanFaults(faults)
        opened.pop_all()  # the plan closes them from now on
    return plan


def _build(
    manifest: Manifest, host: Host, previous: Plan | None, opened: contextlib.ExitStack
) -> tuple[Plan, list[str]]:
    """The plan, and its faults. `opened` gets all that must be closed where the plan is not used."""
    faults: list[str] = []
    tokens: tuple[str, ...] = ()
    try:
        tokens = tokens_of(manifest.server)
    except TokenFault as error:
        faults.append(str(error))
    missing = list(_unpinned(manifest)) if manifest.require_digests else []
    faults += [fault for _, fault in missing]
    unpinned = {where for where, _ in missing}
    configs = [model_config(n, m) for n, m in manifest.models.items() if ("models", n) not in unpinned]
    try:
        models = Registry.open(configs, previous.models if previous is not None else None)
    except ModelFaults as error:
        faults += error.faults
        models = Registry.open([])
    opened.callback(models.close)
    if manifest.require_digests:
        faults += [
            f"model {model.name!r}: {model.path} keeps data in other files, which its sha256 does not cover, and "
            "require_digests is on: save it as one file"
            for model in models.models
            if model.file is not None and model.file.external
        ]
    try:
        keys = public_keys(manifest.signatures.keys) if manifest.signatures is not None else ()
    except SignatureFaults as error:
        faults += error.faults
        keys = ()
    known = {guest.code.artefact: guest.code for guest in previous.guests.values()} if previous is not None else {}
    shelf = Shelf(guest.granted for guest in previous.guests.values()) if previous is not None else Shelf()
    keep = KEPT if manifest.page.apps else 0
    hosts = {**host.services, "inference": models, "log": lambda config: _log(config, previous, keep)}
    modules = import_modules(host.capabilities)
    loaded: list[_Loaded] = []
    for name, guest in manifest.guests.items():
        if not guest.enabled or ("guests", name) in unpinned or (manifest.signatures is not None and not keys):
            continue
        config = guest_config(name, guest, manifest.isolation_of(guest), keys)
        faults += _not_provided(config, host)
        granted = Granted()
        try:
            granted = _granted(config, shelf)
        except FileFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
            if _begins_initialised(config):
                continue
        try:
            _check_confinement(manifest, config)
            code = load_code(config, host.engine, host.cache, known, modules, granted)
            services = services_of(host.capabilities, hosts, config, _kernels(host, code))
            loaded.append(_Loaded(config, code, services, granted))
        except GuestFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
    faults += _unanswered(manifest, loaded)
    slots = _slots(previous)
    guests: dict[str, Guest] = {}
    for one in loaded:
        name = one.config.name
        if one.config.isolation == "process" and faults:
            continue  # a plan with faults is not used, so no process is started for it
        try:
            runner = _runner(one, host, models, previous)
        except GuestFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
            continue
        opened.callback(runner.close)
        guests[name] = Guest(one.config, one.code, runner, one.services, slots.get(name), one.granted)
    if not faults:
        known_runners = {guest.runner for guest in previous.guests.values()} if previous is not None else set()
        pools = {n: g.runner for n, g in guests.items() if isinstance(g.runner, Pool) and g.runner not in known_runners}
        whys = host.stock.try_out({name: pool.setup for name, pool in pools.items()})
        whys.update((name, why) for name, pool in pools.items() if name not in whys and (why := pool.wait()))
        faults += [f"guest {name!r}: its worker process does not start: {why}" for name, why in whys.items()]
    slots.update({name: guest.slots for name, guest in guests.items()})
    may_not_mean = tuple(warnings(manifest))
    return Plan(manifest, models, guests, Routes(manifest), host, slots, may_not_mean, tokens), faults


def _check_confinement(manifest: Manifest, config: GuestConfig) -> None:
    """Where processes must be confined, one that initialises a guest must be, too. Raises `GuestFaults`."""
    required = manifest.process.confinement == "required" and config.isolation == "process"
    if required and _begins_initialised(config) and (lacking := confine.lacking()):
        raise GuestFaults(
            [f'process.confinement is "required" where the guest is initialised, too, and here {"; ".join(lacking)}']
        )


def _begins_initialised(config: GuestConfig) -> bool:
    """Whether the guest's code has what its files have made of it: as a snapshot, or as a script in Python."""
    return config.snapshot is not None or config.runtime == "python"


def _kernels(host: Host, code: Code) -> PixelKernels | None:
    """What works on the pixels of a guest's pictures, if it takes any. Raises `GuestFaults`."""
    if not use_pictures(module for module, _ in code.reached):
        return None
    try:
        return host.pixels.kernels()
    except (CompileError, EngineError, OSError) as error:
        raise GuestFaults([f"the pixel kernel, which its pictures need, cannot be loaded: {error}"]) from error


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All of a guest except its runner."""

    config: GuestConfig
    code: Code
    services: Services
    granted: Granted


def _runner(one: _Loaded, host: Host, models: Registry, previous: Plan | None) -> Runner:
    """A guest's runner: the previous plan's, where nothing that a runner knows has changed. Raises `GuestFaults`."""
    old = previous.guests.get(one.config.name) if previous is not None else None
    if old is not None and old.state == state_of(one.config, one.code, one.granted) and _same_models(old, models):
        return old.runner.retain()
    replaced = old.runner.replaced if old is not None else None
    if one.config.isolation == "process":
        try:
            return Pool(one.config, one.code, one.granted, host.stock, replaced)
        except OSError as error:
            raise GuestFaults([f"its compiled code, {error.filename}, cannot be opened ({error.strerror})"]) from error
    try:
        return Sandbox(one.code.linked(), one.code.caller, replaced)
    except EngineError as error:
        raise GuestFaults([f"{one.config.module.name} cannot be linked: {error}"]) from error


def _same_models(old: Guest, models: Registry) -> bool:
    """Whether all models that the guest may use are the same as in the previous plan."""
    past = old.services[Inference]
    return all(models.named(name) is past.named(name) for name in old.config.grants.models)


def _unpinned(manifest: Manifest) -> Iterator[tuple[tuple[str, str], str]]:
    """Guests and models that have no digest in the manifest, as ((table, name), fault). They are not loaded."""
    files = [("guests", n, guest.file, guest.sha256) for n, guest in manifest.guests.items() if guest.enabled]
    files += [("models", n, model.path, model.sha256) for n, model in manifest.models.items()]
    for table, name, path, pin in files:
        if pin is None:
            try:
                remedy = f'if {path} is the file that you mean, write sha256 = "{digest_of(path)}"'
            except OSError as error:
                remedy = f"{path} cannot be read ({error.strerror})"
            yield (table, name), f"{table}.{name} has no sha256, and require_digests is on: {remedy}"
    for name, guest in manifest.guests.items():
        for at, file in guest.reads.items() if guest.enabled else ():
            if file.sha256 is None:
                try:
                    pin = pin_of(file.path, guest.limits.files)
                    remedy = f'if {file.path} is what you mean, write {{ path = "…", sha256 = "{pin}" }}'
                except FileFaults as error:
                    remedy = str(error)
                where = f"guests.{name}." + ("packages" if file is guest.packages else f'files."{at}"')
                yield ("guests", name), f"{where} has no sha256, and require_digests is on: {remedy}"


def _unanswered(manifest: Manifest, loaded: Sequence[_Loaded]) -> Iterator[str]:
    """Faults of routes whose guest has no handler for their events."""
    callers = {one.config.name: one.code.caller for one in loaded}
    for route in manifest.routes():
        caller = callers.get(route.guest)
        if route.enabled and caller is not None and caller.triggers is not None:
            trigger = route.trigger.value
            if trigger not in caller.triggers:
                yield (
                    f"guest {route.guest!r}: its module has {caller.what}, and none for the {trigger} {route.name!r}: "
                    "write one, name another guest, or take the route out"
                )


def _not_provided(config: GuestConfig, host: Host) -> Iterator[str]:
    """Faults of a guest's grants for which this process has nothing that could be granted."""
    for capability in host.capabilities:
        granted = capability.grant is not None and config.grant(capability.grant) is not None
        if granted and capability.name not in host.services:
            name = capability.name
            yield f"guest {config.name!r}: there is no {name} here that could be granted: leave its table out"


def _granted(config: GuestConfig, shelf: Shelf) -> Granted:
    """The files of a guest; sealed for workers where it runs in processes. Raises `FileFaults`."""
    seal = config.isolation == "process"
    return shelf.granted(config.files, config.limits.files, seal=seal, beside=config.grants)


def guest_config(name: str, guest: written.Guest, isolation: str, keys: tuple[bytes, ...] = ()) -> GuestConfig:
    """What the manifest says about a guest, as `guests/` takes it. With `keys`, one must have signed its module."""
    return GuestConfig(
        name=name,
        module=guest.module or (guest.file if guest.runtime == "python" else JAVASCRIPT),
        runtime=guest.runtime,
        calling=guest.calling,
        function=guest.function,
        values=guest.values,
        parameters=guest.parameters,
        sha256=guest.sha256 if guest.module is not None else None,
        reply_type=guest.reply_type,
        reply=guest.reply,
        grants=guest.grants(),
        limits=guest.limits.limits(),
        snapshot=Snapshot() if guest.snapshot else None,
        isolation=isolation,
        idle=guest.idle,
        least=guest.least,
        files=(*_script(guest), *(FileGrant(at, file.path, file.sha256) for at, file in guest.reads.items())),
        signed=Signed(keys, guest.signed_by) if keys else None,
        capabilities=guest.capabilities(),
    )


def _script(guest: written.Guest) -> Iterator[FileGrant]:
    """A guest's script, as a file that it is granted."""
    if guest.script is not None:
        yield FileGrant(guest.script_at, guest.script, guest.sha256)


def _slots(previous: Plan | None) -> dict[str, Slots]:
    """The slots of the previous plan's guests, and of earlier guests that are still at work."""
    if previous is None:
        return {}
    return {n: slots for n, slots in previous.slots.items() if n in previous.guests or slots.busy or slots.queued}


def _log(config: GuestConfig, previous: Plan | None, keep: int) -> GuestLog:
    """A guest's log. It is kept where its limit has not changed: a reload must not renew what it may log."""
    guest = previous.guests.get(config.name) if previous is not None else None
    log = guest.services[Log] if guest is not None else None
    if guest is not None and isinstance(log, GuestLog) and guest.limits.log == config.limits.log:
        return log
    return GuestLog(config.name, config.limits.log, keep)

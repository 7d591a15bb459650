"""All that one manifest loads: guests, models, routes. Built and checked as a whole, immutable afterwards.

Building opens no port and runs no guest code; it lists every fault of the manifest's guests and models, not the first.
Which plan events are answered with, and when one ends, is the matter of `plans`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import structlog

from guesthouse.engine.base import Engine, EngineError
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.files import digest_of
from guesthouse.guests.files import FileFaults, FileGrant, Granted, Shelf, pin_of
from guesthouse.guests.guest import Code, Guest, GuestConfig, GuestFaults, Runner, load_code, state_of
from guesthouse.guests.process.pool import Pool, Spec
from guesthouse.guests.sandbox import Sandbox
from guesthouse.guests.signatures import SignatureFaults, Signed, public_keys
from guesthouse.guests.slots import Slots
from guesthouse.inference.onnx import ModelConfig
from guesthouse.inference.registry import ModelFaults, Registry
from guesthouse.manifest import Manifest, warnings
from guesthouse.manifest import tables as written
from guesthouse.observe.guestlog import KEPT, GuestLog
from guesthouse_abi.services import Services

_logger = structlog.get_logger("guesthouse")


class PlanFaults(Exception):
    """A manifest that cannot be served; `faults` has every reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Route:
    """Which guest answers, and where its reply goes besides the caller."""

    guest: str
    to: tuple[str, ...] = ()
    state: tuple[str, str] | None = None  # (store, key)
    drop: bool = False  # a guest's own failure is not worth sending the event again
    attempts: int = 0  # an event that failed so often is given up; 0: never
    dead_letter: str = ""  # the output binding that it goes to then
    enabled: bool = True


class Routes:
    """The manifest's routes, by what an event carries."""

    def __init__(self, manifest: Manifest) -> None:
        self._off = frozenset(name for name, guest in manifest.guests.items() if not guest.enabled)
        self._methods: dict[str, list[tuple[tuple[str, ...], Route]]] = {}
        for invoke in manifest.invoke:
            route = Route(invoke.guest, enabled=invoke.enabled)
            self._methods.setdefault(invoke.method, []).append((invoke.verbs, route))
        self._topics: dict[str, dict[str | None, Route]] = {}
        for topic in manifest.topic:
            # A topic's events that no rule of the manifest's names by path go to the table without a match.
            path = topic.route.path if topic.route is not None and topic.route.match else None
            self._topics.setdefault(f"{topic.pubsub}/{topic.topic}", {})[path] = _route(topic)
        self._others = {
            Trigger.BINDING: {b.name: _binding(b) for b in manifest.binding},
            Trigger.JOB: {j.name: Route(j.guest, enabled=j.enabled) for j in manifest.job},
            Trigger.OPERATION: {name: Route(name) for name in manifest.operations},
        }

    def find(self, event: Event) -> Route:
        """The route of an event. Raises `Failure` (`NOT_FOUND`, `OFF`)."""
        route = self._find(event)
        if not route.enabled:
            raise Failure(Reason.OFF, f"the {event.trigger.value} {event.name!r} is switched off", route.guest)
        if route.guest in self._off:
            raise Failure(Reason.OFF, f"guest {route.guest!r} is switched off", route.guest)
        return route

    def _find(self, event: Event) -> Route:
        if event.trigger is Trigger.INVOKE:
            return self._method(event)
        if event.trigger is Trigger.TOPIC:
            paths = self._topics.get(event.name, {})
            route = paths.get(event.path) or paths.get(None)
        else:
            route = self._others[event.trigger].get(event.name)
        if route is None:
            path = f" with the path {event.path!r}" if event.path else ""
            raise Failure(Reason.NOT_FOUND, f"no guest answers the {event.trigger.value} {event.name!r}{path}")
        return route

    def _method(self, event: Event) -> Route:
        choices = self._methods.get(event.name.strip("/"), [])
        for verbs, route in choices:
            if _answers(verbs, event.verb):
                return route
        if choices:
            named = ", ".join(v for verbs, _ in choices for v in verbs)
            only = f"only {named}" if named else "for none of its tables names it in verbs"
            raise Failure(Reason.NOT_FOUND, f"the method {event.name!r} is not answered for {event.verb}, {only}")
        raise Failure(Reason.NOT_FOUND, f"no guest answers the method {event.name!r}")


def _answers(verbs: tuple[str, ...], verb: str) -> bool:
    """Whether a table with these verbs is for a call with that one, which is empty where there was none."""
    return (not verb or verb in verbs) if verbs else verb not in written.ASKING_VERBS


def _route(table: written.Binding | written.Topic) -> Route:
    state = (table.state.store, table.state.key) if table.state is not None else None
    return Route(table.guest, table.to, state, table.on_error == "drop", enabled=table.enabled)


def _binding(table: written.Binding) -> Route:
    return replace(_route(table), attempts=table.attempts or 0, dead_letter=table.dead_letter or "")


@dataclass(frozen=True, slots=True)
class Plan:
    """What events are answered with.

    `slots` are those of its guests, and of guests of plans before it that may still be at work: a guest that is
    changed, or taken out and put back, goes on with the same.
    """

    manifest: Manifest
    models: Registry
    guests: Mapping[str, Guest]
    routes: Routes
    engine: Engine
    cache: CodeCache
    slots: Mapping[str, Slots]
    warnings: tuple[str, ...] = ()  # what its author perhaps does not mean; it is served all the same

    def route(self, event: Event) -> Route:
        """See `Routes.find`."""
        return self.routes.find(event)

    def log_notes(self, before: Plan | None = None) -> None:
        """Log what is perhaps not meant, and what an operator should know of models that the plan `before` had not."""
        for warning in self.warnings:
            _logger.warning("perhaps not meant", warning=warning)
        for model in self.models.models:
            if before is None or before.models.named(model.name) is not model:
                for text in model.notes:
                    _logger.warning("a note on a model", model=model.name, note=text)

    def close(self) -> None:
        """Let go of the runners and models that no other plan holds. Closing twice is no error."""
        if self.models.closed:
            return
        for guest in self.guests.values():
            guest.runner.close()
        self.models.close()


def model_config(name: str, model: written.Model) -> ModelConfig:
    """A model of the manifest as the inference room takes it."""
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


def build(manifest: Manifest, engine: Engine, cache: CodeCache, before: Plan | None = None) -> Plan:
    """Open every model and load every guest. Raises `PlanFaults`; whatever it raises, nothing stays open.

    What is unchanged since `before` was built is taken from there: models, compiled code, slots, worker processes.
    """
    with contextlib.ExitStack() as opened:
        plan, faults = _build(manifest, engine, cache, before, opened)
        if faults:
            raise PlanFaults(faults)
        opened.pop_all()  # the plan's, from now on
    return plan


def _build(
    manifest: Manifest, engine: Engine, cache: CodeCache, before: Plan | None, opened: contextlib.ExitStack
) -> tuple[Plan, list[str]]:
    """The plan, and what is wrong with it; all that must be closed when it is not used is in `opened`."""
    faults: list[str] = []
    missing = list(_unpinned(manifest)) if manifest.require_digests else []
    faults += [fault for _, fault in missing]
    unpinned = {where for where, _ in missing}
    configs = [model_config(n, m) for n, m in manifest.models.items() if ("models", n) not in unpinned]
    try:
        models = Registry.open(configs, before.models if before is not None else None)
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
    known = {guest.code.artefact: guest.code for guest in before.guests.values()} if before is not None else {}
    shelf = Shelf(guest.granted for guest in before.guests.values()) if before is not None else Shelf()
    loaded: list[_Loaded] = []
    for name, guest in manifest.guests.items():
        if not guest.enabled or ("guests", name) in unpinned or (manifest.signatures is not None and not keys):
            continue
        config = guest_config(name, guest, manifest.isolation_of(guest), keys)
        services = Services(models, _log(config, before, KEPT if manifest.page.apps else 0))
        granted = Granted()
        try:
            granted = _granted(config, shelf)
        except FileFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
        try:
            loaded.append(_Loaded(config, load_code(config, engine, cache, known), services, granted))
        except GuestFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
    slots = _slots(before)
    guests: dict[str, Guest] = {}
    for one in loaded:
        name = one.config.name
        if one.config.isolation == "process" and faults:
            continue  # no process is started for a plan that is not used
        try:
            runner = _runner(one, engine, models, before)
        except GuestFaults as error:
            faults += [f"guest {name!r}: {fault}" for fault in error.faults]
            continue
        opened.callback(runner.close)
        guests[name] = Guest(one.config, one.code, runner, one.services, slots.get(name), one.granted)
    if not faults:  # all were begun before the first is waited for
        whys = ((name, guest.runner.wait()) for name, guest in guests.items())
        faults += [f"guest {name!r}: its worker process does not start: {why}" for name, why in whys if why]
    slots.update({name: guest.slots for name, guest in guests.items()})
    return Plan(manifest, models, guests, Routes(manifest), engine, cache, slots, tuple(warnings(manifest))), faults


@dataclass(frozen=True, slots=True)
class _Loaded:
    """All of a guest but how it runs."""

    config: GuestConfig
    code: Code
    services: Services
    granted: Granted


def _runner(one: _Loaded, engine: Engine, models: Registry, before: Plan | None) -> Runner:
    """How a guest runs; as before, where nothing has changed of what its runner knows. Raises `GuestFaults`."""
    old = before.guests.get(one.config.name) if before is not None else None
    if old is not None and old.state == state_of(one.config, one.code, one.granted) and _same_models(old, models):
        return old.runner.retain()
    replaced = old.runner.replaced if old is not None else None
    if one.config.isolation == "process":
        spec = Spec(engine.name, engine.pooling, one.code.artefact, one.code.sha256, engine.interpreter)
        try:
            return Pool(one.config, one.granted, spec, replaced)
        except OSError as error:
            raise GuestFaults([f"its compiled code, {error.filename}, cannot be opened ({error.strerror})"]) from error
    try:
        return Sandbox(one.code.linked(), one.code.convention, replaced)
    except EngineError as error:
        raise GuestFaults([f"{one.config.module.name} cannot be linked: {error}"]) from error


def _same_models(old: Guest, models: Registry) -> bool:
    """Whether the models that a guest may use are those that it has used."""
    past = old.services.inference
    return all(models.named(name) is past.named(name) for name in old.config.grants.models)


def _unpinned(manifest: Manifest) -> Iterator[tuple[tuple[str, str], str]]:
    """What has no digest in the manifest, by table and name: nothing of it is looked at but its digest."""
    files = [("guests", n, guest.module, guest.sha256) for n, guest in manifest.guests.items() if guest.enabled]
    files += [("models", n, model.path, model.sha256) for n, model in manifest.models.items()]
    for table, name, path, pin in files:
        if pin is None:
            try:
                remedy = f'if {path} is the file that you mean, write sha256 = "{digest_of(path)}"'
            except OSError as error:
                remedy = f"{path} cannot be read ({error.strerror})"
            yield (table, name), f"{table}.{name} has no sha256, and require_digests is on: {remedy}"
    for name, guest in manifest.guests.items():
        for at, file in guest.files.items() if guest.enabled else ():
            if file.sha256 is None:
                try:
                    pin = pin_of(file.path, guest.limits.files)
                    remedy = f'if {file.path} is what you mean, write {{ path = "…", sha256 = "{pin}" }}'
                except FileFaults as error:
                    remedy = str(error)
                where = f'guests.{name}.files."{at}"'
                yield ("guests", name), f"{where} has no sha256, and require_digests is on: {remedy}"


def _granted(config: GuestConfig, shelf: Shelf) -> Granted:
    """The files of a guest, for where it runs. Raises `FileFaults`."""
    seal = config.isolation == "process"
    return shelf.granted(config.files, config.limits.files, seal=seal, beside=config.grants)


def guest_config(name: str, guest: written.Guest, isolation: str, keys: tuple[bytes, ...] = ()) -> GuestConfig:
    """A guest of the manifest as the guests' room takes it; with `keys` its module must be signed by one of them."""
    return GuestConfig(
        name=name,
        module=guest.module,
        calling=guest.calling,
        function=guest.function,
        values=guest.values,
        parameters=guest.parameters,
        sha256=guest.sha256,
        reply_type=guest.reply_type,
        grants=guest.grants(),
        limits=guest.limits.limits(),
        isolation=isolation,
        files=tuple(FileGrant(at, file.path, file.sha256) for at, file in guest.files.items()),
        signed=Signed(keys, guest.signed_by) if keys else None,
    )


def _slots(before: Plan | None) -> dict[str, Slots]:
    """The slots that guests before are still in, or were until now."""
    if before is None:
        return {}
    return {n: slots for n, slots in before.slots.items() if n in before.guests or slots.busy or slots.queued}


def _log(config: GuestConfig, before: Plan | None, keep: int) -> GuestLog:
    """A guest's log: the same as before, so that what it may log does not begin anew."""
    guest = before.guests.get(config.name) if before is not None else None
    if guest is not None and isinstance(guest.services.log, GuestLog) and guest.limits.log == config.limits.log:
        return guest.services.log
    return GuestLog(config.name, config.limits.log, keep)

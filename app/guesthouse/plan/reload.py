"""Reload: a changed manifest, module, model or granted file taken in without a stop.

A new plan is built and checked beside the running one (in a thread of its own, on what is unchanged of the old one),
then switched to at once. What is wrong with it is logged, and the old one goes on. What lives as long as the process
(ports, engine, sizes) is not touched here: a reload says which keys of the manifest need a restart.
"""

from __future__ import annotations

import contextlib
import enum
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import structlog
from pydantic import BaseModel

from guesthouse.guests.files import watched
from guesthouse.manifest import Manifest, ManifestError
from guesthouse.plan.build import build
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse.plan.sizing import Size, size_of
from guesthouse.system.stamps import Stamp, stamps

LOOK = 1.0  # seconds between looks at the files
FIXED = ("app", "engine", "process", "outputs", "server", "page", "component", "metrics", "traces")
"""The tables of the manifest that hold as long as the process lives, but for the server's tokens."""
_TOKENS = ("token", "token_file")
_PATIENCE = 5.0  # seconds, at the end of the process, for a reload under way

_ENDING = "the application is shutting down"

_log = structlog.get_logger("guesthouse")


class Outcome(enum.Enum):
    """How a reload ended."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Source:
    """Where manifests come from: a file, how it is read, and the size that the process was started for."""

    path: Path
    read: Callable[[], Manifest]
    room: Size


@dataclass(slots=True)
class Hears:
    """Who is told: of plans that were switched to (new, old), and of how a reload ended, with why it was refused. They
    must not raise."""

    switched: Callable[[Plan, Plan], None] = lambda _new, _old: None
    ended: list[Callable[[Outcome, str], None]] = field(default_factory=list)


class Last(NamedTuple):
    """How a reload ended, when (time of day, seconds since 1970), and why it was refused."""

    outcome: Outcome
    at: float
    why: str


class Reloads:
    """Remembers the last reload, for who asks later."""

    def __init__(self) -> None:
        self.last: Last | None = None

    def ended(self, outcome: Outcome, why: str) -> None:
        """See `Hears.ended`."""
        self.last = Last(outcome, time.time(), why)


@dataclass(slots=True)
class Reloader:
    """Reloads in a thread of its own when it is asked to; with `watch` also when a file changes.

    Requests that come while it reloads are one more reload afterwards. `wanted` may be set before it starts: who asks
    early is heard then.
    """

    plans: Plans
    source: Source
    hears: Hears = field(default_factory=Hears)
    watch: bool = False
    wanted: threading.Event = field(default_factory=threading.Event)
    look: float = LOOK
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _seen: Mapping[Path, Stamp] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def seen(self, read: Mapping[Path, Stamp]) -> None:
        """What the running plan was built from (its manifest, and `files_of` that), as it was before it was read."""
        self._seen = {**_beside_models(self.plans.now), **read}

    def start(self) -> None:
        """From now on. Call `stop` and `close` at the end."""
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Reload soon; while the process ends, say that it does not."""
        with self._lock:
            if not self._stopped:
                self.wanted.set()
                return
        _not_reloaded(_ENDING)

    def stop(self) -> None:
        """Switch no more. Does not wait for a reload under way, which comes to nothing."""
        with self._lock:
            if self._stopped:
                return
            self._stopped, asked = True, self.wanted.is_set()
        self.wanted.set()
        if asked:
            _not_reloaded(_ENDING)

    def close(self) -> None:
        """Stop, and wait a little for a reload under way."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        looked: Mapping[Path, Stamp] = self._seen
        while not self._stopped:
            if not self.wanted.wait(self.look if self.watch else None):
                # Twice the same: a file that is being written is not read half.
                before, looked = looked, stamps(self._seen)
                if looked == self._seen or looked != before:
                    continue
            self.wanted.clear()
            if not self._stopped:
                self.reload()

    def reload(self) -> Outcome:
        """Do it now, in this thread; not in two at once."""
        began, before = time.monotonic(), self.plans.now
        outcome, why = Outcome.REFUSED, ""
        seen = dict(stamps({*self._seen, self.source.path}))  # all of before, until it is known what is read now
        try:
            written = self.source.read()
            seen |= stamps(files_of(written))
            manifest = _in_force(before.manifest, written)
            if faults := self._too_large(manifest):
                raise PlanFaults(faults)
            plan = build(manifest, before.host, before)
            with contextlib.ExitStack() as unused, self._lock:
                unused.callback(plan.close)
                if self._stopped:
                    raise PlanFaults([_ENDING])
                self.plans.switch(plan)
                unused.pop_all()
        except (ManifestError, PlanFaults) as error:
            why = "; ".join(error.faults)
            _not_reloaded(why)
        except Exception as error:  # a full disk, or a fault of ours: what runs goes on
            why = f"{type(error).__name__}: {error}"
            _not_reloaded(why, error)
        else:
            outcome = Outcome.DONE
            self._say(plan, before, list(changes(before.manifest, written)), time.monotonic() - began)
            self.hears.switched(plan, before)
            used = {self.source.path, *files_of(written)}
            seen = {**{path: stamp for path, stamp in seen.items() if path in used}, **_beside_models(plan)}
        self._seen = seen
        for hears in self.hears.ended:
            hears(outcome, why)
        return outcome

    def _too_large(self, manifest: Manifest) -> list[str]:
        """What the process, as it was started, has no room for."""
        need, room, pooling = size_of(manifest), self.source.room, self.plans.now.host.engine.pooling
        wanted = [
            (pooling, "events at once (the sum of limits.concurrency)", need.instances, room.instances),
            (pooling, "bytes of memory (the largest limits.memory)", need.memory, room.memory),
            (True, "events inside (the sum of limits.concurrency and limits.queue)", need.places, room.places),
        ]
        return [
            f"its guests need {needed} {what}, this process was started for {had}: it needs a restart"
            for bounded, what, needed, had in wanted
            if bounded and needed > had
        ]

    def _say(self, plan: Plan, before: Plan, restart: Sequence[str], seconds: float) -> None:
        _log.info(
            "reloaded",
            guests=len(plan.guests),
            models=len(plan.models.models),
            loaded=[f"guest {name}" for name in _changed(plan, before)]
            + [f"model {one.name}" for one in plan.models.models if one is not before.models.named(one.name)],
            gone=[f"guest {name}" for name in before.guests if name not in plan.guests]
            + [f"model {one.name}" for one in before.models.models if plan.models.named(one.name) is None],
            seconds=round(seconds, 2),
        )
        plan.log_notes(before)
        if restart:
            _log.warning("what has changed here needs a restart", keys=restart)


def _not_reloaded(why: str, fault: Exception | None = None) -> None:
    _log.error("not reloaded", error=why, exc_info=fault)


def _in_force(running: Manifest, written: Manifest) -> Manifest:
    """What of a manifest as it is written now can hold in a process that was started with another one."""
    fixed = {name: getattr(running, name) for name in FIXED}
    if not _would_open(running, written):
        fixed["server"] = _with_tokens_of(written, running)
    return written.model_copy(update=fixed)


def _would_open(running: Manifest, written: Manifest) -> bool:
    """Whether no token would be asked for any more: a slip of the pen must not do that while the port is open."""
    now, then = (any(getattr(one.server, key) for key in _TOKENS) for one in (running, written))
    return now and not then


def _with_tokens_of(manifest: Manifest, other: Manifest) -> BaseModel:
    """The server's table of `other`, with the tokens of `manifest`."""
    return other.server.model_copy(update={key: getattr(manifest.server, key) for key in _TOKENS})


def changes(running: Manifest, written: Manifest) -> Iterator[str]:
    """The keys that differ and need a restart, as they are written in the manifest. Never their values."""
    compared = {name: getattr(written, name) for name in FIXED}
    if not _would_open(running, written):
        compared["server"] = _with_tokens_of(running, written)
    for name in FIXED:
        yield from _differing(name, getattr(running, name), compared[name])
    # Operations are asked for when a sidecar starts.
    if running.component == written.component and set(running.operations) != set(written.operations):
        yield "component.guests"


def _differing(where: str, one: object, other: object) -> Iterator[str]:
    if one == other:
        return
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        for key in type(one).model_fields:
            yield from _differing(f"{where}.{key}", getattr(one, key), getattr(other, key))
    else:
        yield where


def _changed(plan: Plan, before: Plan) -> Iterator[str]:
    for name, guest in plan.guests.items():
        old = before.guests.get(name)
        if old is None or old.state != guest.state:
            yield name


def files_of(manifest: Manifest) -> Iterator[Path]:
    """The files that a manifest names and a plan is made from; of a folder that is granted, all that is in it."""
    for guest in manifest.guests.values():
        if guest.enabled:
            yield guest.module
            for granted in guest.files.values():
                yield from watched(granted.path)
            if manifest.signatures is not None:
                yield guest.signed_by
    if manifest.server.token_file is not None:
        yield manifest.server.token_file
    for model in manifest.models.values():
        yield model.path
        if isinstance(model.warm_up, Path):
            yield model.warm_up
    yield from manifest.signatures.keys if manifest.signatures is not None else ()


def _beside_models(plan: Plan) -> Mapping[Path, Stamp]:
    """The data files that a plan's models name, as they were when they were read."""
    return {
        model.path.parent / name: state
        for model in plan.models.models
        if model.file is not None
        for name, state in zip(model.file.external, model.file.stamps, strict=True)
    }

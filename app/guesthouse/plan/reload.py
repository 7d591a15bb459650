"""Reload: serve a changed manifest, module, model or granted file without a restart.

A new plan is built beside the current one, in a thread of its own; what is unchanged is not loaded again. If the new
plan has no faults, new events begin with it at once. If it has faults, they are logged and the current plan stays. What
lives as long as the process (ports, engine, sizes) is not changed here: a reload logs which keys need a restart.
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
from guesthouse.plan.sizing import Capacity, capacity_for
from guesthouse.system.stamps import Stamp, stamps

INTERVAL = 1.0  # seconds between two looks at the files
FIXED = ("app", "engine", "process", "outputs", "server", "page", "component", "metrics", "traces")
"""The tables of the manifest that a reload does not change, except for the server's tokens."""
_TOKENS = ("token", "token_file")
_CLOSE_WAIT = 5.0  # seconds that `close` waits for a reload that is under way

_ENDING = "the application is shutting down"

_log = structlog.get_logger("guesthouse")


class ReloadOutcome(enum.Enum):
    """How a reload ended."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Source:
    """Where manifests come from: a file and how it is read. `capacity` is what the process was started for."""

    path: Path
    read: Callable[[], Manifest]
    capacity: Capacity


@dataclass(slots=True)
class ReloadListeners:
    """What a reload calls. None of these may raise.

    `switched` is called with the new and the old plan after a switch; each of `ended` with the outcome of a reload, and
    why it was refused.
    """

    switched: Callable[[Plan, Plan], None] = lambda _new, _old: None
    ended: list[Callable[[ReloadOutcome, str], None]] = field(default_factory=list)


class Last(NamedTuple):
    """The last reload: how it ended, at what time (seconds since 1970), and why it was refused."""

    outcome: ReloadOutcome
    at: float
    why: str


class Reloads:
    """Remembers the last reload, for `status` of the page."""

    def __init__(self) -> None:
        self.last: Last | None = None

    def ended(self, outcome: ReloadOutcome, why: str) -> None:
        """See `ReloadListeners.ended`."""
        self.last = Last(outcome, time.time(), why)


@dataclass(slots=True)
class Reloader:
    """Reloads, in a thread of its own, when `request` is called; with `watch` also when a file has changed.

    All requests that come during a reload lead to one more reload. `wanted` may be set before `start`: a reload that
    was requested so early happens then.
    """

    plans: Plans
    source: Source
    listeners: ReloadListeners = field(default_factory=ReloadListeners)
    watch: bool = False
    wanted: threading.Event = field(default_factory=threading.Event)
    interval: float = INTERVAL
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: bool = False
    _seen: Mapping[Path, Stamp] = field(default_factory=dict)
    _thread: threading.Thread | None = None

    def seen(self, read: Mapping[Path, Stamp]) -> None:
        """Set the files that the current plan was built from: the manifest, and `files_of` it.

        `read` has their states before they were read.
        """
        self._seen = {**_beside_models(self.plans.now), **read}

    def start(self) -> None:
        """Start the thread. Call `stop` and `close` at the end."""
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Ask for a reload. While the process ends, log instead that there will be none."""
        with self._lock:
            if not self._stopped:
                self.wanted.set()
                return
        _not_reloaded(_ENDING)

    def stop(self) -> None:
        """Allow no further switch. A reload that is under way is not waited for, and will not switch."""
        with self._lock:
            if self._stopped:
                return
            self._stopped, asked = True, self.wanted.is_set()
        self.wanted.set()
        if asked:
            _not_reloaded(_ENDING)

    def close(self) -> None:
        """Stop, and wait a little for a reload that is under way."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_CLOSE_WAIT)

    def _run(self) -> None:
        looked: Mapping[Path, Stamp] = self._seen
        while not self._stopped:
            if not self.wanted.wait(self.interval if self.watch else None):
                # Reload when two looks in a row see the same change: a file that is being written is not read half.
                last, looked = looked, stamps(self._seen)
                if looked == self._seen or looked != last:
                    continue
            self.wanted.clear()
            if not self._stopped:
                self.reload()

    def reload(self) -> ReloadOutcome:
        """Reload now, in the calling thread. Must not be called in two threads at once."""
        began, previous = time.monotonic(), self.plans.now
        outcome, why = ReloadOutcome.REFUSED, ""
        seen = dict(stamps({*self._seen, self.source.path}))  # until the new manifest says which files count
        try:
            written = self.source.read()
            seen |= stamps(files_of(written))
            manifest = _in_force(previous.manifest, written)
            if faults := self._too_large(manifest):
                raise PlanFaults(faults)
            plan = build(manifest, previous.host, previous)
            with contextlib.ExitStack() as unused, self._lock:
                unused.callback(plan.close)
                if self._stopped:
                    raise PlanFaults([_ENDING])
                self.plans.switch(plan)
                unused.pop_all()
        except (ManifestError, PlanFaults) as error:
            why = "; ".join(error.faults)
            _not_reloaded(why)
        except Exception as error:  # a full disk, or an error of ours: the current plan stays
            why = f"{type(error).__name__}: {error}"
            _not_reloaded(why, error)
        else:
            outcome = ReloadOutcome.DONE
            self._log_reloaded(plan, previous, list(changes(previous.manifest, written)), time.monotonic() - began)
            self.listeners.switched(plan, previous)
            used = {self.source.path, *files_of(written)}
            seen = {**{path: stamp for path, stamp in seen.items() if path in used}, **_beside_models(plan)}
        self._seen = seen
        for ended in self.listeners.ended:
            ended(outcome, why)
        return outcome

    def _too_large(self, manifest: Manifest) -> list[str]:
        """What the manifest needs beyond the capacity that the process was started with."""
        need, had, pooling = capacity_for(manifest), self.source.capacity, self.plans.now.host.engine.pooling
        wanted = [
            (pooling, "events at once (the sum of limits.concurrency)", need.instances, had.instances),
            (pooling, "bytes of memory (the largest limits.memory)", need.memory, had.memory),
            (True, "events inside (the sum of limits.concurrency and limits.queue)", need.places, had.places),
        ]
        return [
            f"its guests need {needed} {what}, this process was started for {most}: it needs a restart"
            for bounded, what, needed, most in wanted
            if bounded and needed > most
        ]

    def _log_reloaded(self, plan: Plan, previous: Plan, restart: Sequence[str], seconds: float) -> None:
        _log.info(
            "reloaded",
            guests=len(plan.guests),
            models=len(plan.models.models),
            loaded=[f"guest {name}" for name in _changed(plan, previous)]
            + [f"model {one.name}" for one in plan.models.models if one is not previous.models.named(one.name)],
            gone=[f"guest {name}" for name in previous.guests if name not in plan.guests]
            + [f"model {one.name}" for one in previous.models.models if plan.models.named(one.name) is None],
            seconds=round(seconds, 2),
        )
        plan.log_notes(previous)
        if restart:
            _log.warning("what has changed here needs a restart", keys=restart)


def _not_reloaded(why: str, error: Exception | None = None) -> None:
    _log.error("not reloaded", error=why, exc_info=error)


def _in_force(running: Manifest, written: Manifest) -> Manifest:
    """The part of a newly written manifest that a running process can take over; the rest is from `running`."""
    fixed = {name: getattr(running, name) for name in FIXED}
    if not _would_open(running, written):
        fixed["server"] = _with_tokens_of(written, running)
    return written.model_copy(update=fixed)


def _would_open(running: Manifest, written: Manifest) -> bool:
    """Whether the new manifest would switch the check of tokens off, which no reload may do: it may be a mistake."""
    now, then = (any(getattr(one.server, key) for key in _TOKENS) for one in (running, written))
    return now and not then


def _with_tokens_of(manifest: Manifest, other: Manifest) -> BaseModel:
    """The server's table of `other`, with the tokens of `manifest`."""
    return other.server.model_copy(update={key: getattr(manifest.server, key) for key in _TOKENS})


def changes(running: Manifest, written: Manifest) -> Iterator[str]:
    """The keys that have changed and need a restart, as the manifest writes them. Their values are not shown."""
    compared = {name: getattr(written, name) for name in FIXED}
    if not _would_open(running, written):
        compared["server"] = _with_tokens_of(running, written)
    for name in FIXED:
        yield from _differing(name, getattr(running, name), compared[name])
    # A sidecar asks for a component's operations only when it starts.
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


def _changed(plan: Plan, previous: Plan) -> Iterator[str]:
    for name, guest in plan.guests.items():
        old = previous.guests.get(name)
        if old is None or old.state != guest.state:
            yield name


def files_of(manifest: Manifest) -> Iterator[Path]:
    """The files that a manifest names and a plan is built from. Of a granted folder, all files in it."""
    for guest in manifest.guests.values():
        if guest.enabled:
            yield guest.file
            for granted in guest.reads.values():
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
    """The data files that a plan's models name, with their states when they were read."""
    return {
        model.path.parent / name: state
        for model in plan.models.models
        if model.file is not None
        for name, state in zip(model.file.external, model.file.stamps, strict=True)
    }

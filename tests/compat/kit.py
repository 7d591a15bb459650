"""Runs rules the way events go: a manifest, a plan, the dispatcher. Which engine is under it, and where its guests run,
is what the manifest says; WAT is made into modules by wasmtime whatever is under test.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wasmtime
from dapr.proto.common.v1.common_pb2 import InvokeResponse
from dapr.proto.runtime.v1.actors_pb2 import (
    ExecuteActorStateTransactionRequest,
    GetActorStateRequest,
    GetActorStateResponse,
    InvokeActorRequest,
)
from dapr.proto.runtime.v1.state_pb2 import GetStateResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from structlog.testing import capture_logs

from guesthouse.assembly import open_plan
from guesthouse.dapr.actors.state import TurnState
from guesthouse.dapr.api_methods import METHODS, Requests
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import ACTOR_TRIGGERS, Actor, Destination, Event, Failure, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import parse
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import PlanFaults
from guesthouse_abi import pairs
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended

from . import models
from .guestwat import module_of, place_of
from .rulebook import Group, Rule

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COLUMNS = Path(__file__).resolve().parent / "columns.toml"
#: Guests that are loaded together. Each has worker processes of its own where it runs in one.
TOGETHER = {"thread": 1000, "process": 12}


@dataclass(frozen=True)
class Column:
    """An engine and an isolation: how many rules passed, and why the others cannot."""

    engine: str
    isolation: str
    passed: int = 0
    exceptions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.engine}, {self.isolation}"


def columns() -> tuple[Column, ...]:
    """What `columns.toml` has."""
    return tuple(Column(**table) for table in tomllib.loads(COLUMNS.read_text(encoding="utf-8"))["column"])


def column(engine: str, isolation: str) -> Column:
    """The column of an engine and an isolation; an empty one where there is none yet."""
    known = {(one.engine, one.isolation): one for one in columns()}
    return known.get((engine, isolation), Column(engine, isolation))


def record(engine: str, isolation: str, passed: int) -> None:
    """Write how many rules passed into `columns.toml`, whose column must be there."""
    text = COLUMNS.read_text(encoding="utf-8")
    table = re.compile(rf'(engine = "{engine}"\nisolation = "{isolation}"\npassed = )\d+')
    if not table.search(text):
        raise ValueError(f"{COLUMNS} has no column for {engine}, {isolation}: add one")
    COLUMNS.write_text(table.sub(rf"\g<1>{passed}", text), encoding="utf-8")


def judge(found: Mapping[str, str], exceptions: Mapping[str, str]) -> list[str]:
    """What is wrong with a run, in words: `found` has what went wrong by rule, "" for a rule that passed."""
    wrong = [f"{rule}: {what}" for rule, what in found.items() if what and rule not in exceptions]
    wrong += [
        f"{rule}: passed, and is listed as an exception"
        for rule, what in found.items()
        if not what and rule in exceptions
    ]
    return wrong


def run(groups: Iterable[Group], engine: str, isolation: str, python: str | None = None) -> Iterator[tuple[Rule, str]]:
    """Every rule with what went wrong, "" for nothing. `python` is the interpreter that has the engine, if not this."""
    with tempfile.TemporaryDirectory(prefix="compat-") as name, capture_logs():
        folder = Path(name)
        models.write(folder)
        (folder / "granted.txt").write_text("granted")  # for rules that grant a file
        work = [Work(rule, *written(folder, group, rule)) for group in groups for rule in group.rules]
        bench = Bench(folder, engine, isolation, python)
        refused = [one for one in work if one.rule.refused is not None]
        served = [one for one in work if one.rule.refused is None]
        if refused:
            yield from bench.refuse(refused)
        step = TOGETHER[isolation]
        # With a component, every guest of a manifest is one of its operations, and some guests can be none.
        operations = [one for one in served if one.rule.event.get("trigger") == "operation"]
        others = [one for one in served if one not in operations]
        for together in (operations, others):
            for start in range(0, len(together), step):
                yield from bench.serve(together[start : start + step])


@dataclass(frozen=True)
class Work:
    """A rule, its guest's module, the function to call ("" for a program or handlers) and what is before the body."""

    rule: Rule
    module: Path
    function: str
    before: bytes

    @property
    def table(self) -> dict[str, Any]:
        """The guest in the manifest."""
        how = {"calling": "bindgen", "function": self.function} if self.function else {"calling": "command"}
        return {"module": str(self.module), **how, **self.rule.guest}


def written(folder: Path, group: Group, rule: Rule) -> tuple[Path, str, bytes]:
    """Write the module of a rule, once for all that share it."""
    path = folder / f"{rule.id if rule.module else group.name}.wasm"
    if not path.exists():
        made = rule.module or module_of(group)
        path.write_bytes(bytes.fromhex(made[4:]) if made.startswith("hex:") else wat2wasm(path.stem, made))
    case = place_of(group, rule)
    program = case is not None or rule.guest.get("calling", "bindgen") not in ("bindgen", "extism")
    return path, "" if program else ("f" if rule.module else rule.id), b"" if case is None else bytes([case])


def wat2wasm(name: str, text: str) -> bytes:
    """Raises `ValueError`, with the module's name."""
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise ValueError(f"the guest {name} (see --show): {error}") from None


class Bench:
    """Loads guests and sends them events, for one engine and isolation."""

    def __init__(self, folder: Path, engine: str, isolation: str, python: str | None) -> None:
        self._folder = folder
        self._engine = engine
        self._python = {} if python is None else {"python": python}
        self._isolation = isolation

    def _manifest(self, work: Sequence[Work]) -> Any:
        document: dict[str, Any] = {
            "app": {"name": "compat"},
            "engine": {"name": self._engine, "cache": os.environ.get("GUESTHOUSE_CACHE") or "code", **self._python},
            "models": models.TABLES,
            "guests": {one.rule.id: {"isolation": self._isolation, **one.table} for one in work},
        }
        for one in work:
            kind, name = one.rule.event.get("trigger", "invoke"), one.rule.id
            route = {
                "invoke": {"method": name},
                "binding": {"name": name},
                "topic": {"pubsub": "pubsub", "topic": name},
                "job": {"name": name},
                "operation": None,  # its name is the guest's
            }.get(kind, {"type": name})
            if route is None:
                document["component"] = {"name": "compat"}
            else:
                kind = "actor" if kind in ACTOR_TRIGGERS else kind
                document.setdefault(kind, []).append({"guest": name, **route})
        return parse(document, self._folder / "guesthouse.toml", grants=GRANTS)

    def refuse(self, work: Sequence[Work]) -> Iterator[tuple[Rule, str]]:
        """Rules whose guests must not load."""
        faults: list[str] = []
        try:
            with open_plan(self._manifest(work), {"dapr": KitSidecar()}):
                pass
        except PlanFaults as error:
            faults = error.faults
        for one in work:
            own = [fault for fault in faults if fault.startswith(f"guest {one.rule.id!r}: ")]
            expected = str(one.rule.refused)
            fine = any(expected in fault for fault in own)
            yield one.rule, "" if fine else f"not refused with {expected!r}, but with {own}"

    def serve(self, work: Sequence[Work]) -> Iterator[tuple[Rule, str]]:
        """Rules whose guests answer events."""
        with logged(), contextlib.ExitStack() as stack:
            try:
                sidecar = KitSidecar()
                plan = stack.enter_context(open_plan(self._manifest(work), {"dapr": sidecar}))
            except PlanFaults as error:
                faulty = {one.rule.id for one in work for f in error.faults if f.startswith(f"guest {one.rule.id!r}: ")}
                if not faulty:
                    raise
                for one in work:
                    if one.rule.id in faulty:
                        told = [f for f in error.faults if f.startswith(f"guest {one.rule.id!r}: ")]
                        yield one.rule, f"does not load: {told}"
                rest = [one for one in work if one.rule.id not in faulty]
                if rest:
                    yield from self.serve(rest)
                return
            dispatcher = Dispatcher(Plans(plan), Nowhere())
            for one in work:
                turns = (self._once(dispatcher, one, sidecar) for _ in range(one.rule.times))
                yield one.rule, next(filter(None, turns), "")

    def _once(self, dispatcher: Dispatcher, one: Work, sidecar: KitSidecar) -> str:
        rule = one.rule
        with capture_logs() as lines:
            outcome = answered(dispatcher, event_of(rule, one.before))
        saved = sidecar.saved.pop(rule.id, [])
        said = [f"{line.get('stream', 'host')}: {line['event']}" for line in lines if line.get("guest") == rule.id]
        if isinstance(outcome, Exception) and not isinstance(outcome, Failure):
            return f"raised {outcome!r}, where only a Failure may come"
        if isinstance(outcome, Failure):
            if rule.fails is None:
                return f"failed: {outcome.reason.value} {outcome.text!r}; logged {said}"
            reason, text, *length = rule.fails
            if outcome.reason.value != reason or text not in outcome.text or length not in ([], [len(outcome.text)]):
                return f"failed otherwise: {outcome.reason.value} {outcome.text!r}; logged {said}"
        elif rule.fails is not None:
            return f"answered {outcome.body!r}; logged {said}"
        elif outcome.body != rule.reply:
            return f"answered {outcome.body!r}, not {rule.reply!r}; logged {said}"
        elif outcome.stop is not rule.stops:
            return "stopped" if outcome.stop else "not stopped"
        if tuple(saved) != rule.saved:
            return f"saved {saved}, not {list(rule.saved)}; logged {said}"
        missing = [text for text in rule.log if not any(text in line for line in said)]
        return f"logged {said}, and not {missing}" if missing else ""


def event_of(rule: Rule, before: bytes) -> Event:
    fields = dict(rule.event)
    kind = Trigger(fields.pop("trigger", "invoke"))
    body = bytes.fromhex(fields.pop("body_hex")) if "body_hex" in fields else fields.pop("body", "").encode()
    body *= fields.pop("repeat", 1)
    name = f"pubsub/{rule.id}" if kind is Trigger.TOPIC else rule.id
    if kind in ACTOR_TRIGGERS:
        told = {"id": "7", "method": "", "callback": "", **fields.pop("actor", {})}
        reentrancy = told.pop("reentrancy", "")
        fields["actor"] = Actor(**told, state=TurnState(name, told["id"], reentrancy))
    return Event(kind, name, before + body, **fields)


def answered(dispatcher: Dispatcher, event: Event) -> Reply | Exception:
    """The reply, or what was raised."""
    try:
        return dispatcher.dispatch(event)
    except Exception as error:
        return error


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Guests' own lines are only taken where somebody listens."""
    logger = logging.getLogger("guesthouse.guest")
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)


class KitSidecar(Requests):
    """A sidecar that answers by the key of a GetState. `sidecar.SidecarApi`.

    Of any actor, the state at `k` is `stored`. `saved` has the transactions of each type of actors, in words.
    """

    def __init__(self) -> None:
        self.saved: dict[str, list[str]] = {}

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        if "Actor" in method:
            done(self._actor(method, message))
            return lambda: None
        if (ended := _for_interface(method, message)) is not None:
            done(ended)
            return lambda: None
        key = message.rpartition(b"\x12")[2][1:]
        if key == b"k":
            done(Ended(0, "", b"value", pairs.encode([("a", "b")])))
        elif key == b"falls":
            done(Ended(10, "stale", None, details=b"details"))
        elif key == b"late":
            after(0.05, lambda: done(Ended(0, "", b"late")))
        elif seconds < 1:
            after(seconds, lambda: done(Ended(4, "the time is over")))
        return lambda: None

    def _actor(self, method: str, message: bytes) -> Ended:
        if method == "GetActorState":
            stored = b"stored" if GetActorStateRequest.FromString(message).key == "k" else b""
            return Ended(0, "", GetActorStateResponse(data=stored).SerializeToString())
        if method == "InvokeActor":
            given = InvokeActorRequest.FromString(message).metadata
            return Ended(0, "", " ".join(f"{name}={given[name]}" for name in sorted(given)).encode())
        if method == "ExecuteActorStateTransaction":
            request = ExecuteActorStateTransactionRequest.FromString(message)
            words = [f"{one.operationType} {one.key} {one.value.value.decode()}".strip() for one in request.operations]
            if "upsert falls" in words:
                return Ended(10, "stale")
            self.saved.setdefault(request.actor_type, []).append(", ".join(words))
        return Ended(0, "", b"")


def _for_interface(method: str, message: bytes) -> Ended | None:
    """What calls of components' interfaces get: these keys, what is published, invocations.

    At `kv` is `value`, at `number` 41, both with the etag 1; others come before a swap of `lost`.
    """
    request: Any = METHODS[method].request.FromString(message) if method in _OF_INTERFACES else None
    if method == "GetState" and request.key in _STORED:
        value = _STORED[request.key]
        return Ended(0, "", GetStateResponse(data=value, etag="1" if value else "").SerializeToString())
    if method == "SaveState" and request.states[0].options.concurrency:
        lost = request.states[0].key == "lost"
        return Ended(10, "possible etag mismatch") if lost else Ended(0, "", b"")
    if method in ("PublishEvent", "SaveState", "DeleteState"):
        return Ended(0, "", b"")
    if method == "InvokeService":
        body = AnyMessage(value=request.message.data.value)
        return Ended(0, "", InvokeResponse(data=body, content_type="text/x").SerializeToString())
    return None


_STORED = {"kv": b"value", "number": b"41", "lost": b"theirs", "hello": b""}
_OF_INTERFACES = frozenset({"GetState", "SaveState", "DeleteState", "PublishEvent", "InvokeService"})


def after(seconds: float, do: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()


class Nowhere:
    """No rule has outputs."""

    def deliver(self, reply: Reply, event: Event, destination: Destination, deadline: Deadline) -> None:
        raise AssertionError(destination)

"""An actor's turn without a sidecar: its state is in memory, and a person reads and writes it as JSON.

A file with an actor's state is a JSON object with a value for each key. A guest's SDK saves JSON, so a value stands for
its JSON without spaces. Other bytes are an object with one of the keys `text`, `base64` and `json`; a value that looks
like such an object itself is written with `json`:

    { "count": 3, "note": { "text": "no JSON" }, "icon": { "base64": "iVBORw==" }, "odd": { "json": { "text": 1 } } }
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dapr.proto.runtime.v1.actors_pb2 import (
    ExecuteActorStateTransactionRequest,
    GetActorStateRequest,
    GetActorStateResponse,
)

from guesthouse.dapr.actors.state import READ, TRANSACTION, UPSERT, TurnState
from guesthouse.dapr.api_methods import Requests
from guesthouse.event import Actor, Event
from guesthouse.faults import fault
from guesthouse.manifest import Manifest
from guesthouse.manifest.addresses import ACTOR_NAME
from guesthouse.manifest.text import shown
from guesthouse.scripted.script import ScriptedSidecar
from guesthouse.scripted.tables import LARGEST, ScriptFaults, in_words, written_bytes
from guesthouse.sidecar import NotMade
from guesthouse_abi.calls import Code
from guesthouse_abi.services import Ended

_FORMS = ("text", "json", "base64")

State = Mapping[str, bytes]


class ActorMemory(Requests):
    """Keeps the state of one actor: `sidecar.SidecarApi`, for any number of threads, and one turn at a time.

    Calls that have nothing to do with its state are answered by `script`; so are those of its state that the script
    names. Without a script they fail, as where no sidecar is.
    """

    def __init__(self, manifest: Manifest, script: ScriptedSidecar | None) -> None:
        self.values: dict[str, bytes] = {}
        self._script = script
        self._reentrant = frozenset(actor.type for actor in manifest.actor if actor.reentrant)
        self._lock = threading.Lock()

    def turn(self, event: Event, values: State) -> None:
        """Begin with the turn of an actor that has this state."""
        assert event.actor is not None
        self.values = dict(values)
        reentrancy = "1" if event.name in self._reentrant else ""
        event.actor.state = TurnState(event.name, event.actor.id, reentrancy)

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """See `sidecar.SidecarApi`."""
        scripted = self._script is not None and any(one.method.name == method for one in self._script.script.expected)
        if method in (READ, TRANSACTION) and not scripted:
            with self._lock:
                response = self._get(message) if method == READ else self._execute(message)
            done(Ended(0, "", response))
            return _nothing
        if self._script is None:
            raise NotMade(Code.UNAVAILABLE, "there is no sidecar here")
        return self._script.begin(method, message, metadata, seconds, done)

    def _get(self, message: bytes) -> bytes:
        key = GetActorStateRequest.FromString(message).key
        return GetActorStateResponse(data=self.values.get(key, b"")).SerializeToString()

    def _execute(self, message: bytes) -> bytes:
        for operation in ExecuteActorStateTransactionRequest.FromString(message).operations:
            if operation.operationType == UPSERT:
                self.values[operation.key] = operation.value.value
            else:
                self.values.pop(operation.key, None)
        return b""


def _nothing() -> None:
    """Cancels a call that has ended."""


def actor_in(name: str, method: str, callback: str = "") -> tuple[str, Actor]:
    """The type and the actor that `TYPE/ID` names. Raises `ValueError`, with what is wrong."""
    kind, slash, id = name.partition("/")
    if not slash:
        raise ValueError(f"{shown(name)} names no actor")
    for one in (kind, id):
        if not ACTOR_NAME.fullmatch(one):
            raise ValueError(f"{shown(one)} is no name of an actor or of its type")
    return kind, Actor(id, method, callback)


def read_state(path: Path) -> State:
    """The state in a file; none where there is no file yet. Raises `ScriptFaults`."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ScriptFaults(fault(f"cannot be read ({error.strerror})", str(path), "name a JSON file")) from error
    if len(data) > LARGEST:
        raise ScriptFaults(fault(f"over {LARGEST} bytes large", str(path), "put less into it"))
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ScriptFaults(fault(f"not JSON: {error}", str(path), "correct it there")) from error
    if not isinstance(document, dict):
        raise ScriptFaults(fault("is no JSON object", str(path), "write the values by their keys, in { }"))
    return {key: _bytes_of(value, path, key) for key, value in document.items()}


def _bytes_of(value: object, path: Path, key: str) -> bytes:
    named = isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _FORMS
    try:
        return written_bytes(value if named else {"json": value})
    except ValueError as error:
        remedy = f'write one of {", ".join(_FORMS)} with its value; or, for JSON that is so, {{ "json": … }} around it'
        raise ScriptFaults(fault(str(error), f"{path}: {key}", remedy)) from error


def written_state(values: State) -> str:
    """The text of a file with this state."""
    document = {key: _json_of(value) for key, value in sorted(values.items())}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _json_of(data: bytes) -> object:
    """A value of a file that stands for just these bytes."""
    try:
        value: object = json.loads(data)
        exact = written_bytes({"json": value}) == data
    except (ValueError, RecursionError):
        exact = False
    if exact:
        named = isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _FORMS
        return {"json": value} if named else value
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def changes(before: State, after: State) -> Iterator[str]:
    """What a turn has changed, a line for each key."""
    for key in sorted({*before, *after}):
        if before.get(key) == after.get(key):
            continue
        if key not in after:
            yield f"state {shown(key)} is deleted, was {in_words(before[key])}"
        elif key not in before:
            yield f"state {shown(key)} is new: {in_words(after[key])}"
        else:
            yield f"state {shown(key)} is {in_words(after[key])}, was {in_words(before[key])}"

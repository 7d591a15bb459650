"""The clients of the SDKs in C, Go and AssemblyScript: Dapr's own protobuf code reads what they write.

A guest of each SDK uses each client once. The Rust SDK has more clients, and a test of its own (test_sdk_rust.py); the
calls of an actor's own turn are here for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from guesthouse.assembly import open_plan
from guesthouse.event import Actor, Event, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.sidecar import SidecarApi
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Account, Ended
from tests.sdk.modules import CLIENTS, SCRIPTS, module_of
from tests.sdk.test_sdk_examples import request, response
from tests.sdk.test_sdk_rust import MANIFEST
from tests.support.interpreter import interpreter
from tests.support.scripted import Scripted, encoded

FIRST_WRITE = {"concurrency": 1}
ITEM = {"key": "k", "value": b"v", "etag": {"value": "7"}, "options": FIRST_WRITE}
METADATA = {"metadata": {"a": "b"}}

#: Each call of a guest `clients`: the method, the request, the response, and the line of the reply.
CALLS: list[tuple[str, Mapping[str, Any], Mapping[str, Any], str]] = [
    ("GetState", {"store_name": "store", "key": "k", **METADATA}, {"data": b"v", "etag": "7"}, "v 7"),
    ("GetBulkState", {"store_name": "store", "keys": ["k", "l"], **METADATA},
     {"items": [{"key": "k", "data": b"v", "etag": "7"}, {"key": "l", "error": "no"}]}, "k=v@7 l!no"),
    ("SaveState", {"store_name": "store", "states": [{**ITEM, "metadata": {"ttlInSeconds": "9"}}]}, {}, "ok"),
    ("SaveState", {"store_name": "store", "states": [{"key": "k", "value": b"v"}]}, {}, "ok"),
    ("SaveState", {"store_name": "store", "states": [{"key": "k", "value": b"v", "options": FIRST_WRITE}]}, {}, "ok"),
    ("DeleteState", {"store_name": "store", "key": "k", "etag": {"value": "7"}, "options": FIRST_WRITE, **METADATA},
     {}, "ok"),
    ("ExecuteStateTransaction", {"storeName": "store", **METADATA, "operations": [
        {"operationType": "upsert", "request": ITEM}, {"operationType": "delete", "request": {"key": "l"}}]}, {}, "ok"),
    ("PublishEvent", {"pubsub_name": "pubsub", "topic": "results", "data": b"data",
                      "data_content_type": "text/plain", "metadata": {"rawPayload": "true"}}, {}, "ok"),
    ("InvokeService", {"id": "other", "message": {
        "method": "price", "data": {"value": b"data"}, "content_type": "text/plain",
        "http_extension": {"verb": 9, "querystring": "a=b"}}},
     {"data": {"type_url": "t", "value": b"3"}, "content_type": "text/html"}, "3 text/html"),
    ("InvokeBinding", {"name": "mail", "operation": "create", "data": b"data", **METADATA},
     {"data": b"v", "metadata": {"c": "d"}}, "v"),
    ("GetSecret", {"store_name": "vault", "key": "key", "metadata": {"version_id": "2"}},
     {"data": {"key": "hidden"}}, "key=hidden"),
    ("GetConfiguration", {"store_name": "config", "keys": ["k", "l"], **METADATA},
     {"items": {"k": {"value": "v", "version": "1"}}}, "k=v@1"),
    ("TryLockAlpha1", {"store_name": "locks", "resource_id": "r", "lock_owner": "me", "expiry_in_seconds": 60},
     {"success": True}, "1"),
    ("UnlockAlpha1", {"store_name": "locks", "resource_id": "r", "lock_owner": "me"}, {"status": 2}, "2"),
    ("ScheduleJob", {"overwrite": True, "job": {
        "name": "sweep", "schedule": "@daily", "repeats": 3, "due_time": "10s", "ttl": "1h",
        "data": {"value": b"data"}}}, {}, "ok"),
    ("GetJob", {"name": "sweep"}, {"job": {"name": "sweep", "schedule": "@daily", "data": {"value": b"v"}}}, "v"),
    ("DeleteJob", {"name": "sweep"}, {}, "ok"),
    ("InvokeActor", {"actor_type": "Cart", "actor_id": "7", "method": "add", "data": b"data",
                     "metadata": {"a": "b", "guesthouse-depth": "1"}},
     {"data": b"v"}, "v"),
    ("GetWorkflowBeta1", {"instance_id": "any"}, {}, "ok"),
]  # fmt: skip


PYTHON = """
from guesthouse import (
    actor_state, binding, call, configuration, invoke, invoke_actor, jobs, lock, publish, reminders, secret, state,
    timers, unlock,
)

store, ab = state("store"), {"a": "b"}


def on_invoke(event):
    got = store.get("k", metadata=ab)
    told = [f"{got.text()} {got.etag}"]
    bulk = store.get_bulk(["k", "l"], metadata=ab)
    told += [" ".join(f"{one.key}!{one.error}" if one.error else f"{one.key}={one.text()}@{one.etag}" for one in bulk)]
    told += ["ok" if one is None else one for one in (
        store.save("k", "v", etag=got.etag, first_write=True, metadata={"ttlInSeconds": "9"}),
        store.save("k", b"v"),
        store.save("k", memoryview(b"v"), etag="", first_write=True),
        store.delete("k", etag="7", first_write=True, metadata=ab),
        store.transaction(
            [{"save": "k", "value": "v", "etag": "7", "first_write": True}, {"delete": "l"}], metadata=ab
        ),
        publish("pubsub", "results", "data", metadata={"rawPayload": "true"}),
    )]
    options = {"verb": "PATCH", "query": "a=b", "metadata": {"x-a": "b"}, "timeout": 5}
    invoked = invoke("other", "price", "data", **options)
    told += [f"{invoked.text()} {invoked.content_type}", binding("mail", "create", "data", ab).text()]
    told += [" ".join(f"{name}={value}" for name, value in found.items()) for found in (
        secret("vault", "key", {"version_id": "2"}), configuration("config", ["k", "l"], ab))]
    told += [str(lock("locks", "r", "me", 60)), str(unlock("locks", "r", "me"))]
    jobs.schedule("sweep", schedule="@daily", repeats=3, due_time="10s", ttl="1h", data=b"data", overwrite=True)
    told += ["ok", jobs.get("sweep")["data"]["value"].decode()]
    jobs.delete("sweep")
    told += ["ok", invoke_actor("Cart", "7", "add", "data", metadata=ab).text()]
    call("GetWorkflowBeta1", b"\\n\\x03any")
    return "\\n".join([*told, "ok"])


def on_actor(event):
    fires = {"due_time": "1s", "period": "2s", "data": "data", "ttl": "9s"}
    got = actor_state.get("k")
    actor_state.set("k", "v", metadata={"ttlInSeconds": "9"})
    actor_state.delete("l")
    actor_state.save_now()
    timers.set("tick", callback="again", **fires)
    timers.clear("tick")
    reminders.set("daily", **fires)
    reminders.clear("daily")
    return got.text()
"""
#: What a script in Python is told in other words: it has no versions, and whether a lock was taken is true or false.
PYTHON_TOLD = {"k=v@1": "k=v", "1": "True", "2": "False"}


def clients_manifest(folder: Path, language: str) -> Path:
    """A manifest with the guest `clients` of a language."""
    path = folder / "guesthouse.toml"
    if language in SCRIPTS:
        suffix, script = {"javascript": ("js", SCRIPT), "python": ("py", PYTHON)}[language]
        (folder / f"clients.{suffix}").write_text(script)
        line = f'script = "clients.{suffix}"'
        if language == "python":
            interpreter()
            line += '\nruntime = "python"'
    else:
        line = f'module = "{CLIENTS[language]() if language in CLIENTS else module_of(language, "clients")}"'
    path.write_text(MANIFEST.replace('module = "MODULE"', line))
    return path


@pytest.mark.parametrize("language", [*sorted(CLIENTS), "python"])
def test_clients_write_and_read_daprs_messages(tmp_path: Path, language: str) -> None:
    path = clients_manifest(tmp_path, language)
    sidecar = Scripted()
    waiting = iter(CALLS)

    def reply(method: str, done: Callable[[Ended], None]) -> None:
        _, _, fields, _ = next(waiting)
        done(Ended(0, "", response(method, fields)))

    sidecar.reply = reply
    with open_plan(load(path, grants=GRANTS), {"dapr": sidecar}) as plan:
        told = plan.guests["clients"].run(Event(Trigger.INVOKE, "any"), Deadline.after(60)).body.decode().splitlines()
    assert [(method, request(method, message)) for method, message, _ in sidecar.made] == [
        (method, request(method, encoded(method, fields))) for method, fields, _, _ in CALLS
    ]
    other = PYTHON_TOLD if language == "python" else {}
    assert told == [other.get(text, text) for _, _, _, text in CALLS]
    assert [headers for method, _, headers in sidecar.made if method == "InvokeService"] == [
        {"guesthouse-depth": "1", "x-a": "b"}
    ]


WHO = {"actor_type": "Cart", "actor_id": "7"}
FIRES = {**WHO, "due_time": "1s", "period": "2s", "data": b"data", "ttl": "9s"}
SAVED = {"operationType": "upsert", "key": "k", "value": {"value": b"v"}, "metadata": {"ttlInSeconds": "9"}}

#: The calls of an actor's own turn, in the order in which the guests make them.
OWN: list[tuple[str, Mapping[str, Any]]] = [
    ("GetActorState", {**WHO, "key": "k"}),
    ("ExecuteActorStateTransaction", {**WHO, "operations": [SAVED]}),
    ("ExecuteActorStateTransaction", {**WHO, "operations": [{"operationType": "delete", "key": "l"}]}),
    ("ExecuteActorStateTransaction", WHO),
    ("RegisterActorTimer", {**FIRES, "name": "tick", "callback": "again"}),
    ("UnregisterActorTimer", {**WHO, "name": "tick"}),
    ("RegisterActorReminder", {**FIRES, "name": "daily"}),
    ("UnregisterActorReminder", {**WHO, "name": "daily"}),
]

SCRIPT = """
import { actorState, reminders, timers } from "dapr";

export async function onActor() {
  const fires = { dueTime: "1s", period: "2s", data: "data", ttl: "9s" };
  const got = await actorState.get("k");
  await actorState.set("k", "v", { metadata: { ttlInSeconds: "9" } });
  await actorState.delete("l");
  await actorState.saveNow();
  await timers.set("tick", { ...fires, callback: "again" });
  await timers.clear("tick");
  await reminders.set("daily", fires);
  await reminders.clear("daily");
  return got.text();
}
"""


class Recorded:
    """The state of a turn that keeps nothing, and notes the calls. `sidecar.TurnCalls` and `event.ActorState`."""

    handed_on: Mapping[str, str] = {}
    read_bytes = saved_bytes = 0

    def __init__(self) -> None:
        self.made: list[tuple[str, bytes]] = []

    def begin(
        self,
        api: SidecarApi,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        account: Account,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        self.made.append((method, message))
        done(Ended(0, "", response(method, {"data": b"v"}) if method == "GetActorState" else b""))
        return lambda: None

    def commit(self, deadline: Deadline) -> None:
        """See `event.ActorState`."""

    def give_up(self) -> None:
        """See `event.ActorState`."""


@pytest.mark.parametrize("language", [*sorted(CLIENTS), "rust", *sorted(SCRIPTS)])
def test_the_calls_of_an_actors_own_turn_are_daprs_messages(tmp_path: Path, language: str) -> None:
    path = clients_manifest(tmp_path, language)
    state = Recorded()
    with open_plan(load(path, grants=GRANTS), {"dapr": Scripted()}) as plan:
        event = Event(Trigger.ACTOR, "Cart", actor=Actor("7", "any", state=state))
        told = plan.guests["clients"].run(event, Deadline.after(60)).body.decode()
    assert state.made == [(method, encoded(method, fields)) for method, fields in OWN]
    assert told.startswith("[118]" if language == "rust" else "v")

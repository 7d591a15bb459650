"""The clients of the SDKs in C, Go and AssemblyScript: Dapr's own protobuf code reads what they write.

A guest of each SDK uses each client once. The Rust SDK has more clients, and a test of its own (test_sdk_rust.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended
from tests.sdk.modules import CLIENTS
from tests.sdk.test_sdk_examples import response
from tests.sdk.test_sdk_rust import MANIFEST
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
    ("InvokeActor", {"actor_type": "Cart", "actor_id": "7", "method": "add", "data": b"data", **METADATA},
     {"data": b"v"}, "v"),
    ("GetWorkflowBeta1", {"instance_id": "any"}, {}, "ok"),
]  # fmt: skip


@pytest.mark.parametrize("language", sorted(CLIENTS))
def test_clients_write_and_read_daprs_messages(tmp_path: Path, language: str) -> None:
    path = tmp_path / "guesthouse.toml"
    path.write_text(MANIFEST.replace("MODULE", str(CLIENTS[language]())))
    sidecar = Scripted()
    waiting = iter(CALLS)

    def reply(method: str, done: Callable[[Ended], None]) -> None:
        _, _, fields, _ = next(waiting)
        done(Ended(0, "", response(method, fields)))

    sidecar.reply = reply
    with open_plan(load(path, grants=GRANTS), {"dapr": sidecar}) as plan:
        told = plan.guests["clients"].run(Event(Trigger.INVOKE, "any"), Deadline.after(60)).body.decode().splitlines()
    assert [(method, message) for method, message, _ in sidecar.made] == [
        (method, encoded(method, request)) for method, request, _, _ in CALLS
    ]
    assert told == [text for _, _, _, text in CALLS]
    assert [headers for method, _, headers in sidecar.made if method == "InvokeService"] == [
        {"guesthouse-depth": "1", "x-a": "b"}
    ]

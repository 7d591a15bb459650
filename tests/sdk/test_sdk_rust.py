"""The Rust SDK: its own tests, by cargo, and its clients, whose requests are read here by Dapr's own protobuf code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended
from tests.sdk.modules import SDK, module_of
from tests.sdk.test_sdk_examples import request, response
from tests.support.scripted import Scripted, encoded

CARGO = shutil.which("cargo") or ""
DEBIAN_RUSTC = Path("/usr/bin/rustc")
OLDEST = (1, 82)  # the crate's rust-version


def cargo_version() -> tuple[int, ...]:
    """(0,) where there is no cargo."""
    if not CARGO:
        return (0,)
    told = subprocess.run([CARGO, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"(\d+)\.(\d+)", told)
    return tuple(map(int, found.groups())) if found else (0,)


MANIFEST = """
[app]
name = "t"
[guests.clients]
module = "MODULE"
calling = "dapr"
config = { colour = "blue" }
[guests.clients.dapr]
read_state = ["store/*"]
write_state = ["store/*"]
publish = ["pubsub/*"]
invoke = ["other/*"]
bindings = ["mail/*"]
secrets = ["vault/*"]
configuration = ["config/*"]
locks = ["locks/*"]
read_jobs = ["*"]
write_jobs = ["*"]
actors = ["Cart/*"]
workflow_instances = ["*"]
"""


@pytest.mark.slow
@pytest.mark.skipif(cargo_version() < OLDEST, reason="no cargo of 1.82 or newer (guests/install-toolchain.sh has one)")
def test_the_crate_passes_its_own_tests() -> None:
    """With all features. What it builds is kept for the next run."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = str(home / "guesthouse-tests" / "rust-sdk")
    environment = {**os.environ, "CARGO_TARGET_DIR": target, "RUSTFLAGS": "-Dwarnings"}
    if CARGO == "/usr/bin/cargo" and DEBIAN_RUSTC.exists():
        environment["RUSTC"] = str(DEBIAN_RUSTC)
    command = [CARGO, "test", "--locked", "--workspace", "--all-features"]
    done = subprocess.run(command, cwd=SDK / "rust", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


ITEM = {"key": "k", "value": b"v", "etag": {"value": "7"}, "metadata": {"ttlInSeconds": "9"}}
ITEM["options"] = {"concurrency": 1, "consistency": 2}

#: Each call of the guest `clients`: the method, the request, the response, and what the client makes of that.
CALLS: list[tuple[str, Mapping[str, Any], Mapping[str, Any], str]] = [
    ("GetState", {"store_name": "store", "key": "k", "consistency": 2, "metadata": {"a": "b"}},
     {"data": b"v", "etag": "7", "metadata": {"a": "b"}}, 'Value { data: [118], etag: "7" }'),
    ("GetBulkState", {"store_name": "store", "keys": ["k", "l"], "parallelism": 2, "metadata": {"a": "b"}},
     {"items": [{"key": "k", "data": b"v", "etag": "7"}, {"key": "l", "error": "no"}]},
     '[Read { key: "k", value: Value { data: [118], etag: "7" }, error: "" }, '
     'Read { key: "l", value: Value { data: [], etag: "" }, error: "no" }]'),
    ("SaveState", {"store_name": "store", "states": [ITEM]}, {}, "()"),
    ("SaveState", {"store_name": "store", "states": [
        {"key": "k", "value": b"v"}, {"key": "l", "value": b"\xff", "options": {"concurrency": 2}}]}, {}, "()"),
    ("DeleteState", {"store_name": "store", "key": "k", "etag": {"value": "7"}, "metadata": {"a": "b"},
                     "options": {"concurrency": 1, "consistency": 2}}, {}, "()"),
    ("ExecuteStateTransaction", {"storeName": "store", "metadata": {"a": "b"}, "operations": [
        {"operationType": "upsert", "request": ITEM}, {"operationType": "delete", "request": {"key": "l"}}]}, {}, "()"),
    ("PublishEvent", {"pubsub_name": "pubsub", "topic": "results", "data": b"data",
                      "data_content_type": "text/plain", "metadata": {"rawPayload": "true"}}, {}, "()"),
    ("BulkPublishEvent", {"pubsub_name": "pubsub", "topic": "results", "metadata": {"a": "b"}, "entries": [
        {"entry_id": "0", "event": b"one", "content_type": "text/plain"},
        {"entry_id": "1", "event": b"\xff", "content_type": "application/octet-stream"}]},
     {"failedEntries": [{"entry_id": "1", "error": "no"}]}, '[NotPublished { position: 1, error: "no" }]'),
    ("InvokeService", {"id": "other", "message": {
        "method": "price", "data": {"value": b"data"}, "content_type": "text/plain",
        "http_extension": {"verb": 9, "querystring": "a=b"}}},
     {"data": {"type_url": "t", "value": b"3"}, "content_type": "text/plain"},
     'Response { data: [51], content_type: "text/plain" }'),
    ("InvokeService", {"id": "other", "message": {"method": "price", "data": {}, "http_extension": {"verb": 1}}},
     {}, 'Response { data: [], content_type: "" }'),
    ("InvokeBinding", {"name": "mail", "operation": "create", "data": b"data", "metadata": {"a": "b"}},
     {"data": b"v", "metadata": {"c": "d"}}, 'BindingResponse { data: [118], metadata: {"c": "d"} }'),
    ("GetSecret", {"store_name": "vault", "key": "key", "metadata": {"version_id": "2"}},
     {"data": {"key": "hidden"}}, '{"key": "hidden"}'),
    ("GetBulkSecret", {"store_name": "vault"}, {"data": {"a": {"secrets": {"b": "c"}}}}, '{"a": {"b": "c"}}'),
    ("GetConfiguration", {"store_name": "config", "keys": ["k", "l"], "metadata": {"a": "b"}},
     {"items": {"k": {"value": "v", "version": "1"}}}, '{"k": ConfigurationItem { value: "v", version: "1" }}'),
    ("TryLockAlpha1", {"store_name": "locks", "resource_id": "r", "lock_owner": "me", "expiry_in_seconds": 60},
     {"success": True}, "true"),
    ("UnlockAlpha1", {"store_name": "locks", "resource_id": "r", "lock_owner": "me"}, {"status": 2}, "OfAnother"),
    ("ScheduleJob", {"overwrite": True, "job": {
        "name": "sweep", "schedule": "@daily", "repeats": 3, "due_time": "10s", "ttl": "1h",
        "data": {"value": b"data"}}}, {}, "()"),
    ("ScheduleJob", {"job": {"name": "sweep", "due_time": "10s"}}, {}, "()"),
    ("GetJob", {"name": "sweep"},
     {"job": {"name": "sweep", "schedule": "@daily", "repeats": 3, "due_time": "1s", "ttl": "1h",
              "data": {"value": b"v"}}},
     'JobDetails { schedule: "@daily", due: "1s", ttl: "1h", repeats: Some(3), data: [118] }'),
    ("DeleteJob", {"name": "sweep"}, {}, "()"),
    ("InvokeActor", {"actor_type": "Cart", "actor_id": "7", "method": "add", "data": b"data",
                     "metadata": {"a": "b", "guesthouse-depth": "1"}},
     {"data": b"v"}, "[118]"),
    ("GetWorkflowBeta1", {"instance_id": "any"}, {}, "[]"),
]  # fmt: skip


def test_clients_write_and_read_daprs_messages(tmp_path: Path) -> None:
    path = tmp_path / "guesthouse.toml"
    path.write_text(MANIFEST.replace("MODULE", str(module_of("rust", "clients"))))
    sidecar = Scripted()
    waiting = iter(CALLS)

    def reply(method: str, done: Callable[[Ended], None]) -> None:
        _, _, fields, _ = next(waiting)
        done(Ended(0, "", response(method, fields)))

    sidecar.reply = reply
    event = Event(Trigger.INVOKE, "any", verb="PUT", metadata={"a": "b"}, content_type="text/plain")
    with capture_logs() as lines, open_plan(load(path, grants=GRANTS), {"dapr": sidecar}) as plan:
        told = plan.guests["clients"].run(event, Deadline.after(60)).body.decode().splitlines()
    assert [(method, request(method, message)) for method, message, _ in sidecar.made] == [
        (method, request(method, encoded(method, fields))) for method, fields, _, _ in CALLS
    ]
    assert told[:-1] == [text for _, _, _, text in CALLS]
    assert told[-1] == '(true, [("a", "b")], Some("PUT"), Invoke, Some("text/plain"))'
    assert sidecar.made[0][2] == {"x-a": "b"}
    line = {"event": "all clients were used", "log_level": "warning", "fields": {"colour": "blue"}, "guest": "clients"}
    assert line in lines


def test_the_readme_shows_the_example_as_it_is() -> None:
    example = (SDK / "rust" / "examples" / "hello.rs").read_text()
    code = example.partition("\n\n")[2].partition("\n#[cfg(test)]")[0]
    assert f"```rust\n{code}```" in (SDK.parent / "README.md").read_text()


KEEP = """
[app]
name = "t"
[guests.keep]
module = "MODULE"
calling = "command"
[guests.keep.dapr]
write_state = ["statestore/*"]
"""


def test_a_program_can_call_the_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "guesthouse.toml"
    path.write_text(KEEP.replace("MODULE", str(module_of("rust", "keep"))))
    sidecar = Scripted()
    with open_plan(load(path, grants=GRANTS), {"dapr": sidecar}) as plan:
        reply = plan.guests["keep"].run(Event(Trigger.INVOKE, "letter", b"text"), Deadline.after(60))
        assert reply.body == b"4 bytes are kept"
        saved = {"store_name": "statestore", "states": [{"key": "letter", "value": b"text"}]}
        assert sidecar.made == [("SaveState", encoded("SaveState", saved), {})]
        sidecar.reply = lambda method, done: done(Ended(14, "no store"))
        with pytest.raises(Failure, match="no store") as failed:
            plan.guests["keep"].run(Event(Trigger.INVOKE, "letter", b"text"), Deadline.after(60))
        assert failed.value.reason is Reason.TRY_AGAIN

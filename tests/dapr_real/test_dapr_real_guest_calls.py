"""Guests that call a real sidecar: each building block that can run here, what fails, and what a caller sees.

What a guest may call, and how calls end that never leave the host, is tested with a scripted sidecar in tests/guests.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from dapr.proto.runtime.v1.state_pb2 import GetStateResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Trigger
from guesthouse.guests.capabilities.sidecar import DEPTH
from tests.dapr_real.calling_guests import Calls, encoded, manifest, write_components
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Pair, Redis, Start, of_kind, variables
from tests.support.waiting import until

STOCK = """
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.environment]
module = "MODULES/environment.wasm"
calling = "command"
[guests.answers]
module = "MODULES/answers.wasm"
calling = "dapr"
[[invoke]]
method = "environment"
guest = "environment"
[[invoke]]
method = "answers"
guest = "answers"
[[topic]]
pubsub = "pubsub"
topic = "results"
guest = "echo"
"""


#: What the guest reads is saved by its route.
COPIES = """
[[binding]]
name = "GetState"
guest = "relay"
state = { store = "state", key = "copied" }
"""


@pytest.fixture(scope="module")
def stock(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Pair:
    """Another application, which is invoked and gets messages."""
    flags = write_components(tmp_path_factory.mktemp("stock"), redis)
    return start_for_module(STOCK, app_id="stock", flags=flags, subscribes=True)


@pytest.fixture(scope="module", params=["thread", "process"])
def calls(
    request: Any,
    start_for_module: Start,
    tmp_path_factory: pytest.TempPathFactory,
    redis: Redis,
    stock: Pair,
    control_plane: ControlPlane,
) -> Calls:
    folder = tmp_path_factory.mktemp("acts")
    flags = (*write_components(folder, redis), *control_plane.flags)
    pair = start_for_module(manifest(request.param, more=COPIES), app_id=f"acts-{request.param}", flags=flags)
    return Calls(pair, folder)


def test_state_is_saved_read_and_deleted(calls: Calls, redis: Redis):
    calls.does("SaveState", store_name="state", states=[{"key": "a", "value": b"one"}, {"key": "b", "value": b"two"}])
    assert redis.command("HGET", f"{calls.pair.sidecar.app_id}||a", "data") == "one"
    assert calls.does("GetState", store_name="state", key="a").data == b"one"
    assert calls.does("GetState", store_name="state", key="absent").data == b""
    many = calls.does("GetBulkState", store_name="state", keys=["a", "b"])
    assert {item.key: item.data for item in many.items} == {"a": b"one", "b": b"two"}
    calls.does("DeleteState", store_name="state", key="a")
    calls.does("DeleteBulkState", store_name="state", states=[{"key": "b"}])
    assert calls.does("GetState", store_name="state", key="a").data == b""


def test_calls_of_guests_and_replies_that_go_on_share_one_connection(calls: Calls):
    calls.does("SaveState", store_name="state", states=[{"key": "original", "value": b"one"}])
    request = encoded("GetState", {"store_name": "state", "key": "original"})
    with Client(f"127.0.0.1:{calls.pair.app.port}", token="") as client:
        client.send(Event(Trigger.BINDING, "GetState", request), timeout=60)
    copied = calls.does("GetState", store_name="state", key="copied").data
    assert copied == GetStateResponse(data=b"one", etag="1").SerializeToString()
    assert calls.pair.app.connections_to(calls.pair.sidecar.ports.grpc) == 1


def test_a_state_that_must_not_exist_yet_is_saved_once(calls: Calls):
    calls.does("DeleteState", store_name="state", key="first")
    state = {"key": "first", "value": b"mine", "options": {"concurrency": "CONCURRENCY_FIRST_WRITE"}}
    calls.does("SaveState", store_name="state", states=[state])
    code, _ = calls.fails("SaveState", store_name="state", states=[{**state, "value": b"theirs"}])
    assert code == "INTERNAL"  # and not ABORTED: there is no etag
    assert calls.does("GetState", store_name="state", key="first").data == b"mine"


def test_a_transaction_is_done_whole(calls: Calls):
    operations = [
        {"operationType": "upsert", "request": {"key": "c", "value": b"three"}},
        {"operationType": "upsert", "request": {"key": "d", "value": b"four"}},
        {"operationType": "delete", "request": {"key": "c"}},
    ]
    calls.does("ExecuteStateTransaction", storeName="state", operations=operations)
    assert calls.does("GetState", store_name="state", key="c").data == b""
    assert calls.does("GetState", store_name="state", key="d").data == b"four"


def test_a_stale_etag_is_aborted_and_changes_nothing(calls: Calls):
    calls.does("SaveState", store_name="state", states=[{"key": "e", "value": b"first"}])
    etag = calls.does("GetState", store_name="state", key="e").etag

    def saved(value: bytes) -> dict[str, Any]:
        first_write = {"concurrency": "CONCURRENCY_FIRST_WRITE"}
        return {"key": "e", "value": value, "etag": {"value": etag}, "options": first_write}

    calls.does("SaveState", store_name="state", states=[saved(b"second")])
    code, text = calls.fails("SaveState", store_name="state", states=[saved(b"third")])
    assert code == "ABORTED"
    assert "etag" in text
    assert calls.does("GetState", store_name="state", key="e").data == b"second"


@pytest.mark.parametrize(
    ("method", "fields", "code", "text"),
    [
        ("GetState", {"store_name": "missing", "key": "a"}, "INVALID_ARGUMENT", "state store missing is not found"),
        ("InvokeBinding", {"name": "missing", "operation": "create"}, "INTERNAL", "find output binding missing"),
        ("GetSecret", {"store_name": "vault", "key": "absent"}, "INTERNAL", "secret absent not found"),
        ("GetJob", {"name": "absent"}, "INTERNAL", "job not found"),
        ("GetState", {"store_name": "state", "key": "a||b"}, "INVALID_ARGUMENT", "'||'"),
    ],
)  # fmt: skip
def test_what_the_sidecar_says_of_a_failure_reaches_the_guest(calls: Calls, method, fields, code, text):
    found = calls.fails(method, **fields)
    assert found[0] == code
    assert text in found[1]


def test_an_actor_that_nobody_hosts_is_an_answer_of_the_sidecar(calls: Calls):
    answer = calls.send("InvokeActor", {"actor_type": "Cart", "actor_id": "7", "method": "add"})
    assert answer.status == 500
    assert "did not find address for actor" in answer.json()["message"]


def test_messages_are_published_one_and_many(calls: Calls, stock: Pair, redis: Redis):
    app_id = calls.pair.sidecar.app_id
    calls.does("PublishEvent", pubsub_name="pubsub", topic="results", data=f"one-{app_id}".encode())
    entries = [{"entry_id": str(n), "event": f"{n}-{app_id}".encode(), "content_type": "text/plain"} for n in range(3)]
    answer = calls.does("BulkPublishEvent", pubsub_name="pubsub", topic="results", entries=entries)
    assert not answer.failedEntries
    stream = redis.command("XRANGE", "results", "-", "+")
    assert all(f"{n}-{app_id}" in stream for n in range(3))

    def received() -> int:
        return len([line for line in stock.app.lines("answered") if line["trigger"] == "topic"])

    until(lambda: received() >= redis_length(redis), "the other application has got all of them")


def redis_length(redis: Redis) -> int:
    return int(redis.command("XLEN", "results"))


def invocation(app_id: str, method: str, data: bytes = b"") -> dict[str, Any]:
    message = {"method": method, "data": {"value": data}, "http_extension": {"verb": "POST"}}
    return {"id": app_id, "message": message}


def test_another_application_is_invoked_in_the_same_trace(calls: Calls):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = calls.send(
        "InvokeService",
        invocation("stock", "environment", b"x"),
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "tracestate": "a=b"},
    )
    assert answer.status == 200, answer
    seen = variables(answer.body[answer.body.index(b"GUESTHOUSE_") :].split(b"\x12")[0])
    assert seen["GUESTHOUSE_NAME"] == "environment"
    assert seen["GUESTHOUSE_META_DAPR_CALLER_APP_ID"] == calls.pair.sidecar.app_id
    assert seen["GUESTHOUSE_META_" + DEPTH.upper().replace("-", "_")] == "1"
    assert seen["TRACEPARENT"].split("-")[1] == trace


def test_an_application_that_invokes_itself_is_ended_by_its_depth(calls: Calls):
    app_id = calls.pair.sidecar.app_id

    def chain(length: int) -> dict[str, Any]:
        last = encoded("SaveState", {"store_name": "state", "states": [{"key": "depth", "value": b"reached"}]})
        request = invocation(app_id, "SaveState", last)
        for _ in range(length - 1):
            request = invocation(app_id, "InvokeService", encoded("InvokeService", request))
        return request

    calls.does("DeleteState", store_name="state", key="depth")
    code, text = calls.fails("InvokeService", **chain(4))
    assert code == "INTERNAL"  # of the chain's second, whose guest has failed; the last one's text comes all the way
    assert "this event is invocation 3 of a chain; at most 3 go one within the other" in text
    assert calls.does("GetState", store_name="state", key="depth").data == b""
    calls.does("InvokeService", **chain(3))
    assert calls.does("GetState", store_name="state", key="depth").data == b"reached"


def test_an_output_binding_is_used(calls: Calls):
    calls.does("InvokeBinding", name="files", operation="create", data=b"a photo", metadata={"fileName": "photo.bin"})
    assert (calls.folder / "files" / "photo.bin").read_bytes() == b"a photo"


def test_secrets_and_configuration_are_read(calls: Calls, redis: Redis):
    assert calls.does("GetSecret", store_name="vault", key="stripe").data == {"stripe": "sk-one"}
    redis.command("SET", "flag", "on||7")
    item = calls.does("GetConfiguration", store_name="appconfig", keys=["flag"]).items["flag"]
    assert (item.value, item.version) == ("on", "7")


def test_a_lock_is_held_by_one_owner(calls: Calls):
    lock = {"store_name": "locks", "resource_id": calls.pair.sidecar.app_id}
    assert calls.does("TryLockAlpha1", **lock, lock_owner="one", expiry_in_seconds=60).success
    assert not calls.does("TryLockAlpha1", **lock, lock_owner="two", expiry_in_seconds=60).success
    assert calls.does("UnlockAlpha1", **lock, lock_owner="two").status == 2  # LOCK_BELONGS_TO_OTHERS
    assert calls.does("UnlockAlpha1", **lock, lock_owner="one").status == 0
    assert calls.does("TryLockAlpha1", **lock, lock_owner="two", expiry_in_seconds=1).success


def test_what_is_encrypted_in_pieces_can_be_decrypted(calls: Calls):
    plain = bytes(range(256)) * 100
    key = {"component_name": "keys", "key_name": "photos"}
    pieces = [{"payload": {"data": plain[at : at + 8192], "seq": n}} for n, at in enumerate(range(0, len(plain), 8192))]
    pieces[0]["options"] = {**key, "key_wrap_algorithm": "A256KW"}
    messages = calls.streams("EncryptAlpha1", *pieces)
    sealed = b"".join(message.payload.data for message in messages)
    assert plain[:64] not in sealed
    opened = calls.streams("DecryptAlpha1", {"options": key, "payload": {"data": sealed}})
    assert b"".join(message.payload.data for message in opened) == plain
    answer = calls.send("DecryptAlpha1", {"options": key, "payload": {"data": b"not sealed"}})
    assert answer.status == 500


def test_a_model_of_language_is_asked(calls: Calls):
    answer = calls.does("ConverseAlpha1", name="echoes", inputs=[{"content": "hello"}])
    assert answer.outputs[0].result == "hello"
    said = {"messages": [{"of_user": {"content": [{"text": "hello"}]}}]}
    answer = calls.does("ConverseAlpha2", name="echoes", inputs=[said])
    assert answer.outputs[0].choices[0].message.content == "hello"


def test_a_job_that_a_guest_schedules_comes_back_to_its_handler(calls: Calls):
    calls.does("DeleteState", store_name="state", key="swept")
    save = encoded("SaveState", {"store_name": "state", "states": [{"key": "swept", "value": b"clean"}]})
    data = AnyMessage()
    data.Pack(BytesValue(value=save))
    calls.does("ScheduleJob", job={"name": "SaveState", "due_time": "2s", "data": data}, overwrite=True)
    assert calls.does("GetJob", name="SaveState").job.due_time
    assert "SaveState" in [job.name for job in calls.does("ListJobs").jobs]
    until(lambda: calls.does("GetState", store_name="state", key="swept").data == b"clean", "the job has run")
    calls.does("ScheduleJob", job={"name": "SaveState", "due_time": "1h", "data": data}, overwrite=True)
    calls.does("DeleteJob", name="SaveState")
    assert "job not found" in calls.fails("GetJob", name="SaveState")[1]


def test_a_call_that_is_denied_never_reaches_the_sidecar(calls: Calls, redis: Redis):
    before = redis.command("INFO", "commandstats")
    code, text = calls.fails("PublishEvent", pubsub_name="pubsub", topic="other", data=b"x")
    assert code == "PERMISSION_DENIED"
    assert 'write publish = ["pubsub/other"] in [guests.relay.dapr]' in text
    code, text = calls.fails("GetSecret", store_name="vault", key="root")
    assert code == "PERMISSION_DENIED"
    assert redis.command("EXISTS", "other") == "0"
    assert count_of("xadd", redis.command("INFO", "commandstats")) == count_of("xadd", before)


def count_of(command: str, stats: str) -> int:
    """How often Redis has run a command."""
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", stats)
    return int(found[1]) if found else 0


@pytest.mark.parametrize(
    ("status", "code", "seen"),
    [
        (200, None, 200), (201, None, 200), (299, None, 200),
        (302, 3, 400), (400, 3, 400), (401, 16, 401), (403, 7, 403), (404, 5, 404), (408, 4, 504), (409, 10, 409),
        (410, 5, 404), (412, 9, 400), (418, 3, 400), (425, 14, 503), (429, 8, 429), (500, 13, 500), (503, 14, 503),
        (504, 4, 504), (599, 13, 500),
    ],
)  # fmt: skip
def test_what_an_http_caller_of_a_sidecar_sees_of_a_status(stock: Pair, caller, status, code, seen):
    """The table of abi/spec/dapr_v1.md, section 3.2: by the application's own sidecar, and by another one."""
    for sidecar in (stock.sidecar, caller):
        answer = sidecar.invoke("stock", "answers", status.to_bytes(4, "little"))
        assert answer.status == seen
        if code is None:
            assert answer.body == b"teapot"
            assert answer.headers.get("wasm-status") == (str(status) if status != 200 else None)
            assert answer.headers["x-teapot"] == "short"
            continue
        said = answer.json()
        assert (said["code"], said["message"]) == (code, "teapot")
        assert of_kind(said["details"], "ErrorInfo")["metadata"]["status"] == str(status)
        retried = [detail["retryDelay"] for detail in said["details"] if detail["@type"].endswith("RetryInfo")]
        assert retried == (["1.500s"] if status in (408, 425, 429, 503, 504) else [])

"""Guests that call the sidecar, in a thread and in worker processes. The sidecar is scripted here; behind a real one,
such guests are tested in tests/dapr_real."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.dapr.api_methods import method_of
from guesthouse.event import Answer, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import CAPABILITIES, GRANTS
from guesthouse.guests.capabilities.sidecar import DEPTH, RemoteSidecar, SidecarGrant, _allows
from guesthouse.guests.process import wire
from guesthouse.guests.process.answers import Answers
from guesthouse.guests.process.wire import Arena, Channel, Kind
from guesthouse.manifest import ManifestError, load
from guesthouse.observe.metrics import Metrics
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse.sidecar import NotMade, Use
from guesthouse_abi import pairs
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadHandle
from guesthouse_abi.services import Ended
from guesthouse_abi.spent import Spent
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.relay import RELAY
from tests.support.scripted import Scripted, encoded, sidecar_of
from tests.support.waiting import PATIENCE

MANIFEST = """
[app]
name = "t"
[guests.relay]
module = "relay.wasm"
calling = "dapr"
config = { colour = "blue" }
limits = { time = "20s" }
[guests.relay.dapr]
read_state = ["store/cart-*", "store/total"]
write_state = ["store/cart-1"]
publish = ["pubsub/results"]
invoke = ["billing/charge", "stock/*"]
secrets = ["vault/*"]
depth = 3
calls = 8
open = 4
[guests.narrow]
module = "relay.wasm"
calling = "dapr"
dapr = { invoke = ["stock/public/*"] }
[guests.stranger]
module = "relay.wasm"
calling = "dapr"
[guests.answers]
module = "answers.wasm"
calling = "dapr"
[guests.holds]
module = "holds.wasm"
calling = "dapr"
limits = { host_memory = "64KiB" }
"""
#: Its outcome, or its status where that is over 3, is the number that its body is.
ANSWERS = r"""(module
  (import "dapr_v1" "event_read" (func $event_read (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $reply_write (param i32 i32) (result i32)))
  (import "dapr_v1" "reply_status" (func $reply_status (param i32) (result i32)))
  (import "dapr_v1" "retry_after" (func $retry_after (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "teapot")
  (func (export "_initialize") (drop (call $retry_after (i32.const 1500))))
  (func (export "dapr_on_invoke") (result i32)
    (drop (call $event_read (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 4)))
    (drop (call $reply_write (i32.const 16) (i32.const 6)))
    (if (i32.lt_u (i32.load (i32.const 0)) (i32.const 200)) (then (return (i32.load (i32.const 0)))))
    (drop (call $reply_status (i32.load (i32.const 0))))
    (i32.const 0)))"""

#: Its status is 500 where there is no room for ten calls one after the other; else 300 less what a call returns beside
#: a reply of 40,000 bytes.
HOLDS = r"""(module
  (import "dapr_v1" "reply_write" (func $reply_write (param i32 i32) (result i32)))
  (import "dapr_v1" "reply_status" (func $reply_status (param i32) (result i32)))
  (import "dapr_v1" "call_start" (func $call_start (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_close" (func $call_close (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 0) "GetState")
  (func $start (result i32)
    (call $call_start
      (i32.const 0) (i32.const 8) (i32.const 16) (i32.const 30000) (i32.const 0) (i32.const 0) (i32.const 0)))
  (func (export "dapr_on_invoke") (result i32)
    (local $made i32)
    (loop $more
      (if (call $call_close (call $start)) (then (drop (call $reply_status (i32.const 500))) (return (i32.const 0))))
      (local.set $made (i32.add (local.get $made) (i32.const 1)))
      (br_if $more (i32.lt_u (local.get $made) (i32.const 10))))
    (drop (call $reply_write (i32.const 16) (i32.const 40000)))
    (drop (call $reply_status (i32.sub (i32.const 300) (call $start))))
    (i32.const 0)))"""


def written(folder: Path, place: str = "thread", manifest: str = MANIFEST) -> Path:
    for name, wat in {"relay": RELAY, "answers": ANSWERS, "holds": HOLDS}.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
    path = folder / "guesthouse.toml"
    isolation = f'calling = "dapr"\nisolation = "{isolation_of(place)}"'
    path.write_text(engine_table(place) + manifest.replace('calling = "dapr"', isolation))
    return path


@pytest.fixture(scope="module", params=PLACES)
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    manifest = load(written(tmp_path_factory.mktemp("sidecar"), request.param), grants=GRANTS)
    with open_plan(manifest, {"dapr": Scripted()}) as plan:
        yield plan


@pytest.fixture
def plan(loaded: Plan) -> Plan:
    sidecar = sidecar_of(loaded)
    sidecar.__init__()  # type: ignore[misc]
    return loaded


def call(
    plan: Plan, method: str, request: Any = b"", guest: str = "relay", metadata: Any = None, seconds: float = 30
) -> Reply:
    body = request if isinstance(request, bytes) else encoded(method, request)
    event = Event(Trigger.INVOKE, method, body, metadata=metadata or {})
    return plan.guests[guest].run(event, Deadline.after(seconds))


def refused(plan: Plan, method: str, request: Any = b"", guest: str = "relay", metadata: Any = None) -> str:
    with pytest.raises(Failure) as failed:
        call(plan, method, request, guest, metadata)
    assert failed.value.reason is Reason.GUEST
    assert sidecar_of(plan).made == []
    return failed.value.text


GET = {"store_name": "store", "key": "cart-1"}


def test_a_call_reaches_the_sidecar_as_it_was_checked(plan: Plan) -> None:
    assert call(plan, "GetState", GET).body == b"ok"
    assert sidecar_of(plan).made == [("GetState", encoded("GetState", GET), {})]


def test_what_the_sidecar_says_reaches_the_guest(plan: Plan) -> None:
    sidecar_of(plan).reply = lambda method, done: done(Ended(10, "stale etag"))
    with pytest.raises(Failure, match="stale etag"):
        call(plan, "GetState", GET)


def test_calls_that_are_begun_together_are_under_way_together(plan: Plan) -> None:
    waiting: list[Callable[[Ended], None]] = []

    def later(method: str, done: Callable[[Ended], None]) -> None:
        waiting.append(done)
        if len(waiting) == 4:
            threading.Thread(target=lambda: [one(Ended(0, "", b"")) for one in waiting]).start()

    sidecar_of(plan).reply = later
    assert call(plan, "GetState*4", GET).body == b"AAAA"


def test_what_is_not_granted_is_denied_with_the_line_to_write(plan: Plan) -> None:
    other = {"store_name": "store", "key": "user-1"}
    assert refused(plan, "GetState", other) == (
        "the guest may not read the state 'store/user-1': write read_state = [\"store/user-1\"] in [guests.relay.dapr]"
    )
    assert "[guests.stranger.dapr]" in refused(plan, "GetState", GET, "stranger")


def test_the_line_to_write_is_one_line_whatever_the_guest_asks_for(plan: Plan) -> None:
    request = {"store_name": "store", "key": 'x"]\nsecrets = ["vault/*'}
    assert refused(plan, "GetState", request).endswith(
        r'write read_state = ["store/x\"]\nsecrets = [\"vault/*"] in [guests.relay.dapr]'
    )


@pytest.mark.parametrize(
    ("method", "request_", "grant"),
    [
        ("SaveState", {"store_name": "store", "states": [{"key": "cart-1"}, {"key": "x"}]},
         'write_state = ["store/x"]'),
        ("GetBulkState", {"store_name": "store", "keys": ["cart-1", "y"]}, 'read_state = ["store/y"]'),
        ("QueryStateAlpha1", {"store_name": "store"}, 'query_state = ["store"]'),
        ("PublishEvent", {"pubsub_name": "pubsub", "topic": "other"}, 'publish = ["pubsub/other"]'),
        ("InvokeService", {"id": "billing", "message": {"method": "refund"}},
         'invoke = ["billing/refund"]'),
        ("InvokeBinding", {"name": "mail", "operation": "create"}, 'bindings = ["mail/create"]'),
        ("GetBulkSecret", {"store_name": "other"}, 'secrets = ["other/*"]'),
        ("GetConfiguration", {"store_name": "c"}, 'configuration = ["c/*"]'),
        ("TryLockAlpha1", {"store_name": "l", "resource_id": "r"}, 'locks = ["l/r"]'),
        ("ListJobs", b"", 'read_jobs = ["*"]'),
        ("DeleteJobsByPrefix", {"name_prefix": "a-"}, 'write_jobs = ["a-*"]'),
        ("InvokeActor", {"actor_type": "Cart", "actor_id": "7"}, 'actors = ["Cart/7"]'),
        ("ConverseAlpha2", {"name": "llm"}, 'conversation = ["llm"]'),
        ("StartWorkflowBeta1", {"workflow_name": "w"}, 'workflows = ["w"]'),
    ],
)  # fmt: skip
def test_each_building_block_names_its_grant(plan: Plan, method: str, request_: Any, grant: str) -> None:
    assert f"write {grant} in [guests.relay.dapr]" in refused(plan, method, request_)


@pytest.mark.parametrize("method", ["Shutdown", "SetMetadata", "GetMetadata", "UnregisterActorRemindersByType"])
def test_some_methods_are_no_guests(plan: Plan, method: str) -> None:
    assert refused(plan, method) == f"no guest may call {method}"


@pytest.mark.parametrize("method", ["SubscribeConfiguration", "Fetch", "../Dapr/GetState", ""])
def test_a_method_that_is_not_known_is_not_passed_on(plan: Plan, method: str) -> None:
    assert "is no method that guests may call" in refused(plan, method)


@pytest.mark.parametrize(
    "request_",
    [
        b"\xff",
        encoded("GetState", GET) + b"\xfa\x3e\x01x",  # field 1007
        encoded("GetState", GET) + b"\x0a\x05other",  # the last field 1 counts
    ],
)
def test_what_cannot_be_read_is_not_sent(plan: Plan, request_: bytes) -> None:
    assert refused(plan, "GetState", request_)


@pytest.mark.parametrize("request_", [b"\xff" * 9 + b"\x01", b"\xff", b"\x05\x00", b"\x80" * 20])
def test_a_stream_that_cannot_be_read_is_not_sent(plan: Plan, request_: bytes) -> None:
    assert refused(plan, "DecryptAlpha1", request_) == "message 0 is no DecryptRequest"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("SaveState", b"\x12\x00" * 100_001),  # states
        ("ConverseAlpha2", encoded("ConverseAlpha2", {"inputs": [{"messages": [{}] * 100_000}]})),  # in a part
        ("EncryptAlpha1", (b"\x28" + b"\x12\x00" * 20) * 5001),  # in all messages of a stream
    ],
)
def test_a_request_of_many_parts_is_not_parsed(method: str, request_: bytes) -> None:
    with pytest.raises(NotMade, match="more than 100000 fields in one request"):
        method_of(method).checked(request_)


@pytest.mark.parametrize(
    "method",
    ["a/../refund", "..", "%2e%2e/refund", "%252e./x", "a\\..\\b", "./charge", "charge\r\nx: y", "charge#x",
     "public/a?x=/../../refund", "public/a?x=%2f..%2f..%2frefund", "public/%3F/../../refund",
     "public/%253F/../../refund", "public/..;x=1/refund", "public/..%3fx", "a%00b",
     "public/%c0%ae%c0%ae/refund"],
)  # fmt: skip
def test_an_invocation_has_no_way_around_its_grant(plan: Plan, method: str) -> None:
    request = {"id": "stock", "message": {"method": method}}
    assert "may take for another path" in refused(plan, "InvokeService", request)


@pytest.mark.parametrize("key", ["..", "app/../other", "app/./x", "a\\..\\b", "app/%2e%2e/other"])
def test_a_name_of_a_secret_or_key_leads_nowhere_else(plan: Plan, key: str) -> None:
    for method, request in (
        ("GetSecret", {"store_name": "vault", "key": key}),
        ("GetState", {"store_name": "store", "key": f"cart-1/{key}"}),
    ):
        assert "a component may take for another path" in refused(plan, method, request)


def test_slashes_that_say_nothing_reach_no_other_method(plan: Plan) -> None:
    for method in ("public/", "public//"):  # granted: stock/public/*
        request = {"id": "stock", "message": {"method": method}}
        assert 'write invoke = ["stock/public"]' in refused(plan, "InvokeService", request, "narrow")
    assert call(plan, "InvokeService", {"id": "stock", "message": {"method": "//public//a/"}}, "narrow").body == b"ok"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetSecret", {"store_name": "vault/deep", "key": "a"}),  # granted: vault/*
        ("GetBulkSecret", {"store_name": "vault/deep"}),
        ("InvokeService", {"id": "stock/deep", "message": {"method": "a"}}),
        ("SaveState", {"store_name": "a/b", "states": [{"key": "c"}]}),
        ("InvokeActor", {"actor_type": "a/b", "actor_id": "c"}),
    ],
)
def test_a_name_before_the_slash_has_none_itself(plan: Plan, method: str, request_: Any) -> None:
    assert "it has a /" in refused(plan, method, request_)


def test_a_secret_is_not_chosen_by_metadata(plan: Plan) -> None:
    request = {"store_name": "vault", "key": "a", "metadata": {"namespace": "kube-system"}}
    assert "may choose another secret" in refused(plan, "GetSecret", request)
    request = {"store_name": "vault", "key": "a", "metadata": {"version_id": "2"}}
    assert call(plan, "GetSecret", request).body == b"ok"


@pytest.mark.parametrize(
    ("name", "value"),
    [("dapr-app-id", "x"), ("grpc-timeout", "x"), ("traceparent", "x"), ("authorization", "x"), ("a-bin", "x"),
     ("guesthouse-depth", "0"), ("content-length", "0"),
     ("transfer-encoding", "chunked"), ("A", "x"), ("", "x"), ("a", "x\ny"), (":path", "x")],
)  # fmt: skip
def test_metadata_that_a_guest_may_not_set(plan: Plan, name: str, value: str) -> None:
    metadata = {"metadata": pairs.encode([(name, value)]).decode()}
    assert "that a guest may not set" in refused(plan, "GetState", GET, metadata=metadata)


def test_the_trace_goes_on_and_metadata_go_along(plan: Plan) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metadata = {"traceparent": trace, "metadata": pairs.encode([("x-a", "b")]).decode()}
    call(plan, "GetState", GET, metadata=metadata)
    assert sidecar_of(plan).made[0][2] == {"x-a": "b", "traceparent": trace}


def test_a_chain_of_invocations_ends(plan: Plan) -> None:
    request = {"id": "billing", "message": {"method": "charge"}}
    for depth in ("", "1", "2"):
        call(plan, "InvokeService", request, metadata={DEPTH: depth})
    assert [metadata[DEPTH] for _, _, metadata in sidecar_of(plan).made] == ["1", "2", "3"]
    sidecar_of(plan).made.clear()
    assert "invocation 3 of a chain; at most 3 go one within the other" in refused(
        plan, "InvokeService", request, metadata={DEPTH: "3"}
    )


def test_the_time_of_the_event_ends_its_calls(plan: Plan) -> None:
    sidecar_of(plan).reply = lambda method, done: None
    with pytest.raises(Failure) as failed:
        call(plan, "GetState", GET, seconds=0.3)
    assert failed.value.reason is Reason.DEADLINE
    assert sidecar_of(plan).cancelled == 1


def test_too_many_calls_are_a_number_and_no_end(plan: Plan) -> None:
    assert call(plan, "GetState*4", GET).body == b"AAAA"
    with pytest.raises(Failure, match="trap") as failed:  # the relay takes no number below 0
        call(plan, "GetState*5", GET)
    assert "4 calls are open" in failed.value.text


def test_requests_count_with_all_else_that_the_host_holds_until_their_call_is_closed(plan: Plan) -> None:
    reply = plan.guests["holds"].run(Event(Trigger.INVOKE, "holds"), Deadline.after(30))
    assert reply.answer is not None
    assert reply.answer.status == 304  # the last call was one too many: LIMIT


def test_calls_are_told_to_the_operator(plan: Plan) -> None:
    cost = call(plan, "GetState*2", GET).cost
    assert [(one.capability, one.subject, one.status) for one in cost.calls] == [("dapr", "GetState", "OK")] * 2
    assert 0 < cost.spent["dapr"] < cost.total
    metrics = Metrics(Plans(plan))
    event = Event(Trigger.INVOKE, "GetState", encoded("GetState", GET))
    metrics.answered(event, plan.guests["relay"].run(event, Deadline.after(30)))
    labels = {"guest": "relay", "trigger": "invoke", "capability": "dapr", "method": "GetState", "status": "OK"}
    assert metrics.registry().get_sample_value("guesthouse_call_seconds_count", labels) == 1


@pytest.mark.parametrize(
    ("number", "reason", "after"),
    [(1, Reason.GUEST, None), (2, Reason.TRY_AGAIN, 1.5), (3, Reason.MALFORMED, None), (4, Reason.BAD_REPLY, None)],
)
def test_outcomes(plan: Plan, number: int, reason: Reason, after: float | None) -> None:
    with pytest.raises(Failure) as failed:
        call(plan, "x", number.to_bytes(4, "little"), "answers")
    assert (failed.value.reason, failed.value.retry_after) == (reason, after)


def test_a_status_is_an_answer_and_no_failure(plan: Plan) -> None:
    reply = call(plan, "x", (418).to_bytes(4, "little"), "answers")
    assert reply.answer == Answer(418, "teapot", 1.5)
    assert call(plan, "x", (200).to_bytes(4, "little"), "answers").answer is None
    created = call(plan, "x", (201).to_bytes(4, "little"), "answers")
    assert created.body == b"teapot"
    assert created.answer is not None
    assert created.answer.status == 201


def test_a_route_whose_events_the_guest_cannot_answer_is_a_fault(tmp_path: Path) -> None:
    routes = '[[job]]\nname = "sweep"\nguest = "answers"\n[[job]]\nname = "clean"\nguest = "relay"\n'
    manifest = load(written(tmp_path, manifest=MANIFEST + routes), grants=GRANTS)
    with pytest.raises(PlanFaults) as faults, open_plan(manifest):
        pass
    assert faults.value.faults == [
        "guest 'answers': its module exports no dapr_on_job (nor dapr_on_event), which the job 'sweep' needs: write "
        "that handler, or take the route out"
    ]


@pytest.mark.parametrize(
    ("key", "name", "fault"),
    [
        ("read_state", "carts", '"carts" is no STORE/KEY — PLACE — write STORE/KEY, or STORE/* for all of that STORE'),
        ("read_state", "*", '"*" is no STORE/KEY — PLACE — write STORE/KEY, or STORE/* for all of that STORE'),
        ("write_state", "/carts", '"/carts" is no STORE/KEY — PLACE — '),
        ("publish", "pubsub/", '"pubsub/" is no PUBSUB/TOPIC — PLACE — write PUBSUB/TOPIC, or PUBSUB/* for all of '),
        ("read_state", "store/*-1", '"store/*-1" has a * before its end — PLACE — write * at the end alone, for all '),
        ("read_state", "*/carts", '"*/carts" has a * before its end — PLACE — '),
        ("write_jobs", "a*b", '"a*b" has a * before its end — PLACE — '),
    ],
)
def test_a_pattern_that_grants_nothing_is_a_fault_at_load(tmp_path: Path, key: str, name: str, fault: str) -> None:
    path = written(tmp_path, manifest=MANIFEST + f'[guests.stranger.dapr]\n{key} = ["x/y*", "{name}"]\n')
    with pytest.raises(ManifestError) as caught:
        load(path, grants=GRANTS)
    (found,) = caught.value.faults
    assert found.startswith(fault.replace("PLACE", f"{path}: guests.stranger.dapr.{key}[1]"))


def test_names_that_have_one_part_need_no_slash(tmp_path: Path) -> None:
    grant = '[guests.stranger.dapr]\nread_jobs = ["*"]\nconversation = ["llm"]\ninvoke = ["app/*", "app/a/b"]\n'
    load(written(tmp_path, manifest=MANIFEST + grant), grants=GRANTS)


@pytest.mark.parametrize("line", ['function = "f"', 'values = "json"', 'reply = "cgi"'])
def test_what_does_not_go_with_handlers(tmp_path: Path, line: str) -> None:
    text = MANIFEST.replace('calling = "dapr"', f'calling = "dapr"\n{line}', 1)
    with pytest.raises(ManifestError) as faults:
        load(written(tmp_path, manifest=text), grants=GRANTS)
    key = line.split()[0]
    assert any(
        'does not go with calling = "dapr"' in one and f"guests.relay.{key}" in one for one in faults.value.faults
    )


def test_a_handle_that_a_worker_was_not_given_is_no_question_to_the_server() -> None:
    ask, account = Mock(), Mock()
    calls = RemoteSidecar(ask).calls(Event(Trigger.INVOKE, "m"), Deadline.after(30), Spent(), account)
    for call in (lambda: calls.wait([1], False, None), lambda: calls.ended(1), lambda: calls.close(1)):
        with pytest.raises(BadHandle):
            call()
    ask.assert_not_called()


def test_what_a_worker_has_the_server_hold_is_bounded_by_the_server(plan: Plan) -> None:
    """A worker that was taken over keeps no account: it begins calls and closes none."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.closing(Channel(ours, Arena.create(1 << 16))) as channel, theirs:
        capabilities = {one.name: one for one in CAPABILITIES}
        event, deadline = Event(Trigger.INVOKE, "holds"), Deadline.after(PATIENCE)
        answers = Answers(plan.guests["holds"], event, deadline, channel, capabilities)
        told = []
        for _ in range(3):
            start = json.dumps(["dapr", "start", {"method": "GetState", "metadata": [], "seconds": None}]).encode()
            channel.arena.put(start, [bytes(30_000)])
            theirs.send(wire._FRAME.pack(wire.VERSION, Kind.ASK, len(start), 30_000, *wire.NO_NUMBERS))
            answers.answer(channel.receive())
            told.append(wire._FRAME.unpack(theirs.recv(100))[1])
        answers.close()
    assert told == [Kind.ANSWER, Kind.ANSWER, Kind.REFUSAL]  # the limit is 64 KiB


def test_patterns_of_a_grant() -> None:
    assert _allows(["a/b*"], Use("read_state", "a/bc"))
    assert _allows(["a/*"], Use("read_state", "a/", every=True))
    assert not _allows(["a/b*"], Use("read_state", "a/", every=True))
    assert not _allows(["a/b"], Use("read_state", "a/b", every=True))
    assert not _allows(["a/b", "a/c*"], Use("read_state", "a/bc"))
    assert not _allows([], Use("read_state", ""))
    assert [key for key, _ in SidecarGrant(read_state=("a/b",), calls=3).lines()] == ["read_state"]

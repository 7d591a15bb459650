"""Capabilities: a toy in one file (`keyvalue.py`), put on the list, in a thread and in worker processes."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import wasmtime
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from guesthouse.assembly import open_plan
from guesthouse.event import Cost, Event, Failure, Trigger
from guesthouse.guests.capabilities import CAPABILITIES
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process import codec
from guesthouse.guests.process.answers import Answers
from guesthouse.guests.process.wire import Arena, Channel, Kind, WireError
from guesthouse.manifest import load
from guesthouse.observe.events import fields
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.traces import Traces
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.grants import Grants, Limits
from tests.guests import keyvalue
from tests.support.places import PLACES, engine_table, isolation_of

WITH_TOY = (*CAPABILITIES, keyvalue.CAPABILITY)
GRANTS = {"keyvalue": keyvalue.KeyValueGrant}
MANIFEST = """
[app]
name = "t"
[guests.counter]
module = "counter.wasm"
calling = "command"
keyvalue = { keys = ["n"] }
[guests.stranger]
module = "counter.wasm"
calling = "command"
[guests.other]
module = "counter.wasm"
calling = "command"
keyvalue = { keys = ["m"] }
[guests.pair]
module = "pair.wasm"
calling = "command"
[guests.pair.keyvalue]
keys = ["a", "b"]
[guests.careless]
module = "careless.wasm"
calling = "command"
keyvalue = { keys = ["a"] }
[guests.reckless]
module = "reckless.wasm"
calling = "command"
keyvalue = { keys = ["a"] }
"""
IMPORTS = """
  (import "toy" "put" (func $put (param i32 i32 i32 i32) (result i32)))
  (import "toy" "get" (func $get (param i32 i32 i32) (result i32)))
  (import "toy" "begin" (func $begin (param i32 i32) (result i32)))
  (import "toy" "finish" (func $finish (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 64) "nab")
  (func $reply (param $size i32)
    (i32.store (i32.const 16) (i32.const 256)) (i32.store (i32.const 20) (local.get $size))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8))))"""
#: Counts its events in the key n, and replies with the number, or with the error number if it may not.
COUNTER = f"""(module {IMPORTS}
  (func (export "_start") (local $error i32)
    (drop (call $get (i32.const 64) (i32.const 1) (i32.const 256)))
    (i32.store8 (i32.const 256) (i32.add (i32.load8_u (i32.const 256)) (i32.const 1)))
    (local.set $error (call $put (i32.const 64) (i32.const 1) (i32.const 256) (i32.const 1)))
    (if (local.get $error) (then (i32.store8 (i32.const 256) (local.get $error))))
    (call $reply (i32.const 1))))"""
#: Begins two calls, and replies with the values of both.
PAIR = f"""(module {IMPORTS}
  (func (export "_start") (local $a i32) (local $b i32)
    (local.set $a (call $begin (i32.const 65) (i32.const 1)))
    (local.set $b (call $begin (i32.const 66) (i32.const 1)))
    (drop (call $finish (local.get $b) (i32.const 257)))
    (drop (call $finish (local.get $a) (i32.const 256)))
    (call $reply (i32.const 2))))"""
#: Begins more calls than run at once, and waits for none.
CARELESS = f"""(module {IMPORTS}
  (func (export "_start") (local $i i32)
    (loop (drop (call $begin (i32.const 65) (i32.const 1)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if 0 (i32.lt_u (local.get $i) (i32.const 5))))
    (call $reply (i32.const 0))))"""
#: The same, and traps.
RECKLESS = CARELESS.replace("(call $reply (i32.const 0))", "unreachable")


def written(folder: Path, place: str = "thread") -> Path:
    for name, wat in {"counter": COUNTER, "pair": PAIR, "careless": CARELESS, "reckless": RECKLESS}.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
    manifest = folder / "guesthouse.toml"
    isolation = f'calling = "command"\nisolation = "{isolation_of(place)}"'
    manifest.write_text(engine_table(place) + MANIFEST.replace('calling = "command"', isolation))
    return manifest


@pytest.fixture(scope="module", params=PLACES)
def loaded(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    manifest = load(written(tmp_path_factory.mktemp("toy"), request.param), grants=GRANTS)
    with open_plan(manifest, {"keyvalue": keyvalue.Store()}, WITH_TOY) as plan:
        yield plan


def store_of(plan: Plan) -> keyvalue.Store:
    store = plan.host.services["keyvalue"]
    assert isinstance(store, keyvalue.Store)
    return store


@pytest.fixture
def plan(loaded: Plan) -> Plan:
    store = store_of(loaded)
    store.values, store.begun, store.slow = {}, [], lambda key: None
    return loaded


def run(plan: Plan, guest: str) -> tuple[bytes, Cost]:
    reply = plan.guests[guest].run(Event(Trigger.INVOKE, "m"), Deadline.after(30))
    return reply.body, reply.cost


def test_a_guest_reaches_what_it_is_granted_of_what_the_host_was_given(plan: Plan):
    assert [run(plan, "counter")[0] for _ in range(3)] == [b"\1", b"\2", b"\3"]
    assert store_of(plan).values == {"n": b"\3"}


@pytest.mark.parametrize("guest", ["stranger", "other"])
def test_a_guest_without_the_grant_is_refused_and_told_so(plan: Plan, guest):
    store_of(plan).values = {"n": b"\5"}
    assert run(plan, guest)[0] == b"\xfe"  # the number that the import module has for Denied
    assert store_of(plan).values == {"n": b"\5"}


def test_what_an_event_spent_in_it_is_told_by_its_name(plan: Plan):
    """In the event's cost, the log and the metrics, of which none knows the toy."""
    _, cost = run(plan, "counter")
    assert [(call.capability, call.subject) for call in cost.calls] == [("keyvalue", "n")] * 2
    assert cost.spent == {"keyvalue": pytest.approx(sum(call.ended - call.began for call in cost.calls))}
    assert 0 < cost.spent["keyvalue"] < cost.total
    assert fields(cost)["keyvalue_ms"] == round(cost.spent["keyvalue"] * 1000, 3)
    metrics = Metrics(Plans(plan))
    event = Event(Trigger.INVOKE, "m")
    metrics.answered(event, plan.guests["counter"].run(event, Deadline.after(30)))
    labels = {"guest": "counter", "trigger": "invoke", "capability": "keyvalue"}
    assert metrics.registry().get_sample_value("guesthouse_event_capability_seconds_count", labels) == 1


def test_each_call_of_it_is_a_span_by_its_name(plan: Plan):
    spans = InMemorySpanExporter()
    with contextlib.closing(Traces("t", spans)) as traces:
        answering = Mock(dispatch=lambda event, deadline: plan.guests["counter"].run(event, Deadline.after(30)))
        traces.handler(answering).dispatch(Event(Trigger.INVOKE, "m"))
    found = [(span.name, dict(span.attributes or {})) for span in spans.get_finished_spans()]
    assert [span for span in found if "keyvalue" in span[0]] == [("keyvalue n", {"guesthouse.subject": "n"})] * 2


def test_several_calls_are_under_way_at_the_same_time(plan: Plan):
    store, both = store_of(plan), threading.Barrier(2, timeout=30)
    store.values, store.slow = {"a": b"A", "b": b"B"}, lambda key: both.wait()
    assert run(plan, "pair")[0] == b"AB"


@pytest.mark.parametrize("guest", ["careless", "reckless"])
def test_calls_that_a_guest_began_and_left_are_given_up_when_its_event_ends(plan: Plan, guest):
    """Also when it ends by a trap."""
    store, go = store_of(plan), threading.Event()
    store.values, store.slow = {"a": b"A"}, lambda key: go.wait(60)
    store.threads, threads = ThreadPoolExecutor(1), store.threads
    try:
        with pytest.raises(Failure) if guest == "reckless" else contextlib.nullcontext():
            run(plan, guest)
        assert len(store.begun) == 5
        assert all(call.cancelled() for call in store.begun[1:])  # the first runs, which nothing can end
    finally:
        go.set()
        store.threads.shutdown()
        store.threads = threads


# The server does not take a worker's word for it.


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The server's end of a channel, and the worker's."""
    arena = Arena.create(8192)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.closing(theirs), contextlib.closing(Channel(ours, arena)) as channel:
        yield channel, Channel(theirs, arena)


def refusal(plan: Plan, guest: str, ends: tuple[Channel, Channel], question: list[Any]) -> Any:
    server, worker = ends
    capabilities = {capability.name: capability for capability in plan.host.capabilities}
    answers = Answers(plan.guests[guest], Event(Trigger.INVOKE, "m"), Deadline.after(5), server, capabilities)
    worker.send(Kind.ASK, question, [b"lie"])
    answers.answer(server.receive())
    frame = worker.receive()
    assert frame.kind is Kind.REFUSAL
    return frame.head


@pytest.mark.parametrize(
    ("guest", "why"),
    [
        ("stranger", "the manifest grants this guest no KeyValue: give it the table for that (docs/manifest.md)"),
        ("other", "the manifest does not grant the key 'n' to this guest"),
    ],
)
@pytest.mark.parametrize("what", ["put", "get", "begin"])
def test_a_worker_that_lies_is_refused_by_the_server(plan: Plan, ends, guest, why, what):
    assert refusal(plan, guest, ends, ["keyvalue", what, "n"]) == {"error": "Denied", "text": why}
    assert store_of(plan).values == {}
    assert store_of(plan).begun == []


def test_a_capability_refuses_with_errors_of_its_own(plan: Plan, ends):
    said = refusal(plan, "counter", ends, ["keyvalue", "get", "n"])
    assert said == {"error": "NoSuchKey", "text": "there is no key 'n'"}


@pytest.mark.parametrize(
    "question", [["keyvalue", "drop", "n"], ["sidecar", "get", "n"], ["keyvalue", "get", 5], ["keyvalue", "get"], "get"]
)
def test_a_question_that_no_capability_has_breaks_the_protocol(plan: Plan, ends, question):
    with pytest.raises(WireError):
        refusal(plan, "counter", ends, question)


def test_a_grant_of_what_this_process_was_not_given_is_a_fault_before_the_port_opens(tmp_path: Path):
    manifest = load(written(tmp_path), grants=GRANTS)
    with pytest.raises(PlanFaults) as caught, open_plan(manifest, {}, WITH_TOY):
        pass
    assert caught.value.faults == [
        f"guest {name!r}: there is no keyvalue here that could be granted: leave its table out"
        for name in ("counter", "other", "pair", "careless", "reckless")
    ]


# A guest's settings on their way to a worker.


def test_a_guests_settings_come_out_of_the_codec_as_they_went_in():
    grants = Grants(frozenset({"b", "a"}), env=(("A", "1"), ("B", "2")), args=("x",), image="0.15", scratch=5)
    limits = Limits(time=0.5, memory=65536)
    config = GuestConfig("g", Path("/g.wasm"), "command", parameters=("i32",), grants=grants, limits=limits, idle=2.0)
    assert codec.decode(GuestConfig, json.loads(json.dumps(codec.encode(config)))) == config


def test_the_codec_refuses_what_is_of_another_type():
    config = codec.encode(GuestConfig("g", Path("g.wasm"), "command"))
    for wrong in ({**config, "name": 5}, {**config, "grants": {"models": [5]}}, {**config, "least": "1"}):
        with pytest.raises(TypeError):
            codec.decode(GuestConfig, wrong)
    with pytest.raises(TypeError, match="a bytes cannot be handed to a worker process"):
        codec.encode(GuestConfig("g", Path("g.wasm"), "command", function=b"f"))  # type: ignore[arg-type]

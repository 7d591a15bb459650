"""Guests that are actors, in a thread and in worker processes: what a turn reads, writes and calls, and when its state
is saved. The sidecar is a dictionary here; behind a real one, actors are tested in tests/dapr_real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from dapr.proto.runtime.v1.actors_pb2 import InvokeActorRequest

from guesthouse.assembly import open_plan
from guesthouse.dapr.actors.state import REENTRANCY, TurnState
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Actor, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.guests.capabilities.sidecar import DEPTH
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse_abi.calls import Code
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended
from tests.support.actors import CALLER, GuestCall, Store, answers, call, data, get, script, write
from tests.support.doubles import NoOutputs
from tests.support.places import PLACES, engine_table, isolation_of

MANIFEST = """
[app]
name = "t"
[guests.cart]
module = "caller.wasm"
calling = "dapr"
isolation = "{isolation}"
limits = {{ time = "20s", host_memory = "1MiB" }}
[guests.cart.dapr]
actors = ["Cart/*", "Other/*"]
invoke = ["billing/charge"]
read_state = ["store/*"]
depth = 3
[[actor]]
type = "Cart"
guest = "cart"
[[invoke]]
method = "cart"
guest = "cart"
"""


@pytest.fixture(scope="module", params=PLACES)
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("actors")
    (folder / "caller.wasm").write_bytes(wasmtime.wat2wasm(CALLER))
    manifest = folder / "guesthouse.toml"
    manifest.write_text(engine_table(request.param) + MANIFEST.format(isolation=isolation_of(request.param)))
    with open_plan(load(Path(manifest), grants=GRANTS), {"dapr": Store()}) as plan:
        yield plan


class Host:
    """Runs turns of the actor Cart/7, each with a state of its own, as the stream's host does."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.store = store
        self._dispatcher = Dispatcher(Plans(plan), NoOutputs())

    def turn(
        self,
        *calls: GuestCall,
        how: str = "0",
        trigger: Trigger = Trigger.ACTOR,
        reentrancy: str = "",
        depth: str = "",
        deadline: Deadline | None = None,
    ) -> Reply:
        state = TurnState("Cart", "7", reentrancy)
        metadata = {DEPTH: depth} if depth else {}
        event = Event(trigger, "Cart", script(*calls), metadata=metadata, actor=Actor("7", how, state=state))
        return self._dispatcher.dispatch(event, deadline)

    def results(self, *calls: GuestCall, **how: Any) -> list[tuple[int, bytes]]:
        return answers(self.turn(*calls, **how).body)

    def outside(self, *calls: GuestCall) -> list[tuple[int, bytes]]:
        """Of the same calls in an event that is no actor's."""
        reply = self._dispatcher.dispatch(Event(Trigger.INVOKE, "cart", script(*calls)))
        return answers(reply.body)

    def failure(self, *calls: GuestCall, **how: Any) -> Failure:
        with pytest.raises(Failure) as failed:
            self.turn(*calls, **how)
        return failed.value


@pytest.fixture
def host(loaded: Plan) -> Host:
    store = loaded.host.services["dapr"]
    assert isinstance(store, Store)
    store.__init__()  # type: ignore[misc]
    return Host(loaded, store)


SET = write(("upsert", "a", b"1"))


def test_a_turn_reads_what_it_has_written_and_its_state_is_saved_in_one_transaction(host: Host) -> None:
    host.store.values = {"a": b"0"}
    found = host.results(get("a"), SET, get("a"), write(("upsert", "b", b"2"), ("delete", "c", b"")), get("b"))
    assert [code for code, _ in found] == [0] * 5
    assert [data(found[at]) for at in (0, 2, 4)] == [b"0", b"1", b"2"]
    assert host.store.transactions == [[("upsert", "a", b"1"), ("upsert", "b", b"2"), ("delete", "c", b"")]]
    assert host.store.made == ["GetActorState", "ExecuteActorStateTransaction"]


def test_the_next_turn_reads_from_the_sidecar(host: Host) -> None:
    assert data(host.results(get("a"))[0]) == b""
    host.store.values["a"] = b"2"
    assert data(host.results(get("a"))[0]) == b"2"


@pytest.mark.parametrize(
    ("how", "reason"),
    [("1", Reason.GUEST), ("2", Reason.TRY_AGAIN), ("3", Reason.MALFORMED), ("4", Reason.BAD_REPLY),
     ("9", Reason.BAD_REPLY), ("t", Reason.TRAP)],
)  # fmt: skip
def test_a_turn_that_fails_writes_nothing(host: Host, how: str, reason: Reason) -> None:
    assert host.failure(SET, how=how).reason is reason
    assert host.store.made == []


def test_a_turn_that_is_cut_writes_nothing(host: Host) -> None:
    assert host.failure(SET, how="l", deadline=Deadline.after(0.5)).reason is Reason.DEADLINE
    assert host.store.made == []


@pytest.mark.parametrize("trigger", [Trigger.TIMER, Trigger.REMINDER])
def test_a_timer_that_stops_is_answered_and_saved(host: Host, trigger: Trigger) -> None:
    assert host.turn(SET, how="4", trigger=trigger).stop
    assert host.store.values == {"a": b"1"}
    assert not host.turn(SET, trigger=trigger).stop


def test_state_that_the_sidecar_does_not_take_fails_the_turn(host: Host) -> None:
    host.store.fails = Ended(Code.INTERNAL, "actor instance is missing")
    failure = host.failure(SET)
    assert failure.reason is Reason.OUTPUT
    assert str(failure) == (
        "guest 'cart': the state of the actor 'Cart/7' was not saved: the sidecar says INTERNAL: "
        "actor instance is missing"
    )


def test_a_turn_saves_at_once_where_it_asks_for_it(host: Host) -> None:
    assert host.failure(SET, write(), write(("upsert", "a", b"2")), how="t").reason is Reason.TRAP
    assert host.store.values == {"a": b"1"}


def test_calls_that_are_left_open_do_not_keep_state_from_being_saved(host: Host) -> None:
    host.turn(get("x"), SET, write(), get("a"), write(("upsert", "b", b"2")), how="o")
    assert host.store.transactions == [[("upsert", "a", b"1")], [("upsert", "b", b"2")]]


def test_a_guest_reads_whose_turn_it_is(host: Host) -> None:
    event = Event(Trigger.TIMER, "Cart", actor=Actor("7 ä", "f-timer", "pour", TurnState("Cart", "7 ä")))
    reply = host._dispatcher.dispatch(event)
    assert reply.body.decode().splitlines() == ["timer", "Cart", "7 ä", "f-timer", "pour"]


OWN = [
    get("a"),
    SET,
    call("RegisterActorTimer", name="t"),
    call("UnregisterActorTimer", name="t"),
    call("RegisterActorReminder", name="t"),
    call("UnregisterActorReminder", name="t"),
    call("GetActorReminder", name="t"),
]
NAMED = [method for method, _ in OWN if method.endswith(("Timer", "Reminder"))]


def test_what_is_an_actors_own_needs_no_grant(host: Host) -> None:
    assert [code for code, _ in host.results(*OWN)] == [0] * 7


def test_what_is_another_actors_is_denied(host: Host) -> None:
    for kind, id in (("Cart", "8"), ("cart", "7"), ("Other", "7"), ("", ""), ("Cart", "")):
        forged = [(method, call(method, actor_type=kind, actor_id=id)[1]) for method, _ in OWN]
        found = host.results(*forged)
        assert [code for code, _ in found] == [Code.PERMISSION_DENIED] * 7
    assert host.store.made == []
    assert host.results(get("a", actor_id="8"))[0][1].decode() == (
        "GetActorState is for an actor's own turns alone, and this is the turn of 'Cart/7' and not of 'Cart/8': "
        "have the guest invoke that actor (grant actors), whose own guest does it"
    )


@pytest.mark.parametrize("name", ["8||wake", "|wake"])
def test_no_name_of_a_timer_or_reminder_reaches_another_actors(host: Host, name: str) -> None:
    """A sidecar joins the actor's id and the name by `||`: `8||wake` of the actor 7 is `wake` of the actor `7||8`."""
    found = host.results(*(call(method, name=name) for method in NAMED))
    assert [code for code, _ in found] == [Code.INVALID_ARGUMENT] * len(NAMED)
    assert host.store.made == []


def test_no_other_event_has_an_actors_own(host: Host) -> None:
    found = host.outside(*OWN)
    assert [code for code, _ in found] == [Code.PERMISSION_DENIED] * 7
    assert "this event is no actor's turn" in found[0][1].decode()
    assert host.store.made == []


@pytest.mark.parametrize(
    "request_",
    [
        write(("increment", "a", b"1")),
        write(("upsert", "", b"1")),
        write(("upsert", "8||a", b"1")),
        write(*[("upsert", str(number), b"") for number in range(1001)]),
        (write()[0], SET[1] + b"\xfa\x3e\x01x"),  # a field that nobody knows
        (write()[0], SET[1] + b"\x1a\x05"),  # an operation that is cut
        (write()[0], write()[1] + b"\x1a\x00" * 100_001),  # operations of two bytes, each an object
        (write()[0], write()[1] + b"\x1a\x04\x1a\x02\xff\xff"),  # an Any that is none
    ],
)
def test_a_transaction_that_is_none_is_refused_and_nothing_of_it_is_written(host: Host, request_: GuestCall) -> None:
    ((code, _),) = host.results(request_)
    assert code == Code.INVALID_ARGUMENT
    assert host.store.made == []


def test_a_turn_writes_as_much_as_its_guest_may_hold(host: Host) -> None:
    calls = [write(("upsert", str(number), b"x" * 100_000)) for number in range(10)]
    codes = [code for code, _ in host.results(*calls)]
    assert set(codes) == {0, Code.RESOURCE_EXHAUSTED}
    assert codes == sorted(codes), "what is too much is refused, and the rest is saved"
    assert len(host.store.values) == codes.count(0)


def test_an_actor_calls_others_and_the_chain_goes_on(host: Host) -> None:
    other = call("InvokeActor", actor_type="Other", actor_id="1", method="m", metadata={"X-Mine": "1"})
    assert host.results(other, depth="2") == [(0, b"passed on")]
    assert dict(InvokeActorRequest.FromString(host.store.messages[0]).metadata) == {"X-Mine": "1", DEPTH: "3"}
    assert host.store.metadata == [{}]
    ((code, text),) = host.results(other, depth="3")
    assert code == Code.FAILED_PRECONDITION
    assert b"this event is invocation 3 of a chain; at most 3 go one within the other" in text
    assert len(host.store.made) == 1


def test_a_chain_goes_on_from_any_event_to_actors(host: Host) -> None:
    host.outside(call("InvokeActor", method="m"))
    assert dict(InvokeActorRequest.FromString(host.store.messages[0]).metadata) == {DEPTH: "1"}


def test_an_actor_does_not_wait_for_itself(host: Host) -> None:
    ((code, text),) = host.results(call("InvokeActor", method="m"))
    assert code == Code.FAILED_PRECONDITION
    assert "write reentrant = true in its [[actor]]" in text.decode()
    assert host.store.made == []


def test_a_call_of_a_reentrant_actor_comes_back_to_the_same_turn(host: Host) -> None:
    other = call("InvokeActor", actor_type="Other", actor_id="1", method="m")
    assert host.results(call("InvokeActor", method="m"), other, reentrancy="r-1") == [(0, b"passed on")] * 2
    for message in host.store.messages:
        assert dict(InvokeActorRequest.FromString(message).metadata) == {DEPTH: "1", REENTRANCY: "r-1"}


@pytest.mark.parametrize(
    "name",
    ["Dapr-Reentrancy-Id", "dapr-reentrancy-id", "Guesthouse-Depth", DEPTH, "X-Dapr-Remote", "Content-Length", "te",
     "", "a b", "x\n"],
)  # fmt: skip
def test_a_guest_gives_an_actor_no_metadata_that_are_the_hosts(host: Host, name: str) -> None:
    other = call("InvokeActor", actor_type="Other", actor_id="1", metadata={name: "1"})
    ((code, text),) = host.results(other, reentrancy="r-1")
    assert code == Code.INVALID_ARGUMENT
    assert b"that a guest may not set" in text


def test_an_actor_that_was_not_granted_is_not_called(host: Host) -> None:
    ((code, text),) = host.results(call("InvokeActor", actor_type="Bank", actor_id="1"))
    assert code == Code.PERMISSION_DENIED
    assert b'write actors = ["Bank/1"] in [guests.cart.dapr]' in text


def test_a_turn_without_a_state_has_none(host: Host) -> None:
    event = Event(Trigger.ACTOR, "Cart", script(SET), actor=Actor("7", "0"))
    assert answers(host._dispatcher.dispatch(event).body) == [
        (Code.UNAVAILABLE, b"nothing here keeps the state of actors")
    ]


#: A program that replies with its environment, a line for each variable.
ENVIRONMENT = """(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $get (i32.const 64) (i32.const 4096)))
    (i32.store (i32.const 0) (i32.const 4096))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"""


@pytest.mark.parametrize("place", ["thread", "process"])
def test_a_program_reads_whose_turn_it_is_in_its_environment(tmp_path: Path, place: str) -> None:
    (tmp_path / "tells.wasm").write_bytes(wasmtime.wat2wasm(ENVIRONMENT))
    manifest = tmp_path / "guesthouse.toml"
    manifest.write_text(f"""
        [app]
        name = "t"
        [guests.tells]
        module = "tells.wasm"
        calling = "command"
        isolation = "{place}"
        [[actor]]
        type = "Cart"
        guest = "tells"
        [[job]]
        name = "nightly"
        guest = "tells"
    """)
    with open_plan(load(manifest, grants=GRANTS)) as plan:
        dispatcher = Dispatcher(Plans(plan), NoOutputs())

        def told(event: Event) -> dict[str, str]:
            lines = dispatcher.dispatch(event).body.decode().split("\0")
            return dict(line.split("=", 1) for line in lines if line)

        turn = told(Event(Trigger.TIMER, "Cart", actor=Actor("7 ä", "tick", "pour")))
        assert (turn["GUESTHOUSE_TRIGGER"], turn["GUESTHOUSE_NAME"]) == ("timer", "Cart")
        assert {name: value for name, value in turn.items() if "ACTOR" in name} == {
            "GUESTHOUSE_ACTOR_ID": "7 ä",
            "GUESTHOUSE_ACTOR_METHOD": "tick",
            "GUESTHOUSE_ACTOR_CALLBACK": "pour",
        }
        assert not [name for name in told(Event(Trigger.JOB, "nightly")) if "ACTOR" in name]

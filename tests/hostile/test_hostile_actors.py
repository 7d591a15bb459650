"""Hostile guests that are actors: a turn ends as it should, and writes nothing but its own actor's state."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
import wasmtime
from google.protobuf.any_pb2 import Any as AnyMessage

from guesthouse.assembly import open_plan
from guesthouse.cli.load_generator import Usage
from guesthouse.dapr.actors import state as state_module
from guesthouse.dapr.actors.state import TurnState
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Actor, Event, Failure, Reason, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from tests.support.actors import CALLER, GuestCall, Store, answers, call, get, script, write
from tests.support.doubles import NoOutputs
from tests.support.places import engine_table, isolation_of
from tests.support.waiting import until

MANIFEST = """
[app]
name = "t"
[guests.cart]
module = "cart.wasm"
calling = "dapr"
isolation = "{isolation}"
limits = {{ time = "{time}", host_memory = "512KiB", output = "8MiB", input = "2MiB" }}
dapr = {{ actors = ["Cart/*"], calls = 200 }}
[[actor]]
type = "Cart"
guest = "cart"
[[topic]]
pubsub = "p"
topic = "t"
guest = "cart"
"""
OK, INVALID, DENIED, EXHAUSTED, UNMET = 0, 3, 7, 8, 9
TRANSACTION = "ExecuteActorStateTransaction"
#: A message in a message, a thousand times.
BOMB = b""
for _ in range(1000):
    BOMB = AnyMessage(type_url="type.googleapis.com/google.protobuf.Any", value=BOMB).SerializeToString()
IDS = ("8", "07", " 7", "7 ", "7\0", "7\u200b", "\uff17", "7||a", "7/", "7/../7", "%37", "")
TYPES = ("cart", "Cart ", "\u0421art", "Cart/7", "Cart||7", "Other", "", "*")


@dataclass(frozen=True)
class Attack:
    """What a turn's guest does, which codes its calls end with, and how the turn ends (None: with a reply)."""

    calls: tuple[GuestCall, ...]
    codes: frozenset[int] = frozenset()
    how: str = "0"
    ends: Reason | None = None
    saves: frozenset[str] | None = frozenset()  # keys; None: any that the guest has written


def attack(*calls: GuestCall, codes: set[int], **more: object) -> Attack:
    return Attack(calls, frozenset(codes), **more)  # type: ignore[arg-type]


ATTACKS = {
    "floods-state": attack(
        *[write(("upsert", f"{number}", b"x" * 60_000)) for number in range(16)], codes={OK, EXHAUSTED}, saves=None
    ),
    "writes-the-same-again-and-again": attack(
        *[write(("upsert", "a", b"x" * 60_000))] * 16, codes={OK}, saves=frozenset({"a"})
    ),
    "floods-many-keys": attack(
        *[write(*[("upsert", f"{at}-{key}", b"") for key in range(1000)]) for at in range(10)],
        codes={OK, EXHAUSTED},
        saves=None,
    ),
    "writes-huge-keys": attack(
        *[write(("upsert", f"{number}" + "k" * 30_000, b"")) for number in range(9)],
        codes={OK, EXHAUSTED},
        saves=None,
    ),
    "reads-huge-keys": attack(*[get(f"{number}" + "k" * 100_000) for number in range(9)], codes={OK}),
    "forges-ids": attack(
        *[one for id in IDS for one in (get("a", actor_id=id), write(("upsert", "a", b""), actor_id=id))],
        codes={DENIED, INVALID},
    ),
    "forges-types": attack(
        *[one for kind in TYPES for one in (get("a", actor_type=kind), write(("upsert", "a", b""), actor_type=kind))],
        codes={DENIED, INVALID},
    ),
    "joins-keys-to-other-actors": attack(
        *[get(key) for key in ("8||a", "|8||a", "a||", "|")], write(("delete", "8||a", b"")), codes={INVALID}
    ),
    "makes-up-operations": attack(
        *[write((kind, "a", b"")) for kind in ("", "UPSERT", "upsert ", "increment", "x" * 60_000)], codes={INVALID}
    ),
    "sends-operations-without-end": attack(
        (TRANSACTION, write()[1] + b"\x1a\x00" * 100_001), write(*[("upsert", "a", b"")] * 1001), codes={INVALID}
    ),
    "sends-fields-that-nobody-knows": attack(
        (TRANSACTION, write(("upsert", "a", b""))[1] + b"\xfa\x3e\x01x"),
        (TRANSACTION, write()[1] + b"\x1a\x0c\x0a\x06upsert\x12\x01a\x28"),
        (TRANSACTION, write()[1] + b"\x1a\x0e\x0a\x06upsert\x12\x01a\x2a\x01x"),
        (TRANSACTION, write()[1] + b"\x1a\xff\xff\xff\xff\x0f"),
        codes={INVALID},
    ),
    "wraps-a-value-a-thousand-times": attack(
        write(("upsert", "bomb", BOMB)), get("bomb"), codes={OK}, saves=frozenset({"bomb"})
    ),
    "names-a-type-of-a-hundred-thousand-letters": attack(
        call(TRANSACTION, operations=[{
            "operationType": "upsert", "key": "a", "value": AnyMessage(type_url="t" * 100_000, value=b"1"),
        }]), get("a"), codes={OK}, saves=frozenset({"a"}),
    ),
    "calls-itself": attack(call("InvokeActor", method="m"), codes={UNMET}),
    "gives-itself-an-id-of-reentrancy": attack(
        *[call("InvokeActor", actor_id="8", metadata={name: "1"}) for name in ("Dapr-Reentrancy-Id", "X-DAPR-Remote")],
        codes={INVALID},
    ),
    "stops-a-method": Attack((write(("upsert", "a", b"")),), how="4", ends=Reason.BAD_REPLY),
    "traps-after-writing": Attack((write(("upsert", "a", b"")),), how="t", ends=Reason.TRAP),
    "leaves-calls-open": Attack((get("a"), write(("upsert", "a", b"")), write()) * 5, how="o", saves=frozenset("a")),
}  # fmt: skip


@pytest.fixture(scope="module", params=["thread", "process"])
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    with opened(tmp_path_factory.mktemp("actors"), request.param, "20s") as plan:
        yield plan


def opened(folder: Path, place: str, time: str) -> AbstractContextManager[Plan]:
    (folder / "cart.wasm").write_bytes(wasmtime.wat2wasm(CALLER.replace('"memory") 64', '"memory") 80')))
    manifest = folder / "guesthouse.toml"
    manifest.write_text(engine_table(place) + MANIFEST.format(isolation=isolation_of(place), time=time))
    return open_plan(load(manifest, grants=GRANTS), {"dapr": Store()})


def turn(plan: Plan, one: Attack) -> tuple[Reason | None, frozenset[int], Store]:
    """How the turn ended, the codes of its calls, and what the sidecar has then."""
    store = plan.host.services["dapr"]
    assert isinstance(store, Store)
    store.__init__()  # type: ignore[misc]
    actor = Actor("7", one.how, state=TurnState("Cart", "7"))
    event = Event(Trigger.ACTOR, "Cart", script(*one.calls), actor=actor)
    try:
        reply = Dispatcher(Plans(plan), NoOutputs()).dispatch(event)
    except Failure as failure:
        return failure.reason, frozenset(), store
    return None, frozenset(code for code, _ in answers(reply.body)), store


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_turn_ends_as_it_should_and_saves_what_is_its_own(plan: Plan, name: str) -> None:
    one = ATTACKS[name]
    for _ in range(2):
        ends, codes, store = turn(plan, one)
        assert (ends, codes) == (one.ends, one.codes)
        if one.saves is not None:
            assert set(store.values) == one.saves
        assert sum(map(len, store.values.values())) <= 1 << 19


def test_no_event_but_a_timer_and_a_reminder_stops(plan: Plan) -> None:
    event = Event(Trigger.TOPIC, "p/t", actor=None)
    with pytest.raises(Failure) as failed:
        Dispatcher(Plans(plan), NoOutputs()).dispatch(
            Event(Trigger.ACTOR, "Cart", actor=Actor("7", "4", state=TurnState("Cart", "7")))
        )
    assert failed.value.reason is Reason.BAD_REPLY
    assert Dispatcher(Plans(plan), NoOutputs()).dispatch(event).stop is False


@pytest.mark.parametrize("place", ["thread", "process"])
@pytest.mark.parametrize("how", ["o", "0", "t"])
def test_a_sidecar_that_never_answers_does_not_keep_a_turn_for_ever(
    tmp_path: Path, place: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_LATER", 0.1)
    with opened(tmp_path, place, "300ms") as plan:
        store = plan.host.services["dapr"]
        assert isinstance(store, Store)
        store.later = []
        actor = Actor("7", how, state=TurnState("Cart", "7"))
        calls = script(write(("upsert", "a", b"1")), write(), get("x"))
        with pytest.raises(Failure) as failed:
            Dispatcher(Plans(plan), NoOutputs()).dispatch(Event(Trigger.ACTOR, "Cart", calls, actor=actor))
        assert failed.value.reason in (Reason.OUTPUT, Reason.DEADLINE)
        assert store.made[0] == TRANSACTION
        assert TRANSACTION not in store.made[1:], "no other transaction was sent behind it"


def test_hostile_turns_leave_nothing_behind(plan: Plan) -> None:
    def left() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def rounds(count: int) -> None:
        for _ in range(count):
            for one in ATTACKS.values():
                turn(plan, one)

    rounds(2)
    before, memory = left(), resident()
    rounds(4)
    until(lambda: all(now <= then for now, then in zip(left(), before, strict=True)))
    assert resident() - memory < 8 << 20
    assert not any(guest.slots.busy or guest.slots.queued for guest in plan.guests.values())


def resident() -> int:
    usage = Usage.of(os.getpid())
    assert usage is not None
    return usage.memory

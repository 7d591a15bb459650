"""Actors behind a real sidecar with placement, scheduler and Redis: turns, state, timers, reminders, how turns fail.

Each place where guests run has one host, which all tests here share: each has actors of its own. What happens when
programs die or move is in test_dapr_real_actors_faults.py. The actor is guests/actor.c.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from dapr.proto.runtime.v1.pubsub_pb2 import PublishEventRequest

from tests.dapr_real.actor_hosts import LIMITS, ActorHosts, Actors, actor_hosts
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Redis
from tests.support.places import PLACES
from tests.support.waiting import until

BRIEF = """
[[actor]]
type = "TYPE-brief"
guest = "actor"
idle = "1s"
"""
TOPIC = """
[[topic]]
pubsub = "pubsub"
topic = "orders-TYPE"
actor = "TYPE/{data.customer}"
method = "ordered"
"""


@pytest.fixture(scope="module", params=PLACES)
def hosts(
    request: Any, tmp_path_factory: pytest.TempPathFactory, redis: Redis, control_plane: ControlPlane
) -> Iterator[ActorHosts]:
    folder = tmp_path_factory.mktemp("actors")
    limits = LIMITS.replace('time = "30s"', 'time = "3s"')
    options = {"place": request.param, "limits": limits, "actor": "reentrant = true", "more": BRIEF + TOPIC}
    with actor_hosts(folder, f"acts-{request.param}", redis, control_plane, **options) as hosts:
        until(lambda: answers(hosts.actors), "its actors answer")
        yield hosts


def answers(actors: Actors) -> bool:
    try:
        return actors.call("first", "version", seconds=5) == b"one"
    except grpc.RpcError:
        return False


@pytest.fixture
def actor() -> str:
    """The id of an actor that no other test has."""
    return uuid.uuid4().hex


def test_what_a_turn_saves_the_next_one_finds(hosts: ActorHosts, actor: str):
    assert hosts.actors.call(actor, "get") == b""
    assert [hosts.actors.call(actor, "add", b"%d" % number) for number in (1, 2, 3)] == [b"1", b"3", b"6"]
    assert hosts.state(actor) == "6"
    assert hosts.actors.call(f"{actor}-other", "get") == b""


def test_turns_of_one_actor_run_one_after_the_other_and_those_of_others_beside_them(hosts: ActorHosts, actor: str):
    calls = [hosts.actors.start(actor, "add", b"1") for _ in range(20)]
    calls += [hosts.actors.start(f"{actor}-{number}", "add", b"1") for number in range(20)]
    sums = sorted(int(call.result().data) for call in calls)
    assert sums == sorted([*range(1, 21), *[1] * 20])


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("trap", "INTERNAL", "unreachable"),
        ("loop", "INTERNAL", "3 s"),
        ("grow", "INTERNAL", "unreachable"),
        ("failed", "INTERNAL", "no film in the camera"),
        ("retry", "INTERNAL", "come back later"),
        ("drop", "INTERNAL", "that is no photo"),
        ("absent", "INTERNAL", "actor method not found: ends"),
    ],
)
def test_a_turn_that_fails_leaves_the_state_as_it_was(hosts: ActorHosts, actor: str, how: str, code: str, text: str):
    hosts.actors.call(actor, "add", b"5")
    failed = hosts.actors.fails(actor, "ends", how.encode())
    assert failed.startswith(f"{code}: ")
    assert text in failed
    assert hosts.state(actor) == ("1005" if how == "absent" else "5")
    assert hosts.actors.call(actor, "add", b"1") == (b"1006" if how == "absent" else b"6")


def test_an_answer_that_is_an_error_of_the_application_reaches_the_caller(hosts: ActorHosts, actor: str):
    assert hosts.actors.call(actor, "ends", b"teapot") == b"teapot"
    assert hosts.state(actor) == "1000"


def test_a_method_that_there_is_not_is_told(hosts: ActorHosts, actor: str):
    assert "actor method not found: polish" in hosts.actors.fails(actor, "polish")


def test_what_is_saved_at_once_stays_when_its_turn_fails(hosts: ActorHosts, actor: str):
    hosts.actors.fails(actor, "saves", b"trap")
    assert hosts.state(actor) == "7"


def test_a_timer_fires_with_its_data_until_it_stops(hosts: ActorHosts, actor: str):
    often = {"due_time": "0h0m0s50ms", "period": "0h0m0s50ms"}
    hosts.actors.does(actor, "RegisterActorTimer", name="tick", callback="ring", data=b"data of mine", **often)
    until(lambda: hosts.state(actor, "fired").count("tick|ring|data of mine|") >= 2, "the timer fires again and again")
    hosts.actors.does(
        actor, "RegisterActorTimer", name="last", due_time="0h0m0s50ms", period="0h0m0s50ms", data=b"stop"
    )
    until(lambda: "last||stop|" in hosts.state(actor, "fired"), "the other timer fires")
    until(lambda: has_stopped(hosts, actor, 5), "it fires no more, while the first one goes on")
    hosts.actors.does(actor, "UnregisterActorTimer", name="tick")


def test_a_reminder_fires_with_its_data_until_it_stops(hosts: ActorHosts, actor: str):
    hosts.actors.does(actor, "RegisterActorReminder", name="tick", due_time="0s", period="1s", data=b"data of mine")
    hosts.actors.does(actor, "RegisterActorReminder", name="last", due_time="0s", period="1s", data=b"stop")
    until(lambda: "last||stop|" in hosts.state(actor, "fired"), "the other reminder fires")
    until(lambda: has_stopped(hosts, actor, 2), "it fires no more, while the first one goes on")
    hosts.actors.does(actor, "UnregisterActorReminder", name="tick")


@pytest.mark.parametrize("kind", ["Timer", "Reminder"])
def test_one_that_was_given_no_data_has_none(hosts: ActorHosts, actor: str, kind: str):
    hosts.actors.does(actor, f"RegisterActor{kind}", name="bare", due_time="0s")
    until(lambda: "bare|" in hosts.state(actor, "fired"), "it fires")
    assert hosts.state(actor, "fired").strip() == "bare|||"


def has_stopped(hosts: ActorHosts, actor: str, times: int) -> bool:
    """Whether `last` has not fired while `tick` did so many times. One may be on its way when it is stopped."""

    def fired(name: str) -> int:
        return hosts.state(actor, "fired").count(f"{name}|")

    last, ticks = fired("last"), fired("tick")
    until(lambda: fired("tick") >= ticks + times, "the other one goes on")
    return fired("last") == last


def test_an_actor_without_turns_is_let_go_and_told_so_and_comes_back_with_its_state(hosts: ActorHosts, actor: str):
    def told(event: str) -> int:
        return len([line for line in hosts.said(event) if line["fields"]["actor"] == actor])

    brief = Actors(hosts.caller, f"{hosts.kind}-brief")
    brief.call(actor, "add", b"4")
    until(lambda: told("activated") == 1, "the actor was told")
    until(lambda: told("deactivated") == 1, "the sidecar has let it go")
    assert brief.call(actor, "add", b"1") == b"5"
    until(lambda: told("activated") == 2, "the actor was told again")


def test_a_turn_calls_another_actor_and_its_own_again(hosts: ActorHosts, actor: str):
    kind = hosts.kind
    assert hosts.actors.call(actor, "calls", f"{kind}/{actor}-b/add/3".encode()) == b"3"
    assert hosts.state(actor) == "1"
    assert hosts.actors.call(actor, "calls", f"{kind}/{actor}/get/".encode()) == b"1"


def test_a_caller_that_gives_up_does_not_make_turns_overlap(hosts: ActorHosts, actor: str):
    first = hosts.actors.start(actor, "waits", actor.encode())
    until(lambda: hosts.begun(actor) == 1, "the turn has begun")
    first.cancel()
    second = hosts.actors.start(actor, "add", b"10")
    other = hosts.actors.call(f"{actor}-other", "add", b"1")
    assert other == b"1"
    hosts.open(actor)
    assert second.result().data == b"11"  # the first one's 1 was saved before
    assert hosts.state(actor) == "11"


def test_events_of_a_topic_are_turns_of_the_actors_that_they_name(hosts: ActorHosts, actor: str):
    customers = [f"{actor}-{number}" for number in range(3)]
    orders = [json.dumps({"customer": customer, "order": number}) for number in range(10) for customer in customers]
    for order in orders:
        request = PublishEventRequest(
            pubsub_name="pubsub",
            topic=f"orders-{hosts.kind}",
            data=order.encode(),
            data_content_type="application/json",
        )
        hosts.caller.stub.PublishEvent(request)

    def heard(customer: str) -> list[int]:
        return [json.loads(line)["order"] for line in hosts.state(customer, "heard").splitlines()]

    for customer in customers:
        until(lambda customer=customer: len(heard(customer)) >= 10, f"{customer} has its orders")  # type: ignore[misc]
        assert sorted(set(heard(customer))) == list(range(10))

"""Actors whose host, sidecar or placement service is killed, restarted, joined by another host, reloaded or ended.

Load is `Adding`: callers that add 1 to many actors. What was acknowledged must be in the state, and nothing may be in
it that nobody has asked for; a call that failed may have been carried out or not.
"""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.dapr_real.actor_hosts import ActorHosts, actor_hosts, hosted, module
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Redis
from tests.support.waiting import join, until

CALLERS, ACTORS = 8, 40
#: Callers' calls are repeated: there is no leaving without an end for the turns in flight.
POLICY = """apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: { name: actors }
spec:
  policies:
    timeouts: { turn: 3s }
    retries: { again: { policy: constant, duration: 200ms, maxRetries: 100 } }
  targets: { actors: { TYPE: { timeout: turn, retry: again } } }
"""


class Adding:
    """Callers that add 1 to actors until the end of `with`. `check` compares the state with what was acknowledged."""

    def __init__(self, hosts: ActorHosts, name: str) -> None:
        self._hosts = hosts
        self._names = [f"{name}-{number}" for number in range(ACTORS)]
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._add, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> Adding:
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        join(*self._threads)

    def _add(self, number: int) -> None:
        while not self._over.is_set():
            number += CALLERS
            name = self._names[number % ACTORS]
            try:
                self._hosts.actors.call(name, "add", b"1", seconds=10)
                counter = self.done
            except grpc.RpcError as error:
                counter = self.failed
                self.errors.append(f"{error.code().name}: {error.details()}")
            with self._lock:
                counter[name] += 1

    def goes_on(self, count: int = 100) -> None:
        """Wait until so many more calls were acknowledged."""
        before = self.done.total()
        until(lambda: self.done.total() >= before + count, "turns are acknowledged")

    def check(self) -> None:
        """To be called when the load has ended."""
        for name in self._names:
            found = int(self._hosts.state(name) or 0)
            assert self.done[name] <= found <= self.done[name] + self.failed[name], name


@pytest.fixture(scope="module", params=["thread", "process"])
def hosts(
    request: Any, tmp_path_factory: pytest.TempPathFactory, redis: Redis, control_plane: ControlPlane
) -> Iterator[ActorHosts]:
    folder = tmp_path_factory.mktemp("faults")
    with actor_hosts(folder, f"faults-{request.param}", redis, control_plane, place=request.param) as hosts:
        yield hosts


def test_a_host_that_is_killed_in_a_turn_leaves_the_state_as_it_was_and_the_reminder_comes_again(hosts: ActorHosts):
    (host,) = hosts.hosts
    hosts.actors.call("killed", "add", b"5")
    hosts.actors.does("killed", "RegisterActorReminder", name="killed", due_time="0s", period="1s", data=b"waits")
    until(lambda: hosts.begun("killed") == 1, "the reminder's turn has begun")
    host.app.kill()
    host.app.start().ready()
    until(lambda: hosts.begun("killed") == 2, "the reminder has come again")
    assert (hosts.state("killed"), hosts.state("killed", "fired")) == ("5", "")
    hosts.open("killed")
    until(lambda: "killed||waits|" in hosts.state("killed", "fired"), "its turn has ended")
    hosts.actors.does("killed", "UnregisterActorReminder", name="killed")
    assert hosts.actors.call("killed", "add", b"1") == b"6"


def test_a_sidecar_that_is_killed_in_a_turn_ends_the_turn_and_later_ones_find_the_next(hosts: ActorHosts):
    (host,) = hosts.hosts
    hosts.actors.call("left", "add", b"5")
    call = hosts.actors.start("left", "waits", b"left")
    until(lambda: hosts.begun("left") == 1, "the turn has begun")
    before = len(hosts.said("failed"))
    host.sidecar.kill()
    with pytest.raises(grpc.RpcError):
        call.result()
    until(lambda: len(hosts.said("failed")) > before, "the turn is cut")
    hosts.open("left")
    host.sidecar.start().ready()
    hosts.hosting(host)
    assert hosts.actors.call("left", "add", b"1") == b"6"


def test_a_sidecar_that_is_told_to_end_does_not_wait_for_its_host(hosts: ActorHosts):
    (host,) = hosts.hosts
    hosts.actors.call("ended", "add", b"5")
    host.sidecar.signal(signal.SIGTERM)
    assert host.sidecar.ended() == 0
    host.sidecar.start().ready()
    hosts.hosting(host)
    assert hosts.actors.call("ended", "add", b"1") == b"6"


def test_turns_go_on_when_the_placement_service_is_back(hosts: ActorHosts, control_plane: ControlPlane):
    with Adding(hosts, "placed") as adding:
        control_plane.placement.kill()
        until(lambda: host_is_alone(hosts), "the sidecar has noticed")
        control_plane.placement.start().ready()
        adding.goes_on()
    adding.check()


def host_is_alone(hosts: ActorHosts) -> bool:
    answer = hosts.hosts[0].sidecar.http("GET", "/v1.0/metadata").json()
    return bool(answer["actorRuntime"]["placement"] != "placement: connected")


def test_a_reload_under_load_costs_no_turn_and_a_turn_ends_on_the_code_that_it_began_with(
    tmp_path: Path, redis: Redis, control_plane: ControlPlane
):
    guest = tmp_path / "actor.wasm"
    guest.write_bytes(module().read_bytes())
    with actor_hosts(tmp_path, "reloads", redis, control_plane, guest=guest) as hosts:
        (host,) = hosts.hosts
        with Adding(hosts, "a") as adding:
            call = hosts.actors.start("held", "waits", b"held")
            until(lambda: hosts.begun("held") == 1, "a turn has begun")
            guest.write_bytes(module("actor", '-DVERSION="two"').read_bytes())
            host.app.signal(signal.SIGHUP)
            until(lambda: hosts.actors.call("other", "version") == b"two", "the new code answers")
            adding.goes_on()
            hosts.open("held")
            assert call.result().data == b"one"
            assert hosts.actors.call("held", "version") == b"two"
            adding.goes_on()
        adding.check()
        assert not adding.errors
        assert len(hosts.said("the sidecar has the types of actors")) == 1


def test_actors_move_to_a_second_host_under_load_and_back_when_it_ends(
    tmp_path: Path, redis: Redis, control_plane: ControlPlane
):
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "actors.yaml").write_text(POLICY.replace("TYPE", "Cart-moves"))
    flags = ("--resources-path", str(policy))
    with actor_hosts(tmp_path, "moves", redis, control_plane, flags=flags, drain="1s") as hosts:
        with Adding(hosts, "a") as adding:
            first, second = hosts.hosts[0], hosts.add()
            until(lambda: hosted(second.sidecar)[hosts.kind] >= ACTORS // 5, "actors have moved")
            adding.goes_on()
            second.app.signal(signal.SIGTERM)
            assert second.app.ended() == 0
            until(lambda: hosted(first.sidecar)[hosts.kind] == ACTORS, "all actors are back")
            second.app.start().ready()
            hosts.hosting(second)
            until(lambda: hosted(second.sidecar)[hosts.kind] >= ACTORS // 5, "actors have moved again")
            first.app.kill()
            until(lambda: hosted(second.sidecar)[hosts.kind] == ACTORS, "all actors have moved")
            adding.goes_on()
        found = sum(int(hosts.state(f"a-{number}") or 0) for number in range(ACTORS))
        # Calls are repeated by the policy, so that an add whose answer was lost is made twice.
        assert found >= adding.done.total()
        # A sidecar may leave a lookup without an answer while actors move: its caller waits to its own deadline.
        assert {error.partition(":")[0] for error in adding.errors} <= {"DEADLINE_EXCEEDED"}

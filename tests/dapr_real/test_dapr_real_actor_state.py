"""What an actor reads of what it has just written is what a real sidecar gives for it afterwards, to the byte; and a
sidecar joins ids and keys as the host thinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import wasmtime

from tests.dapr_real.actor_hosts import ActorHosts, actor_hosts
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Redis
from tests.support.actors import CALLER, GuestCall, answers, data, get, script, write
from tests.support.waiting import until


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, redis: Redis, control_plane: ControlPlane) -> Iterator[ActorHosts]:
    folder = tmp_path_factory.mktemp("state")
    guest = folder / "caller.wasm"
    guest.write_bytes(wasmtime.wat2wasm(CALLER))
    with actor_hosts(folder, "keeps", redis, control_plane, guest=guest) as hosts:
        until(lambda: called(hosts, "first") == [], "its actors answer")
        yield hosts


def called(hosts: ActorHosts, actor: str, *calls: GuestCall) -> list[tuple[int, bytes]] | None:
    try:
        return answers(hosts.actors.call(actor, "0", script(*calls), seconds=20))
    except grpc.RpcError:
        return None


VALUES = [b"1", b'{"a": [1, 2]}', b'"text"', b"null", b"\xff\x00\xfe", b"", b"x" * 10_000, "ä".encode(), b"\x0a\x01a"]


def test_a_turn_reads_its_own_writes_as_the_sidecar_gives_them_to_the_next_one(hosts: ActorHosts) -> None:
    own: Any = {"actor_type": hosts.kind, "actor_id": "a"}
    writes = write(*[("upsert", f"k{number}", value) for number, value in enumerate(VALUES)], **own)
    reads = [get(f"k{number}", **own) for number in range(len(VALUES))]
    same_turn = called(hosts, "a", writes, *reads)
    next_turn = called(hosts, "a", *reads)
    assert same_turn is not None
    assert same_turn[1:] == next_turn
    assert [data(one) for one in same_turn[1:]] == VALUES
    deleted = called(hosts, "a", write(("delete", "k0", b""), **own), reads[0])
    assert deleted is not None
    assert called(hosts, "a", reads[0]) == deleted[1:]


def test_a_sidecar_joins_an_actors_id_and_a_key(hosts: ActorHosts) -> None:
    """Why some keys are refused: what the actor `b||c` has under `d`, the actor `b` would have under `c||d`."""
    other: Any = {"actor_type": hosts.kind, "actor_id": "b||c"}
    assert called(hosts, "b||c", write(("upsert", "d", b"secret"), **other)) == [(0, b"")]
    assert hosts.state("b", "c||d") == "secret"
    found = called(hosts, "b", get("c||d", actor_type=hosts.kind, actor_id="b"))
    assert found is not None
    assert found[0][0] == 3

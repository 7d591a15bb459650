"""What `check` says of actors: what they need, and what the sidecar of the environment lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from dapr.proto.runtime.v1.metadata_pb2 import ActiveActorsCount, ActorRuntime

from tests.support.actor_sidecar import ActorSidecar, actor_sidecar
from tests.support.actors import CALLER

MANIFEST = """
[app]
name = "shop"
[guests.cart]
module = "caller.wasm"
calling = "dapr"
"""
CART = '[[actor]]\ntype = "Cart"\nguest = "cart"\n'
ORDERS = '[[topic]]\npubsub = "p"\ntopic = "t"\nactor = "Cart/{data.id}"\ndead_letter = "d"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DAPR_GRPC_PORT", "DAPR_GRPC_ENDPOINT", "DAPR_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "guesthouse.toml").write_text(MANIFEST + CART)
    (tmp_path / "caller.wasm").write_bytes(wasmtime.wat2wasm(CALLER))
    return tmp_path


@pytest.fixture
def sidecar(monkeypatch: pytest.MonkeyPatch) -> Iterator[ActorSidecar]:
    with actor_sidecar() as made:
        monkeypatch.setenv("DAPR_GRPC_PORT", made.endpoint.target.rpartition(":")[2])
        yield made


def test_without_a_sidecar_check_says_what_actors_will_need(guesthouse: Any) -> None:
    done = guesthouse("check")
    assert done.code == 0
    assert "note: actors need Dapr 1.18 or later, a placement service" in done.err
    assert 'actorStateStore: "true"' in done.err
    assert "granted nothing" not in done.err, "an actor's own state needs no grant"


def test_a_manifest_without_actors_is_told_nothing_of_them(guesthouse: Any, folder: Path) -> None:
    (folder / "guesthouse.toml").write_text(MANIFEST + '[[invoke]]\nmethod = "m"\nguest = "cart"\n')
    done = guesthouse("check")
    assert "placement" not in done.err
    assert "granted nothing" in done.err


def test_the_routes_of_actors_are_in_the_table(guesthouse: Any, folder: Path) -> None:
    (folder / "guesthouse.toml").write_text(MANIFEST + CART + ORDERS)
    routes = json.loads(guesthouse("check", "--json").out)["routes"]
    assert routes == [
        {"route": "topic", "name": "p/t", "guest": "", "for": "all events, by the actor Cart/{data.id}"},
        {"route": "actor", "name": "Cart", "guest": "cart", "for": "methods, timers, reminders"},
    ]


def test_a_sidecar_that_has_all_is_warned_of_nothing(guesthouse: Any, sidecar: ActorSidecar) -> None:
    # Also while an application serves: its own types are there then.
    sidecar.metadata.actor_runtime.active_actors.append(ActiveActorsCount(type="Cart"))
    done = guesthouse("check", "--json")
    found = json.loads(done.out)
    assert (found["warnings"], found["notes"]) == ([], [])


def test_what_the_sidecar_lacks_is_a_warning_and_what_some_calls_need_is_a_note(
    guesthouse: Any, sidecar: ActorSidecar
) -> None:
    sidecar.metadata.actor_runtime.runtime_status = ActorRuntime.DISABLED
    sidecar.metadata.ClearField("registered_components")
    sidecar.metadata.ClearField("scheduler")
    found = json.loads(guesthouse("check", "--json").out)
    placement, store = found["warnings"]
    assert placement.startswith("the sidecar has no placement service: ")
    assert "--placement-host-address" in placement
    assert store.startswith("no component of the sidecar can store the state of actors: ")
    assert "actorStateStore" in store
    (scheduler,) = found["notes"]
    assert "--scheduler-host-address" in scheduler


def test_a_sidecar_that_cannot_be_asked_is_told_in_words(guesthouse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAPR_GRPC_ENDPOINT", "127.0.0.1:1")
    done = guesthouse("check")
    assert done.code == 0
    assert "is a sidecar running, and are DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT right?" in done.err

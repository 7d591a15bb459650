"""Guests whose sidecar is killed, away, or slow while they call it: what was acknowledged was done, and nothing hangs.

Events are sent to the application directly here, so that they do not end with the sidecar.
"""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from tests.dapr_real.calling_guests import encoded, manifest, write_components
from tests.dapr_real.real_programs import App, Pair, Redis, Start, running
from tests.support.ports import free_port
from tests.support.waiting import until

SLOW = """
[guests.begins]
module = "MODULES/begins.wasm"
calling = "command"
limits = { time = "20s" }
[[invoke]]
method = "slow"
guest = "begins"
"""
FAILS = """
[guests.late]
module = "MODULES/calls-and-traps.wasm"
calling = "dapr"
isolation = "ISOLATION"
[guests.late.dapr]
write_state = ["state/*"]
[[job]]
name = "ExecuteStateTransaction"
guest = "late"
"""
METHODS = ("GetState", "SaveState", "InvokeService", "InvokeService*2")
GET = encoded("GetState", {"store_name": "state", "key": "a"})


@pytest.fixture(scope="module")
def slow(start_for_module: Start) -> Pair:
    """Another application, whose answer does not come."""
    return start_for_module(SLOW, app_id="stock")


@pytest.fixture(scope="module", params=["thread", "process"])
def pair(request: Any, start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Pair:
    flags = write_components(tmp_path_factory.mktemp("chaos"), redis)
    text = manifest(request.param, *METHODS, limits='time = "20s"', more=FAILS.replace("ISOLATION", request.param))
    return start_for_module(text, app_id=f"acts-chaos-{request.param}", flags=flags)


def send(app: App, method: str, body: bytes = GET, trigger: Trigger = Trigger.INVOKE) -> bytes:
    with Client(f"127.0.0.1:{app.port}", token="") as client:
        return client.send(Event(trigger, method, body), timeout=60).body


def saves(key: str) -> bytes:
    return encoded("SaveState", {"store_name": "state", "states": [{"key": key, "value": b"done"}]})


def works(app: App) -> bool:
    try:
        send(app, "SaveState", saves("a"))
    except Failure:
        return False
    return True


def test_calls_under_way_end_with_the_sidecar_and_later_ones_find_the_next(pair: Pair, slow: Pair):
    until(lambda: works(pair.app), "calls work")
    before = len(slow.app.lines("begun"))
    request = encoded("InvokeService", {"id": "stock", "message": {"method": "slow"}})
    with ThreadPoolExecutor(1) as pool:
        event = pool.submit(send, pair.app, "InvokeService*2", request)
        until(lambda: len(slow.app.lines("begun")) == before + 2, "both calls are under way")
        pair.sidecar.kill()
        assert event.result() == b"OO"  # UNAVAILABLE
    with pytest.raises(Failure, match="the sidecar cannot be reached; is it running") as failed:
        send(pair.app, "GetState")
    assert failed.value.reason is Reason.GUEST
    pair.sidecar.start().ready()
    until(lambda: works(pair.app), "calls work again")


def test_what_was_acknowledged_was_done_though_the_sidecar_is_killed_under_load(pair: Pair, redis: Redis):
    until(lambda: works(pair.app), "calls work")
    done: list[str] = []
    failed: list[str] = []
    ended = threading.Event()

    def saving(caller: int) -> None:
        number = 0
        while not ended.is_set():
            key = f"{caller}-{number}"
            number += 1
            try:
                send(pair.app, "SaveState", saves(key))
            except Failure:
                failed.append(key)
            else:
                done.append(key)

    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(saving, caller) for caller in range(4)]
        try:
            until(lambda: len(done) > 50, "states are saved")
            pair.sidecar.kill()
            until(lambda: failed, "some are not")
            pair.sidecar.start().ready()
            before = len(done)
            until(lambda: len(done) > before + 50, "states are saved again")
        finally:
            ended.set()
        for caller in callers:
            caller.result()
    app_id = pair.sidecar.app_id
    kept = set(redis.command("KEYS", f"{app_id}||*-*").split())
    assert {f"{app_id}||{key}" for key in done} <= kept
    print(f"{len(done)} acknowledged, {len(failed)} failed; of these, {len(kept) - len(done)} have saved all the same")


def test_what_a_guest_saved_before_it_failed_stays(pair: Pair, redis: Redis):
    until(lambda: works(pair.app), "calls work")
    operation = {"operationType": "upsert", "request": {"key": "before", "value": b"saved"}}
    request = encoded("ExecuteStateTransaction", {"storeName": "state", "operations": [operation]})
    with pytest.raises(Failure) as failed:
        send(pair.app, "ExecuteStateTransaction", request, Trigger.JOB)
    assert failed.value.reason is Reason.TRAP
    assert redis.command("HGET", f"{pair.sidecar.app_id}||before", "data") == "saved"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_sidecar_that_does_not_answer_costs_an_event_its_own_time(
    start: Start, redis: Redis, tmp_path: Path, isolation
):
    flags = write_components(tmp_path / "slow", redis)
    text = manifest(isolation, "SaveState", limits='time = "2s"')
    pair = start(text, app_id=f"acts-slow-{isolation}", flags=flags)
    until(lambda: works(pair.app), "calls work")
    pair.sidecar.signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            with pytest.raises(Failure) as failed:
                send(pair.app, "SaveState", saves("a"))
            assert failed.value.reason is Reason.DEADLINE
    finally:
        pair.sidecar.signal(signal.SIGCONT)
    until(lambda: works(pair.app), "calls work again")


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_without_a_sidecar_a_guest_is_told_so_before_its_time_is_over(
    tmp_path: Path, stands_for: dict[str, Path], isolation
):
    text = '[app]\nname = "alone"\n' + manifest(isolation, "GetState", limits='time = "60s"')
    for word, folder in stands_for.items():
        text = text.replace(word, str(folder))
    (tmp_path / "guesthouse.toml").write_text(text)
    app = App(tmp_path, tmp_path / "guesthouse.toml", port=free_port(), sidecar_port=free_port())
    with running(app):
        for _ in range(2):
            with pytest.raises(Failure, match="the sidecar cannot be reached; is it running, and are DAPR_GRPC_PORT"):
                send(app, "GetState")

"""The policies of components/policies, where Dapr applies them: gRPC calls, and applications that cannot be reached.

Over the HTTP API a gRPC application's error is a response: it is neither repeated nor counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2_grpc import AppCallbackStub

from dapr_real.real_programs import Pair, Sidecar, Start, resources, running, variables, wait

FRAIL = """
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.later]
module = "MODULES/later.wasm"
calling = "command"
[guests.fails]
module = "MODULES/fails.wasm"
calling = "command"
[guests.loops]
module = "MODULES/loops.wasm"
calling = "command"
limits = { time = "10s" }
[guests.environment]
module = "MODULES/environment.wasm"
calling = "command"
[[invoke]]
method = "environment"
guest = "environment"
[[invoke]]
method = "echo"
guest = "echo"
[[invoke]]
method = "later"
guest = "later"
[[invoke]]
method = "fails"
guest = "fails"
[[invoke]]
method = "loops"
guest = "loops"
"""
FASTER = {
    "vision: {": "frail: {",
    "call: 15s": "call: 500ms",
    "duration: 200ms": "duration: 20ms",
    "maxInterval: 5s": "maxInterval: 50ms",
    "maxRetries: 8": "maxRetries: 3",
    "consecutiveFailures > 20": "consecutiveFailures > 6",
    "timeout: 10s": "timeout: 2s",
}
TRIES = 4


@pytest.fixture(scope="module")
def frail(start_for_module: Start) -> Pair:
    return start_for_module(FRAIL, app_id="frail")


@pytest.fixture
def caller(frail: Pair, tmp_path: Path, names: Path) -> Iterator[Sidecar]:
    """A calling sidecar with the policies, its circuit breakers closed."""
    sidecar = Sidecar(tmp_path, "patient", names=names, resources=resources(tmp_path, "policies", replace=FASTER))
    with running(sidecar):
        yield sidecar


def failures(frail: Pair, guest: str) -> Callable[[], int]:
    """How often that guest has failed since now."""

    def count() -> int:
        return len([line for line in frail.app.lines("failed") if line["guest"] == guest])

    before = count()
    return lambda: count() - before


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def test_a_call_that_may_succeed_later_is_repeated_by_invokeservice(frail: Pair, caller: Sidecar):
    tries = failures(frail, "later")
    assert code_of(lambda: caller.invoke_grpc("frail", "later")) is grpc.StatusCode.UNAVAILABLE
    assert tries() == TRIES


def test_a_call_that_may_succeed_later_is_repeated_by_proxying(frail: Pair, caller: Sidecar):
    tries = failures(frail, "later")
    application = AppCallbackStub(caller.channel)
    target = (("dapr-app-id", "frail"),)
    request = InvokeRequest(method="later")
    assert code_of(lambda: application.OnInvoke(request, metadata=target, timeout=30)) is grpc.StatusCode.UNAVAILABLE
    assert tries() == TRIES


def test_an_error_over_the_http_api_is_a_response_and_not_repeated(frail: Pair, caller: Sidecar):
    tries = failures(frail, "later")
    assert caller.invoke("frail", "later").status == 503
    assert tries() == 1


def test_a_guest_s_own_error_is_not_repeated_by_proxying(frail: Pair, caller: Sidecar):
    tries = failures(frail, "fails")
    application = AppCallbackStub(caller.channel)
    target = (("dapr-app-id", "frail"),)
    request = InvokeRequest(method="fails")
    assert code_of(lambda: application.OnInvoke(request, metadata=target, timeout=30)) is grpc.StatusCode.INTERNAL
    assert tries() == 1


def test_invokeservice_repeats_every_error_whatever_matching_says(frail: Pair, caller: Sidecar):
    tries = failures(frail, "fails")
    assert code_of(lambda: caller.invoke_grpc("frail", "fails")) is grpc.StatusCode.INTERNAL
    assert tries() == TRIES


def test_a_call_over_its_time_is_given_up(frail: Pair, caller: Sidecar):
    began = time.monotonic()
    assert code_of(lambda: caller.invoke_grpc("frail", "loops")) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caller.invoke("frail", "loops").status in (500, 504)
    assert time.monotonic() - began < 8  # and not 10 s each


def test_an_application_that_fails_and_fails_is_left_alone_for_a_while(frail: Pair, caller: Sidecar):
    tries = failures(frail, "later")
    for _ in range(4):
        code_of(lambda: caller.invoke_grpc("frail", "later"))
    assert tries() == 7
    with pytest.raises(grpc.RpcError, match="circuit breaker is open"):
        caller.invoke_grpc("frail", "later")
    assert tries() == 7
    # Then one call is let through, to see; it succeeds, and so do all others.
    wait("calls go through again", lambda: echoes(caller), 10)
    assert tries() == 7


@pytest.mark.parametrize("api", ["HTTP", "gRPC"])
def test_a_call_waits_for_an_application_that_is_away(
    start: Start, tmp_path_factory: pytest.TempPathFactory, names: Path, api
):
    """The policies hold for gRPC as long as anything is away; for HTTP, as long as its sidecar is."""
    pair = start(FRAIL, app_id="frail-2")
    folder = tmp_path_factory.mktemp("patient")
    # Not more often than this: each try repeats a header (forwarded), until the headers are too large.
    often = {"vision: {": "frail-2: {", "maxRetries: 8": "maxRetries: 40", "maxInterval: 5s": "maxInterval: 300ms"}
    often["consecutiveFailures > 20"] = "consecutiveFailures > 1000"
    policies = resources(folder, "policies", replace=FASTER | often)
    caller = Sidecar(folder, "patient-2", names=names, resources=policies)
    with running(caller), ThreadPoolExecutor(1) as pool:
        pair.sidecar.kill()
        pair.app.kill()
        if api == "HTTP":
            call = pool.submit(lambda: caller.invoke("frail-2", "environment", b"x").body)
        else:
            call = pool.submit(lambda: caller.invoke_grpc("frail-2", "environment", b"x").data.value)
        time.sleep(0.5)
        assert not call.done()
        if api == "HTTP":
            pair.app.start().ready()
            pair.sidecar.start()
        else:
            pair.sidecar.start()
            pair.app.start()
        assert variables(call.result(30))["GUESTHOUSE_META_DAPR_CALLER_APP_ID"] == "patient-2"


def echoes(caller: Sidecar) -> bool:
    try:
        return caller.invoke_grpc("frail", "echo", b"x").data.value == b"x"
    except grpc.RpcError:
        return False

"""The policies of components/policies and components/policies-proxying, where Dapr applies them.

Only what a retry can mend is repeated, and what one caller sends keeps no other waiting.
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

from tests.dapr_real.real_programs import Pair, Sidecar, Start, resources, running
from tests.support.serving import OVER_TIME

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
[guests.malformed]
module = "MODULES/malformed.wasm"
calling = "command"
[guests.loops]
module = "MODULES/loops.wasm"
calling = "command"
limits = { time = "5m" }
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
method = "malformed"
guest = "malformed"
[[invoke]]
method = "loops"
guest = "loops"
"""
PROXYING = {
    "vision: {": "frail: {",
    "maxInterval: 5s": "maxInterval: 50ms",
    "maxRetries: 6": "maxRetries: 3",
}
TRIES = 4


@pytest.fixture(scope="module")
def frail(start_for_module: Start) -> Pair:
    return start_for_module(FRAIL, app_id="frail")


@pytest.fixture(scope="module")
def caller(frail: Pair, tmp_path_factory: pytest.TempPathFactory, names: Path) -> Iterator[Sidecar]:
    """A calling sidecar with the policies as they are."""
    folder = tmp_path_factory.mktemp("caller")
    sidecar = Sidecar(folder, "patient", names=names, resources=resources(folder, "policies"))
    with running(sidecar):
        yield sidecar


@pytest.fixture(scope="module")
def proxying(frail: Pair, tmp_path_factory: pytest.TempPathFactory, names: Path) -> Iterator[Sidecar]:
    """A calling sidecar with the policies for proxied calls."""
    folder = tmp_path_factory.mktemp("proxying")
    policies = resources(folder, "policies-proxying", replace=PROXYING)
    sidecar = Sidecar(folder, "proxying", names=names, resources=policies)
    with running(sidecar):
        yield sidecar


@pytest.fixture
def impatient(frail: Pair, tmp_path: Path, names: Path) -> Iterator[Sidecar]:
    """The same, whose calls have little time: on a busy machine others would be over it too."""
    policies = resources(tmp_path, "policies-proxying", replace=PROXYING | {"call: 15s": "call: 500ms"})
    sidecar = Sidecar(tmp_path, "impatient", names=names, resources=policies)
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


def proxied(sidecar: Sidecar, method: str) -> grpc.StatusCode:
    """The error of a proxied call."""
    application = AppCallbackStub(sidecar.channel)
    target = (("dapr-app-id", "frail"),)
    return code_of(lambda: application.OnInvoke(InvokeRequest(method=method), metadata=target, timeout=240))


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("malformed", grpc.StatusCode.INVALID_ARGUMENT),
        ("fails", grpc.StatusCode.INTERNAL),
        ("later", grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_what_an_application_answers_to_an_invokeservice_is_not_repeated(frail: Pair, caller: Sidecar, method, code):
    tries = failures(frail, method)
    assert code_of(lambda: caller.invoke_grpc("frail", method)) is code
    assert tries() == 1


def test_an_error_over_the_http_api_is_a_response_and_not_repeated(frail: Pair, caller: Sidecar, proxying: Sidecar):
    for sidecar in (caller, proxying):
        tries = failures(frail, "later")
        assert sidecar.invoke("frail", "later").status == 503
        assert tries() == 1


def test_a_body_that_is_too_large_is_refused_at_once(frail: Pair, caller: Sidecar):
    before = caller.said.count("Retrying in")
    body = b"x" * (4 * 1024 * 1024 + 100)  # the sidecars let 4 MiB through
    assert code_of(lambda: caller.invoke_grpc("frail", "echo", body)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caller.said.count("Retrying in") == before


def test_whoever_sends_what_guests_fail_on_cuts_nobody_off(frail: Pair, caller: Sidecar, proxying: Sidecar):
    for _ in range(25):
        code_of(lambda: caller.invoke_grpc("frail", "malformed"))
        proxied(proxying, "malformed")
    assert caller.invoke_grpc("frail", "echo", b"x").data.value == b"x"
    assert caller.invoke("frail", "echo", b"x").body == b"x"
    assert proxied(proxying, "malformed") is grpc.StatusCode.INVALID_ARGUMENT  # and not "circuit breaker is open"


def test_a_proxied_call_that_may_succeed_later_is_repeated(frail: Pair, proxying: Sidecar):
    tries = failures(frail, "later")
    assert proxied(proxying, "later") is grpc.StatusCode.UNAVAILABLE
    assert tries() == TRIES


@pytest.mark.parametrize(
    ("method", "code"),
    [("malformed", grpc.StatusCode.INVALID_ARGUMENT), ("fails", grpc.StatusCode.INTERNAL)],
)
def test_a_proxied_call_that_no_retry_mends_is_not_repeated(frail: Pair, proxying: Sidecar, method, code):
    tries = failures(frail, method)
    assert proxied(proxying, method) is code
    assert tries() == 1


def test_a_policy_for_proxied_calls_repeats_every_error_of_an_invokeservice(frail: Pair, proxying: Sidecar):
    """Which is why it is not for sidecars whose applications call so."""
    tries = failures(frail, "malformed")
    assert code_of(lambda: proxying.invoke_grpc("frail", "malformed")) is grpc.StatusCode.INVALID_ARGUMENT
    assert tries() == TRIES


def test_a_proxied_call_over_its_time_is_given_up(frail: Pair, impatient: Sidecar):
    began = time.monotonic()
    assert proxied(impatient, "loops") in OVER_TIME
    assert impatient.invoke("frail", "loops", seconds=240).status in (500, 504)  # the same over HTTP
    assert time.monotonic() - began < 120  # and not the 240 s that we would wait, or the 5 min that the guest has


@pytest.mark.parametrize("api", ["HTTP", "gRPC"])
def test_a_call_waits_for_a_sidecar_that_is_away(
    start: Start, tmp_path_factory: pytest.TempPathFactory, names: Path, api
):
    # With health probes it would refuse what comes before it has found its application healthy: not repeated.
    pair = start(FRAIL, app_id="frail-2", probe=False)
    folder = tmp_path_factory.mktemp("patient")
    # Not more often than this: each try repeats a header (forwarded), until the headers are too large.
    often = {"maxRetries: 6": "maxRetries: 40", "maxInterval: 5s": "maxInterval: 1s"}
    policies = resources(folder, "policies", replace=often)
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
        pair.app.start().ready()
        pair.sidecar.start()
        answer = call.result(60)
        assert b"GUESTHOUSE_META_DAPR_CALLER_APP_ID=patient-2" in answer, answer

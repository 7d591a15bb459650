"""An application that goes away under its sidecar, and a sidecar that goes away under its application."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.dapr_real.real_programs import Answer, Pair, Sidecar, Start
from tests.support.ports import listens
from tests.support.waiting import until

ECHO = """
[server]
drain = { notice = "NOTICE", limit = "10s" }
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.environment]
module = "MODULES/environment.wasm"
calling = "command"
[guests.slow]
module = "MODULES/begins.wasm"
calling = "command"
limits = { time = "3s" }
[[invoke]]
method = "echo"
guest = "echo"
[[invoke]]
method = "slow"
guest = "slow"
[[binding]]
name = "never"
guest = "echo"
"""


def echoes(sidecar: Sidecar, app_id: str) -> bool:
    return sidecar.invoke(app_id, "echo", b"x", seconds=5).body == b"x"


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_an_application_that_restarts_is_found_again_by_both_sidecars(start: Start, caller: Sidecar, end):
    pair = start(ECHO.replace("NOTICE", "0s"), app_id=f"returns-{end.lower()}")
    app_id = pair.sidecar.app_id
    assert echoes(pair.sidecar, app_id)
    assert echoes(caller, app_id)
    pair.app.signal(getattr(signal, end))
    assert pair.app.ended() == (0 if end == "SIGTERM" else -signal.SIGKILL)
    # 503 until the probes have noticed, then 500: "app is not in a healthy state".
    assert pair.sidecar.invoke(app_id, "echo", b"x").status in (500, 503)
    assert caller.invoke(app_id, "echo", b"x").status in (500, 503)
    pair.app.start().ready()
    began = time.monotonic()
    until(lambda: echoes(pair.sidecar, app_id), "its own sidecar reaches it")
    until(lambda: echoes(caller, app_id), "the other sidecar reaches it")
    print(f"calls resumed {time.monotonic() - began:.1f} s after the application's return")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_sidecar_that_restarts_finds_its_application_again(start: Start, caller: Sidecar, end):
    pair = start(ECHO.replace("NOTICE", "0s"), app_id=f"stays-{end}")
    app_id = pair.sidecar.app_id
    assert echoes(caller, app_id)
    getattr(pair.sidecar, end)()
    assert caller.invoke(app_id, "echo", b"x").status in (500, 503)
    assert listens(pair.app.port)
    pair.sidecar.start().ready()
    began = time.monotonic()
    until(lambda: echoes(pair.sidecar, app_id), "its own sidecar serves")
    until(lambda: echoes(caller, app_id), "the other sidecar reaches it")
    print(f"calls resumed {time.monotonic() - began:.1f} s after the sidecar's return")


def test_an_application_that_may_end_finishes_what_it_has(start: Start):
    """SIGTERM: what is inside is answered, and the sidecar has seen the drain before the port closes."""
    pair = start(ECHO.replace("NOTICE", "5s"), app_id="leaves", flags=("--app-health-threshold", "1"))
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(pair.sidecar.invoke, "leaves", "slow")
        until(lambda: pair.app.lines("begun"), "its guest runs")
        pair.app.signal(signal.SIGTERM)
        refusal = until(lambda: refused(pair), "the sidecar has noticed")
        assert b"app is not in a healthy state" in refusal.body
        assert listens(pair.app.port)
        assert slow.result().status == 504  # the guest's own time limit, not a broken connection
    assert pair.app.ended() == 0


def refused(pair: Pair) -> Answer | None:
    answer = pair.sidecar.invoke(pair.sidecar.app_id, "echo", b"x")
    return answer if answer.status != 200 else None

"""A guest on a schedule."""

from __future__ import annotations

from tests.dapr_real.bindings_ends import GUESTS
from tests.dapr_real.real_programs import Pair, Start, variables
from tests.support.waiting import until

MANIFEST = f"""{GUESTS}
[[binding]]
name = "tick"
guest = "environment"
state = {{ store = "state", key = "last" }}
"""


def latest(pair: Pair) -> bytes:
    return pair.sidecar.http("GET", "/v1.0/state/state/last").body


def test_a_guest_runs_on_a_schedule_and_is_told_the_time(start: Start):
    often = {"@every 15m": "@every 1s"}
    pair = start(MANIFEST, app_id="clock", components=("cron", "local"), replace=often)
    seen = variables(until(lambda: latest(pair), "a tick"))
    assert (seen["GUESTHOUSE_TRIGGER"], seen["GUESTHOUSE_NAME"]) == ("binding", "tick")
    first = seen["GUESTHOUSE_META_READTIMEUTC"]
    until(lambda: variables(latest(pair))["GUESTHOUSE_META_READTIMEUTC"] > first, "another")

"""The list of topics through a real sidecar: changed while it runs, and with a rule that it cannot compile."""

from __future__ import annotations

import signal
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from guesthouse.manifest import cel
from tests.dapr_real.real_programs import Pair, Sidecar, Start, resources
from tests.support.ports import free_port
from tests.support.waiting import until

TOPIC = """
[[topic]]
pubsub = "pubsub"
topic = "{topic}"
guest = "echo"
"""
ECHO = """
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
"""
#: What `check` takes and the compiler of daprd 1.18 does not: a map that is asked by a type.
PASSES = "{}[string] == 1"
#: A function that there is not: looked for until the end of days.
FOR_EVER = "foo(event.type)"


def publish(pair: Pair, topic: str) -> int:
    path = f"/v1.0/publish/pubsub/{topic}"
    return pair.sidecar.http("POST", path, b"x", {"Content-Type": "text/plain"}).status


def answered(pair: Pair, topic: str) -> bool:
    return any(line["name"] == f"pubsub/{topic}" for line in pair.app.lines("answered"))


def test_a_sidecar_that_is_told_by_sighup_subscribes_to_what_a_reload_has_added(start: Start):
    pair = start(ECHO + TOPIC.format(topic="first"), app_id="told", components=("local",), subscribes=True)
    manifest = pair.app.manifest
    manifest.write_text(manifest.read_text() + TOPIC.format(topic="second"))
    pair.app.signal(signal.SIGHUP)
    until(lambda: pair.app.lines("reloaded"), "the application has another topic")
    until(lambda: "kill -HUP daprd" in pair.app.said, "the application says how a sidecar is told")
    pair.sidecar.reload()
    for topic in ("first", "second"):
        assert publish(pair, topic) == 204
        until(partial(answered, pair, topic), f"{topic} is answered")


def test_one_rule_that_the_sidecar_cannot_compile_takes_all_topics_away_and_is_told(start: Start):
    assert cel.read(PASSES).faults == []
    port = free_port()
    rule = f"route = {{ match = '{PASSES}', path = 'p' }}\n"
    pair = start(
        f"[metrics]\nport = {port}\n" + ECHO + TOPIC.format(topic="right") + TOPIC.format(topic="wrong") + rule,
        app_id="wronged",
        components=("local",),
    )
    (line,) = until(
        lambda: pair.app.lines("the sidecar has not subscribed: no event of these topics comes"), "it is told"
    )
    assert (line["level"], line["topics"]) == ("warning", ["pubsub/right", "pubsub/wrong"])
    until(lambda: "failed to subscribe to topics" in pair.sidecar.said, "the sidecar says why")
    assert publish(pair, "right") == 204  # publishers see nothing of it
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        metrics = answer.read().decode()
    for topic in ("right", "wrong"):  # counted before the line is written
        assert f'guesthouse_topic_subscribed{{topic="pubsub/{topic}"}} 0.0' in metrics
    assert not answered(pair, "right")


SUBSCRIPTION = """
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: { name: wrong }
spec: { pubsubname: pubsub, topic: photos, routes: { rules: [{ match: "MATCH", path: p }] } }
"""


@pytest.fixture
def sidecar(tmp_path: Path, request: pytest.FixtureRequest):
    """A sidecar with a resource whose rule is wrong."""
    (folder,) = resources(tmp_path, "local")
    (folder / "wrong.yaml").write_text(SUBSCRIPTION.replace("MATCH", request.param))
    one = Sidecar(tmp_path, "resource", resources=(folder,)).start()
    yield one
    one.kill()


@pytest.mark.parametrize("sidecar", ["event.type = 'photo'"], indirect=True)
def test_a_resource_with_a_wrong_rule_ends_its_sidecar(sidecar: Sidecar):
    assert sidecar.ended() != 0
    assert "Syntax error" in sidecar.said


@pytest.mark.parametrize("sidecar", [FOR_EVER], indirect=True)
def test_a_resource_whose_rule_calls_what_there_is_not_keeps_its_sidecar_busy_and_is_refused_by_check(sidecar: Sidecar):
    assert cel.read(FOR_EVER).faults
    # It spends its time on the rule, where one that starts needs less than a second.
    until(lambda: sidecar.busy() > 5, "it has been busy for 5 s")
    assert sidecar.http("GET", "/v1.0/healthz").status != 204

"""Replies that go on: state stores and output bindings, through the sidecar's own API, before the event is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from tests.dapr_real.bindings_ends import heard
from tests.dapr_real.real_programs import Mosquitto, Pair, Redis, Start
from tests.support.waiting import until

MANIFEST = """
[models.classifier]
path = "ROOT/models/efficientnet-lite0.onnx"
[guests.classify]
module = "GUESTS/classify/classify.wasm"
function = "infer"
models = ["classifier"]
reply_type = "application/json"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
reply_type = "application/octet-stream"

[[binding]]
name = "camera"
guest = "classify"
to = ["results"]
state = { store = "state", key = "labels-{name}" }
[[binding]]
name = "nowhere"
guest = "echo"
to = ["results", "missing"]
[[binding]]
name = "unkept"
guest = "echo"
state = { store = "missing", key = "x" }
[[binding]]
name = "bytes"
guest = "echo"
to = ["results"]
state = { store = "state", key = "bytes" }
[[job]]
name = "sweep"
guest = "echo"
"""


def send(pair: Pair, name: str, body: bytes, trigger: Trigger = Trigger.BINDING) -> bytes:
    """An event as the sidecar would send it; its outputs go through the sidecar."""
    with Client(f"127.0.0.1:{pair.app.port}", token="") as client:
        return client.send(Event(trigger, name, body), timeout=60).body


def files(pair: Pair) -> list[bytes]:
    """What the output binding `results` has written."""
    return [path.read_bytes() for path in (pair.app.log.parent / "out/results").iterdir()]


@pytest.fixture(scope="module")
def local(start_for_module: Start) -> Pair:
    return start_for_module(MANIFEST, app_id="outputs", components=("local", "files"))


def test_a_reply_is_a_state_and_a_file_before_its_event_is_answered(local: Pair, photos: Path):
    reply = send(local, "camera", (photos / "coffee.png").read_bytes())
    assert json.loads(reply)[0]["label"] == "espresso"
    assert reply in files(local)
    # JSON goes through the sidecar's own decoder on its way into a state store: other bytes, the same value.
    assert local.sidecar.http("GET", "/v1.0/state/state/labels-camera").json() == json.loads(reply)


def test_bytes_stay_as_they_are(local: Pair):
    body = bytes(range(256)) * 4096
    send(local, "bytes", body)
    assert body in files(local)
    assert local.sidecar.http("GET", "/v1.0/state/state/bytes").body == body


def test_a_reply_is_a_state_in_redis(start: Start, redis: Redis):
    text = MANIFEST.replace('to = ["results"]\nstate', "state")
    replace = {"localhost:6379": f"localhost:{redis.port}"}
    pair = start(text, app_id="redis-outputs", components=("redis",), replace=replace)
    send(pair, "bytes", b'{"label": "espresso"}')
    assert redis.command("HGET", "redis-outputs||bytes", "data") == '{"label": "espresso"}'


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "output binding 'missing' did not accept the reply: the sidecar says"),
        ("unkept", "state store 'missing' did not accept the reply: the sidecar says"),
    ],
)
def test_an_event_whose_output_is_refused_has_failed(local: Pair, name, said):
    with pytest.raises(Failure) as caught:
        send(local, name, b"x")
    assert caught.value.reason is Reason.OUTPUT
    assert said in str(caught.value)


def test_a_sidecar_that_asks_for_a_token_gets_it(start: Start):
    token = {"DAPR_API_TOKEN": "battery-staple"}
    pair = start(MANIFEST, app_id="guarded", components=("local", "files"), environment=token, app_environment=token)
    send(pair, "bytes", b"x")
    assert pair.sidecar.http("GET", "/v1.0/state/state/bytes").body == b"x"


def test_outputs_go_on_after_the_sidecar_was_restarted(start: Start):
    pair = start(MANIFEST, app_id="again", components=("local", "files"))
    send(pair, "bytes", b"one")
    pair.sidecar.stop()
    with pytest.raises(Failure, match="the sidecar cannot be reached") as caught:
        send(pair, "bytes", b"two")
    assert caught.value.reason is Reason.OUTPUT
    pair.sidecar.start().ready()
    send(pair, "bytes", b"three")
    assert {b"one", b"three"} <= set(files(pair))


def test_a_job_is_run_over_a_direct_call(local: Pair):
    """Jobs need Dapr's scheduler, which is not part of these tests."""
    send(local, "sweep", b'{"older": "7d"}', Trigger.JOB)
    assert [line for line in local.app.lines("answered") if (line["trigger"], line["name"]) == ("job", "sweep")]


def test_a_photo_from_a_camera_comes_back_as_labels(start: Start, mosquitto: Mosquitto, photos: Path, tmp_path: Path):
    text = MANIFEST.replace('state = { store = "state", key = "labels-{name}" }', "")
    replace = {"tcp://localhost:1883": f"tcp://localhost:{mosquitto.port}"}
    pair = start(text, app_id="cameras", components=("mqtt", "mqtt-results"), replace=replace)
    with mosquitto.listening("results", tmp_path / "heard"):
        until(lambda: re.search(r"cameras\S* \d \S*camera/\+", mosquitto.said), "the sidecar reads")
        mosquitto.publish("camera/door", photos / "coffee.png")
        (reply,) = until(lambda: heard(tmp_path / "heard"), "labels")
    assert json.loads(reply)[0]["label"] == "espresso"
    # The event is answered when its output is: after the broker has passed the reply on.
    (line,) = until(lambda: pair.app.lines("answered"), "it is answered")
    assert line["name"] == "camera"

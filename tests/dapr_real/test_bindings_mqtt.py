"""Photos by MQTT: a real broker and a real sidecar; nothing is lost, whoever is away, and nothing blocks the others."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dapr_real.bindings_ends import GUESTS, Device, failures, heard, kept_until, mended, settles, stored
from tests.dapr_real.real_programs import Mosquitto, Pair, Redis, Start
from tests.support.waiting import until

CLASSIFY = """
[models.classifier]
path = "ROOT/models/efficientnet-lite0.onnx"
[guests.classify]
module = "GUESTS/classify/classify.wasm"
function = "infer"
models = ["classifier"]
reply_type = "application/json"
[[binding]]
name = "camera"
guest = "classify"
to = ["results"]
state = { store = "state", key = "labels" }
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of a test's own: sessions of other tests would share its photos."""
    (tmp_path / "broker").mkdir()
    server = Mosquitto(tmp_path / "broker").start()
    yield server
    server.stop()


@pytest.fixture
def device(broker: Mosquitto, tmp_path: Path) -> Device:
    return Device(broker, "camera/door", tmp_path)


def at(broker: Mosquitto, redis: Redis | None = None) -> dict[str, str]:
    """The addresses in components/ as they are here."""
    here = {"tcp://localhost:1883": f"tcp://localhost:{broker.port}"}
    return here if redis is None else {**here, "localhost:6379": f"localhost:{redis.port}"}


def kept(app_id: str, guest: str = "echo") -> str:
    """A manifest whose guest's replies are all kept in Redis."""
    return f"""{GUESTS}
[[binding]]
name = "camera"
guest = "{guest}"
state = {{ store = "state", key = "{{id}}" }}
"""


def test_a_photo_comes_back_as_labels_and_is_kept(start: Start, broker, redis: Redis, photos: Path, tmp_path: Path):
    pair = start(CLASSIFY, app_id="labels", components=("mqtt", "mqtt-results", "redis"), replace=at(broker, redis))
    with broker.listening("results", tmp_path / "heard"):
        broker.publish("camera/door", photos / "coffee.png")
        (reply,) = until(lambda: heard(tmp_path / "heard"), "labels")
    assert json.loads(reply)[0]["label"] == "espresso"
    (state,) = until(lambda: stored(redis, "labels"), "it is kept")
    assert json.loads(state) == json.loads(reply)  # the sidecar writes JSON anew before it stores it
    until(lambda: pair.app.lines("answered"), "it is answered")
    assert not pair.app.lines("failed")


def test_a_photo_whose_guest_fails_is_sent_again_until_the_guest_is_mended(start: Start, broker, device, redis):
    pair = start(
        kept("mended", "fails"),
        app_id="mended",
        components=("mqtt", "mqtt-results", "redis"),
        replace=at(broker, redis),
    )
    device.sends("one")
    until(lambda: len(failures(pair.app)) >= 2, "it is tried again")  # by the component, after 5 s
    mended(pair, 'guest = "fails"', 'guest = "echo"')
    until(lambda: stored(redis, "mended") == ["one"], "it is answered")
    until(lambda: "Successfully processed MQTT message after" in pair.sidecar.said, "it is acknowledged")
    assert "Retrying…" in pair.sidecar.said
    assert set(failures(pair.app)) == {"GUEST"}


def test_photos_wait_while_application_sidecar_and_broker_are_away(start: Start, broker, device, redis):
    # Mosquitto 2.0.11 forgets shared subscriptions when it restarts, until their clients are back; not plain ones.
    replace = {**at(broker, redis), "$share/vision/camera/+": "camera/+"}
    pair = start(kept("away"), app_id="away", components=("mqtt", "mqtt-results", "redis"), replace=replace)
    until(lambda: "camera/+" in broker.said, "the sidecar reads")
    pair.app.kill()
    device.sends("application killed")
    pair.app.start().ready()
    kept_until(lambda: "application killed" in stored(redis, "away"), "the first is answered", broker)
    pair.app.stop()
    pair.sidecar.kill()
    device.sends("sidecar killed", "and another")
    broker.stop()  # its queue is on disk
    broker.start()
    device.sends("broker restarted")
    pair.app.start().ready()
    pair.sidecar.start().ready()
    everything = {"application killed", "sidecar killed", "and another", "broker restarted"}
    kept_until(lambda: set(stored(redis, "away")) == everything, "all are answered", broker)


def test_a_photo_that_fails_for_ever_goes_to_the_dead_letters(start: Start, broker, device, tmp_path: Path):
    text = f"""{GUESTS}
[[binding]]
name = "camera"
guest = "fails"
attempts = 2
dead_letter = "failed"
"""
    pair = start(text, app_id="buried", components=("mqtt", "mqtt-results"), replace=at(broker))
    with broker.listening("failed", tmp_path / "heard"):
        device.sends("hopeless")
        assert until(lambda: heard(tmp_path / "heard"), "the dead letter") == [b"hopeless"]
    (line,) = until(lambda: pair.app.lines("gave an event up"), "it is given up")
    assert line["sha256"] == hashlib.sha256(b"hopeless").hexdigest()
    assert (line["name"], line["attempts"], line["dead_letter"]) == ("camera", 2, "failed")
    until(lambda: "Successfully processed MQTT message after" in pair.sidecar.said, "it is acknowledged")
    # Acknowledged means forgotten by the broker: a sidecar that starts anew gets nothing.
    pair.sidecar.stop()
    pair.sidecar.start().ready()
    assert settles("failures", lambda: len(failures(pair.app))) == 2


def test_a_photo_whose_state_is_not_accepted_is_kept_and_tried_again(start: Start, broker, device, tmp_path: Path):
    (tmp_path / "store").mkdir()
    store = Redis(tmp_path / "store").start()
    try:
        pair = start(
            kept("stateful"), app_id="stateful", components=("mqtt", "mqtt-results", "redis"), replace=at(broker, store)
        )
        store.stop()
        device.sends("one")
        until(lambda: failures(pair.app), "it has failed")
        assert set(failures(pair.app)) == {"OUTPUT"}
        store.start()
        until(lambda: stored(store, "stateful") == ["one"], "it is kept")
    finally:
        store.stop()


def test_a_photo_whose_output_is_not_accepted_is_kept_and_tried_again(start: Start, broker, device, tmp_path: Path):
    text = f"""{GUESTS}
[[binding]]
name = "camera"
guest = "echo"
to = ["results"]
attempts = 1
dead_letter = "failed"
"""
    pair = start(text, app_id="filed", components=("mqtt", "files"), replace=at(broker))
    folder = pair.app.log.parent / "out/results"
    shutil.rmtree(folder)
    folder.write_text("no folder: nothing can be written here")
    device.sends("one")
    until(lambda: failures(pair.app), "it has failed")
    assert set(failures(pair.app)) == {"OUTPUT"}  # which is not the photo's fault: no attempt is counted
    assert not pair.app.lines("gave an event up")
    folder.unlink()
    folder.mkdir()
    until(lambda: [file.read_bytes() for file in folder.iterdir()] == [b"one"], "it is written")


def test_replicas_share_the_photos_and_one_of_them_may_die(start: Start, broker, device, redis):
    def replica(app_id: str) -> Pair:
        return start(
            kept(app_id), app_id=app_id, components=("mqtt", "mqtt-results", "redis"), replace=at(broker, redis)
        )

    def all_stored() -> list[str]:
        return stored(redis, "replica-1") + stored(redis, "replica-2")

    first, second = replica("replica-1"), replica("replica-2")
    until(lambda: all(f"{name}-camera" in broker.said for name in ("replica-1", "replica-2")), "both sidecars read")
    names = [f"photo {n}" for n in range(20)]
    device.sends(*names)
    until(lambda: len(all_stored()) == 20, "all are answered")
    assert sorted(all_stored()) == sorted(names)  # each by one of them
    shares = [len(stored(redis, app_id)) for app_id in ("replica-1", "replica-2")]
    assert min(shares) > 0
    second.sidecar.kill()
    second.app.kill()
    names += (later := [f"later {n}" for n in range(10)])
    device.sends(*later)
    alone = settles("what one replica answers", lambda: len(stored(redis, "replica-1")))
    print(f"shares of two replicas: {shares}; of 10 photos, the one left answered {alone - shares[0]}")
    second.app.start().ready()
    second.sidecar.start().ready()
    kept_until(lambda: set(all_stored()) == set(names), "all are answered", broker)
    assert not failures(first.app)

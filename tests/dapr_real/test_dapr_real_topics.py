"""Topics through a real sidecar: in its memory and on Redis streams, subscribed by the manifest and by a resource."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.dapr_real.real_programs import Pair, Redis, Start, variables
from tests.support.waiting import until

ENVIRONMENT = """
[guests.environment]
module = "MODULES/environment.wasm"
calling = "command"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.fails]
module = "MODULES/fails.wasm"
calling = "command"
[guests.malformed]
module = "MODULES/malformed.wasm"
calling = "command"
"""
MANIFEST = f"""{ENVIRONMENT}
[[topic]]
pubsub = "pubsub"
topic = "photos"
guest = "environment"
state = {{ store = "state", key = "{{id}}" }}

[[topic]]
pubsub = "pubsub"
topic = "bytes"
guest = "echo"
state = {{ store = "state", key = "{{id}}" }}

[[topic]]
pubsub = "pubsub"
topic = "routed"
guest = "environment"
route = {{ match = 'event.type == "photo.grey"', path = "grey" }}
state = {{ store = "state", key = "grey-{{id}}" }}
[[topic]]
pubsub = "pubsub"
topic = "routed"
guest = "environment"
state = {{ store = "state", key = "other-{{id}}" }}

[[topic]]
pubsub = "pubsub"
topic = "many"
guest = "environment"
bulk = {{ messages = 10, wait = "200ms" }}
state = {{ store = "state", key = "{{id}}" }}

[[topic]]
pubsub = "pubsub"
topic = "failing"
guest = "fails"
dead_letter = "failed"
[[topic]]
pubsub = "pubsub"
topic = "malformed"
guest = "malformed"
dead_letter = "failed"
[[topic]]
pubsub = "pubsub"
topic = "dropped"
guest = "fails"
on_error = "drop"
dead_letter = "failed"
[[topic]]
pubsub = "pubsub"
topic = "failing-together"
guest = "fails"
bulk = {{ messages = 10, wait = "200ms" }}
dead_letter = "failed"
[[topic]]
pubsub = "pubsub"
topic = "failed"
guest = "environment"
state = {{ store = "state", key = "failed-{{id}}" }}
"""
FASTER = {
    "maxInterval: 10s": "maxInterval: 50ms",
    "maxRetries: 8": "maxRetries: 2",
}
TRIES = 3


@pytest.fixture(scope="module")
def photos_app(start_for_module: Start) -> Pair:
    return start_for_module(
        MANIFEST, app_id="topics", components=("local", "policies"), replace=FASTER, subscribes=True
    )


@pytest.fixture(scope="module")
def on_redis(start_for_module: Start, redis: Redis) -> Pair:
    replace = FASTER | {"localhost:6379": f"localhost:{redis.port}"}
    return start_for_module(
        MANIFEST, app_id="streams", components=("redis", "policies"), replace=replace, subscribes=True
    )


@pytest.fixture(params=["in memory", "Redis streams"])
def pair(request) -> Pair:
    found: Pair = request.getfixturevalue("photos_app" if request.param == "in memory" else "on_redis")
    return found


def event(id: str, data: Any = None, type: str = "photo", **more: Any) -> dict[str, Any]:
    """A CloudEvent."""
    return {"specversion": "1.0", "id": id, "source": "/camera/7", "type": type, "data": data} | more


def publish(pair: Pair, topic: str, message: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/cloudevents+json"}
    answer = pair.sidecar.http("POST", f"/v1.0/publish/pubsub/{topic}", json.dumps(message).encode(), headers)
    assert answer.status == 204, answer


def kept(pair: Pair, key: str) -> bytes:
    """What the state store has under a key, as soon as it has something."""
    return bytes(until(lambda: pair.sidecar.http("GET", f"/v1.0/state/state/{key}").body, f"state {key}"))


def tries(pair: Pair, topic: str) -> int:
    return len([line for line in pair.app.lines("failed") if line["name"] == f"pubsub/{topic}"])


def test_a_guest_sees_the_attributes_of_a_cloudevent(pair: Pair):
    publish(pair, "photos", event("one", {"iso": 400}, datacontenttype="application/json", film="Tri-X", frame=36))
    seen = variables(kept(pair, "one"))
    assert seen["GUESTHOUSE_TRIGGER"] == "topic"
    assert seen["GUESTHOUSE_NAME"] == "pubsub/photos"
    assert seen["GUESTHOUSE_ID"] == "one"
    assert seen["GUESTHOUSE_CONTENT_TYPE"] == "application/json"
    assert seen["GUESTHOUSE_META_CE_SOURCE"] == "/camera/7"
    assert seen["GUESTHOUSE_META_CE_TYPE"] == "photo"
    assert seen["GUESTHOUSE_META_CE_SPECVERSION"] == "1.0"
    assert seen["GUESTHOUSE_META_CE_FILM"] == "Tri-X"
    assert seen["GUESTHOUSE_META_CE_FRAME"] == "36"


@pytest.mark.parametrize(
    ("kind", "body", "arrives"),
    [
        ("application/octet-stream", bytes(range(256)), bytes(range(256))),
        ("text/plain", b"a note", b"a note"),
        ("application/json", b'{ "iso": 400 }', b'{"iso":400}'),
        ("image/png", b"\x89PNG...", b""),  # as docs/dapr.md warns: publish pictures as octet-stream
    ],
)
def test_a_body_arrives_by_its_content_type(pair: Pair, kind, body, arrives):
    warnings = pair.app.said.count("came without data")
    id = f"body-{kind.replace('/', '-')}"
    path = f"/v1.0/publish/pubsub/bytes?metadata.cloudevent.id={id}"
    assert pair.sidecar.http("POST", path, body, {"Content-Type": kind}).status == 204
    (line,) = until(lambda: [line for line in pair.app.lines("answered") if line.get("id") == id], "it is answered")
    assert line["bytes"] == len(arrives)
    if arrives:
        assert kept(pair, id) == arrives
    else:
        assert pair.app.said.count("came without data") == warnings + 1


def test_routes_lead_to_their_tables(pair: Pair):
    publish(pair, "routed", event("a", type="photo.grey"))
    publish(pair, "routed", event("b", type="photo.colour"))
    assert variables(kept(pair, "grey-a"))["GUESTHOUSE_PATH"] == "grey"
    assert variables(kept(pair, "other-b"))["GUESTHOUSE_NAME"] == "pubsub/routed"


def test_many_messages_in_one_call_are_all_answered(pair: Pair):
    entries = [
        {"entryId": str(n), "event": event(f"many-{n}", n), "contentType": "application/cloudevents+json"}
        for n in range(25)
    ]
    headers = {"Content-Type": "application/json"}
    answer = pair.sidecar.http("POST", "/v1.0/publish/bulk/pubsub/many", json.dumps(entries).encode(), headers)
    assert answer.status == 204
    for n in range(25):
        assert variables(kept(pair, f"many-{n}"))["GUESTHOUSE_ID"] == f"many-{n}"


@pytest.mark.parametrize(
    ("topic", "expected"), [("failing", TRIES), ("malformed", 1), ("dropped", 1), ("failing-together", TRIES)]
)
def test_a_message_that_cannot_be_handled_goes_to_the_dead_letter_topic(pair: Pair, topic, expected):
    """A guest's failure is repeated first, by the policy; what cannot succeed, or need not, goes there at once."""
    publish(pair, topic, event(f"lost-{topic}"))
    assert variables(kept(pair, f"failed-lost-{topic}"))["GUESTHOUSE_ID"] == f"lost-{topic}"
    assert tries(pair, topic) == expected


DECLARED = f"""{ENVIRONMENT}
[[topic]]
pubsub = "pubsub"
topic = "photos"
guest = "environment"
state = {{ store = "state", key = "{{id}}" }}
"""


def test_a_subscription_resource_is_as_good_as_the_manifest_s(start: Start):
    """The resource holds when the sidecar does not ask the application; its path reaches the guest."""
    pair = start(
        DECLARED,
        app_id="declared",
        components=("local", "subscriptions"),
        replace={"[vision]": "[declared]"},
        flags=("--disable-init-endpoints", "subscribe"),
    )
    publish(pair, "photos", event("declared"))
    assert variables(kept(pair, "declared"))["GUESTHOUSE_PATH"] == "photos"


def test_the_manifest_s_subscription_goes_before_a_resource(start: Start):
    pair = start(
        DECLARED,
        app_id="programmed",
        components=("local", "subscriptions"),
        replace={"[vision]": "[programmed]"},
        subscribes=True,
    )
    publish(pair, "photos", event("programmed"))
    assert variables(kept(pair, "programmed"))["GUESTHOUSE_PATH"] == ""


KEPT = f"""{ENVIRONMENT}
[[topic]]
pubsub = "pubsub"
topic = "photos"
guest = "environment"
state = {{ store = "state", key = "{{id}}" }}
"""


def test_redis_keeps_what_comes_while_nobody_is_there_and_what_was_in_work(start: Start, redis: Redis):
    """With retries for ever: Redis takes a message for done when its handling failed, but not when it took too long."""
    replace = FASTER | {
        "maxRetries: 8": "maxRetries: -1",
        "localhost:6379": f"localhost:{redis.port}",
        "processingTimeout, value: 60s": "processingTimeout, value: 1s",
        "redeliverInterval, value: 15s": "redeliverInterval, value: 1s",
    }
    pair = start(KEPT, app_id="faithful", components=("redis", "policies"), replace=replace, subscribes=True)
    pair.app.kill()
    for number in range(5):
        publish(pair, "photos", event(f"waited-{number}"))
    time.sleep(2.5)  # over the processing time of those that the sidecar tries to deliver
    publish(pair, "photos", event("waited-5"))
    pair.app.start().ready()
    for number in range(6):
        assert variables(kept(pair, f"waited-{number}"))["GUESTHOUSE_ID"] == f"waited-{number}"

"""Routes: which guest answers which event, by what the event carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.assembly import listing
from guesthouse.dapr.listing import Bulk, Rule, Subscription
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import Manifest, load
from guesthouse.plan.routes import Route, Routes

MANIFEST = """
[app]
name = "t"
[guests.a]
module = "a.wasm"
function = "f"
[guests.b]
module = "b.wasm"
function = "f"
[[invoke]]
method = "api/thing"
guest = "a"
verbs = ["GET", "HEAD"]
[[invoke]]
method = "api/thing"
guest = "b"
verbs = ["POST"]
[[invoke]]
method = "any"
guest = "a"
[[binding]]
name = "camera"
guest = "a"
to = ["results", "more"]
state = { store = "kv", key = "last" }
on_error = "drop"
[[binding]]
name = "queue"
guest = "a"
attempts = 3
dead_letter = "failed"
[[topic]]
pubsub = "p"
topic = "t"
guest = "a"
route = { match = 'event.type == "x"', path = "x" }
dead_letter = "dead"
bulk = { messages = 10, wait = "50ms" }
[[topic]]
pubsub = "p"
topic = "t"
guest = "b"
[[topic]]
pubsub = "p"
topic = "plain"
guest = "b"
raw = true
[[job]]
name = "nightly"
guest = "b"
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "guesthouse.toml").write_text(MANIFEST)
    return load(tmp_path / "guesthouse.toml")


@pytest.mark.parametrize(
    ("event", "guest"),
    [
        (Event(Trigger.INVOKE, "api/thing", verb="GET"), "a"),
        (Event(Trigger.INVOKE, "api/thing", verb="POST"), "b"),
        (Event(Trigger.INVOKE, "/api/thing/", verb="POST"), "b"),
        (Event(Trigger.INVOKE, "api/thing"), "a"),
        (Event(Trigger.INVOKE, "any", verb="DELETE"), "a"),
        (Event(Trigger.TOPIC, "p/t", path="x"), "a"),
        (Event(Trigger.TOPIC, "p/t", path=""), "b"),
        (Event(Trigger.TOPIC, "p/t", path="of-a-declared-subscription"), "b"),
        (Event(Trigger.TOPIC, "p/plain", path=""), "b"),
        (Event(Trigger.JOB, "nightly"), "b"),
    ],
)
def test_an_event_finds_its_guest(manifest, event, guest):
    assert Routes(manifest).find(event) == Route(guest)


def test_a_bindings_route_has_its_outputs(manifest):
    route = Routes(manifest).find(Event(Trigger.BINDING, "camera"))
    assert route == Route("a", ("results", "more"), ("kv", "last"), drop=True)


def test_a_bindings_route_says_when_an_event_is_given_up(manifest):
    route = Routes(manifest).find(Event(Trigger.BINDING, "queue"))
    assert route == Route("a", attempts=3, dead_letter="failed")


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (Event(Trigger.INVOKE, "other"), "no guest answers the method 'other'"),
        (
            Event(Trigger.INVOKE, "api/thing", verb="PUT"),
            "the method 'api/thing' is not answered for PUT, only GET, HEAD, POST",
        ),
        (
            Event(Trigger.INVOKE, "any", verb="OPTIONS"),
            "the method 'any' is not answered for OPTIONS, for none of its tables names it in verbs",
        ),
        (
            Event(Trigger.INVOKE, "any", verb="HEAD"),
            "the method 'any' is not answered for HEAD, for none of its tables names it in verbs",
        ),
        (Event(Trigger.BINDING, "x"), "no guest answers the binding 'x'"),
        (Event(Trigger.TOPIC, "p/other", path="y"), "no guest answers the topic 'p/other' with the path 'y'"),
        (Event(Trigger.JOB, "x"), "no guest answers the job 'x'"),
    ],
)
def test_an_event_without_a_guest_is_not_found(manifest, event, said):
    with pytest.raises(Failure) as caught:
        Routes(manifest).find(event)
    assert caught.value.reason is Reason.NOT_FOUND
    assert caught.value.text == said


def test_the_sidecar_is_told_one_subscription_a_topic(manifest):
    told = listing(manifest)
    assert told.bindings == ("camera", "queue")
    assert told.subscriptions == (
        Subscription("p", "t", (Rule('event.type == "x"', "x"),), "default", "dead", Bulk(10, 50)),
        Subscription("p", "plain", metadata=(("rawPayload", "true"),)),
    )

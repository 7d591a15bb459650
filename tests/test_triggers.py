"""A trigger is one entry of `event.Trigger`, and a route one of `Manifest.routes`: everybody else reads them there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from typer.testing import CliRunner

from guesthouse.assembly import open_plan
from guesthouse.cli import app
from guesthouse.dapr.client import Client
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import ACTOR_TRIGGERS, Actor, Event, Failure, Reason, Trigger
from guesthouse.manifest import Manifest, load
from guesthouse.manifest.tables import RouteEntry
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.traces import Traces
from guesthouse.page.arrivals import Arrivals
from guesthouse.page.counts import Counts
from guesthouse.page.methods import HostMethods
from guesthouse.plan.current import Plans
from tests.support.doubles import NoOutputs

NAMES = {Trigger.INVOKE: "echo", Trigger.BINDING: "camera", Trigger.TOPIC: "p/t", Trigger.JOB: "nightly"}
MANIFEST = """
[app]
name = "t"
[page]
apps = ["web"]
[guests.echo]
module = "echo.wasm"
calling = "command"
[[invoke]]
method = "echo"
guest = "echo"
[[binding]]
name = "camera"
guest = "echo"
[[topic]]
pubsub = "p"
topic = "t"
guest = "echo"
[[job]]
name = "nightly"
guest = "echo"
[[actor]]
type = "echo"
guest = "echo"
[component]
name = "guests"
"""


NOTHING = '(module (memory (export "memory") 1) (func (export "_start")))'


def _alarm() -> Trigger:
    """A trigger that does not exist, as its entry would make it."""
    new: Trigger = Trigger.__new_member__(Trigger, "alarm", False, False, "timer")  # type: ignore[attr-defined]
    new._name_ = "ALARM"
    return new


ALARM = _alarm()
ALL = [*Trigger, ALARM]
#: Those with routes, in the order of the manifest. The route of an actor's type is for all events of actors.
ROUTED = [Trigger.INVOKE, Trigger.BINDING, Trigger.TOPIC, Trigger.JOB, Trigger.ACTOR, Trigger.OPERATION, ALARM]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest with a route for each trigger, the new one included."""
    routes = Manifest.routes

    def with_new(manifest: Manifest) -> Iterator[RouteEntry]:
        yield from routes(manifest)
        yield RouteEntry(ALARM, "alarm", "echo", True, None)

    monkeypatch.setattr(Manifest, "routes", with_new)
    (tmp_path / "echo.wasm").write_bytes(wasmtime.wat2wasm(NOTHING))
    (tmp_path / "guesthouse.toml").write_text(MANIFEST)
    return tmp_path / "guesthouse.toml"


@pytest.fixture
def plans(path: Path) -> Iterator[Plans]:
    with open_plan(load(path)) as plan:
        yield Plans(plan)


def event_of(trigger: Trigger) -> Event:
    """An event for the route that the manifest has for this trigger."""
    actor = Actor("7", "m") if trigger in ACTOR_TRIGGERS else None
    return Event(trigger, NAMES.get(trigger, "alarm" if trigger is ALARM else "echo"), b"x", actor=actor)


def route_of(trigger: Trigger) -> Trigger:
    return Trigger.ACTOR if trigger in ACTOR_TRIGGERS else trigger


def test_the_manifest_has_a_route_for_each_trigger(path: Path):
    assert [route.trigger for route in load(path).routes()] == ROUTED
    assert {route_of(trigger) for trigger in ALL} == set(ROUTED)


@pytest.mark.parametrize("trigger", ALL, ids=lambda trigger: trigger.value)
def test_a_trigger_is_known_wherever_events_are_answered_and_watched(trigger: Trigger, plans: Plans):
    exporter, arrivals, counts, metrics = InMemorySpanExporter(), Arrivals(), Counts(), Metrics(plans)
    assert ("echo", route_of(trigger)) in metrics._series  # from the start, before any event
    traces = Traces("t", exporter)
    traces._provider.add_span_processor(SimpleSpanProcessor(exporter))
    handler = traces.handler(Dispatcher(plans, NoOutputs(), [arrivals, counts, metrics]))
    assert handler.dispatch(event_of(trigger)).guest == "echo"
    traces.close()
    span = next(span for span in exporter.get_finished_spans() if span.name == "guest echo")
    assert span.attributes is not None
    assert (span.attributes["guesthouse.trigger"], span.attributes["faas.trigger"]) == (trigger.value, trigger.faas)
    shown: Any = arrivals.after("")["events"]
    assert [one["trigger"] for one in shown] == ([trigger.value] if trigger.arrives else [])
    status: Any = HostMethods(plans, counts, arrivals, handler).status()
    (route,) = (route for route in status["routes"] if route["trigger"] == route_of(trigger).value)
    assert (route["guest"], route["arrives"]) == ("echo", route_of(trigger).arrives)
    assert metrics._series["echo", trigger].events == 1


def test_check_lists_the_routes_of_all_triggers(path: Path):
    result = CliRunner().invoke(app, ["check", "-m", str(path), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [route["route"] for route in found["routes"]] == [trigger.value for trigger in ROUTED]
    assert {route["guest"] for route in found["routes"]} == {"echo"}


@pytest.mark.parametrize("trigger", ALL, ids=lambda trigger: trigger.value)
def test_the_client_sends_what_comes_over_its_connection_and_refuses_the_rest(trigger: Trigger):
    with Client("127.0.0.1:1", token="") as client, pytest.raises(Failure) as raised:
        client.send(event_of(trigger), timeout=5)
    if trigger in NAMES:
        assert raised.value.reason is Reason.TRY_AGAIN  # it has tried, and nobody is there
    else:
        assert raised.value.reason is Reason.NOT_FOUND
        assert raised.value.text.startswith(f"no {trigger.value} can be sent over this connection")

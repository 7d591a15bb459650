"""Traces of real events: into an exporter in memory, and by OTLP to a receiver over HTTP."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from dapr.proto.runtime.v1.binding_pb2 import InvokeBindingResponse
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprServicer, add_DaprServicer_to_server
from google.protobuf.empty_pb2 import Empty
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from guesthouse.cli.telemetry import ExtraMissing, traces_for
from guesthouse.event import Event, Failure, Trigger
from guesthouse.manifest import Manifest
from guesthouse.observe import traces as observe_traces
from guesthouse.observe.traces import Traces, TracesError, to_collector
from tests.observe.watched import Collector, Watched, watched
from tests.support.waiting import until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}


class Sidecar(DaprServicer):
    """Keeps the metadata of what it is asked for."""

    def __init__(self) -> None:
        self.metadata: list[dict[str, str | bytes]] = []

    def InvokeBinding(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        return InvokeBindingResponse()

    def SaveState(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        return Empty()


@contextlib.contextmanager
def sidecar() -> Iterator[tuple[Sidecar, str]]:
    made, server = Sidecar(), grpc.server(ThreadPoolExecutor(2))
    add_DaprServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, f"127.0.0.1:{port}"
    server.stop(None).wait()


class Traced:
    """A served application, and its spans when it has ended."""

    def __init__(self, manifest: Path, address: str = "127.0.0.1:1") -> None:
        self._exporter = InMemorySpanExporter()
        self._traces = Traces("watched", self._exporter)
        self._stack = contextlib.ExitStack()
        self._address = address
        self._manifest = manifest
        self.spans: dict[str, ReadableSpan] = {}

    def ended(self) -> set[str]:
        """The names of the spans that have ended so far: an event's may end after its caller has gone."""
        self._traces._provider.force_flush()
        return {span.name for span in self._exporter.get_finished_spans()}

    def __enter__(self) -> Watched:
        return self._stack.enter_context(watched(self._manifest, self._traces, self._address))

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._traces.close()
        self.spans = {span.name: span for span in self._exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    assert span.attributes is not None
    return span.attributes


def times(span: ReadableSpan) -> tuple[int, int]:
    """When it began and ended, in ns."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


def test_an_event_is_a_span_under_the_sidecars_with_what_it_did_inside(manifest, photos):
    traced = Traced(manifest)
    with traced as app:
        photo = (photos / "coffee.png").read_bytes()
        app.client.send(Event(Trigger.INVOKE, "person", photo, verb="POST", metadata=PARENT), timeout=60)
    event, run, inference = (traced.spans[name] for name in ("guest person", "run", "inference person"))
    assert {span.context.trace_id for span in traced.spans.values()} == {int(TRACE, 16)}
    assert parent_of(event) == int(SPAN, 16)
    assert event.context.trace_state.get("vendor") == "1"
    assert (parent_of(run), parent_of(inference)) == (event.context.span_id, run.context.span_id)
    (began, ended), (run_began, run_ended), (from_, to) = times(event), times(run), times(inference)
    assert began <= run_began < from_ < to < run_ended <= ended
    assert event.kind is SpanKind.SERVER
    assert dict(attributes(event)) == {
        "guesthouse.trigger": "invoke",
        "guesthouse.name": "person",
        "guesthouse.guest": "person",
        "faas.trigger": "http",
        "faas.name": "person",
        "http.request.method": "POST",
    }
    assert event.status.status_code is StatusCode.UNSET
    assert attributes(inference)["guesthouse.model"] == "person"
    assert event.resource.attributes["service.name"] == "watched"


def test_a_failed_event_says_why(manifest):
    traced = Traced(manifest)
    with traced as app, pytest.raises(Failure):
        app.client.send(Event(Trigger.JOB, "nightly"), timeout=60)
    event = traced.spans["guest traps"]
    assert event.parent is None
    assert event.kind is SpanKind.CONSUMER
    assert event.status.status_code is StatusCode.ERROR
    assert "trap" in str(event.status.description)
    assert (attributes(event)["error.type"], attributes(event)["faas.trigger"]) == ("TRAP", "timer")
    assert not event.events
    assert "run" in traced.spans


def test_an_event_that_no_guest_answers_is_a_span_too(manifest):
    traced = Traced(manifest)
    with traced as app, pytest.raises(Failure):
        app.client.send(Event(Trigger.INVOKE, "x" * 5000), timeout=60)
    assert traced.spans.keys() == {"invoke"}
    assert attributes(traced.spans["invoke"])["guesthouse.name"] == "x" * 256
    assert attributes(traced.spans["invoke"])["error.type"] == "NOT_FOUND"


def test_waiting_for_a_slot_is_a_span(manifest):
    traced = Traced(manifest)
    with traced as app, ThreadPoolExecutor(2) as callers:

        def call(seconds: float) -> None:
            with pytest.raises(Failure):
                app.client.send(Event(Trigger.INVOKE, "loops"), timeout=seconds)

        first = callers.submit(call, 1.0)
        until(lambda: app.plan.guests["loops"].slots.busy)
        callers.submit(call, 2.0).result()
        first.result()
        until(lambda: "queue" in traced.ended())
    queue = traced.spans["queue"]
    began, ended = times(queue)
    assert ended - began > 10**8


def test_a_message_of_a_topic_has_what_messaging_says(manifest):
    traced = Traced(manifest)
    with traced as app:
        app.client.send(Event(Trigger.TOPIC, "pubsub/photos", b"x", "text/plain", id="7"), timeout=60)
    found = traced.spans["guest echo"]
    assert found.kind is SpanKind.CONSUMER
    expected = {"system": "dapr", "operation.type": "process", "destination.name": "photos", "message.id": "7"}
    assert {f"messaging.{key}": value for key, value in expected.items()}.items() <= attributes(found).items()
    assert (attributes(found)["faas.trigger"], attributes(found)["faas.invocation_id"]) == ("pubsub", "7")


def test_calls_of_outputs_are_under_a_span_of_their_own(manifest):
    with sidecar() as (asked, address):
        traced = Traced(manifest, address)
        with traced as app:
            app.client.send(Event(Trigger.BINDING, "camera", b"x", metadata=PARENT), timeout=60)
    event, outputs = traced.spans["guest echo"], traced.spans["outputs"]
    assert parent_of(outputs) == event.context.span_id
    assert (outputs.kind, attributes(event)["faas.trigger"]) == (SpanKind.PRODUCER, "other")
    assert dict(attributes(outputs)) == {"guesthouse.to": ("results",), "guesthouse.state": "kv"}
    assert [call["traceparent"] for call in asked.metadata] == [f"00-{TRACE}-{outputs.context.span_id:016x}-01"] * 2


def test_outputs_that_fail_mark_their_span(manifest):
    traced = Traced(manifest)
    with traced as app, pytest.raises(Failure):
        app.client.send(Event(Trigger.BINDING, "camera", b"x"), timeout=60)
    assert traced.spans["outputs"].status.status_code is StatusCode.ERROR
    assert attributes(traced.spans["guest echo"])["error.type"] == "OUTPUT"


def environment_of(app: Watched, **metadata: str) -> dict[str, str]:
    reply = app.client.send(Event(Trigger.INVOKE, "environment", metadata=metadata), timeout=60)
    return dict(item.split("=", 1) for item in reply.body.decode().split("\0") if item)


def test_guests_learn_the_span_they_run_under(manifest):
    traced = Traced(manifest)
    with traced as app:
        seen = environment_of(app, **PARENT)
    event = traced.spans["guest environment"]
    assert seen["TRACEPARENT"] == f"00-{TRACE}-{event.context.span_id:016x}-01"
    assert seen["TRACESTATE"] == "vendor=1"


def test_what_came_before_the_span_is_not_handed_on_beside_it(manifest):
    traced = Traced(manifest)
    with traced as app:
        seen = environment_of(app, traceparent="broken", tracestate="stale=1", **{"x-other": "1"})
    assert traced.spans["guest environment"].parent is None
    assert seen["GUESTHOUSE_META_X_OTHER"] == "1"
    assert seen["TRACEPARENT"] == seen["GUESTHOUSE_META_TRACEPARENT"] != "broken"
    assert not {"GUESTHOUSE_META_TRACESTATE", "TRACESTATE"} & seen.keys()


def test_guests_learn_the_sidecars_span_where_there_are_no_traces(app: Watched):
    seen = environment_of(app, **PARENT)
    assert (seen["TRACEPARENT"], seen["TRACESTATE"]) == (PARENT["traceparent"], "vendor=1")
    assert "TRACEPARENT" not in environment_of(app)


@pytest.mark.parametrize("none", [f"00-{'0' * 32}-{'0' * 16}-00", f"00-{TRACE}-{'0' * 16}-00", "broken"])
def test_a_trace_that_is_none_reaches_no_guest(app: Watched, none: str):
    seen = environment_of(app, traceparent=none, tracestate="vendor=1", **{"x-other": "1"})
    assert seen["GUESTHOUSE_META_X_OTHER"] == "1"
    assert not [name for name in seen if "TRACE" in name]


def test_what_the_sidecar_does_not_sample_is_not_sampled(manifest):
    traced = Traced(manifest)
    with traced as app:
        seen = environment_of(app, traceparent=f"00-{TRACE}-{SPAN}-00")
    assert traced.spans == {}
    assert seen["TRACEPARENT"].startswith(f"00-{TRACE}-")
    assert seen["TRACEPARENT"].endswith("-00")


@pytest.fixture(autouse=True)
def _no_standard_variables(monkeypatch):
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "PROTOCOL", "TRACES_PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)


def test_spans_go_to_a_collector_by_otlp_and_the_last_ones_at_the_end(manifest, collector: Collector, monkeypatch):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    traces = to_collector("watched", collector.url + "/")
    with watched(manifest, traces) as app:
        app.client.send(Event(Trigger.INVOKE, "echo", b"x", metadata=PARENT), timeout=60)
    traces.close()
    assert {path for path, _ in collector.requests} == {"/v1/traces"}
    assert sorted(collector.spans()) == ["guest echo", "run"]
    (resource,) = collector.requests[0][1].resource_spans
    attributes = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert (attributes["service.name"], attributes["deployment.environment.name"]) == ("watched", "test")
    (event,) = (span for span in resource.scope_spans[0].spans if span.name == "guest echo")
    assert (event.trace_id.hex(), event.parent_span_id.hex()) == (TRACE, SPAN)


def test_a_collector_that_is_away_holds_up_neither_events_nor_the_end(manifest, monkeypatch, caplog):
    class Stuck(SpanExporter):
        def __init__(self) -> None:
            self.free = threading.Event()

        def export(self, spans) -> SpanExportResult:
            self.free.wait(30)
            return SpanExportResult.SUCCESS

    monkeypatch.setattr(observe_traces, "FLUSH", 0.2)
    stuck = Stuck()
    traces = Traces("watched", stuck)
    with watched(manifest, traces) as app:
        assert app.client.send(Event(Trigger.INVOKE, "echo", b"x"), timeout=60).body == b"x"
    traces.close()
    stuck.free.set()
    assert "the last spans were not taken in 0.2 s: is the collector there?" in caplog.text


def manifest_with(**tables: object) -> Manifest:
    return Manifest.model_validate({"app": {"name": "t"}, **tables})


def test_traces_are_on_by_the_manifest_or_the_standard_variables(collector: Collector, monkeypatch):
    for manifest, variables in (
        (manifest_with(traces={"endpoint": collector.url}), {}),
        (manifest_with(), {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}),
        (manifest_with(), {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "x"}),
    ):
        found = traces_for(manifest, variables)
        assert found is not None
        found.close()


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_variables_turn_traces_off(variables):
    assert traces_for(manifest_with(traces={}), variables) is None


def test_a_protocol_that_is_not_spoken_is_refused():
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with pytest.raises(TracesError) as refused:
        traces_for(manifest_with(), variables)
    assert refused.value.faults == [
        "traces cannot go out as 'grpc', which $OTEL_EXPORTER_OTLP_PROTOCOL asks for: "
        "only as http/protobuf, which a collector takes on port 4318; unset it"
    ]


def test_traces_without_the_extra_say_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "guesthouse.observe.traces")
    monkeypatch.delattr("guesthouse.observe.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ExtraMissing) as missing:
        traces_for(manifest_with(traces={}), {})
    assert missing.value.faults == [
        "traces are asked for, and opentelemetry is not installed: install guesthouse[otel], or take [traces] and "
        "OTEL_EXPORTER_OTLP_ENDPOINT away"
    ]

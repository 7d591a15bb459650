"""Traces: a span for each event under the sidecar's span, with children for its wait, its run and its inference.

This module is imported only where traces are on: OpenTelemetry is an extra (`guesthouse[otel]`). The children are made
at the end of the event, from its `Cost`, so that nothing is measured twice and guests never wait for a span. All that
the manifest does not say, the standard `OTEL_*` variables do: https://opentelemetry.io/docs/specs/otel/configuration/.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from guesthouse import __version__
from guesthouse.event import Cost, Destination, Event, Failure, Handler, Outputs, Reply, Trigger
from guesthouse.faults import Faults
from guesthouse.tracecontext import context_of
from guesthouse_abi.deadline import Deadline

FLUSH = 5.0  # seconds for the last spans at the end
TEXT = 256  # characters of a name or an error in a span

_W3C = TraceContextTextMapPropagator()
_log = logging.getLogger(__name__)


# What a capability's calls are calls of, where that has a name of its own.
_SUBJECTS = {"inference": "guesthouse.model", "dapr": "rpc.method"}


class TracesError(Faults):
    """Traces cannot be sent as they were asked for."""


def to_collector(app: str, endpoint: str | None = None, environ: Mapping[str, str] = os.environ) -> Traces:
    """Traces that go to a collector by OTLP, in protobuf over HTTP.

    `endpoint` is as in `OTEL_EXPORTER_OTLP_ENDPOINT`, which holds where it is None. Raises `TracesError`.
    """
    for variable in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (protocol := environ.get(variable, "")) not in ("", "http/protobuf"):
            raise TracesError(
                f"traces cannot go out as {protocol[:32]!r}, which ${variable} asks for: "
                "only as http/protobuf, which a collector takes on port 4318; unset it"
            )
    logging.getLogger("urllib3").setLevel(logging.INFO)  # at debug it logs every batch of spans
    return Traces(app, OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces" if endpoint is not None else None))


class Traces:
    """Makes spans of events and of their outputs, and hands them to `exporter` in batches."""

    def __init__(self, app: str, exporter: SpanExporter) -> None:
        ours = {"service.name": app, "service.version": __version__}
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("guesthouse", __version__)

    def handler(self, following: Handler) -> Handler:
        """A handler before another one, which gets each event as a part of that event's span."""
        return _Handler(self._tracer, following)

    def outputs(self, following: Outputs) -> Outputs:
        """Outputs before other ones, whose calls are in a span of their own under the event's span."""
        return _Outputs(self._tracer, following)

    def close(self) -> None:
        """Send the last spans, for `FLUSH` seconds at most where the collector does not take them."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        ending.start()
        ending.join(FLUSH)
        if ending.is_alive():
            _log.warning("the last spans were not taken in %g s: is the collector there?", FLUSH)


class _Handler:
    def __init__(self, tracer: trace.Tracer, following: Handler) -> None:
        self._tracer = tracer
        self._following = following

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        """See `event.Handler.dispatch`."""
        span = self._tracer.start_span(
            event.trigger.value,
            _W3C.extract(context_of(event.metadata), context=Context()),
            SpanKind.CONSUMER if event.trigger.arrives else SpanKind.SERVER,
            _attributes(event),
        )
        zero = time.time_ns() - time.perf_counter_ns()
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                reply = self._following.dispatch(_under(span, event), deadline)
            except Failure as failure:
                self._finish(span, failure.guest, failure.cost, zero)
                span.set_attributes({"guesthouse.reason": failure.reason.value, "error.type": failure.reason.value})
                span.set_status(Status(StatusCode.ERROR, failure.text[:TEXT]))
                raise
            self._finish(span, reply.guest, reply.cost, zero)
        return reply

    def _finish(self, span: Span, guest: str, cost: Cost | None, zero: int) -> None:
        """Add who answered and what that cost. `zero` is when `time.perf_counter` was 0, in nanoseconds since 1970."""
        if not span.is_recording() or not guest:
            return
        span.update_name(f"guest {guest}")
        span.set_attributes({"guesthouse.guest": guest, "faas.name": guest})
        if cost is None:
            return
        if cost.queued:
            self._child(span, "queue", cost.began - cost.queued, cost.began, zero)
        memory = {"guesthouse.memory": cost.memory, "guesthouse.host_memory": cost.host_memory}
        run = self._child(span, "run", cost.began, cost.began + cost.total, zero, memory)
        for capability, subject, began, ended, status in cost.calls:
            attributes = {_SUBJECTS.get(capability, "guesthouse.subject"): subject[:TEXT]}
            if status:
                attributes["guesthouse.status"] = status
            self._child(run, f"{capability} {subject[:TEXT]}", began, ended, zero, attributes)

    def _child(
        self,
        parent: Span,
        name: str,
        began: float,
        ended: float,
        zero: int,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Span:
        """A span of something that is over."""
        within, start = trace.set_span_in_context(parent), zero + int(began * 1e9)
        span = self._tracer.start_span(name, within, attributes=attributes, start_time=start)
        span.end(zero + int(ended * 1e9))
        return span


class _Outputs:
    def __init__(self, tracer: trace.Tracer, following: Outputs) -> None:
        self._tracer = tracer
        self._following = following

    def deliver(self, reply: Reply, event: Event, destination: Destination, caller: Deadline) -> None:
        """See `event.Outputs.deliver`."""
        attributes: dict[str, AttributeValue] = {"guesthouse.to": destination.to}
        if destination.state is not None:
            attributes["guesthouse.state"] = destination.state[0]
        with self._tracer.start_as_current_span(
            "outputs", kind=SpanKind.PRODUCER, attributes=attributes, record_exception=False
        ) as span:
            self._following.deliver(reply, _under(span, event), destination, caller)


def _attributes(event: Event) -> dict[str, AttributeValue]:
    """The attributes that are known before a guest runs."""
    attributes: dict[str, AttributeValue] = {
        "guesthouse.trigger": event.trigger.value,
        "guesthouse.name": event.name[:TEXT],
        "faas.trigger": event.trigger.faas,
    }
    if event.verb:
        attributes["http.request.method"] = event.verb
    if event.id:
        attributes["faas.invocation_id"] = event.id[:TEXT]
    if event.actor is not None:
        attributes["guesthouse.actor"] = event.actor.id[:TEXT]
        if event.actor.method:
            attributes["guesthouse.method"] = event.actor.method[:TEXT]
    if event.trigger is Trigger.TOPIC:
        attributes["messaging.system"] = "dapr"
        attributes["messaging.operation.type"] = "process"
        attributes["messaging.destination.name"] = event.name.partition("/")[2][:TEXT]
        attributes["messaging.message.id"] = event.id[:TEXT]
    return attributes


def _under(span: Span, event: Event) -> Event:
    """The event with `span` as its parent in the metadata, where guests, outputs and the log look for the trace."""
    carried: dict[str, str] = {}
    _W3C.inject(carried, trace.set_span_in_context(span, Context()))
    kept = {key: value for key, value in event.metadata.items() if key not in _W3C.fields}
    return dataclasses.replace(event, metadata={**kept, **carried})

"""An application as `guesthouse serve` puts it together, watched: its metrics over HTTP, its spans to an exporter."""

from __future__ import annotations

import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from guesthouse.assembly import ServedApplication, application_for, open_plan
from guesthouse.cli.telemetry import probes_for
from guesthouse.dapr.client import Client
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.manifest import load
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.probes import Probes
from guesthouse.observe.traces import Traces
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from tests.support.serving import connected

_LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Watched:
    """What a test may ask."""

    client: Client
    application: ServedApplication
    probes: Probes
    plan: Plan

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of a GET on the port for metrics."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.probes.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def scrape(self) -> Samples:
        """What Prometheus would read."""
        status, text = self.get("/metrics", Authorization="Bearer other")
        assert status == 200
        return Samples(text)


class Samples:
    """A scrape: the value of a name with labels; others may be left out where only one series fits."""

    def __init__(self, text: str) -> None:
        self.values: dict[tuple[str, Labels], float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                found = _LINE.match(line)
                assert found, line
                self.values[found[1], frozenset(_LABEL.findall(found[2] or ""))] = float(found[3])

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.values}

    def __call__(self, name: str, **labels: object) -> float:
        wanted = {(key, str(value)) for key, value in labels.items()}
        (value,) = (value for (one, found), value in self.values.items() if one == name and wanted <= found)
        return value


@contextlib.contextmanager
def watched(manifest: Path, traces: Traces | None = None, sidecar: str = "127.0.0.1:1") -> Iterator[Watched]:
    """Serve a manifest in this process, on free ports."""
    with contextlib.ExitStack() as stack:
        loaded = load(manifest)
        plan = stack.enter_context(open_plan(loaded))
        outputs = SidecarOutputs(stack.enter_context(connected(sidecar)))
        plans = stack.enter_context(contextlib.closing(Plans(plan)))
        metrics = Metrics(plans)
        application = application_for(plans, outputs, port=0, observers=[metrics], traces=traces)
        probes = probes_for(loaded, 0, metrics, lambda: application.server.ready)
        stack.callback(probes.close)
        application.start()
        stack.callback(application.stop)
        client = stack.enter_context(Client(f"127.0.0.1:{application.server.port}", token=""))
        yield Watched(client, application, probes, plan)


class Collector(ThreadingHTTPServer):
    """An OTLP receiver: keeps the spans of each request, by the names of what sent them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[str]:
        return [
            span.name
            for _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Receive(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/x-protobuf"
        self.server.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...

"""The port for metrics and probes: who is answered, and what `guesthouse serve` makes of it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Trigger
from guesthouse.observe.probes import Probes, ProbesError
from tests.observe.watched import Collector, Watched
from tests.support.served import Served
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]


def test_metrics_ask_for_a_token_where_there_is_one(app: Watched):
    assert app.get("/metrics") == (401, "a token is asked for\n")
    for wrong in ("Bearer", "Bearer on", "Bearer onee", "one", "Basic one", "Bearer é"):
        assert app.get("/metrics", Authorization=wrong)[0] == 401
    for right in ("one", "other"):
        status, text = app.get("/metrics?name=x", Authorization=f"Bearer {right}")
        assert (status, "guesthouse_events_total" in text) == (200, True)


def test_openmetrics_is_spoken_to_those_who_ask_for_it(app: Watched):
    _, text = app.get("/metrics", Authorization="Bearer one", Accept="application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


def test_probes_need_no_token_and_follow_the_drain(app: Watched):
    assert app.get("/healthz") == (200, "ok\n")
    assert app.get("/readyz") == (200, "ok\n")
    assert app.get("/") == (404, "there are /metrics, /healthz and /readyz\n")
    assert app.application.drain()
    assert app.get("/readyz") == (503, "not ready\n")
    assert app.get("/healthz") == (200, "ok\n")


def test_nobody_is_ready_while_the_last_events_end(app: Watched):
    slots = app.plan.guests["loops"].slots
    with ThreadPoolExecutor(2) as threads:
        last = threads.submit(app.client.send, Event(Trigger.INVOKE, "loops"), 60)
        try:
            until(lambda: slots.busy)
            drained = threads.submit(app.application.drain)
            until(lambda: app.get("/readyz")[0] != 200 or drained.done())
            assert slots.busy
            assert not drained.done()
        finally:
            app.client.close()  # the last event's caller hangs up
        assert isinstance(last.exception(60), Failure)
        assert drained.result(60)


def test_nobody_is_ready_before_the_start():
    probes = Probes("127.0.0.1", 0, CollectorRegistry(), lambda: False)
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{probes.port}/readyz", timeout=10)
    refused.value.close()
    probes.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", probes.port), timeout=5)


def test_a_client_that_says_nothing_holds_nobody_up(app: Watched):
    with socket.create_connection(("127.0.0.1", app.probes.port)) as silent:
        silent.sendall(b"GET /metr")
        assert app.get("/healthz") == (200, "ok\n")


def test_without_tokens_metrics_are_for_all():
    probes = Probes("127.0.0.1", 0, CollectorRegistry(), lambda: True)
    with urllib.request.urlopen(f"http://127.0.0.1:{probes.port}/metrics", timeout=10) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
    probes.close()


def test_ipv6_is_served():
    probes = Probes("::1", 0, CollectorRegistry(), lambda: True)
    with urllib.request.urlopen(f"http://[::1]:{probes.port}/readyz", timeout=10) as response:
        assert response.read() == b"ok\n"
    probes.close()


def test_a_host_that_is_not_known_is_refused():
    with pytest.raises(ProbesError, match=r"host 'no\.such\.host\.invalid' for metrics is not known"):
        Probes("no.such.host.invalid", 0, CollectorRegistry(), lambda: True)


# ---- the program ----


@pytest.fixture
def environment() -> dict[str, str]:
    return {"GUESTHOUSE_CACHE": os.environ["GUESTHOUSE_CACHE"], "PATH": os.environ["PATH"]}


def test_the_program_serves_metrics_and_sends_traces_and_says_the_trace_in_the_log(
    manifest: Path, collector: Collector, environment
):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    served = Served(
        *("-m", manifest, "--metrics-port", 0, "--log-level", "debug"),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="eyes",
        **environment,
    )
    serving = served.line("serving")
    parent = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    with Client(serving["address"], token="") as client:
        client.send(Event(Trigger.INVOKE, "echo", b"x", metadata=parent), timeout=60)
    answered = served.line("answered")
    assert (answered["trace_id"], answered["trigger"], answered["guest"]) == (trace, "invoke", "echo")
    request = urllib.request.Request(f"http://{serving['metrics']}/metrics", headers={"Authorization": "Bearer one"})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert 'guesthouse_events_total{guest="echo",trigger="invoke"} 1.0' in response.read().decode()
    assert served.end() == 0
    assert sorted(collector.spans()) == ["guest echo", "run"]
    (resource,) = collector.requests[0][1].resource_spans
    assert "eyes" in {item.value.string_value for item in resource.resource.attributes}


def test_a_port_that_is_in_use_ends_the_start_before_events_are_taken(manifest: Path, environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = Served("-m", manifest, "--metrics-port", port, **environment)
        _, errors = served.process.communicate(timeout=60)
    assert served.process.returncode == 1
    assert '"serving"' not in errors
    (line,) = [json.loads(line) for line in errors.splitlines() if '"refused"' in line]
    message = r"for metrics is in use; stop the (other|\*\*\*) process or choose with --metrics-port"  # a token's word
    assert re.fullmatch(rf"port {port} on 127\.0\.0\.1 {message}", line["error"])


def test_what_is_not_asked_for_is_not_imported(tmp_path: Path, environment):
    """Neither OpenTelemetry nor a port, where the manifest and the environment have nothing of them."""
    (tmp_path / "guesthouse.toml").write_text('[app]\nname = "t"\n')
    program = f"""
import os, signal, sys, threading
from guesthouse.cli import main
from guesthouse.cli import serve
def announced(plan, application, probes, seconds):
    print(probes, [name for name in sys.modules if name.startswith("opentelemetry")], flush=True)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
serve._announce = announced
main(["serve", "-m", {str(tmp_path / "guesthouse.toml")!r}, "--port", "0"])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{ROOT / 'app'}:{ROOT / 'abi'}", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "None []\n"

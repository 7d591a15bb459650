"""`guesthouse bench` against real servers; figures are looked at for their sense, never for their size."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from guesthouse.cli import app
from guesthouse.cli.load_generator import Job, Load, Outcome, Usage, _shares
from guesthouse.dapr.listing import Listing
from guesthouse.dapr.server import Server, ServerConfig
from guesthouse.event import Event, Failure, Reason, Reply, Trigger

ECHO = """
[app]
name = "test"
[guests.echo]
module = "{module}"
function = "echo"
[[invoke]]
method = "echo"
guest = "echo"
"""
EVENT = Event(Trigger.INVOKE, "echo", b"body")
FAST = ("-c", "1,5", "-n", "10")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.fixture
def manifest(tmp_path: Path, guests_folder: Path) -> Path:
    path = tmp_path / "guesthouse.toml"
    path.write_text(ECHO.format(module=guests_folder / "echo" / "echo.wasm"))
    return path


class Answering:
    """Answers with the body; after the first event, every second one with a failure, if there is one."""

    def __init__(self, failure: Failure | None = None) -> None:
        self._failure = failure
        self._count = itertools.count()

    def dispatch(self, event: Event, deadline: Any = None) -> Reply:
        if self._failure is not None and next(self._count) % 2:
            raise self._failure
        return Reply(event.body)


@pytest.fixture
def serve() -> Iterator[Any]:
    servers = []

    def start(failure: Failure | None = None, **config: Any) -> str:
        server = Server(ServerConfig(port=0, **config), Answering(failure), Listing())
        server.start()
        servers.append(server)
        return f"127.0.0.1:{server.port}"

    yield start
    for server in servers:
        server.stop()


def test_serves_the_manifest_and_measures_each_concurrency(manifest: Path) -> None:
    result = run("invoke", "echo", "-m", str(manifest), *FAST)
    assert result.exit_code == 0, result.stderr
    header, *rows = result.stdout.splitlines()
    assert header.split("  ")[0] == "callers"
    assert [row.split()[0] for row in rows] == ["1", "5"]
    assert all(row.split()[-1] == "0" for row in rows), "events failed"
    assert all(len(row.split()) == 8 for row in rows), "a cell is empty"


def test_prints_json_with_what_the_server_used(serve: Any) -> None:
    result = run("binding", "camera", "--to", serve(), "--pid", str(os.getpid()), "--json", *FAST)
    assert result.exit_code == 0, result.stderr
    first, second = json.loads(result.stdout)
    assert (first["callers"], first["requests"], first["errors"]) == (1, 10, {})
    assert (second["callers"], second["requests"]) == (5, 10)
    assert 0 < first["p50_ms"] <= first["p99_ms"]
    assert first["requests_per_second"] == pytest.approx(10 / first["seconds"])
    assert first["server"]["memory"] > 1 << 20


def test_stops_when_the_seconds_are_over(serve: Any) -> None:
    (found,) = json.loads(run("invoke", "echo", "--to", serve(), "-c", "2", "-s", "0.3", "--json").stdout)
    assert found["requests"] > 0
    assert 0.3 - 1e-6 <= found["seconds"] < 5
    assert found["server"] is None


def test_counts_failed_events_by_reason_and_shows_one_of_each(serve: Any) -> None:
    address = serve(Failure(Reason.TRAP, "trap: unreachable", "echo"))
    result = run("invoke", "echo", "--to", address, "-c", "1", "-n", "10", "--json")
    assert result.exit_code == 0
    (found,) = json.loads(result.stdout)
    assert found["requests"] == 10
    assert found["errors"] == {"TRAP": {"count": 5, "example": "guest 'echo': trap: unreachable"}}
    assert "1 caller: 5 events failed with TRAP, as in: guest 'echo': trap: unreachable" in result.stderr


def test_sends_the_manifests_token(manifest: Path) -> None:
    manifest.write_text(manifest.read_text() + '[server]\ntoken = ["new", "old"]\n')
    result = run("invoke", "echo", "-m", str(manifest), "-c", "1", "-n", "3")
    assert result.exit_code == 0, result.stderr


def test_tells_a_mistake_in_the_event_before_anything_is_measured(manifest: Path) -> None:
    result = run("invoke", "ecco", "-m", str(manifest))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "no guest answers the method 'ecco' — invoke ecco — the reason is NOT_FOUND" in result.stderr


def test_tells_what_serve_said_when_the_manifest_cannot_be_served(manifest: Path) -> None:
    manifest.write_text(ECHO.format(module="missing.wasm"))
    result = run("invoke", "echo", "-m", str(manifest))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: guest 'echo'")
    assert "missing.wasm" in result.stderr


def test_does_not_speak_tls(manifest: Path) -> None:
    manifest.write_text(manifest.read_text() + '[server]\ntls = { certificate = "a.pem", key = "b.pem" }\n')
    result = run("invoke", "echo", "-m", str(manifest))
    assert result.exit_code == 1
    assert "this server speaks TLS, bench does not" in result.stderr
    assert "without [server.tls], or a running server with --to" in result.stderr


@pytest.mark.parametrize("callers", ["", "0", "1,x", "1001", "1,,2"])
def test_refuses_what_is_no_list_of_callers(callers: str) -> None:
    result = run("invoke", "echo", "--to", "127.0.0.1:1", "-c", callers)
    assert result.exit_code == 2
    assert "is no list of numbers from 1 to 1000, as in 1,4,16" in result.stderr


def test_wants_a_process_only_beside_an_address() -> None:
    result = run("invoke", "echo", "--pid", "1")
    assert result.exit_code == 2
    assert "give --to too" in result.stderr


def test_refuses_a_process_that_it_cannot_see() -> None:
    result = run("invoke", "echo", "--to", "127.0.0.1:1", "--pid", "999999999")
    assert result.exit_code == 1
    assert "process 999999999 — check --pid, or leave it out" in result.stderr


def test_says_when_nobody_answers() -> None:
    result = run("invoke", "echo", "--to", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "no application" in result.stderr


@given(callers=st.integers(1, 64), requests=st.integers(1, 500), processes=st.integers(1, 4))
def test_callers_and_events_are_shared_out_whole(callers: int, requests: int, processes: int) -> None:
    shares = list(_shares(Job("a", EVENT, callers, requests), processes))
    assert sum(share.callers for share in shares) == callers
    assert sum(share.requests or 0 for share in shares) == requests
    assert all(share.requests == 0 for share in shares if not share.callers)


def test_percentiles_are_latencies_that_occurred() -> None:
    outcome = Outcome([0.4, 0.1, 0.3, 0.2])
    assert [outcome.percentile(share) for share in (0.0, 0.25, 0.5, 0.99, 1.0)] == [0.1, 0.1, 0.2, 0.4, 0.4]


def test_processes_of_callers_keep_count_together(serve: Any) -> None:
    told: list[int] = []
    address = serve(Failure(Reason.FULL, "busy"))
    with Load(8) as load:
        outcome = load.run(Job(address, EVENT, 8, 1001), told.append)
    assert len(outcome.latencies) + outcome.errors.total() == 1001
    assert outcome.errors == Counter({"FULL": 500})
    assert outcome.rate > 0


def test_a_process_that_is_not_there_has_no_usage() -> None:
    assert Usage.of(999_999_999) is None
    mine = Usage.of(os.getpid())
    assert mine is not None
    assert mine.cpu > 0

"""`guesthouse web` as a person calls it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from guesthouse.manifest.rules import is_loopback
from tests.support.ports import free_port, listens
from tests.support.waiting import until


def run(port: int, log: Path, host: str = "127.0.0.1", **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "guesthouse", "web", "--host", host, "--port", str(port), "--app", "vision"]
    with log.open("wb") as out:
        return subprocess.Popen(command, stderr=out, env={**os.environ, **environment})


def test_it_serves_the_page_until_sigterm_and_says_where(tmp_path: Path):
    port = free_port()
    log = tmp_path / "log"
    web = run(port, log, DAPR_HTTP_PORT="9", DAPR_API_TOKEN="secret-token")
    try:
        until(lambda: listens(port) or web.poll() is not None, "the page is served")
        assert web.poll() is None, log.read_text()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as response:
            assert response.read() == b"ok\n"
        web.send_signal(signal.SIGTERM)
        assert web.wait(60) in (0, -signal.SIGTERM)
    finally:
        web.kill()
        web.wait()
    said = log.read_text()
    assert f"url=http://127.0.0.1:{port}" in said
    assert "sidecar=http://127.0.0.1:9" in said
    assert "secret-token" not in said
    assert "Traceback" not in said


def test_a_port_in_use_is_said_without_a_traceback(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        web = run(port, tmp_path / "log")
        assert web.wait(60) == 1
    said = (tmp_path / "log").read_text()
    assert "cannot listen (Address already in use)" in said
    assert f"127.0.0.1:{port} — choose another with --host or --port" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("token", ["", "secret-token"])
def test_it_says_where_strangers_may_use_it(tmp_path: Path, token: str):
    with socket.socket() as taken:  # so that it ends by itself
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        web = run(taken.getsockname()[1], tmp_path / "log", "0.0.0.0", GUESTHOUSE_PAGE_TOKEN=token)
        assert web.wait(60) == 1
    said = (tmp_path / "log").read_text()
    assert ("whoever reaches the page may use it: set GUESTHOUSE_PAGE_TOKEN" in said) is not bool(token)
    assert "secret-token" not in said


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("page", False)],
)
def test_only_loopback_holds_callers_to_the_names_of_this_machine(host: str, loopback: bool):
    assert is_loopback(host) is loopback

"""The page's server before a sidecar that answers as one does: what is asked of it, what becomes of its answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from guesthouse.web.guest_host import GuestHost
from guesthouse.web.server import application
from tests.support.ports import free_port
from tests.support.waiting import join, until

GUEST = {"name": "tensor", "takes": ["application/octet-stream"]}
STATUS = {
    "routes": [{"trigger": "invoke", "name": "api/tensor", "guest": "tensor", "arrives": False, "verbs": []}],
    "guests": [GUEST],
}
NOT_FOUND = {"domain": "guesthouse", "reason": "NOT_FOUND"}
REFUSED = {"domain": "guesthouse", "reason": "GUEST", "metadata": {"guest": "tensor"}}

Answers = dict[str, tuple[int, object]]


class Stands(ThreadingHTTPServer):
    """Answers paths with what `answers` has for their ends; keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: list[str] = []
        self.hold = threading.Event()  # set: an answer waits no more
        self.hold.set()
        self.hung_up = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Stands
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if not self.server.hold.is_set():
            self.connection.settimeout(60)
            with contextlib.suppress(OSError):
                while self.connection.recv(65536):  # "" is the end: the caller hung up
                    pass
            self.server.hung_up.set()
            return
        found = next((answer for end, answer in self.server.answers.items() if self.path.endswith(end)), (404, {}))
        body = json.dumps(found[1]).encode()
        self.send_response(found[0])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        if self.server.hold.is_set():
            self.rfile.read(int(self.headers.get("content-length") or 0))
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def sidecar() -> Iterator[Stands]:
    with Stands() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        join(thread)


@pytest.fixture
def page(sidecar: Stands) -> Iterator[TestClient]:
    with TestClient(application(GuestHost(sidecar.url, "vision")), base_url="http://127.0.0.1:8080") as client:
        yield client


def test_a_refusal_says_what_that_guest_takes(sidecar: Stands, page: TestClient):
    sidecar.answers = {"/status": (200, STATUS), "/api/tensor": (500, {"message": "no", "details": [REFUSED]})}
    assert page.get("/api/status").status_code == 200
    error = page.post("/api/call/api/tensor", content=b"x").json()["error"]
    assert (error["title"], error["guest"]) == ("The guest refused the file", "tensor")
    assert error["remedy"] == "Try another file: this guest takes raw bytes."


def test_a_guest_is_asked_for_by_its_name(sidecar: Stands, page: TestClient):
    sidecar.answers = {"/_guesthouse/guests/tensor": (200, GUEST)}
    assert page.get("/api/guests/tensor").json() == GUEST


def test_a_guest_that_the_host_does_not_know_is_told_apart(sidecar: Stands, page: TestClient):
    sidecar.answers = {"/guests/gone": (404, {"message": "no", "details": [NOT_FOUND]})}
    error = page.get("/api/guests/gone").json()["error"]
    assert (error["code"], error["text"]) == ("unknown-guest", "The host has no guest “gone”, or does not show it.")


def test_a_larger_picture_is_asked_for_and_nothing_else(sidecar: Stands, page: TestClient):
    for query in ("", "?large", "?large=1", "?x=y"):
        page.get(f"/api/pictures/ab-1{query}")
    ends = [path.rpartition("/")[2] for path in sidecar.asked]
    assert ends == ["ab-1", "ab-1?large", "ab-1", "ab-1"]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"id": "desk"}, '[page] apps = ["desk"]'),
        ({"id": "vision"}, "Give the page a sidecar of its own"),
        ([], '[page] apps = ["web"]'),
    ],
)
def test_a_page_without_consent_is_told_what_to_write_by_its_sidecars_own_name(
    sidecar: Stands, page: TestClient, own: object, said: str
):
    sidecar.answers = {"/status": (404, {"message": "no", "details": [NOT_FOUND]}), "/v1.0/metadata": (200, own)}
    error = page.get("/api/status").json()["error"]
    assert error["code"] == "not-shown"
    assert said in error["remedy"]


Running = Callable[[str], "tuple[int, Path]"]


@pytest.fixture
def running(sidecar: Stands, tmp_path: Path) -> Iterator[Running]:
    """Starts `guesthouse web` before the sidecar, at a log level: its port and its log."""
    with contextlib.ExitStack() as stack:

        def start(level: str) -> tuple[int, Path]:
            port = free_port()
            log = tmp_path / "log"
            command = [sys.executable, "-m", "guesthouse", "web", "--port", str(port), "--log-level", level]
            environment = {**os.environ, "DAPR_HTTP_PORT": sidecar.url.rpartition(":")[2]}
            with log.open("wb") as out:
                web = subprocess.Popen(command, stderr=out, env=environment)
            stack.callback(web.wait, 30)
            stack.callback(web.terminate)
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz"):
                    return port, log
                assert web.poll() is None, log.read_text()
                signal.sigtimedwait((), 0.05)
            raise AssertionError(log.read_text())

        yield start


@pytest.mark.parametrize("level", ["info", "debug"])
def test_what_a_page_asks_all_the_time_is_not_logged(sidecar: Stands, running: Running, level: str):
    sidecar.answers = {"/status": (200, STATUS)}
    port, log = running(level)
    for _ in range(5):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status") as answer:
            assert answer.status == 200
    assert len(sidecar.asked) == 5
    assert "/_guesthouse/status" not in log.read_text()
    assert "the page" in log.read_text()


def test_a_call_that_the_browser_cancels_is_canceled_at_the_sidecar(sidecar: Stands, running: Running):
    port, log = running("info")
    sidecar.hold.clear()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/api/call/api/image", b"x")
    until(lambda: sidecar.asked)
    connection.close()
    assert sidecar.hung_up.wait(60)
    assert "Traceback" not in log.read_text()

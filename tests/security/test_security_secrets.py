"""Secrets stay where they belong: in no line of the log at any level, in no error, in no output of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import wasmtime

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Trigger
from tests.support.served import ROOT, Served

SECRETS = {
    "APP_TOKEN": "token-of-the-sidecar-1f0c",
    "OLD_TOKEN": 'old "token"-2e1d',
    "METRICS_TOKEN": "token-of-prometheus-3d2e",
    "GUEST_PASSWORD": "password-of-the-guest-4c3f",
    "DAPR_API_TOKEN": "token-of-the-api-5b40",
    "COLLECTOR": "127.0.0.1:1/password-of-the-collector-6a51",
}
MANIFEST = """
[app]
name = "t"
[server]
token = ["${APP_TOKEN}", "${OLD_TOKEN}"]
[metrics]
port = 0
token = "${METRICS_TOKEN}"
[traces]
endpoint = "http://${COLLECTOR}"
[guests.traps]
module = "traps.wasm"
function = "f"
env = { PASSWORD = "${GUEST_PASSWORD}", PLAIN = "in-the-manifest-7962" }
[[invoke]]
method = "traps"
guest = "traps"
[[binding]]
name = "camera"
guest = "traps"
to = ["nowhere"]
"""
TRAPS = """(module (memory (export "memory") 1)
  (func (export "allocate") (param i32) (result i32) i32.const 1024)
  (func (export "f") (param i32 i32) (result i32) unreachable))"""


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    (tmp_path / "traps.wasm").write_bytes(bytes(wasmtime.wat2wasm(TRAPS)))
    path = tmp_path / "guesthouse.toml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def environment() -> dict[str, str]:
    return {**SECRETS, **{name: os.environ[name] for name in ("GUESTHOUSE_CACHE", "PATH")}}


def found_in(text: str) -> list[str]:
    """The secrets in a text, also escaped as JSON does it or represented as Python does it."""
    values = (*SECRETS.values(), "in-the-manifest-7962")
    return [value for value in values if value in text or value.replace('"', '\\"') in text]


def test_no_secret_is_in_the_log_at_any_level(manifest: Path, environment):
    """Served, called well and wrongly, scraped, reloaded to something sound and to something broken, drained."""
    served = Served("-m", manifest, "--log-level", "debug", **environment)
    serving = served.line("serving")
    with Client(serving["address"], token=SECRETS["APP_TOKEN"]) as client:
        for event in (Event(Trigger.INVOKE, "traps"), Event(Trigger.BINDING, "camera"), Event(Trigger.JOB, "none")):
            with pytest.raises(Failure) as caught:
                client.send(event, timeout=60)
            assert found_in(str(caught.value)) == []
            served.line("failed")
    with Client(serving["address"], token=SECRETS["APP_TOKEN"] + "x") as client:
        with pytest.raises(Failure) as caught:
            client.send(Event(Trigger.INVOKE, "traps"), timeout=60)
        assert found_in(str(caught.value)) == []
        served.line("refused")
    request = urllib.request.Request(f"http://{serving['metrics']}/metrics")
    request.add_header("Authorization", f"Bearer {SECRETS['METRICS_TOKEN']}")
    with urllib.request.urlopen(request, timeout=20) as response:
        assert found_in(response.read().decode()) == []
    for text, said in (
        (MANIFEST.replace('"${APP_TOKEN}", ', ""), "reloaded"),
        (MANIFEST.replace("port = 0", 'port = "${METRICS_TOKEN}"'), "not reloaded"),
        (MANIFEST.replace("PLAIN = ", "PLAIN = 3 "), "not reloaded"),
        (MANIFEST.replace('function = "f"', 'function = "missing"'), "not reloaded"),
    ):
        manifest.write_text(text)
        served.process.send_signal(signal.SIGHUP)
        served.line(said)
    rest = served.ended()
    assert len(served.passed) >= 10
    assert found_in("".join([*served.passed, rest])) == []
    assert served.process.returncode == 0


@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "--json"], ["send", "-v", "invoke", "traps", "--data", "-"], ["models", "list"]]
)
@pytest.mark.parametrize("broken", [False, True], ids=["sound", "broken"])
def test_no_secret_is_in_what_a_command_says(manifest: Path, environment, arguments: list[str], broken: bool):
    if broken:
        manifest.write_text(
            MANIFEST.replace("port = 0", 'port = "${METRICS_TOKEN}"').replace(
                "[traces]", '[traces]\nx = "${COLLECTOR}"'
            )
        )
    done = subprocess.run(
        [sys.executable, "-m", "guesthouse", "-m", str(manifest), *arguments],
        env={**environment, "PYTHONPATH": f"{ROOT / 'app'}:{ROOT / 'abi'}", "GUESTHOUSE_DEBUG": "1"},
        input="x",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (1 if broken or arguments[0] == "send" else 0), done.stderr
    assert found_in(done.stdout + done.stderr) == []

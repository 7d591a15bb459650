"""dev: builds and loads again on each change, and a timeline of each event."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import wasmtime

from guesthouse.cli.timeline import Timeline
from guesthouse.event import Answer, Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.observe import logs
from guesthouse_abi.spent import Call
from tests.support.logged import own_log
from tests.support.relay import RELAY
from tests.support.waiting import until

MANIFEST = """
[app]
name = "t"
[guests.relay]
module = "relay.wasm"
calling = "dapr"
dapr = { read_state = ["store/cart"] }
[[invoke]]
method = "GetState"
guest = "relay"
"""
CALLS = """
[[call]]
method = "GetState"
request = { key = "cart" }
reply = { data = { text = "tea" } }
"""
#: Builds `relay.wasm` from WAT.
BUILD = """
import sys, wasmtime
wat = open("relay.wat").read()
try:
    open("relay.wasm", "wb").write(wasmtime.wat2wasm(wat))
except wasmtime.WasmtimeError as error:
    sys.exit(f"no good: {str(error).splitlines()[0]}")
"""
BODY = b"\n\x05store\x12\x04cart"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "guesthouse.toml").write_text(MANIFEST)
    (folder / "calls.toml").write_text(CALLS)
    (folder / "relay.wat").write_text(RELAY)
    (folder / "build.py").write_text(BUILD)
    (tmp_path / "body").write_bytes(BODY)
    return folder


class Dev:
    """`guesthouse dev` in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def says(self, pattern: str) -> str:
        def found() -> str:
            match = re.search(pattern, self.printed, re.MULTILINE)
            assert match or self.process.poll() is None, self.printed
            return match[0] if match else ""

        return str(until(found, f"dev says {pattern}"))

    @property
    def address(self) -> str:
        return self.says(r"127\.0\.0\.1:\d+")

    def send(self, cwd: Path) -> subprocess.CompletedProcess[bytes]:
        arguments = ["send", "invoke", "GetState", "--data", "body", "--to", self.address]
        command = [sys.executable, "-m", "guesthouse", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, timeout=120, check=False)


@contextlib.contextmanager
def dev(folder: Path) -> Iterator[Dev]:
    log = folder.parent / "log"
    build = f"{sys.executable} build.py"
    arguments = ["dev", str(folder), "--port", "0", "--build", build, "--dapr", str(folder / "calls.toml")]
    with log.open("wb") as out:
        command = [sys.executable, "-m", "guesthouse", *arguments]
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        yield Dev(process, log)
    finally:
        process.kill()
        process.wait()


def test_a_change_is_built_and_loaded_and_events_are_told(folder: Path) -> None:
    with dev(folder) as running:
        running.says("^built in ")
        assert running.send(folder.parent).stdout == b"\n\x03tea"
        running.says(r"^\d\d:\d\d:\d\d invoke GetState, 13 bytes: 200, 5 bytes$")
        running.says(r"^ +[\d.]+ ms GetState OK in [\d.]+ ms$")
        running.says(r"^ +[\d.]+ ms in all \(queued .*, dapr [\d.]+\), [\d.]+ MiB$")
        (folder / "relay.wat").write_text(RELAY.replace('"code"', '"kode"'))
        running.says("reloaded")
        assert running.send(folder.parent).stdout == b"\n\x03tea"  # the script begins anew
        (folder / "relay.wat").write_text("(module")
        running.says("^no good: ")
        running.says("^not built: .* ended with exit code 1$")
        assert running.send(folder.parent).returncode == 0  # what was built last is served
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0


def test_a_guest_that_is_not_built_yet_is_waited_for(folder: Path) -> None:
    (folder / "relay.wat").write_text("(module")
    with dev(folder) as running:
        running.says("^waiting for a change$")
        (folder / "relay.wat").write_text(RELAY)
        assert running.send(folder.parent).stdout == b"\n\x03tea"


def test_calls_that_the_script_does_not_expect_are_told(folder: Path) -> None:
    (folder / "calls.toml").write_text(CALLS.replace('"cart"', '"other"'))
    (folder / "relay.wasm").write_bytes(wasmtime.wat2wasm(RELAY))
    with dev(folder) as running:
        assert running.send(folder.parent).returncode == 1
        running.says(r"^ +! an unexpected call of GetState: .* request.key is \"cart\", not \"other\"$")
        running.says(r"^ +! call 1 \(GetState\) did not come$")


# ---- the timeline ----


@pytest.fixture
def timeline() -> Iterator[Timeline]:
    with own_log():
        logs.configure()
        made = Timeline(lambda: ["as it should not be"])
        made.install()
        yield made
        made.remove()


EVENT = Event(Trigger.TOPIC, "pubsub/photos", b"xy")


def cost() -> Cost:
    now = time.perf_counter()
    calls = (
        Call("dapr", "SaveState", now - 0.5, now - 0.25, "ABORTED"),
        Call("inference", "classifier", now - 0.75, now - 0.7),
    )
    return Cost(0.001, 0.002, 0.003, {"dapr": 0.25}, 1.5, 65536, began=now - 1.0, calls=calls)


def test_an_event_is_told_in_the_order_of_time(timeline: Timeline, capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger("guesthouse.guest").bind(guest="cat")
    log.warning("looks \x1b odd", fields={"a": "b"})
    log.info("meow", stream="stderr")
    timeline.answered(EVENT, Reply(b"abc", "text/plain", "cat", cost()))
    printed = capsys.readouterr()
    assert printed.err == ""
    first, *lines = [re.sub(r"^\d\d:\d\d:\d\d", "TIME", line) for line in printed.out.splitlines()]
    assert first == "TIME topic pubsub/photos, 2 bytes: 200, 3 bytes text/plain"
    texts = [re.sub(r"^ +[\d.]+ ms ", "", line) for line in lines]
    assert texts == [
        "classifier in 50.0 ms",
        "SaveState ABORTED in 250.0 ms",
        "warning: looks \\x1b odd a=b",
        "stderr: meow",
        "in all (queued 1.0, guest 2.0, host 3.0, inference 0.0, dapr 250.0), 0.1 MiB",
        "           ! as it should not be",
    ]


def test_an_event_that_failed_or_has_a_status_is_told_with_the_reason(
    timeline: Timeline, capsys: pytest.CaptureFixture[str]
) -> None:
    timeline.failed(EVENT, Failure(Reason.TRAP, "a trap", "cat"))
    assert "failed with TRAP: guest 'cat': a trap" in capsys.readouterr().out
    timeline.answered(EVENT, Reply(b"", answer=Answer(404, "no such cat")))
    assert "404 (no such cat), 0 bytes" in capsys.readouterr().out


def test_lines_are_told_with_their_own_event(timeline: Timeline, capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("guesthouse.guest").warning("first")
    timeline.answered(EVENT, Reply(b""))
    timeline.answered(EVENT, Reply(b""))
    assert capsys.readouterr().out.count("first") == 1

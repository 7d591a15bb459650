"""A manifest with a guest that says what it was built to say, and a log that is looked at."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from guesthouse.guests.log import GuestLog
from tests.reload.reloading import MANIFEST, Reloading, Serve, reloading, says
from tests.support.served import Served
from tests.support.waiting import PATIENCE


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Its guest says `old`; a test changes one or the other."""
    (tmp_path / "says.wasm").write_bytes(says("old"))
    path = tmp_path / "guesthouse.toml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def app(manifest: Path) -> Iterator[Reloading]:
    with reloading(manifest) as served:
        yield served


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Guests that log `wait` stay in that call until it is set."""
    opened = threading.Event()

    def line(self: GuestLog, stream: str, text: str) -> None:
        if text == "wait":
            assert opened.wait(PATIENCE)

    monkeypatch.setattr(GuestLog, "line", line)
    yield opened
    opened.set()


@pytest.fixture
def serve(manifest: Path) -> Iterator[Serve]:
    """Starts the program with the manifest."""
    started: list[Served] = []
    environment = {"GUESTHOUSE_CACHE": os.environ["GUESTHOUSE_CACHE"], "PATH": os.environ["PATH"]}

    def start(*arguments: object, **more: str) -> Served:
        started.append(Served("-m", manifest, *arguments, **environment, **more))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()

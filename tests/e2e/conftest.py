"""An application with the repository's manifest and built guests, served on a real port of this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guesthouse.dapr.client import Client
from tests.support.manifests import placed
from tests.support.places import PLACES
from tests.support.serving import serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    """Where guests run: every test here must pass with each."""
    return str(request.param)


@pytest.fixture(scope="session")
def vision(place: str) -> Iterator[Client]:
    """The repository's own application."""
    with serving(ROOT / "guesthouse.toml", place) as (client, _):
        yield client


@pytest.fixture
def serve(tmp_path: Path, guests_folder: Path, place: str) -> Iterator[Callable[[str], Client]]:
    """Serve a manifest written in the test; `GUESTS` and `ROOT` in it stand for two folders of the repository."""
    with contextlib.ExitStack() as stack:

        def start(text: str) -> Client:
            path = tmp_path / "guesthouse.toml"
            path.write_text(placed(text, guests_folder))
            client, _ = stack.enter_context(serving(path, place))
            return client

        yield start

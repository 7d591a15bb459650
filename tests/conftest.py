"""Fixtures that many rooms share. No engine is made when modules are imported: faulthandler must come first."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.budget import FACTOR
from tests.support.places import HERE

# The same seed in each run: what is found at random is for `make fuzz`, and becomes a test. The examples may differ all
# the same, for Hypothesis also takes constants from the modules that happen to be imported. So no test fails for the
# size, the number or the time of what was drawn.
_UNMEASURED = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("same", _UNMEASURED, derandomize=True)
settings.register_profile("fuzz", _UNMEASURED, print_blob=True)
settings.load_profile("same" if FACTOR == 1 else "fuzz")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def code_cache() -> Iterator[None]:
    """The tests have a cache of compiled code of their own, in this process and in those that tests start.

    It stays for the next run: its files are named by what they are compiled from and by what. It keeps itself small.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUESTHOUSE_CACHE", str(home / "guesthouse-tests"))
        patch.setenv("GUESTHOUSE_PYTHON_WASM", str(home / "guesthouse-tests" / "python.wasm"))  # support/interpreter.py
        yield


@pytest.fixture(scope="session", params=["pooling", "on demand"])
def engine(request: pytest.FixtureRequest) -> Iterator[object]:
    """A wasmtime engine, with each of its allocators."""
    from guesthouse.engine.base import EngineConfig
    from guesthouse.engine.wasmtime import WasmtimeEngine

    made = WasmtimeEngine(EngineConfig(pooling=request.param == "pooling"))
    yield made
    made.close()


@pytest.fixture(scope="session", params=["pooling", "on demand", *(["wasmer"] if HERE else [])])
def any_engine(request: pytest.FixtureRequest) -> Iterator[object]:
    """Every engine that can run guests in this process."""
    from guesthouse.engine import open_engine
    from guesthouse.engine.base import EngineConfig

    name = "wasmer" if request.param == "wasmer" else "wasmtime"
    with contextlib.closing(open_engine(name, EngineConfig(pooling=request.param == "pooling"))) as made:
        yield made


@pytest.fixture(scope="session")
def guests_folder() -> Path:
    """Where the built guests are: those of the repository, or the ones that CI rebuilt (`$GUESTHOUSE_GUESTS`)."""
    return Path(os.environ.get("GUESTHOUSE_GUESTS") or ROOT / "guests")


@pytest.fixture(scope="session")
def photos() -> Path:
    return ROOT / "tests" / "data" / "photos"

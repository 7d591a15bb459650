"""A manifest whose guests end in each way that matters here, and the application that serves it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from tests.observe.watched import Collector, Watched, watched
from tests.support.manifests import placed
from tests.support.waiting import join
from tests.support.wat import ENVIRONMENT, LOOPS

GUESTS = {
    "traps": '(module (memory (export "memory") 3) (func (export "_start") unreachable))',
    "loops": LOOPS,
    "environment": ENVIRONMENT,
}

MANIFEST = """
[app]
name = "watched"
[metrics]
token = ["one", "other"]
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
stands_for = ["459a5c728732a1022fbe625f66cad5f626a67b1e4a17fad819cd23cdf78cb3a1"]
batch = { size = 8, delay = "50ms" }
[guests.person]
module = "GUESTS/person/person.wasm"
function = "infer"
models = ["person"]
limits = { concurrency = 4 }
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.traps]
module = "traps.wasm"
calling = "command"
[guests.loops]
module = "loops.wasm"
calling = "command"
limits = { concurrency = 1, queue = 3, time = "30s" }
[guests.environment]
module = "environment.wasm"
calling = "command"
[[invoke]]
method = "echo"
guest = "echo"
[[invoke]]
method = "person"
guest = "person"
[[invoke]]
method = "traps"
guest = "traps"
[[invoke]]
method = "loops"
guest = "loops"
[[invoke]]
method = "environment"
guest = "environment"
[[actor]]
type = "Cart"
guest = "echo"
[[binding]]
name = "camera"
guest = "echo"
to = ["results"]
state = { store = "kv", key = "last" }
[[binding]]
name = "timer"
guest = "echo"
[[topic]]
pubsub = "pubsub"
topic = "photos"
guest = "echo"
[[job]]
name = "nightly"
guest = "traps"
"""


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory, guests_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    for name, wat in GUESTS.items():
        (folder / f"{name}.wasm").write_bytes(bytes(wasmtime.wat2wasm(wat)))
    path = folder / "guesthouse.toml"
    path.write_text(placed(MANIFEST, guests_folder))
    return path


@pytest.fixture
def app(manifest: Path) -> Iterator[Watched]:
    """Served anew for each test: what was counted before is gone."""
    with watched(manifest) as served:
        yield served


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        join(thread)

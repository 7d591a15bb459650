"""An application in which hostile guests and healthy ones live side by side, in threads or in processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Reason
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from tests.hostile.attacks import ATTACKS, FILES, GRANTED, caller
from tests.support.doubles import NoOutputs
from tests.support.manifests import placed
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.wat import cat

HEALTHY = """
ENGINE
[app]
name = "t"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
[models.classifier]
path = "ROOT/models/efficientnet-lite0.onnx"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[guests.classify]
module = "GUESTS/classify/classify.wasm"
function = "infer"
models = ["classifier"]
isolation = "ISOLATION"
limits = { pixels = 1000000, concurrency = 2 }
[[invoke]]
method = "echo"
guest = "echo"
[[invoke]]
method = "classify"
guest = "classify"
[guests.cat]
module = "cat.wasm"
calling = "command"
files = { "/granted" = "granted" }
isolation = "ISOLATION"
limits = { concurrency = 1, queue_wait = "60s" }
[[invoke]]
method = "cat"
guest = "cat"
[guests.caller]
module = "caller.wasm"
function = "f"
models = ["person"]
FILES
allow_guest_models = true
isolation = "ISOLATION"
limits = { memory = "8MiB", time = "2s", concurrency = 2, host_memory = "8MiB", log = "1KB" }
[[invoke]]
method = "caller"
guest = "caller"
"""
ATTACK = """
[guests.NAME]
module = "NAME.wasm"
CALLED
models = ["person"]
FILES
isolation = "ISOLATION"
limits = { memory = "8MiB", time = "TIME", concurrency = 2, host_memory = "8MiB", output = "1MiB", log = "1KB" }
[[invoke]]
method = "NAME"
guest = "NAME"
"""


@pytest.fixture(scope="session", params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def plan(place: str, tmp_path_factory: pytest.TempPathFactory, guests_folder: Path) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "granted").write_bytes(GRANTED)
    (folder / "cat.wasm").write_bytes(cat("granted"))
    text = placed(HEALTHY.replace("FILES", FILES), guests_folder)
    (folder / "caller.wasm").write_bytes(wasmtime.wat2wasm(caller()))
    for name, attack in ATTACKS.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(attack.wat))
        called = f'calling = "{attack.calling}"' + '\nfunction = "f"' * (attack.calling in ("bindgen", "extism"))
        time = "300ms" if Reason.DEADLINE in attack.ends else "30s"  # what ends otherwise does so on a slow machine too
        table = ATTACK.replace("NAME", name).replace("CALLED", called).replace("TIME", time)
        table = table.replace("FILES", attack.grants)
        text += table if place == "thread" else table.replace("concurrency = 2", "concurrency = 1")
    (folder / "guesthouse.toml").write_text(
        text.replace("ENGINE", engine_table(place)).replace("ISOLATION", isolation_of(place))
    )
    with open_plan(load(folder / "guesthouse.toml", grants=GRANTS)) as plan:
        yield plan


@pytest.fixture(scope="session")
def dispatch(plan: Plan) -> Dispatcher:
    return Dispatcher(Plans(plan), NoOutputs())

"""Applications behind sidecars: the repository's own, one of misbehaving guests, and what a test asks for.

These tests need a real daprd (tests/daprd/build.py finds or builds it), Redis and Mosquitto (install.sh). They run by
`make test-dapr`, never with the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wasmtime

from tests.dapr_real.calling_guests import MODULES as CALLING
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_guests import GUESTS
from tests.dapr_real.real_programs import ROOT, App, Mosquitto, Pair, Redis, Sidecar, Start, running, starting
from tests.support.ports import free_port


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the logs and files of one session's programs."""
    return tmp_path_factory.mktemp("dapr")


@pytest.fixture(scope="session")
def names(room: Path) -> Path:
    """The file by which the sidecars of a session find each other."""
    return room / "names.db"


@pytest.fixture(scope="session")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tests' own guests, written as WAT."""
    folder = tmp_path_factory.mktemp("modules")
    for name, wat in {**GUESTS, **CALLING}.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
    return folder


@pytest.fixture(scope="session")
def vision(room: Path, names: Path) -> Iterator[Pair]:
    """The repository's own manifest behind a sidecar that takes large bodies."""
    folder = room / "vision"
    folder.mkdir()
    sidecar = Sidecar(folder, "vision", names=names, flags=("--max-body-size", "32Mi"), app_port=free_port())
    app = App(folder, ROOT / "guesthouse.toml", port=sidecar.app_port, sidecar_port=sidecar.ports.grpc)
    with running(app, sidecar):
        yield Pair(app, sidecar)


@pytest.fixture(scope="session")
def caller(room: Path, names: Path) -> Iterator[Sidecar]:
    """The sidecar of another application, which only calls."""
    folder = room / "caller"
    folder.mkdir()
    sidecar = Sidecar(folder, "caller", names=names, flags=("--max-body-size", "32Mi"))
    with running(sidecar):
        yield sidecar


@pytest.fixture(scope="session")
def stands_for(modules: Path, guests_folder: Path) -> dict[str, Path]:
    """What these words in a test's manifest mean."""
    return {"MODULES": modules, "GUESTS": guests_folder, "ROOT": ROOT}


@pytest.fixture
def start(tmp_path: Path, names: Path, stands_for: dict[str, Path]) -> Iterator[Start]:
    """See `starting`."""
    with starting(tmp_path, names, stands_for) as begin:
        yield begin


@pytest.fixture(scope="module")
def start_for_module(
    tmp_path_factory: pytest.TempPathFactory, names: Path, stands_for: dict[str, Path]
) -> Iterator[Start]:
    """The same, for an application that a module's tests share."""
    with starting(tmp_path_factory.mktemp("shared"), names, stands_for) as begin:
        yield begin


@pytest.fixture(scope="session")
def redis(room: Path) -> Iterator[Redis]:
    server = Redis(room).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def control_plane(room: Path) -> Iterator[ControlPlane]:
    folder = room / "control-plane"
    folder.mkdir()
    services = ControlPlane(folder)
    with running(services.placement, services.scheduler):
        yield services


@pytest.fixture(scope="session")
def mosquitto(room: Path) -> Iterator[Mosquitto]:
    server = Mosquitto(room).start()
    yield server
    server.stop()

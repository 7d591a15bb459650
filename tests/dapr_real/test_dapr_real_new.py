"""A folder that `guesthouse new` has made is served as it is: behind a sidecar with a state store, it counts visits."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.cli.new import LANGUAGES, Lang, make
from tests.dapr_real.real_programs import App, Pair, Sidecar, running
from tests.support.ports import free_port

STORE = """\
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: statestore
spec:
  type: state.in-memory
  version: v1
"""


@pytest.fixture
def cart(tmp_path: Path, names: Path) -> Iterator[Pair]:
    if missing := [need.what for need in LANGUAGES[Lang.C].needs if not need.found()]:
        pytest.skip(f"not here: {', '.join(missing)}")
    folder = tmp_path / "cart"
    make(folder, Lang.C)
    subprocess.run(["make", "-s"], cwd=folder, check=True)
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "store.yaml").write_text(STORE)
    resources = (tmp_path / "components",)
    sidecar = Sidecar(tmp_path, "cart", app_port=free_port(), names=names, resources=resources)
    app = App(tmp_path, folder / "guesthouse.toml", port=sidecar.app_port, sidecar_port=sidecar.ports.grpc)
    with running(app, sidecar):
        yield Pair(app, sidecar)


def test_a_new_guest_counts_visits_in_the_sidecars_store(cart: Pair) -> None:
    answers = [cart.sidecar.invoke("cart", "cart", name) for name in (b"Ada", b"Bo", b"Ada")]
    assert [(answer.status, answer.body) for answer in answers] == [
        (200, b"Hello, Ada! This is visit 1.\n"),
        (200, b"Hello, Bo! This is visit 1.\n"),
        (200, b"Hello, Ada! This is visit 2.\n"),
    ]
    assert cart.sidecar.invoke("cart", "cart", b"").status == 400

"""The Go SDK as a package: its own tests, which need no Wasm, and what its guests import.

Its examples are in test_sdk_examples.py, its clients in test_sdk_clients.py.
"""

from __future__ import annotations

import re

import wasmtime

from tests.sdk.modules import SDK, go, go_module


def test_its_own_tests_pass() -> None:
    go("vet", "./...")
    told = go("test", "./...")
    assert re.search(r"^ok\s+guesthouse/dapr\s", told, re.MULTILINE)


def test_its_code_for_wasm_is_sound() -> None:
    assert go("vet", "./...", wasm=True) == ""


def test_a_guest_that_runs_no_model_imports_dapr_v1_and_wasi_alone() -> None:
    module = wasmtime.Module(wasmtime.Engine(), go_module("examples/hello").read_bytes())
    assert {one.module for one in module.imports} == {"dapr_v1", "wasi_snapshot_preview1"}
    assert [one.name for one in module.exports if (one.name or "").startswith("dapr_on_")] == ["dapr_on_invoke"]


def test_it_needs_no_other_package() -> None:
    assert not (SDK / "go" / "go.sum").exists()
    assert "require" not in (SDK / "go" / "go.mod").read_text()

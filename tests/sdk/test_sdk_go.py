"""The Go SDK as a package: its own tests, which need no Wasm, and what its guests import.

Its examples are in test_sdk_examples.py, its clients in test_sdk_clients.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse_abi.deadline import Deadline
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


def test_its_runtime_starts_once_in_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUESTHOUSE_CACHE", str(tmp_path / "code"))
    (tmp_path / "guesthouse.toml").write_text(f"""
[app]
name = "t"
[guests.hello]
module = "{go_module("examples/hello")}"
calling = "dapr"
snapshot = true
limits = {{ time = "20s" }}
""")
    event = Event(Trigger.INVOKE, "hello", b"", query="name=Ada", metadata={"x-greeting": "Good day"})
    with open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS)) as plan:
        guest = plan.guests["hello"]
        assert "_initialize" not in guest.code.module.exports
        for _ in range(3):
            assert guest.run(event, Deadline.after(30)).body == b"Good day, Ada!"


def test_it_needs_no_other_package() -> None:
    assert not (SDK / "go" / "go.sum").exists()
    assert "require" not in (SDK / "go" / "go.mod").read_text()

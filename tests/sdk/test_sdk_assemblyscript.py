"""The AssemblyScript SDK as a package: its own tests in Node, and what somebody who installs it can do.

Its examples are in test_sdk_examples.py, its clients in test_sdk_clients.py.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import wasmtime

from tests.sdk.modules import AS, as_module, node_modules, ran, tool


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package with its compiler."""
    copy = tmp_path / "package"
    shutil.copytree(AS, copy, ignore=shutil.ignore_patterns("node_modules", "build"))
    (copy / "node_modules").symlink_to(node_modules())
    return copy


def test_its_own_tests_pass(package: Path) -> None:
    told = ran(tool("npm"), "test", cwd=package)
    assert re.search(r"^\S pass [1-9]", told, re.MULTILINE)
    assert re.search(r"^\S fail 0$", told, re.MULTILINE)


def test_the_guest_of_its_readme_compiles_where_it_is_installed(package: Path, tmp_path: Path) -> None:
    """What npm packs is enough: the sources, the configuration, the mock."""
    told = json.loads(ran(tool("npm"), "pack", "--json", "--silent", cwd=package))
    packed = [file["path"] for file in told[0]["files"]]
    installed = tmp_path / "node_modules" / "guesthouse-dapr"
    for file in packed:
        (installed / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / file, installed / file)
    readme = (AS / "README.md").read_text()
    guest, *_, test = (block[1] for block in re.finditer(r"```(?:ts|js)\n(.*?)```", readme, re.DOTALL))
    (tmp_path / "count.ts").write_text(guest)
    compiler = node_modules() / "assemblyscript" / "bin" / "asc.js"
    config = "node_modules/guesthouse-dapr/asconfig.json"
    ran(tool("node"), compiler, "count.ts", "--config", config, "-o", "count.wasm", cwd=tmp_path)
    imports = 'import assert from "node:assert/strict";\nimport { readFileSync } from "node:fs";\n'
    (tmp_path / "count.test.mjs").write_text(imports + test)
    ran(tool("node"), "count.test.mjs", cwd=tmp_path)


def test_a_guest_that_runs_no_model_imports_dapr_v1_alone() -> None:
    module = wasmtime.Module(wasmtime.Engine(), as_module("examples/hello.ts").read_bytes())
    assert {one.module for one in module.imports} == {"dapr_v1"}
    assert [one.name for one in module.exports if (one.name or "").startswith("dapr_on_")] == ["dapr_on_invoke"]


def test_its_lock_file_names_no_registry() -> None:
    lock = json.loads((AS / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    version = json.loads((AS / "package.json").read_text())["version"]
    assert lock["version"] == version
    assert f'VERSION = "{version}"' in (AS / "assembly" / "index.ts").read_text()

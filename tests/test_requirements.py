"""The lock files: pinned by hash, without a registry's address, and in step with pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
PIN = re.compile(r"^([a-z0-9-]+)==([^ ]+)(?: ; (.*?))? \\$", re.MULTILINE)


def pins(name: str) -> set[tuple[str, str, str]]:
    return {(found[1], found[2], found[3] or "") for found in PIN.finditer((FOLDER / name).read_text())}


@pytest.mark.parametrize("name", ["runtime.txt", "build.txt", "dev.txt"])
def test_every_requirement_is_pinned_by_hash_and_nothing_else_is_said(name):
    lines = (FOLDER / name).read_text().splitlines()
    assert len(lines) > 20
    for line in lines:
        assert PIN.match(line) or re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_all_files_agree_on_versions():
    everything = {(name, version) for name, version, _ in pins("dev.txt")}
    for name in ("runtime.txt", "build.txt"):
        assert {(package, version) for package, version, _ in pins(name)} <= everything


def test_what_the_project_needs_is_locked():
    project = (ROOT / "pyproject.toml").read_text()
    dependencies = project.partition("\ndependencies = [")[2].partition("\n]")[0]
    wanted = set(re.findall(r'^    "([A-Za-z0-9-]+)', dependencies, re.MULTILINE))
    assert len(wanted) > 10
    assert wanted <= {package for package, _, _ in pins("runtime.txt")}, "run make lock"


def test_the_oldest_python_has_its_own_versions():
    markers = {marker for package, _, marker in pins("runtime.txt") if package == "onnxruntime"}
    assert markers == {"python_full_version < '3.11'", "python_full_version >= '3.11'"}

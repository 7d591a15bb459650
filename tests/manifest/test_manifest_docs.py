"""docs/manifest.md says what the models say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from guesthouse.manifest import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(generate):
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run make docs"


def test_the_example_on_the_page_loads(generate, tmp_path):
    path = tmp_path / "guesthouse.toml"
    path.write_text(generate.EXAMPLE)
    assert load(path, {}).guests["classify"].limits.concurrency == 4


def test_the_applications_own_manifest_loads():
    assert load(ROOT / "guesthouse.toml", {}).app.name == "vision"


def test_every_key_has_a_meaning(generate):
    for line in generate.page().splitlines():
        if line.startswith("| `"):
            assert not line.endswith("|  |"), line

"""docs/manifest.md says what the models say."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from guesthouse.manifest import load
from guesthouse.manifest.grant_tables import manifest_with

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


def test_a_table_that_a_capability_adds_has_a_section(generate):
    @dataclass(frozen=True)
    class Mailbox:
        """The letters that the guest may send."""

        most: int = field(default=8, metadata={"description": "how many"})

    sections = "".join(generate.sections(manifest_with({"mailbox": Mailbox})))
    assert "## [guests.NAME.mailbox]\n\nThe letters that the guest may send." in sections
    assert "| `most` | number | `8` | how many |" in sections

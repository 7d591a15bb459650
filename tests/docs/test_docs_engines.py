"""docs/engines.md has the table that the kit's rules and columns make, docs/dapr-abi.md the examples of the SDKs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate_engines", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_up_to_date(generate):
    assert generate.ENGINES.read_text(encoding="utf-8") == generate.engines(), "run make docs"


def test_the_examples_are_those_of_the_sdks(generate):
    assert generate.TOUR.read_text(encoding="utf-8") == generate.tour(), "run make docs"


def test_a_page_without_a_place_for_the_table_is_told(generate, monkeypatch, tmp_path):
    monkeypatch.setattr(generate, "ENGINES", tmp_path / "engines.md")
    generate.ENGINES.write_text("# Engines\n")
    with pytest.raises(ValueError, match=r"engines.md has no place for the table"):
        generate.engines()

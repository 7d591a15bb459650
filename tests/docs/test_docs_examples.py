"""The guests that the README shows are those of the other pages.

test_docs_commands.py builds the one in C and sends it a photo.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def block(page: str, language: str) -> str:
    """The first fenced block of that language."""
    found = re.search(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("language", ["c", "rust"])
def test_all_pages_show_the_same_guest(language: str) -> None:
    assert block("README.md", language) == block("guests/README.md", language)
    assert block("docs/guests.md", language) == block("guests/README.md", language)

"""Manifests for tests, with the places of this checkout in them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def placed(text: str, guests: Path) -> str:
    """The text with the folder of the built guests for `GUESTS`, and that of the checkout for `ROOT`."""
    return text.replace("GUESTS", str(guests)).replace("ROOT", str(ROOT))

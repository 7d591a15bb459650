"""Whether wasmer was tried."""

from __future__ import annotations

import pytest

from tests.support.places import PLACES


def test_guests_run_on_wasmer_too():
    if "wasmer" not in PLACES:
        pytest.skip(
            "no Python here has wasmer: run these with Python 3.10 (make unit ENGINE=wasmer), or name one that has it "
            "in GUESTHOUSE_WASMER (docs/engines.md)"
        )

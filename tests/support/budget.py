"""How many examples property tests try: a few, the same ones in each run of all tests; many with `make fuzz`."""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("GUESTHOUSE_FUZZ") or 1)


def examples(count: int) -> int:
    """`count`, or as many times that as `$GUESTHOUSE_FUZZ` says."""
    return count * FACTOR

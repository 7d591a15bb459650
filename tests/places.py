"""Where guests run in tests: in threads, in processes, and in processes by wasmer where a Python here has it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from guesthouse.engine import wasmer

#: A Python 3.10 that has wasmer, when it is not this one.
NAMED = os.environ.get("GUESTHOUSE_WASMER")
WASMER = bool(NAMED or wasmer.found())

#: For tests that run guests in their own process.
IN_THIS_PYTHON = pytest.mark.skipif(not wasmer.found(), reason="this Python has no wasmer")
_NEEDS_WASMER = pytest.mark.skipif(
    not WASMER, reason="this Python has no wasmer, and GUESTHOUSE_WASMER names none that has (docs/engines.md)"
)

PLACES = ["thread", "process", pytest.param("wasmer", marks=_NEEDS_WASMER)]


def isolation_of(place: str) -> str:
    return "thread" if place == "thread" else "process"


def engine_of(place: str) -> Mapping[str, str]:
    """What a manifest's `[engine]` says for it."""
    if place != "wasmer":
        return {"name": "wasmtime"}
    return {"name": "wasmer", **({"python": NAMED} if NAMED else {})}


def engine_table(place: str) -> str:
    """The same, as the manifest is written."""
    return "[engine]\n" + "".join(f'{key} = "{value}"\n' for key, value in engine_of(place).items())

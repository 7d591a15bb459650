"""Where guests run in tests: in threads, in processes, and in processes by wasmer where a Python here has it
(test_places.py says so where none has)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from guesthouse.engine import wasmer

#: A Python 3.10 that has wasmer, when it is not this one.
NAMED = os.environ.get("GUESTHOUSE_WASMER")
#: Whether guests can run in this very process on wasmer.
HERE = bool(wasmer.found())

IN_PROCESSES = ["process", *(["wasmer"] if NAMED or HERE else [])]
PLACES = ["thread", *IN_PROCESSES]
#: Engines that can run guests in this very process.
ENGINES = ["wasmtime", *(["wasmer"] if HERE else [])]


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

"""No byte reaches a guest, a caller or the log that was not written for it.

The same events are answered in two processes whose allocators fill memory with different bytes, when they give it and
when they get it back (`poisoned.py`). What is not the same in both was never filled. Half of the events are full of one
caller's own bytes, which no other caller may see.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.security.poisoned_events import OUT_AT
from tests.support.budget import FACTOR

ROOT = Path(__file__).resolve().parents[2]
#: What the events of one caller are full of. The same in each run: of some bytes pictures are made whose colour is a
#: byte of poison, which then is no leak.
CANARY = hashlib.sha256(b"of one caller").digest()[:16]
POISON = (0x96, 0x2D)
LEAKS = (
    "what a guest hands over",
    "what a guest is given",
    "what a model answers",
    "a row of a resized picture",
    "a resized picture",
    "a damaged picture",
    "what the pixel kernel held",
    "a buffer of another caller's",
)

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library: its allocator fills nothing"),
    pytest.mark.hypothesis,  # `make fuzz` has it answer more events, drawn at random
]


class Run(NamedTuple):
    """What two processes saw, by name: their bytes, and what was seen by whom that should not be."""

    fresh: tuple[dict[str, bytes], dict[str, bytes]]
    seen: dict[str, tuple[dict[str, bytes], dict[str, bytes]]]
    leaks: dict[str, list[str]]
    canary: bytes


def poisoned(poison: int) -> dict[str, str]:
    """An environment in which glibc fills what it gives with the inverse of `poison`, and what it gets with it."""
    others = {name: os.environ[name] for name in os.environ if name != "LD_PRELOAD" and not name.startswith("MALLOC_")}
    return {
        **others,
        "GLIBC_TUNABLES": f"glibc.malloc.perturb={poison}:glibc.malloc.tcache_count=0",
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": ":".join(str(ROOT / part) for part in ("app", "abi", ".")),
    }


def both(program: str, folder: Path, *arguments: str) -> tuple[Any, Any]:
    """What a program finds under either poison, at the same time."""
    processes = []
    for poison in POISON:
        command = [sys.executable, "-m", f"tests.security.{program}", str(folder / f"{poison}.out"), *arguments]
        processes.append(subprocess.Popen(command, env=poisoned(poison), cwd=folder, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said[-4000:]
    one, other = (pickle.loads((folder / f"{poison}.out").read_bytes()) for poison in POISON)
    return one, other


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    canary = CANARY
    one, other = both("poisoned", tmp_path_factory.mktemp("poisoned"), canary.hex())
    names = [name for name in one if name != "fresh"]
    return Run(
        (one["fresh"], other["fresh"]),
        {name: (one[name][0], other[name][0]) for name in names},
        {name: sorted({*one[name][1], *other[name][1]}) for name in names},
        canary,
    )


def different(run: Run, name: str) -> list[str]:
    """What was not the same in both processes, with the first bytes that differ."""
    one, other = run.seen[name]
    assert one.keys() == other.keys()
    return [f"{what}: {first_difference(one[what], other[what])}" for what in one if one[what] != other[what]]


def first_difference(*packed: bytes) -> str:
    one, other = (zlib.decompress(data) for data in packed)
    at = next(
        (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other))
    )
    return f"{one[at : at + 60]!r} and {other[at : at + 60]!r} at {at}"


def test_allocators_fill_what_they_give(run: Run):
    """Those of Python, numpy and ONNX Runtime, or the other tests show nothing."""
    for poison, fresh in zip(POISON, run.fresh, strict=True):
        for name, data in fresh.items():
            assert set(data) <= {poison, poison ^ 0xFF}, (name, poison)


def test_what_is_seen_does_not_depend_on_what_was_in_memory_before(run: Run):
    """Replies with all of a guest's memory, errors, the log, the page: of pictures whole and damaged, of models of the
    manifest and of guests, batches, programs, odd calls of imports; in threads, in processes, after a reload."""
    assert different(run, "") == []


def test_no_caller_sees_bytes_of_another_one_or_of_freed_memory(run: Run):
    assert run.leaks[""] == []


def test_callers_do_see_their_own(run: Run):
    """Events were answered, not only refused."""
    seen = {name: zlib.decompress(data) for name, data in run.seen[""][0].items()}
    for place in ("thread", "process"):
        for what in (
            "tensorflow",
            "tensorflow-v1",
            "tensorflowlite",
            "wasi-nn-same",
            "wasi-nn-legacy-same",
            "own-model",
        ):
            assert seen[f"a {place} {what}"][OUT_AT:].count(run.canary) >= 16, (place, what)
        assert run.canary[:3] + run.canary[4:7] in seen[f"a {place} bmp"][OUT_AT:]
        assert seen[f"a {place} streams"].startswith(b"GUEST ")
    assert run.canary * 3 in seen["a batch False 3 0"][OUT_AT:]
    assert b'"person"' in seen["b photo"]
    assert sum(b"\xff\xd8\xff" in data for name, data in seen.items() if name.startswith("a page ")) >= 10
    assert b"cannot be decoded" in seen["a log"]
    assert b"stderr" in seen["the log of b"]


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_would_be_seen(run: Run, leak: str):
    if leak == "a buffer of another caller's":
        assert any(line.startswith("b ") and line.endswith("another caller's") for line in run.leaks[leak])
    else:
        assert different(run, leak)
        assert any(line.endswith("poison") for line in run.leaks[leak])


def test_no_operator_leaves_a_part_of_its_output_unfilled(tmp_path: Path):
    """ONNX's own tests of operators; with `make fuzz` all of them."""
    one, other = both("poisoned_nodes", tmp_path, "20" if FACTOR == 1 else "1")
    assert sum(isinstance(outputs, list) for outputs in one.values()) > 30
    assert [name for name in one if one[name] != other[name]] == []

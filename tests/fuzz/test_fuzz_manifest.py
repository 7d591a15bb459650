"""Manifests that somebody mistyped: every one is read, or refused with faults; nothing else is raised."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.manifest import ManifestError, load
from tests.support.budget import examples

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "guesthouse.toml").read_text()
WORDS = (
    '"',
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    "-1",
    "9" * 30,
    "nan",
    "inf",
    "true",
    '"${NONE}"',
    '"5s"',
    "1979-05-27",
    "''",
    ",",
    "limits",
    "\0",
    "\ud800",
)


@settings(max_examples=examples(300), deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_a_mutilated_manifest_is_read_or_refused(tmp_path_factory, seed):
    choice = random.Random(seed)
    text = TEXT
    for _ in range(choice.randint(1, 4)):
        at, to = sorted(choice.randint(0, len(text)) for _ in range(2))
        what = choice.randint(0, 3)
        if what == 0:
            text = text[:at] + choice.choice(WORDS) + text[at:]
        elif what == 1:
            text = text[:at] + text[min(to, at + choice.randint(1, 40)) :]
        elif what == 2:
            text = text[:at] + text[at:to][:200] + text[at:]
        else:
            lines = text.split("\n")
            choice.shuffle(lines)
            text = "\n".join(lines)
    path = tmp_path_factory.getbasetemp() / "mutilated.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        load(path, {})
        faults = ["none"]
    except ManifestError as error:
        faults = [str(fault) for fault in error.faults]
    assert faults
    assert all(map(str.strip, faults))

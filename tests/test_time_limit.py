"""A test that hangs ends, and says where each thread stood (`faulthandler_timeout` in pyproject.toml)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HANGS = """\
import re, threading

here = threading.Event()

def stands_here():
    here.set()
    threading.Event().wait()

def test_ends():
    pass

def test_waits_for_ever():
    threading.Thread(target=stands_here, daemon=True).start()
    here.wait()
    re.match("(a|a)*b", "a" * 100)
"""


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_hangs.py").write_text(HANGS)
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-o", "faulthandler_timeout=1"]
    command = [sys.executable, "-m", "pytest", *settings, *more, str(folder / "test_hangs.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_a_test_that_hangs_is_ended_with_the_place_of_each_thread(tmp_path: Path):
    """Here by a pattern that holds the interpreter lock: no thread of Python could end it."""
    done = run(tmp_path)
    assert done.returncode == 1
    assert "in test_waits_for_ever" in done.stderr
    assert "in stands_here" in done.stderr


def test_the_others_go_on_where_there_are_workers(tmp_path: Path):
    done = run(tmp_path, "-n", "1")
    assert done.returncode == 1
    assert "crashed while running 'test_hangs.py::test_waits_for_ever'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "in stands_here" in done.stderr

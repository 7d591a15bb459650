"""`make fuzz` runs under allocators that notice a wild write: shown with one, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = "libc_malloc_debug.so.0"  # of glibc 2.34 and later
CHECKED = {"PYTHONMALLOC": "debug", "LD_PRELOAD": LIBRARY, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
WILD = """
import ctypes, numpy
array = numpy.empty(AROUND, numpy.uint8)  # glibc's
ctypes.memset(array.ctypes.data, 0, AROUND + 8)
del array
"""


def run(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True)


@pytest.mark.skipif(
    not any(Path("/lib").glob(f"*/{LIBRARY}")), reason=f"this system has no {LIBRARY}: it is part of Debian's libc6"
)
@pytest.mark.parametrize("size", [2000, 5000, 50_000])  # numpy keeps smaller ones to itself
def test_a_wild_write_ends_the_process(size: int):
    code = WILD.replace("AROUND", str(size))
    assert run(code, CHECKED).returncode == -signal.SIGABRT
    assert run(code.replace("+ 8", ""), CHECKED).returncode == 0

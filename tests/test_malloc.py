"""How many arenas the C library keeps for a process with many threads."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

CODE = """
import ctypes, threading
from guesthouse import malloc
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)
def work():
    together.wait()
    kept = [libc.malloc(ctypes.c_size_t(5000)) for _ in range(1000)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
malloc.give_back()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(first: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(first=first)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return len(re.findall(r"<heap nr=", done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_all_threads_share_one_arena():
    assert arenas("") > 1
    assert arenas("malloc.one_arena()") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_the_environment_goes_before():
    assert 1 < arenas("malloc.one_arena()", MALLOC_ARENA_MAX="3") <= 3

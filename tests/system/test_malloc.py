"""How many arenas the C library keeps for a process with many threads, and what becomes of pages that were freed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's")

ARENAS = """
import ctypes, threading
from guesthouse.system import malloc
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

# Prints the MiB that are resident still after 16 of SIZE each were taken and freed.
PAGES = """
import ctypes, mmap
from guesthouse.system import malloc
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
before = resident()
blocks = [ctypes.c_void_p(libc.malloc(ctypes.c_size_t({size}))) for _ in range((16 << 20) // {size})]
for block in blocks: ctypes.memset(block, 1, {size})
for block in reversed(blocks): libc.free(block)
{then}
print((resident() - before) >> 20)
"""


def printed(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True).stdout


def arenas(first: str, **environment: str) -> int:
    return len(re.findall(r"<heap nr=", printed(ARENAS.format(first=first), **environment)))


def kept(first: str, then: str = "", size: int = 1 << 20, **environment: str) -> int:
    return int(printed(PAGES.format(first=first, then=then, size=size), **environment))


def test_all_threads_share_one_arena():
    assert arenas("") > 1
    assert arenas("malloc.one_arena()") == 1


def test_freed_pages_are_kept_for_the_next_picture_until_they_are_given_back():
    assert kept("") < 4
    assert kept("malloc.keep_pages()") >= 12
    assert kept("malloc.keep_pages()", "malloc.give_back()") < 4
    assert kept("malloc.keep_pages()", size=8 << 20) < 4


def test_the_environment_goes_before():
    assert 1 < arenas("malloc.one_arena()", MALLOC_ARENA_MAX="3") <= 3
    assert kept("malloc.keep_pages()", MALLOC_MMAP_THRESHOLD_="131072") < 4

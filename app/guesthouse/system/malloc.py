"""Settings of glibc's allocator, which decide how much freed memory it keeps. Another C library is left as it is.

A setting that the environment has (mallopt(3)) is left alone. glibc does not change these settings later.
"""

from __future__ import annotations

import ctypes
import os

# The numbers of mallopt's parameters in malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT = 32 << 20  # bytes of freed memory that are kept
_LARGE = 4 << 20  # bytes from which on a block is given back at once: numpy asks for huge pages then, which come fast

_libc = ctypes.CDLL(None)


def one_arena() -> None:
    """Let all threads allocate from one heap (glibc: arena). To be called before there are threads.

    By default glibc makes up to eight arenas for each core, and each keeps as much memory as its threads ever had at
    once. With pictures and tensors, that grows to tens of MiB over hours. Python runs one thread at a time, so threads
    seldom wait for the one arena.
    """
    _set(_ARENA_MAX, 1, "MALLOC_ARENA_MAX")


def keep_pages() -> None:
    """Keep up to 32 MiB of freed memory for the next pictures and tensors, but no block of 4 MiB or more.

    By default glibc decides by the largest block that was freed before, for instance that of a model's file. Where that
    was small, every photo gets new pages from the system, and each of them costs a page fault. Where it was large,
    pictures of many sizes lie scattered over the heap, with hundreds of MiB of free memory between them.
    """
    _set(_MMAP_THRESHOLD, _LARGE, "MALLOC_MMAP_THRESHOLD_")
    _set(_TRIM_THRESHOLD, _KEPT, "MALLOC_TRIM_THRESHOLD_")


def give_back() -> None:
    """Return freed memory to the system."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set(what: int, value: int, variable: str) -> None:
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None and variable not in os.environ:
        mallopt(what, value)

"""The C library's allocator, which keeps what threads have freed: glibc's, and nothing where it is another's.

Each setting is left alone where the environment has it (mallopt(3)), and none is lowered later by glibc itself.
"""

from __future__ import annotations

import ctypes
import os

# By malloc.h's numbers.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT, _LARGE = 32 << 20, 4 << 20  # bytes; from 4 MiB on numpy asks for huge pages, and a fault costs little

_libc = ctypes.CDLL(None)


def one_arena() -> None:
    """Have all threads share one arena. Before there are threads.

    By itself glibc has up to eight for each core, and each keeps the most that its threads ever had at once: pictures
    and tensors make that tens of MiB, which come over hours. Python runs one thread at a time, so they hardly meet.
    """
    _set(_ARENA_MAX, 1, "MALLOC_ARENA_MAX")


def keep_pages() -> None:
    """Keep the pages of pictures and tensors for the next ones, up to 32 MiB of them; those of 4 MiB and more not.

    glibc itself keeps what is as large as the largest that was freed before, a model's file for instance. Where that is
    little, every photo is put into pages that are new, and each of them costs a fault; where it is much, large pictures
    of many sizes lie scattered, with hundreds of MiB between them.
    """
    _set(_MMAP_THRESHOLD, _LARGE, "MALLOC_MMAP_THRESHOLD_")
    _set(_TRIM_THRESHOLD, _KEPT, "MALLOC_TRIM_THRESHOLD_")


def give_back() -> None:
    """Return to the system what is free."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set(what: int, value: int, variable: str) -> None:
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None and variable not in os.environ:
        mallopt(what, value)

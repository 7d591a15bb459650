"""The C library's allocator, which keeps what threads have freed: glibc's, and nothing where it is another's."""

from __future__ import annotations

import ctypes
import os

_M_ARENA_MAX = -8  # malloc.h

_libc = ctypes.CDLL(None)


def one_arena() -> None:
    """Have all threads share one arena, unless `$MALLOC_ARENA_MAX` says otherwise. Before there are threads.

    By itself glibc has up to eight for each core, and each keeps the most that its threads ever had at once: pictures
    and tensors make that tens of MiB, which come over hours. Python runs one thread at a time, so they hardly meet.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is free: glibc keeps it for threads that may not ask again."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)

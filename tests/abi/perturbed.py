"""Memory that is filled with a pattern where nobody has written to it: what depends on it differs between patterns."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

import numpy as np

_M_PERTURB = -6  # of glibc's mallopt: what is handed out is filled with this byte's complement, what is freed with it
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)


@contextlib.contextmanager
def perturbed(pattern: int, *sizes: int) -> Iterator[None]:
    """Fill what is allocated, and freed blocks of `sizes` bytes (those that the C library or numpy hands out again)."""
    blocks = [np.full(size, pattern ^ 0xFF, np.uint8) for size in sizes for _ in range(8)]
    del blocks
    if _mallopt is not None:
        _mallopt(_M_PERTURB, pattern)
    try:
        yield
    finally:
        if _mallopt is not None:
            _mallopt(_M_PERTURB, int(os.environ.get("MALLOC_PERTURB_", "0")))

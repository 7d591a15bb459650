"""Pixel kernels for tests that need no application: as the engine room opens them, in the tests' own cache of code."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from guesthouse.engine import PixelCode
from guesthouse.engine.cache import CodeCache
from guesthouse_abi.services import PixelKernels


@lru_cache(maxsize=1)
def compiled() -> PixelCode:
    """The kernel that all tests share, compiled."""
    code = PixelCode(CodeCache(Path(os.environ["GUESTHOUSE_CACHE"])))
    code.kernels()
    return code


def kernels() -> PixelKernels:
    return compiled().kernels()

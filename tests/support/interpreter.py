"""CPython's module for guests in Python. It is fetched once, and kept outside the checkout; without a registry, tests
that need it are skipped."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.engine.compiler import CompileError
from guesthouse.guests import python
from guesthouse_abi.grants import Limits

_NOT_FETCHED = "pip could not fetch it"


def interpreter() -> Path:
    """The file, whose code is compiled. The test is skipped where it cannot be had."""
    if why := _fetched():
        pytest.skip(why)
    return python.module_path()


@cache
def _fetched() -> str:
    """Why it is not there. Other processes of the tests wait until this one has it."""
    path = python.module_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            command = [sys.executable, "-m", "guesthouse", "python"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode and _NOT_FETCHED in done.stdout:
                return f"CPython's module is not here, and {done.stdout}"
            assert done.returncode == 0, done.stdout
        with contextlib.closing(open_engine("wasmtime", EngineConfig(1, pooling=False))) as engine:
            try:
                CodeCache(path.parent).load(engine, python.template(python.module()), Limits().memory)
            except CompileError as error:
                if not str(error).startswith("compiling took more than"):
                    raise
                return f"this machine is too busy for CPython's module: {error}"
    return ""

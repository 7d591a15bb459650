"""Kernels for pixels: compiled once, lent to one picture each, and not lent again after a fault."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guesthouse.engine import PixelCode, kernels_at
from guesthouse.engine.base import EngineError
from guesthouse.engine.cache import CodeCache
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.pictures import kernel
from tests.support.kernels import compiled


def test_the_module_is_compiled_once_when_it_is_needed_and_a_worker_finds_its_code(tmp_path: Path):
    code = PixelCode(CodeCache(tmp_path))
    assert not list(tmp_path.iterdir())
    assert code.kernels() is code.kernels()
    assert list(tmp_path.iterdir()) == [code.artefact]
    written = code.artefact.stat().st_ino
    PixelCode(CodeCache(tmp_path)).kernels()
    assert code.artefact.stat().st_ino == written  # not written again
    with kernels_at(code.artefact).lend() as lent:
        assert lent.call("base") < len(lent.memory)


def test_two_threads_that_need_it_at_once_get_the_same_kernels(tmp_path: Path, monkeypatch):
    load, loads, both = CodeCache.load, [], threading.Barrier(2)

    def slow(*arguments: Any) -> Any:
        loads.append(threading.get_ident())
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # for the other thread, if that can come here
        return load(*arguments)

    monkeypatch.setattr(CodeCache, "load", slow)
    code = PixelCode(CodeCache(tmp_path))
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: code.kernels(), range(2))
    assert first is second
    assert len(loads) == 1


def test_each_is_lent_to_one_at_a_time_and_comes_back():
    kernels = kernels_at(compiled().artefact)
    with kernels.lend() as first:
        with kernels.lend() as second:
            assert second is not first
            assert not np.shares_memory(first.memory, second.memory)
        with kernels.lend() as third:
            assert third is second
    with pytest.raises(KeyError), kernels.lend() as lent:
        raise KeyError(lent)
    with kernels.lend() as again:
        assert again is lent


def test_a_fault_stays_in_the_kernel_and_it_is_not_lent_again():
    kernels = kernels_at(compiled().artefact)
    with (
        pytest.raises(EngineError, match=r"(?s)convert of the kernel failed: .*out of bounds"),
        kernels.lend() as failed,
    ):
        failed.call("convert", 0, 100, len(failed.memory), len(failed.memory))
    with kernels.lend() as lent:
        assert lent is not failed
        assert lent.call("base")


def test_many_threads_resize_at_once():
    kernels = kernels_at(compiled().artefact)
    pictures = [np.full((90, 120, 3), shade, np.uint8) for shade in range(40)]

    def shade(picture: np.ndarray) -> set[int]:
        small = kernel.cubic(kernels, picture, 50, 40, (0, 1, 2), Deadline.after(60))
        return set(small.ravel().tolist())

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(shade, pictures * 5)) == [{shade} for shade in range(40)] * 5

"""What is done to each pixel, by a small Wasm module that the host runs itself: filters and colours of PNG, resizing.

The module is `kernel.wasm`; its source is guests/kernel/kernel.c. Whoever embeds this package runs it
(`services.PixelKernels`). Its results are those of `resampling` and of Pillow, to the last bit. What the kernel does
not know is here: which rows and tables it is given, and where in its memory they stand. Pictures pass through that
memory in bands of some hundred KiB, so it has a fixed size, and the deadline is looked at between two bands. What a
picture has brought there is cleared when the picture is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.resampling import Bytes, Floats, Order, neighbours, taps
from guesthouse_abi.services import PixelKernel, PixelKernels

MODULE = Path(__file__).with_name("kernel.wasm")

_BAND = 1 << 18  # bytes of source or target rows in memory at once; or one row, which has at most 768 KiB
_NUMBERS = 1 << 17  # values that are numbers of four bytes at once, before they become lines
_LINES = 1 << 19  # bytes of lines that have the target's height and still the source's width
_WEIGHTS = 1 << 16  # weights of lines at once
_MOST_LINES = 1024
_BLOCK = 32  # values that the kernel does at once
_BEYOND = 64  # bytes behind what is reserved: stores may reach into them


@dataclass(frozen=True, slots=True)
class Shape:
    """How pixels stand in a PNG picture: `bits` of each, in so many `channels`.

    With a `table` (of 256 colours, the lowest byte red, then green and blue) a pixel is the number of a colour in it,
    of at most 8 bits. Opacity is multiplied in where `multiply` says so, else dropped.
    """

    bits: int
    channels: int
    table: NDArray[np.uint32] | None
    multiply: bool


class _Room:
    """The memory of a kernel, in use for one picture."""

    def __init__(self, kernel: PixelKernel) -> None:
        self.kernel = kernel
        self._memory = kernel.memory
        self._base = self._at = kernel.call("base")

    def reserve(self, size: int) -> int:
        """The address of `size` bytes that nothing else uses, with some to spare behind them."""
        at = self._at
        self._at = (at + size + _BEYOND + 63) & ~63
        if self._at > len(self._memory):
            raise AssertionError(f"the kernel's memory has no room for {size} bytes")
        return at

    def view(self, at: int, shape: tuple[int, ...], dtype: type[Any] = np.uint8) -> NDArray[Any]:
        """The memory at the address `at`, as an array; what is written to the array is written there."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        found: NDArray[Any] = self._memory[at : at + size].view(dtype).reshape(shape)
        return found

    def put(self, values: NDArray[Any], dtype: type[Any]) -> int:
        """Write a table into the memory; returns its address."""
        at = self.reserve(values.size * np.dtype(dtype).itemsize)
        self.view(at, values.shape, dtype)[...] = values
        return at

    def clear(self) -> None:
        """Leave nothing of the picture."""
        self._memory[self._base : self._at] = 0


@contextmanager
def _room(kernels: PixelKernels) -> Iterator[_Room]:
    with kernels.lend() as kernel:
        room = _Room(kernel)
        try:
            yield room
        finally:
            room.clear()


def _swapped(order: Order) -> int:
    return int(order != (0, 1, 2))


# ---- resizing ----


def bilinear(
    kernels: PixelKernels,
    picture: Bytes,
    width: int,
    height: int,
    order: Order,
    deadline: Deadline,
    numbers: Floats | None = None,
) -> NDArray[Any]:
    """As `resampling.bilinear`; with `numbers`, which has a float32 for each byte, those of the result's bytes."""
    rows, columns = picture.shape[:2]
    down, across = neighbours(rows, height), neighbours(columns, width)
    stride = columns * 3
    flat = picture.reshape(rows, stride)
    pairs = np.stack((down.first, down.second), axis=1).ravel()
    result = np.empty((height, width * 3), np.uint8 if numbers is None else np.float32)
    band = min(height, max(1, _BAND // (2 * stride)), max(1, _BAND // (3 * width)))
    with _room(kernels) as room:
        call = room.kernel.call
        columns_at = room.put(np.append(across.first * 3, 0), np.uint32)
        shares_at = room.put(np.append(across.share, 0), np.float64)
        rows_at, out_at = room.reserve(2 * band * stride), room.reserve(band * width * 3)
        down_at = room.put(down.share[:band], np.float64)
        if numbers is not None:
            table_at, floats_at = room.put(numbers, np.float32), room.reserve(band * width * 12)
        for start in range(0, height, band):
            count = min(band, height - start)
            part = slice(start, start + count)
            # All indexes are inside: with "clip" numpy does not check them, and writes to where they belong.
            flat.take(pairs[2 * start : 2 * (start + count)], 0, room.view(rows_at, (2 * count, stride)), "clip")
            room.view(down_at, (count,), np.float64)[...] = down.share[part]
            call(
                "bilinear",
                *(rows_at, stride, columns_at, shares_at, width, down_at, count, _swapped(order), out_at),
            )
            if numbers is None:
                result[part] = room.view(out_at, (count, width * 3))
            else:
                call("convert", out_at, count * width * 3, table_at, floats_at)
                result[part] = room.view(floats_at, (count, width * 3), np.float32)
            deadline.check()
    return result.reshape(height, width, 3)


def cubic(
    kernels: PixelKernels,
    picture: Bytes,
    width: int,
    height: int,
    order: Order,
    deadline: Deadline,
    numbers: Floats | None = None,
) -> NDArray[Any]:
    """As `resampling.cubic`, float32. Without `numbers`: of the bytes themselves, rounded and clamped to bytes."""
    rows, columns = picture.shape[:2]
    values = columns * 3
    flat = picture.reshape(rows, values)
    across = taps(columns, width)
    kind, size = (np.uint8, 3) if numbers is None else (np.float32, 12)
    result = np.empty((height, width * 3), kind)
    stride = -(-values // _BLOCK) * _BLOCK
    slab = min(stride, 4096)  # values of a row that are done at once
    piece = min(rows, _NUMBERS // slab)  # rows that are done at once
    bands = _bands(rows, height, min(height, max(1, _LINES // (stride * 4))), piece)
    most = max(band.end - band.start for band in bands)  # lines at once
    at_once = min(most, max(1, _BAND // (width * size)))
    with _room(kernels) as room:
        call = room.kernel.call
        table_at = 0 if numbers is None else room.put(numbers, np.float32)
        firsts_at, counts_at = room.put(across.first, np.uint32), room.put(across.counts, np.uint32)
        across_at = room.put(across.weights, np.float32)
        rows_at, numbers_at = room.reserve(piece * slab), room.reserve(piece * slab * 4)
        lines_at, jobs_at = room.reserve(most * stride * 4), room.reserve(most * _JOB * 4)
        down_at, out_at = room.reserve(most * bands[0].weights.shape[1] * 4), room.reserve(at_once * width * size)
        for band in bands:
            room.view(down_at, band.weights.shape, np.float32)[...] = band.weights
            for left in range(0, values, slab):
                length = min(slab, values - left)
                wide = -(-length // _BLOCK) * _BLOCK
                for top, bottom, jobs in band.pieces:
                    room.view(jobs_at, jobs.shape, np.uint32)[...] = jobs
                    room.view(rows_at, (bottom - top, wide))[:, :length] = flat[top:bottom, left : left + length]
                    call(
                        "down",
                        *(rows_at, bottom - top, wide, table_at, numbers_at, jobs_at, len(jobs)),
                        *(down_at, lines_at + left * 4, stride),
                    )
                deadline.check()
            for line in range(band.start, band.end, at_once):
                count = min(at_once, band.end - line)
                call(
                    "across",
                    *(lines_at + (line - band.start) * stride * 4, count, stride, firsts_at, counts_at, across_at),
                    *(across.weights.shape[1], width, numbers is None, _swapped(order), out_at),
                )
                result[line : line + count] = room.view(out_at, (count, width * 3), kind)
            deadline.check()
    return result.reshape(height, width, 3)


_JOB = 5  # numbers in one: row, taps, weight, line, and whether the line begins with it


@dataclass(frozen=True, slots=True)
class _Band:
    """Target rows `start:end`: their weights, and what is done with each piece `top:bottom` of the source's rows."""

    start: int
    end: int
    weights: Floats
    pieces: tuple[tuple[int, int, NDArray[np.uint32]], ...]


@lru_cache(maxsize=16)
def _bands(rows: int, height: int, lines: int, piece: int) -> tuple[_Band, ...]:
    """How `rows` rows become `height` lines: at most `lines` in a band, from `piece` rows of the source at once."""
    down = taps(rows, height)
    most = down.weights.shape[1]
    lines = min(lines, max(1, _WEIGHTS // most), _MOST_LINES)
    bands = []
    for start in range(0, height, lines):
        end = min(start + lines, height)
        first: NDArray[np.intp] = down.first[start:end]
        behind: NDArray[np.intp] = first + down.counts[start:end]
        high, line, pieces = int(np.max(behind)), np.arange(end - start), []
        for top in range(int(np.min(first)), high, piece):
            bottom = min(top + piece, high)
            begin = np.maximum(first, top)
            count = np.minimum(behind, bottom) - begin
            jobs = np.stack((begin - top, count, line * most + begin - first, line, begin == first), axis=1)
            pieces.append((top, bottom, jobs[count > 0].astype(np.uint32)))
        bands.append(_Band(start, end, down.weights[start:end], tuple(pieces)))
    return tuple(bands)


# ---- PNG's filters, and colours ----


def multiplied(kernels: PixelKernels, values: Bytes, deadline: Deadline) -> Bytes:
    """Each pixel's first three bytes times its fourth, over 255 and rounded: (height, width, 4) becomes RGB."""
    height, width = values.shape[:2]
    picture = np.empty((height, width, 3), np.uint8)
    band = min(height, max(1, _BAND // (4 * width)))
    with _room(kernels) as room:
        rows_at, out_at = room.reserve(band * width * 4), room.reserve(band * width * 3)
        for start in range(0, height, band):
            count = min(band, height - start)
            room.view(rows_at, (count, width, 4))[...] = values[start : start + count]
            room.kernel.call("colour", rows_at, count * width, 4, 1, 1, out_at)
            picture[start : start + count] = room.view(out_at, (count, width, 3))
            deadline.check()
    return picture


def pixels(kernels: PixelKernels, raw: Bytes, shape: Shape, picture: Bytes, deadline: Deadline) -> bool:
    """Write into `picture` (height, width, 3) the pixels in `raw`, which has for each row its filter and its bytes.

    False where a row has a filter that PNG does not know.
    """
    height, width = picture.shape[:2]
    length = (width * shape.bits + 7) // 8
    rows, out = raw.reshape(height, length + 1), picture.reshape(height, width * 3)
    size = max(1, shape.bits // 8)
    band = min(height, max(1, _BAND // (length + 1)), max(1, _BAND // (width * 3)))
    with _room(kernels) as room:
        call = room.kernel.call
        table_at = 0 if shape.table is None else room.put(shape.table, np.uint32)
        rows_at, above_at = room.reserve(band * (length + 1)), room.reserve((band + 1) * length)
        plain_at = above_at + length  # behind the row above the first
        is_rgb = shape.bits == 24 and shape.table is None
        out_at = plain_at if is_rgb else room.reserve(band * width * 3)
        room.view(above_at, (length,))[...] = 0
        for start in range(0, height, band):
            count = min(band, height - start)
            room.view(rows_at, (count, length + 1))[...] = rows[start : start + count]
            if call("unfilter", rows_at, count, length, size, plain_at):
                return False
            if shape.table is not None:
                call("look_up", plain_at, count, width, shape.bits, table_at, out_at)
            elif not is_rgb:
                step = shape.bits // shape.channels // 8
                call("colour", plain_at, count * width, shape.channels, step, shape.multiply, out_at)
            out[start : start + count] = room.view(out_at, (count, width * 3))
            room.view(above_at, (length,))[...] = room.view(plain_at + (count - 1) * length, (length,))
            deadline.check()
    return True

"""Resizing pictures exactly as WasmEdge's two picture libraries do, in numpy.

`bilinear` is Boost.GIL's `resize_view` with its `bilinear_sampler` (WasmEdge up to 0.14), `cubic` is the default
filters of stb_image_resize2 (from 0.15). Results of the two differ visibly, and a model notices. Decoding is elsewhere
(`pictures`). Pictures are uint8 arrays (height, width, 3), C-contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

#: Below this, stb takes a weight for zero: 1 / 2^60.
_SMALL = np.float32(2.0**-60)


# ---- Boost.GIL: bilinear, corners aligned, no smoothing when shrinking ----


@dataclass(frozen=True, slots=True)
class _Taps:
    """For each target coordinate its two neighbours in the source and the share of the second."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: Doubles


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> _Taps:
    # Boost.GIL maps by a product of matrices of doubles: move the target's centre to 0, scale, move to the source's.
    # The order of these steps decides the last bit, which truncation makes visible.
    span = float(max(source - 1, 1))
    scale = span / float(max(target - 1, 1))
    offset = (-(float(max(target - 1, 1)) / 2.0)) * scale + span / 2.0
    position = np.arange(target, dtype=np.float64) * scale + offset
    floor = np.floor(position)
    share = position - floor
    index = floor.astype(np.intp)
    # Outside the first or last row there is one neighbour, which counts wholly.
    share[(index < 0) | (index >= source - 1)] = 0.0
    first = np.clip(index, 0, source - 1)
    return _Taps(first, np.minimum(first + 1, source - 1), share)


#: Values done at once: the intermediate ones stay in the processor's cache, and small beside the picture.
_BAND = 1 << 15


def bilinear(picture: Bytes, width: int, height: int, order: tuple[int, int, int]) -> Bytes:
    """`picture` resized as Boost.GIL does it: four neighbours, weights and sums in double precision, truncated.

    `order` names the source channel of each target channel. A source of one row or column is repeated (Boost.GIL leaves
    the last target row unwritten there). Returns (height, width, 3).
    """
    rows, columns = picture.shape[:2]
    down, across = _taps(rows, height), _taps(columns, width)
    flat = picture.reshape(rows, columns * 3)
    left, right = ((index[:, None] * 3 + order).ravel() for index in (across.first, across.second))
    far_x = np.repeat(across.share, 3)
    near_x = 1.0 - far_x
    result = np.empty((height, width * 3), np.uint8)
    band = max(1, _BAND // (3 * width))
    for start in range(0, height, band):
        part = slice(start, start + band)
        far_y = down.share[part, None]
        near_y = 1.0 - far_y
        upper, lower = flat[down.first[part]], flat[down.second[part]]
        total, product, weight = np.zeros((3, len(upper), width * 3))
        for lines, index, x, y in (
            (upper, left, near_x, near_y),
            (upper, right, far_x, near_y),
            (lower, left, near_x, far_y),
            (lower, right, far_x, far_y),
        ):
            # All indexes are inside: with "clip" numpy does not check them. The bytes become doubles in a step of their
            # own, which takes half the time of a product of bytes and doubles.
            product[...] = lines.take(index, axis=1, mode="clip")
            np.multiply(x, y, out=weight)
            product *= weight
            total += product
        result[part] = total
    return result.reshape(height, width, 3)


# ---- stb_image_resize2: Catmull-Rom when enlarging, Mitchell when shrinking, edges clamped ----


def _catmull_rom(x: Floats) -> Floats:
    x = np.abs(x)
    near = np.float32(1.0) - x * x * (np.float32(2.5) - np.float32(1.5) * x)
    far = np.float32(2.0) - x * (np.float32(4.0) + x * (np.float32(0.5) * x - np.float32(2.5)))
    weights: Floats = np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))
    return weights


def _mitchell(x: Floats) -> Floats:
    x = np.abs(x)
    near = (np.float32(16) + x * x * (np.float32(21) * x - np.float32(36))) / np.float32(18)
    far = (np.float32(32) + x * (np.float32(-60) + x * (np.float32(36) - np.float32(7) * x))) / np.float32(18)
    weights: Floats = np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))
    return weights


def _weights(source: int, target: int) -> tuple[NDArray[np.intp], Floats]:
    """For each target coordinate the first source coordinate it is made from, and the weights from there on.

    Returns (target,) and (target, taps); coordinates may lie outside the source. As stb computes them: in single
    precision, normalised to a sum of 1 in double precision, and only for the first period where the ratio of the
    sizes repeats.
    """
    divisor = math.gcd(source, target)
    period, stride = target // divisor, source // divisor
    scale, inverse = np.float32(target / source), np.float32(source / target)
    centre = np.arange(period, dtype=np.float32) + np.float32(0.5)
    if target >= source:
        middle = centre * inverse
        reach = np.float32(2) * scale  # in target pixels
        first = np.floor((centre - reach) * inverse + np.float32(0.5)).astype(np.intp)
        taps = 5
    else:
        reach = np.float32(2) * inverse  # in source pixels
        first = np.floor(centre * inverse - reach).astype(np.intp) - 1
        taps = math.ceil(4 * source / target) + 4
    sources = first[:, None] + np.arange(taps)
    middles = sources.astype(np.float32) + np.float32(0.5)
    if target >= source:
        weights = _catmull_rom(middle[:, None] - middles)
    else:
        weights = _mitchell(centre[:, None] - middles * scale) * scale
    weights[np.abs(weights) < _SMALL] = 0
    weights = (weights / weights.sum(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
    repeat = np.arange(target)
    return first[repeat % period] + repeat // period * stride, weights[repeat % period]


@dataclass(frozen=True, slots=True)
class _Strip:
    """Target rows `start:stop` are `weights` (stop - start, last - first) times source rows `first:last`."""

    start: int
    stop: int
    first: int
    last: int
    weights: Floats


#: Target rows in a strip. A larger strip converts fewer source rows twice, and multiplies by more zeros.
_ROWS = 8


@lru_cache(maxsize=32)
def _strips(source: int, target: int) -> tuple[_Strip, ...]:
    first, weights = _weights(source, target)
    taps = weights.shape[1]
    strips = []
    for start in range(0, target, _ROWS):
        stop = min(start + _ROWS, target)
        # What lies outside the source counts for its first or last row.
        at = np.clip(first[start:stop, None] + np.arange(taps), 0, source - 1)
        used = at[weights[start:stop] != 0]
        low, high = int(used.min()), int(used.max()) + 1
        block = np.zeros((stop - start, high - low), np.float32)
        rows = np.broadcast_to(np.arange(stop - start)[:, None], at.shape)
        inside = (at >= low) & (at < high)
        np.add.at(block, (rows[inside], at[inside] - low), weights[start:stop][inside])
        strips.append(_Strip(start, stop, low, high, block))
    return tuple(strips)


#: Multiplications in one matrix product. Beyond 2^18 OpenBLAS calls its own threads, which spin, fight the server's
#: for the processors and turn milliseconds into seconds; below, the values also stay in the processor's cache.
_PRODUCT = 1 << 18

#: Strips that are shrunk in height before they are shrunk in width.
_BAND_STRIPS = 8


def _pixels(weights: Floats, order: tuple[int, int, int]) -> Floats:
    """A strip's weights for lines of interleaved pixels: (source values, target values), channels in `order`."""
    target, source = weights.shape
    spread = np.zeros((source, 3, target, 3), np.float32)
    for channel, origin in enumerate(order):
        spread[:, origin, :, channel] = weights.T
    return spread.reshape(source * 3, target * 3)


def cubic(
    picture: Bytes,
    width: int,
    height: int,
    order: tuple[int, int, int],
    convert: Callable[[Bytes], Floats],
) -> Floats:
    """`picture` resized as stb does it; `convert` makes the numbers to resize of some of its bytes.

    `order` names the source channel of each target channel. Returns float32 (height, width, 3), neither rounded nor
    clamped: stb's own results but for the order of its sums (the last bit or two).
    """
    rows, columns = picture.shape[:2]
    flat = picture.reshape(rows, columns * 3)
    down = _strips(rows, height)
    across = [(strip, _pixels(strip.weights, order)) for strip in _strips(columns, width)]
    result = np.empty((height, width * 3), np.float32)
    for start in range(0, len(down), _BAND_STRIPS):
        band = down[start : start + _BAND_STRIPS]
        top, bottom = band[0].start, band[-1].stop
        lines = np.empty((bottom - top, columns * 3), np.float32)
        for strip in band:
            step = max(1, _PRODUCT // strip.weights.size)
            for left in range(0, columns * 3, step):
                part = slice(left, left + step)
                values = convert(flat[strip.first : strip.last, part])
                np.matmul(strip.weights, values, out=lines[strip.start - top : strip.stop - top, part])
        for strip, weights in across:
            source, target = slice(strip.first * 3, strip.last * 3), slice(strip.start * 3, strip.stop * 3)
            step = max(1, _PRODUCT // weights.size)
            for line in range(0, bottom - top, step):
                end = min(line + step, bottom - top)
                np.matmul(lines[line:end, source], weights, out=result[top + line : top + end, target])
    return result.reshape(height, width, 3)

"""Resizing pictures exactly as WasmEdge's two picture libraries do, in numpy.

`bilinear` is Boost.GIL's `resize_view` with its `bilinear_sampler` (WasmEdge up to 0.14), `cubic` is the default
filters of stb_image_resize2 (from 0.15). Results of the two differ visibly, and a model notices. Decoding is elsewhere
(`pictures`). Pictures are uint8 arrays (height, width, 3), C-contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Order = tuple[int, int, int]

#: Below this, stb takes a weight for zero: 1 / 2^60.
_SMALL = np.float32(2.0**-60)


# ---- Boost.GIL: bilinear, corners aligned, no smoothing when shrinking ----


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each target coordinate its two neighbours in the source and the share of the second."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: Doubles


@lru_cache(maxsize=64)
def neighbours(source: int, target: int) -> Neighbours:
    """Between which coordinates of the source each of the target lies."""
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
    return Neighbours(first, np.minimum(first + 1, source - 1), share)


#: Values done at once: the intermediate ones stay in the processor's cache, and small beside the picture.
_BAND = 1 << 15


def bilinear(picture: Bytes, width: int, height: int, order: Order) -> Bytes:
    """`picture` resized as Boost.GIL does it: four neighbours, weights and sums in double precision, truncated.

    `order` names the source channel of each target channel. A source of one row or column is repeated (Boost.GIL leaves
    the last target row unwritten there). Returns (height, width, 3).
    """
    rows, columns = picture.shape[:2]
    down, across = neighbours(rows, height), neighbours(columns, width)
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
class Taps:
    """Target coordinate t is the sum of `weights[t]` times `counts[t]` source coordinates from `first[t]` on.

    All of these lie inside the source. What is behind a weight's count is 0.
    """

    first: NDArray[np.intp]
    counts: NDArray[np.intp]
    weights: Floats  # (target, most)


@lru_cache(maxsize=32)
def taps(source: int, target: int) -> Taps:
    """Of which coordinates of the source each of the target is made."""
    first, weights = _weights(source, target)
    # What lies outside the source counts for its first or last coordinate.
    at = np.clip(first[:, None] + np.arange(weights.shape[1]), 0, source - 1)
    used = weights != 0
    low = np.where(used, at, source).min(axis=1)
    counts = np.where(used, at, -1).max(axis=1) + 1 - low
    gathered = np.zeros((target, int(counts.max())), np.float32)
    np.add.at(gathered, (np.nonzero(used)[0], (at - low[:, None])[used]), weights[used])
    return Taps(low, counts, gathered)


def cubic(picture: Bytes, width: int, height: int, order: Order, numbers: Floats) -> Floats:
    """`picture` resized as stb does it; `numbers` has for each of the 256 bytes what is resized in its place.

    `order` names the source channel of each target channel. Returns float32 (height, width, 3), neither rounded nor
    clamped. Sums are made as stb makes them where it uses SSE2: of rows from the first on, and of columns in two, of
    every second one. stb begins with the columns for some sizes, and this always with the rows; so it is stb's result
    but for the last bit or two.
    """
    rows, columns = picture.shape[:2]
    flat = picture.reshape(rows, columns * 3)
    down, across = taps(rows, height), taps(columns, width)
    result = np.empty((height, width, 3), np.float32)
    band = max(1, _BAND // (3 * max(columns, width)))
    for start in range(0, height, band):
        part = slice(start, start + band)
        lines = _sum(
            numbers.take(flat[np.minimum(down.first[part] + tap, rows - 1)]) * weight[:, None]
            for tap, weight in enumerate(down.weights[part].T)
        ).reshape(-1, columns, 3)[..., order]
        products = [
            lines[:, np.minimum(across.first + tap, columns - 1)] * weight[:, None]
            for tap, weight in enumerate(across.weights.T)
        ]
        result[part] = _sum(iter(products[::2]))
        if len(products) > 1:
            result[part] += _sum(iter(products[1::2]))
    return result


def _sum(products: Iterator[Floats]) -> Floats:
    """Their sum, from the first on."""
    total = next(products)
    for product in products:
        total += product
    return total

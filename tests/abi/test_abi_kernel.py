"""The pixel kernel gives what numpy and Pillow give, to the last bit, and leaves nothing of a picture behind."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import DeadlineExceeded, HostError
from guesthouse_abi.pictures import JPEG, PNG, Era, Layout, decode_and_resize, kernel
from guesthouse_abi.pictures.jpeg import _from_cmyk
from guesthouse_abi.services import PixelKernel
from tests.support.budget import examples
from tests.support.kernels import kernels
from tests.support.pictures import chunk

SIDES = st.one_of(st.integers(1, 40), st.integers(1, 400))
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Free:
    def hold(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...


class Poisoned:
    """Kernels whose memory is full of one byte when they are lent; `left` is what they had when they came back."""

    def __init__(self, fill: int) -> None:
        self._fill = fill
        self.left = b""

    @contextlib.contextmanager
    def lend(self) -> Iterator[PixelKernel]:
        with kernels().lend() as lent:
            base = lent.call("base")
            lent.memory[base:] = self._fill
            try:
                yield lent
            finally:
                self.left = lent.memory[base:].tobytes()
                lent.memory[base:] = 0


def resized(data: bytes, width: int, height: int, layout: Layout, era: Era, lent: Any, **options: Any) -> Any:
    options = {"formats": PNG, "pixels": 20_000_000, "deadline": Deadline.after(600), **options}
    return decode_and_resize(data, width, height, layout, era, budget=Free(), kernels=lent, **options)


def png(
    width: int, height: int, colour: int = 2, depth: int = 8, interlaced: bool = False, seed: int = 0, filters: int = 5
) -> bytes:
    """A picture of random bytes whose rows have random filters."""
    random = np.random.default_rng(seed)
    sizes = [(width, height)]
    if interlaced:
        sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in PASSES if x < width and y < height]
    parts = []
    for columns, lines in sizes:
        rows = random.integers(0, 256, (lines, (columns * CHANNELS[colour] * depth + 7) // 8 + 1), np.uint8)
        rows[:, 0] %= filters
        parts.append(rows.tobytes())
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    if colour == 3:
        colours = int(random.integers(1, min(256, 1 << depth) + 1))
        chunks.append(chunk(b"PLTE", random.bytes(3 * colours)))
        chunks.append(chunk(b"tRNS", random.bytes(int(random.integers(1, colours + 1)))))
    return b"".join((*chunks, chunk(b"IDAT", zlib.compress(b"".join(parts), 1)), chunk(b"IEND", b"")))


@settings(max_examples=examples(200))
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from(Layout), st.sampled_from(Era), st.integers(0, 99))
def test_any_picture_in_any_size_is_that_of_numpy_to_the_last_bit(columns, rows, width, height, layout, era, seed):
    data = png(columns, rows, seed=seed)
    expected = resized(data, width, height, layout, era, None)
    assert resized(data, width, height, layout, era, kernels()).tobytes() == expected.tobytes()


@settings(max_examples=examples(200))
@given(st.data())
def test_any_png_becomes_the_pixels_that_pillow_makes_of_it(data):
    colour = data.draw(st.sampled_from(sorted(DEPTHS)))
    depth = data.draw(st.sampled_from(DEPTHS[colour]))
    width, height = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    picture = png(width, height, colour, depth, data.draw(st.booleans()), data.draw(st.integers(0, 99)))
    for era in Era:
        expected = resized(picture, width, height, Layout.RGB8, era, None)
        assert resized(picture, width, height, Layout.RGB8, era, kernels()).tobytes() == expected.tobytes()


@settings(max_examples=examples(30))
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_cmyk_becomes_the_pixels_that_numpy_makes_of_it(width, height, seed):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    assert (kernel.multiplied(kernels(), values, Deadline.after(60)) == _from_cmyk(values)).all()
    data = io.BytesIO()
    Image.fromarray(values, "CMYK").save(data, "JPEG", subsampling=0)
    expected = resized(data.getvalue(), 9, 7, Layout.RGB8, Era.WASMEDGE_0_15, None, formats=JPEG)
    assert (resized(data.getvalue(), 9, 7, Layout.RGB8, Era.WASMEDGE_0_15, kernels(), formats=JPEG) == expected).all()


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("size", [(1, 1), (30, 1), (1, 30), (2, 2), (61, 40)])
def test_a_picture_in_its_own_size_is_what_resizing_makes_of_it(size, layout, era):
    """Which is why it is not resized at all."""
    width, height = size
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    for work in (kernel.bilinear, kernel.cubic):
        assert (work(kernels(), picture, width, height, (0, 1, 2), Deadline.after(60)) == picture).all()
    found = resized(png(width, height), width, height, layout, era, kernels())
    assert found.tobytes() == resized(png(width, height), width, height, layout, era, None).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("layout", [Layout.RGB8, Layout.BGR32F])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((65535, 3), (224, 224)),
        ((3, 65535), (224, 224)),
        ((1, 65535), (1, 1)),
        ((65535, 1), (1, 1)),
        ((4, 3), (65535, 5)),
        ((4, 3), (5, 65535)),
        ((65535, 2), (65535, 5)),
        ((2000, 1500), (96, 50)),
        ((3000, 400), (2999, 401)),
    ],
)
def test_the_longest_sides_and_large_pictures_pass_in_bands(source, target, layout, era):
    (columns, rows), (width, height) = source, target
    data = png(columns, rows)
    expected = resized(data, width, height, layout, era, None)
    assert resized(data, width, height, layout, era, kernels()).tobytes() == expected.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("colour", [2, 3, 6])
@pytest.mark.parametrize("size", [(65535, 3), (3, 65535), (900, 700)])
def test_large_pngs_pass_in_bands(size, colour):
    width, height = size
    data = png(width, height, colour)
    expected = resized(data, width, height, Layout.RGB8, Era.WASMEDGE_0_14, None)
    assert resized(data, width, height, Layout.RGB8, Era.WASMEDGE_0_14, kernels()).tobytes() == expected.tobytes()


@settings(max_examples=examples(60))
@given(SIDES, SIDES, st.sampled_from(Layout), st.sampled_from(Era), st.sampled_from([2, 3, 6]), st.integers(0, 99))
def test_no_pixel_depends_on_what_memory_held_and_nothing_is_left_there(columns, rows, layout, era, colour, seed):
    data = png(columns, rows, colour, seed=seed)
    width, height = (np.random.default_rng(seed).integers(1, 200, 2)).tolist()
    expected = resized(data, width, height, layout, era, kernels()).tobytes()
    for fill in (0x5A, 0xFF):  # 0xff: numbers that are none
        lent = Poisoned(fill)
        assert resized(data, width, height, layout, era, lent).tobytes() == expected
        assert not lent.left.rstrip(bytes([fill])).strip(b"\0")


def test_what_a_refused_picture_brought_is_cleared_too():
    lent = Poisoned(0x5A)
    with pytest.raises(HostError, match="a row has a filter that PNG does not know"):
        resized(png(30, 40, filters=200), 8, 8, Layout.RGB8, Era.WASMEDGE_0_15, lent)
    assert not lent.left.rstrip(b"\x5a").strip(b"\0")


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_filter_that_png_does_not_know_is_refused(interlaced):
    with pytest.raises(HostError, match="a row has a filter that PNG does not know"):
        resized(png(30, 40, interlaced=interlaced, filters=200), 8, 8, Layout.RGB8, Era.WASMEDGE_0_15, kernels())


class _Passes(Deadline):
    """A deadline that has passed when it is looked at once more than `looks` times."""

    def __init__(self, looks: int) -> None:
        super().__init__(0.0)
        self.looks = looks

    def check(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise DeadlineExceeded("the time limit was reached")


@pytest.mark.parametrize("work", [kernel.bilinear, kernel.cubic])
def test_the_deadline_is_looked_at_between_two_bands(work):
    picture = np.zeros((2000, 1000, 3), np.uint8)
    lent = Poisoned(0)
    with pytest.raises(DeadlineExceeded):
        work(lent, picture, 1000, 1000, (0, 1, 2), _Passes(3))
    with pytest.raises(DeadlineExceeded):
        kernel.pixels(lent, np.zeros(2000 * 3001, np.uint8), kernel.Shape(24, 3, None, False), picture, _Passes(3))
    assert not lent.left.strip(b"\0")

"""PNG with its pixels stored: the same picture to a decoder, and nothing taken that is not plain."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guesthouse_abi.png import with_pixels_stored

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def png(mode: str, width: int, height: int, seed: int = 0, **how: object) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(values, "RGBA").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **how)
    return buffer.getvalue()


def chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def decoded(data: bytes) -> tuple[str, bytes]:
    image = Image.open(io.BytesIO(data))
    return image.mode, image.tobytes()


@given(st.sampled_from(MODES), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_a_decoder_finds_the_same_picture(mode, width, height, seed):
    data = png(mode, width, height, seed)
    stored = with_pixels_stored(data)
    assert stored is not None
    assert decoded(stored) == decoded(data)


def test_more_than_one_stored_block_and_chunk(photos: Path):
    data = (photos / "coffee.png").read_bytes()
    assert data.count(b"IDAT") > 1
    stored = with_pixels_stored(data)
    assert stored is not None
    assert len(stored) > 600 * 400 * 3
    assert stored.count(b"IDAT") == 1
    assert decoded(stored) == decoded(data)


def whole() -> list[bytes]:
    """Signature, header, pixels and end of a picture, to be put together wrongly."""
    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    return [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(b"\0ab\0cd")),
        chunk(b"IEND", b""),
    ]


def header(**change: int) -> bytes:
    fields = {"width": 2, "height": 2, "depth": 8, "colour": 0, "compression": 0, "filter": 0, "interlace": 0, **change}
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *fields.values()))


def test_what_the_others_are_made_from_is_taken():
    stored = with_pixels_stored(b"".join(whole()))
    assert stored is not None
    assert decoded(stored) == ("L", b"abcd")


@pytest.mark.parametrize(
    ("index", "instead"),
    [
        (0, b"\x89PNG\r\n\x1a\r"),
        (1, b""),
        (1, chunk(b"IHDR", b"\0" * 12)),
        (1, header(interlace=1)),
        (1, header(compression=1)),
        (1, header(colour=5)),
        (1, header(width=1 << 31, height=1 << 31)),
        (1, header(height=3)),
        (1, header(height=1)),
        (1, header() + chunk(b"acTL", b"\0" * 8)),
        (2, b""),
        (2, chunk(b"IDAT", b"")),
        (2, chunk(b"IDAT", b"random bytes")),
        (2, chunk(b"IDAT", zlib.compress(b"\0ab\0cd")[:-1])),
        (2, chunk(b"IDAT", zlib.compress(b"\0ab\0cd")[:-1] + b"x")),
        (2, chunk(b"IDAT", zlib.compress(bytes(1 << 24)))),
        (2, chunk(b"IDAT", b"") + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", zlib.compress(b"\0ab\0cd"))),
        (3, b""),
        (3, b"\xff\xff\xff\xffIEND"),
    ],
    ids=repr,
)
def test_what_is_not_plain_or_not_whole_is_left_to_the_decoder(index, instead):
    parts = whole()
    parts[index] = instead
    assert with_pixels_stored(b"".join(parts)) is None


@given(st.data())
def test_damaged_bytes_are_never_another_picture(data):
    good = bytearray(b"".join(whole()))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    stored = with_pixels_stored(bytes(good))
    if stored is None:
        return
    assert decoded_or_none(stored) == decoded_or_none(bytes(good))


def decoded_or_none(picture: bytes) -> object:
    try:
        return decoded(picture)
    except Exception:  # whichever of its errors a decoder has for it
        return None

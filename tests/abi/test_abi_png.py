"""PNG with its pixels stored: the same picture to a decoder, whatever else was in the file."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import DeadlineExceeded, HostError
from guesthouse_abi.pictures.png import Png
from guesthouse_abi.pictures.source import Era
from tests.support.pictures import chunk

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


def stored(data: bytes, deadline: Deadline | None = None) -> bytes:
    return Png(data, Era.WASMEDGE_0_14).with_pixels_stored(deadline or Deadline.after(60))


def decoded(data: bytes) -> tuple[str, bytes]:
    image = Image.open(io.BytesIO(data))
    return image.mode, image.tobytes()


@given(st.sampled_from(MODES), st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_a_decoder_finds_the_same_picture(mode, width, height, seed):
    data = png(mode, width, height, seed)
    assert decoded(stored(data)) == decoded(data)


def test_more_than_one_stored_block_and_chunk(photos: Path):
    data = (photos / "coffee.png").read_bytes()
    assert data.count(b"IDAT") > 1
    plain = stored(data)
    assert len(plain) > 600 * 400 * 3
    assert plain.count(b"IDAT") == 1
    assert decoded(plain) == decoded(data)


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
    assert decoded(stored(b"".join(whole()))) == ("L", b"abcd")


PIXELS = zlib.compress(b"\0ab\0cd")
DAMAGED = {
    "animation": (1, header() + chunk(b"acTL", b"\0" * 8)),
    "broken animation": (1, header() + chunk(b"acTL", b"\xff") + chunk(b"fcTL", b"")),
    "text with a wrong checksum": (1, header() + chunk(b"tEXt", b"a\0b")[:-1] + b"x"),
    "short notes of colour": (
        1,
        header() + b"".join(chunk(kind, b"") for kind in (b"cHRM", b"sRGB", b"pHYs", b"gAMA")),
    ),
    "a profile of 16 MiB": (1, header() + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 24)))),
    "text of 16 MiB": (1, header() + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 24)))),
    "a palette of grey": (1, header() + chunk(b"PLTE", b"abc")),
    "transparency that does not fit": (1, header() + chunk(b"tRNS", bytes(7))),
    "pixels in parts, with text between": (
        2,
        chunk(b"IDAT", PIXELS[:5]) + chunk(b"tEXt", b"") + chunk(b"IDAT", PIXELS[5:]),
    ),
    "an empty part": (2, chunk(b"IDAT", b"") + chunk(b"IDAT", PIXELS)),
    "more pixels than promised": (2, chunk(b"IDAT", zlib.compress(b"\0ab\0cd" + bytes(1 << 24)))),
    "pixels whose own checksum is wrong": (2, chunk(b"IDAT", PIXELS[:-1] + b"x")),
    "pixels without a checksum": (2, chunk(b"IDAT", PIXELS[:-4])),
    "no end": (3, b""),
    "half an end": (3, b"\0\0\0\0IE"),
    "an end of its own": (3, b"\0\0\0\0\0\0\0\0 and anything"),
    "bytes behind the end": (3, chunk(b"IEND", b"") + b"more"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_the_pixels_do_not_depend_on_may_be_damaged(damage):
    parts = whole()
    index, parts[index] = DAMAGED[damage]
    assert decoded(stored(b"".join(parts))) == ("L", b"abcd")


def test_a_picture_may_end_within_the_checksum_of_its_pixels():
    data = b"".join(whole()[:3])
    for missing in range(8):  # four bytes of the chunk's, four of the compressed pixels'
        assert decoded(stored(data[: len(data) - missing])) == ("L", b"abcd")


REFUSED = {
    "another signature": (1, chunk(b"ihdr", bytes(13)), "its header is damaged"),
    "no header": (1, b"", "its header is damaged"),
    "a short header": (1, chunk(b"IHDR", b"\0" * 12), "its header is damaged"),
    "a header's checksum": (1, header()[:-1] + b"x", "its header is damaged"),
    "compression": (1, header(compression=1), "its header has values that PNG does not know"),
    "filter": (1, header(filter=1), "its header has values that PNG does not know"),
    "interlace": (1, header(interlace=2), "its header has values that PNG does not know"),
    "colour": (1, header(colour=5), "its header has values that PNG does not know"),
    "depth": (1, header(depth=3), "its header has values that PNG does not know"),
    "a row too many": (1, header(height=3), "it has 6 bytes of pixels, where its header promises 9"),
    "two headers": (1, header() + header(), "it has a critical chunk IHDR, which is not known here"),
    "an unknown critical chunk": (1, header() + chunk(b"ABCD", b""), "it has a critical chunk ABCD"),
    "no palette": (1, header(colour=3), "its palette is missing"),
    "an empty palette": (1, header(colour=3) + chunk(b"PLTE", b""), "its palette is damaged"),
    "a palette's checksum": (1, header(colour=3) + chunk(b"PLTE", b"abc")[:-1] + b"x", "its palette is damaged"),
    "no pixels": (2, b"", "it has no pixels"),
    "empty pixels": (2, chunk(b"IDAT", b""), "it has no pixels"),
    "pixels' checksum": (2, chunk(b"IDAT", PIXELS)[:-1] + b"x", "a checksum in its pixels is wrong"),
    "random pixels": (2, chunk(b"IDAT", b"random bytes"), "its pixels do not begin as compressed ones do"),
    "a dictionary": (2, chunk(b"IDAT", b"\x78\xbb" + PIXELS[2:]), "its pixels do not begin as compressed ones do"),
    "damaged pixels": (2, chunk(b"IDAT", b"\x78\x9c\xff\xff\xff"), "its pixels cannot be inflated"),
    "cut pixels": (2, chunk(b"IDAT", PIXELS[:-6]), "bytes of pixels, where its header promises 6"),
}


@pytest.mark.parametrize("damage", REFUSED)
def test_what_the_pixels_depend_on_may_not(damage):
    parts = whole()
    index, parts[index], text = REFUSED[damage]
    with pytest.raises(HostError, match=text):
        stored(b"".join(parts))


def test_a_colour_that_a_palette_lacks_is_black():
    parts = whole()
    parts[1:3] = [header(colour=3) + chunk(b"PLTE", b"rgb"), chunk(b"IDAT", zlib.compress(b"\0\0\1\0\2\0"))]
    image = Image.open(io.BytesIO(stored(b"".join(parts)))).convert("RGB")
    assert image.tobytes() == b"rgb" + bytes(6) + b"rgb"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT"])
def test_endless_chunks_take_no_memory_and_end_at_the_deadline(kind):
    data = b"".join((*whole()[:2], chunk(kind, b"") * 200_000, *whole()[2:]))
    assert decoded(stored(data)) == ("L", b"abcd")
    with pytest.raises(DeadlineExceeded):
        stored(data, Deadline.after(-1))
    tracemalloc.start()
    stored(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@given(st.integers(1, 20), st.integers(1, 20))
def test_interlaced_pictures_are_found_too(width, height):
    values = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in PASSES for row in values[y::dy, x::dx] if row.size]
    parts = whole()
    parts[1:3] = [
        header(width=width, height=height, colour=2, interlace=1),
        chunk(b"IDAT", zlib.compress(b"".join(rows))),
    ]
    assert decoded(stored(b"".join(parts))) == ("RGB", values.tobytes())


@given(st.data())
def test_damaged_bytes_are_never_another_picture(data):
    good = bytearray(b"".join(whole()))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(8, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        plain = stored(bytes(good))
    except HostError:
        return
    assert decoded(plain) == ("L", b"abcd")

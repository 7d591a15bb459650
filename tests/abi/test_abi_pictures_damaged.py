"""Damaged pictures: shown where browsers, libjpeg and stb_image show what was meant, refused where it would be another.

The rule in words is in docs/abi.md.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import DeadlineExceeded, HostError, TooMuch
from guesthouse_abi.pictures import ALL_FORMATS, Era, Layout, decode_and_resize, size_of
from guesthouse_abi.pictures.jpeg import Jpeg
from tests.abi import stb
from tests.abi.perturbed import perturbed
from tests.support.kernels import kernels
from tests.support.pictures import encoded

GIL, STB = Era.WASMEDGE_0_14, Era.WASMEDGE_0_15
WIDTH, HEIGHT = 18, 14


class Free:
    def hold(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...


def load(data: bytes, era: Era = STB, size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any) -> Any:
    """The picture in its own size: resizing to that changes nothing."""
    options = {"pixels": 100_000, "deadline": Deadline.after(60), "kernels": kernels(), **options}
    return decode_and_resize(data, *size, Layout.RGB8, era, formats=ALL_FORMATS, budget=Free(), **options)


def error_of(data: bytes, era: Era = STB, **options: Any) -> str:
    with pytest.raises(HostError) as error:
        load(data, era, **options)
    return str(error.value)


def notes_of(data: bytes, era: Era = STB) -> list[str]:
    notes: list[str] = []
    load(data, era, note=notes.append)
    return notes


@cache
def slopes() -> Image.Image:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray(np.stack([x * 14, y * 18, (x + y) * 8], axis=2).astype(np.uint8))


@cache
def sample(name: str) -> bytes:
    return {
        "jpeg": lambda: encoded(slopes(), "JPEG", quality=85, subsampling=0),
        "progressive": lambda: encoded(slopes(), "JPEG", quality=85, subsampling=0, progressive=True),
        "cmyk": lambda: encoded(slopes().convert("CMYK"), "JPEG", quality=85, subsampling=0),
        "odd": lambda: encoded(slopes().convert("CMYK"), "JPEG", quality=85, subsampling=2),
        "png": lambda: encoded(slopes(), "PNG"),
        "palette": lambda: encoded(slopes().quantize(16), "PNG"),
        "gif": lambda: encoded(slopes().quantize(16), "GIF"),
        "bmp": lambda: encoded(slopes(), "BMP"),
        "tga": lambda: encoded(slopes(), "TGA"),
        "runs": lambda: encoded(slopes().quantize(7).convert("RGB"), "TGA", compression="tga_rle"),
        "pnm": lambda: encoded(slopes(), "PPM"),
    }[name]()


JPEGS = ["jpeg", "progressive", "cmyk", "odd"]
ALL = [*JPEGS, "png", "palette", "gif", "bmp", "tga", "runs", "pnm"]


# ---- JPEG ----


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize(
    "end", [b"", b"\xff", b"\xff\xff\xff", bytes(300), b"\xff\xd9 and more", b"\xff\xd9\xff\xd8\xff"], ids=repr
)
def test_the_end_of_a_jpeg_may_be_missing_or_something_else(era, name, end):
    data = sample(name)
    assert data.endswith(b"\xff\xd9")
    assert (load(data[:-2] + end, era) == load(data, era)).all()


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpeg_that_is_cut_anywhere_else_is_refused(name):
    data = sample(name)
    for cut in range(2, len(data) - 2):
        assert "JPEG picture that cannot be decoded" in error_of(data[:cut]), cut


def headers(data: bytes) -> Iterator[int]:
    """Where each segment before the first scan begins."""
    at = 2
    while True:
        yield at
        if data[at + 1] == 0xDA:
            return
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def segment(marker: int, contents: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(contents) + 2) + contents


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize(
    "between",
    [
        b"\0",
        b"abc",
        b"\xff",
        b"\xff\x00\x12",
        segment(0xE2, b"ICC_PROFILE\0\1\0"),
        segment(0xE2, b"ICC_PROFILE\0\7\2" + bytes(50)),
        segment(0xE1, b"Exif\0\0 and nothing that is one"),
        segment(0xE0, b"JFIF\0\x63\x63" + bytes(7)),
        segment(0xE2, b"MPF\0" + bytes(20)),
        segment(0xFE, bytes(60_000)),
    ],
    ids=lambda between: repr(between[:20]),
)
def test_a_jpeg_may_have_stray_bytes_and_damaged_notes_between_its_parts(era, name, between):
    data = sample(name)
    for at in list(headers(data))[1:]:
        assert (load(data[:at] + between + data[at:], era) == load(data, era)).all(), at


def test_a_jpeg_with_another_behind_it_is_the_first():
    data = sample("jpeg")
    assert (load(data + sample("progressive")) == load(data)).all()


def test_an_unknown_transform_of_adobes_is_taken_for_the_usual_one():
    data = sample("jpeg")
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09")
    assert (load(data[:2] + adobe + data[2:]) == load(data)).all()


def test_a_lost_scan_is_no_picture():
    data = sample("progressive")
    scans = [match.start() for match in re.finditer(b"\xff\xda", data)]
    assert len(scans) > 5
    for at in scans:
        assert error_of(data[:at] + b"\0" + data[at + 1 :])  # its marker is damaged: all of it are stray bytes


def test_a_bad_code_is_for_libjpeg_a_damaged_picture_and_for_stb_image_none():
    data = sample("jpeg")
    start = data.index(b"\xff\xda") + 14
    damaged = data[:start] + b"\xff\0" * 6 + data[start:]
    [note] = notes_of(damaged, GIL)
    assert note == "a damaged JPEG picture was decoded: Corrupt JPEG data: bad Huffman code"
    assert error_of(damaged, STB) == "a JPEG picture that cannot be decoded: Corrupt JPEG data: bad Huffman code"


def test_stray_bytes_are_told_of_and_a_missing_end_is_not():
    data = sample("jpeg")
    assert notes_of(data) == notes_of(data[:-2]) == []
    assert notes_of(data[:2] + b"abc" + data[2:]) == [
        "a damaged JPEG picture was decoded: 3 bytes between its parts mean nothing"
    ]
    [note] = notes_of(data[:-2] + bytes(50) + data[-2:])  # of which the decoder has taken some before it was at the end
    assert re.fullmatch(r"a damaged JPEG picture was decoded: .* \d\d extraneous bytes before marker 0xd9", note)


@pytest.mark.parametrize("name", ["progressive", "odd"])
def test_scans_are_bounded_whoever_decodes_them(name):
    image = Image.new("CMYK" if name == "odd" else "RGB", (64, 64))
    data = encoded(image, "JPEG", progressive=True, subsampling=2)
    start = data.rindex(b"\xff\xda")
    many = data[:start] + data[start:-2] * 400 + data[-2:]
    with pytest.raises(TooMuch, match=r"a picture of 64x64 pixels in 4\d\d scans"):
        load(many, pixels=64 * 64)
    more = data[:start] + data[start:-2] * 1000 + data[-2:]
    with pytest.raises(TooMuch, match=r"a picture of 64x64 pixels in 10\d\d scans"):
        load(more, pixels=1 << 30)


def test_endless_segments_end_at_the_deadline():
    data = sample("progressive")
    many = data[:2] + segment(0xFE, b"") * 100_000 + data[2:]
    assert (load(many) == load(data)).all()
    with pytest.raises(DeadlineExceeded):
        Jpeg(many, STB, (0, 0), Deadline.after(-1))


# ---- GIF ----


def gif(width: int, height: int, *parts: bytes, background: int = 0, palette: bytes = b"\1\2\3\x40\x50\x60") -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, background, 0) + palette + b"".join(parts) + b";"


def frame(left: int, top: int, numbers: list[list[int]]) -> bytes:
    """Numbers 0 and 1, each after a clear code (4), then the end (5): all of three bits."""
    codes = [code for row in numbers for number in row for code in (4, number)] + [5]
    bits = sum(code << 3 * index for index, code in enumerate(codes))
    raster = bits.to_bytes(-(-3 * len(codes) // 8), "little")
    where = struct.pack("<HHHHB", left, top, len(numbers[0]), len(numbers), 0)
    return b"\x2c" + where + b"\2" + bytes([len(raster)]) + raster + b"\0"


def control(transparent: int) -> bytes:
    return bytes((0x21, 0xF9, 4, 1, 0, 0, transparent, 0))


@pytest.mark.parametrize("era", Era)
def test_transparent_pixels_of_a_gif_are_black(era):
    data = gif(2, 1, control(1), frame(0, 0, [[0, 1]]))
    assert load(data, era, (2, 1)).tolist() == [[[1, 2, 3], [0, 0, 0]]]


@pytest.mark.parametrize("era", Era)
def test_around_a_first_picture_that_is_smaller_a_gif_is_black(era):
    data = gif(3, 2, frame(1, 0, [[1]]))
    assert load(data, era, (3, 2)).tolist() == [[[0, 0, 0], [0x40, 0x50, 0x60], [0, 0, 0]], [[0, 0, 0]] * 3]


def test_around_it_is_the_background_as_stb_image_mixes_it():
    data = gif(2, 1, frame(0, 0, [[0]]), background=1)
    assert load(data, STB, (2, 1)).tolist() == [[[1, 2, 3], [0x60, 0x50, 0x40]]]
    assert load(data, GIL, (2, 1)).tolist() == [[[1, 2, 3], [0, 0, 0]]]


def test_of_a_gif_without_its_last_pixels_these_are_black_and_it_is_told():
    data = gif(3, 1, frame(0, 0, [[1, 1]]).replace(struct.pack("<HH", 2, 1), struct.pack("<HH", 3, 1)))
    assert load(data, size=(3, 1)).tolist() == [[[0x40, 0x50, 0x60]] * 2 + [[0, 0, 0]]]
    notes: list[str] = []
    load(data, size=(3, 1), note=notes.append)
    assert notes == ["a damaged GIF picture was decoded: it ends before its last pixel, and the rest is black"]


def test_the_first_of_several_pictures_of_a_gif_is_shown_whatever_the_others_are():
    first = frame(0, 0, [[0, 1]])
    assert (load(gif(2, 1, first, b"\x2c and nonsense"), size=(2, 1)) == load(gif(2, 1, first), size=(2, 1))).all()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (gif(2, 1), "it has no picture"),
        (gif(2, 1, frame(1, 0, [[0, 1]])), "its first picture lies outside of it"),
        (gif(2, 1, frame(0, 0, [[0, 1]]))[:-5], "it ends before its last pixel"),
        (b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + frame(0, 0, [[0]]), "it has no palette"),
        (b"GIF89a\1\0", "its header is cut"),
    ],
)
def test_what_is_no_gif(data, text):
    assert error_of(data, size=(2, 1)) == f"a GIF picture that cannot be decoded: {text}"


# ---- BMP ----


def bmp(bits: int, rows: bytes, *, width: int = 2, height: int = 1, palette: bytes = b"", **header: Any) -> bytes:
    masks = struct.pack(f"<{len(header['masks'])}I", *header["masks"]) if "masks" in header else b""
    size = header.get("size", 40)
    kind, used = 3 if masks else 0, header.get("used", 0)
    info = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, kind, 0, 0, 0, used, 0) + masks
    info = info.ljust(size, b"\0")
    gap = bytes(header.get("gap", 0))
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(info) + len(palette) + len(gap)) + info + palette + gap + rows


@pytest.mark.parametrize(
    ("masks", "values", "expected"),
    [
        ((0xF800, 0x7E0, 0x1F), (0xFFFF, 0x8410), [[255, 255, 255], [132, 130, 132]]),
        ((0xF00, 0xF0, 0xF), (0xABC, 0x123), [[0xAA, 0xBB, 0xCC], [0x11, 0x22, 0x33]]),
        ((0x1F, 0x3E0, 0x7C00), (0x1F, 0x7C00), [[255, 0, 0], [0, 0, 255]]),
        ((0x8000, 0x4000, 0x2000), (0xA000, 0x4000), [[255, 0, 255], [0, 255, 0]]),
    ],
)
def test_any_masks_of_a_bmp(masks, values, expected):
    assert load(bmp(16, struct.pack("<2H", *values), masks=masks), size=(2, 1)).tolist() == [expected]
    wide = bmp(32, struct.pack("<2I", *values), masks=masks)
    assert load(wide, size=(2, 1)).tolist() == [expected]
    assert load(bmp(32, struct.pack("<2I", *values), masks=(*masks, 0), size=108), size=(2, 1)).tolist() == [expected]


def test_opacity_that_a_bmp_has_is_dropped_or_multiplied_in():
    data = bmp(32, struct.pack("<2I", 0x80FF_FFFF, 0), masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), size=108)
    assert load(data, STB, (2, 1)).tolist() == [[[255] * 3, [0] * 3]]
    assert load(data, GIL, (2, 1)).tolist() == [[[128] * 3, [0] * 3]]
    nothing = bmp(32, struct.pack("<2I", 0xFF_FFFF, 0), masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000), size=108)
    assert load(nothing, GIL, (2, 1)).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("used", [0, 1, 2, 256, 1 << 31])
def test_how_many_colours_a_bmp_says_that_it_has_does_not_matter(used):
    data = bmp(8, b"\0\1\0\0", palette=bytes((3, 2, 1, 0, 6, 5, 4, 0)), used=used)
    assert load(data, size=(2, 1)).tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_a_colour_that_a_bmp_lacks_is_black_and_of_too_many_the_first_count():
    assert load(bmp(8, b"\0\1\0\0", palette=b"\3\2\1\0"), size=(2, 1)).tolist() == [[[1, 2, 3], [0, 0, 0]]]
    assert load(bmp(8, b"\0\0\0\0", palette=b"\3\2\1\0" * 300), size=(2, 1)).tolist() == [[[1, 2, 3]] * 2]


def test_a_bmp_may_have_a_gap_before_its_pixels_and_lack_its_last_padding():
    rows = bytes((3, 2, 1, 6, 5, 4))
    for data in (bmp(24, rows), bmp(24, rows + b"\0\0"), bmp(24, rows, gap=100), bmp(24, rows, height=-1)):
        assert load(data, size=(2, 1)).tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bmp(24, b"abcde"), "it ends before its last pixel"),
        (bmp(8, b"\0\0\0\0"), "its palette is missing"),
        (bmp(16, bytes(4), masks=(0, 1, 2)), "its masks are no masks of colours"),
        (bmp(32, bytes(8), masks=(0x1FF, 0xFE00, 0xFF0000)), "its masks are no masks of colours"),
        (bmp(8, bytes(4), masks=(1, 2, 4)), "masks for 8 bits"),
        (bmp(24, b"abcdef")[:40], "its header is cut"),
    ],
)
def test_what_is_no_bmp(data, text):
    assert error_of(data, size=(2, 1)) == f"a BMP picture that cannot be decoded: {text}"


# ---- TGA ----


def tga(kind: int, bits: int, pixels: bytes, *, how: int = 0x20, **palette: Any) -> bytes:
    """Three pixels wide, and two high."""
    entries, bits_of_one = palette.get("entries", b""), palette.get("bits_of_one", 0)
    count = len(entries) * 8 // (bits_of_one + 1 & ~7) if entries else 0
    head = (0, bool(entries), kind, 0, count, bits_of_one, 0, 0, 3, 2, bits, how)
    return bytes(struct.pack("<BBBHHBHHHHBB", *head) + entries + pixels)


def test_runs_of_a_tga_may_cross_rows():
    data = tga(10, 24, b"\x84\3\2\1" + b"\0\6\5\4")
    assert load(data, size=(3, 2)).tolist() == [[[1, 2, 3]] * 3, [[1, 2, 3]] * 2 + [[4, 5, 6]]]
    assert load(tga(11, 8, b"\4\1\2\3\4\5\x80\6"), size=(3, 2))[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert load(tga(11, 8, b"\xff\7"), size=(3, 2))[..., 0].tolist() == [[7] * 3] * 2  # longer than the picture


def test_tgas_of_fifteen_and_sixteen_bits_and_with_palettes():
    assert load(tga(2, 16, struct.pack("<H", 0x7C00) * 6), size=(3, 2)).tolist() == [[[255, 0, 0]] * 3] * 2
    assert load(tga(2, 15, struct.pack("<H", 10) * 6), size=(3, 2)).tolist() == [[[0, 0, 82]] * 3] * 2
    data = tga(1, 8, b"\0\1\2\0\1\0", entries=b"\3\2\1\6\5\4", bits_of_one=24)
    assert load(data, size=(3, 2)).tolist() == [[[1, 2, 3], [4, 5, 6], [1, 2, 3]], [[1, 2, 3], [4, 5, 6], [1, 2, 3]]]
    runs = tga(9, 8, b"\x85\1", entries=struct.pack("<2H", 0, 0x7FFF), bits_of_one=16)
    assert load(runs, size=(3, 2)).tolist() == [[[255] * 3] * 3] * 2


def test_a_tga_is_turned_upright_and_its_opacity_dropped_or_multiplied_in():
    pixels = bytes((3, 2, 1, 0)) * 3 + bytes((60, 50, 40, 255)) * 3
    assert load(tga(2, 32, pixels, how=0), size=(3, 2)).tolist() == [[[40, 50, 60]] * 3, [[1, 2, 3]] * 3]
    assert load(tga(2, 32, pixels), GIL, (3, 2)).tolist() == [[[0] * 3] * 3, [[40, 50, 60]] * 3]
    assert load(tga(3, 16, b"\x40\x80" * 6), GIL, (3, 2)).tolist() == [[[32] * 3] * 3] * 2
    assert load(tga(3, 16, b"\x40\x80" * 6), STB, (3, 2)).tolist() == [[[64] * 3] * 3] * 2


@pytest.mark.parametrize("pixels", [b"", b"\x84\1\2\3", b"\5" + bytes(17), b"\x84\1\2\3\x80\1\2"])
def test_a_tga_whose_runs_end_early_is_refused(pixels):
    assert error_of(tga(10, 24, pixels), size=(3, 2)).endswith("it ends before its last pixel")


# ---- PNM ----


def test_a_pnm_with_comments_is_read_and_its_bytes_are_taken_as_they_are():
    data = b"P5#a\n 2 # 7 7\n#\r1\n9\n" + bytes((0, 9))
    assert load(data, size=(2, 1))[..., 0].tolist() == [[0, 9]]
    assert load(b"P6 1 1 255\n" + b" \n\t", size=(1, 1)).tolist() == [[[32, 10, 9]]]
    assert load(b"P5 1 1 65535\n\xab\xcd", size=(1, 1)).tolist() == [[[0xAB] * 3]]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"P5 2 1 255\n\0", "it ends before its last pixel"),
        (b"P5 2 x 255\n\0\0", "its header is damaged"),
        (b"P5 14\n55\n" + bytes(99), "its header is damaged"),
        (b"P5 99999999999 1 255\n\0\0", "its header is damaged"),
    ],
)
def test_what_is_no_pnm(data, text):
    assert error_of(data, size=(2, 1)) == f"a PNM picture that cannot be decoded: {text}"


# ---- every byte changed, every cut, beside other decoders ----


def damages(data: bytes) -> Iterator[bytes]:
    for cut in range(len(data)):
        yield data[:cut]
    for at, byte in enumerate(data):
        for value in {byte ^ 1, byte ^ 0x80, 0xFF - byte}:
            yield data[:at] + bytes([value]) + data[at + 1 :]


#: Why a picture is refused that stb_image shows, by name of the sample.
STRICTER = {
    # What is lacking: stb_image goes on with zeros. What libjpeg calls an error: stb_image looks at less.
    "jpeg": "lacks a scan|no header of a frame|premature end of data|Bogus|was not defined|two SOI|Unsupported"
    "|Invalid component|[Mm]arker|ends too early|cannot|broken data|no picture known here",
    "png": "a checksum in its pixels is wrong|its header is damaged|its palette is damaged|ends within its pixels",
    "gif": "it ends before its (first picture|last pixel)|broken data stream",
    "bmp": "it ends before its last pixel|its header is cut|its palette is missing|Unsupported BMP compression"
    "|of 0x14 pixels|of 18x0 pixels",
}


def own_size(data: bytes) -> Any:
    width, height = size_of(data, ALL_FORMATS)
    return load(data, size=(width, height), pixels=1_000_000)


def by_pillow(data: bytes) -> Any:
    """As libjpeg, or another decoder of Pillow's, has it: its warnings are nobody's matter there."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except Exception:
        return None
    return np.asarray(image.convert("RGB"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jpeg", "progressive", "png", "palette", "gif", "bmp"])
def test_damaged_pictures_are_those_of_stb_image_or_refused_or_there_is_a_reason(name):
    if why := stb.missing():
        pytest.skip(f"raylib, which has stb_image, cannot be loaded: {why}")
    data = sample(name)
    kind = {"progressive": "jpeg", "palette": "png"}.get(name, name)
    whole, refused, others = load(data), 0, 0
    near = 8 if kind == "jpeg" else 0  # the two undo the cosine transform each in its own way
    with stb.Stb() as second:
        assert np.abs(second.decode(data).astype(int) - whole).max() <= near
        for damaged in damages(data):
            theirs = second.decode(damaged)
            try:
                ours, reason = own_size(damaged), ""
            except (HostError, TooMuch) as error:
                ours, reason = None, str(error)
            if reason:
                refused += 1
                assert theirs is None or re.search(STRICTER[kind] + "|the limit pixels|a side has at most", reason)
                continue
            if theirs is not None and theirs.shape != ours.shape:
                theirs = None
            if theirs is not None and np.abs(theirs.astype(int) - ours).max() <= near:
                continue
            # stb_image refuses it, or makes something else of it: then it is the whole picture, or libjpeg's.
            others += 1
            assert np.array_equal(ours, whole) or np.array_equal(ours, by_pillow(damaged))
    assert refused > 100
    assert others < len(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tga", "pnm"])
def test_damaged_pictures_without_compression_are_those_of_pillow_or_refused(name):
    data, same = sample(name), 0
    for damaged in damages(data):
        theirs = by_pillow(damaged)
        try:
            ours = own_size(damaged)
        except (HostError, TooMuch):
            continue
        same += np.array_equal(ours, theirs)
    assert same > len(data) * 2


# ---- no byte that was not written for it ----


def outcome(pattern: int, data: bytes, era: Era) -> bytes | str:
    with perturbed(pattern, *(WIDTH * HEIGHT * channels for channels in (1, 3, 4))):
        try:
            pixels: bytes = load(data, era, (7, 5)).tobytes()
        except (HostError, TooMuch) as error:
            return str(error)
    return pixels


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
@given(st.data())
def test_no_pixel_of_a_damaged_picture_depends_on_what_memory_held(name, data):
    body = bytearray(sample(name))
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(body[: data.draw(st.one_of(st.just(len(body)), st.integers(0, len(body))))])
    era = data.draw(st.sampled_from(Era))
    assert outcome(0x00, damaged, era) == outcome(0xA5, damaged, era)
    assert outcome(0xFF, damaged, era) == outcome(0x5A, damaged, era)

"""Decoding and resizing, held against what Boost.GIL 1.74 and stb_image_resize2 themselves give.

By the pixel kernel and without it: numpy and Pillow do the same then.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import DeadlineExceeded, HostError, TooMuch
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.pictures import ALL_FORMATS, JPEG, PNG, Era, Layout, decode_and_resize
from guesthouse_abi.resampling import bilinear, cubic
from tests.support.kernels import kernels
from tests.support.pictures import encoded

GIL, STB = Era.WASMEDGE_0_14, Era.WASMEDGE_0_15
OPTIONS: dict[str, Any] = {"formats": ALL_FORMATS, "pixels": 1_000_000}
PICTURES = Path(__file__).parents[1] / "data" / "pictures"


@pytest.fixture(autouse=True, params=["kernel", "numpy"])
def worked_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What works on the pixels."""
    monkeypatch.setitem(OPTIONS, "kernels", kernels() if request.param == "kernel" else None)
    return str(request.param)


def budget(host_memory: int = 1 << 28) -> Context:
    services: Any = None
    return Context(Deadline.after(60), Grants(), Limits(host_memory=host_memory), services)


def load(data: bytes, width: int, height: int, layout: Layout = Layout.RGB8, era: Era = GIL, **options: Any) -> Any:
    options = {**OPTIONS, "budget": budget(), "deadline": Deadline.after(60), **options}
    result = decode_and_resize(data, width, height, layout, era, **options)
    assert result.shape == (height, width, 3)
    assert result.dtype == layout.dtype
    assert result.flags.c_contiguous
    assert options["budget"].held == 0
    return result


def colours(width: int, height: int, channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)


# ---- resizing: the same picture of 9x7 through the libraries themselves ----


def sample() -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x, c = np.ogrid[:7, :9, :3]
    return np.ascontiguousarray(((x * x * 37 + y * 91 + x * y * 13 + c * 53) % 256).astype(np.uint8))


OF_GIL = {
    (4, 3): "00356a6499ce7aaf394075aa11467bdd12475b90c589bef322578c568bc03c71a6d2073c",
    (
        4,
        8,
    ): "00356a6499ce7aaf394075aa4e83b887295e715d790b40759bd14f6c71a6a5477c8ec341578c53a74a7f846fa4a3d89f376ca2a5487"
    "d56679c6ea3d886bba67f6ba0665e623a6fa4afe43dc61f548ec3652a3b7022578c568bc03c71a6d2073c",
}
OF_STB = {
    (4, 3): "597b9c7a6b9d856a745d617f868d83a05e91876496808a9a7598948374896a8e7c7a6277",
    (
        4,
        8,
    ): "275c91639dc75f98662d6697518cc88c32669a3d64661c58b29e777574ada259969da57e856f74b94f888973aa75bcbb64859ab35d8"
    "9775b977569ab94bd837286ac7b677a91586f8c93659c2f597ab06d5e8c665289c56fa89f538d87864581",
    (
        11,
        8,
    ): "00316611467b6ba0d586bef34480b94c88bd9bd1125b946617549b1953884478ad477bc174b7ef3885b9482d62d30a40d21b50497b"
    "8f973e66d500378b0a4200367caae747e56b719573b44e8dc273699e8781b6aa1e5bae649ca691d19d969c93cb2b538c4288628ac15ca1c354"
    "87a03e73c26095b562976487bc3798d45eacc5b6e9a02458b26dbc91aa948ab34482a94276dd6da24b81c3594a83802b657f569b6ea7ee90c5"
    "b19fd84e91a5787c6eb27075ac60a8e6307563984360f03e51c1594c296fa7baef2f458b9783357fe21045b51e51285d6e95cc2184c3b382cb"
    "9a7eb725223270194e8a81b6ec75aee34784c4639eacaee31154889d285da03477af7871acdc0035",
}


@pytest.mark.parametrize("size", OF_GIL)
def test_resizes_as_gil_does_to_the_last_bit(size):
    width, height = size
    assert bilinear(sample(), width, height, (0, 1, 2)).tobytes().hex() == OF_GIL[size]
    assert load(encoded(Image.fromarray(sample()), "PNG"), width, height).tobytes().hex() == OF_GIL[size]


@pytest.mark.parametrize("size", OF_STB)
def test_resizes_as_stb_does(size):
    width, height = size
    resized = cubic(sample(), width, height, (0, 1, 2), np.arange(256, dtype=np.float32))
    assert np.clip(resized + np.float32(0.5), 0, 255).astype(np.uint8).tobytes().hex() == OF_STB[size]
    assert load(encoded(Image.fromarray(sample()), "PNG"), width, height, era=STB).tobytes().hex() == OF_STB[size]


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        ((224, 224), "62f4ecd88eb580acf319d4e9f54ed262033d716559cc78f02d27e77b57ebab71"),
        ((700, 430), "58aabc340323ef88aa2226f92fe9dd15687cd00c00adb37c1875bf2e6495ccbb"),
    ],
)
def test_a_photo_comes_out_of_gils_resize_the_same(photos, size, digest):
    pixels = load((photos / "coffee.png").read_bytes(), *size)
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == digest


def test_a_photo_comes_out_of_stbs_resize_within_one(photos):
    expected = bytes.fromhex(
        "150d08983b16ad5121c4703b22170eb83917ce9563be6938a54c22aa2c0fe89438bf6c38cf91648317075b1f0fab5e31ce93698e19081703"
        "02772f13"
    )
    pixels = load((photos / "coffee.png").read_bytes(), 224, 224, era=STB)[::45, ::60]
    # Sums in another order may fall on the other side of a half.
    assert np.abs(pixels.reshape(-1).astype(int) - np.frombuffer(expected, np.uint8)).max() <= 1


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("size", [(9, 7), (1, 1), (1, 7), (9, 1), (2, 40), (300, 3)])
def test_any_size_becomes_any_size(era, size):
    width, height = size
    data = encoded(Image.fromarray(sample()), "PNG")
    for source in (data, encoded(Image.fromarray(sample()[:1, :1]), "PNG")):
        result = load(source, width, height, era=era)
        if source is not data:
            assert (result == sample()[0, 0]).all()
    if size == (9, 7):
        assert (load(data, width, height, era=era) == sample()).all()


@pytest.mark.parametrize("era", Era)
def test_a_flat_picture_stays_flat(era):
    data = encoded(Image.new("RGB", (301, 203), (10, 128, 255)), "PNG")
    result = load(data, 64, 96, era=era).astype(int)
    # GIL truncates sums that rounding may have left a hair below the value.
    assert np.abs(result - (10, 128, 255)).max() <= (1 if era is GIL else 0)


@pytest.mark.parametrize("era", Era)
def test_bgr_is_rgb_with_its_channels_reversed(era):
    data = encoded(Image.fromarray(sample()), "PNG")
    for rgb, bgr in ((Layout.RGB8, Layout.BGR8), (Layout.RGB32F, Layout.BGR32F)):
        assert np.allclose(load(data, 5, 4, rgb, era), load(data, 5, 4, bgr, era)[..., ::-1], rtol=1e-5)


def test_floats_of_the_older_era_are_the_bytes_over_255():
    data = encoded(Image.fromarray(sample()), "PNG")
    floats = load(data, 5, 4, Layout.RGB32F)
    assert (floats == (load(data, 5, 4) / 255.0).astype(np.float32)).all()


def test_floats_of_the_newer_era_are_linear_light():
    data = encoded(Image.fromarray(sample()), "PNG")
    floats = load(data, 9, 7, Layout.RGB32F, STB)
    assert np.allclose(floats, (sample() / 255) ** 2.2, atol=1e-6)
    black_and_white = Image.fromarray(np.repeat(np.array([[0, 0, 255, 255]], np.uint8)[..., None], 3, axis=2))
    floats = load(encoded(black_and_white, "PNG"), 40, 1, Layout.RGB32F, STB)
    assert floats.min() < 0
    assert floats.max() > 1  # Catmull-Rom overshoots, and nothing clamps


# ---- decoding ----


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_are_decoded_as_libjpeg_does(photos, mode, progressive):
    image = Image.open(photos / "chelsea.png").convert(mode)
    data = encoded(image, "JPEG", quality=90, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert (load(data, *image.size) == expected).all()


@pytest.mark.parametrize("subsampling", [0, 2])  # the latter is nothing that TurboJPEG takes
def test_cmyk_jpegs_have_their_colours(photos, subsampling):
    image = Image.open(photos / "chelsea.png").convert("RGB").resize((160, 120))
    data = encoded(image.convert("CMYK"), "JPEG", quality=95, subsampling=subsampling)
    assert np.abs(load(data, 160, 120).astype(int) - np.asarray(image)).mean() < 4


PNGS = {
    "grey": (Image.fromarray(colours(8, 6, 1)[..., 0]), {}),
    "one bit": (Image.fromarray(colours(8, 6, 1)[..., 0]).convert("1"), {}),
    "palette": (Image.fromarray(colours(8, 6, 3)).quantize(20), {}),
    "palette of 4 bits": (Image.fromarray(colours(8, 6, 3)).quantize(9), {}),
    "rgb": (Image.fromarray(colours(8, 6, 3)), {}),
    "one colour transparent": (Image.fromarray(colours(8, 6, 3)), {"transparency": (1, 2, 3)}),
}


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("kind", PNGS)
def test_pngs_of_every_colour_type_become_rgb(era, kind):
    image, options = PNGS[kind]
    assert (load(encoded(image, "PNG", **options), 8, 6, era=era) == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("era", Era)
def test_sixteen_bits_are_cut_to_the_upper_eight(era):
    values = np.random.default_rng(1).integers(0, 65536, (6, 8)).astype(np.uint16)
    result = load(encoded(Image.fromarray(values), "PNG"), 8, 6, era=era)
    assert (result == (values >> 8)[..., None]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opacity_is_dropped_or_multiplied_in(mode):
    raw = colours(8, 6, len(mode))
    data = encoded(Image.fromarray(raw, mode=None), "PNG")
    plain = np.broadcast_to(raw[..., :-1], (6, 8, 3)).astype(int)
    assert (load(data, 8, 6, era=STB) == plain).all()
    assert (load(data, 8, 6, era=GIL) == (plain * raw[..., -1:] + 127) // 255).all()


def test_opacity_of_a_palette_is_dropped_or_multiplied_in():
    image, _ = PNGS["palette"]
    data = encoded(image, "PNG", transparency=bytes([0] * 20))
    assert (load(data, 8, 6, era=STB) == np.asarray(image.convert("RGB"))).all()
    assert not load(data, 8, 6, era=GIL).any()


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TGA", "PPM"])
def test_other_formats_that_stb_reads_are_decoded(kind):
    image = Image.fromarray(colours(8, 6, 3))
    result = load(encoded(image, kind), 8, 6, era=STB)
    assert np.abs(result.astype(int) - colours(8, 6, 3)).max() <= (0 if kind != "GIF" else 1)


def test_a_reduced_scale_is_not_below_the_target(photos):
    image = Image.open(photos / "coffee.png").convert("RGB").resize((1200, 800))
    data = encoded(image, "JPEG", quality=95)
    whole, reduced = load(data, 224, 224, pixels=10**6), load(data, 224, 224, scale=True)
    assert not (whole == reduced).all()
    assert np.abs(whole.astype(int) - reduced).mean() < 12
    assert (load(data, 1300, 10, scale=True, pixels=10**6) == load(data, 1300, 10, pixels=10**6)).all()


# ---- what is refused ----


def error_of(data: bytes, *arguments: Any, **options: Any) -> str:
    with pytest.raises(HostError) as error:
        load(data, *(arguments or (8, 6)), **options)
    return str(error.value)


@pytest.mark.parametrize("data", [b"", b"\0", b"not a picture", b"\x00\x00\x02" + bytes(40)])
def test_bytes_that_are_no_picture_are_refused(data):
    expected = f"{len(data)} bytes that are no picture known here (BMP, GIF, JPEG, PNG, PNM, TGA)"
    assert error_of(data) == expected
    assert error_of(data, formats=JPEG) == f"{len(data)} bytes that are no picture known here (JPEG)"


def test_a_picture_of_another_format_is_refused_where_one_is_expected():
    assert error_of(encoded(PNGS["rgb"][0], "PNG"), formats=JPEG) == "a PNG picture, where JPEG is expected"
    assert error_of(encoded(PNGS["rgb"][0], "JPEG"), formats=PNG) == "a JPEG picture, where PNG is expected"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TGA", "PPM"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(photos, kind, kept):
    data = encoded(Image.open(photos / "coffee.png").convert("RGB").resize((120, 80)), kind)
    text = error_of(data[: int(len(data) * kept)])
    assert "picture that cannot be decoded" in text or "no picture known here" in text


def test_stray_bytes_that_libjpeg_only_warns_of_are_no_reason_to_refuse(photos):
    data = encoded(Image.open(photos / "chelsea.png").convert("RGB"), "JPEG")
    stray = data[:-2] + b"\0" * 8 + data[-2:]
    with pytest.raises(ValueError, match="extraneous"):
        simplejpeg.decode_jpeg(stray)
    assert (load(stray, 8, 6) == load(data, 8, 6)).all()


def outcome_over(pattern: int, data: bytes, width: int, height: int, **options: Any) -> bytes | None:
    """The pixels, or None where it is refused, with `pattern` in the memory that decoding is given."""
    blocks = [np.full(width * height * channels, pattern, np.uint8) for channels in (3, 4, 3, 4) for _ in range(8)]
    del blocks
    try:
        result: bytes = load(data, width, height, **options).tobytes()
    except HostError:
        return None
    return result


def test_a_picture_of_which_nothing_was_decoded_is_refused():
    # libjpeg warns (the end is early) and then fails (in a table), before a pixel is written: see CHANGELOG.md.
    cut = (PICTURES / "jpg_cut_in_table.jpg").read_bytes()
    for pattern in (0x00, 0xA5):
        assert outcome_over(pattern, cut, 64, 48) is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_no_pixel_depends_on_what_memory_held(mode, progressive):
    image = Image.fromarray(colours(24, 20, 3)).convert(mode)
    data = encoded(image, "JPEG", progressive=progressive, subsampling=0)
    damaged = [data[:cut] for cut in range(len(data))]
    for at in range(len(data)):
        damaged.append(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        damaged.append(data[:at] + b"\xff\xc4" + data[at:])
    decoded = 0
    for one in damaged:
        result = outcome_over(0x00, one, 24, 20)
        assert outcome_over(0xA5, one, 24, 20) == result
        decoded += result is not None
    assert decoded > 100


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_refuses_a_picture_over_the_pixel_limit_before_decoding_it(kind):
    data = encoded(Image.new("RGB", (120, 100)), kind)
    broken = data[: len(data) * 3 // 4]  # decoding it would fail
    assert error_of(broken, pixels=11_999) == "a picture of 120x100 pixels; the limit pixels is 11999"
    load(data, 8, 6, pixels=12_000)


def test_refuses_a_target_over_the_pixel_limit_or_of_no_pixels():
    data = encoded(PNGS["rgb"][0], "PNG")
    assert error_of(data, 0, 6) == "a target of 0x6 pixels"
    assert error_of(data, 6, 0) == "a target of 6x0 pixels"
    assert error_of(data, 1001, 1000) == "a target of 1001x1000 pixels; the limit pixels is 1000000"
    assert error_of(data, 65536, 1) == "a target of 65536x1 pixels; a side has at most 65535"
    assert error_of(data, 0xFFFF_FFFF, 0xFFFF_FFFF).startswith("a target of 4294967295x4294967295 pixels")


def test_refuses_a_picture_with_a_side_that_is_too_long():
    data = encoded(Image.new("L", (70_000, 1)), "PNG")
    assert error_of(data) == "a picture of 70000x1 pixels; a side has at most 65535"


def test_refuses_a_progressive_picture_of_endless_scans():
    data = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    many = data[:start] + data[start:-2] * 400 + data[-2:]
    with pytest.raises(TooMuch, match=r"a picture of 64x64 pixels in 40\d scans"):
        load(many, 8, 6, pixels=64 * 64)


def test_what_decoding_takes_counts_as_host_memory():
    small, large = encoded(Image.new("RGB", (10, 10)), "JPEG"), encoded(Image.new("RGB", (200, 200)), "JPEG")
    load(small, 8, 6, budget=budget(100_000))
    held = budget(100_000)
    with pytest.raises(TooMuch, match="bytes of host memory for one event"):
        load(large, 8, 6, budget=held)
    assert held.held == 0
    measured = budget()
    load(large, 8, 6, budget=measured)
    assert measured.held_peak > 200 * 200 * 3


def test_nothing_is_held_after_a_failure():
    held = budget()
    data = encoded(PNGS["rgb"][0], "PNG")
    assert "cannot be decoded" in error_of(data[:-30], budget=held)
    assert held.held == 0
    assert held.held_peak > 0


def test_nothing_is_looked_at_past_the_deadline():
    with pytest.raises(DeadlineExceeded):
        load(b"not a picture", 8, 6, deadline=Deadline.after(-1))

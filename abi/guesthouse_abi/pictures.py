"""Decoding a picture and resizing it to what a model takes, as WasmEdge's image functions do.

Hostile bytes are expected: sizes are read from the header and checked before anything is decoded, only the decoders
named here are ever tried, and whatever they raise becomes a `HostError`. How pixels are resized is in `resampling`,
what guests call is in `imports/wasmedge_image`.

Colours: grey becomes three equal channels, palettes and CMYK become RGB, of 16 bits the upper 8 are kept. Opacity is
dropped in `Era.STB`; in `Era.GIL` colours are multiplied by it (transparent is black), as Boost.GIL does.
"""

from __future__ import annotations

import enum
import io
import re
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TgaImagePlugin

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.png import with_pixels_stored
from guesthouse_abi.resampling import Bytes, Floats, bilinear, cubic


class Era(enum.Enum):
    """Whose decoding and resizing: WasmEdge's up to 0.14 (Boost.GIL), or from 0.15 on (stb)."""

    GIL = "0.14"
    STB = "0.15"


class Layout(enum.IntEnum):
    """Channels and their type; the numbers are WasmEdge's."""

    RGB8 = 0
    BGR8 = 1
    RGB32F = 2
    BGR32F = 3

    @property
    def order(self) -> tuple[int, int, int]:
        return (0, 1, 2) if self in (Layout.RGB8, Layout.RGB32F) else (2, 1, 0)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self in (Layout.RGB8, Layout.BGR8) else np.float32)


class Budget(Protocol):
    """Where host memory is accounted for: `Context` is one."""

    def hold(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...


JPEG = frozenset({"JPEG"})
PNG = frozenset({"PNG"})
#: All formats that are decoded here. TGA has no signature: it is tried last.
ANY = frozenset({"JPEG", "PNG", "BMP", "GIF", "PNM", "TGA"})

_LONGEST_SIDE = 65535  # JPEG's own bound; it also bounds the tables of weights
_MOST_SCAN_PIXELS = 20  # times the pixel limit: what all scans of one progressive JPEG may add up to

_SIGNATURES = (
    ("JPEG", (b"\xff\xd8",)),
    ("PNG", (b"\x89PNG\r\n\x1a\n",)),
    ("BMP", (b"BM",)),
    ("GIF", (b"GIF87a", b"GIF89a")),
    ("PNM", (b"P5", b"P6")),
)
_PILLOW: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "TGA": TgaImagePlugin.TgaImageFile,
}


def size_of(data: bytes, formats: frozenset[str]) -> tuple[int, int]:
    """Width and height of a picture, from its header alone. Raises `HostError`."""
    source = _open(data, formats, Era.STB, (0, 0))
    return source.width, source.height


def decode_and_resize(
    data: bytes,
    width: int,
    height: int,
    layout: Layout,
    era: Era,
    *,
    formats: frozenset[str],
    pixels: int,
    budget: Budget,
    deadline: Deadline,
    scale: bool = False,
) -> NDArray[Any]:
    """The picture in `data`, resized to `width` x `height`: a C-contiguous array (height, width, 3) of `layout.dtype`.

    Floats are value / 255 in `Era.GIL`; in `Era.STB` they are linear light, (value / 255) ** 2.2, resized as such and
    not clamped. `formats` names what may be decoded, `pixels` is the most that a picture may have before and after.
    With `scale` a JPEG may be decoded at a half, a quarter or an eighth, not below the target's size: faster, and
    smoother. Raises `HostError` (nothing that can be decoded), `TooMuch` and what `Deadline.check` does.
    """
    deadline.check()
    _check_size("a target", width, height, pixels)
    source = _open(data, formats, era, (width, height) if scale else (0, 0))
    _check_size("a picture", source.width, source.height, pixels)
    source.check_effort(pixels)
    # The body, the decoder's own memory, the decoded picture, and the result with one intermediate as floats.
    held = len(data) + source.overhead + source.width * source.height * 3 + width * height * 3 * 8
    budget.hold(held)
    try:
        picture = source.decode()
        deadline.check()
        result = _resize(picture, width, height, layout, era)
    finally:
        budget.release(held)
    deadline.check()
    return result


def _check_size(what: str, width: int, height: int, pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise HostError(f"{what} of {width}x{height} pixels")
    if max(width, height) > _LONGEST_SIDE:
        raise TooMuch(f"{what} of {width}x{height} pixels; a side has at most {_LONGEST_SIDE}")
    if width * height > pixels:
        raise TooMuch(f"{what} of {width}x{height} pixels; the limit pixels is {pixels}")


# ---- resizing ----


# stb_image's stbi_loadf: (float) pow(value / 255.0f, 2.2f), in double precision.
_FRACTIONS = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float64)
_LINEAR_LIGHT: Floats = np.power(_FRACTIONS, float(np.float32(2.2))).astype(np.float32)


def _as_floats(values: Bytes) -> Floats:
    return values.astype(np.float32)


def _as_linear_light(values: Bytes) -> Floats:
    return _LINEAR_LIGHT.take(values)


def _resize(picture: Bytes, width: int, height: int, layout: Layout, era: Era) -> NDArray[Any]:
    floats = layout.dtype == np.float32
    if era is Era.GIL:
        small = bilinear(picture, width, height, layout.order)
        return (small / 255.0).astype(np.float32) if floats else small
    if floats:
        return cubic(picture, width, height, layout.order, _as_linear_light)
    values = cubic(picture, width, height, layout.order, _as_floats)
    values += np.float32(0.5)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


# ---- decoding ----


class _Source(Protocol):
    """A picture whose header was read. `overhead`: bytes that decoding takes besides the result."""

    width: int
    height: int
    overhead: int

    def check_effort(self, pixels: int) -> None: ...

    def decode(self) -> Bytes: ...


def _open(data: bytes, formats: frozenset[str], era: Era, least: tuple[int, int]) -> _Source:
    kind = next((name for name, starts in _SIGNATURES if data.startswith(starts)), "TGA")
    if kind not in formats:
        known = ", ".join(sorted(formats))
        if kind == "TGA":
            raise HostError(f"{len(data)} bytes that are no picture known here ({known})")
        raise HostError(f"a {kind} picture, where {known} is expected")
    if kind == "JPEG":
        try:
            return _Jpeg(data, least)
        except (ValueError, KeyError):  # KeyError: what TurboJPEG has no name for, as in a header cut short
            pass  # sampling that TurboJPEG does not know; Pillow tells what else is wrong
    return _Pillow(kind, data, era)


class _Jpeg:
    """By libjpeg-turbo: some four times as fast as through Pillow."""

    def __init__(self, data: bytes, least: tuple[int, int]) -> None:
        self._data = data
        self._least = {"min_width": least[0], "min_height": least[1]} if least[0] else {}
        height, width, colours, sampling = simplejpeg.decode_jpeg_header(data, strict=False)
        self.width, self.height = width, height
        self._height, self._width, *_ = simplejpeg.decode_jpeg_header(data, strict=False, **self._least)  # as decoded
        self._cmyk = colours in ("CMYK", "YCCK")
        self._scans = _scans(data)
        # A picture of several scans is kept as coefficients of 2 bytes until the last.
        samples = {"Gray": 1, "420": 1.5, "411": 1.5, "422": 2, "440": 2}.get(sampling, 4)
        self.overhead = int(width * height * samples * 2) if self._scans > 1 else 0
        if self._cmyk:
            self.overhead += width * height * 10  # four colours, and products of two bytes

    def check_effort(self, pixels: int) -> None:
        if self._scans * self.width * self.height > _MOST_SCAN_PIXELS * pixels:
            raise TooMuch(f"a picture of {self.width}x{self.height} pixels in {self._scans} scans")

    def decode(self) -> Bytes:
        # TurboJPEG calls an error that comes after a warning a warning, so that with strict=False a picture of which
        # nothing was decoded passes for a good one. With strict=True the text of the error says which of the two it
        # is, and after a mere warning the picture is in the buffer. The buffer is filled before: what is not written
        # is black, and nothing of what the memory held. (CMYK: to RGB simplejpeg goes through memory of its own.)
        channels = 4 if self._cmyk else 3
        buffer = np.zeros(self._height * self._width * channels, np.uint8)
        picture = buffer.reshape(self._height, self._width, channels)
        try:
            simplejpeg.decode_jpeg(
                self._data, "CMYK" if self._cmyk else "RGB", strict=True, buffer=buffer, **self._least
            )
        except ValueError as error:
            if not _JPEG_WARNING.match(str(error)) or not self._begins_well():
                raise HostError(f"a JPEG picture that cannot be decoded: {error}") from None
        return _from_cmyk(picture) if self._cmyk else picture

    def _begins_well(self) -> bool:
        """Whether libjpeg has nothing against the header: only then has it gone on to the pixels after a warning."""
        try:
            simplejpeg.decode_jpeg_header(self._data, strict=True)
        except ValueError:
            return False
        return True


#: What libjpeg warns of and goes on, but for an end that comes too early.
_JPEG_WARNING = re.compile(
    r"Corrupt JPEG data: (\d+ extraneous bytes|bad (Huffman|arithmetic) code|bad ICC|found marker \w+ instead of RST)"
    r"|Inconsistent progression|Invalid SOS parameters|Unknown Adobe color|Warning: unknown JFIF"
)


def _from_cmyk(picture: Bytes) -> Bytes:
    """RGB of CMYK as Adobe has it (inverted): each colour times black, over 255 and rounded."""
    product = picture[..., :3] * picture[..., 3:].astype(np.uint16)
    product += 128
    product += product >> 8
    product >>= 8
    return product.astype(np.uint8)


def _scans(data: bytes) -> int:
    """How many scans a decoder goes through. One, unless the frame is progressive or its parts come one by one."""
    at, components, progressive = 2, 0, False
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            single = not progressive and at + 5 <= len(data) and data[at + 4] == components
            return 1 if single else data.count(b"\xff\xda")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 10 <= len(data):
            components, progressive = data[at + 9], marker in (0xC2, 0xC6, 0xCA, 0xCE)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 1


class _Pillow:
    """By one decoder of Pillow's, chosen by name: none of its others is ever tried."""

    def __init__(self, kind: str, data: bytes, era: Era) -> None:
        self._kind = kind
        self._era = era
        # Any exception: these decoders raise what comes (struct.error, SyntaxError, KeyError …) on hostile bytes.
        try:
            self._image = _PILLOW[kind](io.BytesIO(data))
        except Exception as error:
            if kind == "TGA":
                known = ", ".join(sorted(ANY))
                raise HostError(f"{len(data)} bytes that are no picture known here ({known})") from None
            raise HostError(f"a {kind} picture that cannot be decoded: {error}") from None
        self._data = data if kind == "PNG" else b""
        self.width, self.height = self._image.size
        # Pillow's picture, and its copy in another mode; of a PNG, before that, its pixels as they were compressed.
        self.overhead = self.width * self.height * (24 if kind == "PNG" else 8)

    def check_effort(self, pixels: int) -> None:
        """Each part of such a picture is gone through once."""

    def decode(self) -> Bytes:
        try:
            if self._data and (stored := with_pixels_stored(self._data)) is not None:
                self._image = PngImagePlugin.PngImageFile(io.BytesIO(stored))
            self._image.load()
            return _rgb(self._image, self._era)
        except Exception as error:
            raise HostError(f"a {self._kind} picture that cannot be decoded: {error}") from None


def _rgb(image: Image.Image, era: Era) -> Bytes:
    if era is Era.GIL and (image.mode in ("RGBA", "LA") or (image.mode == "P" and "transparency" in image.info)):
        return np.ascontiguousarray(np.asarray(image.convert("RGBA").convert("RGBa"))[..., :3])
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))

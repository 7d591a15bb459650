"""Decoding a picture and resizing it to what a model takes, as WasmEdge's image functions do.

Hostile bytes are expected: sizes are read from the header and checked before anything is decoded, only the decoders of
this folder are ever tried, and whatever is wrong becomes a `HostError`. One file a format; what they share is in
`source`. How pixels are resized is in `resampling`, what guests call is in `imports/wasmedge_image`.

Colours: grey becomes three equal channels, palettes and CMYK become RGB, of 16 bits the upper 8 are kept. Opacity is
dropped in `Era.WASMEDGE_0_15`; in `Era.WASMEDGE_0_14` colours are multiplied by it (transparent is black), as Boost.GIL
does.

What is damaged is decoded where browsers, libjpeg and stb_image show the picture that was meant, and refused where it
would be another one: docs/abi.md has the rule for each format. No byte is handed out that was not written for it:
memory that a decoder may leave as it was is filled before.
"""

from __future__ import annotations

import enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.pictures import kernel
from guesthouse_abi.pictures.bmp import Bmp
from guesthouse_abi.pictures.gif import Gif
from guesthouse_abi.pictures.jpeg import Jpeg
from guesthouse_abi.pictures.plain import Plain
from guesthouse_abi.pictures.png import Png
from guesthouse_abi.pictures.pnm import Pnm
from guesthouse_abi.pictures.source import Era, Note, Source
from guesthouse_abi.pictures.tga import Tga
from guesthouse_abi.resampling import Bytes, Floats, Order, bilinear, cubic
from guesthouse_abi.services import PixelKernels

__all__ = ["ALL_FORMATS", "JPEG", "PNG", "Budget", "Era", "Layout", "decode_and_resize", "size_of"]


class Layout(enum.IntEnum):
    """Channels and their type; the numbers are WasmEdge's."""

    RGB8 = 0
    BGR8 = 1
    RGB32F = 2
    BGR32F = 3

    @property
    def order(self) -> Order:
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
ALL_FORMATS = frozenset({"JPEG", "PNG", "BMP", "GIF", "PNM", "TGA"})

_LONGEST_SIDE = 65535  # JPEG's own bound; it also bounds the tables of weights
_HEADER_SECONDS = 5.0  # that a header alone may take to be found
_SIGNATURES = (
    ("JPEG", (b"\xff\xd8",)),
    ("PNG", (b"\x89PNG\r\n\x1a\n",)),
    ("BMP", (b"BM",)),
    ("GIF", (b"GIF87a", b"GIF89a")),
    ("PNM", (b"P5", b"P6")),
)


def size_of(data: bytes, formats: frozenset[str]) -> tuple[int, int]:
    """Width and height of a picture, from its header alone. Raises `HostError`."""
    source = _open(data, formats, Era.WASMEDGE_0_15, (0, 0), Deadline.after(_HEADER_SECONDS), None)
    return source.width, source.height


def _ignored(text: str) -> None:
    """For a caller that wants no notes."""


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
    note: Note = _ignored,
    kernels: PixelKernels | None = None,
) -> NDArray[Any]:
    """The picture in `data`, resized to `width` x `height`: a C-contiguous array (height, width, 3) of `layout.dtype`.

    Floats are value / 255 in `Era.WASMEDGE_0_14`; in `Era.WASMEDGE_0_15` they are linear light, (value / 255) ** 2.2,
    resized as such and not clamped. `formats` names what may be decoded, `pixels` is the most that a picture may have
    before and after. With `scale` a JPEG may be decoded at a half, a quarter or an eighth, not below the target's size:
    faster, and smoother. `note` is called with what is wrong with a picture that is damaged and decoded all the same.
    With `kernels` these work on the pixels, without numpy and Pillow, which give the same and take longer.
    Raises `HostError` (nothing that can be decoded), `TooMuch` and what `Deadline.check` does.
    """
    deadline.check()
    _check_size("a target", width, height, pixels)
    source = _open(data, formats, era, (width, height) if scale else (0, 0), deadline, kernels)
    _check_size("a picture", source.width, source.height, pixels)
    source.check_effort(pixels, deadline)
    # The body, the decoder's own memory, the decoded picture, and the result with one intermediate as floats.
    held = len(data) + source.overhead + source.width * source.height * 3 + width * height * 3 * 8
    budget.hold(held)
    try:
        picture = source.decode(deadline, note)
        deadline.check()
        result = _resize(picture, width, height, layout, era, kernels, deadline)
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


_BYTES: Floats = np.arange(256, dtype=np.float32)
_SHARES: Floats = (np.arange(256) / 255.0).astype(np.float32)


def _resize(
    picture: Bytes, width: int, height: int, layout: Layout, era: Era, kernels: PixelKernels | None, deadline: Deadline
) -> NDArray[Any]:
    floats = layout.dtype == np.float32
    size, order = (width, height), layout.order
    if picture.shape[:2] == (height, width) and layout is Layout.RGB8:
        return picture  # what either library makes of it: each weight is 0 or 1
    if era is Era.WASMEDGE_0_14:
        numbers = _SHARES if floats else None
        if kernels is not None:
            return kernel.bilinear(kernels, picture, *size, order, deadline, numbers)
        small = bilinear(picture, *size, order)
        return small if numbers is None else numbers.take(small)
    if kernels is not None:
        return kernel.cubic(kernels, picture, *size, order, deadline, _LINEAR_LIGHT if floats else None)
    if floats:
        return cubic(picture, *size, order, _LINEAR_LIGHT)
    values = cubic(picture, *size, order, _BYTES)
    values += np.float32(0.5)
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


# ---- decoding ----


def _open(
    data: bytes,
    formats: frozenset[str],
    era: Era,
    least: tuple[int, int],
    deadline: Deadline,
    kernels: PixelKernels | None,
) -> Source:
    kind = next((name for name, starts in _SIGNATURES if data.startswith(starts)), "TGA")
    if kind not in formats:
        if kind == "TGA":
            raise _unknown(data, formats)
        raise HostError(f"a {kind} picture, where {', '.join(sorted(formats))} is expected")
    if kind == "JPEG":
        return Jpeg(data, era, least, deadline, kernels)
    if kind == "PNG":
        return Png(data, era, kernels)
    if kind == "GIF":
        return Gif(data, era)
    if kind == "BMP":
        bmp = Bmp(data, era)
        return bmp if bmp.known else Plain("BMP", data, era)
    if kind == "PNM":
        pnm = Pnm(data, era)
        return Plain("PNM", data, era) if pnm.wide else pnm
    try:
        return Tga(data, era)
    except HostError:
        raise _unknown(data, formats) from None


def _unknown(data: bytes, formats: frozenset[str]) -> HostError:
    return HostError(f"{len(data)} bytes that are no picture known here ({', '.join(sorted(formats))})")

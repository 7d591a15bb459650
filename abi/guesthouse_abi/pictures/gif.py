"""GIF pictures: the first one of an animation, as stb_image puts it on its canvas.

Transparent pixels are black. So is the canvas around a smaller picture, unless (in `Era.WASMEDGE_0_15`) the header
names a background other than the palette's first colour: then it is that colour with red and blue exchanged, as
stb_image has it. Only the blocks are read here; Pillow inflates the pixels (LZW), as numbers in a palette.

Format: GIF89a (CompuServe), sections 17 to 25.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures.source import Era, Note
from guesthouse_abi.resampling import Bytes

_SCREEN = struct.Struct("<HHBBB")  # width, height, flags, background, ratio
_FRAME = struct.Struct("<HHHHB")  # left, top, width, height, flags
_GREYS = bytes(value for grey in range(256) for value in (grey, grey, grey))
_IMAGE, _EXTENSION, _CONTROL = 0x2C, 0x21, 0xF9


class Gif:
    def __init__(self, data: bytes, era: Era) -> None:
        if len(data) < 13:
            raise _refused("its header is cut")
        self._data = data
        self._era = era
        self.width, self.height, self._flags, self._background, _ = _SCREEN.unpack_from(data, 6)
        # Numbers in the palette twice, by Pillow twice, where they were written, the canvas.
        self.overhead = len(data) + self.width * self.height * 10

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Only the first picture is decoded, and once or twice."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        at, palette = self._palette(13, self._flags)
        at, transparent = self._to_first_picture(at, deadline)
        if at + 1 + _FRAME.size > len(self._data):
            raise _refused("it ends before its first picture")
        left, top, width, height, flags = _FRAME.unpack_from(self._data, at + 1)
        if left + width > self.width or top + height > self.height:
            raise _refused("its first picture lies outside of it")
        at, own = self._palette(at + 1 + _FRAME.size, flags)
        colours = palette if own is None else own
        if colours is None:
            raise _refused("it has no palette")
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        if self._era is Era.WASMEDGE_0_15 and self._background and palette is not None:
            canvas[...] = palette[self._background, ::-1]
        if width and height:
            numbers, written = self._numbers(at, width, height, flags, deadline)
            if not written.all():
                note("a damaged GIF picture was decoded: it ends before its last pixel, and the rest is black")
            if transparent is not None:
                colours = colours.copy()
                colours[transparent] = 0
            shown = colours.take(numbers, axis=0)
            if written.all() and shown.shape == canvas.shape:
                return shown
            np.copyto(canvas[top : top + height, left : left + width], shown, where=written[..., None])
        return canvas

    def _palette(self, at: int, flags: int) -> tuple[int, Bytes | None]:
        """Where the palette at `at` ends, and its 256 colours, black where it lacks one. None: there is no palette."""
        if not flags & 0x80:
            return at, None
        end = at + (6 << (flags & 7))
        colours = np.frombuffer(self._data[at:end].ljust(768, b"\0"), np.uint8).reshape(256, 3)
        return end, colours

    def _to_first_picture(self, at: int, deadline: Deadline) -> tuple[int, int | None]:
        """Where the first picture's descriptor begins, and which number is transparent in it."""
        data, transparent = self._data, None
        while at < len(data) and data[at] == _EXTENSION:
            if data[at + 1 : at + 3] == bytes((_CONTROL, 4)) and at + 7 <= len(data):
                transparent = data[at + 6] if data[at + 3] & 1 else None
            at, _ = self._end_of_blocks(at + 2, deadline)
        if at >= len(data) or data[at] != _IMAGE:
            raise _refused("it has no picture")
        return at, transparent

    def _end_of_blocks(self, at: int, deadline: Deadline) -> tuple[int, bool]:
        """Where the run of blocks at `at` ends, and whether it does so before the data."""
        data, count = self._data, 0
        while at < len(data) and data[at]:
            count += 1
            if not count & 0xFFFF:
                deadline.check()
            at += 1 + data[at]
        return min(at + 1, len(data)), at < len(data)

    def _numbers(
        self, at: int, width: int, height: int, flags: int, deadline: Deadline
    ) -> tuple[Bytes, NDArray[np.bool_]]:
        """Each pixel's number in the palette, and which pixels have one."""
        end, ended = self._end_of_blocks(at + 1, deadline)
        raster = self._data[at:end] if ended else self._data[at:end] + b"\0"
        if self._data[at : at + 1] > b"\x0c":
            raise _refused("its pixels have numbers of more than 12 bits")
        numbers = _unpacked(raster, width, height, flags & 0x40, fill=255)
        written = numbers != 255
        if not written.all():
            deadline.check()
            written |= _unpacked(raster, width, height, flags & 0x40, fill=0) == 255
            if not ended and not written.all():
                raise _refused("it ends before its last pixel")
        return numbers, written


def _unpacked(raster: bytes, width: int, height: int, interlaced: int, fill: int) -> Bytes:
    """The numbers that the blocks of `raster` have, and `fill` where they have none, by Pillow's decoder.

    It is handed a picture of its own with a palette of greys, so that the greys are the numbers, and with `fill` as the
    transparent one: what it fills its memory with.
    """
    picture = b"".join(
        (
            b"GIF89a",
            _SCREEN.pack(width, height, 0xF7, 0, 0),
            _GREYS,
            bytes((_EXTENSION, _CONTROL, 4, 1, 0, 0, fill, 0, _IMAGE)),
            _FRAME.pack(0, 0, width, height, interlaced),
            raster,
            b";",
        )
    )
    try:
        image = GifImagePlugin.GifImageFile(io.BytesIO(picture))
        try:
            image.load()
        except OSError as error:
            if "truncated" not in str(error):
                raise
            image.tile = []  # nothing more to decode: what came is kept
        return np.asarray(image)
    except Exception as error:  # these decoders raise what comes on hostile bytes
        raise _refused(str(error)) from None


def _refused(why: str) -> HostError:
    return HostError(f"a GIF picture that cannot be decoded: {why}")

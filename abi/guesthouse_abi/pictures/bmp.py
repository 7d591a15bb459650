"""BMP pictures that are not compressed, as stb_image reads them: palettes, 16, 24 and 32 bits, any masks.

What stb_image does not read (runs, headers of OS/2 2) is left to Pillow (`plain`).
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures.source import Era, Note, coloured
from guesthouse_abi.resampling import Bytes

_FILE = 14  # bytes before the header that has its own size
_BITFIELDS = 3
_MASKS_OF_NONE = {16: (31 << 10, 31 << 5, 31, 0), 32: (0xFF0000, 0xFF00, 0xFF, 0)}
#: For a colour of so many bits (the index): the factor and the shift to the right that spread it over eight bits.
_TO_EIGHT_BITS = ((0, 0), (0xFF, 0), (0x55, 0), (0x49, 1), (0x11, 0), (0x21, 2), (0x41, 4), (0x81, 6), (0x01, 0))


class Bmp:
    def __init__(self, data: bytes, era: Era) -> None:
        self._data = data
        self._era = era
        self._pixels_at, header = struct.unpack_from("<II", data.ljust(18, b"\0"), 10)
        self.known = header in (12, 40, 56, 108, 124)
        self.width = self.height = self.overhead = 0
        if not self.known:
            return
        end = _FILE + header
        if len(data) < end:
            raise _refused("its header is cut")
        compression = 0
        if header == 12:
            self.width, height, planes, self._bits = struct.unpack_from("<HHHH", data, 18)
        else:
            self.width, height, planes, self._bits, compression = struct.unpack_from("<iiHHI", data, 18)
        self._upwards = height > 0
        self.height = abs(height)
        self.known = planes == 1 and compression in (0, _BITFIELDS) and self._bits in (1, 4, 8, 16, 24, 32)
        if not self.known:
            return
        if compression == _BITFIELDS and self._bits not in (16, 32):
            raise _refused(f"masks for {self._bits} bits")
        self._masks = _MASKS_OF_NONE.get(self._bits, (0, 0, 0, 0))
        if compression == _BITFIELDS:
            if header == 40:
                end += 12
            self._masks = struct.unpack_from("<4I" if header > 40 else "<3I", data.ljust(70, b"\0"), 54)
            self._check_masks()
        entry = 3 if header == 12 else 4
        palette = np.frombuffer(data[end : min(self._pixels_at, end + 256 * entry)], np.uint8)
        self._palette: Bytes = palette[: len(palette) // entry * entry].reshape(-1, entry)
        if self._pixels_at < end:
            raise _refused("its pixels begin within its header")
        if self._bits < 16 and not len(self._palette):
            raise _refused("its palette is missing")
        # Numbers or values of each pixel, of up to four bytes, with one colour as such.
        self.overhead = self.width * self.height * (12 if self._bits in (16, 32) else 4)

    def _check_masks(self) -> None:
        colours = self._masks[:3]
        if 0 in colours or len(set(colours)) == 1 or max(bin(mask).count("1") for mask in self._masks) > 8:
            raise _refused("its masks are no masks of colours")

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Each part of such a picture is gone through once."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        row = (self.width * self._bits + 31) // 32 * 4
        # Some writers leave the padding of the last row away.
        least = row * (self.height - 1) + (self.width * self._bits + 7) // 8
        pixels = self._data[self._pixels_at : self._pixels_at + row * self.height]
        if len(pixels) < least:
            raise _refused("it ends before its last pixel")
        rows = np.frombuffer(pixels.ljust(row * self.height, b"\0"), np.uint8).reshape(self.height, row)
        picture = self._colours(rows)
        return np.ascontiguousarray(picture[::-1]) if self._upwards else picture

    def _colours(self, rows: Bytes) -> Bytes:
        if self._bits < 16:
            if self._bits == 1:
                rows = np.unpackbits(rows, axis=1)
            elif self._bits == 4:
                rows = np.stack((rows >> 4, rows & 15), axis=2).reshape(len(rows), -1)
            palette = np.zeros((256, 3), np.uint8)  # a colour that is missing is black
            palette[: len(self._palette)] = self._palette[:, 2::-1]
            return palette.take(rows[:, : self.width], axis=0)
        if self._bits == 24:
            return np.ascontiguousarray(rows[:, : self.width * 3].reshape(len(rows), self.width, 3)[..., ::-1])
        values = rows.view("<u2" if self._bits == 16 else "<u4")[:, : self.width]
        masks = self._masks if any(self._masks[3:]) else self._masks[:3]
        picture = np.zeros((len(rows), self.width, len(masks)), np.uint8)
        for index, mask in enumerate(masks):
            picture[..., index] = _eight_bits(values, mask)
        if len(masks) == 4 and not picture[..., 3].any():
            picture = picture[..., :3]  # no opacity: these bits are 0 in all pixels
        return coloured(picture, self._era)


def _eight_bits(values: NDArray[np.unsignedinteger], mask: int) -> Bytes:
    """The bits of `mask`, spread over eight as stb_image does."""
    count, top = bin(mask).count("1"), mask.bit_length()
    factor, shift = _TO_EIGHT_BITS[count]
    part = values & values.dtype.type(mask & ((1 << values.dtype.itemsize * 8) - 1))
    part = (part.astype(np.uint64) << np.uint64(8) >> np.uint64(top)) >> np.uint64(8 - count)
    spread: Bytes = ((part * np.uint64(factor)) >> np.uint64(shift)).astype(np.uint8)
    return spread


def _refused(why: str) -> HostError:
    return HostError(f"a BMP picture that cannot be decoded: {why}")

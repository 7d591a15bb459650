"""TGA pictures, as stb_image reads them. They have no signature: bytes that are no other picture are tried as one."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures.source import Era, Note, coloured
from guesthouse_abi.resampling import Bytes

_HEADER = struct.Struct("<BBBHHBHHHHBB")
_GREY_WITH_OPACITY = {3, 11}  # kinds of picture whose 16 bits are grey and opacity, and not RGB


class Tga:
    def __init__(self, data: bytes, era: Era) -> None:
        if len(data) < _HEADER.size:
            raise HostError("not a TGA picture")
        skipped, indexed, kind, first, count, entry, *where, bits, how = _HEADER.unpack_from(data)
        self.width, self.height = where[2:]
        if indexed:
            known = indexed == 1 and kind in (1, 9) and bits in (8, 16) and entry in (8, 15, 16, 24, 32)
        else:
            known = kind in (2, 3, 10, 11) and bits in (8, 15, 16, 24, 32)
        if not known or not self.width or not self.height:
            raise HostError("not a TGA picture")
        self._data = data
        self._era = era
        self._runs = kind >= 8
        self._pixel = 2 if bits == 15 else bits // 8  # bytes of one
        self._depth = entry if indexed else bits
        self._rgb16 = self._depth == 15 or (self._depth == 16 and (bool(indexed) or kind not in _GREY_WITH_OPACITY))
        self._palette_at, self._palette_size = _HEADER.size + skipped, count if indexed else 0
        self._indexed = bool(indexed)
        if indexed:
            self._palette_at += first  # stb_image takes the number of the first colour for a number of bytes
        self._entry = 2 if entry == 15 else entry // 8
        self._pixels_at = self._palette_at + self._palette_size * self._entry if indexed else self._palette_at
        self._downwards = how >> 5 & 1
        # Where each pixel's bytes are, the bytes, colours with opacity; of each run of pixels two numbers in a list.
        self.overhead = self.width * self.height * 20 + (len(data) * 8 if self._runs else 0)

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Each part of such a picture is gone through once."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        colours = self._colours(self._values(deadline))
        picture = coloured(colours.reshape(self.height, self.width, -1), self._era)
        return picture if self._downwards else np.ascontiguousarray(picture[::-1])

    def _values(self, deadline: Deadline) -> Bytes:
        """The bytes of each pixel as they stand in the file: (pixels, bytes)."""
        if self._runs:
            offsets = self._offsets(deadline)
            deadline.check()
            return np.frombuffer(self._data, np.uint8)[offsets[:, None] + np.arange(self._pixel)]
        size = self.width * self.height * self._pixel
        if len(self._data) - self._pixels_at < size:
            raise _cut()
        return np.frombuffer(self._data, np.uint8, size, self._pixels_at).reshape(-1, self._pixel)

    def _offsets(self, deadline: Deadline) -> NDArray[np.int32]:
        """Where each pixel's bytes are, of a picture in runs of up to 128 pixels, which may go beyond a row."""
        data, size, at = self._data, self._pixel, self._pixels_at
        left = self.width * self.height
        steps = [1 + size * (head + 1) for head in range(128)] + [1 + size] * 128
        starts = []
        while left > 0 and at < len(data):
            head = data[at]
            starts.append(at)
            at += steps[head]
            left -= (head & 127) + 1
            if not len(starts) & 0xFFFF:
                deadline.check()
        if left > 0:
            raise _cut()
        first = np.array(starts, np.int32)
        heads = np.frombuffer(data, np.uint8)[first]
        counts = (heads & 127).astype(np.int32) + 1
        which = np.repeat(np.arange(len(first), dtype=np.int32), counts)[: self.width * self.height]
        within = np.arange(len(which), dtype=np.int32) - (np.cumsum(counts, dtype=np.int32) - counts)[which]
        within[heads[which] > 127] = 0
        offsets: NDArray[np.int32] = first[which] + 1 + within * np.int32(size)
        if int(offsets[-1]) + size > len(data):
            raise _cut()
        return offsets

    def _colours(self, values: Bytes) -> Bytes:
        if not self._indexed:
            return _in_order(values, self._rgb16)
        stored = self._data[self._palette_at : self._palette_at + self._palette_size * self._entry]
        if not self._palette_size or len(stored) < self._palette_size * self._entry:
            raise HostError("a TGA picture that cannot be decoded: its palette is missing")
        palette = _in_order(np.frombuffer(stored, np.uint8).reshape(-1, self._entry), self._rgb16)
        numbers = values[:, 0] if self._pixel == 1 else np.ascontiguousarray(values).view("<u2")[:, 0]
        return palette.take(np.where(numbers < len(palette), numbers, 0), axis=0)


def _in_order(values: Bytes, rgb16: bool) -> Bytes:
    """Grey, grey and opacity, RGB, or RGB and opacity, of what stands in the file in another order."""
    if rgb16:
        number = np.ascontiguousarray(values).view("<u2")
        fives = (number >> np.array([10, 5, 0], np.uint16)) & np.uint16(31)
        colours: Bytes = (fives * np.uint16(255) // np.uint16(31)).astype(np.uint8)
        return colours
    return values if values.shape[1] < 3 else values[:, [2, 1, 0, 3][: values.shape[1]]]


def _cut() -> HostError:
    return HostError("a TGA picture that cannot be decoded: it ends before its last pixel")

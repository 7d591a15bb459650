"""PNG pictures: what their pixels are made from is taken out and inflated; the kernel makes pixels of that.

Notes of all kinds (text, profiles, gamma, animations) are passed over by their length, whatever they contain. Inflating
is the most of the time that decoding takes: ISA-L does it in half of what the system's zlib needs. Filters and colours
are the matter of `kernel`. Without kernels they are Pillow's, which is handed a picture whose pixels are stored and not
compressed.
Formats: PNG (W3C, third edition) 5, 8, 10.1 and 13, zlib (RFC 1950), deflate (RFC 1951) 3.2.4.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from isal import isal_zlib
from PIL import PngImagePlugin

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures import kernel
from guesthouse_abi.pictures.source import Era, Note, rgb
from guesthouse_abi.resampling import Bytes
from guesthouse_abi.services import PixelKernels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, depth, colour type, compression, filter, interlace
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
#: Where each pass of an interlaced picture begins, and its steps: column, row, columns, rows.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_BLOCK = 65535  # bytes in a stored block at most


class Png:
    def __init__(self, data: bytes, era: Era, kernels: PixelKernels | None = None) -> None:
        self._data = data
        self._era = era
        self._kernels = kernels
        self._header = data[16 : 16 + _HEADER.size]
        if data[8:16] != b"\0\0\0\x0dIHDR" or len(data) < 33 or not _crc_fits(data, 8, 29):
            raise _refused("its header is damaged")
        self.width, self.height, self._depth, self._colour, *rest = _HEADER.unpack(self._header)
        compression, filtering, self._interlaced = rest
        if self._depth not in _DEPTHS.get(self._colour, ()) or compression or filtering or self._interlaced > 1:
            raise _refused("its header has values that PNG does not know")
        # The compressed pixels in one piece, the pixels as they were compressed, twice; Pillow's picture and its copy.
        self.overhead = len(data) + self.width * self.height * 24

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Each part of such a picture is gone through once."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        try:
            if self._kernels is not None:
                palette, opacity, compressed, checked = self._parts(deadline)
                raw = self._inflated(compressed, checked)
            else:
                picture = self.with_pixels_stored(deadline)
        finally:
            _tidy_registers()
        deadline.check()
        if self._kernels is not None:
            return self._by_kernel(self._kernels, raw, self._shape(palette, opacity), deadline)
        try:
            image = PngImagePlugin.PngImageFile(io.BytesIO(picture))
            image.load()
            return rgb(image, self._era)
        except Exception as error:  # this decoder raises what comes on hostile bytes
            raise _refused(str(error)) from None

    def _by_kernel(self, kernels: PixelKernels, inflated: bytes, shape: kernel.Shape, deadline: Deadline) -> Bytes:
        raw = np.frombuffer(inflated, np.uint8)
        picture = np.empty((self.height, self.width, 3), np.uint8)
        if not self._interlaced:
            if not kernel.pixels(kernels, raw, shape, picture, deadline):
                raise _refused("a row has a filter that PNG does not know")
            return picture
        at = 0
        for left, top, right, down in _PASSES:
            part = picture[top::down, left::right]
            if not part.size:
                continue
            size = self._rows(part.shape[1], part.shape[0])
            pixels = np.empty(part.shape, np.uint8)
            if not kernel.pixels(kernels, raw[at : at + size], shape, pixels, deadline):
                raise _refused("a row has a filter that PNG does not know")
            part[...] = pixels
            at += size
        return picture

    def _shape(self, palette: bytes, opacity: bytes) -> kernel.Shape:
        """How pixels stand in the rows."""
        channels = _CHANNELS[self._colour]
        multiply = self._era is Era.WASMEDGE_0_14
        table = None
        if channels == 1 and self._depth <= 8:
            colours = np.zeros((256, 4), np.uint8)
            if self._colour == _PALETTE:
                known = np.frombuffer(palette[: 3 << self._depth], np.uint8).reshape(-1, 3)
                colours[: len(known), :3] = known  # those that are missing are black, as libpng has it
                if multiply:
                    shares = np.frombuffer(opacity[: 1 << self._depth], np.uint8)[:, None]
                    products = colours[: len(shares), :3] * shares.astype(np.uint32) + 128
                    colours[: len(shares), :3] = products + (products >> 8) >> 8  # over 255, rounded
            else:
                greys = np.arange(1 << self._depth) * (255 // ((1 << self._depth) - 1))
                colours[: len(greys), :3] = greys[:, None]
            table = colours.view("<u4")[:, 0]
        return kernel.Shape(channels * self._depth, channels, table, multiply)

    def with_pixels_stored(self, deadline: Deadline) -> bytes:
        """The same picture without notes, its pixels stored instead of compressed. Raises `HostError`."""
        palette, opacity, compressed, checked = self._parts(deadline)
        raw = self._inflated(compressed, checked)
        parts = [_SIGNATURE, _chunk(b"IHDR", self._header)]
        if self._colour == _PALETTE:
            # Colours that are missing are black, as libpng has it.
            parts.append(_chunk(b"PLTE", palette.ljust(3 << self._depth, b"\0")[: 3 << self._depth]))
            if opacity and self._era is Era.WASMEDGE_0_14:
                parts.append(_chunk(b"tRNS", opacity[: 1 << self._depth]))
        parts += (_chunk(b"IDAT", _stored(raw)), _chunk(b"IEND", b""))
        return b"".join(parts)

    def _parts(self, deadline: Deadline) -> tuple[bytes, bytes, bytes, bool]:
        """The palette, its opacity, the compressed pixels, and whether checksums of chunks cover all of these."""
        data, at, count, checked = self._data, 33, 0, True
        palette, opacity, compressed = b"", b"", bytearray()
        while at + 8 <= len(data):
            count += 1
            if not count & 0x3FF:
                deadline.check()
            length, kind = struct.unpack_from(">I4s", data, at)
            start, end = at + 8, at + 8 + length
            whole = end + 4 <= len(data)
            if kind == b"IEND" or not (kind.isalpha() and kind.isascii()):
                break
            if kind == b"IDAT":
                if whole and not _crc_fits(data, at, end):
                    raise _refused("a checksum in its pixels is wrong")
                checked &= whole
                compressed += memoryview(data)[start : min(end, len(data))]
            elif not whole:
                break
            elif kind == b"PLTE":
                if self._colour == _PALETTE and not compressed:
                    if palette or not length or length % 3 or length > 768 or not _crc_fits(data, at, end):
                        raise _refused("its palette is damaged")
                    palette = data[start:end]
            elif kind == b"tRNS":
                if not compressed and length <= len(palette) // 3 and _crc_fits(data, at, end):
                    opacity = data[start:end]
            elif kind[0] & 0x20 == 0:
                raise _refused(f"it has a critical chunk {kind.decode()}, which is not known here")
            at = end + 4
        if self._colour == _PALETTE and not palette:
            raise _refused("its palette is missing")
        if not compressed:
            raise _refused("it has no pixels")
        return palette, opacity, bytes(compressed), checked

    def _inflated(self, compressed: bytes, checked: bool) -> bytes:
        """The pixels and the byte for each row's filter. Never inflates more than the header promises.

        The checksum behind them is looked at where those of the chunks were not (the file ends within the pixels'
        last chunk), as far as it is there: browsers and stb_image pass over it too.
        """
        if (
            len(compressed) < 2
            or compressed[0] & 15 != 8
            or compressed[1] & 0x20
            or (int.from_bytes(compressed[:2], "big") % 31)
        ):
            raise _refused("its pixels do not begin as compressed ones do")
        size = self._size()
        try:
            inflate = isal_zlib.decompressobj(wbits=-15)
            raw = inflate.decompress(memoryview(compressed)[2:], size + 1)
        except Exception as error:  # isal's own error, which its stubs do not declare as a class
            raise _refused(f"its pixels cannot be inflated: {error}") from None
        if len(raw) < size:
            raise _refused(f"it has {len(raw)} bytes of pixels, where its header promises {size}")
        if not checked:
            checksum = isal_zlib.adler32(raw).to_bytes(4, "big")
            if not inflate.eof or not checksum.startswith(inflate.unused_data[:4]):
                raise _refused("it ends within its pixels, or their checksum is wrong")
        return raw[:size]

    def _size(self) -> int:
        """Bytes of all rows."""
        if not self._interlaced:
            return self._rows(self.width, self.height)
        return sum(
            self._rows(-(-max(self.width - x, 0) // dx), -(-max(self.height - y, 0) // dy)) for x, y, dx, dy in _PASSES
        )

    def _rows(self, width: int, height: int) -> int:
        """Bytes of so many rows."""
        bits = _CHANNELS[self._colour] * self._depth
        return ((width * bits + 7) // 8 + 1) * height if width else 0


_ONES = np.ones(64, np.float32)


def _tidy_registers() -> None:
    """Have what comes next in this thread run at full speed.

    ISA-L's checksums leave the upper halves of vector registers in use. On some processors, code for SSE is then up to
    thirty times as slow, until something clears them, as numpy does after each sum of vectors.
    """
    np.add(_ONES, _ONES)


def _refused(why: str) -> HostError:
    return HostError(f"a PNG picture that cannot be decoded: {why}")


def _crc_fits(data: bytes, at: int, end: int) -> bool:
    """Whether the checksum at `end` is that of the chunk which begins at `at`."""
    checksum: int = isal_zlib.crc32(memoryview(data)[at + 4 : end])
    return checksum == int.from_bytes(data[end : end + 4], "big")


def _stored(raw: bytes) -> bytes:
    """`raw` as a zlib stream of stored blocks."""
    parts = [b"\x78\x01"]
    for start in range(0, len(raw), _BLOCK):
        block = raw[start : start + _BLOCK]
        last = start + _BLOCK >= len(raw)
        parts += (struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block)
    parts.append(struct.pack(">I", isal_zlib.adler32(raw)))
    return b"".join(parts)


def _chunk(kind: bytes, contents: bytes) -> bytes:
    checksum = isal_zlib.crc32(contents, isal_zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(contents)), kind, contents, struct.pack(">I", checksum)))

"""JPEG pictures, by libjpeg-turbo: what is passed over in a damaged one, and what is not.

A picture that libjpeg has nothing to say about is decoded as it is. Of any other what its pixels are made from is put
together anew (no stray bytes, no notes of cameras, an end where none is) and decoded once more. Then a warning is a
damaged picture, decoded in part; an error, or a scan that ends too early, is no picture.
Format: JPEG (ITU-T T.81), its markers in annex B.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator

import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.pictures import kernel
from guesthouse_abi.pictures.source import Era, Note, rgb
from guesthouse_abi.resampling import Bytes
from guesthouse_abi.services import PixelKernels

_MOST_SCAN_PIXELS = 20  # times the pixel limit: what all scans of one picture may add up to
_MOST_SCANS = 1000  # a scan of a tiny picture costs too

_SOI, _EOI, _SOS, _DNL, _COM = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without contents that mean nothing between segments
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_END = b"\xff\xd9"
_JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"

# The last of the bytes 0xff before a marker, and the marker. A pattern that takes all of them would begin anew at each.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_AFTER_A_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

#: What libjpeg warns of and goes on. That a scan ends too early is not here: such a picture is refused.
_WARNING = re.compile(
    r"Corrupt JPEG data: (\d+ extraneous bytes before marker (?P<before>\w+)|bad (Huffman|arithmetic) code"
    r"|bad ICC marker|found marker \w+ instead of RST)"
    r"|Inconsistent progression sequence|Invalid SOS parameters|Unknown Adobe color transform|Warning: unknown JFIF"
)
_BAD_CODE = re.compile(r"Corrupt JPEG data: bad (Huffman|arithmetic) code")


class Jpeg:
    def __init__(
        self,
        data: bytes,
        era: Era,
        least: tuple[int, int],
        deadline: Deadline,
        kernels: PixelKernels | None = None,
    ) -> None:
        self._data = data
        self._kernels = kernels
        self._era = era
        self._least = {"min_width": least[0], "min_height": least[1]} if least[0] else {}
        self._progressive, self._components, self._frame = False, b"", b""
        self.width = self.height = 0
        self._one_scan = False
        for marker, start, end in _segments(data, deadline):
            if marker in _FRAMES and end - start >= 6:
                self._read_frame(marker, data[start:end])
            elif marker == _SOS:
                self._one_scan = not self._progressive and data[start : start + 1] == bytes([len(self._components)])
                break
        if not self._components:
            raise HostError("a JPEG picture that cannot be decoded: it has no header of a frame before its first scan")
        # A picture of several scans is kept as coefficients of 2 bytes until the last; of four colours, as such first.
        self.overhead = 0 if self._one_scan else self.width * self.height * len(self._components) * 2
        if len(self._components) == 4:
            self.overhead += self.width * self.height * 10
        self._any_sampling = not _turbo_knows(self._frame)
        if self._any_sampling:
            self.overhead += len(data) + self.width * self.height * 14

    def _read_frame(self, marker: int, contents: bytes) -> None:
        self._frame = bytes((0xFF, marker)) + (len(contents) + 2).to_bytes(2, "big") + contents
        self._progressive = marker in _PROGRESSIVE
        self.height, self.width = int.from_bytes(contents[1:3], "big"), int.from_bytes(contents[3:5], "big")
        self._components = contents[6 : 6 + 3 * contents[5] : 3]

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        if self._one_scan:
            return
        scans = sum(marker == _SOS for marker, *_ in _segments(self._data, deadline))
        if scans * self.width * self.height > _MOST_SCAN_PIXELS * pixels or scans > _MOST_SCANS:
            raise TooMuch(f"a picture of {self.width}x{self.height} pixels in {scans} scans")

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        if self._any_sampling:
            return self._decode_any_sampling(self._essential(deadline, note)[0], deadline)
        # Memory that was not cleared is some 5% faster. Where libjpeg has no complaint, it has written every row of it.
        picture, trouble = self._decode(self._data, np.empty)
        if not trouble:
            return self._rgb(picture, deadline)
        del picture
        deadline.check()
        data, ended, covered = self._essential(deadline, note)
        picture, trouble = self._decode(data, np.zeros)
        if not trouble:
            return self._rgb(picture, deadline)
        warning = _WARNING.match(trouble)
        # libjpeg reports its first warning only. Without an end, it could hide a scan that was cut.
        hidden = not ended and not (warning and warning["before"] == "0xd9")
        if warning is None or hidden or not covered or (self._era is Era.WASMEDGE_0_15 and _BAD_CODE.match(trouble)):
            raise HostError(f"a JPEG picture that cannot be decoded: {trouble}")
        if not self._begins_well(data):
            raise HostError(f"a JPEG picture that cannot be decoded: {trouble}")
        note(f"a damaged JPEG picture was decoded: {trouble}")
        return self._rgb(picture, deadline)

    def _rgb(self, picture: Bytes, deadline: Deadline) -> Bytes:
        """RGB of RGB, or of CMYK as Adobe has it (inverted): each colour times black, over 255 and rounded."""
        if picture.shape[2] == 3:
            return picture
        return _from_cmyk(picture) if self._kernels is None else kernel.multiplied(self._kernels, picture, deadline)

    def _decode(self, data: bytes, memory: Callable[[tuple[int, ...], type[np.uint8]], Bytes]) -> tuple[Bytes, str]:
        """The pixels, and what libjpeg says against them; where `memory` is not filled, only with nothing against them.

        TurboJPEG calls an error that comes after a warning a warning, so that with strict=False a picture of which
        nothing was decoded passes for a good one. With strict=True the text says which of the two it is, and after a
        mere warning the pixels are in the buffer. What is not written in one of zeros is black, and nothing of what
        memory held. CMYK is asked for as such, for simplejpeg makes RGB of it in unfilled memory of its own.
        """
        trouble, colours = "", 4 if len(self._components) == 4 else 3
        buffer = memory((0, 0, colours), np.uint8)
        try:
            buffer = memory((*self._size_as_decoded(data), colours), np.uint8)
            decoded = simplejpeg.decode_jpeg(data, "CMYK" if colours == 4 else "RGB", buffer=buffer, **self._least)
            if decoded.shape != buffer.shape:
                trouble = "its headers have different sizes"
        except (ValueError, KeyError) as error:
            trouble = str(error)
        return buffer, trouble

    def _size_as_decoded(self, data: bytes) -> tuple[int, int]:
        if not self._least:
            return self.height, self.width
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False, **self._least)
        return height, width

    def _begins_well(self, data: bytes) -> bool:
        """Whether libjpeg has nothing against the header: only then has it gone on to the pixels after a warning."""
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=True)
        except ValueError:
            return False
        return (height, width) == (self.height, self.width)

    def _decode_any_sampling(self, data: bytes, deadline: Deadline) -> Bytes:
        """By Pillow, for the sampling of colours that TurboJPEG has no name for.

        It keeps libjpeg's warnings to itself. So whether the last scan was cut is seen by decoding with other bytes
        before the end: to a whole scan they are stray, to a cut one they are pixels.
        """
        try:
            first, second = (
                rgb(JpegImagePlugin.JpegImageFile(io.BytesIO(data[:-2] + more + _END)), self._era)
                for more in (b"", b"\x5a\xa5" * 32)
            )
        except Exception as error:  # these decoders raise what comes on hostile bytes
            raise HostError(f"a JPEG picture that cannot be decoded: {error}") from None
        deadline.check()
        if not np.array_equal(first, second):
            raise HostError("a JPEG picture that cannot be decoded: its last scan ends too early")
        return first

    def _essential(self, deadline: Deadline, note: Note) -> tuple[bytes, bool, bool]:
        """What the pixels are made from, with an end; whether there was one; whether the scans cover all of it.

        Raises `HostError` for a picture that was cut, or has bytes that mean nothing, and lacks a scan.
        """
        parts, covered, ended = [b"\xff\xd8"], _Covered(self._components, self._progressive), False
        stray, behind = 0, 2
        for marker, start, end in _segments(self._data, deadline):
            stray += len(self._data[behind : start - 4].strip(b"\xff"))
            if marker == _EOI:
                ended = True
                break
            contents = self._data[start:end]
            if marker == _SOS:
                covered.add(contents)
                end = _end_of_scan(self._data, end)
            behind = end
            if marker == _APP0 and contents.startswith(b"JFIF\0"):
                parts.append(_JFIF)
            elif marker == _APP14 and contents.startswith(b"Adobe") and len(contents) >= 12:
                parts.append(self._adobe(contents[11]))
            elif not (_APP0 <= marker <= _APP15 or marker in (_DNL, _COM)):
                parts.append(b"\xff" + self._data[start - 3 : end])
        if not ended:
            parts[-1] = parts[-1].rstrip(b"\xff")
        if not covered.all() and (stray or not ended):
            raise HostError("a JPEG picture that cannot be decoded: it lacks a scan, or the end of one")
        if stray:
            note(f"a damaged JPEG picture was decoded: {stray} bytes between its parts mean nothing")
        return b"".join((*parts, _END)), ended, covered.all()

    def _adobe(self, transform: int) -> bytes:
        if transform > 2:  # as libjpeg takes what it does not know
            transform = 1 if len(self._components) == 3 else 2
        return b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


def _turbo_knows(frame: bytes) -> bool:
    """Whether TurboJPEG has a name for the sampling in the header of a frame, followed by that of a scan."""
    count = frame[9]
    scan = b"".join(bytes((component, 0)) for component in frame[10 : 10 + 3 * count : 3])
    header = b"\xff\xd8" + frame + b"\xff\xda" + bytes((0, 6 + len(scan), count)) + scan + b"\0\x3f\0"
    try:
        simplejpeg.decode_jpeg_header(header, strict=False)
    except KeyError as error:  # simplejpeg has no name for it; -1: libjpeg has not come so far
        return bool(error.args[0] == -1)
    except ValueError as error:
        return "Could not determine subsampling" not in str(error)
    return True


_ALL = 16


class _Covered:
    """Which coefficients of which components the scans have brought to their last bit."""

    def __init__(self, components: bytes, progressive: bool) -> None:
        self._progressive = progressive
        # How many bits each coefficient lacks; a first scan has not been there yet at _ALL.
        self._missing = {component: [_ALL] * (64 if progressive else 1) for component in components}

    def add(self, header: bytes) -> None:
        count = header[0] if header else 0
        if len(header) < 4 + 2 * count:
            return
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        for component in header[1 : 1 + 2 * count : 2]:
            missing = self._missing.get(component)
            if missing is None:
                continue
            if not self._progressive:
                missing[0] = 0
            for index in range(first, min(last, 63) + 1 if self._progressive else first):
                if missing[index] == (bits >> 4 or _ALL):
                    missing[index] = bits & 15

    def all(self) -> bool:
        return not any(any(missing) for missing in self._missing.values())


def _segments(data: bytes, deadline: Deadline) -> Iterator[tuple[int, int, int]]:
    """Each marker, and where its contents begin and end; what comes after those of a scan is passed over.

    Bytes between segments are passed over, as libjpeg does. Ends behind the end of the picture (`_EOI`), or where
    the data ends.
    """
    at, count = 2, 0
    while (found := _MARKER.search(data, at)) is not None:
        count += 1
        if not count & 0x3FF:
            deadline.check()
        at = found.end()
        marker = data[at - 1]
        if marker in _ALONE:
            continue
        if marker in (_SOI, _EOI):
            yield marker, at + 2, at
            if marker == _EOI:
                return
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            return
        yield marker, at + 2, end
        at = _end_of_scan(data, end) if marker == _SOS else end


def _end_of_scan(data: bytes, at: int) -> int:
    """Where the pixels of a scan end that begin at `at`."""
    following = _AFTER_A_SCAN.search(data, at)
    return len(data) if following is None else at + len(data[at : following.start()].rstrip(b"\xff"))


def _from_cmyk(picture: Bytes) -> Bytes:
    """`kernel.multiplied` in numpy."""
    product = picture[..., :3] * picture[..., 3:].astype(np.uint16)
    product += 128
    product += product >> 8
    product >>= 8
    return product.astype(np.uint8)

"""PNM pictures (P5 and P6, binary grey and RGB), as stb_image reads them: bytes are taken as they are.

Values of two bytes are left to Pillow (`plain`), which scales them.
"""

from __future__ import annotations

import re

import numpy as np

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures.source import Era, Note, coloured
from guesthouse_abi.resampling import Bytes

_GAP = rb"(?:[ \t\n\v\f\r]|#[^\n\r]*[\n\r])"
_HEADER = re.compile(rb"P[56]%b*([0-9]{1,9})%b+([0-9]{1,9})%b+([0-9]{1,9})[ \t\n\v\f\r]" % (_GAP, _GAP, _GAP))


class Pnm:
    def __init__(self, data: bytes, era: Era) -> None:
        header = _HEADER.match(data)
        if header is None:
            raise HostError("a PNM picture that cannot be decoded: its header is damaged")
        self._data = data
        self._era = era
        self.width, self.height, self._most = (int(number) for number in header.groups())
        self._at = header.end()
        self.overhead = 0

    @property
    def wide(self) -> bool:
        """Whether its values have two bytes."""
        return self._most > 255

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Each part of such a picture is gone through once."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        shape = (self.height, self.width, 3 if self._data[1:2] == b"6" else 1)
        size = shape[0] * shape[1] * shape[2]
        if len(self._data) - self._at < size:
            raise HostError("a PNM picture that cannot be decoded: it ends before its last pixel")
        return coloured(np.frombuffer(self._data, np.uint8, size, self._at).reshape(shape), self._era)

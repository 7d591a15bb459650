"""Rarer kinds of pictures, by one decoder of Pillow's that is chosen by name: none of its others is ever tried."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import BmpImagePlugin, Image, PpmImagePlugin

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures.source import Era, Note, rgb
from guesthouse_abi.resampling import Bytes

_DECODERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "BMP": BmpImagePlugin.BmpImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
}


class Plain:
    def __init__(self, kind: str, data: bytes, era: Era) -> None:
        self._kind = kind
        self._era = era
        # Any exception: these decoders raise what comes (struct.error, SyntaxError, KeyError …) on hostile bytes.
        try:
            self._image = _DECODERS[kind](io.BytesIO(data))
        except Exception as error:
            raise HostError(f"a {kind} picture that cannot be decoded: {error}") from None
        self.width, self.height = self._image.size
        self.overhead = self.width * self.height * 8  # Pillow's picture, and its copy in another mode

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Each part of such a picture is gone through once."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        try:
            self._image.load()
            return rgb(self._image, self._era)
        except Exception as error:
            raise HostError(f"a {self._kind} picture that cannot be decoded: {error}") from None

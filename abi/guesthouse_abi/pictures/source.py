"""What every decoder of this folder is: a header that was read, and pixels that can be decoded from the rest.

What they share lives here too: the eras, and how opacity becomes colour.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import numpy as np
from PIL import Image

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.resampling import Bytes

Note = Callable[[str], None]
"""Called with what is wrong with a picture that is decoded all the same."""


class Era(enum.Enum):
    """Whose decoding and resizing: WasmEdge's up to 0.14 (Boost.GIL), or from 0.15 on (stb)."""

    WASMEDGE_0_14 = "0.14"
    WASMEDGE_0_15 = "0.15"


class Source(Protocol):
    """A picture whose header was read. Making one raises `HostError` for bytes that are no such picture.

    `overhead`: bytes that decoding takes besides the picture's own bytes and its pixels as RGB.
    """

    width: int
    height: int
    overhead: int

    def check_effort(self, pixels: int, deadline: Deadline) -> None:
        """Raises `TooMuch` for a picture that takes far more work than its size says; `pixels` is the limit."""

    def decode(self, deadline: Deadline, note: Note) -> Bytes:
        """The pixels as RGB (height, width, 3), C-contiguous. Raises `HostError`, and what `Deadline.check` does."""


def rgb(image: Image.Image, era: Era) -> Bytes:
    """A decoded picture of Pillow's as RGB. Its opacity is dropped, or multiplied in (`Era.WASMEDGE_0_14`)."""
    if era is Era.WASMEDGE_0_14 and (
        image.mode in ("RGBA", "LA") or (image.mode == "P" and "transparency" in image.info)
    ):
        return np.ascontiguousarray(np.asarray(image.convert("RGBA").convert("RGBa"))[..., :3])
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(np.asarray(image if image.mode == "RGB" else image.convert("RGB")))


def coloured(values: Bytes, era: Era) -> Bytes:
    """RGB of what a decoder has written as (height, width, 1 to 4): grey, grey and opacity, RGB, RGB and opacity."""
    if values.shape[2] in (2, 4) and era is Era.WASMEDGE_0_14:
        mode = "LA" if values.shape[2] == 2 else "RGBA"
        size = (values.shape[1], values.shape[0])
        return rgb(Image.frombuffer(mode, size, np.ascontiguousarray(values), "raw", mode, 0, 1), era)
    colours = values[..., : 1 if values.shape[2] < 3 else 3]
    return np.ascontiguousarray(colours if colours.shape[2] == 3 else np.repeat(colours, 3, axis=2))

"""Pictures for tests: a PNG put together from chunks, and what Pillow makes of a picture."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def chunk(kind: bytes, contents: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def rgb_png(width: int, height: int, data: bytes) -> bytes:
    """A PNG whose header says RGB, with `data` for its compressed pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of a format, by Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()

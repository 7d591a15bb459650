"""stb_image as the package raylib has it, in a process of its own: a hostile picture may end it.

`Stb().decode(data)` is the picture as RGB (height, width, 3), or None where stb_image refuses it. It reads JPEG, PNG,
BMP and GIF there.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import numpy as np

_CHANNELS = {1: 1, 2: 2, 4: 3, 7: 4}  # by raylib's number for a format of pixels


def missing() -> str:
    """What keeps raylib from being loaded, if anything: it is linked with libX11, which a server may not have."""
    child = subprocess.run([sys.executable, "-c", "import raylib"], capture_output=True, text=True)
    return child.stderr.strip().rsplit("\n", 1)[-1] if child.returncode else ""


class Stb:
    def __init__(self) -> None:
        self._child = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Stb:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        assert self._child.stdin
        assert self._child.stdout
        self._child.kill()
        self._child.wait()
        self._child.stdout.close()
        try:
            self._child.stdin.close()
        except BrokenPipeError:
            pass

    def decode(self, data: bytes) -> Any:
        into, out = self._child.stdin, self._child.stdout
        assert into
        assert out
        try:
            into.write(struct.pack("<I", len(data)) + data)
            into.flush()
            head = out.read(12)
        except BrokenPipeError:
            head = b""
        if len(head) < 12:  # it is no longer there: this picture ended it
            self._end()
            self._child = self._start()
            return None
        height, width, channels = struct.unpack("<3I", head)
        if not channels:
            return None
        values = np.frombuffer(out.read(height * width * channels), np.uint8)
        values = values.reshape(height, width, channels)[..., : 1 if channels < 3 else 3]
        return np.repeat(values, 3, axis=2) if channels < 3 else values


def _serve() -> None:
    from raylib import ffi, rl

    rl.SetTraceLogLevel(7)
    while head := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(struct.unpack("<I", head)[0])
        # The name's end says nothing to stb_image: it looks at the bytes.
        image = rl.LoadImageFromMemory(b".png", data, len(data))
        shape, pixels = (0, 0, 0), b""
        if image.data != ffi.NULL:
            shape = (image.height, image.width, _CHANNELS[image.format])
            pixels = bytes(ffi.buffer(image.data, shape[0] * shape[1] * shape[2]))
            rl.UnloadImage(image)
        sys.stdout.buffer.write(struct.pack("<3I", *shape) + pixels)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()

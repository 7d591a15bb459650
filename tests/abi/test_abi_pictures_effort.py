"""Finding out that a picture is none takes time in proportion to its bytes, whatever they are.

Each body here has 256 KiB. What goes through it once takes a moment; what begins anew at each byte takes minutes to
hours. The limit of the test is far above the first, so a busy machine does not reach it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_LIMIT = 300.0  # seconds for all of them

_DECODE_ALL = r"""
import itertools, sys, time
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError
from guesthouse_abi.pictures import ALL_FORMATS, Era, Layout, decode_and_resize, size_of

class Budget:
    def hold(self, count): pass
    def release(self, count): pass

JPEG_FRAME = bytes.fromhex("ffd8ffc0000b080010001001011100")
JPEG_SCAN = JPEG_FRAME + bytes.fromhex("ffda0008010100003f00")
PNG = bytes.fromhex("89504e470d0a1a0a0000000d494844520000001000000010080200000090916836")
GIF = b"GIF89a" + bytes.fromhex("10001000800000000000ffffff")
BEGINNINGS = (b"\xff\xd8", JPEG_FRAME, JPEG_SCAN, PNG, GIF, b"BM", b"P5", b"P6 ", b"P5 1", b"P5 16 16 255", b"")
FILLINGS = (
    *(bytes([one]) for one in b"\xff\0\1\x2c\x80# 1"),
    b"\xff\0", b"\xff\xd8", b"\xff\xd0", b"\xff\x01", b"\xff\xda\0\2", b"\xff\xe0\0\2", b"#\n",
    b"\0\0\0\0IDAT\0\0\0\0", b"\0\0\0\0aaAa\0\0\0\0", b"\x21\xfe\0", b"\x21\xfe\1",
)
for beginning, filling in itertools.product(BEGINNINGS, FILLINGS):
    data = beginning + filling * (2**18 // len(filling))
    print(beginning, filling, flush=True)
    for era in Era:
        try:
            decode_and_resize(data, 8, 8, Layout.RGB8, era, formats=ALL_FORMATS, pixels=2**20, budget=Budget(),
                              deadline=Deadline.after(3600))
        except HostError:
            pass
    try:
        size_of(data, ALL_FORMATS)
    except HostError:
        pass
print("all")
"""


@pytest.mark.slow
def test_bytes_that_repeat_are_gone_through_once() -> None:
    try:
        done = subprocess.run([sys.executable, "-c", _DECODE_ALL], capture_output=True, text=True, timeout=_LIMIT)
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode().splitlines() if isinstance(error.stdout, bytes) else []
        raise AssertionError(f"not at its end after {_LIMIT:g} s; at work on {said[-1:]}") from None
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all"

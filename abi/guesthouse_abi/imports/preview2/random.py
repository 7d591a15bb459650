"""`wasi:random`: all random bytes are the operating system's, those of the insecure interfaces too."""

from __future__ import annotations

import os

from guesthouse_abi.canonical.functions import Answered
from guesthouse_abi.context import Context
from guesthouse_abi.imports.wasi_preview1.process import RANDOM_CHUNK

RANDOM = Answered("wasi:random/random")
INSECURE = Answered("wasi:random/insecure")
SEED = Answered("wasi:random/insecure-seed")
INTERFACES = (RANDOM, INSECURE, SEED)


@RANDOM.function("get-random-bytes")
@INSECURE.function("get-insecure-random-bytes")
def random_bytes(context: Context, length: int) -> bytes:
    context.hold(length)  # for as long as it is on its way
    made = bytearray()
    while len(made) < length:
        context.deadline.check()
        made += os.urandom(min(RANDOM_CHUNK, length - len(made)))
    context.release(length)
    return bytes(made)


@RANDOM.function("get-random-u64")
@INSECURE.function("get-insecure-random-u64")
def random_number(context: Context) -> int:
    return int.from_bytes(os.urandom(8), "little")


@SEED.function("insecure-seed")
def seed(context: Context) -> tuple[int, int]:
    return random_number(context), random_number(context)

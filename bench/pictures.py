"""Decoding a picture and resizing it to 224x224, against Pillow and its bilinear filter: CPU time of one thread.

Pillow's filter is neither of the two that guests ask for; it is what people write by hand.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import numpy as np
from PIL import Image

from bench.measure import Figure, Findings, Options, Target, ratios, take_turns
from bench.over_grpc import PHOTOS, large_photo
from guesthouse.engine import PixelCode
from guesthouse.engine.cache import CodeCache
from guesthouse.system import malloc
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.pictures import ALL_FORMATS, Era, Layout, decode_and_resize
from guesthouse_abi.services import PixelKernels

SIDE = 224


class Unbounded:
    """A budget that has room for all."""

    def hold(self, count: int) -> None:
        """Nothing is counted."""

    def release(self, count: int) -> None:
        """Nothing is counted."""


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def _bodies() -> dict[str, bytes]:
    photo = (PHOTOS / "coffee.png").read_bytes()
    image = Image.open(io.BytesIO(photo)).convert("RGB")
    opaque = image.copy()
    opaque.putalpha(image.convert("L"))
    return {
        "PNG 600x400": photo,
        "PNG 600x400 with opacity": _encoded(opaque, "PNG"),
        "PNG 600x400 with a palette": _encoded(image.quantize(256), "PNG"),
        "PNG 600x400, grey": _encoded(image.convert("L"), "PNG"),
        "PNG 100x80": _encoded(image.resize((100, 80)), "PNG"),
        "JPEG 600x400": _encoded(image, "JPEG"),
        "JPEG 100x80": _encoded(image.resize((100, 80)), "JPEG"),
        "JPEG 4000x3000": large_photo(),
        "JPEG 4000x3000, scale": large_photo(),
    }


def _by_pillow(body: bytes, scale: bool) -> None:
    image = Image.open(io.BytesIO(body))
    if scale:
        image.draft("RGB", (SIDE, SIDE))
    np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _by_guesthouse(body: bytes, scale: bool, era: Era, kernels: PixelKernels) -> None:
    decode_and_resize(
        body,
        *(SIDE, SIDE, Layout.RGB8, era),
        formats=ALL_FORMATS,
        pixels=1 << 24,
        budget=Unbounded(),
        deadline=Deadline.after(60),
        scale=scale,
        kernels=kernels,
    )


def _milliseconds(run: Callable[[], None]) -> Callable[[], float]:
    def once() -> float:
        began = thread_time()
        run()
        return (thread_time() - began) * 1000

    return once


def pictures(options: Options, folder: Path) -> Findings:
    """Pictures of several kinds and sizes, in both eras."""
    malloc.keep_pages()
    findings, kernels = Findings(), PixelCode(CodeCache(folder)).kernels()
    for name, body in _bodies().items():
        options.say(f"pictures: {name}")
        scale = name.endswith("scale")
        sides = {"Pillow": _milliseconds(lambda body=body, scale=scale: _by_pillow(body, scale))}  # type: ignore[misc]
        for era in Era:
            sides[era.value] = _milliseconds(
                lambda body=body, scale=scale, era=era: _by_guesthouse(body, scale, era, kernels)  # type: ignore[misc]
            )
        found = take_turns(sides, options.rounds(25))
        for era in Era:
            note = f"{np.median(found[era.value]):.2f} ms, Pillow {np.median(found['Pillow']):.2f} ms of CPU"
            ratio = ratios(found[era.value], found["Pillow"])
            findings.figures.append(Figure("pictures", f'{name}, as "{era.value}"', ratio, "x", Target(1), note))
    return findings

"""The import module `wasmedge_image`: a picture in, pixels of the wanted size out, in both generations.

v1 (WasmEdge 0.8 to 0.12) has a function for each format and layout, and trusts the guest's buffer to be large enough;
v2 (from 0.13) says the buffer's length. v1 decodes as WasmEdge 0.14 did and v2 as 0.15, unless the manifest names one
for the guest (`image`). As in WasmEdge, up to 0.14 a function decodes its own format only, from 0.15 any. Everything
that is wrong is error number 1, with the reason in the log. Each function is described in docs/abi.md, under the
module's name; how pictures are decoded and resized is in `pictures`.
"""

from __future__ import annotations

from collections.abc import Callable

from guesthouse_abi.context import Context
from guesthouse_abi.errors import HostError
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.pictures import ALL_FORMATS, JPEG, PNG, Era, Layout, decode_and_resize

SUCCESS, FAIL = 0, 1

MODULE = HostModule("wasmedge_image", {HostError: FAIL})

_LAYOUTS = frozenset(int(layout) for layout in Layout)
_FORMATS = {"jpg": JPEG, "png": PNG, "image": ALL_FORMATS}


def _load(
    context: Context,
    function: str,
    body: tuple[int, int],
    size: tuple[int, int],
    layout: Layout,
    output: int,
    era: Era,
    formats: frozenset[str],
) -> U32:
    """Decode the `body` (pointer, length) to `size` (width, height) at `output`, whose range was checked."""
    picture = decode_and_resize(
        context.memory.read(*body),
        *size,
        layout,
        era,
        formats=ALL_FORMATS if era is Era.WASMEDGE_0_15 else formats,
        pixels=context.limits.pixels,
        budget=context,
        deadline=context.deadline,
        scale=context.grants.scale,
        note=lambda text: context.log("host", f"wasmedge_image.{function}: {text}"),
        kernels=context.services.kernels,
    )
    context.memory.write_array(output, picture)
    return U32(SUCCESS)


def _era(context: Context, default: Era) -> Era:
    return default if context.grants.image is None else Era(context.grants.image)


def _bytes(width: int, height: int, layout: Layout) -> int:
    return width * height * 3 * layout.dtype.itemsize


def _v2(name: str) -> Callable[..., U32]:
    def load(
        context: Context, data: U32, length: U32, width: U32, height: U32, layout: U32, output: U32, size: U32
    ) -> U32:
        if int(layout) not in _LAYOUTS:
            raise HostError(f"the output type {layout}; known are 0 RGB8, 1 BGR8, 2 RGB32F and 3 BGR32F")
        context.memory.check(data, length)
        context.memory.check(output, size)
        needed = _bytes(width, height, Layout(layout))
        if size < needed:
            raise HostError(f"{width}x{height} pixels of type {layout} have {needed} bytes; the buffer has {size}")
        era = _era(context, Era.WASMEDGE_0_15)
        function = f"load_{name}"
        return _load(context, function, (data, length), (width, height), Layout(layout), output, era, _FORMATS[name])

    return load


def _v1(name: str, layout: Layout) -> Callable[..., U32]:
    function = f"wasmedge_image_load_{name}_to_{layout.name.lower()}"

    def load(context: Context, data: U32, length: U32, width: U32, height: U32, output: U32) -> U32:
        context.memory.check(data, length)
        context.memory.check(output, _bytes(width, height, layout))
        era = _era(context, Era.WASMEDGE_0_14)
        return _load(context, function, (data, length), (width, height), layout, output, era, _FORMATS[name])

    return load


for _name in ("jpg", "png", "image"):
    MODULE.function(f"load_{_name}")(_v2(_name))
for _name in ("jpg", "png"):
    for _layout in Layout:
        MODULE.function(f"wasmedge_image_load_{_name}_to_{_layout.name.lower()}")(_v1(_name, _layout))

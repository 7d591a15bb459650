"""Whatever numbers a guest passes to the wasmedge_* functions, it gets an answer, or a trap where there is none."""

from __future__ import annotations

import io
import struct
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from guesthouse_abi.errors import HostError, Trap
from guesthouse_abi.grants import Limits
from guesthouse_abi.host import U64, HostFunction, HostModule
from guesthouse_abi.imports import wasmedge_image, wasmedge_tensorflow, wasmedge_tensorflowlite
from guesthouse_abi.pictures import ALL_FORMATS, Era, Layout, decode_and_resize
from tests.abi.inference_host import Host
from tests.support.budget import examples
from tests.support.kernels import kernels

MODULES = (wasmedge_image.MODULE, wasmedge_tensorflow.MODULE, wasmedge_tensorflowlite.MODULE)
SIZE = 1 << 16


@cache
def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((20, 15)).convert("RGB").save(file, kind)
    return file.getvalue()


def prepare(module: Any) -> tuple[Host, list[int]]:
    """A host whose memory has everything a right call needs, and the numbers that point there."""
    limits = Limits(pixels=2_000, host_memory=1 << 16)
    host = Host(module, size=SIZE, limits=limits, allow_guest_models=True)
    places = [
        host.put("guesthouse:model/doubler"),
        host.put("guesthouse:model/fixed"),
        host.put("x"),
        host.put("y"),
        host.put("k:0"),
        host.put(struct.pack("<2q", 1, 3)),
        host.put(struct.pack("<2q", -1, 1 << 62)),
        host.put_floats(1, 2, 3),
        host.put(picture("JPEG")),
        host.put(picture("PNG")),
    ]
    return host, [number for place in places for number in place]


KNOWN_BLOBS = prepare(wasmedge_image.MODULE)[1]
EDGES = [0, 1, 2, 3, 4, 7, 8, 12, 16, 64, SIZE - 4, SIZE - 1, SIZE, 1 << 31, (1 << 32) - 1]
numbers = st.one_of(st.sampled_from([*range(8), *KNOWN_BLOBS, *EDGES]), st.integers(0, (1 << 32) - 1))
handles = st.one_of(st.integers(0, 6), st.sampled_from([1 << 32, 1 << 63, (1 << 64) - 1]))


@cache
def calls(module: HostModule) -> st.SearchStrategy[list[tuple[HostFunction, tuple[int, ...]]]]:
    """Some calls of a module's functions, each with a number for every parameter."""
    each = [
        st.tuples(st.just(function), st.tuples(*(handles if kind is U64 else numbers for kind in function.kinds)))
        for function in module.functions.values()
    ]
    return st.lists(st.one_of(each), min_size=1, max_size=12)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_any_numbers_get_an_answer(module, data):
    host, _ = prepare(module)
    # Some sessions, so that small handles mean something.
    for name in ("create_session", f"{module.name}_create_session"):
        if name in module.functions:
            host.call(name, *KNOWN_BLOBS[:2], 16) if name == "create_session" else host.call(name, *KNOWN_BLOBS[:2])
    for function, values in data.draw(calls(module)):
        if not function.signature.results:
            try:
                assert host.call(function.name, *values) is None
            except Trap:
                pass
        else:
            answer = host.call(function.name, *values)
            errors = not function.name.startswith("wasmedge_")
            assert answer in (0, 1, 3, 4) if errors else 0 <= answer < 1 << 32
    assert host.guarded
    assert 0 <= host.context.held <= host.context.limits.host_memory


class Free:
    def hold(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "TGA", "PPM"])
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_a_damaged_picture_is_decoded_or_refused(kind, data):
    body = bytearray(picture(kind))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    host, _ = prepare(wasmedge_image.MODULE)
    for bytes_ in (bytes(body), bytes(body[:cut])):
        try:
            result = decode_and_resize(
                bytes_,
                4,
                3,
                Layout.RGB8,
                data.draw(st.sampled_from(Era)),
                formats=ALL_FORMATS,
                pixels=2_000,
                budget=Free(),
                deadline=host.context.deadline,
                kernels=kernels(),
            )
        except HostError:
            continue
        assert result.shape == (3, 4, 3)

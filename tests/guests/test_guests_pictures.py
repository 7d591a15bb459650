"""A guest that takes pictures, in this process and in others: the pixel kernel works for it, beside its own engine."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wasmtime
from PIL import Image

from guesthouse.assembly import open_plan
from guesthouse.engine.compiler import CompileError
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.process.pool import Pool
from guesthouse.guests.process.stock import Stock
from guesthouse.manifest import load
from guesthouse.plan.build import build
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.pictures import PNG, Era, Layout, decode_and_resize
from tests.support.manifests import placed
from tests.support.places import PLACES, engine_table, isolation_of

#: Reads a picture of at most 60 KB and writes it as 8x8 pixels; without one it goes outside its memory.
SMALL = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasmedge_image" "load_png" (func $load (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (if (i32.eqz (i32.load (i32.const 8))) (then (drop (i32.load (i32.const 0x7fffffff)))))
    (drop (call $load (i32.const 4096) (i32.load (i32.const 8)) (i32.const 8) (i32.const 8) (i32.const 0)
                      (i32.const 64) (i32.const 192)))
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 192))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""

MANIFEST = """
[app]
name = "t"
[guests.small]
module = "small.wasm"
calling = "command"
isolation = "{isolation}"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
isolation = "{isolation}"
"""


@pytest.fixture(scope="module", params=PLACES)
def plan(request, tmp_path_factory: pytest.TempPathFactory, guests_folder: Path) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "small.wasm").write_bytes(wasmtime.wat2wasm(SMALL))
    text = placed(MANIFEST.format(isolation=isolation_of(request.param)), guests_folder)
    (folder / "guesthouse.toml").write_text(engine_table(request.param) + text)
    with open_plan(load(folder / "guesthouse.toml")) as plan:
        yield plan


def small(plan: Plan, body: bytes) -> bytes:
    return plan.guests["small"].run(Event(Trigger.INVOKE, "m", body), Deadline.after(60)).body


class Free:
    def hold(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (90, 120, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def expected(data: bytes) -> bytes:
    """What numpy and Pillow make of it."""
    result: bytes = decode_and_resize(
        data,
        *(8, 8, Layout.RGB8, Era.WASMEDGE_0_15),
        formats=PNG,
        pixels=1 << 20,
        budget=Free(),
        deadline=Deadline.after(60),
    ).tobytes()
    return result


def test_a_picture_is_the_same_wherever_its_guest_is(plan: Plan):
    for seed in range(3):
        assert small(plan, picture(seed)) == expected(picture(seed))


def test_a_guest_that_took_a_picture_ends_at_a_trap_as_any_other(plan: Plan):
    """Two engines in a process both look for traps of their own."""
    for seed in range(3):
        with pytest.raises(Failure, match="memory out of bounds") as caught:
            small(plan, b"")
        assert caught.value.reason is Reason.TRAP
        assert small(plan, picture(seed)) == expected(picture(seed))


def test_only_a_guest_that_takes_pictures_has_the_kernel(plan: Plan):
    assert [name for name, guest in plan.guests.items() if guest.services.kernels is not None] == ["small"]
    setups = {name: guest.runner.setup for name, guest in plan.guests.items() if isinstance(guest.runner, Pool)}
    spec = replace(plan.host.stock._spec, pixel_kernel=Path("/no/kernel"))
    with contextlib.closing(Stock(spec, 1)) as stock:
        assert list(stock.try_out(setups)) == [name for name in setups if name == "small"]


def test_a_kernel_that_cannot_be_loaded_is_a_fault_of_the_guest_that_needs_it(plan: Plan, monkeypatch):
    def no_kernel() -> None:
        raise CompileError("compiling took more than 120 s")

    monkeypatch.setattr(plan.host.pixels, "kernels", no_kernel)
    with pytest.raises(PlanFaults) as caught:
        build(plan.manifest, plan.host)
    assert caught.value.faults == [
        "guest 'small': the pixel kernel, which its pictures need, cannot be loaded: compiling took more than 120 s"
    ]

"""The events of the harness that looks for memory that nobody filled (`poisoned.py` runs them).

Each is made twice: with a caller's own bytes in it (`fill`, 16 of them, again and again: in pixels, tensors, bodies,
metadata), and with others. Its guest is one that makes any calls and answers with its whole memory, so that every byte
that a guest can see is in the reply.
"""

from __future__ import annotations

import hashlib
import io
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import wasmtime
from onnx import TensorProto, helper
from PIL import Image

from tests.hostile.attacks import ALLOCATED_AT, CALLABLE, SIZE, call, caller, each_number_in_each_place, imported
from tests.inference import tiny_models
from tests.support.budget import FACTOR, examples

ROOT = Path(__file__).resolve().parents[2]
PAGES = 4
DATA_AT = 0x6000  # behind the rows of calls
OUT_AT = 0x20000  # what is written by the host goes here and behind
_MOST_ROWS = (DATA_AT - ALLOCATED_AT) // SIZE

MANIFEST = """
[app]
name = "poisoned"
[page]
apps = ["page"]
[models.same]
path = "same.onnx"
max_batch = 1024
[models.table]
path = "table.onnx"
[models.failing]
path = "failing.onnx"
[models.batched]
path = "batched.onnx"
batch = { size = 8, delay = "20ms" }
[models.looked-up]
path = "table.onnx"
batch = { size = 8, delay = "20ms" }
PROBES
[guests.cat]
module = "cat.wasm"
calling = "command"
[guests.fails]
module = "fails.wasm"
calling = "command"
[[invoke]]
method = "fails"
guest = "fails"
[[invoke]]
method = "person"
guest = "person"
[[binding]]
name = "camera"
guest = "cat"
[guests.person]
module = "ROOT/guests/person/person.wasm"
function = "infer"
models = ["person"]
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
stands_for = ["DIGEST"]
threads = 1
"""
PROBE = """
[guests.NAME]
module = "probe.wasm"
function = "f"
models = ["same", "table", "failing", "batched", "looked-up"]
allow_guest_models = true
isolation = "NAME"
env = { GREETING = "hello" }
limits = { memory = "4MiB", time = "60s", concurrency = CONCURRENCY, host_memory = "8MiB", pixels = 100000 }
[[invoke]]
method = "NAME"
guest = "NAME"
"""


def written(folder: Path) -> Path:
    """Write manifest, modules and models; returns the manifest's path."""
    write = "(drop (call $fd_write (i32.const {fd}) (i32.const 64) (i32.const 1) (i32.const 32)))"
    read = "(drop (call $fd_read (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 68)))"
    wasi = " ".join(
        imported(host, f"${host.name}")
        for host in CALLABLE
        if host.module == "wasi_snapshot_preview1" and host.name in ("fd_read", "fd_write", "proc_exit")
    )
    iovec = "\\00\\04\\00\\00\\00\\00\\02\\00"  # 131,072 bytes at 1024; what was read is its length from then on
    program = f'(module {wasi} (memory (export "memory") 3) (data (i32.const 64) "{iovec}") (func (export "_start")'
    modules = {
        "probe": caller(PAGES, whole=True),
        "cat": f"{program} {read} {write.format(fd=1)}))",
        "fails": f"{program} {read} {write.format(fd=1)} {write.format(fd=2)} (call $proc_exit (i32.const 3))))",
    }
    for name, wat in modules.items():
        (folder / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(wat))
    models = {
        "same": same(TensorProto.FLOAT),
        "table": tiny_models.table(),
        "failing": tiny_models.broken("M"),
        "batched": same(TensorProto.FLOAT, 64),
    }
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    probes = PROBE.replace("NAME", "thread").replace("CONCURRENCY", "8")
    probes += PROBE.replace("NAME", "process").replace("CONCURRENCY", "1")
    path = folder / "guesthouse.toml"
    embedded = hashlib.sha256((ROOT / "guests/person/visual_wake_words.tflite").read_bytes()).hexdigest()
    path.write_text(MANIFEST.replace("PROBES", probes).replace("ROOT", str(ROOT)).replace("DIGEST", embedded))
    return path


def same(kind: int, *sizes: int) -> onnx.ModelProto:
    """y = x, [N, sizes]."""
    shape = ["N", *sizes]
    return tiny_models.model([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, shape)], [("y", kind, shape)])


class Data(NamedTuple):
    at: int
    size: int


class Script:
    """Rows of calls, and what they point to."""

    def __init__(self) -> None:
        self._rows: list[bytes] = []
        self._data = b""

    def put(self, data: bytes) -> Data:
        place = Data(DATA_AT + len(self._data), len(data))
        self._data += data + bytes(-len(data) % 16)
        assert DATA_AT + len(self._data) <= OUT_AT
        return place

    def pack(self, layout: str, *values: Any) -> int:
        """The address of a record."""
        return self.put(struct.pack(layout, *values)).at

    def call(self, name: str, *values: int | Data) -> None:
        """`module.function` with its arguments; data count as two: address and size."""
        module, _, field = name.partition(".")
        host = next(host for host in CALLABLE if (host.module, host.name) == (module, field))
        flat = [number for value in values for number in (value if isinstance(value, Data) else (value,))]
        assert len(flat) == len(host.signature.params), name
        self._rows.append(call(host, flat))

    def body(self) -> bytes:
        assert len(self._rows) < _MOST_ROWS
        rows = b"".join(self._rows) + b"\xff" * 4
        return rows + bytes(DATA_AT - ALLOCATED_AT - len(rows)) + self._data


# ---- pictures ----


def pictures(fill: bytes, seed: bytes) -> dict[str, bytes]:
    """Small ones of every format, whole and damaged, whose pixels are `fill`."""
    draw = random.Random(seed)
    pixels = np.frombuffer((fill * (24 * 18 * 4))[: 24 * 18 * 4], np.uint8).reshape(18, 24, 4)
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    ways: dict[str, tuple[str, Image.Image, dict[str, Any]]] = {
        "jpeg": ("JPEG", image, {"quality": 95}),
        "jpeg-progressive": ("JPEG", image, {"quality": 95, "progressive": True}),
        "jpeg-grey": ("JPEG", image.convert("L"), {}),
        "jpeg-cmyk": ("JPEG", image.convert("CMYK"), {}),
        "png": ("PNG", image, {}),
        "png-alpha": ("PNG", Image.fromarray(pixels), {}),
        "png-palette": ("PNG", image.convert("P"), {"transparency": 3}),
        "png-16": ("PNG", Image.fromarray(pixels.view(np.uint16)[..., 0]), {}),
        "gif": ("GIF", image.convert("P"), {}),
        "bmp": ("BMP", image, {}),
        "ppm": ("PPM", image, {}),
        "tga": ("TGA", image, {"compression": "tga_rle"}),
    }
    made = {}
    for name, (kind, one, how) in ways.items():
        file = io.BytesIO()
        one.save(file, kind, **how)
        data = made[name] = file.getvalue()
        for part in (3, 2):
            made[f"{name}-cut-{part}"] = data[: len(data) - len(data) // part]
        made[f"{name}-without-its-end"] = data[:-3]
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 0x55
        made[f"{name}-flipped"] = bytes(flipped)
        made.update({f"{name}-damaged-{number}": _damaged(data, draw) for number in range(FACTOR - 1)})
    # A warning, and then an error before a pixel is written.
    made["jpeg-cut-in-a-table"] = (ROOT / "tests/data/pictures/jpg_cut_in_table.jpg").read_bytes()
    whole = made["jpeg-progressive"]
    for number, at in enumerate(_all(whole, b"\xff\xc4")):
        made[f"jpeg-cut-in-table-{number}"] = whole[: at + 12]
    return made


def _damaged(data: bytes, draw: random.Random) -> bytes:
    """Some bytes are others, and it may end too soon."""
    damaged = bytearray(data)
    for _ in range(draw.randint(1, 5)):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    return bytes(damaged[: draw.choice((len(data), draw.randrange(len(data))))])


def _all(data: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(part, at)]


def picture_script(picture: bytes) -> bytes:
    script = Script()
    data = script.put(picture)
    script.call("wasmedge_image.load_image", data, 24, 18, 0, OUT_AT, 24 * 18 * 3)
    script.call("wasmedge_image.load_image", data, 9, 7, 3, OUT_AT + 0x1000, 9 * 7 * 12)
    script.call("wasmedge_image.load_image", data, 64, 48, 1, OUT_AT + 0x2000, 64 * 48 * 3)
    for number, kind in enumerate(("jpg", "png")):
        at = OUT_AT + 0x8000 + number * 0x4000
        script.call(f"wasmedge_image.wasmedge_image_load_{kind}_to_rgb8", data, 30, 20, at)
        script.call(f"wasmedge_image.wasmedge_image_load_{kind}_to_bgr32f", data, 11, 13, at + 0x2000)
    return script.body()


# ---- inference ----


def inference(fill: bytes) -> Iterator[tuple[str, bytes]]:
    yield "tensorflow", _tensorflow(fill)
    yield "tensorflow-v1", _tensorflow_v1(fill)
    yield "tensorflowlite", _tensorflowlite(fill)
    for kind in ("same", "failing", "table"):
        yield f"wasi-nn-{kind}", _wasi_nn(fill, kind)
        yield f"wasi-nn-legacy-{kind}", _wasi_nn_legacy(fill, kind)
    yield "own-model", _own_model(fill)


def _shape(script: Script, *sizes: int) -> int:
    return script.pack(f"<{len(sizes)}q", *sizes)


def _tensorflow(fill: bytes) -> bytes:
    script, tf = Script(), "wasmedge_tensorflow."
    x, y = script.put(b"x"), script.put(b"y")
    many, few = script.put(fill * 64), script.put(fill[:8])
    script.call(f"{tf}create_session", script.put(b"guesthouse:model/same"), OUT_AT)
    script.call(f"{tf}append_output", 1, y)
    script.call(f"{tf}get_output_tensor", 1, y, OUT_AT + 4)
    out = OUT_AT + 0x100
    for dims, data in ((256, many), (2, few), (3, few)):  # the last does not fit its shape, so the run is without it
        script.call(f"{tf}get_tensor_len", 1, 2, out)
        script.call(f"{tf}get_tensor_data", 1, 2, out + 0x20, 2000, out + 4)
        script.call(f"{tf}append_input", 1, x, _shape(script, dims), 1, 1, data)
        script.call(f"{tf}run_session", 1)
        for size in (4, 8, 1024, 5000):
            script.call(f"{tf}get_tensor_data", 1, 2, out + 0x1000, size, out + 8)
            out += 0x1800
        script.call(f"{tf}clear_input", 1)
        script.call(f"{tf}run_session", 1)
        script.call(f"{tf}get_tensor_data", 1, 2, out, 2000, out + 12)
    script.call(f"{tf}delete_session", 1)
    script.call(f"{tf}get_tensor_data", 1, 2, out + 0x800, 2000, out + 0x700)
    return script.body()


def _tensorflow_v1(fill: bytes) -> bytes:
    script, tf = Script(), "wasmedge_tensorflow.wasmedge_tensorflow_"
    x, y = script.put(b"x"), script.put(b"y")
    script.call(f"{tf}create_session", script.put(b"guesthouse:model/same"))
    script.call(f"{tf}append_output", 1, y, 0)
    script.call(f"{tf}get_output_tensor", 1, y, 0)
    for number, size in enumerate((64, 1)):
        data = script.put(fill * size)
        script.call(f"{tf}append_input", 1, x, 0, _shape(script, 4 * size), 1, 1, data)
        script.call(f"{tf}run_session", 1)
        script.call(f"{tf}get_output_tensor", 1, y, 0)
        script.call(f"{tf}get_tensor_len", 2 + number)
        script.call(f"{tf}get_tensor_data", 2 + number, OUT_AT + number * 0x1000)
    script.call(f"{tf}clear_output", 1)
    script.call(f"{tf}get_tensor_data", 3, OUT_AT + 0x3000)
    return script.body()


def _tensorflowlite(fill: bytes) -> bytes:
    script, lite = Script(), "wasmedge_tensorflowlite."
    x, y = script.put(b"x"), script.put(b"y")
    script.call(f"{lite}create_session", script.put(b"guesthouse:model/same"), OUT_AT)
    script.call(f"{lite}get_output_tensor", 1, y, OUT_AT + 4)
    for number, size in enumerate((64, 1)):
        out = OUT_AT + 0x4000 * number
        script.call(f"{lite}get_tensor_len", 1, 0, out + 8)
        script.call(f"{lite}get_tensor_data", 1, 0, out + 0x100, 4, out + 12)
        script.call(f"{lite}append_input", 1, x, script.put(fill * size))
        script.call(f"{lite}get_tensor_data", 1, 0, out + 0x200, 16 * size, out + 12)
        script.call(f"{lite}run_session", 1)
        script.call(f"{lite}get_tensor_data", 1, 0, out + 0x1000, 16 * size, out + 16)
        script.call(f"{lite}get_tensor_data", 1, 0, out + 0x2000, 16 * size + 4, out + 20)
    return script.body()


def _tensor(fill: bytes, kind: str) -> tuple[tuple[int, ...], int, bytes]:
    """Shape, type (wasi-nn's, the newest) and bytes of an input; of "table" one that is out of range."""
    if kind == "same":
        return (64,), 1, fill * 16
    if kind == "failing":
        return (1, 2), 5, fill
    return (2,), 5, struct.pack("<qq", 3, 1000)


def _wasi_nn(fill: bytes, kind: str) -> bytes:
    script, nn = Script(), "wasi_ephemeral_nn."
    shape, code, data = _tensor(fill, kind)
    tensor = script.put(data)
    dims = script.pack(f"<{len(shape)}I", *shape)
    record = script.pack("<IIBxxxII", dims, len(shape), code, *tensor)
    script.call(f"{nn}load_by_name", script.put(kind.encode()), OUT_AT)
    script.call(f"{nn}init_execution_context", 1, OUT_AT + 4)
    script.call(f"{nn}get_output", 2, 0, OUT_AT + 0x100, 4096, OUT_AT + 8)
    script.call(f"{nn}compute", 2)
    script.call(f"{nn}set_input", 2, 0, record)
    script.call(f"{nn}get_output", 2, 0, OUT_AT + 0x2000, 4096, OUT_AT + 12)
    for number in range(2):
        script.call(f"{nn}compute", 2)
        for size in (0, 8, 256, 4096):
            out = OUT_AT + 0x4000 * (number + 1) + size * 2
            script.call(f"{nn}get_output", 2, 0, out + 16, size, out)
    script.call(f"{nn}init_execution_context", 1, OUT_AT + 16)
    script.call(f"{nn}get_output", 3, 0, OUT_AT + 0x10000, 4096, OUT_AT + 20)
    script.call(f"{nn}finalize_execution_context", 2)
    script.call(f"{nn}get_output", 2, 0, OUT_AT + 0x12000, 4096, OUT_AT + 24)
    return script.body()


def _wasi_nn_legacy(fill: bytes, kind: str) -> bytes:
    script, nn = Script(), "wasi_nn."
    shape, code, data = _tensor(fill, kind)
    dims = script.pack("<II", script.pack(f"<{len(shape)}I", *shape), len(shape))
    record = script.pack("<III", dims, code, script.put(data).at)
    script.call(f"{nn}load_by_name", script.put(kind.encode()), OUT_AT)
    script.call(f"{nn}init_execution_context", 1, OUT_AT + 4)
    script.call(f"{nn}set_input", 2, 0, record)
    script.call(f"{nn}compute", 2)
    for size in (0, 2, 64, 1024):
        inout = script.pack("<I", size)
        script.call(f"{nn}get_output", 2, 0, OUT_AT + 0x1000 + size * 8, inout)
    return script.body()


def _own_model(fill: bytes) -> bytes:
    """One that the guest brought, with results that are mostly not its inputs: zeros, and a loop that adds to them."""
    script, tf = Script(), "wasmedge_tensorflow."
    for number, model in enumerate((tiny_models.doubling(), tiny_models.zeros(1000), tiny_models.sevens())):
        session, tensor = 2 * number + 1, 2 * number + 2
        x, y = script.put(b"x"), script.put(b"y")
        out = OUT_AT + number * 0x4000
        script.call(f"{tf}create_session", script.put(model.SerializeToString()), out)
        data, sizes = (script.put(fill * 28), (28, 4)) if number != 1 else (script.put(fill[:4]), (1,))
        script.call(f"{tf}append_input", session, x, _shape(script, *sizes), len(sizes), 1, data)
        script.call(f"{tf}append_output", session, y)
        script.call(f"{tf}run_session", session)
        script.call(f"{tf}get_output_tensor", session, y, out + 4)
        script.call(f"{tf}get_tensor_data", session, tensor, out + 0x100, 4000, out + 8)
    return script.body()


def batched(fill: bytes, rows: int, *, index: bool) -> bytes:
    """One request to a model that runs in batches; with `index` it is a lookup, which fails where `rows` is 3."""
    script, tf = Script(), "wasmedge_tensorflow."
    x, y = script.put(b"x"), script.put(b"y")
    name, code = ("looked-up", 9) if index else ("batched", 1)
    values = [fill[0] % 4] * rows if rows != 3 else [1, 1000, 2]
    data = script.put(struct.pack(f"<{rows}q", *values) if index else fill * 16 * rows)
    sizes = (rows,) if index else (rows, 64)
    script.call(f"{tf}create_session", script.put(f"guesthouse:model/{name}".encode()), OUT_AT)
    script.call(f"{tf}append_input", 1, x, _shape(script, *sizes), len(sizes), code, data)
    script.call(f"{tf}append_output", 1, y)
    script.call(f"{tf}run_session", 1)
    script.call(f"{tf}get_output_tensor", 1, y, OUT_AT + 4)
    script.call(f"{tf}get_tensor_data", 1, 2, OUT_AT + 0x1000, 0x3000, OUT_AT + 8)
    return script.body()


# ---- the rest ----


def program(fill: bytes) -> bytes:
    """Streams, arguments, environment; a line of log that ends within a character, and results that are refused."""
    script, wasi = Script(), "wasi_snapshot_preview1."
    text = script.put(fill * 20 + b"\n" + "ä".encode()[:1] + fill)
    for descriptor in (1, 2, 7):
        script.call(f"{wasi}fd_write", descriptor, script.pack("<II", *text), 1, OUT_AT)
    script.call(f"{wasi}fd_read", 0, script.pack("<II", OUT_AT + 0x8000, 4096), 1, OUT_AT + 4)
    script.call(f"{wasi}args_sizes_get", OUT_AT + 8, OUT_AT + 12)
    script.call(f"{wasi}args_get", OUT_AT + 0x100, OUT_AT + 0x200)
    script.call(f"{wasi}environ_sizes_get", OUT_AT + 16, OUT_AT + 20)
    script.call(f"{wasi}environ_get", OUT_AT + 0x400, OUT_AT + 0x800)
    for descriptor in range(5):
        out = OUT_AT + 0x4000 + descriptor * 0x200
        script.call(f"{wasi}fd_fdstat_get", descriptor, out)
        script.call(f"{wasi}fd_filestat_get", descriptor, out + 0x40)
        script.call(f"{wasi}fd_prestat_get", descriptor, out + 0xC0)
        script.call(f"{wasi}fd_prestat_dir_name", descriptor, out + 0x100, 64)
    script.call("env.return_error", script.put(fill * 100))
    return script.body()


#: What answers differently each time, ends the event, or waits.
_OTHERS = ("clock_time_get", "random_get", "poll_oneoff", "sched_yield", "abort", "proc_raise")


def odd_calls(count: int, seed: bytes) -> Iterator[tuple[str, bytes]]:
    """Imports with numbers that are mostly wrong, some `count` of them."""
    draw = random.Random(seed if FACTOR > 1 else 1)
    for host, row in draw.sample(
        [(host, row) for host, row in each_number_in_each_place() if host.name not in _OTHERS], examples(count)
    ):
        yield f"{host.module}.{host.name}", row

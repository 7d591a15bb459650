"""wasi-nn's two modules, called without an engine: what each function does, and what it answers when it does not."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.grants import Limits
from guesthouse_abi.host import HostModule
from guesthouse_abi.imports.wasi_nn import ephemeral, legacy
from guesthouse_abi.services import TensorInfo
from tests.abi.inference_host import Doubler, Host
from tests.support.budget import examples

OK, INVALID, ENCODING, MEMORY, BUSY, RUNTIME, UNSUPPORTED, LARGE, MISSING = range(9)
FAR = 0xFFFF_FFF0
F16, F32, F64, U8, I32, I64 = range(6)
ONNX, CPU = 1, 0


class Typed(Doubler):
    """Gives its input `x`, a vector of some type, back as `y`."""

    name = "typed"

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.inputs = (TensorInfo("x", np.dtype(dtype), (None,)),)
        self.outputs = (TensorInfo("y", np.dtype(dtype), (None,)),)

    def run(self, inputs, outputs, deadline):
        return [inputs["x"]]


class Nn:
    """A host, and the calls of a program."""

    def __init__(self, module: HostModule = ephemeral.MODULE, **options: Any) -> None:
        self.host = Host(module, **options)
        self.call = self.host.call

    def by_name(self, name: str = "doubler") -> tuple[int, int]:
        return self.host.reader("load_by_name")(*self.host.put(name))

    def load(self, data: bytes, encoding: int = ONNX, target: int = CPU) -> tuple[int, int]:
        builder = self.host.put(struct.pack("<II", *self.host.put(data)))[0]
        return self.host.reader("load")(builder, 1, encoding, target)

    def context(self, name: str = "doubler") -> int:
        errno, graph = self.by_name(name)
        assert errno == OK
        errno, context = self.host.reader("init_execution_context")(graph)
        assert errno == OK
        return context

    def tensor(self, shape: tuple[int, ...], code: int, data: bytes, *, size: int | None = None, pad: int = 0) -> int:
        dimensions = self.host.put(struct.pack(f"<{len(shape)}I", *shape))[0]
        pointer, length = self.host.put(data)
        length = length if size is None else size
        kind = code | pad << 8
        return self.host.put(struct.pack("<IIIII", dimensions, len(shape), kind, pointer, length))[0]

    def floats(self, context: int, *values: float) -> int:
        tensor = self.tensor((len(values) // 3, 3), F32, struct.pack(f"<{len(values)}f", *values))
        return int(self.call("set_input", context, 0, tensor))


@pytest.fixture
def nn() -> Nn:
    return Nn()


def test_a_model_by_its_name_is_run_and_run_again(nn):
    context = nn.context()
    for values in ((1, 2, 3), (4, 5, 6)):
        assert nn.floats(context, *values) == OK
        assert nn.call("compute", context) == OK
        assert nn.call("get_output", context, 0, 64, 12, 16) == OK
        assert (nn.host.memory.u32(16), nn.host.floats(64, 3)) == (12, [2 * v for v in values])
    assert nn.call("finalize_execution_context", context) == OK
    assert nn.host.context.held == 0


def test_outputs_are_numbered(nn):
    context = nn.context()
    nn.floats(context, 1, 2, 3, 4, 5, 6)
    nn.call("compute", context)
    assert nn.call("get_output", context, 1, 64, 400, 16) == OK
    assert (nn.host.memory.u32(16), nn.host.floats(64, 1)) == (4, [21])
    assert nn.call("get_output", context, 2, 64, 400, 16) == INVALID
    assert nn.host.said("the model doubler has no output 2; it has y float32[?,3]; sum float32[]")


def test_a_buffer_that_is_too_small_is_told_what_is_needed(nn):
    context = nn.context()
    nn.floats(context, 1, 2, 3)
    nn.call("compute", context)
    nn.host.memory.write(64, b"untouched---")
    assert nn.call("get_output", context, 0, 64, 11, 16) == LARGE
    assert (nn.host.memory.u32(16), nn.host.memory.read(64, 12)) == (12, b"untouched---")
    assert nn.host.said("the output has 12 bytes; the buffer has 11")


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("float16", F16), ("float32", F32), ("float64", F64), ("uint8", U8), ("int32", I32), ("int64", I64)],
)
def test_every_type_goes_in_and_comes_out(nn, dtype, code):
    nn.host.inference.models["doubler"] = Typed(dtype)
    context, data = nn.context(), np.arange(5).astype(dtype).tobytes()
    assert nn.call("set_input", context, 0, nn.tensor((5,), code, data)) == OK
    assert nn.call("compute", context) == OK
    assert nn.call("get_output", context, 0, 64, len(data), 16) == OK
    assert nn.host.memory.read(64, len(data)) == data


@pytest.mark.parametrize(("dtype", "old", "new"), [("uint8", 2, 3), ("int32", 3, 4)])
def test_old_and_new_type_numbers_are_told_apart_by_the_size_of_an_element(nn, dtype, old, new):
    nn.host.inference.models["doubler"] = Typed(dtype)
    data = np.arange(6).astype(dtype).tobytes()
    for code in (old, new):
        assert nn.call("set_input", nn.context(), 0, nn.tensor((6,), code, data)) == OK


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.5", "0.6"])
def test_the_manifest_may_say_which_types_are_meant(version):
    nn = Nn(wasi_nn=version)
    nn.host.inference.models["doubler"] = Typed("uint8")
    tensors = [nn.tensor((6,), code, bytes(6)) for code in (2, 3)]
    answers = [nn.call("set_input", nn.context(), 0, tensor) for tensor in tensors]
    assert answers == ([INVALID, OK] if version == "0.6" else [OK, INVALID])


@pytest.mark.parametrize(
    ("version", "missing", "large", "runtime", "encoding"),
    [("0.1", 1, 1, 3, 1), ("0.2", 1, 1, 5, 2), ("0.5", 8, 7, 5, 2), ("0.6", 8, 7, 5, 2), (None, 8, 7, 5, 2)],
)
def test_errors_have_the_numbers_of_the_guests_version(version, missing, large, runtime, encoding):
    nn = Nn(wasi_nn=version)
    assert nn.by_name("nobody")[0] == missing
    assert nn.load(b"x", encoding=6)[0] == encoding
    context = nn.context()
    assert nn.call("compute", context) == runtime
    nn.floats(context, 1, 2, 3)
    nn.call("compute", context)
    assert nn.call("get_output", context, 0, 64, 1, 16) == large


def test_the_padding_behind_a_type_may_hold_anything(nn):
    tensor = nn.tensor((1, 3), F32, struct.pack("<3f", 1, 2, 3), pad=0xABCDEF)
    assert nn.call("set_input", nn.context(), 0, tensor) == OK


@pytest.mark.parametrize(
    ("shape", "code", "count", "said"),
    [
        ((1, 4), F32, 4, "the input x float32[?,3] does not take the shape [1, 4]"),
        ((3,), F32, 3, "the input x float32[?,3] does not take the shape [3]"),
        ((1, 3), I32, 3, "the input x float32[?,3] does not take int32"),
        ((1, 3), 9, 3, "there is no tensor type 9"),
        ((2, 3), F32, 3, "a tensor float32[2, 3] has 24 bytes; 12 came"),
        ((1 << 31, 3), F32, 3, "a tensor float32[2147483648, 3] has 25769803776 bytes; 12 came"),
        ((1,) * 17, F32, 1, "a tensor of 17 dimensions; at most 16"),
    ],
)
def test_a_tensor_that_does_not_fit_is_invalid(nn, shape, code, count, said):
    tensor = nn.tensor(shape, code, bytes(4 * count))
    assert nn.call("set_input", nn.context(), 0, tensor) == INVALID
    assert nn.host.said(said)


def test_an_input_of_no_such_number_is_invalid(nn):
    tensor = nn.tensor((1, 3), F32, bytes(12))
    assert nn.call("set_input", nn.context(), 3, tensor) == INVALID
    assert nn.host.said("the model doubler has no input 3; it has x float32[?,3]; k int32[]; flag:1 bool[2]")


def test_tensors_count_against_host_memory():
    nn = Nn(limits=Limits(host_memory=20))
    context = nn.context()
    assert nn.floats(context, 1, 2, 3) == OK
    assert nn.floats(nn.context(), 1, 2, 3) == BUSY
    assert nn.floats(context, 4, 5, 6) == BUSY  # before the first is let go
    assert nn.host.said("the limit host_memory is 20")


# Which model.


def test_bytes_are_looked_up_by_digest_whatever_they_are_said_to_be(nn):
    nn.host.inference.stand_for("fixed", b"a TensorFlow Lite file")
    for encoding in range(6):
        assert nn.load(b"a TensorFlow Lite file", encoding)[0] == OK
    assert nn.load(b"guesthouse:model/fixed", 4)[0] == OK


def test_several_builders_are_one_model(nn):
    nn.host.inference.stand_for("fixed", b"<xml/>weights")
    parts = [nn.host.put(b"<xml/>"), nn.host.put(b"weights")]
    builders = nn.host.put(b"".join(struct.pack("<II", *part) for part in parts))[0]
    assert nn.host.reader("load")(builders, 2, 0, CPU)[0] == OK
    assert nn.host.reader("load")(builders, 0, 0, CPU)[0] == INVALID
    assert nn.host.reader("load")(builders, 17, 0, CPU)[0] == INVALID
    assert nn.host.context.held == 0


def test_unknown_bytes_are_a_runtime_error_and_the_log_has_their_digest(nn):
    assert nn.load(b"nobody's")[0] == RUNTIME
    assert nn.host.said('no model of the manifest stands for these 8 bytes: give one stands_for = ["')


@pytest.mark.parametrize(
    ("encoding", "errno"), [(0, RUNTIME), (1, OK), (2, RUNTIME), (3, RUNTIME), (4, RUNTIME), (5, OK)]
)
def test_a_guest_brings_onnx_alone_and_only_where_it_may(encoding, errno):
    nn = Nn(allow_guest_models=True)
    assert nn.load(b"a model of its own", encoding)[0] == errno
    assert len(nn.host.inference.opened) == (errno == OK)


def test_names_are_those_of_the_manifest_that_are_granted():
    nn = Nn(models=frozenset({"fixed", "gone"}))
    assert nn.by_name("fixed")[0] == nn.by_name("guesthouse:model/fixed")[0] == OK
    assert nn.by_name("doubler")[0] == MISSING
    assert nn.host.said("the manifest does not grant the model 'doubler' to this guest")
    assert nn.by_name("gone")[0] == MISSING
    assert nn.host.said("the manifest has no model 'gone'")
    assert nn.host.reader("load_by_name")(*nn.host.put(b"\xff"))[0] == INVALID


@pytest.mark.parametrize(
    ("target", "errno", "said"), [(0, OK, ""), (1, OK, "not on a GPU"), (2, OK, "not on a TPU"), (3, OK, "")]
)
def test_every_target_runs_on_the_cpu_and_says_so(nn, target, errno, said):
    assert nn.load(b"guesthouse:model/fixed", target=target)[0] == errno
    assert nn.host.said(said) if said else not nn.host.log.lines


def test_no_such_target_or_encoding(nn):
    assert nn.load(b"guesthouse:model/fixed", target=4)[0] == INVALID
    assert nn.load(b"guesthouse:model/fixed", encoding=6)[0] == ENCODING


# Handles.


def test_handles_are_never_used_again_and_a_context_outlives_its_graph(nn):
    first = nn.by_name()[1]
    context = nn.host.reader("init_execution_context")(first)[1]
    assert nn.call("unload", first) == OK
    assert nn.call("unload", first) == INVALID
    assert nn.host.reader("init_execution_context")(first)[0] == INVALID
    assert (first, context, nn.by_name()[1]) == (1, 2, 3)  # graphs and contexts are counted in one row
    assert nn.floats(context, 1, 2, 3) == OK
    assert nn.call("compute", context) == OK
    assert nn.call("finalize_execution_context", context) == OK
    assert nn.call("finalize_execution_context", context) == INVALID
    assert nn.call("compute", context) == INVALID
    assert nn.context() == 5  # on the graph 4


def test_graphs_and_contexts_are_bounded(nn):
    graphs = [nn.by_name() for _ in range(65)]
    assert [errno for errno, _ in graphs] == [OK] * 64 + [BUSY]
    contexts = [nn.host.reader("init_execution_context")(1)[0] for _ in range(65)]
    assert contexts == [OK] * 64 + [BUSY]


def test_nothing_is_computed_or_got_without_a_context(nn):
    for name, values in (("compute", ()), ("get_output", (0, 64, 4, 16)), ("set_input", (0, 64))):
        assert nn.call(name, 7, *values) == INVALID
    assert nn.call("get_output", nn.context(), 0, 64, 4, 16) == RUNTIME
    assert nn.host.said("the output y has no value before compute has succeeded")


# What WasmEdge and WAMR added.


def test_a_configuration_is_json_and_not_used(nn):
    load = nn.host.reader("load_by_name_with_config")
    assert load(*nn.host.put("fixed"), *nn.host.put('{"threads": 4}'))[0] == OK
    assert load(*nn.host.put("fixed"), 0, 0)[0] == OK
    assert load(*nn.host.put("fixed"), *nn.host.put("{"))[0] == INVALID
    assert load(*nn.host.put("fixed"), *nn.host.put("[" * 60000))[0] == INVALID


def test_what_is_for_language_models_is_unsupported(nn):
    context = nn.context()
    assert nn.call("compute_single", context) == UNSUPPORTED
    assert nn.call("get_output_single", context, 0, 64, 4, 16) == UNSUPPORTED
    assert nn.call("fini_single", context) == UNSUPPORTED
    assert nn.call("fini_single", context + 1) == INVALID


# Pointers.


def test_pointers_outside_the_memory_are_invalid(nn):
    context, tensor = nn.context(), nn.tensor((1, 3), F32, bytes(12))
    name, builder = nn.host.put("fixed"), nn.host.put(struct.pack("<II", *nn.host.put("guesthouse:model/fixed")))[0]
    for function, values in (
        ("load", (FAR, 1, ONNX, CPU, 16)),
        ("load", (builder, 1, ONNX, CPU, FAR)),
        ("load", (nn.host.put(struct.pack("<II", FAR, 100))[0], 1, ONNX, CPU, 16)),
        ("load_by_name", (FAR, 5, 16)),
        ("load_by_name", (*name, FAR)),
        ("load_by_name_with_config", (*name, FAR, 5, 16)),
        ("init_execution_context", (1, FAR)),
        ("set_input", (context, 0, FAR)),
        ("set_input", (context, 0, nn.host.put(struct.pack("<IIIII", FAR, 2, F32, 64, 12))[0])),
        (
            "set_input",
            (
                context,
                0,
                nn.host.put(struct.pack("<IIIII", nn.host.put(struct.pack("<2I", 1, 3))[0], 2, F32, FAR, 12))[0],
            ),
        ),
    ):
        assert nn.call(function, *values) == INVALID, (function, values)
    assert nn.call("set_input", context, 0, tensor) == OK
    nn.call("compute", context)
    assert nn.call("get_output", context, 0, FAR, 12, 16) == INVALID
    assert nn.call("get_output", context, 0, 64, 12, FAR) == INVALID


@pytest.mark.parametrize("module", [ephemeral.MODULE, legacy.MODULE], ids=lambda module: module.name)
def test_a_buffer_that_leaves_the_memory_is_refused_also_where_the_output_fits(module):
    nn = Nn(module)
    by_size = module is ephemeral.MODULE
    context, three = nn.context("fixed"), nn.host.put_floats(1, 2, 3)
    shape = nn.host.put(struct.pack("<2I", 1, 3))[0]
    if by_size:
        tensor = nn.host.put(struct.pack("<5I", shape, 2, F32, *three))[0]
    else:
        tensor = nn.host.put(struct.pack("<3I", nn.host.put(struct.pack("<2I", shape, 2))[0], F32, three[0]))[0]
    assert nn.call("set_input", context, 0, tensor) == OK
    assert nn.call("compute", context) == OK

    def into(buffer: int, room: int) -> Any:
        nn.host.memory.set_u32(16, room if by_size else room // 4)
        return nn.call("get_output", context, 0, buffer, *((room, 16) if by_size else (16,)))

    nn.host.memory.write(64, bytes(12))
    assert into(64, nn.host.size - 60) == INVALID
    assert nn.host.memory.read(64, 12) == bytes(12)
    assert nn.host.said(f"{nn.host.size - 60} bytes at 0x40 are outside the guest's memory")
    assert into(64, nn.host.size - 64) == OK
    assert nn.host.floats(64, 3) == [2, 4, 6]


def test_a_limit_that_a_guest_ran_into_is_kept_for_the_events_error():
    nn = Nn(limits=Limits(host_memory=11))
    assert nn.floats(nn.context(), 1, 2, 3) == BUSY
    assert nn.host.context.refused == "12 bytes of host memory for one event; the limit host_memory is 11"


def test_a_guest_without_memory_is_missing_it(nn):
    nn.host.context.memory = None
    assert nn.call("load_by_name", 0, 5, 16) == MEMORY


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("module", [ephemeral.MODULE, legacy.MODULE], ids=lambda module: module.name)
def test_any_numbers_and_any_memory_get_an_errno(module, data):
    nn = Nn(module, limits=Limits(host_memory=1 << 16), allow_guest_models=True)
    names = [nn.host.put(name) for name in ("doubler", "fixed", "guesthouse:model/doubler")]
    nn.host.memory.write(4096, data.draw(st.binary(max_size=256)))
    nn.by_name()
    nn.host.reader("init_execution_context")(1)
    edges = [*range(8), *(part for name in names for part in name), 4096, 65532, 65535, 65536, 1 << 31, (1 << 32) - 1]
    numbers = st.one_of(st.sampled_from(edges), st.integers(4000, 4400), st.integers(0, (1 << 32) - 1))
    for _ in range(data.draw(st.integers(1, 8))):
        function = data.draw(st.sampled_from(list(module.functions.values())))
        values = [data.draw(numbers) for _ in function.kinds]
        assert nn.call(function.name, *values) in range(9)
    assert nn.host.guarded
    assert 0 <= nn.host.context.held <= 1 << 16


# WAMR's older module.


@pytest.fixture
def wamr() -> Nn:
    return Nn(legacy.MODULE)


def old_tensor(nn: Nn, shape: tuple[int, ...], code: int, data: bytes) -> int:
    dimensions = nn.host.put(struct.pack(f"<{len(shape)}I", *shape))[0]
    record = nn.host.put(struct.pack("<II", dimensions, len(shape)))[0]
    return nn.host.put(struct.pack("<III", record, code, nn.host.put(data)[0]))[0]


def test_the_older_module_counts_outputs_in_units_of_four_bytes(wamr):
    context = wamr.context()
    assert wamr.call("set_input", context, 0, old_tensor(wamr, (1, 3), 1, struct.pack("<3f", 1, 2, 3))) == OK
    assert wamr.call("compute", context) == OK
    wamr.host.memory.set_u32(16, 2)
    assert wamr.call("get_output", context, 0, 64, 16) == LARGE
    assert wamr.host.memory.u32(16) == 3
    assert wamr.call("get_output", context, 0, 64, 16) == OK
    assert (wamr.host.memory.u32(16), wamr.host.floats(64, 3)) == (3, [2, 4, 6])


@pytest.mark.parametrize(("code", "dtype"), [(0, "float16"), (1, "float32"), (2, "uint8"), (3, "int32")])
def test_the_older_module_has_the_older_types(wamr, code, dtype):
    wamr.host.inference.models["doubler"] = Typed(dtype)
    context, data = wamr.context(), np.arange(5).astype(dtype).tobytes()
    assert wamr.call("set_input", context, 0, old_tensor(wamr, (5,), code, data)) == OK
    assert wamr.call("set_input", context, 0, old_tensor(wamr, (5,), 4, data)) == INVALID
    assert wamr.call("compute", context) == OK
    wamr.host.memory.set_u32(16, 100)
    assert wamr.call("get_output", context, 0, 64, 16) == OK
    assert wamr.host.memory.read(64, len(data)) == data


def test_the_older_module_loads_from_a_record_of_builders(wamr):
    builder = wamr.host.put(struct.pack("<II", *wamr.host.put("guesthouse:model/fixed")))[0]
    record = wamr.host.put(struct.pack("<II", builder, 1))[0]
    assert wamr.host.reader("load")(record, 4, CPU) == (OK, 1)
    assert wamr.call("load", FAR, 4, CPU, 16) == INVALID
    assert wamr.call("get_output", 1, 0, 64, FAR) == INVALID


def test_an_output_that_cannot_be_given_has_an_error_number_and_the_others_are_given(nn):
    context = nn.context("voting")
    assert nn.floats(context, 1, 2, 3) == OK
    assert nn.call("compute", context) == OK
    assert nn.call("get_output", context, 0, 64, 12, 16) == UNSUPPORTED
    assert nn.host.said("the output 0 (votes a sequence[]) is a sequence, which cannot be given to a guest")
    assert nn.call("get_output", context, 1, 64, 12, 16) == OK
    assert nn.host.floats(64, 3) == [2, 4, 6]
    assert nn.host.inference.models["voting"].asked == [["y"]]


def test_a_tensor_without_elements_is_taken_and_given_where_the_first_dimension_is_free(nn):
    context = nn.context()
    assert nn.call("set_input", context, 0, nn.tensor((0, 3), F32, b"")) == OK
    assert nn.call("compute", context) == OK
    assert nn.call("get_output", context, 0, 64, 12, 16) == OK
    assert nn.host.memory.u32(16) == 0


def test_an_input_of_any_shape_takes_any(nn):
    context = nn.context("shapeless")
    for shape in [(3,), (1, 3), (3, 1, 1)]:
        assert nn.call("set_input", context, 0, nn.tensor(shape, F32, bytes(12))) == OK
        assert nn.call("compute", context) == OK
    assert [run["x"].shape for run in nn.host.inference.models["shapeless"].ran] == [(3,), (1, 3), (3, 1, 1)]


def test_a_graph_is_loaded_by_a_name_of_the_guests_own():
    nn = Nn(models=frozenset({"doubler"}), aliases=(("./models/sum.tflite", "doubler"),))
    assert nn.by_name("./models/sum.tflite")[0] == OK
    assert nn.by_name("guesthouse:model/./models/sum.tflite")[0] == OK
    assert nn.by_name("./models/other.tflite")[0] == MISSING

"""`wasi:nn` for components: models by their names, tensors on the host, and what is refused with which code."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from guesthouse_abi.canonical.functions import Fail
from guesthouse_abi.errors import TooMuch
from guesthouse_abi.grants import Limits
from guesthouse_abi.imports.preview2 import host_function, nn
from guesthouse_abi.imports.preview2.nn import Execution, NnFault, NnTensor
from guesthouse_abi.imports.wasi_nn.ephemeral import MODULE
from tests.abi.inference_host import Host
from tests.abi.test_abi_canonical import guest, run
from tests.support import wat


@pytest.fixture
def host() -> Host:
    return Host(MODULE)


def floats(host: Host, *values: float, shape: list[int] | None = None, kind: str = "FP32") -> NnTensor:
    data = struct.pack(f"<{len(values)}f", *values)
    return nn.new_tensor(host.context, shape or [1, len(values)], kind, data)


def opened(host: Host, name: str = "doubler") -> Execution:
    return nn.init_execution_context(host.context, nn.load_by_name(host.context, name))


def refused(function: Any, *arguments: Any) -> tuple[str, str]:
    with pytest.raises(Fail) as failed:
        function(*arguments)
    fault = failed.value.value
    assert isinstance(fault, NnFault)
    return fault.code, fault.text


def test_a_model_runs_on_tensors_by_their_names(host: Host) -> None:
    execution = opened(host)
    outputs = dict(nn.compute(host.context, execution, [("x", floats(host, 1, 2, 3))]))
    assert nn.tensor_dimensions(host.context, outputs["y"]) == [1, 3]
    assert nn.tensor_type(host.context, outputs["y"]) == "FP32"
    assert np.frombuffer(nn.tensor_data(host.context, outputs["y"]), np.float32).tolist() == [2, 4, 6]
    assert (outputs["sum"].shape, outputs["sum"].data) == ((), np.float32(6))
    again = dict(nn.compute(host.context, execution, [("x", outputs["y"])]))  # an output is an input, uncopied
    assert again["y"].values().tolist() == [[4, 8, 12]]


def test_tensors_are_counted_until_they_are_dropped(host: Host) -> None:
    before = host.context.held
    tensor = floats(host, 1, 2, 3)
    outputs = nn.compute(host.context, opened(host), [("x", tensor)])
    assert host.context.held > before
    for one in (tensor, *(value for _, value in outputs)):
        one.release(host.context)
    assert host.context.held == before


def test_a_failed_run_keeps_nothing(host: Host) -> None:
    execution, before = opened(host), host.context.held
    assert refused(nn.compute, host.context, execution, []) == ("runtime-error", "the input x was not given")
    assert (host.context.held, execution.session.inputs) == (before, {})


@pytest.mark.parametrize(
    ("name", "shape", "kind", "code", "text"),
    [
        ("z", [1, 3], "FP32", "invalid-argument", "the model doubler has no input 'z'"),
        ("x", [3, 1], "FP32", "invalid-argument", "does not take the shape [3, 1]"),
        ("x", [1, 4], "FP32", "invalid-argument", "has 16 bytes; 12 came"),
        ("x", [1, 3], "I32", "invalid-argument", "does not take int32"),
        ("x", [1, 3], "BF16", "invalid-argument", "BF16, which no model here takes"),
        ("x", [1] * 17, "FP32", "invalid-argument", "a tensor of 17 dimensions"),
        ("x", [0xFFFFFFFF] * 16, "FP32", "invalid-argument", "bytes; 12 came"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    host: Host, name: str, shape: list[int], kind: str, code: str, text: str
) -> None:
    tensor = floats(host, 1, 2, 3, shape=shape, kind=kind)
    found = refused(nn.compute, host.context, opened(host), [(name, tensor)])
    assert found[0] == code
    assert text in found[1]


def test_a_model_that_is_not_there_or_not_granted_is_refused() -> None:
    host = Host(MODULE, models=frozenset({"gone"}))
    assert refused(nn.load_by_name, host.context, "gone")[0] == "not-found"
    assert refused(nn.load_by_name, host.context, "doubler")[0] == "security"
    assert refused(nn.load_by_name, host.context, "x" * 10_000)[0] == "invalid-argument"


@pytest.mark.parametrize("encoding", ["onnx", "tensorflow", "ggml"])
def test_a_models_bytes_are_its_name_or_looked_up_by_their_digest(host: Host, encoding: str) -> None:
    assert nn.load(host.context, [b"guesthouse:model/doubler"], encoding, "cpu").model.name == "doubler"
    host.inference.stand_for("doubler", b"a TensorFlow Lite file")
    assert nn.load(host.context, [b"a TensorFlow ", b"Lite file"], encoding, "gpu").model.name == "doubler"
    assert "it runs on the CPU, not on a gpu" in host.log.texts[-1]
    held = host.context.held
    code, text = refused(nn.load, host.context, [b"nobody's"], encoding, "cpu")
    assert (code, host.context.held) == ("runtime-error", held)
    assert "no model of the manifest stands for these 8 bytes" in text


def test_a_model_of_the_guests_own_is_opened_where_that_is_granted_and_it_may_be_onnx() -> None:
    host = Host(MODULE, allow_guest_models=True)
    for encoding in ("onnx", "autodetect"):
        assert nn.load(host.context, [b"a model of its own"], encoding, "cpu").model is not None
        assert refused(nn.load, host.context, [b"a model ", b"of its own"], encoding, "cpu")[0] == "runtime-error"
    assert refused(nn.load, host.context, [b"a model of its own"], "pytorch", "cpu")[0] == "runtime-error"


def test_what_is_no_model_at_all_is_refused(host: Host) -> None:
    for parts in ([], [b""] * 17):
        assert refused(nn.load, host.context, parts, "onnx", "cpu")[0] == "invalid-argument"
    assert refused(nn.load, host.context, [b"guesthouse:model/" + b"x" * 1000], "onnx", "cpu")[0] == "runtime-error"
    assert refused(nn.load, host.context, [b"guesthouse:model/gone"], "onnx", "cpu")[0] == "security"


def test_a_model_larger_than_host_memory_is_refused() -> None:
    host = Host(MODULE, limits=Limits(host_memory=1000), allow_guest_models=True)
    assert refused(nn.load, host.context, [bytes(1001)], "onnx", "cpu")[0] == "too-large"
    assert host.context.held == 0


def test_a_tensor_over_the_limit_ends_the_guest() -> None:
    host = Host(MODULE, limits=Limits(host_memory=1000))
    with pytest.raises(TooMuch):
        nn.new_tensor(host.context, [1000], "U8", bytes(1000))


def test_the_dimensions_of_a_tensor_count_too() -> None:
    host = Host(MODULE, limits=Limits(host_memory=1 << 20))
    made: list[NnTensor] = []
    with pytest.raises(TooMuch):
        made.extend(nn.new_tensor(host.context, [1] * 16_384, "U8", b"") for _ in range(4096))
    for one in made:
        one.release(host.context)
    assert host.context.held == 0


@pytest.mark.parametrize("version", ["0.2.0-rc-2024-06-25", "0.2.0-rc-2024-10-28"])
def test_a_component_reaches_it(any_engine: Any, version: str) -> None:
    """A guest that names a model that it was not granted gets an error's handle, whose code is `security` (7)."""
    assert host_function(f"wasi:nn/graph@{version}", "load-by-name") is not None
    text = guest(
        """(call $load (i32.const 8) (i32.const 4) (i32.const 16))
        (i32.store8 (i32.const 32) (i32.add (i32.const 48) (i32.load8_u (i32.const 16))))
        (i32.store8 (i32.const 33) (i32.add (i32.const 48) (call $code (i32.load (i32.const 20)))))
        (call $write (call $stdout) (i32.const 32) (i32.const 2) (i32.const 40))""",
        more='(data (i32.const 8) "name")',
    ).replace(
        "(import",
        f"""(import "wasi:nn/graph@{version}" "load-by-name" (func $load (param i32 i32 i32)))
        (import "wasi:nn/errors@{version}" "[method]error.code" (func $code (param i32) (result i32))) (import""",
        1,
    )
    assert run(any_engine, text, ctx=wat.context()) == b"17"

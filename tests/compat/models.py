"""The models of the compatibility kit: small ONNX files, made when a run begins, and their tables in the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: The numeric types of tensors, as a name of numpy has them.
TYPES = (
    "float32",
    "float64",
    "int32",
    "uint8",
    "int16",
    "int8",
    "int64",
    "bool",
    "uint16",
    "float16",
    "uint32",
    "uint64",
)


def made(
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def doubler(rows: Any = "N") -> onnx.ModelProto:
    """y = x + x, float32 [rows, 3]."""
    shape = [rows, 3]
    twice = helper.make_node("Add", ["x", "x"], ["y"])
    return made([("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], [twice])


def same(kind: int) -> onnx.ModelProto:
    """y = x, of any type, [N]."""
    return made([("x", kind, ["N"])], [("y", kind, ["N"])], [helper.make_node("Identity", ["x"], ["y"])])


def scalar() -> onnx.ModelProto:
    """y = x + x, float32 without dimensions."""
    twice = helper.make_node("Add", ["x", "x"], ["y"])
    return made([("x", TensorProto.FLOAT, [])], [("y", TensorProto.FLOAT, [])], [twice])


def pair() -> onnx.ModelProto:
    """k:0 = a + b, k:1 = a - b, int32 [2]: names as a converted graph has them."""
    shape = [2]
    kind = TensorProto.INT32
    nodes = [helper.make_node("Add", ["a:0", "b"], ["k:0"]), helper.make_node("Sub", ["a:0", "b"], ["k:1"])]
    return made([("a:0", kind, shape), ("b", kind, shape)], [("k:0", kind, shape), ("k:1", kind, shape)], nodes)


def free() -> onnx.ModelProto:
    """y = x, float32 [M, K]: bytes alone do not tell its shape."""
    shape = ["M", "K"]
    node = helper.make_node("Identity", ["x"], ["y"])
    return made([("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], [node])


def failing() -> onnx.ModelProto:
    """Looks up an entry of four: x int64 [1] over 3 fails in the run."""
    table = {"t": np.arange(4, dtype=np.float32)}
    node = helper.make_node("Gather", ["t", "x"], ["y"])
    return made([("x", TensorProto.INT64, [1])], [("y", TensorProto.FLOAT, [1])], [node], table)


def wide() -> onnx.ModelProto:
    """y = x + 0, float32 [1] + [20000]: 4 bytes in, 80,000 out."""
    node = helper.make_node("Add", ["x", "zeros"], ["y"])
    zeros = {"zeros": np.zeros(20_000, np.float32)}
    return made([("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [20_000])], [node], zeros)


def many() -> onnx.ModelProto:
    """o00 to o31, each x, float32 [1]."""
    names = [f"o{number:02}" for number in range(32)]
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in names]
    return made([("x", TensorProto.FLOAT, [1])], [(name, TensorProto.FLOAT, [1]) for name in names], nodes)


def endless() -> onnx.ModelProto:
    """y = x, int64 [N, 1], after as many rounds of a loop as the largest x says."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [value("round", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("sum", TensorProto.INT64, [])],
        [value("go_on", TensorProto.BOOL, []), value("more", TensorProto.INT64, [])],
        [numpy_helper.from_array(np.array(1, np.int64), "one")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["rounds"], keepdims=0),
        helper.make_node("Loop", ["rounds", "", "zero"], ["counted"], body=body),
        helper.make_node("Mul", ["counted", "zero"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    shape = ["N", 1]
    zero = {"zero": np.array(0, np.int64)}
    return made([("x", TensorProto.INT64, shape)], [("y", TensorProto.INT64, shape)], nodes, zero)


def voting() -> onnx.ModelProto:
    """votes, a sequence of maps, which no guest can be given; and y = x + x, float32 [1, 3]."""
    model = doubler(1)
    zipped = helper.make_node("ZipMap", ["y"], ["votes"], domain="ai.onnx.ml", classlabels_int64s=[10, 20, 30])
    model.graph.node.append(zipped)
    votes = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    model.graph.output.insert(0, helper.make_value_info("votes", helper.make_sequence_type_proto(votes)))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


def unshaped() -> onnx.ModelProto:
    """y = x, float32 of any number of dimensions."""
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    model = doubler()
    model.graph.node[0].op_type = "Identity"
    del model.graph.node[0].input[1:]
    for info in (*model.graph.input, *model.graph.output):
        info.type.CopyFrom(kind)
    return model


MODELS = {
    "voting": voting(),
    "unshaped": unshaped(),
    "many": many(),
    "endless": endless(),
    "doubler": doubler(),
    "fixed": doubler(1),
    "scalar": scalar(),
    "pair": pair(),
    "free": free(),
    "failing": failing(),
    "wide": wide(),
    **{name: same(int(helper.np_dtype_to_tensor_dtype(np.dtype(name)))) for name in TYPES},
}
#: sha256 of the text "a file of another format": what a guest embeds, and `fixed` stands for.
STANDS_FOR = "90419d78fae2874aa6809b04ebde99a832b42516be2a02b020487b0e7bcb1fbf"

TABLES: dict[str, dict[str, Any]] = {name: {"path": f"{name}.onnx", "threads": 1} for name in MODELS}
TABLES["doubler"]["max_batch"] = 4
TABLES["fixed"]["stands_for"] = [STANDS_FOR]
TABLES["renamed"] = {
    "path": "fixed.onnx",
    "threads": 1,
    "inputs": {"input": "x"},
    "outputs": {"MobilenetV1/Predictions/Reshape_1": "y"},
}


def write(folder: Path) -> None:
    """Write every model into `folder`."""
    for name, model in MODELS.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())

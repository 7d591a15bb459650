"""Small ONNX models with one trait each, made with the `onnx` package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING
ENDLESS = 10**12  # rounds of `counting`: days


def model(nodes, inputs, outputs, constants=(), opset=17) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*i) for i in inputs],
        [helper.make_tensor_value_info(*o) for o in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    return made


def doubling(rows="N", width=4) -> onnx.ModelProto:
    """y = x + x, float32 [rows, width]."""
    shape = [rows, width]
    return model([helper.make_node("Add", ["x", "x"], ["y"])], [("x", FLOAT, shape)], [("y", FLOAT, shape)])


def counting() -> onnx.ModelProto:
    """y = x, int64 [N, 1], after as many rounds of a loop as x says, row by row."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            helper.make_tensor_value_info("round", INT64, []),
            helper.make_tensor_value_info("go", BOOL, []),
            helper.make_tensor_value_info("sum", INT64, []),
        ],
        [helper.make_tensor_value_info("go_on", BOOL, []), helper.make_tensor_value_info("more", INT64, [])],
        [numpy_helper.from_array(np.int64(1), "one")],
    )
    row = helper.make_graph(
        [
            helper.make_node("Squeeze", ["row"], ["rounds"]),
            helper.make_node("Loop", ["rounds", "", "zero"], ["counted"], body=body),
            helper.make_node("Mul", ["counted", "zero"], ["nothing"]),
            helper.make_node("Add", ["row", "nothing"], ["same"]),
        ],
        "row",
        [helper.make_tensor_value_info("row", INT64, [1])],
        [helper.make_tensor_value_info("same", INT64, [1])],
    )
    nodes = [helper.make_node("Scan", ["x"], ["y"], body=row, num_scan_inputs=1)]
    shape = ["N", 1]
    return model(nodes, [("x", INT64, shape)], [("y", INT64, shape)], [("zero", np.int64(0))])


def table(entries=4) -> onnx.ModelProto:
    """y = ten times x, looked up: x int64 [N] must be less than `entries`, or the run fails."""
    constants = [("t", np.arange(entries, dtype=np.float32) * 10)]
    return model(
        [helper.make_node("Gather", ["t", "x"], ["y"])], [("x", INT64, ["N"])], [("y", FLOAT, ["N"])], constants
    )


def centred() -> onnx.ModelProto:
    """y = x less the mean of its rows: what one row gives depends on the others."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
    ]
    return model(nodes, [("x", FLOAT, ["N", 2])], [("y", FLOAT, ["N", 2])])


def sevens() -> onnx.ModelProto:
    """y = x in rows of seven: fails for x float32 [M, K] whose size is no multiple of seven."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    return model(nodes, [("x", FLOAT, ["M", "K"])], [("y", FLOAT, ["L", 7])], [("shape", np.array([-1, 7]))])


def texts() -> onnx.ModelProto:
    """t = x as text, y = x: x float32 [N]."""
    nodes = [helper.make_node("Cast", ["x"], ["t"], to=STRING), helper.make_node("Identity", ["x"], ["y"])]
    return model(nodes, [("x", FLOAT, ["N"])], [("t", STRING, ["N"]), ("y", FLOAT, ["N"])])


def outside(location: str, where="initializer") -> onnx.ModelProto:
    """y = x + w, float32 [4], where w lies in the file `location`: as an initializer, or a node's attribute."""
    w = TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    w.external_data.add(key="location", value=location)
    w.external_data.add(key="length", value="16")
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], [("x", FLOAT, [4])], [("y", FLOAT, [4])])
    if where == "initializer":
        made.graph.initializer.append(w)
    elif where == "attribute":
        made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=w))
    elif where == "function":
        constant = helper.make_node("Constant", [], ["c"], value=w)
        imports = [helper.make_opsetid("", 17)]
        made.functions.append(helper.make_function("own", "W", [], ["c"], [constant], imports))
        made.graph.node.insert(0, helper.make_node("W", [], ["w"], domain="own"))
        made.opset_import.append(helper.make_opsetid("own", 1))
    elif where == "branch":
        branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("w", FLOAT, [4])], [w])
        made.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
        made.graph.node.insert(0, helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch))
    elif where == "sparse":
        sparse = onnx.SparseTensorProto(dims=[4])
        sparse.values.CopyFrom(w)
        made.graph.sparse_initializer.append(sparse)
    return made


def save(folder: Path, made: onnx.ModelProto, name: str = "tiny.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def broken(width: int | str = 2) -> onnx.ModelProto:
    """Fails in every run: looks up the tenth entry of four."""
    nodes = [helper.make_node("Add", ["x", "nine"], ["i"]), helper.make_node("Gather", ["t", "i"], ["y"])]
    constants = [("t", np.zeros(4, np.float32)), ("nine", np.int64(9))]
    return model(nodes, [("x", INT64, [1, width])], [("y", FLOAT, [1, width])], constants)


def wordy() -> onnx.ModelProto:
    """y = 0 float32 [N] for text x: an input that no guest can give."""
    nodes = [helper.make_node("Shape", ["x"], ["n"]), helper.make_node("ConstantOfShape", ["n"], ["y"])]
    return model(nodes, [("x", STRING, ["N"])], [("y", FLOAT, ["N"])])


def silent() -> onnx.ModelProto:
    """Has text as its only output."""
    return model([helper.make_node("Cast", ["x"], ["t"], to=STRING)], [("x", FLOAT, ["N"])], [("t", STRING, ["N"])])


def zeros(count: int) -> onnx.ModelProto:
    """y = x + 0, float32 [1] + [count]: a small file that wants four times `count` bytes."""
    nodes = [helper.make_node("ConstantOfShape", ["n"], ["c"]), helper.make_node("Add", ["c", "x"], ["y"])]
    return model(nodes, [("x", FLOAT, [1])], [("y", FLOAT, ["L"])], [("n", np.array([count]))])


def same(kind: int, shape=("N",)) -> onnx.ModelProto:
    """y = x, of any type and shape."""
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    return model(nodes, [("x", kind, list(shape))], [("y", kind, list(shape))])


def shapeless() -> onnx.ModelProto:
    """y = x, float32: the model does not say how many dimensions it has."""
    return model([helper.make_node("Identity", ["x"], ["y"])], [("x", FLOAT, None)], [("y", FLOAT, None)])


def weighted() -> onnx.ModelProto:
    """y = x * w, float32 [N, 2], where w = [3, 4] unless something else is given for it."""
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    inputs = [("x", FLOAT, ["N", 2]), ("w", FLOAT, [2])]
    return model(nodes, inputs, [("y", FLOAT, ["N", 2])], [("w", np.array([3, 4], np.float32))])


def voting() -> onnx.ModelProto:
    """y = x + x, float32 [1, 2], and `votes`, a sequence of maps from 10 and 20 to its numbers, before it."""
    made = model([helper.make_node("Add", ["x", "x"], ["y"])], [("x", FLOAT, [1, 2])], [("y", FLOAT, [1, 2])])
    zip_map = helper.make_node("ZipMap", ["y"], ["votes"], domain="ai.onnx.ml", classlabels_int64s=[10, 20])
    made.graph.node.append(zip_map)
    votes = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
    made.graph.output.insert(0, helper.make_value_info("votes", helper.make_sequence_type_proto(votes)))
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return made

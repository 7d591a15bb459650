"""`batch`: models whose rows depend on each other are refused, by their graph or by being tried."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from guesthouse.inference.graph import TooLarge, read_graph
from guesthouse.inference.modelfile import ModelFault
from guesthouse.inference.rows import mixing
from guesthouse_abi.protobuf import Malformed
from tests.inference import tiny_models
from tests.inference.tiny_models import BOOL, FLOAT, INT64

N4 = [("x", FLOAT, ["N", 4])]
Y4 = [("y", FLOAT, ["N", 4])]


def one(
    kind: str, *inputs: str, constants=(), opset=17, shape=("N", 4), out=None, nodes=(), **attributes
) -> onnx.ModelProto:
    """y = one operator on x float32 `shape` and constants, after `nodes`."""
    node = helper.make_node(kind, list(inputs or ["x"]), ["y"], name="culprit", **attributes)
    y = [("y", FLOAT, list(out or shape))]
    return tiny_models.model([*nodes, node], [("x", FLOAT, list(shape))], y, constants, opset)


def chain(*nodes, constants=(), opset=17, x=N4, y=Y4) -> onnx.ModelProto:
    made = [helper.make_node(kind, inputs, outputs, **attributes) for kind, inputs, outputs, attributes in nodes]
    return tiny_models.model(made, x, y, constants, opset)


def branch(made: onnx.ModelProto, name: str) -> onnx.GraphProto:
    """The nodes of a model as a subgraph that gives `name`, and sees x."""
    graph = helper.make_graph(made.graph.node, name, [], [helper.make_tensor_value_info("y", FLOAT, ["N", 4])])
    graph.initializer.extend(made.graph.initializer)
    return graph


def chosen() -> onnx.ModelProto:
    """Mixes rows in one branch of two, which is taken where the number of rows is even: never for one row alone."""
    mixing = branch(one("ReduceSum", "x", "axes", constants=[("axes", np.array([0]))], keepdims=1), "sum")
    mixing.node.append(helper.make_node("Add", ["y", "x"], ["z"]))
    mixing.output[0].name = "z"
    plain = branch(one("Identity"), "plain")
    return chain(
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {"axis": 0}),
        ("Equal", ["n", "many"], ["c"], {}),
        ("If", ["c"], ["y"], {"then_branch": mixing, "else_branch": plain}),
        constants=[("zero", np.int64(0)), ("many", np.int64(7))],
    )


def conditional(limit: float) -> onnx.ModelProto:
    """y = 0 for all rows where one row has a number above `limit`: what is tried has none."""
    nothing = branch(chain(("Mul", ["x", "nil"], ["y"], {}), constants=[("nil", np.float32(0))]), "nothing")
    return chain(
        ("ReduceMax", ["x"], ["m"], {"keepdims": 0}),
        ("Greater", ["m", "limit"], ["c"], {}),
        ("If", ["c"], ["y"], {"then_branch": nothing, "else_branch": branch(one("Identity"), "plain")}),
        constants=[("limit", np.float32(limit))],
    )


def calling(nodes, constants=(), **attributes) -> onnx.ModelProto:
    """y = own.F(x), a function of the model's own."""
    imports = [helper.make_opsetid("", 17)]
    made = chain(("F", ["x"], ["y"], {"domain": "own", "name": "call", **attributes}), constants=constants)
    made.functions.append(helper.make_function("own", "F", ["a"], ["b"], nodes, imports, list(attributes)))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


def by_reference() -> onnx.ModelProto:
    """A function that normalises along the axis that its call names."""
    node = helper.make_node("Softmax", ["a"], ["b"], name="inner")
    node.attribute.append(onnx.AttributeProto(name="axis", ref_attr_name="along", type=onnx.AttributeProto.INT))
    return calling([node], along=0)


def body_of_scan(*states: str) -> onnx.GraphProto:
    infos = [helper.make_tensor_value_info(name, FLOAT, [4]) for name in (*states, "row")]
    nodes = [helper.make_node("Identity", ["row"], ["out"])]
    outs = [helper.make_tensor_value_info("out", FLOAT, [4])]
    if states:
        nodes = [helper.make_node("Add", ["s", "row"], ["t"]), helper.make_node("Identity", ["t"], ["out"])]
        outs.insert(0, helper.make_tensor_value_info("t", FLOAT, [4]))
    return helper.make_graph(nodes, "body", infos, outs)


def loop_with_sum() -> onnx.ModelProto:
    """y = x and twice the sum of all rows, added in a loop of two rounds."""
    infos = [
        helper.make_tensor_value_info("i", INT64, []),
        helper.make_tensor_value_info("go", BOOL, []),
        helper.make_tensor_value_info("a", FLOAT, ["N", 4]),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["total"], name="inside", keepdims=1),
        helper.make_node("Add", ["a", "total"], ["b"]),
        helper.make_node("Identity", ["go"], ["on"]),
    ]
    outs = [helper.make_tensor_value_info("on", BOOL, []), helper.make_tensor_value_info("b", FLOAT, ["N", 4])]
    body = helper.make_graph(nodes, "body", infos, outs)
    constants = [("axes", np.array([0])), ("two", np.int64(2))]
    return chain(("Loop", ["two", "", "x"], ["y"], {"body": body}), constants=constants)


def recurrent(kind: str, gates: int, batch_first: bool) -> onnx.ModelProto:
    """x [first, second, 4] through one layer; with `batch_first` transposed around it, as PyTorch exports it."""
    weights = [("w", np.ones((1, 4 * gates, 4), np.float32)), ("r", np.ones((1, 4 * gates, 4), np.float32))]
    x = [("x", FLOAT, ["N", 3, 4])]
    y = [("y", FLOAT, ["N", 3, 4])]
    layer = (kind, ["t" if batch_first else "x", "w", "r"], ["h"], {"hidden_size": 4, "name": "layer"})
    squeezed: tuple[object, ...] = ("Squeeze", ["h", "one"], ["s"], {})
    constants = [*weights, ("one", np.array([1]))]
    if not batch_first:
        return chain(layer, ("Squeeze", ["h", "one"], ["y"], {}), constants=constants, x=x, y=y)
    there, back = (("Transpose", [a], [b], {"perm": [1, 0, 2]}) for a, b in (("x", "t"), ("s", "y")))
    return chain(there, layer, squeezed, back, constants=constants, x=x, y=y)


ZERO = [("axes", np.array([0]))]
SIDE = {"x": [("x", FLOAT, ["N", 4])], "y": [("y", FLOAT, ["N", 1])]}
NORM = [(name, np.ones(4, np.float32)) for name in "smvb"]

MIXED = {
    "running sum": (one("CumSum", "x", "a", constants=[("a", np.int64(0))]), "it adds up along the rows"),
    "running sum, from the end": (
        one("CumSum", "x", "a", constants=[("a", np.int64(-2))]),
        "it adds up along the rows",
    ),
    "running sum along an axis that is not constant": (
        chain(
            ("Shape", ["x"], ["s"], {}),
            ("ReduceMin", ["s"], ["n"], {"keepdims": 0}),
            ("Sub", ["n", "n"], ["zero"], {}),
            ("CumSum", ["x", "zero"], ["y"], {"name": "culprit"}),
        ),
        "is an input that is not constant",
    ),
    "dynamic quantisation": (
        chain(
            ("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], {"name": "culprit"}),
            ("DequantizeLinear", ["q", "s", "z"], ["y"], {}),
        ),
        "it takes one scale for all rows",
    ),
    "normalisation in training": (
        chain(
            ("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "p", "q"], {"training_mode": 1, "name": "culprit"}),
            constants=NORM,
        ),
        "it is in training mode",
    ),
    "softmax over rows": (one("Softmax", axis=0), "it divides by a sum over the rows"),
    "softmax of old over all": (one("Softmax", axis=0, opset=11), "it divides by a sum over the rows"),
    "a length over rows": (one("LpNormalization", axis=0), "it divides by a length over the rows"),
    "layer norm over all": (
        one("LayerNormalization", "x", "c", axis=0, constants=[("c", np.ones((1, 4), np.float32))]),
        "it scales by a mean over the rows",
    ),
    "mean and variance": (one("MeanVarianceNormalization", axes=[0]), "it scales by a mean over the rows"),
    "sum of rows": (
        one("Sub", "x", "m", nodes=[helper.make_node("ReduceSum", ["x", "axes"], ["m"], "sum")], constants=ZERO),
        "the node 'sum' (ReduceSum): it works over the rows",
    ),
    "the largest of all": (
        one("Sub", "x", "m", nodes=[helper.make_node("ReduceMax", ["x"], ["m"], "most", keepdims=0)]),
        "the node 'most' (ReduceMax): it works over all that there is",
    ),
    "the best row": (
        chain(
            ("ArgMax", ["x"], ["i"], {"axis": 0, "keepdims": 0, "name": "culprit"}),
            ("Cast", ["i"], ["f"], {"to": FLOAT}),
            ("Add", ["x", "f"], ["y"], {}),
        ),
        "it chooses among the rows",
    ),
    "sorted rows": (
        chain(
            ("Shape", ["x"], ["s"], {}),
            ("Slice", ["s", "nil", "one", "nil"], ["k"], {}),
            ("TopK", ["x", "k"], ["y", "i"], {"axis": 0, "name": "culprit"}),
            constants=[("nil", np.array([0])), ("one", np.array([1]))],
        ),
        "it chooses among the rows",
    ),
    "the first row": (
        one("Sub", "x", "f", nodes=[helper.make_node("Gather", ["x", "axes"], ["f"], "first")], constants=ZERO),
        "the node 'first' (Gather): it takes rows by their places",
    ),
    "the last row": (
        one(
            "Sub",
            "x",
            "l",
            nodes=[helper.make_node("Slice", ["x", "f", "t", "axes"], ["l"], "last")],
            constants=[*ZERO, ("f", np.array([-1])), ("t", np.array([2**31]))],
        ),
        "the node 'last' (Slice): it takes rows by their places",
    ),
    "rows by rows": (
        chain(
            ("Transpose", ["x"], ["t"], {}),
            ("MatMul", ["x", "t"], ["p"], {"name": "culprit"}),
            ("MatMul", ["p", "x"], ["y"], {}),
        ),
        "it joins every row with every other",
    ),
    "columns by rows": (
        one("Gemm", "x", "g", nodes=[helper.make_node("Gemm", ["x", "x"], ["g"], "inner", transA=1)]),
        "the node 'inner' (Gemm): it adds up over the rows",
    ),
    "einsum": (one("Einsum", "x", "x", "x", equation="ni,mi,mj->nj"), "it adds up over the rows"),
    "rows along columns": (
        chain(
            ("Transpose", ["x"], ["t"], {}),
            ("Softmax", ["t"], ["u"], {"name": "culprit"}),
            ("Transpose", ["u"], ["y"], {}),
        ),
        "it divides by a sum over the rows",
    ),
    "scan with a state": (
        chain(
            ("Scan", ["nil", "x"], ["last", "y"], {"body": body_of_scan("s"), "num_scan_inputs": 1, "name": "culprit"}),
            constants=[("nil", np.zeros(4, np.float32))],
        ),
        "it carries a state from row to row",
    ),
    "in a loop": (loop_with_sum(), "the node 'inside' (ReduceSum): it works over the rows"),
    "in a branch that is rarely taken": (chosen(), "(ReduceSum): it works over the rows"),
    "a condition that is rarely true": (conditional(1e30), "(ReduceMax): it works over all that there is"),
    "in a function": (
        calling([helper.make_node("Softmax", ["a"], ["b"], "inner", axis=0)]),
        "the node 'inner' (Softmax)",
    ),
    "in a function, along an axis that its call names": (by_reference(), "the node 'inner' (Softmax)"),
    "RNN over time": (recurrent("RNN", 1, False), "its first dimension is time"),
    "LSTM over time": (recurrent("LSTM", 4, False), "its first dimension is time"),
    "GRU over time": (recurrent("GRU", 3, False), "its first dimension is time"),
    "turned round": (
        chain(
            ("Shape", ["x"], ["s"], {}),
            ("Slice", ["s", "nil", "one", "nil"], ["n"], {}),
            ("Expand", ["n", "four"], ["l"], {}),
            ("ReverseSequence", ["x", "l"], ["y"], {"batch_axis": 1, "time_axis": 0, "name": "culprit"}),
            constants=[("nil", np.array([0])), ("one", np.array([1])), ("four", np.array([4]))],
        ),
        "it turns the order of the rows",
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_refuses_to_batch_what_mixes_rows_and_names_the_node(load, name):
    made, why = MIXED[name]
    with pytest.raises(ModelFault) as raised:
        load(made, batch=(8, 0.01))
    said = str(raised.value)
    assert said.startswith(
        "`batch` does not fit it: its output 'y' depends on the other rows of a batch, which may be "
    )
    assert re.search(r"another guest's, for the node '[a-z]+' \(\w+\): .*; take `batch` out$", said)
    assert why in said
    assert load(made).name == "tiny"  # it is served one by one


#: What the graph tells is hidden here, so that runs alone must notice. Those are left out that nobody can notice so.
@pytest.mark.parametrize("name", [name for name in MIXED if "rarely" not in name])
def test_trying_a_model_notices_mixed_rows_too(load, monkeypatch, name):
    monkeypatch.setattr("guesthouse.inference.model.mixing", lambda _graph: {})
    with pytest.raises(ModelFault, match=r"`batch` does not fit it: .*; take `batch` out"):
        load(MIXED[name][0], batch=(8, 0.01))


def slightly() -> onnx.ModelProto:
    """y = x + a millionth of the mean of all rows, by reshaping, which the graph does not tell."""
    return chain(
        ("Reshape", ["x", "flat"], ["f"], {}),
        ("ReduceMean", ["f"], ["m"], {"axes": [1], "keepdims": 1}),
        ("Mul", ["m", "little"], ["l"], {}),
        ("Add", ["x", "l"], ["y"], {}),
        constants=[("flat", np.array([1, -1])), ("little", np.float32(1e-6))],
    )


def test_notices_the_slightest_trace_of_another_row(load):
    with pytest.raises(ModelFault, match="a row of its output 'y' depends on the other rows of a batch, which may be"):
        load(slightly(), batch=(2, 0.01))


def test_refuses_what_depends_on_the_number_of_rows(load):
    made = chain(
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {}),
        ("Cast", ["n"], ["f"], {"to": FLOAT}),
        ("Add", ["x", "f"], ["y"], {}),
        constants=[("zero", np.int64(0))],
    )
    with pytest.raises(ModelFault, match="a row of its output 'y' depends on the other rows"):
        load(made, batch=(4, 0.01))


def test_refuses_what_fits_two_rows_and_not_the_whole_batch(load):
    """Rows in a table for seven: `batch` asks for eight."""
    made = chain(
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {}),
        ("Gather", ["t", "n"], ["f"], {}),
        ("Add", ["x", "f"], ["y"], {}),
        constants=[("zero", np.int64(0)), ("t", np.zeros(8, np.float32))],
    )
    assert load(made, batch=(7, 0.01)).notes == []
    with pytest.raises(ModelFault, match=r"`batch` does not fit it: tried on 8 rows: .*out of data bounds"):
        load(made, batch=(8, 0.01))


def test_refuses_to_batch_what_draws_random_numbers(load):
    made = chain(("RandomNormalLike", ["x"], ["r"], {}), ("Add", ["x", "r"], ["y"], {}))
    with pytest.raises(ModelFault, match=re.escape("is another one each time for the same input (it draws random")):
        load(made, batch=(4, 0.01))


def test_refuses_rows_that_get_lost(load):
    made = one("Concat", "x", "x", axis=0, out=("M", 4))
    with pytest.raises(ModelFault, match="its output 'y' has 4 rows for 2 rows of its inputs"):
        load(made, batch=(4, 0.01))


W = [("w", np.ones((4, 4), np.float32))]
APART = {
    "doubling": tiny_models.doubling(),
    "whole numbers": tiny_models.table(),
    "a loop for each row": tiny_models.counting(),
    "softmax": one("Softmax"),
    "softmax of old": one("Softmax", opset=11),
    "running sum along a row": one("CumSum", "x", "a", constants=[("a", np.int64(1))]),
    "layer": one("Gemm", "x", "w", constants=W),
    "product": one("MatMul", "x", "w", constants=W),
    "mean of a row": one("Sub", "x", "m", nodes=[helper.make_node("ReduceMean", ["x"], ["m"], axes=[-1], keepdims=1)]),
    "normalisation": one("BatchNormalization", "x", *"sbmv", constants=NORM),
    "layer norm": one("LayerNormalization", "x", "s", constants=NORM[:1]),
    "scan row by row": chain(("Scan", ["x"], ["y"], {"body": body_of_scan(), "num_scan_inputs": 1})),
    "LSTM over rows, transposed": recurrent("LSTM", 4, True),
    "GRU over rows, transposed": recurrent("GRU", 3, True),
    "a function": calling([helper.make_node("Softmax", ["a"], ["b"], axis=1)]),
    "a column of each row": one(
        "Add",
        "x",
        "c",
        nodes=[helper.make_node("Gather", ["x", "axes"], ["c"], axis=1)],
        constants=ZERO,
    ),
    "a slice of all": one(
        "Slice", "x", "f", "t", "axes", constants=[*ZERO, ("f", np.array([0])), ("t", np.array([2**31]))]
    ),
    "attention within a row": chain(
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}),
        ("MatMul", ["x", "t"], ["s"], {}),
        ("Softmax", ["s"], ["p"], {}),
        ("MatMul", ["p", "x"], ["y"], {}),
        x=[("x", FLOAT, ["N", "L", 4])],
        y=[("y", FLOAT, ["N", "L", 4])],
    ),
    "the number of rows alone": chain(
        ("Shape", ["x"], ["s"], {}),
        ("Gather", ["s", "zero"], ["n"], {}),
        ("Cast", ["n"], ["f"], {"to": FLOAT}),
        ("Mul", ["f", "nil"], ["z"], {}),
        ("Add", ["x", "z"], ["y"], {}),
        constants=[("zero", np.int64(0)), ("nil", np.float32(0))],
    ),
    "switches": tiny_models.model(
        [helper.make_node("Not", ["x"], ["y"])], [("x", BOOL, ["N", 2])], [("y", BOOL, ["N", 2])]
    ),
    "half precision": tiny_models.model(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT16, ["N", 2])],
        [("y", TensorProto.FLOAT16, ["N", 2])],
    ),
}


@pytest.mark.parametrize("name", APART)
def test_batches_what_keeps_rows_apart(load, name):
    model = load(APART[name], batch=(8, 0.01))
    assert model.config.batch == (8, 0.01)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "visual_wake_words"])
def test_batches_the_trained_models(load, models, name):
    assert load(models / f"{name}.onnx", batch=(4, 0.01)).batchable


def test_a_model_is_found_the_same_at_every_load(load):
    faults = set()
    for _ in range(3):
        with pytest.raises(ModelFault) as raised:
            load(slightly(), batch=(5, 0.01))
        faults.add(str(raised.value))
    assert len(faults) == 1


# A graph is read from hostile bytes.


@pytest.mark.slow
def test_a_function_that_calls_itself_over_and_over_is_given_up(load):
    """Each calls the one before twice: 2^40 nodes in all."""
    made = chain(("F40", ["x"], ["y"], {"domain": "own"}))
    made.opset_import.append(helper.make_opsetid("own", 1))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for level in range(41):
        node = helper.make_node("Identity", ["a"], ["b"])
        if level:
            call = f"F{level - 1}"
            node = helper.make_node(call, ["a"], ["c"], domain="own")
            again = helper.make_node(call, ["c"], ["b"], domain="own")
        nodes = [node, again] if level else [node]
        made.functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], nodes, imports))
    with pytest.raises(TooLarge):
        mixing(read_graph(made.SerializeToString()))


def test_subgraphs_in_subgraphs_without_end_are_given_up():
    inside = b""
    for _ in range(40):
        for field in (6, 5, 1):  # a graph in an attribute, of a node, of a graph
            inside = bytes([field << 3 | 2, len(inside) & 0x7F | 0x80, len(inside) >> 7]) + inside
    model = bytes([7 << 3 | 2, len(inside) & 0x7F | 0x80, len(inside) >> 7]) + inside
    with pytest.raises(TooLarge):
        read_graph(model)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    try:
        mixing(read_graph(data))
    except (Malformed, TooLarge):
        pass


@given(st.sampled_from(sorted(MIXED)), st.integers(0, 5000), st.integers(0, 255))
def test_a_changed_model_is_read_or_refused(name, at, byte):
    data = bytearray(MIXED[name][0].SerializeToString())
    data[at % len(data)] = byte
    try:
        mixing(read_graph(bytes(data)))
    except (Malformed, TooLarge):
        pass


@given(st.sampled_from(sorted(MIXED) + sorted(APART)))
def test_reads_what_protobuf_reads(name):
    made = MIXED[name][0] if name in MIXED else APART[name]
    read = read_graph(made.SerializeToString()).graph
    assert [(node.kind, node.inputs, node.outputs) for node in read.nodes] == [
        (node.op_type, list(node.input), list(node.output)) for node in made.graph.node
    ]
    assert set(read.constants) == {tensor.name for tensor in made.graph.initializer}
    assert list(read.inputs) == [info.name for info in made.graph.input]
    assert read.outputs == [info.name for info in made.graph.output]

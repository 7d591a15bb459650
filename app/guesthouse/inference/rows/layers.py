"""Layers of a network: products of matrices, convolutions and pooling, recurrent layers, batch normalisation."""

from __future__ import annotations

import re

from guesthouse.inference.graph import Node
from guesthouse.inference.rows.pointwise import keeps_shape
from guesthouse.inference.rows.values import UNKNOWN, Rule, Value, first, input_at, mixed, number, unknown_if_rows


def matrix_product(left: int, right: int) -> Rule:
    """The rule of a product of matrices: the last two dimensions of the inputs with the indices `left` and `right`."""

    def rule(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
        a, b = input_at(inputs, left), input_at(inputs, right)
        others = [value for index, value in enumerate(inputs) if index not in (left, right)]
        if (
            "unknown" in (a.state, b.state)
            or unknown_if_rows(others).state != "none"
            or a.rank is None
            or b.rank is None
        ):
            return [unknown_if_rows(inputs)]
        if a.rank == 0 or b.rank == 0:
            return [UNKNOWN]
        rank = max(a.rank, b.rank) if min(a.rank, b.rank) > 1 else max(a.rank, b.rank) - 1
        why = "it adds up over the rows"
        if (a.state == "apart" and a.axis == a.rank - 1) or (b.state == "apart" and b.axis == max(b.rank - 2, 0)):
            return [mixed(node, why)]
        dimensions = set()
        if a.state == "apart":  # from the end, and 1 fewer where b has no columns
            dimensions.add(rank - (a.rank - a.axis) + (b.rank == 1))
        if b.state == "apart":
            last = b.axis == b.rank - 1
            dimensions.add(rank - 1 if last else rank - (b.rank - b.axis) + (a.rank == 1))
        if len(dimensions) > 1:
            return [mixed(node, "it joins every row with every other")]
        return [Value("apart", dimensions.pop(), rank)] if dimensions else [Value(rank=rank)]

    return rule


def gemm(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    a, b, c = first(inputs), input_at(inputs, 1), input_at(inputs, 2)
    if "unknown" in (a.state, b.state, c.state):
        return [UNKNOWN]
    inner_a = 0 if number(node, "transA", 0) else 1
    inner_b = 1 if number(node, "transB", 0) else 0
    if (a.state == "apart" and a.axis == inner_a) or (b.state == "apart" and b.axis == inner_b):
        return [mixed(node, "it adds up over the rows")]
    dimensions = {dimension for value, dimension in ((a, 0), (b, 1)) if value.state == "apart"}
    if c.state == "apart":
        dimensions.add(c.axis + 2 - (2 if c.rank is None else c.rank))
    if len(dimensions) > 1:
        return [mixed(node, "it joins every row with every other")]
    return [Value("apart", dimensions.pop(), 2)] if dimensions else [Value(rank=2)]


def einsum(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    equation = node.attributes["equation"].text.replace(" ", "") if "equation" in node.attributes else ""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow or not re.fullmatch(r"[A-Za-z,]*->[A-Za-z]*", equation) or len(terms) != len(inputs):
        return [unknown_if_rows(inputs)]
    letters = set()
    for term, value in zip(terms, inputs, strict=True):
        if value.state == "unknown" or (value.state == "apart" and value.axis >= len(term)):
            return [UNKNOWN]
        if value.state == "apart":
            letters.add(term[value.axis])
    if not letters:
        return [Value(rank=len(right))]
    if not letters <= set(right):
        return [mixed(node, "it adds up over the rows")]
    if len(letters) > 1:
        return [mixed(node, "it joins every row with every other")]
    return [Value("apart", right.index(letters.pop()), len(right))]


def convolution(opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    """The first dimension is the batch, the second the channels. The operator works along all others."""
    value = first(inputs)
    if value.state == "apart" and value.axis >= 2:
        return [mixed(node, "it works along the rows")]
    if value.state == "apart" and value.axis == 1:
        return [UNKNOWN]
    outputs = keeps_shape(opset, node, inputs)
    # The second output of MaxPool has indices into the whole input: they count the rows before.
    return [*outputs, unknown_if_rows(inputs)] if node.kind == "MaxPool" else outputs


def recurrent(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    # The inputs 4 to 6 may have rows: lengths [batch], and states [directions, batch, hidden].
    others = [value for index, value in enumerate(inputs[1:], 1) if value.state != "none" and index not in (4, 5, 6)]
    layout = number(node, "layout", 0)
    rows, time = (1, 0) if layout == 0 else (0, 1)
    if value.state == "apart" and value.axis == time:
        return [mixed(node, "it goes from row to row: its first dimension is time")]
    if value.state == "unknown" or others or (value.state == "apart" and value.axis != rows):
        return [unknown_if_rows(inputs)]
    for index, dimension in ((4, 0), (5, rows), (6, rows)):
        state = input_at(inputs, index)
        if state.state == "unknown" or (state.state == "apart" and state.axis != dimension):
            return [UNKNOWN]
    if value.state == "none" and unknown_if_rows(inputs).state == "none":
        return [Value(rank=4), Value(rank=3)]
    return [Value("apart", 2 if layout == 0 else 0, 4), Value("apart", rows, 3)]


def batch_norm(opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    trains = number(node, "training_mode", 0) if opset >= 14 else sum(map(bool, node.outputs)) > 1
    if trains and any(value.state != "none" for value in inputs):
        return [mixed(node, "it is in training mode, and scales by a mean over the rows")]
    return keeps_shape(opset, node, inputs)

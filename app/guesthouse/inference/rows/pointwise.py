"""Operators that work on each element by itself, and those that make values of their own."""

from __future__ import annotations

from dataclasses import replace

from guesthouse.inference.graph import Node
from guesthouse.inference.rows.values import UNKNOWN, Value, first, mixed, unknown_if_rows


def keeps_shape(_opset: int, _node: Node, inputs: list[Value]) -> list[Value]:
    """The first input keeps its shape. The others must have no rows."""
    if any(value.state != "none" for value in inputs[1:]):
        return [UNKNOWN]
    return [replace(first(inputs), literal=None)]


def same(_opset: int, _node: Node, inputs: list[Value]) -> list[Value]:
    """The output is the first input. A literal stays known."""
    return [first(inputs)]


def elementwise(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    """Shapes are aligned at their last dimensions (broadcast)."""
    ranks = [value.rank for value in inputs if value.state != "none" or value.rank is not None]
    known = None if any(value.rank is None for value in inputs) else max((rank or 0 for rank in ranks), default=0)
    dimensions = set()
    for value in inputs:
        if value.state == "unknown":
            return [UNKNOWN]
        if value.state == "apart":
            if value.rank is None or known is None:
                # The axis is counted from the front. With several inputs, dimensions may be put before it.
                if len(inputs) > 1:
                    return [UNKNOWN]
                return [value]
            dimensions.add(value.axis + known - value.rank)
    if not dimensions:
        return [Value(rank=known)]
    if len(dimensions) > 1:
        return [mixed(node, "it joins every row with every other")]
    return [Value("apart", dimensions.pop(), known)]


def size_from_values(_opset: int, _node: Node, inputs: list[Value]) -> list[Value]:
    """The shape of the output depends on the numbers in the input."""
    found = unknown_if_rows(inputs)
    return [replace(found, shape_depends=found.state != "none")]


def constant(_opset: int, node: Node, _inputs: list[Value]) -> list[Value]:
    for name, attribute in node.attributes.items():
        if name == "value" and attribute.tensor is not None:
            return [Value(rank=attribute.tensor.rank, literal=attribute.tensor.literal)]
        if name == "value_int" and attribute.number is not None:
            return [Value(rank=0, literal=(attribute.number,))]
        if name == "value_ints":
            return [Value(rank=1, literal=attribute.numbers)]
        if name in ("value_float", "value_string"):
            return [Value(rank=0)]
        if name in ("value_floats", "value_strings"):
            return [Value(rank=1)]
    return [Value()]

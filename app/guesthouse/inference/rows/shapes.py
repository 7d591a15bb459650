"""Operators that give the same elements in another shape, or put more beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from guesthouse.inference.graph import Node
from guesthouse.inference.rows.values import (
    UNKNOWN,
    Value,
    first,
    from_front,
    input_at,
    number,
    numbers,
    reduced,
    unknown_if_rows,
    with_dimension,
)


def transpose(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value, order = first(inputs), numbers(node, "perm")
    if not order and value.rank is not None:
        order = tuple(reversed(range(value.rank)))
    if value.state == "apart" and value.axis not in order:
        return [UNKNOWN]
    axis = order.index(value.axis) if value.state == "apart" else 0
    return [replace(value, axis=axis, literal=None)]


def reshape(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value, shape = first(inputs), input_at(inputs, 1).literal
    if input_at(inputs, 1).state != "none":
        return [replace(UNKNOWN, shape_depends=True)]
    if value.state == "none":
        return [Value(rank=None if shape is None else len(shape), literal=value.literal)]
    if value.state == "apart" and value.axis == 0 and shape and shape[0] == 0 and not number(node, "allowzero", 0):
        return [Value("apart", 0, len(shape))]
    return [UNKNOWN]


def flatten(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    axis = from_front(number(node, "axis", 1), value.rank)
    if value.state == "none":
        return [Value(rank=2)]
    whole = value.state == "apart" and value.axis == 0 and axis is not None and axis == 1
    # Where other dimensions join the first one, rows stay apart, but one index no longer has one row.
    return [Value("apart", 0, 2) if whole else UNKNOWN]


def _axes_of(node: Node, inputs: Sequence[Value]) -> tuple[int, ...] | None:
    """The axes of Squeeze and Unsqueeze, from an attribute or an input. () where none are given; None: no constant."""
    if "axes" in node.attributes:
        return numbers(node, "axes")
    return input_at(inputs, 1).literal if len(node.inputs) > 1 and node.inputs[1] else ()


def squeeze(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value, axes = first(inputs), _axes_of(node, inputs)
    if not axes:
        return [replace(value, rank=None) if value.state == "none" else UNKNOWN]
    dimensions = [from_front(axis, value.rank) for axis in axes]
    if value.state == "apart" and (None in dimensions or value.axis in dimensions):
        return [UNKNOWN]
    return [replace(reduced(value, axes, 0), literal=value.literal)]


def unsqueeze(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value, axes = first(inputs), _axes_of(node, inputs)
    if not axes:
        return [replace(value, rank=None) if value.state == "none" else UNKNOWN]
    rank = None if value.rank is None else value.rank + len(axes)
    dimensions = {from_front(axis, rank) for axis in axes}
    if value.state == "apart" and None in dimensions:
        return [UNKNOWN]
    axis = value.axis
    for dimension in sorted(dimension for dimension in dimensions if dimension is not None):
        axis += dimension <= axis
    return [replace(value, axis=axis, rank=rank)]


def concat(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    axis = number(node, "axis", 0)
    rank = next((value.rank for value in inputs if value.rank is not None), None)
    if unknown_if_rows(inputs).state == "none":
        literals = [value.literal for value in inputs]
        whole = tuple(number for literal in literals for number in literal or ())
        return [Value(rank=rank, literal=None if None in literals or len(whole) > 64 else whole)]
    axes = {value.axis for value in inputs if value.state == "apart"}
    dimension = from_front(axis, rank)
    if any(value.state == "unknown" for value in inputs) or len(axes) > 1 or dimension is None or dimension in axes:
        return [UNKNOWN]
    return [Value("apart", axes.pop(), rank)]


def expand(_opset: int, _node: Node, inputs: list[Value]) -> list[Value]:
    value, shape = first(inputs), input_at(inputs, 1)
    if shape.state != "none":
        return [replace(UNKNOWN, shape_depends=True)]
    if shape.literal is None or value.rank is None or value.state != "apart":
        return [unknown_if_rows(inputs)]
    rank = max(value.rank, len(shape.literal))
    return [replace(value, axis=value.axis + rank - value.rank, rank=rank)]


def pad(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    pads = numbers(node, "pads") or input_at(inputs, 1).literal
    if value.state != "apart" or unknown_if_rows(inputs[1:]).state != "none" or len(inputs) > 3:
        return [unknown_if_rows(inputs)]
    half = len(pads or ()) // 2
    if not pads or value.axis >= half or pads[value.axis] or pads[half + value.axis]:
        return [UNKNOWN]
    return [value]


def one_hot(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    if unknown_if_rows(inputs[1:]).state != "none":
        return [UNKNOWN]
    return [with_dimension(value, number(node, "axis", -1))]

"""Operators that take a part of a value, or its parts in another order."""

from __future__ import annotations

from dataclasses import replace

from guesthouse.inference.graph import Node
from guesthouse.inference.rows.reductions import along
from guesthouse.inference.rows.values import (
    UNKNOWN,
    Value,
    first,
    from_front,
    input_at,
    mixed,
    number,
    numbers,
    unknown_if_rows,
)

_TO_THE_END = 2**31 - 1
_TAKES = "it takes rows by their places"


def gather(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    data, indices = first(inputs), input_at(inputs, 1)
    axis = from_front(number(node, "axis", 0), data.rank)
    rank = None if data.rank is None or indices.rank is None else data.rank + indices.rank - 1
    if data.state == "none":
        if indices.state == "apart" and axis is not None:
            return [Value("apart", axis + indices.axis, rank)]
        literal = None
        if data.literal is not None and indices.literal is not None and data.rank == 1:
            count = len(data.literal)
            if all(-count <= index < count for index in indices.literal):
                literal = tuple(data.literal[index] for index in indices.literal)
        return [unknown_if_rows(inputs) if indices.state != "none" else Value(rank=rank, literal=literal)]
    if data.state == "unknown" or indices.state == "unknown" or axis is None:
        return [UNKNOWN]
    if axis == data.axis:
        if indices.state == "none" and indices.literal is None:
            return [UNKNOWN]  # the indices may name all rows, in their order
        return [mixed(node, _TAKES)]
    if indices.state != "none":
        return [mixed(node, "it joins every row with every other")]
    if data.axis < axis:
        return [replace(data, rank=rank)]
    return [UNKNOWN if indices.rank is None else replace(data, axis=data.axis + indices.rank - 1, rank=rank)]


def gather_elements(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    data, indices = first(inputs), input_at(inputs, 1)
    axis = from_front(number(node, "axis", 0), data.rank)
    if data.state == indices.state == "apart" and data.axis == indices.axis and axis is not None:
        return [mixed(node, _TAKES) if axis == data.axis else indices]
    return [unknown_if_rows(inputs)]


def slice_(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    if value.state != "apart":
        return [
            replace(
                value, literal=None, shape_depends=value.shape_depends or unknown_if_rows(inputs[1:]).state != "none"
            )
        ]
    if unknown_if_rows(inputs[1:]).state != "none":
        return [replace(UNKNOWN, shape_depends=True)]
    if "starts" in node.attributes:
        starts: tuple[int, ...] | None = numbers(node, "starts")
        ends: tuple[int, ...] | None = numbers(node, "ends")
        axes: tuple[int, ...] | None = numbers(node, "axes") or tuple(range(len(starts or ())))
        steps: tuple[int, ...] | None = None
    else:
        starts, ends, steps = (input_at(inputs, index).literal for index in (1, 2, 4))
        axes = (
            input_at(inputs, 3).literal if len(node.inputs) > 3 and node.inputs[3] else tuple(range(len(starts or ())))
        )
        if len(node.inputs) <= 4 or not node.inputs[4]:
            steps = None
        elif steps is None:
            return [UNKNOWN]
    if axes is None or (starts is None and len(node.inputs) <= 3):
        return [UNKNOWN]
    dimensions = [from_front(axis, value.rank) for axis in axes]
    if value.axis not in dimensions:
        return [UNKNOWN if None in dimensions else value]
    at = dimensions.index(value.axis)
    if starts is None or ends is None or at >= min(len(starts), len(ends)):
        return [UNKNOWN]
    step = 1 if steps is None or at >= len(steps) else steps[at]
    whole = starts[at] == 0 and ends[at] >= _TO_THE_END and step == 1
    return [value if whole else mixed(node, _TAKES)]


def split(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    return [along(value, node, [number(node, "axis", 0)], _TAKES) or replace(value, literal=None)]


def reverse(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    return [along(value, node, [number(node, "time_axis", 0)], "it turns the order of the rows") or value]

"""Operators that work along dimensions: sums, means, normalisation, and what chooses or compares along them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from guesthouse.inference.graph import Node
from guesthouse.inference.rows.values import (
    UNKNOWN,
    Rule,
    Value,
    first,
    from_front,
    input_at,
    mixed,
    number,
    numbers,
    reduced,
)


def along(value: Value, node: Node, axes: Sequence[int] | None, why: str) -> Value | None:
    """What an operator that works along `axes` makes of the rows. Returns None where they stay apart.

    `axes` is None where an input names them that is no constant.
    """
    if value.state == "none":
        return None
    if axes is None:
        return mixed(node, "along which dimension it works is an input that is not constant, so it may be the rows'")
    if value.state == "unknown":
        return UNKNOWN
    dimensions = [from_front(axis, value.rank) for axis in axes]
    if value.axis in dimensions:
        return mixed(node, why)
    return UNKNOWN if None in dimensions else None


def axis_rule(name: str, default: int, why: str) -> Rule:
    """The rule of an operator that works along one axis, its attribute `name`, and keeps the shape."""

    def rule(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
        value = first(inputs)
        return [along(value, node, [number(node, name, default)], why) or replace(value, literal=None)]

    return rule


def softmax(opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    why = "it divides by a sum over the rows"
    if opset >= 13:
        return [along(value, node, [number(node, "axis", -1)], why) or value]
    return [_from_axis(value, node, number(node, "axis", 1), why)]


def _from_axis(value: Value, node: Node, axis: int, why: str) -> Value:
    """What an operator gives that works along `axis` and every dimension after it."""
    if value.state != "apart":
        return replace(value, literal=None)
    dimension = from_front(axis, value.rank)
    if dimension is None:
        return UNKNOWN
    return mixed(node, why) if dimension <= value.axis else value


def layer_norm(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    if any(value.state != "none" for value in inputs[1:]):
        return [UNKNOWN]
    return [_from_axis(first(inputs), node, number(node, "axis", -1), "it scales by a mean over the rows")]


def mean_variance(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    axes = numbers(node, "axes") or (0, 2, 3)
    return [along(first(inputs), node, axes, "it scales by a mean over the rows") or first(inputs)]


def cumulative(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    return [
        along(value, node, input_at(inputs, 1).literal, "it adds up along the rows") or replace(value, literal=None)
    ]


def reduce(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    given = len(node.inputs) > 1 and node.inputs[1] != ""
    axes = input_at(inputs, 1).literal if given else numbers(node, "axes")
    keeps = number(node, "keepdims", 1)
    if axes == ():
        if number(node, "noop_with_empty_axes", 0):
            return [value]
        if value.state != "none":
            return [mixed(node, "it works over all that there is, the rows too")]
        return [Value(rank=value.rank if keeps else 0)]
    found = along(value, node, axes, "it works over the rows")
    if found is not None:
        return [found]
    return [reduced(value, axes, keeps)]


def arg(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value, axes = first(inputs), [number(node, "axis", 0)]
    found = along(value, node, axes, "it chooses among the rows")
    return [found or reduced(value, axes, number(node, "keepdims", 1))]


def top_k(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    if input_at(inputs, 1).state != "none":
        return [mixed(node, "how many it chooses is one number for all rows")]
    return axis_rule("axis", -1, "it chooses among the rows")(_opset, node, inputs[:1])


def unique(_opset: int, node: Node, inputs: list[Value]) -> list[Value]:
    value = first(inputs)
    if "axis" not in node.attributes:
        return [mixed(node, "it compares all rows")]
    found = along(value, node, [number(node, "axis", 0)], "it compares the rows")
    return [replace(found or UNKNOWN, shape_depends=True)]

"""What is known of a value in a model's graph: where its rows are. What operators do to rows is in the files beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from guesthouse.inference.graph import Node


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a value. `state` says whether it has rows of the batch, and how.

    "none": it has no rows. "apart": each index of the dimension `axis` has one row. "mixed": a number in it depends on
    several rows, and `why` says which node mixed them. "unknown": it cannot be told.

    `rank` is the number of dimensions, where it is known; `literal` the numbers of a small constant. `shape_depends`
    says that the value's shape depends on what is in the rows, not only on how many rows there are.
    """

    state: Literal["none", "apart", "unknown", "mixed"] = "none"
    axis: int = 0
    rank: int | None = None
    literal: tuple[int, ...] | None = None
    shape_depends: bool = False
    why: str = ""


UNKNOWN = Value("unknown")

Rule: TypeAlias = Callable[[int, Node, list[Value]], list[Value]]
"""What an operator does to rows: (the version of ONNX's operators, the node, its inputs) -> its outputs.

The last output that a rule gives stands for all outputs that follow it."""


def mixed(node: Node, why: str) -> Value:
    """A value whose rows the node mixes, and why it mixes them."""
    return Value("mixed", why=f"the node {name_of(node)}: {why}")


def decided_by_rows(node: Node, inputs: Sequence[Value], why: str) -> Value | None:
    """The outcome of a decision for the whole batch (a condition, a count): mixed where rows decide it, else None."""
    with_rows = [value for value in inputs if value.state != "none"]
    return next((value for value in with_rows if value.state == "mixed"), mixed(node, why) if with_rows else None)


def name_of(node: Node) -> str:
    """The name of a node, and its operator, as an error text shows them."""
    name = node.name or (node.outputs[0] if node.outputs else "")
    return f"{name[:64]!a} ({ascii(node.kind[:64])[1:-1]})"


def number(node: Node, name: str, default: int) -> int:
    """An attribute that is a whole number."""
    number = node.attributes[name].number if name in node.attributes else None
    return default if number is None else number


def numbers(node: Node, name: str) -> tuple[int, ...]:
    """An attribute that is a list of whole numbers; empty where the node does not have it."""
    return node.attributes[name].numbers if name in node.attributes else ()


def from_front(axis: int, rank: int | None) -> int | None:
    """The axis as a number from 0 on. None where a negative axis counts from the end and the rank is unknown."""
    return axis if axis >= 0 else None if rank is None else axis + rank


def either(one: Value, other: Value) -> Value:
    """What is known of a value that is one of these two, by a condition."""
    for value in (one, other):
        if value.state == "mixed":
            return value
    shape_depends = one.shape_depends or other.shape_depends
    if "unknown" in (one.state, other.state):
        return replace(UNKNOWN, shape_depends=shape_depends)
    rank = one.rank if one.rank == other.rank else None
    if one.state == other.state == "none":
        return Value(
            rank=rank, literal=one.literal if one.literal == other.literal else None, shape_depends=shape_depends
        )
    if one.state == other.state:
        return (
            Value("apart", one.axis, rank, shape_depends=shape_depends)
            if one.axis == other.axis
            else replace(UNKNOWN, shape_depends=shape_depends)
        )
    apart = one if one.state == "apart" else other
    return replace(apart, rank=rank, shape_depends=shape_depends)


def unknown_if_rows(inputs: Sequence[Value]) -> Value:
    """Unknown where an input has rows; else a value without rows."""
    return UNKNOWN if any(value.state != "none" for value in inputs) else Value()


def with_dimension(value: Value, at: int) -> Value:
    """The value with a new dimension at the index `at`."""
    rank = None if value.rank is None else value.rank + 1
    dimension = from_front(at, rank)
    if value.state != "apart":
        return replace(value, rank=rank, literal=None)
    return UNKNOWN if dimension is None else replace(value, axis=value.axis + (dimension <= value.axis), rank=rank)


def without_dimension(value: Value, at: int | None) -> Value:
    """The value without the dimension `at`, which is not the dimension of the rows."""
    rank = None if value.rank is None else value.rank - 1
    if value.state != "apart":
        return replace(value, rank=rank, literal=None)
    return UNKNOWN if at is None else replace(value, axis=value.axis - (at < value.axis), rank=rank)


def reduced(value: Value, axes: Sequence[int] | None, keeps: int) -> Value:
    """The value after a reduction along `axes`, none of which has the rows. None: it is not known which axes."""
    if keeps:
        return replace(value, literal=None)
    if axes is None:
        return replace(value, rank=None, literal=None)
    rank = None if value.rank is None else value.rank - len(axes)
    dimensions = [from_front(axis, value.rank) for axis in axes]
    before = sum(1 for dimension in dimensions if dimension is not None and dimension < value.axis)
    return replace(value, axis=value.axis - before, rank=rank, literal=None)


def first(inputs: Sequence[Value]) -> Value:
    """The first input."""
    return inputs[0] if inputs else Value()


def input_at(inputs: Sequence[Value], index: int) -> Value:
    """An input by its index; one that is left out has no rows."""
    return inputs[index] if index < len(inputs) else Value()

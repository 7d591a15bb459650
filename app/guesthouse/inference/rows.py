"""Whether the rows of a batch stay apart in a model's graph, as far as the graph alone tells it.

Every value of the graph is followed from the inputs, whose first dimension is the batch: along which dimension it has
the rows, whether it has none, whether they are mixed, or that it cannot be told. What mixes them and reaches an output
is named. What cannot be told here is left to runs of the model (`trials`).
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from guesthouse.inference.graph import Attribute, Graph, ModelGraph, Node, TooLarge

_MOST_STEPS = 2_000_000  # nodes looked at, those of functions and loops each time
_DEEPEST = 64  # functions and subgraphs in each other
_ROUNDS = 4  # through a loop's body, and one more a state: until the states do not change any more
_TO_THE_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a value: "apart" has one row of the batch at each place of the dimension `axis`.

    `rank` is the number of dimensions where it is known. `literal` are the numbers of a small constant. `sized` says
    that its shape depends on what the rows are, not only on how many. `why` says of a "mixed" one where that happened.
    """

    state: Literal["none", "apart", "unknown", "mixed"] = "none"
    axis: int = 0
    rank: int | None = None
    literal: tuple[int, ...] | None = None
    sized: bool = False
    why: str = ""


UNKNOWN = Value("unknown")
_Names = MutableMapping[str, Value]


def mixing(model: ModelGraph) -> dict[str, str]:
    """For each output whose rows are mixed for certain: which node mixes them, and why. Raises `TooLarge`."""
    found = _Walk(model).outputs()
    return {name: value.why for name, value in found.items() if value.state == "mixed"}


class _Walk:
    """One walk through a model."""

    def __init__(self, model: ModelGraph) -> None:
        self.opset = model.opset
        self._model = model
        self._steps = 0
        self._depth = 0

    def outputs(self) -> dict[str, Value]:
        graph = self._model.graph
        names: _Names = {}
        for name, rank in graph.inputs.items():
            if name not in graph.constants:
                names[name] = Value("apart", 0, rank)
        self._graph(graph, names)
        found = {}
        for name in graph.outputs:
            value = names.get(name, UNKNOWN)
            if value.state == "apart" and value.axis:
                value = replace(
                    value, state="mixed", why=f"the rows are along its dimension {value.axis}, not the first"
                )
            found[name] = value
        return found

    def _graph(self, graph: Graph, names: _Names) -> list[Value]:
        """The outputs of a graph whose inputs, and all that it sees from outside, are in `names`."""
        if self._depth >= _DEEPEST:
            raise TooLarge
        self._depth += 1
        for name, tensor in graph.constants.items():
            names[name] = Value(rank=tensor.rank, literal=tensor.literal)
        for node in graph.nodes:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise TooLarge
            inputs = [names.get(name, UNKNOWN) if name else Value() for name in node.inputs]
            outputs = self._node(node, inputs, names)
            for index, name in enumerate(node.outputs):
                names[name] = outputs[min(index, len(outputs) - 1)]
        self._depth -= 1
        return [names.get(name, UNKNOWN) for name in graph.outputs]

    def _node(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        """The outputs of one node: the last of them stands for all that follow."""
        own = (node.domain, node.kind, node.overload)
        if own in self._model.functions:
            return self._function(own, node, inputs)
        if node.kind in _CONTROL and node.domain == "":
            return _CONTROL[node.kind](self, node, inputs, names)
        mixed = next((value for value in inputs if value.state == "mixed"), None)
        sized = any(value.sized for value in inputs)
        if node.kind in ("Shape", "Size") and node.domain == "" and not sized:
            return [Value(rank=1 if node.kind == "Shape" else 0)]
        if mixed is not None:
            return [mixed]
        with_rows = any(value.state != "none" for value in inputs)
        if with_rows and node.kind in _ALL_ROWS and node.domain in _ALL_ROWS[node.kind]:
            return [_mixed(node, _ALL_ROWS[node.kind][node.domain])]
        rule = _RULES.get(node.kind) if node.domain == "" else None
        outputs = rule(self, node, inputs) if rule is not None else [UNKNOWN if with_rows else Value()]
        if not with_rows:  # numbers of the model's own, whatever it does with them
            outputs = [replace(output, state="none") for output in outputs]
        return [replace(output, sized=output.sized or sized) for output in outputs]

    def _function(self, key: tuple[str, str, str], node: Node, inputs: list[Value]) -> list[Value]:
        body = self._model.functions[key]
        given = {**self._model.defaults[key], **node.attributes}
        names: _Names = dict(zip(body.inputs, [*inputs, *[Value()] * len(body.inputs)], strict=False))
        outputs = self._graph(_filled(body, given), names)
        return outputs or [UNKNOWN]

    # Control flow: the subgraphs see the names around them.

    def _if(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        branches = [self._graph(graph, ChainMap({}, names)) for graph in _graphs(node, "then_branch", "else_branch")]
        if (decided := _decided(node, inputs[:1], "its condition is one for all rows")) is not None:
            return [decided]
        outputs = [_either(*values) for values in zip(*branches, strict=False)]
        return outputs or [UNKNOWN]

    def _loop(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        body = next(iter(_graphs(node, "body")), None)
        if body is None:
            return [UNKNOWN]
        if (
            decided := _decided(node, inputs[:2], "how often it is gone through is one number for all rows")
        ) is not None:
            return [decided]
        states = inputs[2:]
        fixed = [Value(rank=0), Value(rank=0)]
        results = self._until_settled(body, fixed, states, [], names, skip=1)
        if (decided := _decided(node, results[:1], "whether it goes on is one answer for all rows")) is not None:
            return [decided]
        count = len(states)
        return [*results[1 : 1 + count], *(_stacked(value, 0) for value in results[1 + count :])] or [UNKNOWN]

    def _scan(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        body = next(iter(_graphs(node, "body")), None)
        scanned = _number(node, "num_scan_inputs", 0)
        if body is None or self.opset < 9 or not 0 < scanned <= len(inputs):
            return [_joined(inputs)]
        states, inputs = inputs[: len(inputs) - scanned], inputs[len(inputs) - scanned :]
        axes = _numbers(node, "scan_input_axes") or (0,) * scanned
        slices = []
        for value, axis in zip(inputs, [*axes, *[0] * scanned], strict=False):
            at = _place(axis, value.rank)
            if value.state == "apart" and at == value.axis:
                if states:
                    return [_mixed(node, "it carries a state from row to row")]
                return [UNKNOWN]  # row by row
            slices.append(_without(value, at))
        results = self._until_settled(body, [], states, slices, names, skip=0)
        count = len(states)
        out_axes = [*_numbers(node, "scan_output_axes"), *[0] * len(results)]
        stacked = [_stacked(value, axis) for value, axis in zip(results[count:], out_axes, strict=False)]
        return [*results[:count], *stacked] or [UNKNOWN]

    def _until_settled(
        self, body: Graph, first: list[Value], states: list[Value], last: list[Value], names: _Names, skip: int
    ) -> list[Value]:
        """The outputs of a body that is gone through again and again, its states fed back; `skip` are before them."""
        for _ in range(_ROUNDS + min(len(states), 64)):
            bound = dict(zip(body.inputs, [*first, *states, *last], strict=False))
            results = self._graph(body, ChainMap(bound, names))
            after = [_either(*pair) for pair in zip(states, results[skip:], strict=False)]
            if after == states:
                return results
            states = after
        return [value if value.state == "mixed" else UNKNOWN for value in results]


# ---- what an operator does with rows ----

_Rule = Callable[[_Walk, Node, list[Value]], list[Value]]
_CONTROL: dict[str, Callable[[_Walk, Node, list[Value], _Names], list[Value]]] = {
    "If": _Walk._if,
    "Loop": _Walk._loop,
    "Scan": _Walk._scan,
}
_SCALES = "it takes one scale for all rows"
#: Whatever the shapes are, these look at all rows: operator -> domain -> why.
_ALL_ROWS: dict[str, dict[str, str]] = {
    "DynamicQuantizeLinear": {"": _SCALES},
    "DynamicQuantizeMatMul": {"com.microsoft": _SCALES},
    "DynamicQuantizeLSTM": {"com.microsoft": _SCALES},
}


def _mixed(node: Node, why: str) -> Value:
    return Value("mixed", why=f"the node {_called(node)}: {why}")


def _decided(node: Node, inputs: Sequence[Value], why: str) -> Value | None:
    """What comes of a decision that is one for the whole batch, where rows have a part in it."""
    part = [value for value in inputs if value.state != "none"]
    return next((value for value in part if value.state == "mixed"), _mixed(node, why) if part else None)


def _called(node: Node) -> str:
    name = node.name or (node.outputs[0] if node.outputs else "")
    return f"{name[:64]!a} ({ascii(node.kind[:64])[1:-1]})"


def _filled(body: Graph, given: dict[str, Attribute]) -> Graph:
    """A function's body with the attributes of its call in their places."""
    if not any(one.reference for node in body.nodes for one in node.attributes.values()):
        return body
    nodes = []
    for node in body.nodes:
        attributes = {
            name: given[one.reference] if one.reference else one
            for name, one in node.attributes.items()
            if not one.reference or one.reference in given
        }
        nodes.append(replace(node, attributes=attributes))
    return replace(body, nodes=nodes)


def _graphs(node: Node, *names: str) -> list[Graph]:
    found = [node.attributes[name].graph for name in names if name in node.attributes]
    return [graph for graph in found if graph is not None]


def _number(node: Node, name: str, default: int) -> int:
    number = node.attributes[name].number if name in node.attributes else None
    return default if number is None else number


def _numbers(node: Node, name: str) -> tuple[int, ...]:
    return node.attributes[name].numbers if name in node.attributes else ()


def _place(axis: int, rank: int | None) -> int | None:
    """An axis counted from the front; None where it counts from the end of an unknown number of dimensions."""
    return axis if axis >= 0 else None if rank is None else axis + rank


def _either(one: Value, other: Value) -> Value:
    """A value that is one of two."""
    for value in (one, other):
        if value.state == "mixed":
            return value
    sized = one.sized or other.sized
    if "unknown" in (one.state, other.state):
        return replace(UNKNOWN, sized=sized)
    rank = one.rank if one.rank == other.rank else None
    if one.state == other.state == "none":
        return Value(rank=rank, literal=one.literal if one.literal == other.literal else None, sized=sized)
    if one.state == other.state:
        return Value("apart", one.axis, rank, sized=sized) if one.axis == other.axis else replace(UNKNOWN, sized=sized)
    apart = one if one.state == "apart" else other
    return replace(apart, rank=rank, sized=sized)


def _joined(inputs: Sequence[Value]) -> Value:
    return UNKNOWN if any(value.state != "none" for value in inputs) else Value()


def _stacked(value: Value, at: int) -> Value:
    """With one dimension more, at `at`."""
    rank = None if value.rank is None else value.rank + 1
    place = _place(at, rank)
    if value.state != "apart":
        return replace(value, rank=rank, literal=None)
    return UNKNOWN if place is None else replace(value, axis=value.axis + (place <= value.axis), rank=rank)


def _without(value: Value, at: int | None) -> Value:
    """Without the dimension `at`, which is not that of the rows."""
    rank = None if value.rank is None else value.rank - 1
    if value.state != "apart":
        return replace(value, rank=rank, literal=None)
    return UNKNOWN if at is None else replace(value, axis=value.axis - (at < value.axis), rank=rank)


def _first(inputs: Sequence[Value]) -> Value:
    return inputs[0] if inputs else Value()


def _at(inputs: Sequence[Value], index: int) -> Value:
    return inputs[index] if index < len(inputs) else Value()


def _keeps(_walk: _Walk, _node: Node, inputs: list[Value]) -> list[Value]:
    """What comes first keeps its shape; what else comes has no rows."""
    if any(value.state != "none" for value in inputs[1:]):
        return [UNKNOWN]
    return [replace(_first(inputs), literal=None)]


def _same(_walk: _Walk, _node: Node, inputs: list[Value]) -> list[Value]:
    """A whole constant stays one."""
    return [_first(inputs)]


def _elementwise(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    """Shapes are aligned at their ends, and what is short is repeated."""
    ranks = [value.rank for value in inputs if value.state != "none" or value.rank is not None]
    known = None if any(value.rank is None for value in inputs) else max((rank or 0 for rank in ranks), default=0)
    places = set()
    for value in inputs:
        if value.state == "unknown":
            return [UNKNOWN]
        if value.state == "apart":
            if value.rank is None or known is None:
                # Of equal axes counted from the front nothing is known but where no dimension is put before them.
                if len(inputs) > 1:
                    return [UNKNOWN]
                return [value]
            places.add(value.axis + known - value.rank)
    if not places:
        return [Value(rank=known)]
    if len(places) > 1:
        return [_mixed(node, "it joins every row with every other")]
    return [Value("apart", places.pop(), known)]


def _along(value: Value, node: Node, axes: Sequence[int] | None, why: str) -> Value | None:
    """What comes of rows where an operator works along `axes` (None: they are not constant); None: they stay apart."""
    if value.state == "none":
        return None
    if axes is None:
        return _mixed(node, "along which dimension it works is an input that is not constant, so it may be the rows'")
    if value.state == "unknown":
        return UNKNOWN
    places = [_place(axis, value.rank) for axis in axes]
    if value.axis in places:
        return _mixed(node, why)
    return UNKNOWN if None in places else None


def _axis_rule(name: str, default: int, why: str) -> _Rule:
    """Operators that work along one axis, and keep the shape."""

    def rule(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
        value = _first(inputs)
        return [_along(value, node, [_number(node, name, default)], why) or replace(value, literal=None)]

    return rule


def _softmax(walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    why = "it divides by a sum over the rows"
    if walk.opset >= 13:
        return [_along(value, node, [_number(node, "axis", -1)], why) or value]
    return [_from_axis(value, node, _number(node, "axis", 1), why)]


def _from_axis(value: Value, node: Node, axis: int, why: str) -> Value:
    """Operators that work along an axis and all behind it."""
    if value.state != "apart":
        return replace(value, literal=None)
    place = _place(axis, value.rank)
    if place is None:
        return UNKNOWN
    return _mixed(node, why) if place <= value.axis else value


def _layer_norm(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    if any(value.state != "none" for value in inputs[1:]):
        return [UNKNOWN]
    return [_from_axis(_first(inputs), node, _number(node, "axis", -1), "it scales by a mean over the rows")]


def _mean_variance(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    axes = _numbers(node, "axes") or (0, 2, 3)
    return [_along(_first(inputs), node, axes, "it scales by a mean over the rows") or _first(inputs)]


def _cumulative(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    return [_along(value, node, _at(inputs, 1).literal, "it adds up along the rows") or replace(value, literal=None)]


def _reduce(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    given = len(node.inputs) > 1 and node.inputs[1] != ""
    axes = _at(inputs, 1).literal if given else _numbers(node, "axes")
    keeps = _number(node, "keepdims", 1)
    if axes == ():
        if _number(node, "noop_with_empty_axes", 0):
            return [value]
        if value.state != "none":
            return [_mixed(node, "it works over all that there is, the rows too")]
        return [Value(rank=value.rank if keeps else 0)]
    found = _along(value, node, axes, "it works over the rows")
    if found is not None:
        return [found]
    return [_reduced(value, axes, keeps)]


def _reduced(value: Value, axes: Sequence[int] | None, keeps: int) -> Value:
    if keeps:
        return replace(value, literal=None)
    if axes is None:
        return replace(value, rank=None, literal=None)
    rank = None if value.rank is None else value.rank - len(axes)
    places = [_place(axis, value.rank) for axis in axes]
    before = sum(1 for place in places if place is not None and place < value.axis)
    return replace(value, axis=value.axis - before, rank=rank, literal=None)


def _arg(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value, axes = _first(inputs), [_number(node, "axis", 0)]
    found = _along(value, node, axes, "it chooses among the rows")
    return [found or _reduced(value, axes, _number(node, "keepdims", 1))]


def _top_k(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    if _at(inputs, 1).state != "none":
        return [_mixed(node, "how many it chooses is one number for all rows")]
    return _axis_rule("axis", -1, "it chooses among the rows")(_walk, node, inputs[:1])


def _unique(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    if "axis" not in node.attributes:
        return [_mixed(node, "it compares all rows")]
    found = _along(value, node, [_number(node, "axis", 0)], "it compares the rows")
    return [replace(found or UNKNOWN, sized=True)]


def _batch_norm(walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    trains = _number(node, "training_mode", 0) if walk.opset >= 14 else sum(map(bool, node.outputs)) > 1
    if trains and any(value.state != "none" for value in inputs):
        return [_mixed(node, "it is in training mode, and scales by a mean over the rows")]
    return _keeps(walk, node, inputs)


def _instances(walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    """The first dimension is a batch, the second channels; what follows is worked along."""
    value = _first(inputs)
    if value.state == "apart" and value.axis >= 2:
        return [_mixed(node, "it works along the rows")]
    if value.state == "apart" and value.axis == 1:
        return [UNKNOWN]
    outputs = _keeps(walk, node, inputs)
    # Places in all of the input, those of the rows before included.
    return [*outputs, _joined(inputs)] if node.kind == "MaxPool" else outputs


def _recurrent(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    # Behind input and weights: lengths [batch], and states [directions, batch, hidden].
    others = [value for index, value in enumerate(inputs[1:], 1) if value.state != "none" and index not in (4, 5, 6)]
    layout = _number(node, "layout", 0)
    rows, time = (1, 0) if layout == 0 else (0, 1)
    if value.state == "apart" and value.axis == time:
        return [_mixed(node, "it goes from row to row: its first dimension is time")]
    if value.state == "unknown" or others or (value.state == "apart" and value.axis != rows):
        return [_joined(inputs)]
    for index, place in ((4, 0), (5, rows), (6, rows)):
        state = _at(inputs, index)
        if state.state == "unknown" or (state.state == "apart" and state.axis != place):
            return [UNKNOWN]
    if value.state == "none" and _joined(inputs).state == "none":
        return [Value(rank=4), Value(rank=3)]
    return [Value("apart", 2 if layout == 0 else 0, 4), Value("apart", rows, 3)]


def _product(first: int, second: int) -> _Rule:
    """Products of matrices, the last two dimensions of the inputs `first` and `second`."""

    def rule(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
        a, b = _at(inputs, first), _at(inputs, second)
        others = [value for index, value in enumerate(inputs) if index not in (first, second)]
        if "unknown" in (a.state, b.state) or _joined(others).state != "none" or a.rank is None or b.rank is None:
            return [_joined(inputs)]
        if a.rank == 0 or b.rank == 0:
            return [UNKNOWN]
        rank = max(a.rank, b.rank) if min(a.rank, b.rank) > 1 else max(a.rank, b.rank) - 1
        why = "it adds up over the rows"
        if (a.state == "apart" and a.axis == a.rank - 1) or (b.state == "apart" and b.axis == max(b.rank - 2, 0)):
            return [_mixed(node, why)]
        places = set()
        if a.state == "apart":  # from the end, and 1 fewer where b has no columns
            places.add(rank - (a.rank - a.axis) + (b.rank == 1))
        if b.state == "apart":
            last = b.axis == b.rank - 1
            places.add(rank - 1 if last else rank - (b.rank - b.axis) + (a.rank == 1))
        if len(places) > 1:
            return [_mixed(node, "it joins every row with every other")]
        return [Value("apart", places.pop(), rank)] if places else [Value(rank=rank)]

    return rule


def _gemm(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    a, b, c = _first(inputs), _at(inputs, 1), _at(inputs, 2)
    if "unknown" in (a.state, b.state, c.state):
        return [UNKNOWN]
    inner_a = 0 if _number(node, "transA", 0) else 1
    inner_b = 1 if _number(node, "transB", 0) else 0
    if (a.state == "apart" and a.axis == inner_a) or (b.state == "apart" and b.axis == inner_b):
        return [_mixed(node, "it adds up over the rows")]
    places = {place for value, place in ((a, 0), (b, 1)) if value.state == "apart"}
    if c.state == "apart":
        places.add(c.axis + 2 - (2 if c.rank is None else c.rank))
    if len(places) > 1:
        return [_mixed(node, "it joins every row with every other")]
    return [Value("apart", places.pop(), 2)] if places else [Value(rank=2)]


def _einsum(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    equation = node.attributes["equation"].text.replace(" ", "") if "equation" in node.attributes else ""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if not arrow or not re.fullmatch(r"[A-Za-z,]*->[A-Za-z]*", equation) or len(terms) != len(inputs):
        return [_joined(inputs)]
    letters = set()
    for term, value in zip(terms, inputs, strict=True):
        if value.state == "unknown" or (value.state == "apart" and value.axis >= len(term)):
            return [UNKNOWN]
        if value.state == "apart":
            letters.add(term[value.axis])
    if not letters:
        return [Value(rank=len(right))]
    if not letters <= set(right):
        return [_mixed(node, "it adds up over the rows")]
    if len(letters) > 1:
        return [_mixed(node, "it joins every row with every other")]
    return [Value("apart", right.index(letters.pop()), len(right))]


def _transpose(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value, order = _first(inputs), _numbers(node, "perm")
    if not order and value.rank is not None:
        order = tuple(reversed(range(value.rank)))
    if value.state == "apart" and value.axis not in order:
        return [UNKNOWN]
    axis = order.index(value.axis) if value.state == "apart" else 0
    return [replace(value, axis=axis, literal=None)]


def _reshape(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value, shape = _first(inputs), _at(inputs, 1).literal
    if _at(inputs, 1).state != "none":
        return [replace(UNKNOWN, sized=True)]
    if value.state == "none":
        return [Value(rank=None if shape is None else len(shape), literal=value.literal)]
    if value.state == "apart" and value.axis == 0 and shape and shape[0] == 0 and not _number(node, "allowzero", 0):
        return [Value("apart", 0, len(shape))]
    return [UNKNOWN]


def _flatten(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    axis = _place(_number(node, "axis", 1), value.rank)
    if value.state == "none":
        return [Value(rank=2)]
    whole = value.state == "apart" and value.axis == 0 and axis is not None and axis == 1
    # With more than the rows in the first dimension of the result, they are still apart, but not one at a place.
    return [Value("apart", 0, 2) if whole else UNKNOWN]


def _axes_of(node: Node, inputs: Sequence[Value]) -> tuple[int, ...] | None:
    """The axes of Squeeze and Unsqueeze, an attribute or an input; () where there are none."""
    if "axes" in node.attributes:
        return _numbers(node, "axes")
    return _at(inputs, 1).literal if len(node.inputs) > 1 and node.inputs[1] else ()


def _squeeze(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value, axes = _first(inputs), _axes_of(node, inputs)
    if not axes:
        return [replace(value, rank=None) if value.state == "none" else UNKNOWN]
    places = [_place(axis, value.rank) for axis in axes]
    if value.state == "apart" and (None in places or value.axis in places):
        return [UNKNOWN]
    return [replace(_reduced(value, axes, 0), literal=value.literal)]


def _unsqueeze(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value, axes = _first(inputs), _axes_of(node, inputs)
    if not axes:
        return [replace(value, rank=None) if value.state == "none" else UNKNOWN]
    rank = None if value.rank is None else value.rank + len(axes)
    places = {_place(axis, rank) for axis in axes}
    if value.state == "apart" and None in places:
        return [UNKNOWN]
    axis = value.axis
    for place in sorted(place for place in places if place is not None):
        axis += place <= axis
    return [replace(value, axis=axis, rank=rank)]


def _concat(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    axis = _number(node, "axis", 0)
    rank = next((value.rank for value in inputs if value.rank is not None), None)
    if _joined(inputs).state == "none":
        literals = [value.literal for value in inputs]
        whole = tuple(number for literal in literals for number in literal or ())
        return [Value(rank=rank, literal=None if None in literals or len(whole) > 64 else whole)]
    axes = {value.axis for value in inputs if value.state == "apart"}
    place = _place(axis, rank)
    if any(value.state == "unknown" for value in inputs) or len(axes) > 1 or place is None or place in axes:
        return [UNKNOWN]
    return [Value("apart", axes.pop(), rank)]


_TAKES = "it takes rows by their places"


def _gather(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    data, indices = _first(inputs), _at(inputs, 1)
    axis = _place(_number(node, "axis", 0), data.rank)
    rank = None if data.rank is None or indices.rank is None else data.rank + indices.rank - 1
    if data.state == "none":
        if indices.state == "apart" and axis is not None:
            return [Value("apart", axis + indices.axis, rank)]
        literal = None
        if data.literal is not None and indices.literal is not None and data.rank == 1:
            count = len(data.literal)
            if all(-count <= index < count for index in indices.literal):
                literal = tuple(data.literal[index] for index in indices.literal)
        return [_joined(inputs) if indices.state != "none" else Value(rank=rank, literal=literal)]
    if data.state == "unknown" or indices.state == "unknown" or axis is None:
        return [UNKNOWN]
    if axis == data.axis:
        if indices.state == "none" and indices.literal is None:
            return [UNKNOWN]  # all of them in their order, perhaps
        return [_mixed(node, _TAKES)]
    if indices.state != "none":
        return [_mixed(node, "it joins every row with every other")]
    if data.axis < axis:
        return [replace(data, rank=rank)]
    return [UNKNOWN if indices.rank is None else replace(data, axis=data.axis + indices.rank - 1, rank=rank)]


def _gather_elements(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    data, indices = _first(inputs), _at(inputs, 1)
    axis = _place(_number(node, "axis", 0), data.rank)
    if data.state == indices.state == "apart" and data.axis == indices.axis and axis is not None:
        return [_mixed(node, _TAKES) if axis == data.axis else indices]
    return [_joined(inputs)]


def _slice(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    if value.state != "apart":
        return [replace(value, literal=None, sized=value.sized or _joined(inputs[1:]).state != "none")]
    if _joined(inputs[1:]).state != "none":
        return [replace(UNKNOWN, sized=True)]
    if "starts" in node.attributes:
        starts: tuple[int, ...] | None = _numbers(node, "starts")
        ends: tuple[int, ...] | None = _numbers(node, "ends")
        axes: tuple[int, ...] | None = _numbers(node, "axes") or tuple(range(len(starts or ())))
        steps: tuple[int, ...] | None = None
    else:
        starts, ends, steps = (_at(inputs, index).literal for index in (1, 2, 4))
        axes = _at(inputs, 3).literal if len(node.inputs) > 3 and node.inputs[3] else tuple(range(len(starts or ())))
        if len(node.inputs) <= 4 or not node.inputs[4]:
            steps = None
        elif steps is None:
            return [UNKNOWN]
    if axes is None or (starts is None and len(node.inputs) <= 3):
        return [UNKNOWN]
    places = [_place(axis, value.rank) for axis in axes]
    if value.axis not in places:
        return [UNKNOWN if None in places else value]
    at = places.index(value.axis)
    if starts is None or ends is None or at >= min(len(starts), len(ends)):
        return [UNKNOWN]
    step = 1 if steps is None or at >= len(steps) else steps[at]
    whole = starts[at] == 0 and ends[at] >= _TO_THE_END and step == 1
    return [value if whole else _mixed(node, _TAKES)]


def _split(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    return [_along(value, node, [_number(node, "axis", 0)], _TAKES) or replace(value, literal=None)]


def _reverse(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    return [_along(value, node, [_number(node, "time_axis", 0)], "it turns the order of the rows") or value]


def _one_hot(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    if _joined(inputs[1:]).state != "none":
        return [UNKNOWN]
    return [_stacked(value, _number(node, "axis", -1))]


def _sized(_walk: _Walk, _node: Node, inputs: list[Value]) -> list[Value]:
    """How much comes out depends on what comes in."""
    found = _joined(inputs)
    return [replace(found, sized=found.state != "none")]


def _expand(_walk: _Walk, _node: Node, inputs: list[Value]) -> list[Value]:
    value, shape = _first(inputs), _at(inputs, 1)
    if shape.state != "none":
        return [replace(UNKNOWN, sized=True)]
    if shape.literal is None or value.rank is None or value.state != "apart":
        return [_joined(inputs)]
    rank = max(value.rank, len(shape.literal))
    return [replace(value, axis=value.axis + rank - value.rank, rank=rank)]


def _pad(_walk: _Walk, node: Node, inputs: list[Value]) -> list[Value]:
    value = _first(inputs)
    pads = _numbers(node, "pads") or _at(inputs, 1).literal
    if value.state != "apart" or _joined(inputs[1:]).state != "none" or len(inputs) > 3:
        return [_joined(inputs)]
    half = len(pads or ()) // 2
    if not pads or value.axis >= half or pads[value.axis] or pads[half + value.axis]:
        return [UNKNOWN]
    return [value]


def _constant(_walk: _Walk, node: Node, _inputs: list[Value]) -> list[Value]:
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


def _rules() -> dict[str, _Rule]:
    rules: dict[str, _Rule] = {}
    for names, rule in (
        ("Identity Cast", _same),
        (
            "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid "
            "HardSwish IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh "
            "Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Clip Dropout QuantizeLinear DequantizeLinear "
            "CastLike Trilu Bernoulli RandomNormalLike RandomUniformLike",
            _keeps,
        ),
        (
            "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max "
            "Mean Min Mod Mul Or Pow PRelu Sub Sum Where Xor",
            _elementwise,
        ),
        ("Softmax LogSoftmax Hardmax", _softmax),
        ("LpNormalization", _axis_rule("axis", -1, "it divides by a length over the rows")),
        ("LayerNormalization RMSNormalization SimplifiedLayerNormalization", _layer_norm),
        ("MeanVarianceNormalization", _mean_variance),
        ("CumSum CumProd", _cumulative),
        (
            "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
            "ReduceSumSquare",
            _reduce,
        ),
        ("ArgMax ArgMin", _arg),
        ("TopK", _top_k),
        ("Unique", _unique),
        ("BatchNormalization", _batch_norm),
        (
            "InstanceNormalization GroupNormalization LRN AveragePool GlobalAveragePool GlobalLpPool GlobalMaxPool "
            "LpPool MaxPool Conv ConvInteger QLinearConv ConvTranspose DepthToSpace SpaceToDepth Resize Upsample",
            _instances,
        ),
        ("RNN LSTM GRU", _recurrent),
        ("MatMul MatMulInteger", _product(0, 1)),
        ("QLinearMatMul", _product(0, 3)),
        ("Gemm", _gemm),
        ("Einsum", _einsum),
        ("Transpose", _transpose),
        ("Reshape", _reshape),
        ("Flatten", _flatten),
        ("Squeeze", _squeeze),
        ("Unsqueeze", _unsqueeze),
        ("Concat", _concat),
        ("Gather", _gather),
        ("GatherElements", _gather_elements),
        ("Slice", _slice),
        ("Split", _split),
        ("ReverseSequence", _reverse),
        ("OneHot", _one_hot),
        ("NonZero Compress NonMaxSuppression ConstantOfShape Range", _sized),
        ("Expand", _expand),
        ("Pad", _pad),
        ("Constant", _constant),
    ):
        rules.update(dict.fromkeys(names.split(), rule))
    return rules


_RULES = _rules()

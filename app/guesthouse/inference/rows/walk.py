"""The walk through a graph: node by node, into functions and subgraphs, noting what is known of each value."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, MutableMapping
from dataclasses import replace

from guesthouse.inference.graph import Attribute, Graph, ModelGraph, Node, TooLarge
from guesthouse.inference.rows.operators import ALL_ROWS, RULES
from guesthouse.inference.rows.values import (
    UNKNOWN,
    Value,
    decided_by_rows,
    either,
    from_front,
    mixed,
    number,
    numbers,
    unknown_if_rows,
    with_dimension,
    without_dimension,
)

_MOST_NODES = 2_000_000  # nodes that are looked at; each pass through a function or loop counts its nodes again
_DEEPEST = 64  # levels of functions and subgraphs
_ROUNDS = 4  # passes through a loop's body, and one more for each of its states
_Names = MutableMapping[str, Value]


class Walk:
    """One walk through a model's graph."""

    def __init__(self, model: ModelGraph) -> None:
        self.opset = model.opset
        self._model = model
        self._nodes = 0
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
        """The outputs of a graph. `names` has what is known of its inputs, and of names outside that its nodes use."""
        if self._depth >= _DEEPEST:
            raise TooLarge
        self._depth += 1
        for name, tensor in graph.constants.items():
            names[name] = Value(rank=tensor.rank, literal=tensor.literal)
        for node in graph.nodes:
            self._nodes += 1
            if self._nodes > _MOST_NODES:
                raise TooLarge
            inputs = [names.get(name, UNKNOWN) if name else Value() for name in node.inputs]
            outputs = self._node(node, inputs, names)
            for index, name in enumerate(node.outputs):
                names[name] = outputs[min(index, len(outputs) - 1)]
        self._depth -= 1
        return [names.get(name, UNKNOWN) for name in graph.outputs]

    def _node(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        """The outputs of one node. The last of them stands for all that follow it."""
        own = (node.domain, node.kind, node.overload)
        if own in self._model.functions:
            return self._function(own, node, inputs)
        if node.kind in _CONTROL and node.domain == "":
            return _CONTROL[node.kind](self, node, inputs, names)
        mixed_before = next((value for value in inputs if value.state == "mixed"), None)
        shape_depends = any(value.shape_depends for value in inputs)
        if node.kind in ("Shape", "Size") and node.domain == "" and not shape_depends:
            return [Value(rank=1 if node.kind == "Shape" else 0)]
        if mixed_before is not None:
            return [mixed_before]
        with_rows = any(value.state != "none" for value in inputs)
        if with_rows and node.kind in ALL_ROWS and node.domain in ALL_ROWS[node.kind]:
            return [mixed(node, ALL_ROWS[node.kind][node.domain])]
        rule = RULES.get(node.kind) if node.domain == "" else None
        outputs = rule(self.opset, node, inputs) if rule is not None else [UNKNOWN if with_rows else Value()]
        if not with_rows:  # no input has rows, so no output has
            outputs = [replace(output, state="none") for output in outputs]
        return [replace(output, shape_depends=output.shape_depends or shape_depends) for output in outputs]

    def _function(self, key: tuple[str, str, str], node: Node, inputs: list[Value]) -> list[Value]:
        body = self._model.functions[key]
        given = {**self._model.defaults[key], **node.attributes}
        names: _Names = dict(zip(body.inputs, [*inputs, *[Value()] * len(body.inputs)], strict=False))
        outputs = self._graph(_with_attributes(body, given), names)
        return outputs or [UNKNOWN]

    # Control flow: nodes of a subgraph may use the names outside it.

    def _if(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        branches = [self._graph(graph, ChainMap({}, names)) for graph in _subgraphs(node, "then_branch", "else_branch")]
        if (decided := decided_by_rows(node, inputs[:1], "its condition is one for all rows")) is not None:
            return [decided]
        outputs = [either(*values) for values in zip(*branches, strict=False)]
        return outputs or [UNKNOWN]

    def _loop(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        body = next(iter(_subgraphs(node, "body")), None)
        if body is None:
            return [UNKNOWN]
        if (
            decided := decided_by_rows(node, inputs[:2], "how often it is gone through is one number for all rows")
        ) is not None:
            return [decided]
        states = inputs[2:]
        fixed = [Value(rank=0), Value(rank=0)]
        results = self._until_settled(body, fixed, states, [], names, skip=1)
        if (decided := decided_by_rows(node, results[:1], "whether it goes on is one answer for all rows")) is not None:
            return [decided]
        count = len(states)
        return [*results[1 : 1 + count], *(with_dimension(value, 0) for value in results[1 + count :])] or [UNKNOWN]

    def _scan(self, node: Node, inputs: list[Value], names: _Names) -> list[Value]:
        body = next(iter(_subgraphs(node, "body")), None)
        scanned = number(node, "num_scan_inputs", 0)
        if body is None or self.opset < 9 or not 0 < scanned <= len(inputs):
            return [unknown_if_rows(inputs)]
        states, inputs = inputs[: len(inputs) - scanned], inputs[len(inputs) - scanned :]
        axes = numbers(node, "scan_input_axes") or (0,) * scanned
        slices = []
        for value, axis in zip(inputs, [*axes, *[0] * scanned], strict=False):
            at = from_front(axis, value.rank)
            if value.state == "apart" and at == value.axis:
                if states:
                    return [mixed(node, "it carries a state from row to row")]
                return [UNKNOWN]  # row by row
            slices.append(without_dimension(value, at))
        results = self._until_settled(body, [], states, slices, names, skip=0)
        count = len(states)
        out_axes = [*numbers(node, "scan_output_axes"), *[0] * len(results)]
        stacked = [with_dimension(value, axis) for value, axis in zip(results[count:], out_axes, strict=False)]
        return [*results[:count], *stacked] or [UNKNOWN]

    def _until_settled(
        self, body: Graph, leading: list[Value], states: list[Value], trailing: list[Value], names: _Names, skip: int
    ) -> list[Value]:
        """The outputs of a loop's body, gone through until what is known of its states does not change any more.

        `leading` and `trailing` are the inputs before and after the states; `skip` outputs come before the states.
        """
        for _ in range(_ROUNDS + min(len(states), 64)):
            bound = dict(zip(body.inputs, [*leading, *states, *trailing], strict=False))
            results = self._graph(body, ChainMap(bound, names))
            after = [either(*pair) for pair in zip(states, results[skip:], strict=False)]
            if after == states:
                return results
            states = after
        return [value if value.state == "mixed" else UNKNOWN for value in results]


_CONTROL: dict[str, Callable[[Walk, Node, list[Value], _Names], list[Value]]] = {
    "If": Walk._if,
    "Loop": Walk._loop,
    "Scan": Walk._scan,
}


def _with_attributes(body: Graph, given: dict[str, Attribute]) -> Graph:
    """A function's body with the attributes of its call filled in."""
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


def _subgraphs(node: Node, *names: str) -> list[Graph]:
    found = [node.attributes[name].graph for name in names if name in node.attributes]
    return [graph for graph in found if graph is not None]

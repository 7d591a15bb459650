"""An ONNX model's graph, read from its bytes: nodes, the names between them, small constants. No weights are kept.

Only what `rows` needs to follow a batch through the graph is read. ONNX Runtime does not show the graph, and the `onnx`
package would be a large dependency for this alone. The field numbers below are those of onnx.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from guesthouse_abi.protobuf import BYTES, VARINT, Malformed, fields, signed, varint

_MOST_NODES = 200_000
_DEEPEST = 32  # levels of subgraphs
_LONGEST_LITERAL = 64  # elements of a constant whose numbers are kept
_INT32, _INT64 = 6, 7  # of TensorProto.DataType


class TooLarge(Exception):
    """The graph has more nodes, or more levels of subgraphs, than are read."""


@dataclass(slots=True)
class Tensor:
    """A constant: how many dimensions it has, and its numbers where they are few and whole numbers."""

    rank: int
    literal: tuple[int, ...] | None = None


@dataclass(slots=True)
class Attribute:
    """A node's attribute. In a function, `reference` names the attribute of the call whose value it takes."""

    number: int | None = None
    numbers: tuple[int, ...] = ()
    text: str = ""
    tensor: Tensor | None = None
    graph: Graph | None = None
    reference: str = ""


@dataclass(slots=True)
class Node:
    """One use of an operator (`kind`). An input or output that is left out has an empty name."""

    kind: str = ""
    domain: str = ""
    overload: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(slots=True)
class Graph:
    """A graph, a subgraph, or a function's body. `inputs`: name -> number of dimensions, None where it is not said."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, int | None] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ModelGraph:
    """A model: its graph, its own functions by domain, name and overload, and the version of ONNX's operators."""

    graph: Graph = field(default_factory=Graph)
    functions: dict[tuple[str, str, str], Graph] = field(default_factory=dict)
    defaults: dict[tuple[str, str, str], Mapping[str, Attribute]] = field(default_factory=dict)
    opset: int = 0


def read_graph(data: bytes) -> ModelGraph:
    """The graph of the ONNX model `data`. Raises `Malformed`, and `TooLarge`."""
    reader = _Reader(data)
    model = ModelGraph()
    for number, kind, begin, stop in fields(data, 0, len(data)):
        if kind != BYTES:
            continue
        if number == 7:
            reader.graph(model.graph, begin, stop, 0)
        elif number == 8:
            domain, version = reader.opset(begin, stop)
            if domain == "":
                model.opset = version
        elif number == 25:
            key, body, defaults = reader.function(begin, stop)
            model.functions[key], model.defaults[key] = body, defaults
    return model


def nodes_of(model: ModelGraph) -> Iterator[tuple[Node, bool]]:
    """Every node, also in subgraphs and functions, with whether all of its inputs but the first are constant."""
    todo = [model.graph, *model.functions.values()]
    while todo:
        graph = todo.pop()
        constant = {"", *graph.constants}
        for node in graph.nodes:
            yield node, constant.issuperset(node.inputs[1:])
            if constant.issuperset(node.inputs):
                constant.update(node.outputs)
            todo += [one.graph for one in node.attributes.values() if one.graph is not None]


def without_shape(data: bytes) -> frozenset[str]:
    """The inputs and outputs of the ONNX model `data` without a shape: their number of dimensions is not said."""
    reader, names = _Reader(data), set()
    for number, kind, begin, stop in fields(data, 0, len(data)):
        if (number, kind) == (7, BYTES):
            for inner, form, start, end in fields(data, begin, stop):
                if inner in (11, 12) and form == BYTES:
                    name, rank = reader.value(start, end)
                    if rank is None:
                        names.add(name)
    return frozenset(names)


class _Reader:
    """Reads the messages of one model. Counts nodes, so that a hostile model cannot have too many."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._nodes = 0

    def graph(self, into: Graph, begin: int, stop: int, depth: int) -> None:
        if depth > _DEEPEST:
            raise TooLarge
        for number, kind, start, end in fields(self._data, begin, stop):
            if kind != BYTES:
                continue
            if number == 1:
                into.nodes.append(self._node(start, end, depth))
            elif number == 5:
                name, tensor = self._tensor(start, end)
                into.constants[name] = tensor
            elif number == 15:
                name, tensor = self._sparse(start, end)
                into.constants[name] = tensor
            elif number == 11:
                name, rank = self.value(start, end)
                into.inputs[name] = rank
            elif number == 12:
                into.outputs.append(self.value(start, end)[0])

    def function(self, begin: int, stop: int) -> tuple[tuple[str, str, str], Graph, Mapping[str, Attribute]]:
        body, defaults = Graph(), {}
        texts = {1: "", 10: "", 13: ""}  # name, domain, overload
        for number, kind, start, end in fields(self._data, begin, stop):
            if kind != BYTES:
                continue
            if number in texts:
                texts[number] = self._text(start, end)
            elif number == 4:
                body.inputs[self._text(start, end)] = None
            elif number == 5:
                body.outputs.append(self._text(start, end))
            elif number == 7:
                body.nodes.append(self._node(start, end, 0))
            elif number == 11:
                name, attribute = self._attribute(start, end, 0)
                defaults[name] = attribute
        return (_domain(texts[10]), texts[1], texts[13]), body, defaults

    def opset(self, begin: int, stop: int) -> tuple[str, int]:
        domain, version = "", 0
        for number, kind, start, end in fields(self._data, begin, stop):
            if number == 1 and kind == BYTES:
                domain = self._text(start, end)
            elif number == 2 and kind == VARINT:
                version = signed(start)
        return _domain(domain), version

    def _node(self, begin: int, stop: int, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise TooLarge
        node = Node()
        for number, kind, start, end in fields(self._data, begin, stop):
            if kind != BYTES:
                continue
            if number == 1:
                node.inputs.append(self._text(start, end))
            elif number == 2:
                node.outputs.append(self._text(start, end))
            elif number == 3:
                node.name = self._text(start, end)
            elif number == 4:
                node.kind = self._text(start, end)
            elif number == 5:
                name, attribute = self._attribute(start, end, depth)
                node.attributes[name] = attribute
            elif number == 7:
                node.domain = _domain(self._text(start, end))
            elif number == 8:
                node.overload = self._text(start, end)
        return node

    def _attribute(self, begin: int, stop: int, depth: int) -> tuple[str, Attribute]:
        name, attribute, numbers = "", Attribute(), []
        for number, kind, start, end in fields(self._data, begin, stop):
            if number == 3 and kind == VARINT:
                attribute.number = signed(start)
            elif number == 8:
                numbers += self._packed(kind, start, end)
            elif kind != BYTES:
                continue
            elif number == 1:
                name = self._text(start, end)
            elif number == 4:
                attribute.text = self._text(start, end)
            elif number == 5:
                attribute.tensor = self._tensor(start, end)[1]
            elif number == 6:
                attribute.graph = attribute.graph or Graph()
                self.graph(attribute.graph, start, end, depth + 1)
            elif number == 21:
                attribute.reference = self._text(start, end)
        attribute.numbers = tuple(numbers)
        return name, attribute

    def _tensor(self, begin: int, stop: int) -> tuple[str, Tensor]:
        name, dtype, raw = "", 0, b""
        dims: list[int] = []
        numbers: list[int] = []
        for number, kind, start, end in fields(self._data, begin, stop):
            if number == 1:
                dims += self._packed(kind, start, end)
            elif number == 2 and kind == VARINT:
                dtype = start
            elif number in (5, 7):
                numbers += self._packed(kind, start, end)
            elif number == 8 and kind == BYTES:
                name = self._text(start, end)
            elif number == 9 and kind == BYTES and end - start <= 8 * _LONGEST_LITERAL:
                raw = self._data[start:end]
        literal: tuple[int, ...] | None = None
        if dtype in (_INT32, _INT64):
            code, width = ("q", 8) if dtype == _INT64 else ("i", 4)
            found = struct.unpack(f"<{len(raw) // width}{code}", raw[: len(raw) // width * width]) if raw else numbers
            literal = tuple(found) if len(found) == math.prod(dims[:16]) <= _LONGEST_LITERAL else None
        return name, Tensor(len(dims), literal)

    def _sparse(self, begin: int, stop: int) -> tuple[str, Tensor]:
        """A sparse constant. Its name is in its tensor of values, its dimensions are beside that."""
        name, rank = "", 0
        for number, kind, start, end in fields(self._data, begin, stop):
            if number == 1 and kind == BYTES:
                name = self._tensor(start, end)[0]
            elif number == 3:
                rank += len(self._packed(kind, start, end))
        return name, Tensor(rank)

    def value(self, begin: int, stop: int) -> tuple[str, int | None]:
        """The name of an input or output, and the number of its dimensions where it has a shape."""
        name, rank = "", None
        for number, kind, start, end in fields(self._data, begin, stop):
            if number == 1 and kind == BYTES:
                name = self._text(start, end)
            elif number == 2 and kind == BYTES:
                for tensor in self._messages(start, end, 1):
                    for shape in self._messages(*tensor, 2):
                        rank = (rank or 0) + sum(1 for _ in self._messages(*shape, 1))
        return name, rank

    def _messages(self, begin: int, stop: int, wanted: int) -> list[tuple[int, int]]:
        found = fields(self._data, begin, stop)
        return [(start, end) for number, kind, start, end in found if (number, kind) == (wanted, BYTES)]

    def _packed(self, kind: int, begin: int, stop: int) -> list[int]:
        """Whole numbers of a repeated field: one, or several packed together. Of many, only the first are read."""
        if kind == VARINT:
            return [signed(begin)]
        if kind != BYTES:
            raise Malformed
        numbers: list[int] = []
        while begin < stop and len(numbers) <= _LONGEST_LITERAL:
            value, begin = varint(self._data, begin, stop)
            numbers.append(signed(value))
        return numbers

    def _text(self, begin: int, stop: int) -> str:
        return self._data[begin:stop].decode("utf-8", "surrogateescape")


def _domain(name: str) -> str:
    """A domain by its one name: ONNX's own domain is written "" or "ai.onnx"."""
    return "" if name == "ai.onnx" else name

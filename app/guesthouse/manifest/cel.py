"""Checks the `match` of a topic's route: an expression in CEL over `event`. Nothing is evaluated here.

A sidecar compiles these expressions when it asks for the subscriptions. If it cannot compile one of them, it subscribes
to no topic of the application, and publishers see no error. At a function that CEL does not have, the sidecar (1.18)
never gets ready. So expressions are checked here, before anything is served. `cel-python` has the grammar; the fields
of `event` are Dapr's (components-contrib, `pubsub/envelope.go`); types are checked in `celtypes`.

Language: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from guesthouse.manifest import celtypes

Tree: TypeAlias = Any
"""A `lark.Tree`, or one of its tokens."""

EVENT = "event"
LONGEST = 4096  # characters of an expression
MOST_BRACKETS = 128  # of one expression: deeper ones take long to parse

# The form of a CloudEvent's attribute names (CloudEvents 1.0, "Naming conventions"), and the one with an underscore.
_ATTRIBUTE = re.compile(r"[a-z0-9]+|data_base64")
#: The attributes that a sidecar writes into every event.
_ALWAYS = frozenset({"id", "source", "specversion", "type", "topic", "pubsubname"})
_KNOWN = _ALWAYS | {"data", "data_base64", "datacontenttype", "subject", "time"}
_KNOWN |= {"traceid", "traceparent", "tracestate", "expiration"}

_FUNCTIONS = frozenset({"has", *celtypes.FUNCTIONS})
_METHODS = celtypes.MACROS | frozenset(celtypes.METHODS)


@dataclass(slots=True)
class Reading:
    """What was found in one expression, as (what, what to do)."""

    faults: list[tuple[str, str]] = field(default_factory=list)  # the sidecar cannot use the expression
    warnings: list[tuple[str, str]] = field(default_factory=list)  # the expression fails for some events


@functools.lru_cache(maxsize=256)  # rules.py reads the faults, warnings.py the warnings of the same expression
def read(text: str) -> Reading:
    """Check one expression. An empty one matches every event and has no faults."""
    found = Reading()
    if not text.strip():
        return found
    if len(text) > LONGEST:
        found.faults.append((f"has {len(text)} characters", f"write at most {LONGEST}"))
        return found
    if sum(map(text.count, "([{")) > MOST_BRACKETS:
        found.faults.append((f"opens more than {MOST_BRACKETS} brackets", "write it with fewer"))
        return found
    # Imported only where there is an expression: the import takes half a second.
    from celpy import Environment
    from celpy.celparser import CELParseError

    try:
        tree = Environment().compile(text)
        walk = _Walk(found)
        walk.expression(tree, frozenset())
        if not found.faults:  # types can be checked only where all names are known
            _type_check(tree, found)
    except CELParseError as error:
        found.faults.append(_not_cel(text, error.line, error.column))
        return found
    except RecursionError:
        return Reading([("is nested too deeply", "write it as several rules")])
    walk.finish()
    return found


def _type_check(tree: Tree, found: Reading) -> None:
    try:
        of = celtypes.type_of(tree, {EVENT: celtypes.EVENT_TYPE})
    except celtypes.Mistyped as error:
        found.faults.append((error.what, error.remedy))
        return
    if not celtypes.may_be_true(of):
        found.faults.append(("is neither true nor false", 'compare it, as in event.type == "photo"'))


def _not_cel(text: str, line: int | None, column: int | None) -> tuple[str, str]:
    lines = text.splitlines()
    if line is None or column is None or not 1 <= line <= len(lines) or not 1 <= column <= len(lines[line - 1]):
        return "is not CEL: it ends too early", "complete it"
    rest = lines[line - 1][column - 1 :]
    where = f"character {column}" if len(lines) == 1 else f"line {line}, character {column}"
    remedy = "two values are compared with ==" if re.match(r"=[^=]", rest) else "correct it there or just before"
    return f"is not CEL: nothing may follow like {rest[:16]!r} at {where}", remedy


class _Walk:
    """A walk through an expression's tree, which looks at names, functions and the event's fields."""

    def __init__(self, found: Reading) -> None:
        self._found = found
        self._used: dict[str, None] = {}  # paths of the event's fields, in the order of their use
        self._asked: set[str] = set()  # paths that has() asks for

    def expression(self, tree: Tree, names: frozenset[str]) -> None:
        """Look at `tree`, where `names` are the variables of the macros around it."""
        if not hasattr(tree, "data"):
            return
        if (path := _path(tree)) is not None and path[0] == EVENT and EVENT not in names:
            self._field(path)
        elif tree.data == "ident":
            self._name(str(tree.children[0]), names)
        elif tree.data in ("ident_arg", "dot_ident_arg"):
            self._function(tree, names)
        elif tree.data == "member_dot_arg":
            self._method(tree, names)
        else:
            if tree.data == "relation" and len(tree.children) == 2 and tree.children[0].data == "relation_in":
                self._contained(tree.children[0].children[0], tree.children[1])
            for child in tree.children:
                self.expression(child, names)

    def finish(self) -> None:
        """Warn of fields that an event may lack, and for which the expression does not ask with has()."""
        for path in self._used:
            if path not in self._asked and path.split(".")[1] not in _ALWAYS:
                parent, _, name = path.rpartition(".")
                asks = f"has({path})" if name.isidentifier() else f'"{name}" in {parent}'
                what = f"fails for an event without {path}: the sidecar hands such an event to no guest"
                self._found.warnings.append((what, f"write {asks} && … before it"))

    def _fault(self, what: str, remedy: str) -> None:
        if (what, remedy) not in self._found.faults:
            self._found.faults.append((what, remedy))

    def _name(self, name: str, names: frozenset[str]) -> None:
        if name in names or name in celtypes.TYPE_NAMES or name == EVENT:
            return
        remedy = f"write {EVENT}.{name}" if name in _KNOWN else f"the fields are those of {EVENT}, as in event.type"
        self._fault(f"asks for {name}, which is not there", remedy)

    def _field(self, path: Sequence[str]) -> None:
        if len(path) == 1:
            return
        name = path[1]
        if not _ATTRIBUTE.fullmatch(name):
            near = difflib.get_close_matches(name.lower(), sorted(_KNOWN), n=1)
            remedy = f"did you mean event.{near[0]}?" if near else "what was published is in event.data"
            self._fault(f"asks for event.{name}, a name that no event has", remedy)
            return
        self._used[".".join(path)] = None

    def _contained(self, left: Tree, right: Tree) -> None:
        """`"name" in event.data` asks for the field as has() does."""
        path, name = _path(right), _text(_innermost(left))
        if path is not None and name is not None and path[0] == EVENT:
            self._asked.add(".".join([*path, name]))

    def _function(self, tree: Tree, names: frozenset[str]) -> None:
        name, arguments = str(tree.children[0]), _arguments(tree)
        if name not in _FUNCTIONS:
            self._unknown("function", name, _FUNCTIONS)
        if name == "has":
            path = _path(arguments[0]) if len(arguments) == 1 else None
            if path is None or len(path) < 2 or _innermost(arguments[0]).data != "member_dot":
                self._fault("gives has() something else than one field", "write it as in has(event.data.amount)")
                return
            # has(event.data.a) asks for event.data too.
            self._asked.update(".".join(path[:length]) for length in range(2, len(path) + 1))
        for argument in arguments:
            self.expression(argument, names)

    def _method(self, tree: Tree, names: frozenset[str]) -> None:
        name, arguments = str(tree.children[1]), _arguments(tree)
        self.expression(tree.children[0], names)
        if name not in _METHODS:
            self._unknown("method", name, _METHODS)
        if name in celtypes.MACROS:
            variable = _path(arguments[0]) if len(arguments) > 1 else None
            if variable is None or len(variable) != 1:
                self._fault(f"does not name the variable of {name}()", f"write it as in list.{name}(one, one > 0)")
                return
            names, arguments = names | {variable[0]}, arguments[1:]
        for argument in arguments:
            self.expression(argument, names)

    def _unknown(self, kind: str, name: str, known: frozenset[str]) -> None:
        near = difflib.get_close_matches(name, sorted(known), n=1)
        remedy = f"did you mean {near[0]}()?" if near else f"there are {', '.join(sorted(known))}"
        self._fault(f"calls the {kind} {name}(), which CEL does not have", remedy)


def _innermost(tree: Tree) -> Tree:
    """The first node below `tree` that has more than one child, or is a leaf's parent."""
    while hasattr(tree, "data") and len(tree.children) == 1 and hasattr(tree.children[0], "data"):
        tree = tree.children[0]
    return tree


def _path(tree: Tree) -> list[str] | None:
    """The names of a path `a.b.c`, which may also be written as `a["b"].c`; None where `tree` is no path."""
    tree = _innermost(tree)
    if tree.data == "ident":
        return [str(tree.children[0])]
    if tree.data not in ("member_dot", "member_index"):
        return None
    before = _path(tree.children[0])
    if before is None:
        return None
    if tree.data == "member_dot":
        return [*before, str(tree.children[1])]
    name = _text(_innermost(tree.children[1]))
    return None if name is None else [*before, name]


def _text(tree: Tree) -> str | None:
    """The text of a plain string literal; None for anything else."""
    token = tree.children[0] if tree.data == "literal" else None
    return str(token)[1:-1] if token is not None and token.type == "STRING_LIT" and token[0] in "\"'" else None


def _arguments(tree: Tree) -> list[Tree]:
    last = tree.children[-1]
    return list(last.children) if hasattr(last, "data") and last.data == "exprlist" else []

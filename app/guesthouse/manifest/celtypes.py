"""Checks the types in a CEL expression, as a sidecar does when it compiles the expression.

The fields of `event` may have any type. But literals and results of functions have types, and a sidecar refuses an
expression in which two types do not fit. The overloads are those of cel-go's standard library.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Tree: TypeAlias = Any
"""A `lark.Tree`, or one of its tokens."""

Type: TypeAlias = "str | tuple[Any, ...]"
"""`int`, say, or `("list", element)`, `("map", key, value)`. `dyn` is anything; see `_ANYTHING`."""

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
RESERVED = frozenset({"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop"})
RESERVED |= {"namespace", "package", "return", "var", "void", "while"}

_DYN, _BOOL, _INT, _STRING, _TIME, _SPAN = "dyn", "bool", "int", "string", "timestamp", "duration"
#: Types whose values may be anything. `event` itself is no list or map. `free` is one type that is not known yet: the
#: type of `x["name"]`; the compiler takes the first type that fits the next step.
EVENT_TYPE, _FREE = "event", "free"
_ANYTHING = frozenset({_DYN, EVENT_TYPE, _FREE})
_LIST: Type = ("list", _DYN)
_MAP: Type = ("map", _DYN, _DYN)
_NUMBERS = ("double", "int", "uint")
_ORDERED = (*_NUMBERS, _BOOL, _STRING, "bytes", _TIME, _SPAN)

_Overload: TypeAlias = "tuple[tuple[Type, ...], Type]"

_CONVERTED: Mapping[str, Sequence[Type]] = {
    "bool": ("bool", "string"),
    "bytes": ("bytes", "string"),
    "double": ("double", "int", "string", "uint"),
    "duration": ("duration", "int", "string"),
    "dyn": (_DYN,),
    "int": ("int", "double", "duration", "string", "timestamp", "uint"),
    "string": ("string", "bool", "bytes", "double", "duration", "int", "timestamp", "uint"),
    "timestamp": ("timestamp", "int", "string"),
    "type": (_DYN,),
    "uint": ("uint", "double", "int", "string"),
}
_SIZED = (_STRING, "bytes", _LIST, _MAP)

FUNCTIONS: Mapping[str, Sequence[_Overload]] = {
    **{name: [((one,), name) for one in takes] for name, takes in _CONVERTED.items()},
    "size": [((one,), _INT) for one in _SIZED],
    "matches": [((_STRING, _STRING), _BOOL)],
}
"""The overloads of each function: (types of its arguments, type of its result). `has` is a macro."""


def _parts(names: str, *of: Type) -> dict[str, list[_Overload]]:
    zoned = [((_TIME,), _INT), ((_TIME, _STRING), _INT)]
    return {name: [*zoned, *(((one,), _INT) for one in of)] for name in names.split()}


METHODS: Mapping[str, Sequence[_Overload]] = {
    "size": FUNCTIONS["size"],
    **{name: [((_STRING, _STRING), _BOOL)] for name in ("contains", "endsWith", "matches", "startsWith")},
    **_parts("getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getMonth"),
    **_parts("getHours getMilliseconds getMinutes getSeconds", _SPAN),
}
"""The overloads of each method. The first argument is the value that it is called on."""

_OPERATORS: Mapping[str, Sequence[_Overload]] = {
    **{op: [((one, one), _BOOL) for one in _ORDERED] for op in ("<", "<=", ">", ">=")},
    "+": [((one, one), one) for one in ("bytes", *_NUMBERS, _STRING, _SPAN)]
    + [((_TIME, _SPAN), _TIME), ((_SPAN, _TIME), _TIME)],
    "-": [((one, one), one) for one in (*_NUMBERS, _SPAN)] + [((_TIME, _TIME), _SPAN), ((_TIME, _SPAN), _TIME)],
    "*": [((one, one), one) for one in _NUMBERS],
    "/": [((one, one), one) for one in _NUMBERS],
    "%": [((one, one), one) for one in ("int", "uint")],
    "!": [((_BOOL,), _BOOL)],
    "negated": [(("double",), "double"), (("int",), "int")],
}
_SIGNS = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_gt": ">",
    "relation_ge": ">=",
    "relation_eq": "==",
    "relation_ne": "!=",
    "relation_in": "in",
    "addition_add": "+",
    "addition_sub": "-",
    "multiplication_mul": "*",
    "multiplication_div": "/",
    "multiplication_mod": "%",
}
TYPE_NAMES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})

_ESCAPES = re.compile(
    r"""(?:[^\\]|\\(?:[abfnrtv"'`?\\]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}))*""", re.S
)
_ONE_TYPE = "make both one type: 1 is an int, 1.0 a double, 1u a uint, and int(), double(), string() convert"


class Mistyped(Exception):
    """The types do not fit, so a sidecar would refuse the expression. `what` is wrong; `remedy` says what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


def type_of(tree: Tree, names: Mapping[str, Type]) -> Type:
    """The type of `tree`, where `names` are the types of its variables. Raises `Mistyped` at the first fault."""
    kind, children = tree.data, tree.children
    if kind in ("conditionalor", "conditionaland") and len(children) == 2:
        for child in children:
            _truth(type_of(child, names))
        return _BOOL
    if kind in ("relation", "addition", "multiplication") and len(children) == 2:
        return _binary(_SIGNS[children[0].data], type_of(children[0].children[0], names), type_of(children[1], names))
    if kind == "unary" and len(children) == 2:
        name = "!" if children[0].data == "unary_not" else "negated"
        return _result(name, _OPERATORS[name], [type_of(children[1], names)])
    if kind == "expr" and len(children) == 3:
        _truth(type_of(children[0], names))
        one, other = type_of(children[1], names), type_of(children[2], names)
        if not _fits(one, other):
            raise Mistyped(f"chooses between {_named(one)} and {_named(other)}", _ONE_TYPE)
        return _joined(one, other)
    simple = {"literal": _literal, "ident": _ident, "member_dot": _selected, "member_index": _indexed}
    if kind in simple:
        return simple[kind](tree, names)
    if kind == "list_lit":
        return ("list", _common([type_of(child, names) for child in _parts_of(tree)]))
    if kind == "map_lit":
        found = [type_of(child, names) for child in _parts_of(tree)]
        key = _common(found[::2])
        return ("map", key if isinstance(key, str) else _DYN, _common(found[1::2]))
    if kind == "ident_arg":
        return _function(tree, names)
    if kind == "member_dot_arg":
        return _method(tree, names)
    if kind in ("dot_ident", "dot_ident_arg"):
        raise Mistyped("begins a name with a dot", f"write {children[0]}")
    if kind == "member_object":
        return _DYN
    return type_of(children[0], names)  # a node with one child


def may_be_true(of: Type) -> bool:
    """Whether a value of the type may be true or false."""
    return _fits(of, _BOOL)


def _parts_of(tree: Tree) -> Sequence[Tree]:
    """The parts in the brackets of a list, a map or a call."""
    last: Tree = tree.children[-1] if tree.children else None
    inner: Sequence[Tree] = last.children if getattr(last, "data", "") in ("exprlist", "mapinits") else ()
    return inner


def _truth(found: Type) -> None:
    if not may_be_true(found):
        raise Mistyped(f"takes {_named(found)} for true or false", 'compare it, as in event.type == "photo"')


def _binary(sign: str, left: Type, right: Type) -> Type:
    if sign in ("==", "!="):
        if not _fits(left, right):
            raise Mistyped(f"compares {_named(left)} with {_named(right)}", _ONE_TYPE)
        return _BOOL
    if sign == "in":
        if right not in _ANYTHING and (isinstance(right, str) or not _fits(left, right[1])):
            raise Mistyped(
                f"asks for {_named(left)} in {_named(right)}", "write a list of such, or a map with such keys"
            )
        return _BOOL
    if sign == "+" and isinstance(left, tuple) and isinstance(right, tuple) and left[0] == right[0] == "list":
        if _fits(left, right):
            return _joined(left, right)
    elif sign == "+" and not _ANYTHING.isdisjoint((left, right)) and "list" in (left[0], right[0]):
        return _DYN
    return _result(sign, _OPERATORS[sign], [left, right])


def _result(name: str, overloads: Sequence[_Overload], given: Sequence[Type]) -> Type:
    """The result type of the overload that fits the arguments; `dyn` where several fit, with different results."""
    results = [gives for takes, gives in overloads if len(takes) == len(given) and all(map(_fits, given, takes))]
    if not results:
        if name in _OPERATORS:
            sides = " and ".join(map(_named, given))
            raise Mistyped(f"puts {name.replace('negated', '-')} to {sides}", _ONE_TYPE)
        takes = " or ".join(sorted({", ".join(_named(one) for one in takes) for takes, _ in overloads}))
        sides = ", ".join(map(_named, given)) or "nothing"
        raise Mistyped(f"gives {name}() {sides}", f"it takes {takes}")
    return results[0] if _FREE in given or all(one == results[0] for one in results) else _DYN


def _literal(tree: Tree, _names: Mapping[str, Type]) -> Type:
    token = tree.children[0]
    text = str(token)
    if token.type in ("INT_LIT", "UINT_LIT"):
        value = int(text.rstrip("uU"), 0 if "x" in text else 10)
        most = 2**63 if token.type == "INT_LIT" else 2**64
        if not (-most if token.type == "INT_LIT" else 0) <= value < most:
            raise Mistyped(f"has a number that no {_of_literal(token.type)} holds, {text[:24]}", "write a smaller one")
    elif token.type == "FLOAT_LIT" and not math.isfinite(float(text)):
        raise Mistyped(f"has a number that no double holds, {text[:24]}", "write a smaller one")
    elif token.type in ("STRING_LIT", "MLSTRING_LIT", "BYTES_LIT"):
        prefix = text[: len(text) - len(text.lstrip("rRbB"))]
        if "r" not in prefix.lower() and not _ESCAPES.fullmatch(text):
            raise Mistyped(f"has a \\ that stands for nothing in {text[:24]}", r'write \\ for one, or r"…"')
    return _of_literal(token.type)


def _of_literal(kind: str) -> Type:
    names = {"INT_LIT": _INT, "UINT_LIT": "uint", "FLOAT_LIT": "double", "BOOL_LIT": _BOOL, "NULL_LIT": "null"}
    return names.get(kind, "bytes" if kind == "BYTES_LIT" else _STRING)


def _ident(tree: Tree, names: Mapping[str, Type]) -> Type:
    name = str(tree.children[0])
    return names.get(name, "type" if name in TYPE_NAMES else _DYN)


def _selected(tree: Tree, names: Mapping[str, Type]) -> Type:
    of, name = type_of(tree.children[0], names), str(tree.children[1])
    if name in ("in", "true", "false", "null"):
        raise Mistyped(f"has a word of CEL's own for a field, .{name}", f'write ["{name}"]')
    if of in _ANYTHING:
        return _DYN
    if isinstance(of, str) or of[0] != "map":
        raise Mistyped(f"asks for the field {name} of {_named(of)}", "only a map and an event's parts have fields")
    if not _fits(of[1], _STRING):
        raise Mistyped(f"asks for the field {name} of a map without text for keys", "write the key in brackets")
    value: Type = of[2]
    return value


def _indexed(tree: Tree, names: Mapping[str, Type]) -> Type:
    of, by = type_of(tree.children[0], names), type_of(tree.children[1], names)
    if of in _ANYTHING:
        if by in ("bytes", "null", "type"):
            raise Mistyped(f"takes {_named(by)} of an event's part", "write a text or a number in the brackets")
        return _DYN if by in (_INT, *_ANYTHING) else _FREE
    if isinstance(of, str) or not _fits(by, _INT if of[0] == "list" else of[1]):
        raise Mistyped(f"takes {_named(by)} of {_named(of)}", "a list is asked by an int, a map by one of its keys")
    value: Type = of[-1]
    return value


def _function(tree: Tree, names: Mapping[str, Type]) -> Type:
    name, arguments = str(tree.children[0]), _parts_of(tree)
    if name == "has":
        for argument in arguments:
            type_of(argument, names)
        return _BOOL
    return _result(name, FUNCTIONS[name], [type_of(argument, names) for argument in arguments])


def _method(tree: Tree, names: Mapping[str, Type]) -> Type:
    name, arguments = str(tree.children[1]), _parts_of(tree)
    on = type_of(tree.children[0], names)
    if name not in MACROS:
        return _result(name, METHODS[name], [on, *(type_of(argument, names) for argument in arguments)])
    if len(arguments) not in ((2, 3) if name == "map" else (2,)):
        raise Mistyped(f"gives {name}() {len(arguments)} parts", f"write it as in list.{name}(one, one > 0)")
    if isinstance(on, str) and on not in (_DYN, _FREE):
        raise Mistyped(f"calls {name}() on {_named(on)}", "it is for lists and maps")
    inner = {**names, _variable(arguments[0]): on[1] if isinstance(on, tuple) else _DYN}
    found = [type_of(argument, inner) for argument in arguments[1:]]
    if name == "map":
        for condition in found[:-1]:
            _truth(condition)
        return ("list", found[-1])
    _truth(found[0])
    return _BOOL if name != "filter" else ("list", inner[_variable(arguments[0])])


def _variable(tree: Tree) -> str:
    """The variable that a macro's first argument names. `cel` has checked that it is a name."""
    while hasattr(tree, "data"):
        tree = tree.children[0]
    if str(tree) in RESERVED:
        raise Mistyped(f"has a reserved word for a variable, {tree}", "take another name")
    return str(tree)


def _fits(one: Type, other: Type) -> bool:
    """Whether a value may be of both types."""
    if one in _ANYTHING or other in _ANYTHING:
        return True
    if isinstance(one, tuple) and isinstance(other, tuple):
        return one[0] == other[0] and all(map(_fits, one[1:], other[1:]))
    return one == other or {one, other} in ({"null", _TIME}, {"null", _SPAN})


def _joined(one: Type, other: Type) -> Type:
    """The type of a value that is of one of these two types, which fit."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return (one[0], *map(_joined, one[1:], other[1:]))
    return one if one == other else _DYN


def _common(types: Sequence[Type]) -> Type:
    """The common type of a list's elements; `dyn` where there is none."""
    if not types:
        return _DYN
    common = types[0]
    for one in types[1:]:
        if not _fits(common, one):
            return _DYN
        common = _joined(common, one)
    return common


def _named(of: Type) -> str:
    """A type in words."""
    if isinstance(of, tuple):
        inside = [part if isinstance(part, str) else part[0] for part in of[1:]]
        return f"a {of[0]}" if _DYN in inside else f"a {of[0]} of {' to '.join(inside)}"
    words = {
        _DYN: "anything",
        _FREE: "anything",
        EVENT_TYPE: "the event",
        "null": "null",
        _TIME: "a timestamp",
        _SPAN: "a duration",
        "type": "a type",
    }
    return words.get(of, f"{'an' if of == _INT else 'a'} {of}")

"""The guests of rules, as WAT: the rules of one group share a module, in which each has a function (or, in a program, a
case) of its own. A module takes far longer to compile than to run, and the application loads it once for all guests.

Imports are declared with the types that docs/abi.md has, not with those of the code.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from guesthouse.dapr.api_methods import METHODS
from guesthouse.scripted.messages import fill

from . import models
from .rulebook import FOLDER, Call, Group, Rule, components, documented, filled, import_of

PAGE = 65536
_FIRST = 1024  # address of the first data; below it frames keep their records

#: Words of `calls` besides host functions: they put bytes at an address into the reply.
WORDS = {
    "u32": "(call $say32 (i32.load {0}))",
    "u64": "(call $say64 (i64.load {0}))",
    "thousandths": "(call $say32 (i32.trunc_f32_s (f32.nearest (f32.mul (f32.load {0}) (f32.const 1000)))))",
    "hex": "(call $sayhex {0} {1})",
    "text": "(call $saytext {0} {1})",
    "variable": "(call $variable {0} {1} {2})",
}


def module_of(group: Group) -> str:
    """The one module of a group's rules that have none of their own."""
    rules = [rule for rule in group.rules if not rule.module]
    data = _Data()
    shared = data.add(group.data, {})
    functions, cases, names = [], [], set()
    for index, rule in enumerate(rules):
        places = data.add(filled(rule.data, {"id": rule.id}), shared)
        body = _substituted(rule.body, places) if rule.body else _body(group, rule.calls, places)
        names |= set(re.findall(r"\(call \$([\w:/-]+\.[\w.-]+)", body))
        if "{cases}" in _frame(group):
            functions.append(f"(func ${rule.id} {body})")
            cases.append(
                f"(if (i32.eq (local.get 0) (i32.const {case_of(index)})) (then (call ${rule.id}) (call $finish)))"
            )
        else:
            kind = rule.type or group.type
            end = "(call $finish)" if rule.calls and "$finish" in _frame(group) else ""
            functions.append(f'(func (export "{rule.id}") {kind} {body} {end})')
    pages = -(-data.end // PAGE)
    parts = {
        "imports": "\n  ".join(_import(name) for name in sorted(names)),
        "data": "\n  ".join(data.segments),
        "functions": "\n  ".join(functions),
        "cases": "\n    ".join(cases),
        "reply": str(pages * PAGE),
        "heap": str((pages + 1) * PAGE),
        "pages": str(pages + 3),
    }
    text = _frame(group)
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    return text


def case_of(index: int) -> int:
    """The first byte of the body of the event that is meant for a group's rule of this index, in a program."""
    return 33 + index


def place_of(group: Group, rule: Rule) -> int | None:
    """A rule's case in its group's program; None where it has a function of its own."""
    if rule.module or "{cases}" not in _frame(group):
        return None
    return case_of([one.id for one in group.rules if not one.module].index(rule.id))


def _frame(group: Group) -> str:
    return (FOLDER / f"{group.frame}.wat").read_text(encoding="utf-8") if group.frame else ""


def _import(name: str) -> str:
    module, _, field = name.partition(".")
    params, results = documented()[module][field]
    if (module, field) in components():
        module, field, *_ = components()[module, field]
    return f'(import "{module}" "{field}" (func ${name} (param {" ".join(params)}) (result {" ".join(results)})))'


# ---- data ----


class _Data:
    """What lies in a module's memory from the start: everything gets an address of its own."""

    def __init__(self) -> None:
        self.segments: list[str] = []
        self.end = _FIRST

    def add(self, items: Mapping[str, Any], known: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Address and length of each item by name, besides those that are `known`."""
        places = dict(known)
        for name, value in items.items():
            at, length = self.end, _length(value)
            places[name] = (at, length)
            self.end = at + length + 8 & ~7
        for name, value in items.items():
            if not isinstance(value, int):
                escaped = "".join(f"\\{byte:02x}" for byte in _bytes(value, places))
                self.segments.append(f'(data (i32.const {places[name][0]}) "{escaped}")')
        return places


def _length(value: Any) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, list):
        return struct.calcsize(value[0])
    return len(_bytes(value, {}))


def _bytes(value: Any, places: Mapping[str, tuple[int, int]]) -> bytes:
    """A text; a list of a `struct` format and its values, where a name is an address and #name a length; or a table:
    `hex`, `repeat` (a text and how often), `message` (a method of the sidecar's and the request's fields, as JSON has
    them; `more` follows in hex), `model` (the bytes of one, and `more`), or `picture` (format, mode, width,
    height and the pixels in hex, again until they are enough; `cut` off after so many bytes)."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return struct.pack(value[0], *(_number(item, places) if isinstance(item, str) else item for item in value[1:]))
    if "hex" in value:
        return bytes.fromhex(value["hex"])
    if "repeat" in value:
        text, count = value["repeat"]
        return str(text).encode() * int(count)
    if "message" in value:
        method, fields = value["message"]
        message = METHODS[method].request()
        fill(message, _repeated(fields), method)
        return bytes(message.SerializeToString()) + bytes.fromhex(value.get("more", ""))
    if "model" in value:
        model: bytes = models.MODELS[value["model"]].SerializeToString()
        return model + str(value.get("more", "")).encode()
    kind, mode, width, height, pixels = value["picture"]
    file = io.BytesIO()
    raw = bytes.fromhex(pixels)
    size = width * height * len(Image.new(mode, (1, 1)).tobytes())
    made = Image.frombytes(mode, (width, height), (raw * size)[:size])
    made.save(file, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    return file.getvalue()[: value.get("cut")]


def _repeated(fields: Any) -> Any:
    """Fields of a message, with `repeat` written out."""
    if isinstance(fields, list):
        return [_repeated(one) for one in fields]
    if not isinstance(fields, dict):
        return fields
    if "repeat" in fields:
        text, count = fields["repeat"]
        return {"text": text * count}
    return {name: _repeated(value) for name, value in fields.items()}


def _number(text: str, places: Mapping[str, tuple[int, int]]) -> int:
    """`name`, `#name` or `name+4`, or a number."""
    name, _, offset = text.lstrip("#").partition("+")
    if name in places:
        return places[name][1 if text.startswith("#") else 0] + int(offset or "0", 0)
    return int(text, 0)


# ---- code ----


def _substituted(text: str, places: Mapping[str, tuple[int, int]]) -> str:
    """`{name}` and `{#name}` as constants."""
    return re.sub(r"\{([^}]+)\}", lambda found: f"(i32.const {_number(found[1], places)})", text)


def _body(group: Group, calls: Sequence[Call], places: Mapping[str, tuple[int, int]]) -> str:
    return "\n    ".join(_code(group, call, places) for call in calls)


def _code(group: Group, call: Call, places: Mapping[str, tuple[int, int]]) -> str:
    if call.name == "wat":
        return _substituted(call.arguments[0], places)
    if call.name in WORDS:
        return WORDS[call.name].format(*(_argument("i32", text, places) for text in call.arguments))
    found = import_of(group, call.name)
    if found is None:
        raise ValueError(f"docs/abi.md has no function {call.name} in {group.modules}")
    module, name = found
    params, results = documented()[module][name]
    if len(params) != len(call.arguments):
        raise ValueError(f"{call.name} has {len(params)} parameters: {call.arguments}")
    arguments = " ".join(_argument(kind, text, places) for kind, text in zip(params, call.arguments, strict=True))
    code = f"(call ${module}.{name} {arguments})"
    if not results:
        return code
    if call.answer is None:
        return f"(drop {code})"
    return f"(call $say{results[0][1:]} {code})"


def _argument(kind: str, text: str, places: Mapping[str, tuple[int, int]]) -> str:
    """A constant, or with `*` before it the u32 at an address."""
    if text.startswith("*"):
        load = f"(i32.load (i32.const {_number(text[1:], places)}))"
        return load if kind == "i32" else f"(i64.extend_i32_u {load})"
    return f"({kind}.const {_number(text, places)})"

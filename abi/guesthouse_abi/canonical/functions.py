"""Makes host functions of Python functions on values, by the signature that the interface's text has.

What a host function does is written once, as Python code, when a guest that imports it is loaded: it makes values of
the call's numbers, calls the function on values, and gives the guest its result. How values become numbers and bytes
is in `types.py`.

An interface that the host answers is an `Answered`: a class for each resource, and a function for each of its own. A
function takes the context, then the values of its parameters. It returns the value of its result; where that is a
`result`, it returns the value of `ok`, or raises `Fail` with the value of `err`. A function of the text that has no
answer here ends the guest as a trap, when it is called; for most, no guest can have a handle to call it with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from guesthouse_abi.canonical.code import Code, unpacked
from guesthouse_abi.canonical.crossing import begin, begin_with_memory
from guesthouse_abi.canonical.texts import Interface, Signature, interface, is_read
from guesthouse_abi.canonical.types import NAMES, Handle, Record, Resource, Result, Type
from guesthouse_abi.context import Context
from guesthouse_abi.errors import HostError
from guesthouse_abi.host import F32, F64, U32, U64, FuncType, HostFunction, ValType

#: Numbers that a function takes; with more parameters, they lie in memory.
MOST_NUMBERS = 16
_KINDS = {ValType.I32: U32, ValType.I64: U64, ValType.F32: F32, ValType.F64: F64}
_DROP = "[resource-drop]"
_INTERFACE = re.compile(r"([a-z0-9-]+:[a-z0-9-]+/[a-z0-9-]+)@([0-9]+\.[0-9]+\.[0-9A-Za-z.-]+)")
Body = TypeVar("Body", bound=Callable[..., Any])


class Fail(Exception):
    """The value of `err` of a function's result."""

    def __init__(self, value: Any = None) -> None:
        super().__init__(value)
        self.value = value


class Answered:
    """An interface that the host answers: `resources` are the classes behind its handles.

    Where `version` ends with a dot, all versions that begin so are one: of a published interface, the later ones have
    more. Drafts differ as they like, so `version` is then a whole one, or several. `package` is the name of the text
    where it is not that of the interface's package: of a draft besides another one.
    """

    def __init__(
        self, name: str, version: str | tuple[str, ...] = "0.2.", package: str = "", **resources: type[Any]
    ) -> None:
        self.name = name
        self._versions = (version,) if isinstance(version, str) else version
        own, _, short = name.partition("/")
        self._text_name = f"{package or own}/{short}"
        self._bodies: dict[str, Callable[..., Any]] = {}
        self._resources = {key.replace("_", "-"): kind for key, kind in resources.items()}
        self._text: Interface | None = None
        self._made: dict[str, HostFunction] = {}

    def has(self, version: str) -> bool:
        """Whether it is this version of the interface, too."""
        return any(version == one or (one.endswith(".") and version.startswith(one)) for one in self._versions)

    def function(self, name: str) -> Callable[[Body], Body]:
        """Register the answer to a function of the interface."""

        def register(body: Body) -> Body:
            if name in self._bodies:
                raise TypeError(f"{self.name} {name} is defined twice")
            self._bodies[name] = body
            return body

        return register

    @property
    def text(self) -> Interface:
        """The interface's text, read when first asked for."""
        if self._text is None:
            found = interface(self._text_name)
            if found is None:
                raise TypeError(f"there is no text of {self._text_name}")
            for name in self._bodies:
                if name not in found.functions:
                    raise TypeError(f"{self.name} has no {name}")
            for name, kind in self._resources.items():
                resource = found.resource(name)
                if resource is None:
                    raise TypeError(f"{self.name} has no resource {name}")
                resource.kind = kind
            self._text = found
        return self._text

    @property
    def is_read(self) -> bool:
        """Whether the text of its package was read: for itself, or for another that uses it."""
        return is_read(self._text_name)

    def prepare(self) -> None:
        """Read the text, so that its handles are known where other interfaces name them."""
        _ = self.text

    def host_function(self, module: str, name: str) -> HostFunction | None:
        """What answers the import `module` `name`; None where the interface has no such function."""
        if name.startswith(_DROP):
            resource = self.text.resource(name[len(_DROP) :])
            if resource is None:
                return None
            signature = Signature((("self", Handle(resource, owned=True)),), None)
            return self._lowered(module, name, signature, _released(resource))
        if name not in self.text.functions:
            return None
        return self._lowered(
            module, name, self.text.functions[name], self._bodies.get(name) or _unanswered(self.name, name)
        )

    def _lowered(self, module: str, name: str, signature: Signature, body: Callable[..., Any]) -> HostFunction:
        """As `lowered`; guests share what is made, whichever version each of them names."""
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = lowered(self.name, name, signature, body)
        return replace(made, module=module)


def named(module: str) -> tuple[str, str]:
    """The interface that an import module or an export names, and its version; empty where it names none."""
    found = _INTERFACE.fullmatch(module)
    return (found[1], found[2]) if found is not None else ("", "")


def lowered(module: str, name: str, signature: Signature, body: Callable[..., Any]) -> HostFunction:
    """A host function as the Canonical ABI has it (`canon lower`)."""
    together = Record([kind for _, kind in signature.parameters])
    flat = list(together.flat)
    in_memory = len(flat) > MOST_NUMBERS
    if in_memory:
        flat = [ValType.I32]
    result = signature.result
    returned = () if result is None else result.flat
    to_memory = len(returned) > 1
    if to_memory:
        flat.append(ValType.I32)
    numbers = [f"n{index}" for index in range(len(flat))]
    code = Code(**NAMES, body=body, begin=begin, begin_with_memory=begin_with_memory, Fail=Fail)
    values = _written_arguments(code, together, numbers, in_memory)
    if to_memory:
        assert result is not None
        write_check(code, numbers[-1], result)
    _write_call(code, f"body({', '.join(['context', *values])})", result, numbers[-1] if to_memory else "")
    types = FuncType(tuple(flat), () if to_memory else tuple(returned))
    _write_beginning(code)
    invoke = code.made(f"{module} {name}", ["context", *numbers])
    return HostFunction(module, name, types, tuple(_KINDS[one] for one in flat), invoke, None)


def _written_arguments(code: Code, together: Record, numbers: Sequence[str], in_memory: bool) -> list[str]:
    """Write the way of the arguments; the expressions of their values."""
    if not in_memory:
        return together.lifted(code, numbers)
    write_check(code, numbers[0], together)
    return together.loaded(code, write_loaded(code, numbers[0], together))


def _write_beginning(code: Code) -> None:
    """Write what comes first: what the rest works on."""
    if not code.mentions("crossing"):
        code.begin_with("handles = begin(context).handles" if code.mentions("handles.") else "begin(context)")
        return
    if code.mentions("handles."):
        code.begin_with("handles = crossing.handles")
    code.begin_with("crossing = begin_with_memory(context)")


def _write_call(code: Code, call: str, result: Type | None, pointer: str) -> None:
    """Write the call, and the way of its result, which goes to memory where `pointer` is an expression."""
    if isinstance(result, Result):
        value = code.name()
        with code.under("try:"):
            code.line(f"{value} = {call}")
        with code.under("except Fail as failure:"):
            code.line("error = failure.value")
            _write_case(code, result, 1, "error", pointer)
        _write_case(code, result, 0, value, pointer)
    elif result is None:
        code.line(call)
    elif pointer:
        fields = result.store(code, code.kept(call))
        code.line(f"crossing.memory.write({pointer}, {code.packer(result.layout)}({', '.join(fields)}))")
    else:
        code.line(f"return {result.lower(code, code.kept(call))[0]}")


def _write_case(code: Code, result: Result, number: int, value: str, pointer: str) -> None:
    if pointer:
        code.line(f"crossing.memory.write({pointer}, {result.stored(code, number, value)})")
        code.line("return None")
    else:
        code.line(f"return {number}")


def write_check(code: Code, pointer: str, kind: Type) -> None:
    """Write the check of an address that is to be one of such a value."""
    if kind.align > 1:
        with code.under(f"if {pointer} & {kind.align - 1}:"):
            code.line(f"raise unaligned({pointer}, {kind.align})")


def write_loaded(code: Code, pointer: str, kind: Type) -> list[str]:
    """Write the reading of a value in the guest's memory; the names of its fields."""
    data = code.kept(f"crossing.memory.read({pointer}, {kind.size})")
    return unpacked(code, kind.fields, f"{code.unpacker(kind.layout)}({data})")


def _released(resource: Resource) -> Callable[..., Any]:
    """What is done with the object of a handle that the guest has dropped: some account for themselves."""
    if not hasattr(resource.kind, "release"):
        return lambda context, item: None

    def release(context: Context, item: Any) -> None:
        item.release(context)

    return release


def _unanswered(interface_name: str, name: str) -> Callable[..., Any]:
    def refuse(context: Context, *values: Any) -> Any:
        raise HostError(f"{interface_name} {name} is not answered by this host")

    return refuse

"""Makes host functions of Python functions on values, by the signature that the interface's text has.

An interface that the host answers is an `Answered`: a class for each resource, and a function for each of its own. A
function takes the context, then the values of its parameters. It returns the value of its result; where that is a
`result`, it returns the value of `ok`, or raises `Fail` with the value of `err`. A function of the text that has no
answer here ends the guest as a trap, when it is called; for most, no guest can have a handle to call it with.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from guesthouse_abi.canonical.texts import Interface, Signature, interface
from guesthouse_abi.canonical.types import Allocator, Crossing, Handle, Reallocates, Record, Result, check_aligned
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

    def prepare(self) -> None:
        """Read the text, so that its handles are known where other interfaces name them."""
        _ = self.text

    def host_function(self, module: str, name: str) -> HostFunction | None:
        """What answers the import `module` `name`; None where the interface has no such function."""
        if name.startswith(_DROP):
            resource = self.text.resource(name[len(_DROP) :])
            if resource is None:
                return None
            body = _dropped(Handle(resource, owned=True))
            return HostFunction(module, name, FuncType((ValType.I32,)), (U32,), body, None)
        signature = self.text.functions.get(name)
        if signature is None:
            return None
        return lowered(module, name, signature, self._bodies.get(name) or _unanswered(self.name, name))


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
    fails = isinstance(result, Result)
    begin, lifts, at = Crossing.begin, [], 0
    for _, kind in signature.parameters:
        lifts.append((kind.lift, at))
        at += len(kind.flat)

    def invoke(context: Context, *numbers: Any) -> Any:
        crossing = begin(context)
        if in_memory:
            check_aligned(numbers[0], together.align)
            values = list(together.unpack(crossing, crossing.memory.read(numbers[0], together.size), 0))
        else:
            values = [lift(crossing, numbers, index) for lift, index in lifts]
        if result is None:
            body(context, *values)
            return None
        if to_memory:
            check_aligned(numbers[-1], result.align)
        if fails:
            try:
                value: Any = "ok", body(context, *values)
            except Fail as failure:
                value = "err", failure.value
        else:
            value = body(context, *values)
        if to_memory:
            crossing.memory.write(numbers[-1], result.pack(crossing, value))
            return None
        return result.lower(crossing, value)[0]

    types = FuncType(tuple(flat), () if to_memory else tuple(returned))
    return HostFunction(module, name, types, tuple(_KINDS[one] for one in flat), invoke, None)


def _dropped(handle: Handle) -> Callable[..., Any]:
    def drop(context: Context, number: int) -> None:
        item = handle.lift(Crossing.begin(context), (number,), 0)
        release = getattr(item, "release", None)  # of what accounts for itself
        if release is not None:
            release(context)

    return drop


def _unanswered(interface_name: str, name: str) -> Callable[..., Any]:
    def refuse(context: Context, *values: Any) -> Any:
        raise HostError(f"{interface_name} {name} is not answered by this host")

    return refuse


def enter(context: Context, instance: Reallocates) -> None:
    """From here to the event's end, host functions may ask this instance's allocator for memory."""
    allocator = context.state(Allocator)
    allocator.instance = instance
    context.at_end(allocator.forget)  # else instance and context would keep each other

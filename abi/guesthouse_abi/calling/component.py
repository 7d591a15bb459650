"""What the calling conventions of components share: which export is meant, and how an instance is made ready."""

from __future__ import annotations

from typing import Any

from guesthouse_abi.calling import Instance, Shape, Start, Unfit, starts_of, type_fault
from guesthouse_abi.canonical.crossing import REALLOC, enter
from guesthouse_abi.canonical.exports import Exported
from guesthouse_abi.canonical.functions import named
from guesthouse_abi.canonical.texts import interface as text_of
from guesthouse_abi.context import Context
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.preview2 import prepare

_INITIALIZE = "_initialize"
_ALLOCATES = FuncType((ValType.I32,) * 4, (ValType.I32,))
_PUBLISHED = "0.2."  # versions of WASI


class Export:
    """A component's function that an event calls. `name` is that of the main module's export."""

    def __init__(self, shape: Shape, name: str, signature: Exported | None = None) -> None:
        self.name = name
        self.starts = starts_of(shape, (_INITIALIZE,))  # see `Caller.starts`
        self._signature = signature
        self._allocates = shape.functions.get(REALLOC) == _ALLOCATES

    def ready(self, start: Start, context: Context) -> Instance:
        """A new instance, whose allocator host functions may use, initialised."""
        instance = start()
        if self._allocates:
            enter(context, instance)
        for name in self.starts:
            instance.call(name)
        return instance

    def call(self, start: Start, context: Context, *values: Any) -> Any:
        """Call it with values, in a new instance; the value of its result. Raises `BadReply`, and what ends a guest."""
        assert self._signature is not None
        return self._signature.call(context, self.ready(start, context), self.name, *values)


def export_of(shape: Shape, interface: str, function: str, kind: FuncType, version: str = _PUBLISHED) -> Export | None:
    """The export for a function of an interface; None where there is none. Raises `Unfit`.

    `version` is a whole one, or ends with a dot: then every one that begins so will do.
    """
    name = _name_of(shape, interface, function, version)
    if name is None:
        return None
    _check(shape, name, kind)
    return Export(shape, name)


def exported(shape: Shape, interface: str, function: str, version: str) -> Export | None:
    """The same for a function whose values cross by its signature in the interface's text (`Export.call`)."""
    name = _name_of(shape, interface, function, version)
    if name is None:
        return None
    text = text_of(interface)
    assert text is not None
    prepare()
    signature = Exported(text.functions[function], f"{interface} {function}")
    _check(shape, name, signature.type)
    return Export(shape, name, signature)


def _name_of(shape: Shape, interface: str, function: str, wanted: str) -> str | None:
    for name in shape.functions:
        module, _, field = name.rpartition("#")
        found, version = named(module)
        fits = version == wanted or (wanted.endswith(".") and version.startswith(wanted))
        if field == function and found == interface and fits:
            return name
    return None


def _check(shape: Shape, name: str, kind: FuncType) -> None:
    if shape.functions[name] != kind:
        raise Unfit([type_fault(shape, name, kind)])
    if not shape.has_memory:
        raise Unfit(["exports no memory"])

"""What the calling conventions of components share: which export is meant, and how an instance is made ready."""

from __future__ import annotations

from guesthouse_abi.calling import Instance, Shape, Start, Unfit, starts_of, type_fault
from guesthouse_abi.canonical.functions import enter, named
from guesthouse_abi.canonical.types import REALLOC
from guesthouse_abi.context import Context
from guesthouse_abi.host import FuncType, ValType

_INITIALIZE = "_initialize"
_ALLOCATES = FuncType((ValType.I32,) * 4, (ValType.I32,))


class Export:
    """A component's function that an event calls. `name` is that of the main module's export."""

    def __init__(self, shape: Shape, name: str) -> None:
        self.name = name
        self.starts = starts_of(shape, (_INITIALIZE,))  # see `Caller.starts`
        self._allocates = shape.functions.get(REALLOC) == _ALLOCATES

    def ready(self, start: Start, context: Context) -> Instance:
        """A new instance, whose allocator host functions may use, initialised."""
        instance = start()
        if self._allocates:
            enter(context, instance)
        for name in self.starts:
            instance.call(name)
        return instance


def export_of(shape: Shape, interface: str, function: str, kind: FuncType) -> Export | None:
    """The export for a function of an interface of WASI 0.2; None where there is none. Raises `Unfit`."""
    for name, found in shape.functions.items():
        module, _, field = name.rpartition("#")
        found_interface, version = named(module)
        if field != function or found_interface != interface or not version.startswith("0.2."):
            continue
        if found != kind:
            raise Unfit([type_fault(shape, name, kind)])
        if not shape.has_memory:
            raise Unfit(["exports no memory"])
        return Export(shape, name)
    return None

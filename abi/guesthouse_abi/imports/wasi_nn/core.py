"""Graphs and execution contexts of one instance, and how wasi-nn numbers errors and tensor types in its versions.

Nothing on the wire says which version a guest was built for. So errors have their newest numbers, unless the manifest
names an older version; and a tensor's type is told by the bytes of an element where its number has two meanings:

=====  ============================  =======================================
type   until 2023-08 (crate 0.5)     since (crate 0.6, wasmedge-wasi-nn 0.7)
=====  ============================  =======================================
0, 1   f16, f32                      f16, f32
2, 3   u8, i32                       f64, u8
4, 5                                 i32, i64
=====  ============================  =======================================

Sources: wasi-nn.witx at 8adc5b9 (2021), e5e1a6c (2022), c1ff124 and 747d8df (2023) of WebAssembly/wasi-nn.
"""

from __future__ import annotations

import enum
import functools
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Denied, HostError, InferenceError, TooMuch
from guesthouse_abi.host import U32
from guesthouse_abi.models import LONGEST_NAME, MARKER, named, resolve, resolve_parts
from guesthouse_abi.services import Model, TensorInfo
from guesthouse_abi.sessions import Output, Session, Sessions, check_size, described, read_tensor, write_tensor

#: The guest crate's versions that a manifest may name.
VERSIONS = ("0.1", "0.2", "0.5", "0.6")
_MOST_GRAPHS = 64
_MOST_BUILDERS = 16
_MOST_DIMENSIONS = 16
_PAIR = struct.Struct("<II")

_ONNX, _AUTODETECT = 1, 5
_ENCODINGS = range(6)  # openvino, onnx, tensorflow, pytorch, tensorflowlite, autodetect
_TARGETS = {0: "CPU", 1: "GPU", 2: "TPU", 3: "AUTO"}

_OLD = {code: np.dtype(name) for code, name in enumerate(("float16", "float32", "uint8", "int32"))}
_NEW = {code: np.dtype(name) for code, name in enumerate(("float16", "float32", "float64", "uint8", "int32", "int64"))}
_TYPES: dict[str | None, Sequence[dict[int, np.dtype[Any]]]] = {
    "0.1": (_OLD,),
    "0.2": (_OLD,),
    "0.5": (_OLD,),
    "0.6": (_NEW,),
    None: (_NEW, _OLD),
}


class Errno(enum.IntEnum):
    """The newest numbers."""

    SUCCESS = 0
    INVALID_ARGUMENT = 1
    INVALID_ENCODING = 2
    MISSING_MEMORY = 3
    BUSY = 4
    RUNTIME_ERROR = 5
    UNSUPPORTED_OPERATION = 6
    TOO_LARGE = 7
    NOT_FOUND = 8


_SINCE_2022 = {Errno.UNSUPPORTED_OPERATION: 1, Errno.TOO_LARGE: 1, Errno.NOT_FOUND: 1}
#: Older numbers, where they differ.
_NUMBERS: dict[str | None, dict[Errno, int]] = {
    "0.1": {
        **_SINCE_2022,
        Errno.INVALID_ENCODING: 1,
        Errno.MISSING_MEMORY: 2,
        Errno.BUSY: 3,
        Errno.RUNTIME_ERROR: 3,
    },
    "0.2": _SINCE_2022,
}


class NnError(HostError):
    """A refusal with a number of its own."""

    def __init__(self, errno: Errno, text: str) -> None:
        super().__init__(text)
        self.errno = errno


def _errno(error: HostError) -> Errno:
    if isinstance(error, NnError):
        return error.errno
    if type(error) is HostError:
        return Errno.MISSING_MEMORY  # a guest without one
    if isinstance(error, TooMuch):
        return Errno.BUSY
    if isinstance(error, Denied):
        return Errno.NOT_FOUND
    return Errno.INVALID_ARGUMENT


def numbered(body: Callable[..., None]) -> Callable[..., U32]:
    """A host function that answers with an errno: 0, or what its `HostError` is in the guest's version."""

    @functools.wraps(body)
    def answer(context: Context, *values: Any) -> U32:
        try:
            body(context, *values)
        except HostError as error:
            context.log("host", f"{body.__module__.rpartition('.')[2]} {body.__name__}: {error}")
            errno = _errno(error)
            return U32(_NUMBERS.get(context.grants.wasi_nn, {}).get(errno, int(errno)))
        return U32(Errno.SUCCESS)

    answer.__annotations__ = {**body.__annotations__, "return": U32}
    return answer


class Graphs:
    """The handles of one instance: of graphs, and of execution contexts. Counted from 1 each, never used twice."""

    def __init__(self) -> None:
        self._last = 0
        self._graphs: dict[int, Model] = {}
        self.contexts = Sessions()

    def add(self, model: Model) -> int:
        """Raises `TooMuch`."""
        if len(self._graphs) >= _MOST_GRAPHS:
            raise TooMuch(f"{_MOST_GRAPHS} graphs are loaded; unload one first")
        self._last += 1
        self._graphs[self._last] = model
        return self._last

    def find(self, handle: int) -> Model:
        """Raises `NnError`."""
        model = self._graphs.get(handle)
        if model is None:
            raise NnError(Errno.INVALID_ARGUMENT, f"there is no graph {handle}")
        return model

    def drop(self, handle: int) -> None:
        """Forget a graph; execution contexts made from it go on. Raises `NnError`."""
        self.find(handle)
        del self._graphs[handle]


def load(
    context: Context, graphs: Graphs, builders: tuple[int, int], encoding: int, target: int, graph_out: int
) -> None:
    """A graph from bytes: `builders` is pointer and number of records {u32 pointer, u32 bytes}.

    They are looked up by digest as everywhere (`models`), several as one behind the other; only ONNX ones may be a
    guest's own.
    """
    pointer, count = builders
    context.memory.check(graph_out, 4)
    if encoding not in _ENCODINGS:
        raise NnError(Errno.INVALID_ENCODING, f"the graph encoding {encoding} is none of 0 to {_ENCODINGS[-1]}")
    if target not in _TARGETS:
        raise NnError(Errno.INVALID_ARGUMENT, f"the execution target {target} is none of 0 to {max(_TARGETS)}")
    if _TARGETS[target] not in ("CPU", "AUTO"):
        context.log("host", f"wasi-nn load: it runs on the CPU, not on a {_TARGETS[target]}")
    if not 1 <= count <= _MOST_BUILDERS:
        raise NnError(Errno.INVALID_ARGUMENT, f"{count} graph builders; 1 to {_MOST_BUILDERS} are taken")
    parts = [context.memory.unpack(_PAIR, pointer + 8 * number) for number in range(count)]
    own = encoding in (_ONNX, _AUTODETECT)
    try:
        model = resolve(context, *parts[0], own=own) if count == 1 else resolve_parts(context, parts)
    except (Denied, InferenceError) as error:
        raise NnError(Errno.RUNTIME_ERROR, str(error)) from error
    context.memory.set_u32(graph_out, graphs.add(model))


def load_by_name(context: Context, graphs: Graphs, name: tuple[int, int], graph_out: int) -> None:
    """A graph by a name that the guest's table has for a model (with or without `guesthouse:model/` before it)."""
    context.memory.check(graph_out, 4)
    wanted = context.memory.text(*name, most=LONGEST_NAME).removeprefix(MARKER.decode())
    try:
        model = named(context, wanted)
    except InferenceError as error:
        raise NnError(Errno.NOT_FOUND, str(error)) from error
    context.memory.set_u32(graph_out, graphs.add(model))


def init_execution_context(context: Context, graphs: Graphs, graph: int, context_out: int) -> None:
    """A context to run a graph in."""
    context.memory.check(context_out, 4)
    handle, session = graphs.contexts.open(graphs.find(graph))
    session.outputs = {info.name: Output(info) for info in session.model.outputs}
    context.memory.set_u32(context_out, handle)


def read_dimensions(context: Context, pointer: int, rank: int) -> tuple[int, ...]:
    """`rank` dimensions of 4 bytes. Raises `NnError`, `OutOfBounds`."""
    if rank > _MOST_DIMENSIONS:
        raise NnError(Errno.INVALID_ARGUMENT, f"a tensor of {rank} dimensions; at most {_MOST_DIMENSIONS}")
    return tuple(context.memory.array(pointer, rank, np.dtype(np.uint32)).tolist()) if rank else ()


def set_input(
    context: Context, session: Session, index: int, shape: tuple[int, ...], code: int, pointer: int, size: int | None
) -> None:
    """Copy a tensor for the input of this index; `size` is None where the guest's records have none."""
    info = _at(session.model, "input", session.model.inputs, index)
    dtype = _dtype(context, code, shape, size)
    if dtype != info.dtype:
        raise InferenceError(f"the input {described(info)} does not take {dtype}")
    if info.shape is not None and (
        len(shape) != len(info.shape)
        or any(wanted not in (None, given) for wanted, given in zip(info.shape, shape, strict=True))
    ):
        raise InferenceError(f"the input {described(info)} does not take the shape {list(shape)}")
    check_size(dtype, shape, math.prod(shape) * dtype.itemsize if size is None else size)
    session.append_input(context, info.name, read_tensor(context, dtype, shape, pointer))


def _dtype(context: Context, code: int, shape: tuple[int, ...], size: int | None) -> np.dtype[Any]:
    """The type that a number means to this guest. Raises `NnError`."""
    known = _TYPES[context.grants.wasi_nn] if size is not None else (_OLD,)
    choices = [types[code] for types in known if code in types]
    if not choices:
        raise NnError(Errno.INVALID_ARGUMENT, f"there is no tensor type {code}")
    count = math.prod(shape)
    fitting = [dtype for dtype in choices if count * dtype.itemsize == size]
    return (fitting or choices)[0]


def compute(context: Context, session: Session) -> None:
    """Run the graph on the inputs that were set, which stay for another run."""
    try:
        session.run(context)
    except InferenceError as error:
        raise NnError(Errno.RUNTIME_ERROR, str(error)) from error


def get_output(context: Context, session: Session, index: int, buffer: int, most: int, written_out: int) -> int:
    """Copy an output into `most` bytes at `buffer`; returns how many it has, which is told also when they are too many.

    What is written at `written_out` is the caller's matter.
    """
    info = _at(session.model, "output", session.model.outputs, index)
    if info.dtype is None:
        text = f"the output {index} ({described(info)}) is {info.kind}, which cannot be given to a guest"
        raise NnError(Errno.UNSUPPORTED_OPERATION, text)
    value = session.outputs[info.name].value
    if value is None:
        raise NnError(Errno.RUNTIME_ERROR, f"the output {info.name} has no value before compute has succeeded")
    context.memory.check(written_out, 4)
    if value.nbytes <= most:
        write_tensor(context, buffer, value, value.nbytes)
    return value.nbytes


def too_large(size: int, most: int, unit: str = "bytes") -> NnError:
    """What a buffer that is too small is told, besides the size that is needed."""
    return NnError(Errno.TOO_LARGE, f"the output has {size} {unit}; the buffer has {most}")


def _at(model: Model, kind: str, infos: Sequence[TensorInfo], index: int) -> TensorInfo:
    if index >= len(infos):
        listed = "; ".join(described(info) for info in list(infos)[:16]) or "none"
        raise NnError(Errno.INVALID_ARGUMENT, f"the model {model.name} has no {kind} {index}; it has {listed}")
    return infos[index]

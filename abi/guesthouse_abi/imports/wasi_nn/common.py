"""The functions that both modules of wasi-nn have under the same types, and what their others share.

Here pointers become values and values bytes of the guest's. Each function is described in docs/abi.md.
"""

from __future__ import annotations

import struct

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.imports.tensors import read_shape, write_tensor
from guesthouse_abi.imports.wasi_nn.numbers import encoding_of, returns_errno, target_of
from guesthouse_abi.services import Tensor
from guesthouse_abi.sessions import wasi_nn
from guesthouse_abi.sessions.handles import Handles
from guesthouse_abi.sessions.model_lookup import LONGEST_NAME
from guesthouse_abi.sessions.wasi_nn import ExecutionContext, NnError, NnErrorKind

#: A pointer and a count: of bytes in a builder, of dimensions, of builders.
PAIR = struct.Struct("<II")

_MOST_BUILDERS = 16
_DIMENSION = np.dtype(np.uint32)


def execution_context(context: Context, handle: int) -> ExecutionContext:
    """Raises `BadHandle`."""
    return context.state(Handles).session(handle, ExecutionContext)


def load_from(context: Context, builders: int, count: int, encoding: int, target: int, graph_out: int) -> None:
    """A graph from `count` records {u32 pointer, u32 bytes} at `builders`."""
    context.memory.check(graph_out, 4)
    known_encoding, known_target = encoding_of(encoding), target_of(target)
    if not 1 <= count <= _MOST_BUILDERS:
        raise NnError(NnErrorKind.INVALID_ARGUMENT, f"{count} graph builders; 1 to {_MOST_BUILDERS} are taken")
    records = [context.memory.unpack(PAIR, builders + PAIR.size * number) for number in range(count)]
    parts = [context.memory.bytes_at(*record) for record in records]
    context.memory.set_u32(graph_out, wasi_nn.load(context, parts, known_encoding, known_target))


def dimensions_at(context: Context, pointer: int, rank: int) -> tuple[int, ...]:
    """`rank` dimensions of 4 bytes. Raises `InferenceError`."""
    return read_shape(context, pointer, rank, _DIMENSION)


def write_output(context: Context, buffer: int, room: int, output: Tensor) -> int:
    """Copy an output into the guest's buffer, where all of it fits; returns how many bytes it has.

    A buffer that does not lie wholly inside the memory is refused, also where the output would fit.
    """
    context.memory.check(buffer, room)
    if output.nbytes <= room:
        write_tensor(context, buffer, output)
    return output.nbytes


def too_large(size: int, room: int, unit: str = "bytes") -> NnError:
    """The refusal for a buffer that is too small. The size that is needed is written beside it."""
    return NnError(NnErrorKind.TOO_LARGE, f"the output has {size} {unit}; the buffer has {room}")


def define_common(module: HostModule) -> None:
    """The functions that both modules have."""

    @module.function()
    @returns_errno(module)
    def load_by_name(context: Context, name: U32, length: U32, graph_out: U32) -> None:
        context.memory.check(graph_out, 4)
        text = context.memory.text(name, length, most=LONGEST_NAME)
        context.memory.set_u32(graph_out, wasi_nn.load_by_name(context, text))

    @module.function()
    @returns_errno(module)
    def init_execution_context(context: Context, graph: U32, context_out: U32) -> None:
        context.memory.check(context_out, 4)
        context.memory.set_u32(context_out, wasi_nn.init_execution_context(context, graph))

    @module.function()
    @returns_errno(module)
    def compute(context: Context, execution: U32) -> None:
        execution_context(context, execution).compute(context)

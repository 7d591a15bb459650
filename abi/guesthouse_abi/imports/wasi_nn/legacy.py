"""The import module `wasi_nn`: WAMR's own wasi-nn from before it followed the witx file.

Every function returns an errno, and is described in docs/abi.md under the module's name. Builders stand in a record
{u32 pointer, u32 count}; a tensor is {u32 dimensions, u32 type, u32 data}, its dimensions a record {u32 pointer, u32
rank}, and has no size: type and dimensions must be right. Types are the old ones. The size of an output is in units of
4 bytes, both ways: what the guest has room for comes in, what was written goes out.
"""

from __future__ import annotations

import math
import struct

from guesthouse_abi.context import Context
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.imports.wasi_nn.common import (
    PAIR,
    define_common,
    dimensions_at,
    execution_context,
    load_from,
    too_large,
    write_output,
)
from guesthouse_abi.imports.wasi_nn.numbers import returns_errno, type_of

MODULE = HostModule("wasi_nn")
_TENSOR = struct.Struct("<III")
_UNIT = 4

define_common(MODULE)


@MODULE.function()
@returns_errno(MODULE)
def load(context: Context, builders: U32, encoding: U32, target: U32, graph_out: U32) -> None:
    records, count = context.memory.unpack(PAIR, builders)
    load_from(context, records, count, encoding, target, graph_out)


@MODULE.function()
@returns_errno(MODULE)
def set_input(context: Context, execution: U32, index: U32, tensor: U32) -> None:
    found = execution_context(context, execution)
    dimensions, code, data = context.memory.unpack(_TENSOR, tensor)
    pointer, rank = context.memory.unpack(PAIR, dimensions)
    shape = dimensions_at(context, pointer, rank)
    dtype = type_of(context, code, shape, None)
    size = math.prod(shape) * dtype.itemsize
    found.set_input(context, index, dtype, shape, context.memory.bytes_at(data, size))


@MODULE.function()
@returns_errno(MODULE)
def get_output(context: Context, execution: U32, index: U32, buffer: U32, size_inout: U32) -> None:
    found = execution_context(context, execution)
    room = context.memory.u32(size_inout)
    size = write_output(context, buffer, room * _UNIT, found.output(index))
    units = -(-size // _UNIT)
    context.memory.set_u32(size_inout, units)
    if size > room * _UNIT:
        raise too_large(units, room, "units of 4 bytes")

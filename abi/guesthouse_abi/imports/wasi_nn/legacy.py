"""The import module `wasi_nn`: WAMR's own wasi-nn from before it followed the witx file.

Builders stand in a record {u32 pointer, u32 count}; a tensor is {u32 dimensions, u32 type, u32 data}, its dimensions a
record {u32 pointer, u32 rank}, and has no size: type and dimensions must be right. Types are the old ones. The size of
an output is in units of 4 bytes, both ways: what the guest has room for comes in, what was written goes out.
"""

from __future__ import annotations

import struct

from guesthouse_abi.context import Context
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.imports.wasi_nn import core
from guesthouse_abi.imports.wasi_nn.core import numbered

MODULE = HostModule("wasi_nn")
_PAIR = struct.Struct("<II")
_TENSOR = struct.Struct("<III")
_UNIT = 4


class _State(core.Graphs):
    """The handles of this module."""


@MODULE.function()
@numbered
def load(context: Context, builders: U32, encoding: U32, target: U32, graph_out: U32) -> None:
    core.load(context, context.state(_State), context.memory.unpack(_PAIR, builders)[:2], encoding, target, graph_out)


@MODULE.function()
@numbered
def load_by_name(context: Context, name: U32, length: U32, graph_out: U32) -> None:
    core.load_by_name(context, context.state(_State), (name, length), graph_out)


@MODULE.function()
@numbered
def init_execution_context(context: Context, graph: U32, context_out: U32) -> None:
    core.init_execution_context(context, context.state(_State), graph, context_out)


@MODULE.function()
@numbered
def set_input(context: Context, execution: U32, index: U32, tensor: U32) -> None:
    session = context.state(_State).contexts.find(execution)
    dimensions, code, data = context.memory.unpack(_TENSOR, tensor)
    shape = core.read_dimensions(context, *context.memory.unpack(_PAIR, dimensions))
    core.set_input(context, session, index, shape, code, data, None)


@MODULE.function()
@numbered
def compute(context: Context, execution: U32) -> None:
    core.compute(context, context.state(_State).contexts.find(execution))


@MODULE.function()
@numbered
def get_output(context: Context, execution: U32, index: U32, buffer: U32, size_inout: U32) -> None:
    session = context.state(_State).contexts.find(execution)
    most = context.memory.u32(size_inout)
    size = core.get_output(context, session, index, buffer, most * _UNIT, size_inout)
    units = -(-size // _UNIT)
    context.memory.set_u32(size_inout, units)
    if size > most * _UNIT:
        raise core.too_large(units, most, "units of 4 bytes")

"""The import module `wasi_ephemeral_nn`: wasi-nn as its witx file has it, and what WasmEdge and WAMR added to it.

Every function returns an errno (`core`). A tensor is a record of 20 bytes: {u32 dimensions, u32 rank, u8 type, 3 bytes
of anything, u32 data, u32 bytes}. Of the additions, a configuration by JSON is read and not used, and what computes one
token at a time is for language models alone: it is refused.
"""

from __future__ import annotations

import json
import struct

from guesthouse_abi.context import Context
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.imports.wasi_nn import core
from guesthouse_abi.imports.wasi_nn.core import Errno, NnError, numbered

MODULE = HostModule("wasi_ephemeral_nn")
_TENSOR = struct.Struct("<IIBxxxII")
_LONGEST_CONFIGURATION = 65536


class _State(core.Graphs):
    """The handles of this module."""


@MODULE.function()
@numbered
def load(context: Context, builders: U32, count: U32, encoding: U32, target: U32, graph_out: U32) -> None:
    core.load(context, context.state(_State), (builders, count), encoding, target, graph_out)


@MODULE.function()
@numbered
def load_by_name(context: Context, name: U32, length: U32, graph_out: U32) -> None:
    core.load_by_name(context, context.state(_State), (name, length), graph_out)


@MODULE.function()
@numbered
def load_by_name_with_config(
    context: Context, name: U32, length: U32, config: U32, config_length: U32, graph_out: U32
) -> None:
    text = context.memory.text(config, config_length, most=_LONGEST_CONFIGURATION)
    try:
        json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise NnError(Errno.INVALID_ARGUMENT, "the configuration is not JSON") from None
    core.load_by_name(context, context.state(_State), (name, length), graph_out)


@MODULE.function()
@numbered
def unload(context: Context, graph: U32) -> None:
    context.state(_State).drop(graph)


@MODULE.function()
@numbered
def init_execution_context(context: Context, graph: U32, context_out: U32) -> None:
    core.init_execution_context(context, context.state(_State), graph, context_out)


@MODULE.function()
@numbered
def finalize_execution_context(context: Context, execution: U32) -> None:
    context.state(_State).contexts.close(context, execution)


@MODULE.function()
@numbered
def set_input(context: Context, execution: U32, index: U32, tensor: U32) -> None:
    session = context.state(_State).contexts.find(execution)
    dimensions, rank, code, data, size = context.memory.unpack(_TENSOR, tensor)
    core.set_input(context, session, index, core.read_dimensions(context, dimensions, rank), code, data, size)


@MODULE.function()
@numbered
def compute(context: Context, execution: U32) -> None:
    core.compute(context, context.state(_State).contexts.find(execution))


@MODULE.function()
@numbered
def get_output(context: Context, execution: U32, index: U32, buffer: U32, most: U32, written_out: U32) -> None:
    session = context.state(_State).contexts.find(execution)
    size = core.get_output(context, session, index, buffer, most, written_out)
    context.memory.set_u32(written_out, size)  # also where it is too much: what the guest needs
    if size > most:
        raise core.too_large(size, most)


def _token_by_token() -> NnError:
    return NnError(Errno.UNSUPPORTED_OPERATION, "computing one token at a time is for language models; use compute")


@MODULE.function()
@numbered
def compute_single(context: Context, execution: U32) -> None:
    context.state(_State).contexts.find(execution)
    raise _token_by_token()


@MODULE.function()
@numbered
def get_output_single(context: Context, execution: U32, index: U32, buffer: U32, most: U32, written_out: U32) -> None:
    context.state(_State).contexts.find(execution)
    raise _token_by_token()


@MODULE.function()
@numbered
def fini_single(context: Context, execution: U32) -> None:
    context.state(_State).contexts.find(execution)
    raise _token_by_token()

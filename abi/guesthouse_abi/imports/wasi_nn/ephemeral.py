"""The import module `wasi_ephemeral_nn`: wasi-nn as its witx file has it, and what WasmEdge and WAMR added to it.

Every function returns an errno, and is described in docs/abi.md under the module's name. A tensor is a record of 20
bytes: {u32 dimensions, u32 rank, u8 type, 3 bytes of anything, u32 data, u32 bytes}. Of the additions, a configuration
by JSON is read and not used, and what computes one token at a time is for language models alone: it is refused.
"""

from __future__ import annotations

import json
import struct

from guesthouse_abi.context import Context
from guesthouse_abi.host import U32, HostModule
from guesthouse_abi.imports.wasi_nn.common import (
    define_common,
    dimensions_at,
    execution_context,
    load_from,
    too_large,
    write_output,
)
from guesthouse_abi.imports.wasi_nn.numbers import returns_errno, type_of
from guesthouse_abi.sessions import wasi_nn
from guesthouse_abi.sessions.handles import Handles
from guesthouse_abi.sessions.model_lookup import LONGEST_NAME
from guesthouse_abi.sessions.wasi_nn import ExecutionContext, NnError, NnErrorKind

MODULE = HostModule("wasi_ephemeral_nn")
_TENSOR = struct.Struct("<IIBxxxII")
_LONGEST_CONFIGURATION = 65536

define_common(MODULE)


@MODULE.function()
@returns_errno(MODULE)
def load(context: Context, builders: U32, count: U32, encoding: U32, target: U32, graph_out: U32) -> None:
    load_from(context, builders, count, encoding, target, graph_out)


@MODULE.function()
@returns_errno(MODULE)
def load_by_name_with_config(
    context: Context, name: U32, length: U32, config: U32, config_length: U32, graph_out: U32
) -> None:
    configuration = context.memory.text(config, config_length, most=_LONGEST_CONFIGURATION)
    try:
        json.loads(configuration or "{}")
    except (ValueError, RecursionError):
        raise NnError(NnErrorKind.INVALID_ARGUMENT, "the configuration is not JSON") from None
    context.memory.check(graph_out, 4)
    text = context.memory.text(name, length, most=LONGEST_NAME)
    context.memory.set_u32(graph_out, wasi_nn.load_by_name(context, text))


@MODULE.function()
@returns_errno(MODULE)
def unload(context: Context, graph: U32) -> None:
    wasi_nn.unload(context, graph)


@MODULE.function()
@returns_errno(MODULE)
def finalize_execution_context(context: Context, execution: U32) -> None:
    context.state(Handles).close_session(context, execution, ExecutionContext)


@MODULE.function()
@returns_errno(MODULE)
def set_input(context: Context, execution: U32, index: U32, tensor: U32) -> None:
    found = execution_context(context, execution)
    dimensions, rank, code, data, size = context.memory.unpack(_TENSOR, tensor)
    shape = dimensions_at(context, dimensions, rank)
    dtype = type_of(context, code, shape, size)
    found.set_input(context, index, dtype, shape, context.memory.bytes_at(data, size))


@MODULE.function()
@returns_errno(MODULE)
def get_output(context: Context, execution: U32, index: U32, buffer: U32, most: U32, written_out: U32) -> None:
    output = execution_context(context, execution).output(index)
    context.memory.check(written_out, 4)
    size = write_output(context, buffer, most, output)
    context.memory.set_u32(written_out, size)  # also where it is too much: what the guest needs
    if size > most:
        raise too_large(size, most)


def _refuse_single_tokens(context: Context, execution: int) -> None:
    execution_context(context, execution)
    text = "computing one token at a time is for language models; use compute"
    raise NnError(NnErrorKind.UNSUPPORTED_OPERATION, text)


@MODULE.function()
@returns_errno(MODULE)
def compute_single(context: Context, execution: U32) -> None:
    _refuse_single_tokens(context, execution)


@MODULE.function()
@returns_errno(MODULE)
def get_output_single(context: Context, execution: U32, index: U32, buffer: U32, most: U32, written_out: U32) -> None:
    _refuse_single_tokens(context, execution)


@MODULE.function()
@returns_errno(MODULE)
def fini_single(context: Context, execution: U32) -> None:
    _refuse_single_tokens(context, execution)

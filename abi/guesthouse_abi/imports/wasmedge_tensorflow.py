"""The import module `wasmedge_tensorflow`: models that a guest believes to be TensorFlow graphs, in both generations.

What generations are, and how v1 reports what is wrong, is in `wasmedge_sessions`, with the functions that TensorFlow
Lite has too. Each function is described in docs/abi.md, under the module's name.

A guest names an input or output `name`, `name:0` or `name:2` (the operation of a graph and its output); v1 has two
parameters for that. The number of a tensor ends with `delete_session` and `clear_output`; in v1, where it stands for a
result and not for an output, also with `run_session`.
"""

from __future__ import annotations

import numpy as np

from guesthouse_abi.context import Context
from guesthouse_abi.errors import InferenceError
from guesthouse_abi.host import U32, U64, HostModule
from guesthouse_abi.imports.tensors import read_shape
from guesthouse_abi.imports.wasmedge_numbers import FAULTS, NO_HANDLE, SUCCESS, dtype_of
from guesthouse_abi.imports.wasmedge_sessions import deferring_errors, define_v1, define_v2, v1_function
from guesthouse_abi.sessions.handles import Handles
from guesthouse_abi.sessions.model_lookup import granted, named
from guesthouse_abi.sessions.tensorflow import TensorflowSession, full_name

#: What functions of v2 answer; those of v1 have numbers of their own.
MODULE = HostModule("wasmedge_tensorflow", FAULTS)

_DIMENSION = np.dtype(np.int64)
_TAG = 8  # bytes of a record {u32 pointer, u32 length}; what the tags say has no meaning here

define_v2(MODULE, TensorflowSession)
define_v1(MODULE, TensorflowSession)


def _session(context: Context, handle: int) -> TensorflowSession:
    return context.state(Handles).session(handle, TensorflowSession)


def _append_input(
    context: Context,
    session: TensorflowSession,
    name: str,
    dimensions: tuple[int, int],
    code: int,
    data: tuple[int, int],
) -> None:
    """Copy a tensor. `dimensions` are pointer and rank, `data` pointer and length."""
    info = session.input(name)
    dtype = dtype_of(code, info.name)
    shape = read_shape(context, *dimensions, _DIMENSION)
    session.take_input(context, info, dtype, shape, context.memory.bytes_at(*data))


# ---- v2 ----


@MODULE.function()
def create_session_saved_model(
    context: Context, path: U32, path_length: U32, tags: U32, tag_count: U32, session_out: U32
) -> U32:
    context.memory.check(session_out, 4)
    context.memory.check(tags, tag_count * _TAG)
    wanted = context.memory.text(path, path_length)
    if not granted(context, wanted):
        raise InferenceError(
            f"a saved model is a folder, and none is read here: give the guest a model of the name {wanted!r} "
            '(docs/manifest.md), or use create_session with the model\'s bytes or "guesthouse:model/NAME"'
        )
    session = TensorflowSession(named(context, wanted))
    context.memory.set_u32(session_out, context.state(Handles).add_session(session))
    return SUCCESS


@MODULE.function()
def append_input(
    context: Context,
    session: U32,
    name: U32,
    name_length: U32,
    dimensions: U32,
    rank: U32,
    dtype: U32,
    data: U32,
    size: U32,
) -> U32:
    found = _session(context, session)
    asked = full_name(context.memory.text(name, name_length))
    _append_input(context, found, asked, (dimensions, rank), dtype, (data, size))
    return SUCCESS


@MODULE.function()
def append_output(context: Context, session: U32, name: U32, name_length: U32) -> U32:
    found = _session(context, session)
    found.append_output(full_name(context.memory.text(name, name_length)))
    return SUCCESS


@MODULE.function()
def clear_input(context: Context, session: U32) -> U32:
    _session(context, session).clear_inputs(context)
    return SUCCESS


@MODULE.function()
def clear_output(context: Context, session: U32) -> U32:
    _session(context, session).clear_outputs(context)
    return SUCCESS


# ---- v1 ----


@v1_function(MODULE, "get_output_tensor", NO_HANDLE)
def v1_get_output_tensor(context: Context, session: U64, name: U32, name_length: U32, index: U32) -> U64:
    handles = context.state(Handles)
    found = handles.session(session, TensorflowSession)
    output = found.output(f"{context.memory.text(name, name_length)}:{index}")
    return U64(0 if output.value is None else handles.tensor_handle(found, output))


@v1_function(MODULE, "append_input")
def v1_append_input(
    context: Context,
    session: U64,
    name: U32,
    name_length: U32,
    index: U32,
    dimensions: U32,
    rank: U32,
    dtype: U32,
    data: U32,
    size: U32,
) -> None:
    def append(found: TensorflowSession) -> None:
        asked = f"{context.memory.text(name, name_length)}:{index}"
        _append_input(context, found, asked, (dimensions, rank), dtype, (data, size))

    deferring_errors(context, "wasmedge_tensorflow_append_input", TensorflowSession, session, "inputs", append)


@v1_function(MODULE, "append_output")
def v1_append_output(context: Context, session: U64, name: U32, name_length: U32, index: U32) -> None:
    def append(found: TensorflowSession) -> None:
        found.append_output(f"{context.memory.text(name, name_length)}:{index}")

    deferring_errors(context, "wasmedge_tensorflow_append_output", TensorflowSession, session, "outputs", append)


@v1_function(MODULE, "clear_input")
def v1_clear_input(context: Context, session: U64) -> None:
    def clear(found: TensorflowSession) -> None:
        found.clear_inputs(context)

    deferring_errors(context, "wasmedge_tensorflow_clear_input", TensorflowSession, session, "inputs", clear)


@v1_function(MODULE, "clear_output")
def v1_clear_output(context: Context, session: U64) -> None:
    def clear(found: TensorflowSession) -> None:
        found.clear_outputs(context)

    deferring_errors(context, "wasmedge_tensorflow_clear_output", TensorflowSession, session, "outputs", clear)

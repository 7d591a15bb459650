"""The import module `wasmedge_tensorflowlite`: models that a guest believes to be TensorFlow Lite files, in both
generations.

What generations are, and how v1 reports what is wrong, is in `wasmedge_sessions`, with the functions that TensorFlow
has too. Each function is described in docs/abi.md, under the module's name.

A guest hands over bytes only: types and shapes are the model's. A session has all outputs of its model from the start.
In v2 a tensor's number is the index of the output in the model; in v1 it is a handle, which ends with `delete_session`.
"""

from __future__ import annotations

from guesthouse_abi.context import Context
from guesthouse_abi.host import U32, U64, HostModule
from guesthouse_abi.imports.wasmedge_numbers import FAULTS, NO_HANDLE, SUCCESS
from guesthouse_abi.imports.wasmedge_sessions import deferring_errors, define_v1, define_v2, v1_function
from guesthouse_abi.sessions.handles import Handles
from guesthouse_abi.sessions.tensorflow import TensorflowLiteSession

#: What functions of v2 answer; those of v1 have numbers of their own.
MODULE = HostModule("wasmedge_tensorflowlite", FAULTS)

define_v2(MODULE, TensorflowLiteSession)
define_v1(MODULE, TensorflowLiteSession)


def _append_input(
    context: Context, session: TensorflowLiteSession, name: tuple[int, int], data: tuple[int, int]
) -> None:
    """Copy a tensor. Both are pointer and length."""
    session.append_input(context, context.memory.text(*name), context.memory.bytes_at(*data))


@MODULE.function()
def append_input(context: Context, session: U32, name: U32, name_length: U32, data: U32, size: U32) -> U32:
    found = context.state(Handles).session(session, TensorflowLiteSession)
    _append_input(context, found, (name, name_length), (data, size))
    return SUCCESS


@v1_function(MODULE, "append_input")
def v1_append_input(context: Context, session: U64, name: U32, name_length: U32, data: U32, size: U32) -> None:
    def append(found: TensorflowLiteSession) -> None:
        _append_input(context, found, (name, name_length), (data, size))

    deferring_errors(context, "wasmedge_tensorflowlite_append_input", TensorflowLiteSession, session, "inputs", append)


@v1_function(MODULE, "get_output_tensor", NO_HANDLE)
def v1_get_output_tensor(context: Context, session: U64, name: U32, name_length: U32) -> U64:
    handles = context.state(Handles)
    found = handles.session(session, TensorflowLiteSession)
    output = found.output_by_text(context.memory.text(name, name_length))
    return U64(handles.tensor_handle(found, output))

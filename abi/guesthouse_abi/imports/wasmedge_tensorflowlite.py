"""The import module `wasmedge_tensorflowlite`: models that a guest believes to be TensorFlow Lite files, in both
generations (see `wasmedge_tensorflow` for what these are, and for how v1 reports what is wrong).

A guest hands over bytes only: types and shapes are the model's. An input whose first (or only) free dimension is not
given gets it from the number of bytes. Names are matched whole. A session has all outputs of its model from the
start; before a run, a free dimension counts as 1 in the length of an output. Bytes in and out must have exactly the
tensor's length in v2. An output's id in v2 is its index among the model's outputs; in v1 it is a handle, dead after
`delete_session`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, HostError, InferenceError
from guesthouse_abi.host import U32, U64, HostModule
from guesthouse_abi.models import resolve
from guesthouse_abi.services import Tensor
from guesthouse_abi.sessions import (
    FAILED,
    FAULTS,
    NO_HANDLE,
    RUN_FAULTS,
    SUCCESS,
    Output,
    Session,
    Sessions,
    check_given,
    choose,
    quietly,
    read_tensor,
    shape_of,
    static_size,
    write_tensor,
)

#: v2's; v1 has some of its own.
MODULE = HostModule("wasmedge_tensorflowlite", FAULTS)


class _State(Sessions):
    """The sessions of this module."""


def _open(context: Context, model: int, length: int) -> int:
    handle, session = context.state(_State).open(resolve(context, model, length))
    session.outputs = {info.name: Output(info) for info in session.model.outputs}
    return handle


def _append_input(context: Context, session: Session, name: str, data: int, size: int) -> None:
    info = choose(session.model, "input", [name])
    shape = shape_of(info, size)
    assert info.dtype is not None  # or shape_of had refused
    session.append_input(context, info.name, read_tensor(context, info.dtype, shape, data))


def _output(session: Session, name: str) -> Output:
    info = choose(session.model, "output", [name])
    check_given(info)
    return session.outputs[info.name]


def _length(output: Output) -> int:
    check_given(output.info)
    return static_size(output.info) if output.value is None else output.value.nbytes


def _value(output: Output) -> Tensor:
    check_given(output.info)
    if output.value is None:
        raise InferenceError(f"the output {output.info.name} has no value before run_session has succeeded")
    return output.value


# ---- v2: every function returns an error number ----


@MODULE.function()
def create_session(context: Context, model: U32, length: U32, session_out: U32) -> U32:
    context.memory.check(session_out, 4)
    context.memory.set_u32(session_out, _open(context, model, length))
    return U32(SUCCESS)


@MODULE.function()
def delete_session(context: Context, session: U32) -> U32:
    try:
        context.state(_State).close(context, session)
    except BadHandle:
        pass  # as WasmEdge has it: unknown sessions are deleted already
    return U32(SUCCESS)


@MODULE.function(faults=RUN_FAULTS)
def run_session(context: Context, session: U32) -> U32:
    context.state(_State).find(session).run(context)
    return U32(SUCCESS)


@MODULE.function()
def get_output_tensor(context: Context, session: U32, name: U32, name_length: U32, tensor_out: U32) -> U32:
    found = context.state(_State).find(session)
    output = _output(found, context.memory.text(name, name_length))
    context.memory.set_u32(tensor_out, list(found.outputs.values()).index(output))
    return U32(SUCCESS)


def _by_index(session: Session, index: int) -> Output:
    outputs = list(session.outputs.values())
    if index >= len(outputs):
        raise BadHandle(f"there is no tensor {index}: the model {session.model.name} has {len(outputs)} outputs")
    return outputs[index]


@MODULE.function()
def get_tensor_len(context: Context, session: U32, tensor: U32, length_out: U32) -> U32:
    found = context.state(_State).find(session)
    context.memory.set_u32(length_out, _length(_by_index(found, tensor)))
    return U32(SUCCESS)


@MODULE.function()
def get_tensor_data(context: Context, session: U32, tensor: U32, data: U32, size: U32, written_out: U32) -> U32:
    output = _by_index(context.state(_State).find(session), tensor)
    value = _value(output)
    context.memory.check(data, size)
    context.memory.check(written_out, 4)
    if size != value.nbytes:
        raise InferenceError(f"the output {output.info.name} has {value.nbytes} bytes; the buffer has {size}")
    context.memory.set_u32(written_out, write_tensor(context, data, value, size))
    return U32(SUCCESS)


@MODULE.function()
def append_input(context: Context, session: U32, name: U32, name_length: U32, data: U32, size: U32) -> U32:
    found = context.state(_State).find(session)
    _append_input(context, found, context.memory.text(name, name_length), data, size)
    return U32(SUCCESS)


# ---- v1: handles of 64 bits, no error numbers ----


def _v1(name: str, faults: dict[type[HostError], int] | None = None) -> Callable[..., Any]:
    return MODULE.function(f"wasmedge_tensorflowlite_{name}", faults=faults)


@_v1("create_session", NO_HANDLE)
def v1_create_session(context: Context, model: U32, length: U32) -> U64:
    return U64(_open(context, model, length))


@_v1("delete_session")
def v1_delete_session(context: Context, session: U64) -> None:
    try:
        context.state(_State).close(context, session)
    except BadHandle as error:
        if session:
            context.log("host", f"wasmedge_tensorflowlite_delete_session: {error}")


@_v1("run_session", FAILED)
def v1_run_session(context: Context, session: U64) -> U32:
    context.state(_State).find(session).run(context)
    return U32(0)


@_v1("get_output_tensor", NO_HANDLE)
def v1_get_output_tensor(context: Context, session: U64, name: U32, name_length: U32) -> U64:
    state = context.state(_State)
    found = state.find(session)
    return U64(state.tensor(found, _output(found, context.memory.text(name, name_length))))


@_v1("get_tensor_len", NO_HANDLE)
def v1_get_tensor_len(context: Context, tensor: U64) -> U32:
    if tensor == 0:
        return U32(0)
    return U32(_length(context.state(_State).find_tensor(tensor)[1]))


@_v1("get_tensor_data")
def v1_get_tensor_data(context: Context, tensor: U64, data: U32) -> None:
    try:
        value = _value(context.state(_State).find_tensor(tensor)[1])
    except (BadHandle, InferenceError) as error:
        context.log("host", f"wasmedge_tensorflowlite_get_tensor_data: {error}")
        return
    write_tensor(context, data, value, value.nbytes)


@_v1("append_input")
def v1_append_input(context: Context, session: U64, name: U32, name_length: U32, data: U32, size: U32) -> None:
    def append(found: Session) -> None:
        _append_input(context, found, context.memory.text(name, name_length), data, size)

    quietly("wasmedge_tensorflowlite_append_input", context, context.state(_State), session, append)

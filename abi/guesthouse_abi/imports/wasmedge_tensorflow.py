"""The import module `wasmedge_tensorflow`: models that a guest believes to be TensorFlow graphs, in both generations.

v1 (WasmEdge 0.8 to 0.12, guest crate 0.2) has fields that begin with the module's name, handles of 64 bits and no
error numbers; v2 (from 0.13, crate 0.3) has bare fields and returns one from each. Both live here and share one table
of handles. Which model is meant is decided in `models`, sessions and tensors are kept by `sessions`.

Names: a guest says `name`, `name:0` or `name:2` (the operation and its output, as graphs have them); the model is
asked for the full form first and, for output 0, for the bare name. Where a converted model has other names, the
manifest renames them.

In v1 a function that returns a handle answers 0, one that returns a code 1, when something is wrong. Where a function
returns nothing, a pointer outside the memory stops the guest; anything else (an unknown handle, an unknown name, a
tensor that does not fit) is logged, does nothing, and makes the session's next `run_session` answer 1. An input that
is appended twice counts once, with its last value. Handles of tensors are dead after `run_session`, `clear_output`
and `delete_session`; in v2, where they name an output and not a result, only after the last two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, HostError, InferenceError
from guesthouse_abi.host import U32, U64, HostModule
from guesthouse_abi.models import granted, named, resolve
from guesthouse_abi.services import Tensor
from guesthouse_abi.sessions import (
    DTYPES,
    FAILED,
    FAULTS,
    NO_HANDLE,
    RUN_FAULTS,
    SUCCESS,
    Output,
    Session,
    Sessions,
    check_given,
    check_size,
    choose,
    quietly,
    read_shape,
    read_tensor,
    write_tensor,
)

#: v2's; v1 has some of its own.
MODULE = HostModule("wasmedge_tensorflow", FAULTS)


class _State(Sessions):
    """The sessions of this module."""


def _split(name: str) -> tuple[str, int]:
    """`name:2` as its two parts; output 0 where none is given."""
    operation, colon, index = name.rpartition(":")
    if colon and index.isascii() and index.isdecimal():
        return operation, int(index)
    return name, 0


def _forms(operation: str, index: int) -> list[str]:
    return [f"{operation}:{index}", operation] if index == 0 else [f"{operation}:{index}"]


def _append_input(
    context: Context,
    session: Session,
    name: tuple[str, int],
    dimensions: tuple[int, int],
    code: int,
    data: tuple[int, int],
) -> None:
    info = choose(session.model, "input", _forms(*name))
    dtype = DTYPES.get(code)
    if dtype is None:
        known = ", ".join(f"{number} {kind}" for number, kind in DTYPES.items())
        raise InferenceError(f"the data type {code} of the input {info.name} is not one of {known}")
    shape = read_shape(context, *dimensions)
    pointer, size = data
    check_size(dtype, shape, size)
    session.append_input(context, info.name, read_tensor(context, dtype, shape, pointer))


def _append_output(session: Session, name: tuple[str, int]) -> None:
    info = choose(session.model, "output", _forms(*name))
    session.outputs.setdefault("{}:{}".format(*name), Output(info))


def _clear_outputs(context: Context, session: Session) -> None:
    context.state(_State).drop_tensors(session)
    session.clear_results(context)
    session.outputs.clear()


def _appended(session: Session, name: tuple[str, int]) -> Output:
    output = session.outputs.get("{}:{}".format(*name))
    if output is None:
        raise InferenceError("the output {}:{} was not appended before".format(*name))
    check_given(output.info)
    return output


# ---- v2: every function returns an error number ----


@MODULE.function()
def create_session(context: Context, model: U32, length: U32, session_out: U32) -> U32:
    context.memory.check(session_out, 4)
    handle, _ = context.state(_State).open(resolve(context, model, length))
    context.memory.set_u32(session_out, handle)
    return U32(SUCCESS)


@MODULE.function()
def create_session_saved_model(
    context: Context, path: U32, path_length: U32, tags: U32, tag_count: U32, session_out: U32
) -> U32:
    context.memory.check(session_out, 4)
    wanted = context.memory.text(path, path_length)
    if not granted(context, wanted):
        raise InferenceError(
            f"a saved model is a folder, and none is read here: give the guest a model of the name {wanted!r} "
            '(docs/manifest.md), or use create_session with the model\'s bytes or "guesthouse:model/NAME"'
        )
    handle, _ = context.state(_State).open(named(context, wanted))
    context.memory.set_u32(session_out, handle)
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
    state = context.state(_State)
    found = state.find(session)
    context.memory.check(tensor_out, 4)
    output = _appended(found, _split(context.memory.text(name, name_length)))
    context.memory.set_u32(tensor_out, state.tensor(found, output))
    return U32(SUCCESS)


def _result(context: Context, session: int, tensor: int) -> Tensor | None:
    state = context.state(_State)
    owner, output = state.find_tensor(tensor)
    if owner is not state.find(session):
        raise BadHandle(f"the tensor {tensor} is not of session {session}")
    return output.value


@MODULE.function()
def get_tensor_len(context: Context, session: U32, tensor: U32, length_out: U32) -> U32:
    value = _result(context, session, tensor)
    context.memory.set_u32(length_out, 0 if value is None else value.nbytes)
    return U32(SUCCESS)


@MODULE.function()
def get_tensor_data(context: Context, session: U32, tensor: U32, data: U32, size: U32, written_out: U32) -> U32:
    value = _result(context, session, tensor)
    context.memory.check(data, size)
    context.memory.check(written_out, 4)
    written = 0 if value is None else write_tensor(context, data, value, size)
    context.memory.set_u32(written_out, written)
    return U32(SUCCESS)


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
    found = context.state(_State).find(session)
    asked = _split(context.memory.text(name, name_length))
    _append_input(context, found, asked, (dimensions, rank), dtype, (data, size))
    return U32(SUCCESS)


@MODULE.function()
def append_output(context: Context, session: U32, name: U32, name_length: U32) -> U32:
    found = context.state(_State).find(session)
    _append_output(found, _split(context.memory.text(name, name_length)))
    return U32(SUCCESS)


@MODULE.function()
def clear_input(context: Context, session: U32) -> U32:
    context.state(_State).find(session).clear_inputs(context)
    return U32(SUCCESS)


@MODULE.function()
def clear_output(context: Context, session: U32) -> U32:
    _clear_outputs(context, context.state(_State).find(session))
    return U32(SUCCESS)


# ---- v1: handles of 64 bits, no error numbers ----


def _v1(name: str, faults: dict[type[HostError], int] | None = None) -> Callable[..., Any]:
    return MODULE.function(f"wasmedge_tensorflow_{name}", faults=faults)


@_v1("create_session", NO_HANDLE)
def v1_create_session(context: Context, model: U32, length: U32) -> U64:
    handle, _ = context.state(_State).open(resolve(context, model, length))
    return U64(handle)


@_v1("delete_session")
def v1_delete_session(context: Context, session: U64) -> None:
    try:
        context.state(_State).close(context, session)
    except BadHandle as error:
        if session:
            context.log("host", f"wasmedge_tensorflow_delete_session: {error}")


@_v1("run_session", FAILED)
def v1_run_session(context: Context, session: U64) -> U32:
    state = context.state(_State)
    found = state.find(session)
    state.drop_tensors(found)
    found.run(context)
    return U32(0)


@_v1("get_output_tensor", NO_HANDLE)
def v1_get_output_tensor(context: Context, session: U64, name: U32, name_length: U32, index: U32) -> U64:
    state = context.state(_State)
    found = state.find(session)
    output = _appended(found, (context.memory.text(name, name_length), index))
    return U64(0 if output.value is None else state.tensor(found, output))


@_v1("get_tensor_len", NO_HANDLE)
def v1_get_tensor_len(context: Context, tensor: U64) -> U32:
    if tensor == 0:
        return U32(0)
    value = context.state(_State).find_tensor(tensor)[1].value
    return U32(0 if value is None else value.nbytes)


@_v1("get_tensor_data")
def v1_get_tensor_data(context: Context, tensor: U64, data: U32) -> None:
    try:
        value = context.state(_State).find_tensor(tensor)[1].value
    except BadHandle as error:
        context.log("host", f"wasmedge_tensorflow_get_tensor_data: {error}")
        return
    if value is not None:
        write_tensor(context, data, value, value.nbytes)


@_v1("append_input")
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
    def append(found: Session) -> None:
        asked = (context.memory.text(name, name_length), index)
        _append_input(context, found, asked, (dimensions, rank), dtype, (data, size))

    quietly("wasmedge_tensorflow_append_input", context, context.state(_State), session, append)


@_v1("append_output")
def v1_append_output(context: Context, session: U64, name: U32, name_length: U32, index: U32) -> None:
    def append(found: Session) -> None:
        _append_output(found, (context.memory.text(name, name_length), index))

    quietly("wasmedge_tensorflow_append_output", context, context.state(_State), session, append)


@_v1("clear_input")
def v1_clear_input(context: Context, session: U64) -> None:
    def clear(found: Session) -> None:
        found.clear_inputs(context)

    quietly("wasmedge_tensorflow_clear_input", context, context.state(_State), session, clear)


@_v1("clear_output")
def v1_clear_output(context: Context, session: U64) -> None:
    def clear(found: Session) -> None:
        _clear_outputs(context, found)

    quietly("wasmedge_tensorflow_clear_output", context, context.state(_State), session, clear)

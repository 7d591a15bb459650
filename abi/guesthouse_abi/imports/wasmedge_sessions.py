"""What the import modules `wasmedge_tensorflow` and `wasmedge_tensorflowlite` have in common, in both generations.

v1 (WasmEdge 0.8 to 0.12, guest crate 0.2) has functions that begin with the module's name, handles of 64 bits and no
error numbers; v2 (from 0.13, crate 0.3) has bare names and returns an error number from each. Both work on the same
sessions.

In v1 a function that returns a handle answers 0, one that returns a code 1, when something is wrong. Where a function
returns nothing, a pointer outside the memory stops the guest; anything else (an unknown handle, an unknown name, a
tensor that does not fit) is logged, does nothing, and makes the runs of the session fail (`deferring_errors`).

Here pointers become values and values bytes of the guest's. What is done with them is in `sessions/tensorflow.py`, and
each function is described in docs/abi.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadHandle, HostError, InferenceError, OutOfBounds
from guesthouse_abi.host import U32, U64, HostModule
from guesthouse_abi.imports.tensors import write_tensor
from guesthouse_abi.imports.wasmedge_numbers import FAILED, NO_HANDLE, RUN_FAULTS, SUCCESS
from guesthouse_abi.sessions.handles import AnySession, Handles
from guesthouse_abi.sessions.model_lookup import resolve
from guesthouse_abi.sessions.session import Side
from guesthouse_abi.sessions.tensorflow import WasmEdgeSession


def v1_function(module: HostModule, name: str, faults: dict[type[HostError], int] | None = None) -> Callable[..., Any]:
    """Registers a function of v1, whose name begins with the module's."""
    return module.function(f"{module.name}_{name}", faults=faults)


def deferring_errors(
    context: Context, function: str, kind: type[AnySession], handle: int, side: Side, work: Callable[[AnySession], None]
) -> None:
    """Do `work` on a session for a function of v1 that returns nothing.

    A pointer outside the memory raises `OutOfBounds` (a trap). Any other `HostError` is logged and makes the runs of
    the session fail, until the guest clears that `side` of the session.
    """
    session: AnySession | None = None
    try:
        session = context.state(Handles).session(handle, kind)
        work(session)
    except OutOfBounds:
        raise
    except HostError as error:
        context.log_refusal(function, error)
        if session is not None:
            session.faults[side] = str(error)


def open_session(context: Context, kind: type[WasmEdgeSession], model: int, length: int) -> int:
    """The handle of a session on the model that the bytes mean."""
    session = kind(resolve(context, context.memory.bytes_at(model, length)))
    return context.state(Handles).add_session(session)


def define_v2(module: HostModule, kind: type[WasmEdgeSession]) -> None:
    """The functions of v2 that both modules have, for sessions of this kind."""

    @module.function()
    def create_session(context: Context, model: U32, length: U32, session_out: U32) -> U32:
        context.memory.check(session_out, 4)
        context.memory.set_u32(session_out, open_session(context, kind, model, length))
        return SUCCESS

    @module.function()
    def delete_session(context: Context, session: U32) -> U32:
        try:
            context.state(Handles).close_session(context, session, kind)
        except BadHandle:
            pass  # WasmEdge answers so too: an unknown session is one that is deleted already
        return SUCCESS

    @module.function(faults=RUN_FAULTS)
    def run_session(context: Context, session: U32) -> U32:
        context.state(Handles).session(session, kind).run(context)
        return SUCCESS

    @module.function()
    def get_output_tensor(context: Context, session: U32, name: U32, name_length: U32, tensor_out: U32) -> U32:
        handles = context.state(Handles)
        found = handles.session(session, kind)
        context.memory.check(tensor_out, 4)
        output = found.output_by_text(context.memory.text(name, name_length))
        context.memory.set_u32(tensor_out, found.number_of(handles, output))
        return SUCCESS

    @module.function()
    def get_tensor_len(context: Context, session: U32, tensor: U32, length_out: U32) -> U32:
        handles = context.state(Handles)
        found = handles.session(session, kind)
        context.memory.set_u32(length_out, found.length(found.output_by_number(handles, tensor)))
        return SUCCESS

    @module.function()
    def get_tensor_data(context: Context, session: U32, tensor: U32, data: U32, size: U32, written_out: U32) -> U32:
        handles = context.state(Handles)
        found = handles.session(session, kind)
        output = found.output_by_number(handles, tensor)
        context.memory.check(data, size)
        context.memory.check(written_out, 4)
        value = found.value_for(output, size)
        written = 0 if value is None else write_tensor(context, data, value, size)
        context.memory.set_u32(written_out, written)
        return SUCCESS


def define_v1(module: HostModule, kind: type[WasmEdgeSession]) -> None:
    """The functions of v1 that both modules have, for sessions of this kind."""

    def log(context: Context, function: str, error: HostError) -> None:
        context.log("host", f"{module.name}_{function}: {error}")

    @v1_function(module, "create_session", NO_HANDLE)
    def create_session(context: Context, model: U32, length: U32) -> U64:
        return U64(open_session(context, kind, model, length))

    @v1_function(module, "delete_session")
    def delete_session(context: Context, session: U64) -> None:
        try:
            context.state(Handles).close_session(context, session, kind)
        except BadHandle as error:
            if session:
                log(context, "delete_session", error)

    @v1_function(module, "run_session", FAILED)
    def run_session(context: Context, session: U64) -> U32:
        handles = context.state(Handles)
        found = handles.session(session, kind)
        if found.v1_run_ends_tensors:
            handles.remove_tensors(found)
        found.run(context)
        return U32(0)

    @v1_function(module, "get_tensor_len", NO_HANDLE)
    def get_tensor_len(context: Context, tensor: U64) -> U32:
        if tensor == 0:
            return U32(0)
        found, output = context.state(Handles).tensor(tensor, kind)
        return U32(found.length(output))

    @v1_function(module, "get_tensor_data")
    def get_tensor_data(context: Context, tensor: U64, data: U32) -> None:
        try:
            found, output = context.state(Handles).tensor(tensor, kind)
            value = found.value(output)
        except (BadHandle, InferenceError) as error:
            log(context, "get_tensor_data", error)
            return
        if value is not None:
            write_tensor(context, data, value)

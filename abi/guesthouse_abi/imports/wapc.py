"""The import module `wapc`: a request and its answer, and calls to the host, as guests of waPC make them.

The host's side of a call is the sidecar, under the same grants as the calls of `dapr_v1`: the binding is `dapr`, the
namespace the API's service (or nothing), the operation a method of it, and the payload its request message. Other
bindings are answered with an error's text, as waPC does. How a guest is called, and what becomes of its answer, is in
`calling/wapc.py`.
"""

from __future__ import annotations

from guesthouse_abi.calls import Code, call
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, BadText, HostError, TooMuch
from guesthouse_abi.host import I32, U32, HostModule
from guesthouse_abi.lastwords import ERROR_TEXT
from guesthouse_abi.services import CallRequest

MODULE = HostModule("wapc")

BINDING = "dapr"
NAMESPACE = "dapr.proto.runtime.v1.Dapr"
_NAME = 128  # bytes of a binding, a namespace or an operation
_LINE = 1 << 16  # bytes of a line of the log


class Exchange:
    """What one event hands over, and what the guest has handed back. `called`: by waPC's convention."""

    def __init__(self) -> None:
        self.called = False
        self.operation = b""
        self.payload = b""
        self.response: bytes | None = None
        self.error: str | None = None
        self.host_response = b""
        self.host_error = b""


def begin(context: Context, operation: bytes, payload: bytes) -> Exchange:
    """The exchange of an event, which the guest may see from now on."""
    exchange = context.state(Exchange)
    exchange.called, exchange.operation, exchange.payload = True, operation, payload
    return exchange


def _exchange(context: Context) -> Exchange:
    exchange = context.state(Exchange)
    if not exchange.called:
        raise HostError('there is no such request in a guest that is not called as "wapc"')
    return exchange


@MODULE.function("__guest_request")
def guest_request(context: Context, operation: U32, payload: U32) -> None:
    exchange = _exchange(context)
    context.memory.write(operation, exchange.operation)
    context.memory.write(payload, exchange.payload)


@MODULE.function("__guest_response")
def guest_response(context: Context, pointer: U32, length: U32) -> None:
    exchange = _exchange(context)
    context.memory.check(pointer, length)
    if length > context.limits.output:
        raise BadReply(f"a reply of {length} bytes; the limit output is {context.limits.output}")
    context.hold(length)
    if exchange.response is not None:
        context.release(len(exchange.response))
    exchange.response = context.memory.read(pointer, length)


@MODULE.function("__guest_error")
def guest_error(context: Context, pointer: U32, length: U32) -> None:
    exchange = _exchange(context)
    context.memory.check(pointer, length)
    exchange.error = context.memory.read(pointer, min(length, ERROR_TEXT)).decode("utf-8", "replace")


@MODULE.function("__host_call")
def host_call(
    context: Context,
    binding: U32,
    binding_length: U32,
    namespace: U32,
    namespace_length: U32,
    operation: U32,
    operation_length: U32,
    payload: U32,
    length: U32,
) -> I32:
    exchange = context.state(Exchange)
    context.memory.check(payload, length)
    exchange.host_response = exchange.host_error = b""
    refusal = ""
    try:
        asked = context.memory.text(binding, binding_length, _NAME)
        service = context.memory.text(namespace, namespace_length, _NAME)
        method = context.memory.text(operation, operation_length, _NAME)
        if asked != BINDING:
            refusal = f"there is no binding {asked!a}: the host has {BINDING!a}"
        elif service not in ("", NAMESPACE):
            refusal = f"there is no namespace {service!a}: write {NAMESPACE!a}, or nothing"
        elif length > context.limits.host_memory:
            refusal = f"a request of {length} bytes; the limit host_memory is {context.limits.host_memory}"
        else:
            ended = call(context, CallRequest(method, context.memory.read(payload, length)))
            if ended.code == Code.OK:
                exchange.host_response = ended.message or b""
                return I32(1)
            exchange.host_error = f"{Code(ended.code).name}: {ended.text}".encode("utf-8", "replace")
            refusal = f"{method}: {ended.text}" if ended.refused else ""
    except (BadText, TooMuch) as error:
        refusal = str(error)
    if refusal:
        context.log("host", f"wapc.__host_call: {refusal}")
        exchange.host_error = exchange.host_error or refusal.encode("utf-8", "replace")
    return I32(0)


@MODULE.function("__host_response_len")
def host_response_len(context: Context) -> U32:
    return U32(len(context.state(Exchange).host_response))


@MODULE.function("__host_response")
def host_response(context: Context, pointer: U32) -> None:
    context.memory.write(pointer, context.state(Exchange).host_response)


@MODULE.function("__host_error_len")
def host_error_len(context: Context) -> U32:
    return U32(len(context.state(Exchange).host_error))


@MODULE.function("__host_error")
def host_error(context: Context, pointer: U32) -> None:
    context.memory.write(pointer, context.state(Exchange).host_error)


@MODULE.function("__console_log")
def console_log(context: Context, pointer: U32, length: U32) -> None:
    context.memory.check(pointer, length)
    context.log("stdout", context.memory.read(pointer, min(length, _LINE)).decode("utf-8", "replace"))

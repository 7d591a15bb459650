"""The calling convention of waPC: an operation by its name, a payload, and a response or an error's text.

The payload is the event's body, the response is the reply. The operation is the one that the manifest names
(`function`), else the event's name: the method, the binding, `PUBSUB/TOPIC`, the job. How the guest gets and gives
these, and what it may call, is in `imports/wapc.py`. Specified at https://wapc.io/docs/spec.
"""

from __future__ import annotations

from guesthouse_abi.calling import Request, Response, Shape, Start, Unfit, start_up, starts_of, type_fault
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, GuestError, guest_failure
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports import wapc
from guesthouse_abi.imports.wasi_preview1 import flush, last_words

CALL = "__guest_call"
_TYPE = FuncType((ValType.I32, ValType.I32), (ValType.I32,))
#: What is called before, in this order, where it is exported: a program's start, a library's, and waPC's own.
_STARTS = ("_start", "_initialize", "wapc_init")
_FAILED, _DONE = 0, 1


class Wapc:
    """Calls `__guest_call` once per event. `operation` is what it asks for; empty: the event's name."""

    def __init__(self, operation: str = "") -> None:
        self._operation = operation

    def bind(self, shape: Shape) -> WapcCaller:
        """See `Convention.bind`."""
        problems = [] if shape.has_memory else ["exports no memory"]
        if CALL not in shape.functions:
            problems.append(f"exports no function {CALL!r}, which a guest of waPC has")
        elif shape.functions[CALL] != _TYPE:
            problems.append(type_fault(shape, CALL, _TYPE))
        if problems:
            raise Unfit(problems)
        return WapcCaller(self._operation, starts_of(shape, _STARTS))


class WapcCaller:
    """A `Caller`: `starts` are called first."""

    triggers: frozenset[str] | None = None
    what = "operations of waPC (__guest_call)"

    def __init__(self, operation: str, starts: tuple[str, ...]) -> None:
        self._operation = operation
        self.starts = starts  # see `Caller.starts`

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`. The guest's own error ends the event as that of a function does (`guest_failure`)."""
        operation = (self._operation or context.event.name).encode("utf-8", "replace")
        exchange = wapc.begin(context, operation, request.body)
        try:
            instance = start()
            for name in self.starts:
                start_up(instance, name)
            done = instance.call(CALL, len(operation), len(request.body))
        finally:
            flush(context)
        if done not in (_FAILED, _DONE):
            raise BadReply(f"{CALL} gave {done}; it is 1 for a response and 0 for an error")
        if exchange.error is not None and (done == _FAILED or exchange.response is None):
            raise guest_failure(exchange.error)
        if done == _FAILED:
            raise GuestError(last_words(context) or "the guest gives no reason")
        return Response(exchange.response or b"")

"""The calling convention of components for messages, by `wasi:messaging` or `wasmcloud:messaging`.

They export `wasi:messaging/incoming-handler`, or `wasmcloud:messaging/handler`. A message of a topic is handed over
with its body: by `wasi:messaging` also with its topic, its content type and its metadata, by wasmCloud's interface with
the subject `PUBSUB/TOPIC`. The event is answered when the handler returns, and has failed where that returns an error.
There is no reply.
"""

from __future__ import annotations

from guesthouse_abi.calling import Request, Response, Shape, Start, Unfit
from guesthouse_abi.calling.component import Export, exported
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.errors import GuestError, TryAgain
from guesthouse_abi.imports.preview2.messaging import Message
from guesthouse_abi.imports.wasi_preview1 import flush

_WASI = "wasi:messaging/incoming-handler"
_WASMCLOUD = "wasmcloud:messaging/handler"
_TEXT = 1024  # characters of an error


class Messaging:
    """Calls `handle`, or `handle-message`."""

    def bind(self, shape: Shape) -> Receiver:
        """See `Convention.bind`."""
        handle = exported(shape, _WASI, "handle", "0.2.0-draft")
        if handle is not None:
            return Receiver(handle, whole=True)
        handle = exported(shape, _WASMCLOUD, "handle-message", "0.2.0")
        if handle is None:
            raise Unfit([f"exports neither {_WASI} nor {_WASMCLOUD}: it is no component for messages"])
        return Receiver(handle, whole=False)


class Receiver:
    """A `Caller`: the handler of one component. `whole`: it takes a message of `wasi:messaging`."""

    triggers: frozenset[str] | None = frozenset({"topic"})

    def __init__(self, handle: Export, whole: bool) -> None:
        self._handle = handle
        self._whole = whole

    @property
    def entry(self) -> str:
        """The export that is called."""
        return self._handle.name

    @property
    def what(self) -> str:
        """See `Caller.what`."""
        return f"a component for messages ({self.entry})"

    @property
    def starts(self) -> tuple[str, ...]:
        """See `Caller.starts`."""
        return self._handle.starts

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`. Raises `GuestError` and `TryAgain` for an error of the handler's."""
        event = context.event
        try:
            if self._whole:
                topic = event.name.partition("/")[2]
                message = Message(request.body, topic, event.content_type or None, event.metadata.items())
                outcome = self._handle.call(start, context, message)
            else:
                outcome = self._handle.call(start, context, (event.name, request.body, None))
        finally:
            flush(context)
        if outcome.name == "err":
            raise _failure(outcome.value)
        return Response(b"")


def _failure(error: Case | str) -> GuestError | TryAgain:
    if isinstance(error, str):
        return GuestError(error[:_TEXT] or "the guest gives no reason")
    if error.name == "timeout":
        return TryAgain("the guest's error is a timeout")
    return GuestError(f"{error.name}: {str(error.value)[:_TEXT]}" if error.value else error.name)

"""The calling convention of guests that are written for `dapr_v1`: one handler for each kind of event.

Specified in abi/spec/dapr_v1.md, section 2. What a guest does inside a handler, to read its event and to write its
reply, is in `imports/dapr_v1.py`.
"""

from __future__ import annotations

from guesthouse_abi.calling import (
    NOT_OK,
    Caller,
    Request,
    Response,
    Shape,
    Start,
    Unfit,
    start_up,
    starts_of,
    text_of,
    type_fault,
)
from guesthouse_abi.calling.dapr_guest import callbacks_of
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, CallError, GuestError, MalformedEvent, TryAgain
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.dapr_v1 import Draft, begin_draft
from guesthouse_abi.imports.wasi_preview1 import flush, last_words

TRIGGERS = ("invoke", "topic", "binding", "job", "operation", "actor", "timer", "reminder", "activate", "deactivate")
_PREFIX = "dapr_on_"
_ANY = "dapr_on_event"
#: What is called for a trigger that has no handler of its own, instead of `_ANY`, in order.
_OTHERS = {"timer": (_PREFIX + "actor", _ANY), "reminder": (_PREFIX + "actor", _ANY), "activate": (), "deactivate": ()}
_STOPPED = frozenset({"timer", "reminder"})  # events that the guest may want no more of
_HANDLER = FuncType((), (ValType.I32,))
_STARTS = ("_initialize", "_start")
_DONE, _FAILED, _RETRY, _DROP, _STOP = range(5)
_OUTCOMES: dict[int, type[CallError]] = {_FAILED: GuestError, _RETRY: TryAgain, _DROP: MalformedEvent}


class Dapr:
    """Calls `dapr_on_invoke`, `dapr_on_topic` and so on, or the callbacks of a component (`dapr_guest.py`)."""

    def bind(self, shape: Shape) -> Caller:
        """See `Convention.bind`."""
        callbacks = callbacks_of(shape)
        if callbacks is not None:
            return callbacks
        names = (*(_PREFIX + trigger for trigger in TRIGGERS), _ANY)
        found = [name for name in names if name in shape.functions]
        problems = [] if shape.has_memory else ["exports no memory"]
        if not found:
            problems.append(f"exports no handler ({', '.join(names)}): it is not written for dapr_v1")
        problems += [type_fault(shape, name, _HANDLER) for name in found if shape.functions[name] != _HANDLER]
        if problems:
            raise Unfit(problems)
        handlers = {}
        for trigger in TRIGGERS:
            choices = (_PREFIX + trigger, *_OTHERS.get(trigger, (_ANY,)))
            if name := next((choice for choice in choices if choice in found), None):
                handlers[trigger] = name
        return Handlers(handlers, starts_of(shape, _STARTS)[:1])


class Handlers:
    """A `Caller`: the handlers of one module, by trigger, and what is called before them."""

    def __init__(self, handlers: dict[str, str], starts: tuple[str, ...]) -> None:
        self._handlers = handlers
        self.starts = starts  # see `Caller.starts`

    @property
    def what(self) -> str:
        """See `Caller.what`."""
        return f"handlers for {', '.join(self._handlers)}"

    @property
    def triggers(self) -> frozenset[str]:
        """See `Caller.triggers`."""
        return frozenset(self._handlers)

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`.

        Raises `GuestError`, `TryAgain` and `MalformedEvent` by the outcome, with the guest's own text.
        """
        handler = self._handlers.get(context.event.trigger)
        if handler is None:
            raise BadReply(f"the guest has no handler for an event of the kind {context.event.trigger!a}")
        draft = begin_draft(context)
        try:
            instance = start()
            for name in self.starts:
                start_up(instance, name)
            outcome = instance.call(handler)
        finally:
            flush(context)
        stop = outcome == _STOP and context.event.trigger in _STOPPED
        if outcome != _DONE and not stop:
            raise _failed(outcome, draft, context, handler)
        return _response(draft, stop)


def _response(draft: Draft, stop: bool) -> Response:
    text = draft.text
    if draft.status >= NOT_OK and text is None:
        text = text_of(draft.body)
    return Response(
        bytes(draft.body),
        draft.content_type,
        tuple(draft.headers),
        draft.status,
        text or "",
        draft.retry_after,
        stop,
    )


def _failed(outcome: int, draft: Draft, context: Context, handler: str) -> CallError:
    kind = _OUTCOMES.get(outcome)
    if kind is None:
        return BadReply(f"{handler} gave {outcome}; an outcome is 0, 1, 2 or 3, and 4 for timers and reminders")
    error = kind(draft.text or last_words(context) or "the guest gives no reason")
    if isinstance(error, TryAgain):
        error.after = draft.retry_after
    return error

"""The calling convention `dapr` for components: an event is a record for a callback of `dapr:guest`.

It is the twin of the handlers in `dapr.py`, and specified in abi/spec/dapr_guest.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from guesthouse_abi.calling import NOT_OK, Request, Response, Shape, Start, text_of
from guesthouse_abi.calling.component import Export, exported
from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, CallError, GuestError, MalformedEvent, TryAgain
from guesthouse_abi.facts import EventFacts
from guesthouse_abi.headers import BLOCK, may_be_set
from guesthouse_abi.imports.preview2.dapr import VERSION, Metadata
from guesthouse_abi.imports.wasi_preview1 import flush

_PACKAGE = "dapr:guest/"
#: The interface and the function for each kind of event.
_CALLBACKS: Mapping[str, tuple[str, str]] = {
    "invoke": ("invocation-callback", "on-invoke"),
    "topic": ("pubsub-callback", "on-topic-event"),
    "binding": ("bindings-callback", "on-binding-event"),
    "job": ("jobs-callback", "on-job-event"),
    "operation": ("operations-callback", "on-operation"),
    "actor": ("actors-callback", "on-invoke"),
    "timer": ("actors-callback", "on-timer"),
    "reminder": ("actors-callback", "on-reminder"),
    "activate": ("actors-lifecycle", "activate"),
    "deactivate": ("actors-lifecycle", "deactivate"),
}
_WITH_STATUS = frozenset({"invoke", "actor"})
_TEXT = 1024  # characters of a failure's text, bytes of a reply's
_TYPE = 256  # characters of a content type
_LOWEST, _HIGHEST = 200, 599
_FAILURES: Mapping[str, type[CallError]] = {"failed": GuestError, "retry": TryAgain, "drop": MalformedEvent}


def callbacks_of(shape: Shape) -> Callbacks | None:
    """What calls a component that exports callbacks; None for a module that has none. Raises `Unfit`."""
    found = {}
    for trigger, (interface, function) in _CALLBACKS.items():
        export = exported(shape, _PACKAGE + interface, function, VERSION)
        if export is not None:
            found[trigger] = export
    return Callbacks(found) if found else None


class Callbacks:
    """A `Caller`: the callbacks of one component, by trigger."""

    def __init__(self, exports: Mapping[str, Export]) -> None:
        self._exports = exports

    @property
    def what(self) -> str:
        """See `Caller.what`."""
        return f"a component with callbacks for {', '.join(self._exports)}"

    @property
    def triggers(self) -> frozenset[str]:
        """See `Caller.triggers`."""
        return frozenset(self._exports)

    @property
    def starts(self) -> tuple[str, ...]:
        """See `Caller.starts`. They are the same for each callback."""
        return next(iter(self._exports.values())).starts

    def run(self, start: Start, context: Context, request: Request) -> Response:
        """See `Caller.run`.

        Raises `GuestError`, `TryAgain` and `MalformedEvent` by the guest's failure, with its own text.
        """
        trigger = context.event.trigger
        export = self._exports.get(trigger)
        if export is None:
            raise BadReply(f"the guest has no callback for an event of the kind {trigger!a}")
        try:
            outcome = export.call(start, context, _event(context.event, request.body))
        finally:
            flush(context)
        if outcome.name == "err":
            raise _failure(outcome.value.name, outcome.value.value)
        return _response(context, outcome.value)


def _event(event: EventFacts, body: bytes) -> tuple[Any, ...]:
    topic = actor = None
    if event.trigger == "topic":
        pubsub, _, name = event.name.partition("/")
        topic = pubsub, name, event.metadata.get("ce_source"), event.metadata.get("ce_type")
    if event.actor is not None:
        actor = event.actor.id, event.actor.method or None, event.actor.callback or None
    return (
        event.name,
        body,
        event.content_type or None,
        event.verb or None,
        event.query or None,
        event.path or None,
        event.id or None,
        list(event.metadata.items()),
        topic,
        actor,
    )


def _failure(kind: str, told: Any) -> CallError:
    text, after = told if kind == "retry" else (told, None)
    error = _FAILURES[kind](text[:_TEXT] or "the guest gives no reason")
    if isinstance(error, TryAgain) and after is not None:
        error.after = after / 1000
    return error


def _response(context: Context, reply: tuple[Any, ...]) -> Response:
    data, kind, status, headers, text, after, stop = reply
    trigger = context.event.trigger
    if len(data) > context.limits.output:
        raise BadReply(f"a reply of {len(data)} bytes; the limit output is {context.limits.output}")
    if kind is not None and not (kind.isascii() and kind.isprintable() and len(kind) <= _TYPE):
        raise BadReply(f"a content type that is not at most {_TYPE} characters of printable ASCII: {kind[:80]!a}")
    if trigger not in _WITH_STATUS:
        status = _LOWEST
    elif not _LOWEST <= status <= _HIGHEST:
        raise BadReply(f"a reply with the status {status}; it is one from {_LOWEST} to {_HIGHEST}")
    if text is None and status >= NOT_OK:
        text = text_of(data)
    return Response(
        data,
        kind,
        _headers(context, headers) if trigger == "invoke" else (),
        status,
        (text or "")[:_TEXT],
        None if after is None else after / 1000,
        stop and trigger in ("timer", "reminder"),
    )


def _headers(context: Context, given: Metadata) -> tuple[tuple[str, str], ...]:
    size = sum(len(name) + len(value) for name, value in given)
    if size > BLOCK:
        raise BadReply(f"the reply has headers of more than {BLOCK} characters")
    kept = []
    for name, value in given:
        if name != "content-type" and may_be_set(name, value):
            kept.append((name, value))
        else:
            context.log("host", f"the header {name[:64]!a} of the reply was left out: a guest may not set it")
    return tuple(kept)

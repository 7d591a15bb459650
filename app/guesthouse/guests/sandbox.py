"""Answers one event in one fresh sandbox: makes an instance, calls it, takes the reply, frees the instance.

What the end of a guest (a trap, an exit, an error) means for the caller is decided here. Admission is in `slots.py`,
what a guest may import in `guesthouse_abi.imports`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import perf_counter

from guesthouse.engine.base import Instance, Linked
from guesthouse.event import Answer, Cost, Event, Failure, Reason, Reply
from guesthouse.guests.guest import Guest, Tally
from guesthouse.tracecontext import PARENT, STATE, context_of
from guesthouse_abi import errors
from guesthouse_abi.calling import Caller, Request
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.imports.wasi_preview1 import last_words

TEXT = 1024  # characters of a guest's own words that reach the caller

_REASONS: dict[type[errors.CallError], Reason] = {
    errors.Trap: Reason.TRAP,
    errors.BadReply: Reason.BAD_REPLY,
    errors.GuestError: Reason.GUEST,
    errors.MalformedEvent: Reason.MALFORMED,
    errors.NotFound: Reason.NOT_FOUND,
    errors.TryAgain: Reason.TRY_AGAIN,
    errors.DeadlineExceeded: Reason.DEADLINE,
    errors.Cancelled: Reason.CANCELLED,
    errors.Exit: Reason.GUEST,
    errors.HostFunctionError: Reason.INTERNAL,
}

#: Ends that a limit of the host may have led to: the text then says also what the host had refused.
_OWN = frozenset({Reason.GUEST, Reason.MALFORMED, Reason.NOT_FOUND, Reason.TRY_AGAIN, Reason.TRAP, Reason.BAD_REPLY})

#: The reasons for which a guest's run may fail, by name: a worker may report no other.
REASONS = frozenset(reason.value for reason in (*_REASONS.values(), Reason.BAD_REPLY))

_OK = 200
TRACE = (PARENT, STATE)
_NOT_A_NAME = re.compile(r"[^A-Z0-9_]")


class Sandbox:
    """A `guest.Runner` that runs events in this process, each in a fresh instance. For any number of threads."""

    def __init__(self, linked: Linked, caller: Caller, replaced: Tally | None = None) -> None:
        self.linked = linked
        self.replaced = replaced or Tally()
        self._caller = caller

    def run(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        """See `guest.Runner.run`."""
        config = guest.config
        grants = config.grants
        started = perf_counter()
        deadline.tighten(guest.limits.time)
        context = Context(
            deadline,
            grants,
            guest.limits,
            guest.services,
            arguments=(guest.name, *grants.args),
            variables=lambda: (*grants.env, *_facts(event)),
            files=guest.granted.files,
            event=event,
        )
        linked, memory = self.linked, 0
        instance: Instance | None = None

        def start() -> Instance:
            nonlocal instance
            instance = linked.instantiate(context)
            return instance

        try:
            try:
                response = self._caller.run(start, context, Request(event.body))
            finally:
                if instance is not None:
                    memory = instance.memory.size if instance.memory is not None else 0
                    instance.close()
                context.end()
        except (errors.CallError, errors.HostError) as error:
            words = last_words(context)
            raise _failure(error, words, guest, context, _cost(context, started, memory)) from error
        kind = config.reply_type if response.content_type is None else response.content_type
        answer = None
        if response.status != _OK:
            answer = Answer(response.status, response.text, response.retry_after)
        cost = _cost(context, started, memory)
        return Reply(response.body, kind, guest.name, cost, response.headers, answer, response.stop)

    def retain(self) -> Sandbox:
        """See `guest.Runner.retain`. There is nothing to count: a sandbox holds nothing between events."""
        return self

    def close(self) -> None:
        """See `guest.Runner.close`. There is nothing to let go of."""


def _facts(event: Event) -> Sequence[tuple[str, str]]:
    """What a guest can read of its event as environment variables."""
    facts = [
        ("GUESTHOUSE_TRIGGER", event.trigger.value),
        ("GUESTHOUSE_NAME", event.name),
        ("GUESTHOUSE_VERB", event.verb),
        ("GUESTHOUSE_QUERY", event.query),
        ("GUESTHOUSE_CONTENT_TYPE", event.content_type),
        ("GUESTHOUSE_PATH", event.path),
        ("GUESTHOUSE_ID", event.id),
    ]
    if event.actor is not None:
        facts += [
            ("GUESTHOUSE_ACTOR_ID", event.actor.id),
            ("GUESTHOUSE_ACTOR_METHOD", event.actor.method),
            ("GUESTHOUSE_ACTOR_CALLBACK", event.actor.callback),
        ]
    # https://opentelemetry.io/docs/specs/otel/context/env-carriers/
    # A sidecar whose traces are off sends a traceparent of zeros, which is none.
    trace = context_of({key: event.metadata.get(key, "") for key in TRACE})
    metadata = {**event.metadata, **trace}
    facts += [(key.upper(), value) for key, value in trace.items()]
    facts += [
        (f"GUESTHOUSE_META_{_NOT_A_NAME.sub('_', key.upper())}", value)
        for key, value in metadata.items()
        if key not in TRACE or key in trace
    ]
    return [(name, value.replace("\0", "")) for name, value in facts]


def _cost(context: Context, began: float, memory: int) -> Cost:
    total = perf_counter() - began
    spent = context.spent_so_far
    return Cost(
        guest=total - context.host_seconds,
        host=context.host_seconds - sum(spent.seconds.values()),
        spent=spent.seconds,
        total=total,
        memory=memory,
        host_memory=context.held_peak,
        began=began,
        calls=tuple(spent.calls),
        durations=spent.durations,
    )


def _failure(error: Exception, words: str, guest: Guest, context: Context, cost: Cost) -> Failure:
    reason = next((_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), Reason.BAD_REPLY)
    if reason is Reason.INTERNAL:
        text = "the host failed while it answered one of the guest's calls"
    elif reason is Reason.DEADLINE:
        text = f"stopped at its deadline (time limit {guest.limits.time:g} s)"
    elif isinstance(error, errors.Exit):
        text = _with_words(f"ended itself with {error}", words)
    elif isinstance(error, errors.Trap):
        # Where a trap has a text of its own, the guest's last words are not needed.
        text = _with_words(f"trap: {error}", words) if str(error) == error.kind else f"trap: {error}"
    else:
        text = str(error)
    if context.refused and context.refused not in text and reason in _OWN:
        # The guest may take a picture that the host does not decode for one that is broken, and say so.
        text = f"{text[: TEXT // 2]} (the host had refused {context.refused[: TEXT // 2]})"
    after = error.after if isinstance(error, errors.TryAgain) else None
    return Failure(reason, text[:TEXT], guest.name, cost, retry_after=after)


def _with_words(text: str, words: str) -> str:
    return f"{text}: {words}" if words else text

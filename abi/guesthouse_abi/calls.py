"""The calls to the sidecar that one event makes: their handles, waiting for them, how many there may be.

What this means for a guest is in abi/spec/dapr_v1.md, section 3.4. Who carries a call out, and which calls a guest may
make, is a service's business (`services.Sidecar`).
"""

from __future__ import annotations

import contextlib
import enum
import threading
from collections.abc import Callable, Sequence
from time import perf_counter

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadHandle, TooMuch
from guesthouse_abi.services import Account, CallRequest, Calls, Ended, Sidecar, Started
from guesthouse_abi.spent import Call, Spent


class Code(enum.IntEnum):
    """gRPC's codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Driven:
    """A call whose end is noticed while a thread attends to it. Calling it gives it up, from any thread."""

    def __call__(self) -> object:
        """Give the call up."""
        raise NotImplementedError

    def drive(self) -> None:
        """Attend to it in this thread, until it has ended; not at all where another thread does."""
        raise NotImplementedError

    def watch(self) -> None:
        """Have another thread attend to it."""
        raise NotImplementedError


#: Carries a call out: the request, how many seconds it may take, and what to call with its end, once, from any thread
#: (also before this returns). Returns a function that gives the call up, which may be a `Driven`.
Begin = Callable[[CallRequest, float, Callable[[Ended], None]], Callable[[], object]]

CAPABILITY = "dapr"
_CALL = 256  # bytes that a call costs the host besides its contents


def held_for(request: CallRequest) -> int:
    """Bytes that count as held for a call until it is closed. Those of its response come to them."""
    return _CALL + request.size


class _Open:
    """A call whose handle is open."""

    __slots__ = ("began", "cancel", "ended", "ended_at", "held", "method", "order")

    def __init__(self, method: str, held: int) -> None:
        self.method = method
        self.held = held  # bytes that the guest's account has for it
        self.began = perf_counter()
        self.cancel: Callable[[], object] | None = None
        self.ended: Ended | None = None
        self.ended_at = 0.0
        self.order = 0  # 1 for the first call that ended


class CallTable:
    """The `services.Calls` of one event, in the process that carries the calls out.

    One thread uses it; calls may end in others. There may be `most_open` calls at once, and `most` in all.
    """

    def __init__(
        self, begin: Begin, most_open: int, most: int, deadline: Deadline, spent: Spent, account: Account
    ) -> None:
        self._begin = begin
        self._most_open, self._most = most_open, most
        self._deadline = deadline
        self._spent = spent
        self._account = account
        self._calls: dict[int, _Open] = {}
        self._made = 0
        self._endings = 0
        self._changed = threading.Condition(threading.Lock())

    def start(self, request: CallRequest) -> Started:
        """See `services.Calls`."""
        if len(self._calls) >= self._most_open:
            raise TooMuch(f"{self._most_open} calls are open: close some, or raise `open` in the guest's table dapr")
        if self._made >= self._most:
            raise TooMuch(f"{self._most} calls were made by this event: raise `calls` in the guest's table dapr")
        self._deadline.check()
        seconds = self._deadline.remaining()
        if request.seconds is not None:
            seconds = min(seconds, request.seconds)
        size = held_for(request)
        self._account.hold(size)
        self._made += 1
        handle, call = self._made, _Open(request.method, size)
        self._calls[handle] = call
        call.cancel = self._begin(request, seconds, lambda ended: self._end(call, ended))
        self._spend(call.began)
        ended = call.ended
        return Started(handle, ended.text if ended is not None and ended.refused else "")

    def wait(self, handles: Sequence[int], every: bool, seconds: float | None) -> int | None:
        """See `services.Calls`."""
        calls = [self._open(handle) for handle in handles]
        driven = [call.cancel for call in calls if call.ended is None and isinstance(call.cancel, Driven)]
        if (driven or not _ready(calls, every)) and not self._waited_for(calls, driven, every, seconds):
            return None
        if every:
            return len(calls)
        first = min((call.order, position) for position, call in enumerate(calls) if call.order)
        return first[1]

    def _waited_for(self, calls: Sequence[_Open], driven: Sequence[Driven], every: bool, seconds: float | None) -> bool:
        """Wait, of calls of which these can be driven. Returns whether what is waited for has come."""
        began = perf_counter()
        forget = self._deadline.on_cancel(lambda: self._wake(driven))
        try:
            if driven and (every or len(driven) == len(calls)):
                self._attend(driven, here=seconds is None and (every or len(driven) == 1))
            ready = _ready(calls, every)
            if not ready:
                left = self._deadline.remaining()
                with self._changed:
                    self._changed.wait_for(
                        lambda: _ready(calls, every) or self._deadline.cancelled,
                        left if seconds is None else min(left, seconds),
                    )
                    ready = _ready(calls, every)
        finally:
            forget()
            self._spend(began)
        self._deadline.check()
        return ready

    def ended(self, handle: int) -> Ended | None:
        """See `services.Calls`."""
        call = self._open(handle)
        ended = call.ended
        if ended is None and isinstance(call.cancel, Driven):
            call.cancel.watch()  # the guest looks without waiting
        if ended is not None and call.cancel is not None:
            self._account.hold(ended.size)
            call.held += ended.size
            call.cancel = None  # it is counted, and there is nothing to cancel any more
        return ended

    def close(self, handle: int) -> None:
        """See `services.Calls`."""
        call = self._open(handle)
        del self._calls[handle]
        self._give_up(call)
        self._account.release(call.held)

    def finish(self) -> None:
        """See `services.Calls`."""
        calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            self._give_up(call)

    def _give_up(self, call: _Open) -> None:
        if call.ended is None and call.cancel is not None:
            call.cancel()
        code = Code(call.ended.code) if call.ended is not None else Code.CANCELLED
        # Metrics have a series for each method: none for a name that nobody has compared with those of the API.
        refused = call.ended is not None and call.ended.refused
        compared = code is not Code.UNIMPLEMENTED and not (refused and code is Code.UNAVAILABLE)
        method = call.method if compared else "unknown"
        self._spent.note(Call(CAPABILITY, method, call.began, call.ended_at or perf_counter(), code.name))

    def _open(self, handle: int) -> _Open:
        call = self._calls.get(handle)
        if call is None:
            raise BadHandle(f"{handle} is no open call")
        return call

    def _end(self, call: _Open, ended: Ended) -> None:
        with self._changed:
            if call.ended is None:
                self._endings += 1
                call.ended, call.ended_at, call.order = ended, perf_counter(), self._endings
                self._changed.notify_all()

    def _attend(self, driven: Sequence[Driven], here: bool) -> None:
        """Notice the ends of these calls from now on: in this thread, one after the other, where nothing else is to be
        done before all of them have ended."""
        for call in driven:
            if here:
                call.drive()
            else:
                call.watch()

    def _wake(self, driven: Sequence[Driven]) -> None:
        for call in driven:
            call()
        with self._changed:
            self._changed.notify_all()

    def _spend(self, began: float) -> None:
        self._spent.wait(CAPABILITY, perf_counter() - began)


def _ready(calls: Sequence[_Open], every: bool) -> bool:
    return all(call.order for call in calls) if every else any(call.order for call in calls)


# ---- of one event, whichever import modules make them ----


class _OfEvent:
    """The calls that an event has made, and the one whose end is kept for `call`."""

    def __init__(self) -> None:
        self.calls: Calls | None = None
        self.last: int | None = None


def calls_of(context: Context) -> Calls:
    """The calls of this event, all import modules together. Raises `Denied` where the guest has no sidecar."""
    event = context.state(_OfEvent)
    if event.calls is None:
        sidecar = context.services[Sidecar]
        event.calls = sidecar.calls(context.event, context.deadline, context.spent, context)
        context.at_end(event.calls.finish)
    return event.calls


def calls_if_any(context: Context) -> Calls | None:
    """The same; None where the event has made no call yet."""
    event = context.state_if_made(_OfEvent)
    return None if event is None else event.calls


def call(context: Context, request: CallRequest) -> Ended:
    """Make a call and wait for its end, for interfaces that make one at a time.

    The end is counted as host memory until the next such call. Raises `TooMuch`, and `DeadlineExceeded` or `Cancelled`
    when the event's own time is over.
    """
    calls, event = calls_of(context), context.state(_OfEvent)
    if event.last is not None:
        with contextlib.suppress(BadHandle):  # the guest may have closed it by another interface
            calls.close(event.last)
        event.last = None
    event.last = calls.start(request).handle
    calls.wait((event.last,), True, None)
    ended = calls.ended(event.last)
    assert ended is not None  # it was waited for
    return ended

"""Clocks, and waiting for them: `poll_oneoff` sleeps to the event's deadline at most."""

from __future__ import annotations

import struct
import threading
import time

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.host import I32, U32, U64
from guesthouse_abi.imports.wasi_preview1.descriptors import STDIN, OpenDirectory, OpenFile, descriptors, tree_of
from guesthouse_abi.imports.wasi_preview1.streams import LOG_CHUNK
from guesthouse_abi.imports.wasi_preview1.wire import (
    ABSOLUTE,
    BADF,
    CLOCK,
    EVENT,
    FD_READ,
    FD_WRITE,
    HANGUP,
    INVAL,
    MODULE,
    MONOTONIC,
    NOTCAPABLE,
    PROCESS_CPU,
    REALTIME,
    RIGHT_POLL,
    RIGHT_READ,
    RIGHT_WRITE,
    SUBSCRIPTION,
    SUCCESS,
    THREAD_CPU,
)

#: Subscriptions in one call.
MOST_SUBSCRIPTIONS = 1024
#: Seconds of one wait: `threading` refuses a time-out of centuries, which a guest may well ask for.
_LONGEST_WAIT = 3600.0


class CpuClock:
    """The CPU time of the guest's thread, counted from 0 when first asked for.

    So a guest does not see what others used before on the same thread.
    """

    def __init__(self) -> None:
        self._start = time.thread_time_ns()

    def now(self) -> int:
        return time.thread_time_ns() - self._start


def _now(context: Context, clock: int) -> int | None:
    """Nanoseconds on a clock, None for an unknown one."""
    if clock == REALTIME:
        return time.time_ns()
    if clock == MONOTONIC:
        return time.monotonic_ns()
    if clock in (PROCESS_CPU, THREAD_CPU):
        return context.state(CpuClock).now()
    return None


@MODULE.function()
def clock_res_get(context: Context, clock: U32, resolution: U32) -> I32:
    if _now(context, clock) is None:
        return INVAL
    context.memory.set_u64(resolution, 1)  # all are read in nanoseconds
    return SUCCESS


@MODULE.function()
def clock_time_get(context: Context, clock: U32, precision: U64, now: U32) -> I32:
    nanoseconds = _now(context, clock)
    if nanoseconds is None:
        return INVAL
    context.memory.set_u64(now, nanoseconds)
    return SUCCESS


@MODULE.function()
def poll_oneoff(context: Context, subscriptions: U32, events: U32, count: U32, written: U32) -> I32:
    return poll(context, SUBSCRIPTION, subscriptions, events, count, written)


def poll(context: Context, layout: struct.Struct, subscriptions: int, events: int, count: int, written: int) -> I32:
    """Wait for the first of `count` subscriptions and write the events that happened. Streams and files are always
    ready.

    `layout` is that of a subscription: user data, kind, then the descriptor, and last the clock with its time-out,
    precision and flags. The descriptor and the clock may be one field.
    """
    if not 0 < count <= MOST_SUBSCRIPTIONS:
        return INVAL
    memory = context.memory
    memory.check(events, count * EVENT.size)
    memory.check(written, 4)
    ready: list[bytes] = []
    alarms: list[tuple[int, int]] = []  # monotonic nanoseconds, user data
    for user_data, kind, *wanted in layout.iter_unpack(memory.read(subscriptions, count * layout.size)):
        if kind == CLOCK:
            clock, timeout, _precision, flags = wanted[-4:]
            due = _due(clock, timeout, flags)
            if due is None:
                ready.append(EVENT.pack(user_data, INVAL, kind, 0, 0))
            else:
                alarms.append((due, user_data))
        elif kind in (FD_READ, FD_WRITE):
            ready.append(_ready_event(context, user_data, kind, wanted[0]))
        else:
            return INVAL
    if not ready:
        sleep_until(min(alarms)[0], context.deadline)
    now = time.monotonic_ns()
    ready += [EVENT.pack(user_data, SUCCESS, CLOCK, 0, 0) for due, user_data in alarms if due <= now]
    memory.write(events, b"".join(ready))
    memory.set_u32(written, len(ready))
    return SUCCESS


def _due(clock: int, timeout: int, flags: int) -> int | None:
    """When an alarm is due, in monotonic nanoseconds; None for a clock or flags that cannot be waited for."""
    if clock not in (REALTIME, MONOTONIC) or flags & ~ABSOLUTE:
        return None
    now = time.monotonic_ns()
    if not flags & ABSOLUTE:
        return now + timeout
    return timeout if clock == MONOTONIC else now + timeout - time.time_ns()


def _ready_event(context: Context, user_data: int, kind: int, fd: int) -> bytes:
    opened = descriptors(context).open.get(fd)
    if opened is None or isinstance(opened, OpenDirectory):
        return EVENT.pack(user_data, BADF, kind, 0, 0)
    if isinstance(opened, OpenFile):
        if not opened.rights & (RIGHT_READ if kind == FD_READ else RIGHT_WRITE):
            return EVENT.pack(user_data, BADF, kind, 0, 0)
        if not opened.rights & RIGHT_POLL:
            return EVENT.pack(user_data, NOTCAPABLE, kind, 0, 0)
        left = max(0, len(opened.file.content) - opened.position) if kind == FD_READ else tree_of(context).room(context)
        return EVENT.pack(user_data, SUCCESS, kind, left, 0)
    if (opened == STDIN) != (kind == FD_READ):
        return EVENT.pack(user_data, BADF, kind, 0, 0)
    if kind == FD_WRITE:
        return EVENT.pack(user_data, SUCCESS, kind, LOG_CHUNK, 0)
    left = len(context.stdin) - context.input_at
    return EVENT.pack(user_data, SUCCESS, kind, left, 0 if left else HANGUP)


def sleep_until(due: int, deadline: Deadline) -> None:
    """Sleep until `due` (monotonic nanoseconds). Raises `DeadlineExceeded` or `Cancelled` when that comes first."""
    over = threading.Event()
    forget = deadline.on_cancel(over.set)
    try:
        while True:
            deadline.check()
            left = (due - time.monotonic_ns()) / 1e9
            if left <= 0:
                return
            over.wait(min(left, deadline.remaining(), _LONGEST_WAIT))
    finally:
        forget()

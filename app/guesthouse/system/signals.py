"""A process that runs until a signal ends it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType

_DRAINED = 0  # no signal has this number


def run_until_signal(
    drain: Callable[[], object],
    others: Mapping[int, Callable[[], None]] = MappingProxyType({}),
    announce: Callable[[], None] = lambda: None,
) -> int:
    """Wait for SIGTERM or SIGINT, call `drain`, and return the process's exit code. For the main thread.

    A second signal ends the process on the spot, with 128 plus its number: a guest that does not end cannot hold it.
    `others` has what to call at other signals: in the main thread, also during the drain, so it must be short.
    `announce` is called as soon as signals are noticed.
    """
    # The C part of Python's signal handling writes the number of each signal here, in whichever thread it arrives. The
    # main thread could otherwise miss one just before it waits for a lock, and a drain waits long.
    received, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    wakeup_before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    ends = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, _ignore) for number in (*ends, *others)}

    def drained() -> None:
        try:
            drain()
        finally:
            wakeup.send(bytes([_DRAINED]))

    def receive() -> int:
        while (number := received.recv(1)[0]) not in (*ends, _DRAINED):
            if number in others:
                others[number]()
        return number

    try:
        announce()
        receive()
        threading.Thread(target=drained, name="drain", daemon=True).start()
        if (number := receive()) != _DRAINED:
            os._exit(128 + number)
    finally:
        for handled, handler in before.items():
            signal.signal(handled, handler)
        signal.set_wakeup_fd(wakeup_before)
        received.close()
        wakeup.close()
    return 0


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal is read from the wake-up socket."""

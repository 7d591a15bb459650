"""`wasi:clocks`: the wall clock, the monotonic clock, and the time zone, which is UTC."""

from __future__ import annotations

import time

from guesthouse_abi.canonical.functions import Answered
from guesthouse_abi.context import Context
from guesthouse_abi.imports.preview2.io import Pollable

MONOTONIC = Answered("wasi:clocks/monotonic-clock")
WALL = Answered("wasi:clocks/wall-clock")
TIMEZONE = Answered("wasi:clocks/timezone")
INTERFACES = (MONOTONIC, WALL, TIMEZONE)

_SECOND = 10**9
Datetime = tuple[int, int]  # seconds and nanoseconds


@MONOTONIC.function("now")
def monotonic_now(context: Context) -> int:
    return time.monotonic_ns()


@MONOTONIC.function("resolution")
def monotonic_resolution(context: Context) -> int:
    return 1


@MONOTONIC.function("subscribe-instant")
def subscribe_instant(context: Context, when: int) -> Pollable:
    return Pollable(when)


@MONOTONIC.function("subscribe-duration")
def subscribe_duration(context: Context, duration: int) -> Pollable:
    return Pollable(time.monotonic_ns() + duration)


@WALL.function("now")
def wall_now(context: Context) -> Datetime:
    return divmod(time.time_ns(), _SECOND)


@WALL.function("resolution")
def wall_resolution(context: Context) -> Datetime:
    return 0, 1


@TIMEZONE.function("display")
def display(context: Context, when: Datetime) -> tuple[int, str, bool]:
    return 0, "UTC", False


@TIMEZONE.function("utc-offset")
def utc_offset(context: Context, when: Datetime) -> int:
    return 0

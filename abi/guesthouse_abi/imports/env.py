"""The import module `env`, as far as guests of known toolchains use it (docs/abi.md has its table).

wasmedge-bindgen's first tags (0.1.3 to 0.1.10) hand results over here, raw. AssemblyScript's compiler imports what its
language has (`abort`, `trace`, a seed for random numbers) and, for a program that uses them, the console and the clocks
of a browser. Emscripten says when memory has grown.
"""

from __future__ import annotations

import codecs
import os
import time

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Exit, Trap
from guesthouse_abi.host import F64, I32, U32, HostModule
from guesthouse_abi.imports.bindgen_results import return_error, return_raw
from guesthouse_abi.imports.wasi_preview1.descriptors import STDERR, STDOUT
from guesthouse_abi.imports.wasi_preview1.streams import LOG_CHUNK, log_text

MODULE = HostModule("env")

# Python loads a codec from a file when it is first asked for, which a process that may open no files then cannot.
_decode = codecs.getdecoder("utf-16-le")
_ABORT_TEXT = 2048  # bytes of each text of `abort`
_TRACED = 5  # numbers that `trace` can be given
_TIMERS, _LABEL = 64, 256  # that one guest may have running, and bytes of their labels

MODULE.function("return_result")(return_raw)
MODULE.function("return_error")(return_error)


# ---- AssemblyScript ----


@MODULE.function()
def abort(context: Context, message: U32, file: U32, line: U32, column: U32) -> None:
    """Ends the guest."""
    text = _string(context, message, _ABORT_TEXT) or "no message"
    raise Trap("abort", f"abort: {text} ({_string(context, file, _ABORT_TEXT) or 'unknown file'}:{line}:{column})")


def _string(context: Context, pointer: int, most: int = LOG_CHUNK) -> str:
    """A string of the guest's runtime, cut: UTF-16, with the length in bytes before it."""
    if pointer < 4:
        return ""
    length = context.memory.u32(pointer - 4)
    context.memory.check(pointer, length)
    return _decode(context.memory.read(pointer, min(length, most) & ~1), "replace")[0]


@MODULE.function()
def trace(context: Context, message: U32, count: U32, a: F64, b: F64, c: F64, d: F64, e: F64) -> None:
    """A line of log: a text and the first `count` of five numbers."""
    numbers = [_shown(number) for number in (a, b, c, d, e)[: min(count, _TRACED)]]
    log_text(context, STDERR, f"trace: {_string(context, message)}{' ' if numbers else ''}{', '.join(numbers)}")


def _shown(number: float) -> str:
    """A number as JavaScript shows it, more or less: whole ones without a point."""
    return str(int(number)) if number.is_integer() and abs(number) < 1e21 else repr(number)


@MODULE.function()
def seed(context: Context) -> F64:
    """What the guest's random numbers begin with: the operating system's random bits, as a number."""
    return F64(int.from_bytes(os.urandom(6), "little") + 0.5)


@MODULE.function("Math.random")
def math_random(context: Context) -> F64:
    """A random number from 0 up to, but not including, 1."""
    return F64((int.from_bytes(os.urandom(7), "little") >> 3) / (1 << 53))


@MODULE.function("Date.now")
def date_now(context: Context) -> F64:
    """Milliseconds since 1970, whole ones."""
    return F64(time.time_ns() // 1_000_000)


@MODULE.function("performance.now")
def performance_now(context: Context) -> F64:
    """Milliseconds of a clock that is never set back."""
    return F64(time.monotonic_ns() / 1e6)


@MODULE.function("process.exit")
def process_exit(context: Context, code: I32) -> None:
    """Ends the guest, as WASI's `proc_exit` does."""
    raise Exit(code)


@MODULE.function("console.assert")
def console_assert(context: Context, condition: I32, message: U32) -> None:
    if not condition:
        log_text(context, STDERR, f"Assertion failed: {_string(context, message)}")


@MODULE.function("console.log")
def console_log(context: Context, text: U32) -> None:
    log_text(context, STDOUT, _string(context, text))


@MODULE.function("console.debug")
def console_debug(context: Context, text: U32) -> None:
    log_text(context, STDOUT, _string(context, text))


@MODULE.function("console.info")
def console_info(context: Context, text: U32) -> None:
    log_text(context, STDOUT, _string(context, text))


@MODULE.function("console.warn")
def console_warn(context: Context, text: U32) -> None:
    log_text(context, STDERR, _string(context, text))


@MODULE.function("console.error")
def console_error(context: Context, text: U32) -> None:
    log_text(context, STDERR, _string(context, text))


class Timers:
    """When the timers of `console.time` were started, by their labels."""

    def __init__(self) -> None:
        self.started: dict[str, int] = {}


@MODULE.function("console.time")
def console_time(context: Context, label: U32) -> None:
    started = context.state(Timers).started
    if len(started) < _TIMERS:
        started.setdefault(_string(context, label, _LABEL), time.monotonic_ns())


@MODULE.function("console.timeLog")
def console_time_log(context: Context, label: U32) -> None:
    _log_timer(context, _string(context, label, _LABEL))


@MODULE.function("console.timeEnd")
def console_time_end(context: Context, label: U32) -> None:
    text = _string(context, label, _LABEL)
    _log_timer(context, text)
    context.state(Timers).started.pop(text, None)


def _log_timer(context: Context, label: str) -> None:
    started = context.state(Timers).started.get(label)
    if started is not None:
        log_text(context, STDOUT, f"{label}: {(time.monotonic_ns() - started) / 1e6:.3f} ms")


# ---- Emscripten ----


@MODULE.function()
def emscripten_notify_memory_growth(context: Context, memory: U32) -> None:
    """The guest's memory has grown. It is asked for its size whenever it is read: there is nothing to do."""


@MODULE.function()
def emscripten_resize_heap(context: Context, size: U32) -> U32:
    """0: the host does not grow a guest's memory. A guest that was built with memory growth does that by itself."""
    return U32(0)

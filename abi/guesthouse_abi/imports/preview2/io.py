"""`wasi:io`: streams, what can be waited for, and errors. The streams themselves belong to the other interfaces."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from guesthouse_abi.calls import calls_of
from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.errors import HostError
from guesthouse_abi.imports.wasi_preview1.clocks import MOST_SUBSCRIPTIONS, sleep_until

#: Bytes that one call reads or writes at most; a guest that offers more sees how many were taken, or may not.
CHUNK = 1 << 20
#: The longest wait, in nanoseconds on the monotonic clock; a guest may ask for one of centuries.
_FAR = 1 << 62
#: When a pollable is due that waits for no clock.
NEVER = _FAR + 1


class IoError:
    """The resource `error`. `code` is that of `wasi:filesystem`, where a file is the reason."""

    def __init__(self, text: str = "closed", code: str | None = None) -> None:
        self.text = text
        self.code = code


class Pollable:
    """The resource `pollable`: ready at a time of the monotonic clock, in nanoseconds; 0: always."""

    __slots__ = ("due",)

    def __init__(self, due: int = 0) -> None:
        self.due = min(due, _FAR)

    def ready(self, context: Context) -> bool:
        """Whether it is."""
        return self.due <= time.monotonic_ns()

    def call(self) -> int | None:
        """The call to the sidecar whose end it waits for; None for what waits for a clock, or for something else."""
        return None


class InputStream:
    """The resource `input-stream`: bytes that are all there already. `held` of them are counted until it is dropped."""

    def __init__(self, data: bytes = b"", held: int = 0) -> None:
        self._data = data
        self._at = 0
        self._held = held

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        context.release(self._held)

    def take(self, context: Context, length: int) -> bytes:
        """The next bytes. Raises `Fail` at the end."""
        part = self._data[self._at : self._at + min(length, CHUNK)]
        if not part and length:
            raise Fail(Case("closed"))
        self._at += len(part)
        return part


class OutputStream(Protocol):
    """What an `output-stream` does with what is written."""

    chunk: int

    def give(self, context: Context, data: bytes) -> None:
        """Take at most `chunk` bytes. Raises `Fail` when it is closed, and what ends a guest."""


class Writer:
    """The resource `output-stream`."""

    __slots__ = ("target",)

    def __init__(self, target: OutputStream) -> None:
        self.target = target

    def write(self, context: Context, data: bytes) -> None:
        """Raises `HostError` for more than may be written at a time, and what `give` raises."""
        if len(data) > self.target.chunk:
            raise HostError(f"{len(data)} bytes were written at once; check-write said {self.target.chunk}")
        self.target.give(context, data)


ERROR = Answered("wasi:io/error", error=IoError)
POLL = Answered("wasi:io/poll", pollable=Pollable)
STREAMS = Answered("wasi:io/streams", input_stream=InputStream, output_stream=Writer)
INTERFACES = (ERROR, POLL, STREAMS)


@ERROR.function("[method]error.to-debug-string")
def to_debug_string(context: Context, error: IoError) -> str:
    return error.text


@POLL.function("[method]pollable.ready")
def ready(context: Context, pollable: Pollable) -> bool:
    return pollable.ready(context)


@POLL.function("[method]pollable.block")
def block(context: Context, pollable: Pollable) -> None:
    poll(context, [pollable])


@POLL.function("poll")
def poll(context: Context, pollables: Sequence[Pollable]) -> list[int]:
    if not 0 < len(pollables) <= MOST_SUBSCRIPTIONS:
        raise HostError(f"{len(pollables)} were polled; at least one may be, and at most {MOST_SUBSCRIPTIONS}")
    while True:
        found = [index for index, one in enumerate(pollables) if one.ready(context)]
        if found:
            return found
        calls = [call for one in pollables if (call := one.call()) is not None]
        due = min(one.due for one in pollables)
        if calls:
            left = None if due == NEVER else max(0.0, (due - time.monotonic_ns()) / 1e9)
            calls_of(context).wait(calls, False, left)
        elif due == NEVER:
            raise HostError("what was polled would never be ready: a request is sent when its body is finished")
        else:
            sleep_until(due, context.deadline)


@STREAMS.function("[method]input-stream.read")
@STREAMS.function("[method]input-stream.blocking-read")
def read(context: Context, stream: InputStream, length: int) -> bytes:
    return stream.take(context, length)


@STREAMS.function("[method]input-stream.skip")
@STREAMS.function("[method]input-stream.blocking-skip")
def skip(context: Context, stream: InputStream, length: int) -> int:
    return len(stream.take(context, length))


@STREAMS.function("[method]input-stream.subscribe")
def subscribe_input(context: Context, stream: InputStream) -> Pollable:
    return Pollable()


@STREAMS.function("[method]output-stream.subscribe")
def subscribe_output(context: Context, stream: Writer) -> Pollable:
    return Pollable()


@STREAMS.function("[method]output-stream.check-write")
def check_write(context: Context, stream: Writer) -> int:
    return stream.target.chunk


@STREAMS.function("[method]output-stream.write")
@STREAMS.function("[method]output-stream.blocking-write-and-flush")
def write(context: Context, stream: Writer, data: bytes) -> None:
    stream.write(context, data)


@STREAMS.function("[method]output-stream.flush")
@STREAMS.function("[method]output-stream.blocking-flush")
def flush(context: Context, stream: Writer) -> None:
    return None


@STREAMS.function("[method]output-stream.write-zeroes")
@STREAMS.function("[method]output-stream.blocking-write-zeroes-and-flush")
def write_zeroes(context: Context, stream: Writer, length: int) -> None:
    if length > stream.target.chunk:
        raise HostError(f"{length} zeroes were written at once; check-write said {stream.target.chunk}")
    stream.write(context, bytes(length))


@STREAMS.function("[method]output-stream.splice")
@STREAMS.function("[method]output-stream.blocking-splice")
def splice(context: Context, stream: Writer, source: InputStream, length: int) -> int:
    part = source.take(context, min(length, stream.target.chunk))
    stream.write(context, part)
    return len(part)

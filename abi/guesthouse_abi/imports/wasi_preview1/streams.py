"""Standard input, output and error.

Standard input is the event's body. Standard output is collected where a command's reply is wanted, and log lines
elsewhere; standard error is log lines. They are pipes: no position, no size, nothing to synchronise. What each function
answers for a stream is in docs/abi.md, under "WASI preview 1".
"""

from __future__ import annotations

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply
from guesthouse_abi.imports.wasi_preview1.descriptors import STDERR, STDOUT, Descriptors, descriptors
from guesthouse_abi.lastwords import why

#: Bytes of log lines that one call takes. A guest that offers more sees how many were taken, and calls again. So no
#: single call takes the host long.
LOG_CHUNK = 8192
#: Bytes of a line without an end that are kept; beyond, it is logged in pieces.
LOG_LINE = 4096
#: Bytes of a failed program's standard output that are logged.
OUTPUT_END = 1024

# Guests are not trusted with a terminal's control sequences.
_CONTROL = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)), "�")


def flush(context: Context) -> None:
    """Log the lines that the guest did not end. Every calling convention does this when the call is over."""
    table = context.state_if_made(Descriptors)
    if table is None:
        return
    for stream in (STDOUT, STDERR):
        rest, table.unended[stream] = table.unended[stream], b""
        _log(context, table, stream, rest)


def last_words(context: Context) -> str:
    """Why a guest that failed has failed, in its own words (see `lastwords`); may be empty.

    The end of what it had written as a reply, which is none now, goes to the log.
    """
    flush(context)
    table = descriptors(context)
    if not table.failed:
        table.failed = True
        for line in (context.stdout or b"")[-OUTPUT_END:].splitlines():
            _log(context, table, STDOUT, bytes(line))
    return why(table.words[STDERR], table.words[STDOUT])


def log_text(context: Context, stream: int, text: str) -> None:
    """Log what a guest hands over as a whole, as one line or several."""
    table = descriptors(context)
    for line in text.split("\n"):
        _log(context, table, stream, line.encode(errors="replace"))


def _log(context: Context, table: Descriptors, stream: int, line: bytes) -> None:
    text = line.decode(errors="replace").rstrip().translate(_CONTROL)
    if not text:
        return
    table.words[stream].add(text)
    context.log("stderr" if stream == STDERR else "stdout", text)


def read_stream(context: Context, vectors: list[tuple[int, int]]) -> int:
    """Copy what is left of the body into the guest's memory; returns how many bytes there were."""
    start = context.input_at
    for pointer, length in vectors:
        part = context.stdin[context.input_at : context.input_at + length]
        context.memory.write(pointer, part)
        context.input_at += len(part)
    return context.input_at - start


def write_stream(context: Context, stream: int, vectors: list[tuple[int, int]]) -> int:
    """Take what a guest writes to standard output or error; returns how many bytes were taken."""
    if stream == STDOUT and context.stdout is not None:
        return _write_reply(context, context.stdout, vectors)
    return _write_lines(context, stream, vectors)


def _write_reply(context: Context, reply: bytearray, vectors: list[tuple[int, int]]) -> int:
    total = sum(length for _, length in vectors)
    hold_reply(context, reply, total)
    for pointer, length in vectors:
        reply += context.memory.read(pointer, length)
    return total


def hold_reply(context: Context, reply: bytearray, more: int) -> None:
    """Account for what is about to be added to a reply. Raises `BadReply`, `TooMuch`."""
    limit = context.limits.output
    if len(reply) + more > limit:
        raise BadReply(f"more than limits.output ({limit} bytes) was written to standard output")
    context.hold(more)


def _write_lines(context: Context, stream: int, vectors: list[tuple[int, int]]) -> int:
    taken = b""
    for pointer, length in vectors:
        taken += context.memory.read(pointer, min(length, LOG_CHUNK - len(taken)))
        if len(taken) == LOG_CHUNK:
            break
    write_lines(context, stream, taken)
    return len(taken)


def write_lines(context: Context, stream: int, taken: bytes) -> None:
    """Log the lines that end in this, at most `LOG_CHUNK` bytes; what is left waits for the rest of its line."""
    table = descriptors(context)
    *lines, rest = (table.unended[stream] + taken).split(b"\n")
    if len(rest) > LOG_LINE:
        lines.append(rest)
        rest = b""
    table.unended[stream] = rest
    for line in lines:
        _log(context, table, stream, line)

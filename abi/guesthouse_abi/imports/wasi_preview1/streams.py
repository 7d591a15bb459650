"""The descriptors of a guest: standard input, output and error, and the `fd_` functions (preopened directories aside).

Standard input is the event's body. Standard output is collected where a command's reply is wanted, and log lines
elsewhere; standard error is log lines. They are pipes: no position, no size, nothing to synchronise. A descriptor can
be closed and renumbered, but none can be opened.
"""

from __future__ import annotations

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply
from guesthouse_abi.host import I32, I64, U32, U64
from guesthouse_abi.imports.wasi_preview1.wire import (
    BADF,
    CHARACTER_DEVICE,
    FDFLAGS,
    FDSTAT,
    FILESTAT,
    INVAL,
    IOVEC,
    MODULE,
    NOTDIR,
    NOTSUP,
    RIGHT_FILESTAT,
    RIGHT_POLL,
    RIGHT_READ,
    RIGHT_SEEK,
    RIGHT_SET_FLAGS,
    RIGHT_TELL,
    RIGHT_WRITE,
    SPIPE,
    SUCCESS,
)
from guesthouse_abi.lastwords import LastWords, why
from guesthouse_abi.memory import Memory

STDIN, STDOUT, STDERR = range(3)

#: Vectors in one call, as IOV_MAX has it elsewhere.
MOST_VECTORS = 1024
#: Bytes of log lines taken by one call. A guest that offers more is told how many were taken, and calls again: so no
#: single call keeps the host at work for long.
LOG_CHUNK = 8192
#: Bytes of a line without an end that are kept; beyond, it is logged in pieces.
LOG_LINE = 4096
#: Bytes of a failed program's standard output that are logged.
OUTPUT_END = 1024

# Guests are not trusted with a terminal's control sequences.
_CONTROL = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)), "�")


class Descriptors:
    """Which descriptors are open, and the lines that have not ended yet."""

    def __init__(self) -> None:
        self.streams = {STDIN: STDIN, STDOUT: STDOUT, STDERR: STDERR}  # descriptor -> stream
        self.flags = [0, 0, 0]  # $fdflags by stream: kept for the guest, without effect
        self.unended = [b"", b"", b""]  # by stream
        self.failed = False
        self.words = {STDOUT: LastWords(), STDERR: LastWords()}


def stream_of(context: Context, fd: int) -> int | None:
    """The stream behind a descriptor, None when it is not open."""
    return context.state(Descriptors).streams.get(fd)


def flush(context: Context) -> None:
    """Log the lines that the guest did not end. Every calling convention does this when the call is over."""
    descriptors = context.state_if_made(Descriptors)
    if descriptors is None:
        return
    for stream in (STDOUT, STDERR):
        rest, descriptors.unended[stream] = descriptors.unended[stream], b""
        _log(context, descriptors, stream, rest)


def last_words(context: Context) -> str:
    """Why a guest that failed has failed, in its own words (see `lastwords`); may be empty.

    The end of what it had written as a reply, which is none now, goes to the log.
    """
    flush(context)
    descriptors = context.state(Descriptors)
    if not descriptors.failed:
        descriptors.failed = True
        for line in (context.stdout or b"")[-OUTPUT_END:].splitlines():
            _log(context, descriptors, STDOUT, bytes(line))
    return why(descriptors.words[STDERR], descriptors.words[STDOUT])


def log_text(context: Context, stream: int, text: str) -> None:
    """Log what a guest hands over as a whole, as one line or several."""
    descriptors = context.state(Descriptors)
    for line in text.split("\n"):
        _log(context, descriptors, stream, line.encode(errors="replace"))


def _log(context: Context, descriptors: Descriptors, stream: int, line: bytes) -> None:
    text = line.decode(errors="replace").rstrip().translate(_CONTROL)
    if not text:
        return
    descriptors.words[stream].hear(text)
    context.log("stderr" if stream == STDERR else "stdout", text)


def _vectors(memory: Memory, pointer: int, count: int) -> list[tuple[int, int]] | None:
    """The (pointer, length) of each part that is not empty, all inside the memory.

    None when they are too many or their sum has no 32-bit form. Copied before anything is written: buffers may
    overlap the list.
    """
    if count > MOST_VECTORS:
        return None
    vectors = [vector for vector in IOVEC.iter_unpack(memory.read(pointer, count * IOVEC.size)) if vector[1]]
    for start, length in vectors:
        memory.check(start, length)
    return vectors if sum(length for _, length in vectors) < 1 << 32 else None


@MODULE.function()
def fd_read(context: Context, fd: U32, iovs: U32, count: U32, read: U32) -> I32:
    if stream_of(context, fd) != STDIN:
        return BADF
    memory = context.memory
    memory.check(read, 4)
    vectors = _vectors(memory, iovs, count)
    if vectors is None:
        return INVAL
    start = context.input_at
    for pointer, length in vectors:
        part = context.stdin[context.input_at : context.input_at + length]
        memory.write(pointer, part)
        context.input_at += len(part)
    memory.set_u32(read, context.input_at - start)
    return SUCCESS


@MODULE.function()
def fd_write(context: Context, fd: U32, iovs: U32, count: U32, written: U32) -> I32:
    stream = stream_of(context, fd)
    if stream is None or stream == STDIN:
        return BADF
    memory = context.memory
    memory.check(written, 4)
    vectors = _vectors(memory, iovs, count)
    if vectors is None:
        return INVAL
    if stream == STDOUT and context.stdout is not None:
        taken = _write_reply(context, context.stdout, vectors)
    else:
        taken = _write_lines(context, stream, vectors)
    memory.set_u32(written, taken)
    return SUCCESS


def _write_reply(context: Context, reply: bytearray, vectors: list[tuple[int, int]]) -> int:
    total = sum(length for _, length in vectors)
    limit = context.limits.output
    if len(reply) + total > limit:
        raise BadReply(f"more than limits.output ({limit} bytes) was written to standard output")
    context.hold(total)
    for pointer, length in vectors:
        reply += context.memory.read(pointer, length)
    return total


def _write_lines(context: Context, stream: int, vectors: list[tuple[int, int]]) -> int:
    taken = b""
    for pointer, length in vectors:
        taken += context.memory.read(pointer, min(length, LOG_CHUNK - len(taken)))
        if len(taken) == LOG_CHUNK:
            break
    descriptors = context.state(Descriptors)
    *lines, rest = (descriptors.unended[stream] + taken).split(b"\n")
    if len(rest) > LOG_LINE:
        lines.append(rest)
        rest = b""
    descriptors.unended[stream] = rest
    for line in lines:
        _log(context, descriptors, stream, line)
    return len(taken)


@MODULE.function()
def fd_close(context: Context, fd: U32) -> I32:
    return BADF if context.state(Descriptors).streams.pop(fd, None) is None else SUCCESS


@MODULE.function()
def fd_renumber(context: Context, fd: U32, to: U32) -> I32:
    streams = context.state(Descriptors).streams
    if fd not in streams or to not in streams:
        return BADF
    streams[to] = streams.pop(fd)
    return SUCCESS


@MODULE.function()
def fd_fdstat_get(context: Context, fd: U32, stat: U32) -> I32:
    stream = stream_of(context, fd)
    if stream is None:
        return BADF
    # The rights to seek and tell are there, though a pipe answers SPIPE: a C library takes a character device without
    # them for a terminal, and would send binary output line by line and in colour.
    rights = RIGHT_SEEK | RIGHT_TELL | RIGHT_SET_FLAGS | RIGHT_FILESTAT | RIGHT_POLL
    rights |= RIGHT_READ if stream == STDIN else RIGHT_WRITE
    flags = context.state(Descriptors).flags[stream]
    context.memory.write(stat, FDSTAT.pack(CHARACTER_DEVICE, flags, rights, 0))
    return SUCCESS


@MODULE.function()
def fd_fdstat_set_flags(context: Context, fd: U32, flags: U32) -> I32:
    stream = stream_of(context, fd)
    if stream is None:
        return BADF
    if flags & ~FDFLAGS:
        return INVAL
    context.state(Descriptors).flags[stream] = flags
    return SUCCESS


@MODULE.function()
def fd_filestat_get(context: Context, fd: U32, stat: U32) -> I32:
    stream = stream_of(context, fd)
    if stream is None:
        return BADF
    # The inode tells the streams apart: programs compare it to see whether input and output are one file.
    context.memory.write(stat, FILESTAT.pack(0, stream, CHARACTER_DEVICE, 1, 0, 0, 0, 0))
    return SUCCESS


def _unless_open(context: Context, fd: int, refusal: I32) -> I32:
    """`refusal`, as a pipe answers it, or BADF for what is not open."""
    return BADF if stream_of(context, fd) is None else refusal


@MODULE.function()
def fd_fdstat_set_rights(context: Context, fd: U32, base: U64, inheriting: U64) -> I32:
    return _unless_open(context, fd, NOTSUP)


@MODULE.function()
def fd_seek(context: Context, fd: U32, offset: I64, whence: U32, position: U32) -> I32:
    return _unless_open(context, fd, SPIPE)


@MODULE.function()
def fd_tell(context: Context, fd: U32, position: U32) -> I32:
    return _unless_open(context, fd, SPIPE)


@MODULE.function()
def fd_pread(context: Context, fd: U32, iovs: U32, count: U32, offset: U64, read: U32) -> I32:
    return _unless_open(context, fd, SPIPE)


@MODULE.function()
def fd_pwrite(context: Context, fd: U32, iovs: U32, count: U32, offset: U64, written: U32) -> I32:
    return _unless_open(context, fd, SPIPE)


@MODULE.function()
def fd_advise(context: Context, fd: U32, offset: U64, length: U64, advice: U32) -> I32:
    return _unless_open(context, fd, SPIPE)


@MODULE.function()
def fd_allocate(context: Context, fd: U32, offset: U64, length: U64) -> I32:
    return _unless_open(context, fd, SPIPE)


@MODULE.function()
def fd_sync(context: Context, fd: U32) -> I32:
    return _unless_open(context, fd, INVAL)


@MODULE.function()
def fd_datasync(context: Context, fd: U32) -> I32:
    return _unless_open(context, fd, INVAL)


@MODULE.function()
def fd_filestat_set_size(context: Context, fd: U32, size: U64) -> I32:
    return _unless_open(context, fd, INVAL)


@MODULE.function()
def fd_filestat_set_times(context: Context, fd: U32, accessed: U64, modified: U64, flags: U32) -> I32:
    return _unless_open(context, fd, NOTSUP)


@MODULE.function()
def fd_readdir(context: Context, fd: U32, buffer: U32, length: U32, cookie: U64, used: U32) -> I32:
    return _unless_open(context, fd, NOTDIR)

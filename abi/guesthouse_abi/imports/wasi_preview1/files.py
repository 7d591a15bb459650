"""The functions for open files: `fd_read`, `fd_write`, `fd_seek` and the like. What streams do is in `streams.py`.

What each function answers is in docs/abi.md, under "Files".
"""

from __future__ import annotations

import time

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Refused
from guesthouse_abi.files import Directory, File, Node
from guesthouse_abi.host import I32, I64, U32, U64
from guesthouse_abi.imports.wasi_preview1 import calls_file
from guesthouse_abi.imports.wasi_preview1.descriptors import (
    CALLS,
    STDIN,
    OpenDirectory,
    OpenFile,
    descriptor,
    file_at,
    tree_of,
)
from guesthouse_abi.imports.wasi_preview1.streams import read_stream, write_stream
from guesthouse_abi.imports.wasi_preview1.tree import CHUNK
from guesthouse_abi.imports.wasi_preview1.wire import (
    ADVICE,
    APPEND,
    BADF,
    FSTFLAGS,
    INVAL,
    IOVEC,
    MODULE,
    NOTCAPABLE,
    NOTSUP,
    RIGHT_ADVISE,
    RIGHT_ALLOCATE,
    RIGHT_DATASYNC,
    RIGHT_READ,
    RIGHT_SEEK,
    RIGHT_SET_SIZE,
    RIGHT_SET_TIMES,
    RIGHT_SYNC,
    RIGHT_TELL,
    RIGHT_WRITE,
    ROFS,
    SEEK_CUR,
    SEEK_END,
    SEEK_SET,
    SET_ACCESSED,
    SET_ACCESSED_NOW,
    SET_MODIFIED,
    SET_MODIFIED_NOW,
    SPIPE,
    SUCCESS,
)
from guesthouse_abi.memory import Memory

#: Vectors in one call, as IOV_MAX has it elsewhere.
MOST_VECTORS = 1024
#: The last position in a file that has a number.
LAST = (1 << 63) - 1


def _vectors(memory: Memory, pointer: int, count: int) -> list[tuple[int, int]]:
    """The (pointer, length) of each part that is not empty, all inside the memory.

    Raises `Refused` when they are too many or their sum has no 32-bit form. Copied before anything is written: buffers
    may overlap the list.
    """
    if count > MOST_VECTORS:
        raise Refused(INVAL)
    vectors = [vector for vector in IOVEC.iter_unpack(memory.read(pointer, count * IOVEC.size)) if vector[1]]
    for start, length in vectors:
        memory.check(start, length)
    if sum(length for _, length in vectors) >= 1 << 32:
        raise Refused(INVAL)
    return vectors


def _read(context: Context, file: File, at: int, vectors: list[tuple[int, int]]) -> int:
    """Copy a file from `at` on into the guest's memory; returns how many bytes there were."""
    begin = at
    with memoryview(file.content) as content:
        for pointer, length in vectors:
            length = min(length, len(content) - at)
            for start in range(0, length, CHUNK):
                context.deadline.check()
                part = content[at : at + min(CHUNK, length - start)].tobytes()
                context.memory.write(pointer + start, part)
                at += len(part)
    return at - begin


@MODULE.function()
def fd_read(context: Context, fd: U32, iovs: U32, count: U32, read: U32) -> I32:
    found = descriptor(context, fd)
    if not isinstance(found, int):
        found = file_at(context, fd, RIGHT_READ, stream=BADF)
    elif found != STDIN:
        return BADF
    memory = context.memory
    memory.check(read, 4)
    vectors = _vectors(memory, iovs, count)
    if isinstance(found, int):
        taken = read_stream(context, vectors)
    else:
        taken = _read(context, found.file, found.position, vectors)
        found.position += taken
    memory.set_u32(read, taken)
    return SUCCESS


@MODULE.function()
def fd_write(context: Context, fd: U32, iovs: U32, count: U32, written: U32) -> I32:
    found = descriptor(context, fd)
    if not isinstance(found, int):
        found = file_at(context, fd, RIGHT_WRITE, stream=BADF)
    elif found == STDIN:
        return BADF
    memory = context.memory
    memory.check(written, 4)
    vectors = _vectors(memory, iovs, count)
    if found == CALLS:
        taken = calls_file.write(context, vectors)
    elif isinstance(found, int):
        taken = write_stream(context, found, vectors)
    else:
        at = len(found.file.content) if found.flags & APPEND else found.position
        taken = tree_of(context).write(context, found.file, at, vectors)
        found.position = at + taken
    memory.set_u32(written, taken)
    return SUCCESS


@MODULE.function()
def fd_pread(context: Context, fd: U32, iovs: U32, count: U32, offset: U64, read: U32) -> I32:
    file = file_at(context, fd, RIGHT_READ | RIGHT_SEEK, stream=SPIPE)
    memory = context.memory
    memory.check(read, 4)
    vectors = _vectors(memory, iovs, count)
    if offset + sum(length for _, length in vectors) > LAST:
        return INVAL
    memory.set_u32(read, _read(context, file.file, offset, vectors))
    return SUCCESS


@MODULE.function()
def fd_pwrite(context: Context, fd: U32, iovs: U32, count: U32, offset: U64, written: U32) -> I32:
    file = file_at(context, fd, RIGHT_WRITE | RIGHT_SEEK, stream=SPIPE)
    memory = context.memory
    memory.check(written, 4)
    vectors = _vectors(memory, iovs, count)
    if offset + sum(length for _, length in vectors) > LAST:
        return INVAL
    # At the offset also where the descriptor appends, as POSIX has it (Linux has it otherwise).
    memory.set_u32(written, tree_of(context).write(context, file.file, offset, vectors))
    return SUCCESS


@MODULE.function()
def fd_seek(context: Context, fd: U32, offset: I64, whence: U32, position: U32) -> I32:
    # Asking for the position needs no more than the right `fd_tell`.
    asks = whence == SEEK_CUR and offset == 0
    file = file_at(context, fd, RIGHT_TELL if asks else RIGHT_SEEK, stream=SPIPE)
    context.memory.check(position, 8)
    if whence not in (SEEK_SET, SEEK_CUR, SEEK_END):
        return INVAL
    wanted = offset + (file.position if whence == SEEK_CUR else len(file.file.content) if whence == SEEK_END else 0)
    if not 0 <= wanted <= LAST:
        return INVAL
    file.position = wanted
    context.memory.set_u64(position, wanted)
    return SUCCESS


@MODULE.function()
def fd_tell(context: Context, fd: U32, position: U32) -> I32:
    file = file_at(context, fd, RIGHT_TELL, stream=SPIPE)
    context.memory.set_u64(position, file.position)
    return SUCCESS


@MODULE.function()
def fd_advise(context: Context, fd: U32, offset: U64, length: U64, advice: U32) -> I32:
    file_at(context, fd, RIGHT_ADVISE, stream=SPIPE)
    return SUCCESS if advice < ADVICE and offset <= LAST and length <= LAST else INVAL


@MODULE.function()
def fd_allocate(context: Context, fd: U32, offset: U64, length: U64) -> I32:
    file = _changeable(file_at(context, fd, RIGHT_ALLOCATE, stream=SPIPE))
    if not length or offset + length > LAST:
        return INVAL
    if offset + length > len(file.content):
        tree_of(context).resize(context, file, offset + length)
    return SUCCESS


@MODULE.function()
def fd_filestat_set_size(context: Context, fd: U32, size: U64) -> I32:
    file = _changeable(file_at(context, fd, RIGHT_SET_SIZE, stream=INVAL))
    if size > LAST:
        return INVAL
    tree_of(context).resize(context, file, size)
    return SUCCESS


def _changeable(opened: OpenFile) -> File:
    if not isinstance(opened.file.content, bytearray):
        raise Refused(ROFS)
    return opened.file


@MODULE.function()
def fd_filestat_set_times(context: Context, fd: U32, accessed: U64, modified: U64, flags: U32) -> I32:
    found = descriptor(context, fd)
    if isinstance(found, int):
        return NOTSUP
    if RIGHT_SET_TIMES & ~found.rights:
        return NOTCAPABLE
    set_times(found.directory if isinstance(found, OpenDirectory) else found.file, accessed, modified, flags)
    return SUCCESS


def set_times(node: Node, accessed: int, modified: int, flags: int) -> None:
    """Raises `Refused` for flags that contradict each other, and for what is only read."""
    both = (SET_ACCESSED | SET_ACCESSED_NOW, SET_MODIFIED | SET_MODIFIED_NOW)
    if flags & ~FSTFLAGS or any(flags & pair == pair for pair in both):
        raise Refused(INVAL)
    if (isinstance(node, File) and not isinstance(node.content, bytearray)) or (
        isinstance(node, Directory) and not node.writable
    ):
        raise Refused(ROFS)
    now = time.time_ns()
    if flags & both[0]:
        node.accessed = accessed if flags & SET_ACCESSED else now
    if flags & both[1]:
        node.modified = modified if flags & SET_MODIFIED else now
    node.changed = now


# Everything is in memory, so there is nothing to synchronise.


@MODULE.function()
def fd_sync(context: Context, fd: U32) -> I32:
    return _sync(context, fd, RIGHT_SYNC)


@MODULE.function()
def fd_datasync(context: Context, fd: U32) -> I32:
    return _sync(context, fd, RIGHT_DATASYNC)


def _sync(context: Context, fd: int, right: int) -> I32:
    found = descriptor(context, fd)
    if isinstance(found, int):
        return INVAL
    return NOTCAPABLE if right & ~found.rights else SUCCESS

"""The table of a guest's descriptors: its three streams, and the files and directories that it opens.

What each kind does is in `streams.py`, `files.py` and `paths.py`; here is what all have in common.
"""

from __future__ import annotations

import heapq

from guesthouse_abi.context import Context
from guesthouse_abi.errors import BadReply, Refused
from guesthouse_abi.files import CallsFile, Directory, File, Link, Node
from guesthouse_abi.host import I32, U32, U64
from guesthouse_abi.imports.wasi_preview1.tree import Tree, has_files
from guesthouse_abi.imports.wasi_preview1.wire import (
    BADF,
    CHARACTER_DEVICE,
    DIRECTORY,
    FDFLAGS,
    FDSTAT,
    FILESTAT,
    INVAL,
    MODULE,
    NOTCAPABLE,
    NOTDIR,
    NOTSUP,
    REGULAR_FILE,
    RIGHT_ADVISE,
    RIGHT_ALLOCATE,
    RIGHT_CREATE_DIRECTORY,
    RIGHT_CREATE_FILE,
    RIGHT_DATASYNC,
    RIGHT_FILESTAT,
    RIGHT_LINK_SOURCE,
    RIGHT_LINK_TARGET,
    RIGHT_OPEN,
    RIGHT_PATH_FILESTAT,
    RIGHT_PATH_SET_SIZE,
    RIGHT_PATH_SET_TIMES,
    RIGHT_POLL,
    RIGHT_READ,
    RIGHT_READDIR,
    RIGHT_READLINK,
    RIGHT_REMOVE_DIRECTORY,
    RIGHT_RENAME_SOURCE,
    RIGHT_RENAME_TARGET,
    RIGHT_SEEK,
    RIGHT_SET_FLAGS,
    RIGHT_SET_SIZE,
    RIGHT_SET_TIMES,
    RIGHT_SYMLINK,
    RIGHT_SYNC,
    RIGHT_TELL,
    RIGHT_UNLINK,
    RIGHT_WRITE,
    RIGHTS,
    SUCCESS,
    SYMBOLIC_LINK,
    SYNCHRONISED,
)
from guesthouse_abi.lastwords import LastWords

STDIN, STDOUT, STDERR = range(3)
#: What a descriptor of the file of calls stands for: one more stream, to which calls are written.
CALLS = 3

#: Descriptors of one guest.
MOST_DESCRIPTORS = 1024

# Which rights mean anything for a directory, and for a file.
DIRECTORY_RIGHTS = (
    RIGHT_SYNC | RIGHT_CREATE_DIRECTORY | RIGHT_CREATE_FILE | RIGHT_LINK_SOURCE | RIGHT_LINK_TARGET | RIGHT_OPEN
    | RIGHT_READDIR | RIGHT_READLINK | RIGHT_RENAME_SOURCE | RIGHT_RENAME_TARGET | RIGHT_PATH_FILESTAT
    | RIGHT_PATH_SET_SIZE | RIGHT_PATH_SET_TIMES | RIGHT_FILESTAT | RIGHT_SET_TIMES | RIGHT_SYMLINK
    | RIGHT_REMOVE_DIRECTORY | RIGHT_UNLINK
)  # fmt: skip
FILE_RIGHTS = (
    RIGHT_DATASYNC | RIGHT_READ | RIGHT_SEEK | RIGHT_SET_FLAGS | RIGHT_SYNC | RIGHT_TELL | RIGHT_WRITE | RIGHT_ADVISE
    | RIGHT_ALLOCATE | RIGHT_FILESTAT | RIGHT_SET_SIZE | RIGHT_SET_TIMES | RIGHT_POLL
)  # fmt: skip


class OpenFile:
    """A descriptor of a file."""

    __slots__ = ("file", "flags", "position", "rights")

    def __init__(self, file: File, rights: int, flags: int) -> None:
        self.file = file
        self.rights = rights
        self.flags = flags  # $fdflags
        self.position = 0


class OpenDirectory:
    """A descriptor of a directory; `preopened` is the path under which a guest finds it from the start."""

    __slots__ = ("directory", "flags", "inheriting", "preopened", "rights")

    def __init__(self, directory: Directory, rights: int, inheriting: int, preopened: bytes | None = None) -> None:
        self.directory = directory
        self.rights = rights
        self.inheriting = inheriting
        self.preopened = preopened
        self.flags = 0


class Descriptors:
    """Which descriptors are open, and the lines that have not ended yet."""

    def __init__(self) -> None:
        self.open: dict[int, int | OpenFile | OpenDirectory] = {fd: fd for fd in (STDIN, STDOUT, STDERR)}  # or a stream
        self.tree: Tree | None = None
        self.free: list[int] = []  # numbers below `next` that are not open, a heap
        self.next = 3
        self.flags = [0, 0, 0, 0]  # $fdflags by stream: kept for the guest, without effect
        self.unended = [b"", b"", b""]  # by stream
        self.failed = False
        self.words = {STDOUT: LastWords(), STDERR: LastWords()}

    def add(self, descriptor: int | OpenFile | OpenDirectory) -> int:
        """Give it the lowest free number. `path_open` makes sure, before it makes a file, that one is left."""
        fd = heapq.heappop(self.free) if self.free else self.next
        self.next = max(self.next, fd + 1)
        self.open[fd] = descriptor
        if isinstance(descriptor, OpenFile) and isinstance(descriptor.file.content, bytearray):
            descriptor.file.opened += 1
        return fd


def descriptors(context: Context) -> Descriptors:
    """This event's table, with the root directory in it where files are granted."""
    table = context.state_if_made(Descriptors)
    if table is None:
        table = context.state(Descriptors)
        if has_files(context):
            table.tree = tree = Tree(context)
            # Twice: a C library of before 2021 finds relative paths below "." alone, and absolute ones below "/".
            for name in (b"/", b"."):
                table.add(OpenDirectory(tree.root, DIRECTORY_RIGHTS, DIRECTORY_RIGHTS | FILE_RIGHTS, name))
    return table


def tree_of(context: Context) -> Tree:
    """This event's files. Only for callers that have a descriptor of a file or directory: then there is a tree."""
    tree = descriptors(context).tree
    assert tree is not None
    return tree


def descriptor(context: Context, fd: int) -> int | OpenFile | OpenDirectory:
    """What a number stands for; an int is a standard stream. Raises `Refused` for what is not open."""
    found = descriptors(context).open.get(fd)
    if found is None:
        raise Refused(BADF)
    return found


def give_body(context: Context, body: bytes) -> None:
    """Keep the event's body for the file `body_file`. Every calling convention does so before it calls the guest."""
    context.body = body
    table = context.state_if_made(Descriptors)
    if table is not None and table.tree is not None:
        table.tree.give_body(body)  # a start function asked for files


def read_reply(context: Context) -> bytes:
    """The content of the file `reply_file`, after the guest has ended. Raises `BadReply`."""
    path, limit = context.grants.reply_file, context.limits.output
    found = tree_of(context).at(path)
    if not isinstance(found, File):
        raise BadReply(f"the guest ended without a file {path}, which is to have its reply (reply_file)")
    if len(found.content) > limit:
        raise BadReply(f"a reply of {len(found.content)} bytes in {path}; the limit output is {limit}")
    return bytes(found.content)


def file_at(context: Context, fd: int, right: int, *, stream: int, directory: int = BADF) -> OpenFile:
    """The file behind a descriptor that has a right.

    `stream` and `directory` are the error numbers for a descriptor of one of those. Raises `Refused`.
    """
    found = descriptor(context, fd)
    if isinstance(found, int):
        raise Refused(stream)
    if isinstance(found, OpenDirectory):
        raise Refused(directory)
    if right & ~found.rights:
        # A file that was not opened for reading or writing is BADF, as in POSIX. The other rights are WASI's own.
        raise Refused(BADF if right & (RIGHT_READ | RIGHT_WRITE) else NOTCAPABLE)
    return found


def directory_at(context: Context, fd: int, right: int) -> OpenDirectory:
    """The directory behind a descriptor that has a right. Raises `Refused`."""
    found = descriptor(context, fd)
    if not isinstance(found, OpenDirectory):
        raise Refused(NOTDIR)
    if right & ~found.rights:
        raise Refused(NOTCAPABLE)
    return found


def file_type(node: Node) -> int:
    if isinstance(node, Directory):
        return DIRECTORY
    if isinstance(node, CallsFile):
        return CHARACTER_DEVICE
    return SYMBOLIC_LINK if isinstance(node, Link) else REGULAR_FILE


def stat_of(node: Node) -> tuple[int, ...]:
    """The fields of a `filestat`. Streams are on device 0, files on device 1."""
    size = 0
    if isinstance(node, File):
        size = len(node.content)
    elif isinstance(node, Link):
        size = len(node.target)
    return 1, node.inode, file_type(node), node.links, size, node.accessed, node.modified, node.changed


def _close(context: Context, table: Descriptors, fd: int) -> None:
    closed = table.open.pop(fd)
    if isinstance(closed, OpenFile) and isinstance(closed.file.content, bytearray):
        closed.file.opened -= 1
        tree_of(context).free_if_unreachable(context, closed.file)


@MODULE.function()
def fd_close(context: Context, fd: U32) -> I32:
    descriptor(context, fd)
    table = descriptors(context)
    _close(context, table, fd)
    heapq.heappush(table.free, fd)
    return SUCCESS


@MODULE.function()
def fd_renumber(context: Context, fd: U32, to: U32) -> I32:
    descriptor(context, fd)
    descriptor(context, to)
    if fd != to:
        table = descriptors(context)
        _close(context, table, to)
        table.open[to] = table.open.pop(fd)
        heapq.heappush(table.free, fd)
    return SUCCESS


@MODULE.function()
def fd_fdstat_get(context: Context, fd: U32, stat: U32) -> I32:
    found = descriptor(context, fd)
    if isinstance(found, OpenFile):
        record = FDSTAT.pack(REGULAR_FILE, found.flags, found.rights, 0)
    elif isinstance(found, OpenDirectory):
        record = FDSTAT.pack(DIRECTORY, found.flags, found.rights, found.inheriting)
    else:
        # The rights to seek are there, though a pipe answers SPIPE: a C library takes a character device
        # without them for a terminal, and would send binary output line by line and in colour.
        rights = RIGHT_SEEK | RIGHT_TELL | RIGHT_SET_FLAGS | RIGHT_FILESTAT | RIGHT_POLL
        rights |= RIGHT_READ if found == STDIN else RIGHT_WRITE
        record = FDSTAT.pack(CHARACTER_DEVICE, descriptors(context).flags[found], rights, 0)
    context.memory.write(stat, record)
    return SUCCESS


@MODULE.function()
def fd_fdstat_set_flags(context: Context, fd: U32, flags: U32) -> I32:
    found = descriptor(context, fd)
    if flags & ~FDFLAGS:
        return INVAL
    if isinstance(found, int):
        descriptors(context).flags[found] = flags
        return SUCCESS
    file = file_at(context, fd, RIGHT_SET_FLAGS, stream=BADF)
    if (flags ^ file.flags) & SYNCHRONISED:
        return INVAL  # these three never change, as with F_SETFL
    file.flags = flags
    return SUCCESS


@MODULE.function()
def fd_fdstat_set_rights(context: Context, fd: U32, base: U64, inheriting: U64) -> I32:
    found = descriptor(context, fd)
    if isinstance(found, int):
        return NOTSUP
    if (base | inheriting) & ~RIGHTS:
        return INVAL
    may_inherit = found.inheriting if isinstance(found, OpenDirectory) else 0
    if base & ~found.rights or inheriting & ~may_inherit:
        return NOTCAPABLE
    found.rights = base
    if isinstance(found, OpenDirectory):
        found.inheriting = inheriting
    return SUCCESS


def stat_at(context: Context, fd: int) -> tuple[int, ...]:
    """The fields of a `filestat` of what a number stands for."""
    found = descriptor(context, fd)
    if isinstance(found, int):
        # Each stream has an inode of its own: programs compare them to see whether input and output are one file.
        return 0, found, CHARACTER_DEVICE, 1, 0, 0, 0, 0
    if RIGHT_FILESTAT & ~found.rights:
        raise Refused(NOTCAPABLE)
    return stat_of(found.file if isinstance(found, OpenFile) else found.directory)


@MODULE.function()
def fd_filestat_get(context: Context, fd: U32, stat: U32) -> I32:
    context.memory.write(stat, FILESTAT.pack(*stat_at(context, fd)))
    return SUCCESS

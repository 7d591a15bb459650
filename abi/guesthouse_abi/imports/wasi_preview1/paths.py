"""The `path_` functions, the directories that are open from the start, and the listing of a directory.

Where a path leads is decided in `tree.py`. What each function answers is in docs/abi.md, under "Files".
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Refused
from guesthouse_abi.files import CallsFile, Directory, Link, Node
from guesthouse_abi.host import I32, U32, U64
from guesthouse_abi.imports.wasi_preview1.descriptors import (
    CALLS,
    DIRECTORY_RIGHTS,
    FILE_RIGHTS,
    MOST_DESCRIPTORS,
    OpenDirectory,
    OpenFile,
    descriptor,
    descriptors,
    directory_at,
    file_type,
    stat_of,
    tree_of,
)
from guesthouse_abi.imports.wasi_preview1.files import set_times
from guesthouse_abi.imports.wasi_preview1.tree import Place, path_of
from guesthouse_abi.imports.wasi_preview1.wire import (
    BADF,
    CREATE,
    DIRECTORY,
    DIRENT,
    EXCLUSIVE,
    EXIST,
    FDFLAGS,
    FILESTAT,
    FOLLOW,
    INVAL,
    ISDIR,
    LOOP,
    MFILE,
    MODULE,
    MUST_BE_DIRECTORY,
    NAMETOOLONG,
    NOENT,
    NOTCAPABLE,
    NOTDIR,
    OFLAGS,
    PERM,
    PRESTAT,
    RIGHT_CREATE_DIRECTORY,
    RIGHT_CREATE_FILE,
    RIGHT_LINK_SOURCE,
    RIGHT_LINK_TARGET,
    RIGHT_OPEN,
    RIGHT_PATH_FILESTAT,
    RIGHT_PATH_SET_SIZE,
    RIGHT_PATH_SET_TIMES,
    RIGHT_READDIR,
    RIGHT_READLINK,
    RIGHT_REMOVE_DIRECTORY,
    RIGHT_RENAME_SOURCE,
    RIGHT_RENAME_TARGET,
    RIGHT_SYMLINK,
    RIGHT_UNLINK,
    RIGHT_WRITE,
    RIGHTS,
    SUCCESS,
    TRUNCATE,
)

#: Entries listed between two looks at the deadline.
_LISTED = 1024


def _preopened(context: Context, fd: int, refusal: int) -> bytes:
    found = descriptor(context, fd)
    if not isinstance(found, OpenDirectory) or found.preopened is None:
        raise Refused(refusal)
    return found.preopened


@MODULE.function()
def fd_prestat_get(context: Context, fd: U32, prestat: U32) -> I32:
    # A C library asks for 3, 4, 5 … until the answer is BADF; then it knows all directories.
    name = _preopened(context, fd, BADF)
    context.memory.write(prestat, PRESTAT.pack(0, len(name)))
    return SUCCESS


@MODULE.function()
def fd_prestat_dir_name(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    name = _preopened(context, fd, BADF)
    if path_length < len(name):
        return NAMETOOLONG
    context.memory.check(path, path_length)
    context.memory.write(path, name)
    return SUCCESS


@MODULE.function()
def fd_readdir(context: Context, fd: U32, buffer: U32, length: U32, cookie: U64, used: U32) -> I32:
    """Fill `buffer` with entries from `cookie` on; the last one is cut where it does not fit."""
    found = descriptor(context, fd)
    if not isinstance(found, OpenDirectory):
        return NOTDIR
    directory = directory_at(context, fd, RIGHT_READDIR).directory
    memory = context.memory
    memory.check(used, 4)
    memory.check(buffer, length)
    listed = directory.listing()
    first = bisect_right(listed, cookie, key=itemgetter(0))
    own = [(1, b".", directory.inode), (2, b"..", directory.above)]
    parts = [_entry(after, name, inode, DIRECTORY) for after, name, inode in own if after > cookie]
    size = sum(map(len, parts))
    for index in range(first, len(listed)):
        if size >= length:
            break
        if index % _LISTED == 0:
            context.deadline.check()
        after, name, node = listed[index]
        parts.append(_entry(after, name, node.inode, file_type(node)))
        size += len(parts[-1])
    entries = b"".join(parts)[:length]
    memory.write(buffer, entries)
    memory.set_u32(used, len(entries))
    return SUCCESS


def _entry(after: int, name: bytes, inode: int, kind: int) -> bytes:
    return DIRENT.pack(after, inode, len(name), kind) + name


def _place(context: Context, fd: int, right: int, path: int, path_length: int, *, follow: bool) -> Place:
    """What a path leads to, for a function that asks about it or opens it."""
    opened = directory_at(context, fd, right)
    return tree_of(context).walk(opened.directory, path_of(context, path, path_length), follow=follow)


def _entry_at(context: Context, fd: int, right: int, path: int, path_length: int) -> Place:
    """The name that a path leads to, for a function that makes, removes or moves it."""
    opened = directory_at(context, fd, right)
    return tree_of(context).walk(opened.directory, path_of(context, path, path_length), follow=False, entry=True)


def _node(context: Context, fd: int, right: int, flags: int, path: int, path_length: int) -> Node:
    place = _place(context, fd, right, path, path_length, follow=bool(flags & FOLLOW))
    if flags & ~FOLLOW:
        raise Refused(INVAL)
    if place.node is None:
        raise Refused(NOENT)
    return place.node


def stat_below(context: Context, fd: int, flags: int, path: int, path_length: int) -> tuple[int, ...]:
    """The fields of a `filestat` of what a path leads to."""
    return stat_of(_node(context, fd, RIGHT_PATH_FILESTAT, flags, path, path_length))


@MODULE.function()
def path_filestat_get(context: Context, fd: U32, flags: U32, path: U32, path_length: U32, stat: U32) -> I32:
    context.memory.write(stat, FILESTAT.pack(*stat_below(context, fd, flags, path, path_length)))
    return SUCCESS


@MODULE.function()
def path_filestat_set_times(
    context: Context,
    fd: U32,
    flags: U32,
    path: U32,
    path_length: U32,
    accessed: U64,
    modified: U64,
    times: U32,
) -> I32:
    set_times(_node(context, fd, RIGHT_PATH_SET_TIMES, flags, path, path_length), accessed, modified, times)
    return SUCCESS


@MODULE.function()
def path_create_directory(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    place = _entry_at(context, fd, RIGHT_CREATE_DIRECTORY, path, path_length)
    tree_of(context).make_directory(context, place)
    return SUCCESS


@MODULE.function()
def path_remove_directory(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    place = _entry_at(context, fd, RIGHT_REMOVE_DIRECTORY, path, path_length)
    tree_of(context).remove_directory(context, place)
    return SUCCESS


@MODULE.function()
def path_unlink_file(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    place = _entry_at(context, fd, RIGHT_UNLINK, path, path_length)
    tree_of(context).unlink(context, place)
    return SUCCESS


@MODULE.function()
def path_rename(
    context: Context, fd: U32, old_path: U32, old_path_length: U32, new_fd: U32, new_path: U32, new_path_length: U32
) -> I32:
    directory_at(context, fd, RIGHT_RENAME_SOURCE)
    directory_at(context, new_fd, RIGHT_RENAME_TARGET)
    old = _entry_at(context, fd, RIGHT_RENAME_SOURCE, old_path, old_path_length)
    new = _entry_at(context, new_fd, RIGHT_RENAME_TARGET, new_path, new_path_length)
    tree_of(context).rename(context, old, new)
    return SUCCESS


@MODULE.function()
def path_link(
    context: Context,
    old_fd: U32,
    old_flags: U32,
    old_path: U32,
    old_path_length: U32,
    new_fd: U32,
    new_path: U32,
    new_path_length: U32,
) -> I32:
    directory_at(context, old_fd, RIGHT_LINK_SOURCE)
    directory_at(context, new_fd, RIGHT_LINK_TARGET)
    old = _entry_at(context, old_fd, RIGHT_LINK_SOURCE, old_path, old_path_length)
    new = _entry_at(context, new_fd, RIGHT_LINK_TARGET, new_path, new_path_length)
    if old_flags:
        return INVAL  # to follow a symbolic link is not offered here: the link itself gets the second name
    if old.node is None:
        return NOENT
    if old.slash and not isinstance(old.node, Directory):
        return NOTDIR
    tree_of(context).link(context, old.node, new)
    return SUCCESS


@MODULE.function()
def path_symlink(
    context: Context, old_path: U32, old_path_length: U32, fd: U32, new_path: U32, new_path_length: U32
) -> I32:
    directory_at(context, fd, RIGHT_SYMLINK)
    target = path_of(context, old_path, old_path_length)
    if not target:
        return NOENT
    if target.startswith(b"/"):
        return PERM  # an absolute path leads nowhere
    place = _entry_at(context, fd, RIGHT_SYMLINK, new_path, new_path_length)
    tree_of(context).make_link(context, place, target)
    return SUCCESS


@MODULE.function()
def path_readlink(
    context: Context, fd: U32, path: U32, path_length: U32, buffer: U32, buffer_length: U32, used: U32
) -> I32:
    node = _place(context, fd, RIGHT_READLINK, path, path_length, follow=False).node
    if node is None:
        return NOENT
    if not isinstance(node, Link):
        return INVAL
    context.memory.check(used, 4)
    context.memory.check(buffer, buffer_length)
    text = node.target[:buffer_length]
    context.memory.write(buffer, text)
    context.memory.set_u32(used, len(text))
    return SUCCESS


@MODULE.function()
def path_open(
    context: Context,
    fd: U32,
    lookup: U32,
    path: U32,
    path_length: U32,
    open_flags: U32,
    rights: U64,
    rights_inheriting: U64,
    flags: U32,
    opened: U32,
) -> I32:
    parent = directory_at(context, fd, RIGHT_OPEN)
    context.memory.check(opened, 4)
    if lookup & ~FOLLOW or open_flags & ~OFLAGS or flags & ~FDFLAGS or (rights | rights_inheriting) & ~RIGHTS:
        return INVAL
    if open_flags & MUST_BE_DIRECTORY and open_flags & ~MUST_BE_DIRECTORY:
        return INVAL
    if open_flags & CREATE and not parent.rights & RIGHT_CREATE_FILE:
        return NOTCAPABLE
    if open_flags & TRUNCATE and not parent.rights & RIGHT_PATH_SET_SIZE:
        return PERM
    table = descriptors(context)
    if len(table.open) >= MOST_DESCRIPTORS:
        return MFILE
    exclusive = open_flags & CREATE and open_flags & EXCLUSIVE
    place = _place(context, fd, RIGHT_OPEN, path, path_length, follow=bool(lookup & FOLLOW) and not exclusive)
    node = place.node
    if node is not None and exclusive:
        return EXIST
    if place.slash and open_flags & CREATE:
        return ISDIR
    if node is None and not open_flags & CREATE:
        return NOENT
    if isinstance(node, Link):
        return LOOP
    if isinstance(node, Directory):
        if rights & RIGHT_WRITE or open_flags & (CREATE | TRUNCATE):
            return ISDIR
        wanted, inheriting = rights & DIRECTORY_RIGHTS, rights_inheriting & (DIRECTORY_RIGHTS | FILE_RIGHTS)
        if (wanted | inheriting) & ~parent.inheriting:
            return NOTCAPABLE
        context.memory.set_u32(opened, table.add(OpenDirectory(node, wanted, inheriting)))
        return SUCCESS
    if open_flags & MUST_BE_DIRECTORY:
        return NOTDIR
    if isinstance(node, CallsFile):
        context.memory.set_u32(opened, table.add(CALLS))
        return SUCCESS
    # Rights that mean nothing for a file are dropped, as the interface allows. The others are all given, or refused.
    wanted = rights & FILE_RIGHTS
    if wanted & ~parent.inheriting:
        return NOTCAPABLE
    file = tree_of(context).file_at(
        context, place, writes=bool(rights & RIGHT_WRITE), truncates=bool(open_flags & TRUNCATE)
    )
    context.memory.set_u32(opened, table.add(OpenFile(file, wanted, flags)))
    return SUCCESS

"""What a guest does not have: directories and sockets. The functions link, and answer as an empty table does.

They touch no memory: a path that leads nowhere need not be read.
"""

from __future__ import annotations

from guesthouse_abi.context import Context
from guesthouse_abi.host import I32, U32, U64
from guesthouse_abi.imports.wasi_preview1.streams import stream_of
from guesthouse_abi.imports.wasi_preview1.wire import BADF, MODULE, NOTDIR, NOTSOCK


def _no_directory(context: Context, fd: int) -> I32:
    return BADF if stream_of(context, fd) is None else NOTDIR


def _no_socket(context: Context, fd: int) -> I32:
    return BADF if stream_of(context, fd) is None else NOTSOCK


@MODULE.function()
def fd_prestat_get(context: Context, fd: U32, prestat: U32) -> I32:
    # A C library asks for 3, 4, 5 … until this answer, and then knows all its directories.
    return BADF


@MODULE.function()
def fd_prestat_dir_name(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    return BADF


@MODULE.function()
def path_create_directory(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    return _no_directory(context, fd)


@MODULE.function()
def path_filestat_get(context: Context, fd: U32, flags: U32, path: U32, path_length: U32, stat: U32) -> I32:
    return _no_directory(context, fd)


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
    return _no_directory(context, fd)


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
    return _no_directory(context, old_fd)


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
    return _no_directory(context, fd)


@MODULE.function()
def path_readlink(
    context: Context, fd: U32, path: U32, path_length: U32, buffer: U32, buffer_length: U32, used: U32
) -> I32:
    return _no_directory(context, fd)


@MODULE.function()
def path_remove_directory(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    return _no_directory(context, fd)


@MODULE.function()
def path_rename(
    context: Context, fd: U32, old_path: U32, old_path_length: U32, new_fd: U32, new_path: U32, new_path_length: U32
) -> I32:
    return _no_directory(context, fd)


@MODULE.function()
def path_symlink(
    context: Context, old_path: U32, old_path_length: U32, fd: U32, new_path: U32, new_path_length: U32
) -> I32:
    return _no_directory(context, fd)


@MODULE.function()
def path_unlink_file(context: Context, fd: U32, path: U32, path_length: U32) -> I32:
    return _no_directory(context, fd)


@MODULE.function()
def sock_accept(context: Context, fd: U32, flags: U32, accepted: U32) -> I32:
    return _no_socket(context, fd)


@MODULE.function()
def sock_recv(context: Context, fd: U32, iovs: U32, count: U32, flags: U32, received: U32, flags_out: U32) -> I32:
    return _no_socket(context, fd)


@MODULE.function()
def sock_send(context: Context, fd: U32, iovs: U32, count: U32, flags: U32, sent: U32) -> I32:
    return _no_socket(context, fd)


@MODULE.function()
def sock_shutdown(context: Context, fd: U32, how: U32) -> I32:
    return _no_socket(context, fd)

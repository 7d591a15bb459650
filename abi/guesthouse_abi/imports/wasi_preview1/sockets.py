"""The functions for sockets, which no guest has: they link, and answer that the descriptor is no socket."""

from __future__ import annotations

from guesthouse_abi.context import Context
from guesthouse_abi.host import I32, U32
from guesthouse_abi.imports.wasi_preview1.descriptors import descriptor
from guesthouse_abi.imports.wasi_preview1.wire import MODULE, NOTSOCK


def _no_socket(context: Context, fd: int) -> I32:
    descriptor(context, fd)
    return NOTSOCK


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

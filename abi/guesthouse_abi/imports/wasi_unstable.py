"""WASI of 2019 (`wasi_unstable`): the functions of preview 1, with the numbers and records that were other ones then.

A program that was built before 2020 imports these. A function that preview 1 has unchanged is the same function here.
The others differ in their numbers and records, which are here, and share their work with `wasi_preview1`. `sock_accept`
came later. What differs is in docs/abi.md, under "WASI of 2019".

Numbers and layouts are those of `phases/old/snapshot_0/witx` in the repository WebAssembly/WASI.
"""

from __future__ import annotations

import struct

from guesthouse_abi.context import Context
from guesthouse_abi.host import I32, I64, U32, HostModule
from guesthouse_abi.imports import wasi_preview1
from guesthouse_abi.imports.wasi_preview1.clocks import poll
from guesthouse_abi.imports.wasi_preview1.descriptors import stat_at
from guesthouse_abi.imports.wasi_preview1.files import fd_seek as seek
from guesthouse_abi.imports.wasi_preview1.paths import stat_below
from guesthouse_abi.imports.wasi_preview1.wire import FAULTS, SEEK_CUR, SEEK_END, SEEK_SET, SUCCESS

MODULE = HostModule("wasi_unstable", faults=FAULTS)

#: As in preview 1, but for 32 bits of links: 56 bytes, not 64.
FILESTAT = struct.Struct("<QQB3xIQQQQ")
#: User data, event type, descriptor (of a clock: a number of the guest's, 64 bits), clock, time-out, precision, flags.
SUBSCRIPTION = struct.Struct("<QB7xI4xI4xQQH6x")
#: $whence
WHENCE = (SEEK_CUR, SEEK_END, SEEK_SET)


@MODULE.function()
def fd_filestat_get(context: Context, fd: U32, stat: U32) -> I32:
    context.memory.write(stat, FILESTAT.pack(*stat_at(context, fd)))
    return SUCCESS


@MODULE.function()
def path_filestat_get(context: Context, fd: U32, flags: U32, path: U32, path_length: U32, stat: U32) -> I32:
    context.memory.write(stat, FILESTAT.pack(*stat_below(context, fd, flags, path, path_length)))
    return SUCCESS


@MODULE.function()
def fd_seek(context: Context, fd: U32, offset: I64, whence: U32, position: U32) -> I32:
    known = U32(WHENCE[whence]) if whence < len(WHENCE) else whence
    return I32(seek(context, fd, offset, known, position))


@MODULE.function()
def poll_oneoff(context: Context, subscriptions: U32, events: U32, count: U32, written: U32) -> I32:
    return poll(context, SUBSCRIPTION, subscriptions, events, count, written)


for _function in wasi_preview1.MODULE.functions.values():
    if _function.name not in {"sock_accept", *MODULE.functions}:
        MODULE.function(_function.name)(_function.body)

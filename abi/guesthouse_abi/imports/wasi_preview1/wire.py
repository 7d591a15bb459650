"""The numbers and record layouts of WASI preview 1, and the module that its functions register with.

From `typenames.witx` in the repository WebAssembly/WASI; every layout is little-endian with C's padding.
"""

from __future__ import annotations

import struct

from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.host import I32, HostModule

# Error numbers ($errno): those that are answered here.
SUCCESS = I32(0)
BADF = I32(8)  # no such descriptor, or not open for this direction
FAULT = I32(21)  # a pointer outside the memory
INVAL = I32(28)
NOMEM = I32(48)
NOSYS = I32(52)
NOTDIR = I32(54)
NOTSOCK = I32(57)
NOTSUP = I32(58)
SPIPE = I32(70)  # a position in something that has none

# What is refused by exception: pointers out of range, a guest without memory, more output than the host may hold.
MODULE = HostModule("wasi_snapshot_preview1", faults={HostError: FAULT, TooMuch: NOMEM})

# $clockid
REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)

# $eventtype
CLOCK, FD_READ, FD_WRITE = range(3)

CHARACTER_DEVICE = 2  # $filetype
ABSOLUTE = 1  # $subclockflags
HANGUP = 1  # $eventrwflags
FDFLAGS = 0b11111  # $fdflags: append, dsync, nonblock, rsync, sync

# $rights of the standard streams
RIGHT_READ = 1 << 1
RIGHT_SEEK = 1 << 2
RIGHT_SET_FLAGS = 1 << 3
RIGHT_TELL = 1 << 5
RIGHT_WRITE = 1 << 6
RIGHT_FILESTAT = 1 << 21
RIGHT_POLL = 1 << 27

IOVEC = struct.Struct("<II")  # pointer, length
FDSTAT = struct.Struct("<BxH4xQQ")  # file type, flags, rights, inherited rights
FILESTAT = struct.Struct("<QQB7xQQQQQ")  # device, inode, file type, links, size, three times
SUBSCRIPTION = struct.Struct("<QB7xI4xQQH6x")  # user data, event type, clock or descriptor, time-out, precision, flags
EVENT = struct.Struct("<QHB5xQH6x")  # user data, error, event type, bytes, flags

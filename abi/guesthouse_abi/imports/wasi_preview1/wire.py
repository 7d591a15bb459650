"""The numbers and record layouts of WASI preview 1, and the module that its functions register with.

docs/abi.md has the table of error numbers, and says what each function answers.

From `typenames.witx` in the repository WebAssembly/WASI; every layout is little-endian with C's padding.
"""

from __future__ import annotations

import struct

from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.host import I32, HostModule

# Error numbers ($errno): those that are answered here.
SUCCESS = I32(0)
BADF = I32(8)  # no such descriptor, or not open for this direction
BUSY = I32(10)
EXIST = I32(20)
FAULT = I32(21)  # a pointer outside the memory
ILSEQ = I32(25)  # a name that is not UTF-8
INVAL = I32(28)
ISDIR = I32(31)
LOOP = I32(32)  # a symbolic link that may not be followed, or too many
MFILE = I32(33)  # too many descriptors
NAMETOOLONG = I32(37)
NOENT = I32(44)
NOMEM = I32(48)
NOSPC = I32(51)
NOSYS = I32(52)
NOTDIR = I32(54)
NOTEMPTY = I32(55)
NOTSOCK = I32(57)
NOTSUP = I32(58)
PERM = I32(63)  # a path that leads out of its directory
ROFS = I32(69)  # a file or directory that is only read
SPIPE = I32(70)  # a position in something that has none
XDEV = I32(75)
NOTCAPABLE = I32(76)  # a right that the descriptor does not have

# Refusals that are raised and not returned: a pointer outside the memory, a guest without a memory, too much output.
FAULTS = {HostError: FAULT, TooMuch: NOMEM}
MODULE = HostModule("wasi_snapshot_preview1", faults=FAULTS)

# $clockid
REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)

# $eventtype
CLOCK, FD_READ, FD_WRITE = range(3)

CHARACTER_DEVICE, DIRECTORY, REGULAR_FILE, SYMBOLIC_LINK = 2, 3, 4, 7  # $filetype
ABSOLUTE = 1  # $subclockflags
HANGUP = 1  # $eventrwflags
APPEND = 1  # $fdflags
SYNCHRONISED = 0b11010  # $fdflags: dsync, rsync, sync
FDFLAGS = 0b11111  # $fdflags: append, dsync, nonblock, rsync, sync
FOLLOW = 1  # $lookupflags
CREATE, MUST_BE_DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8  # $oflags
OFLAGS = 0b1111
SET_ACCESSED, SET_ACCESSED_NOW, SET_MODIFIED, SET_MODIFIED_NOW = 1, 2, 4, 8  # $fstflags
FSTFLAGS = 0b1111
SEEK_SET, SEEK_CUR, SEEK_END = range(3)  # $whence
ADVICE = 6  # values of $advice

# $rights
RIGHT_DATASYNC = 1 << 0
RIGHT_READ = 1 << 1
RIGHT_SEEK = 1 << 2
RIGHT_SET_FLAGS = 1 << 3
RIGHT_SYNC = 1 << 4
RIGHT_TELL = 1 << 5
RIGHT_WRITE = 1 << 6
RIGHT_ADVISE = 1 << 7
RIGHT_ALLOCATE = 1 << 8
RIGHT_CREATE_DIRECTORY = 1 << 9
RIGHT_CREATE_FILE = 1 << 10
RIGHT_LINK_SOURCE = 1 << 11
RIGHT_LINK_TARGET = 1 << 12
RIGHT_OPEN = 1 << 13
RIGHT_READDIR = 1 << 14
RIGHT_READLINK = 1 << 15
RIGHT_RENAME_SOURCE = 1 << 16
RIGHT_RENAME_TARGET = 1 << 17
RIGHT_PATH_FILESTAT = 1 << 18
RIGHT_PATH_SET_SIZE = 1 << 19
RIGHT_PATH_SET_TIMES = 1 << 20
RIGHT_FILESTAT = 1 << 21
RIGHT_SET_SIZE = 1 << 22
RIGHT_SET_TIMES = 1 << 23
RIGHT_SYMLINK = 1 << 24
RIGHT_REMOVE_DIRECTORY = 1 << 25
RIGHT_UNLINK = 1 << 26
RIGHT_POLL = 1 << 27
RIGHTS = (1 << 30) - 1  # with the two of sockets

IOVEC = struct.Struct("<II")  # pointer, length
FDSTAT = struct.Struct("<BxH4xQQ")  # file type, flags, rights, inherited rights
FILESTAT = struct.Struct("<QQB7xQQQQQ")  # device, inode, file type, links, size, three times
SUBSCRIPTION = struct.Struct("<QB7xI4xQQH6x")  # user data, event type, clock or descriptor, time-out, precision, flags
EVENT = struct.Struct("<QHB5xQH6x")  # user data, error, event type, bytes, flags
DIRENT = struct.Struct("<QQIB3x")  # the next entry's cookie, inode, length of the name, file type
PRESTAT = struct.Struct("<B3xI")  # 0 for a directory, length of its path

"""The system calls that a worker process may still make once it is a guest's: a filter in the kernel (seccomp).

The filter has a list of allowed calls. Any other call fails with EPERM and does not end the process, for libraries try
calls that they can do without. The list was found by running the tests of guests, under the oldest and the newest
Python, with a filter that logs (`_REFUSE` as `_LOG`). The filter is a small program
(https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html); numbers are those of <asm/unistd.h>.
"""

from __future__ import annotations

import ctypes
import platform
import struct

_SECCOMP = {"x86_64": 317, "aarch64": 277}  # seccomp(2), by machine. prctl(2) would restrict one thread alone
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _ALL_THREADS = 1, 2, 1
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_LOG = 0x7FFC0000  # allows a call, with a line in the kernel's log
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # the last: SECCOMP_RET_ERRNO with EPERM
_NUMBER_AT, _ARCH_AT = 0, 4  # in struct seccomp_data

#: The allowed calls by name, with their numbers on x86-64 and on AArch64; None where that has no such call.
ALLOWED: dict[str, tuple[int, int | None]] = {
    # the channel to the server, and what is said on standard error
    "read": (0, 63),
    "write": (1, 64),
    "writev": (20, 66),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "poll": (7, None),
    "ppoll": (271, 73),
    # descriptors that are there already
    "close": (3, 57),
    "dup": (32, 23),
    "fcntl": (72, 25),
    "fstat": (5, 80),
    "lseek": (8, 62),
    # memory, and memory as a file: wasmtime keeps the start of a guest's memory in one
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "memfd_create": (319, 279),
    "ftruncate": (77, 46),
    # threads and time
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "select": (23, None),  # this and the next: how Python 3.10 sleeps
    "pselect6": (270, 72),
    "gettimeofday": (96, 169),
    "getrandom": (318, 278),
    "gettid": (186, 178),
    "getpid": (39, 172),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "restart_syscall": (219, 128),
    # signals, by which engines see traps, and the end
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "tgkill": (234, 131),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

_libc = ctypes.CDLL(None, use_errno=True)


def program(machine: str) -> bytes | None:
    """The filter for a machine, as `struct sock_filter`s; None for a machine whose numbers are not in the list."""
    if machine not in _ARCHITECTURES:
        return None
    architecture, column = _ARCHITECTURES[machine]
    numbers = sorted(number for row in ALLOWED.values() if (number := row[column]) is not None)
    steps = [(_LOAD, 0, 0, _ARCH_AT), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER_AT)]
    # Where a comparison is true, it jumps over those that follow and over the refusal.
    steps += [(_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def available() -> bool:
    """Whether the kernel has such filters, and the list has this machine's numbers."""
    call = _SECCOMP.get(platform.machine())
    action = ctypes.c_uint32(_REFUSE & 0xFFFF0000)
    return call is not None and _libc.syscall(call, _GET_ACTION_AVAIL, 0, ctypes.byref(action)) == 0


def restrict() -> bool:
    """Allow this process, with all its threads, no other calls; whether that is so now. Needs `no_new_privs`."""
    filters = program(platform.machine())
    if filters is None:
        return False
    memory = ctypes.create_string_buffer(filters, len(filters))
    fprog = struct.pack("@HP", len(filters) // 8, ctypes.addressof(memory))
    return bool(_libc.syscall(_SECCOMP[platform.machine()], _SET_MODE_FILTER, _ALL_THREADS, fprog) == 0)

"""What a worker process gives up: files, sockets, privileges, system calls, memory, and priority.

The server starts it with an empty environment and no descriptors but its own (`remote`). Here is what the worker then
does to itself, before it has read a byte of an event. Numbers are Linux's: prctl(2), setrlimit(2), landlock(7).
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
from pathlib import Path

from guesthouse.guests.process import syscalls

NICE = 5  # below the server's priority: the server answers for all guests
DESCRIPTORS = 32  # that a worker may have open
# Bytes of stack. wasmtime gives a guest half of them. wasmer gives all, and when they are full it lists every call.
STACK = 1 << 20
SLACK = 64 << 20  # bytes of memory beyond what is accounted for

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 1, 38, 4
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on all architectures
_VERSION_FLAG = 1
# What each version of Landlock can forbid (linux/landlock.h): files, from 4 on TCP, from 6 on reaching other processes.
_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _TCP_FROM = 0b11, 4
_SCOPES = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


class Orphaned(Exception):
    """The server has ended already."""


def at_start(parent: int) -> None:
    """What a worker gives up before it loads anything. Raises `Orphaned`, `OSError`."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise Orphaned
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    for limit, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, DESCRIPTORS),
        (resource.RLIMIT_STACK, STACK),
    ):
        _lower(limit, most)
    os.nice(NICE)


def when_loaded(memory: int) -> list[str]:
    """What a worker gives up when all is loaded and it needs no file any more.

    `memory` is how many bytes events may take on top of what it has now. Returns what the kernel could not do, for
    people; empty where it did everything.
    """
    # Not RLIMIT_AS: engines reserve much address space that they do not use.
    _lower(resource.RLIMIT_DATA, _data() + memory + SLACK)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)  # other processes of the same user cannot look into this one
    version = _landlock_version()
    return _lacking(version if _landlock(version) else 0, syscalls.restrict())


def lacking() -> list[str]:
    """What `when_loaded` would return, without doing it."""
    return _lacking(_landlock_version(), syscalls.available())


def _lacking(landlock: int, filtered: bool) -> list[str]:
    lacks = []
    if not filtered:
        lacks.append("no filter of system calls (seccomp)")
    if not landlock:
        lacks.append("files are not closed by Landlock (Linux 5.13)")
    elif landlock < _TCP_FROM and not filtered:
        lacks.append("TCP is not closed by Landlock (Linux 6.7)")
    return lacks


def _lower(limit: int, most: int) -> None:
    hard = resource.getrlimit(limit)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, most))


def _data() -> int:
    """How many bytes of this process count for RLIMIT_DATA now."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _landlock_version() -> int:
    """The kernel's version of Landlock; 0 where it has none."""
    if platform.machine() not in ("x86_64", "aarch64"):
        return 0
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG))
    return max(0, int(version))


def _landlock(version: int) -> bool:
    """Forbid every file and TCP port, by a ruleset that allows none; whether that is so now."""
    if version < 1:
        return False
    rules = (ctypes.c_uint64 * 3)(
        _FILES[min(version, max(_FILES))], _TCP if version >= _TCP_FROM else 0, _SCOPES if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= _TCP_FROM else 8
    ruleset = _libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        return False
    try:
        return bool(_libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)) == 0)
    finally:
        os.close(ruleset)

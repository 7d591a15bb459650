"""Calls of preview 1's functions for files as a C library makes them: numbers in, an errno and what was written out.

The same calls go to `guesthouse_abi` without an engine (`Guest`) and to wasmtime's own WASI (`Wasmtime`).
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Any

import wasmtime

from guesthouse_abi.files import NO_FILES, Files
from guesthouse_abi.grants import Grants, Limits
from tests.abi.wasi_host import Host

(
    SUCCESS, BADF, BUSY, EXIST, FAULT, ILSEQ, INVAL, ISDIR, LOOP, MFILE, NAMETOOLONG, NOENT, NOMEM, NOSPC, NOTDIR,
    NOTEMPTY, NOTSUP, PERM, ROFS, SPIPE, XDEV, NOTCAPABLE,
) = (0, 8, 10, 20, 21, 25, 28, 31, 32, 33, 37, 44, 48, 51, 54, 55, 58, 63, 69, 70, 75, 76)  # fmt: skip

READ, WRITE = 1 << 1, 1 << 6
SEEK_SET, SEEK_CUR, SEEK_END = range(3)
CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
APPEND = 1
FOLLOW = 1
ROOT = 3  # the descriptor of /

# Where arguments and results lie in the guest's memory.
PATH, OTHER, IOVS, OUT, DATA, ROOM = 1024, 6144, 11264, 11296, 12288, 32768

FILE_TYPES = {2: "stream", 3: "directory", 4: "file", 7: "link"}

_TYPES = {
    "fd_advise": "iIIi", "fd_allocate": "iII", "fd_close": "i", "fd_datasync": "i", "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "iII", "fd_filestat_get": "ii", "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi", "fd_pread": "iiiIi", "fd_prestat_get": "ii", "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiIi", "fd_read": "iiii", "fd_readdir": "iiiIi", "fd_renumber": "ii", "fd_seek": "iIii",
    "fd_sync": "i", "fd_tell": "ii", "fd_write": "iiii", "path_create_directory": "iii", "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi", "path_link": "iiiiiii", "path_open": "iiiiiIIii", "path_readlink": "iiiiii",
    "path_remove_directory": "iii", "path_rename": "iiiiii", "path_symlink": "iiiii", "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
}  # fmt: skip


class Calls:
    """The functions, over a memory that can be read and written and a way to call them."""

    def put(self, at: int, data: bytes) -> None:
        raise NotImplementedError

    def get(self, at: int, length: int) -> bytes:
        raise NotImplementedError

    def call(self, name: str, *values: int) -> int:
        raise NotImplementedError

    def u32(self, at: int = OUT) -> int:
        return int.from_bytes(self.get(at, 4), "little")

    def u64(self, at: int = OUT) -> int:
        return int.from_bytes(self.get(at, 8), "little")

    def _path(self, path: str | bytes, at: int = PATH) -> tuple[int, int]:
        data = path if isinstance(path, bytes) else path.encode()
        self.put(at, data)
        return at, len(data)

    def rights(self, fd: int) -> tuple[int, int]:
        """What a descriptor may do, and what those opened below it may."""
        assert self.call("fd_fdstat_get", fd, OUT) == SUCCESS
        return struct.unpack("<8xQQ", self.get(OUT, 24))

    def open(
        self, path: str | bytes, rights: int = READ, *, at: int = ROOT, flags: int = 0, lookup: int = FOLLOW, fdflags=0
    ) -> int:
        """The descriptor, or minus the errno. As a C library asks: all rights that are to be had, and a direction."""
        inheriting = self.rights(at)[1] if at >= 3 else 0
        wanted = inheriting & ~(READ | WRITE) | rights
        errno = self.call("path_open", at, lookup, *self._path(path), flags, wanted, inheriting, fdflags, OUT)
        return -errno or self.u32()

    def make(self, path: str | bytes, content: bytes = b"", *, at: int = ROOT) -> None:
        fd = self.open(path, READ | WRITE, at=at, flags=CREATE)
        assert fd > 0, fd
        assert self.write(fd, content) == (SUCCESS, len(content))
        assert self.call("fd_close", fd) == SUCCESS

    def content(self, path: str | bytes, *, at: int = ROOT) -> bytes:
        fd = self.open(path, at=at)
        assert fd > 0, fd
        data = self.read(fd, ROOM)[1]
        assert self.call("fd_close", fd) == SUCCESS
        return data

    def _vector(self, length: int) -> tuple[int, int]:
        self.put(IOVS, struct.pack("<II", DATA, length))
        return IOVS, 1

    def read(self, fd: int, count: int = 100) -> tuple[int, bytes]:
        errno = self.call("fd_read", fd, *self._vector(count), OUT)
        return errno, b"" if errno else self.get(DATA, self.u32())

    def pread(self, fd: int, count: int, offset: int) -> tuple[int, bytes]:
        errno = self.call("fd_pread", fd, *self._vector(count), offset, OUT)
        return errno, b"" if errno else self.get(DATA, self.u32())

    def write(self, fd: int, data: bytes) -> tuple[int, int]:
        self.put(DATA, data)
        errno = self.call("fd_write", fd, *self._vector(len(data)), OUT)
        return errno, 0 if errno else self.u32()

    def pwrite(self, fd: int, data: bytes, offset: int) -> tuple[int, int]:
        self.put(DATA, data)
        errno = self.call("fd_pwrite", fd, *self._vector(len(data)), offset, OUT)
        return errno, 0 if errno else self.u32()

    def seek(self, fd: int, offset: int, whence: int = SEEK_SET) -> tuple[int, int]:
        errno = self.call("fd_seek", fd, offset, whence, OUT)
        return errno, 0 if errno else self.u64()

    def tell(self, fd: int) -> tuple[int, int]:
        errno = self.call("fd_tell", fd, OUT)
        return errno, 0 if errno else self.u64()

    def entries(self, fd: int, room: int = ROOM, cookie: int = 0) -> tuple[int, list[tuple[bytes, str, int, int]]]:
        """(name, type, inode, cookie) of each entry that is whole."""
        errno = self.call("fd_readdir", fd, DATA, room, cookie, OUT)
        entries = []
        data = b"" if errno else self.get(DATA, self.u32())
        while len(data) >= 24:
            after, inode, length, kind = struct.unpack("<QQIB3x", data[:24])
            name, data = data[24 : 24 + length], data[24 + length :]
            if len(name) == length:
                entries.append((name, FILE_TYPES[kind], inode, after))
        return errno, entries

    def names(self, fd: int = ROOT) -> list[bytes]:
        errno, entries = self.entries(fd)
        assert errno == SUCCESS
        return [name for name, *_ in entries]

    def stat(self, path: str | bytes, *, at: int = ROOT, lookup: int = 0) -> dict[str, Any] | int:
        """What is known of a path, or minus the errno."""
        errno = self.call("path_filestat_get", at, lookup, *self._path(path), DATA)
        return -errno or self._stat()

    def fd_stat(self, fd: int) -> dict[str, Any] | int:
        errno = self.call("fd_filestat_get", fd, DATA)
        return -errno or self._stat()

    def _stat(self) -> dict[str, Any]:
        values = struct.unpack("<QQB7xQQQQQ", self.get(DATA, 64))
        stat = dict(
            zip(("device", "inode", "type", "links", "size", "accessed", "modified", "changed"), values, strict=True)
        )
        return stat | {"type": FILE_TYPES[stat["type"]]}

    def mkdir(self, path: str | bytes, *, at: int = ROOT) -> int:
        return self.call("path_create_directory", at, *self._path(path))

    def rmdir(self, path: str | bytes, *, at: int = ROOT) -> int:
        return self.call("path_remove_directory", at, *self._path(path))

    def unlink(self, path: str | bytes, *, at: int = ROOT) -> int:
        return self.call("path_unlink_file", at, *self._path(path))

    def rename(self, old: str | bytes, new: str | bytes, *, at: int = ROOT, to: int = ROOT) -> int:
        return self.call("path_rename", at, *self._path(old), to, *self._path(new, OTHER))

    def link(self, old: str | bytes, new: str | bytes, *, at: int = ROOT, to: int = ROOT, lookup: int = 0) -> int:
        return self.call("path_link", at, lookup, *self._path(old), to, *self._path(new, OTHER))

    def symlink(self, target: str | bytes, path: str | bytes, *, at: int = ROOT) -> int:
        return self.call("path_symlink", *self._path(target), at, *self._path(path, OTHER))

    def readlink(self, path: str | bytes, room: int = ROOM, *, at: int = ROOT) -> tuple[int, bytes]:
        errno = self.call("path_readlink", at, *self._path(path), DATA, room, OUT)
        return errno, b"" if errno else self.get(DATA, self.u32())


def facts(answer: dict[str, Any] | int) -> dict[str, Any]:
    """What `stat` answers of what is there."""
    assert isinstance(answer, dict)
    return answer


class Guest(Calls):
    """The functions of `guesthouse_abi`."""

    def __init__(self, files: Files = NO_FILES, *, limits: Limits | None = None, body: bytes = b"", **grants: Any):
        self.host = Host(files=files, grants=Grants(**grants), limits=limits)
        self.host.context.body = body

    def put(self, at: int, data: bytes) -> None:
        self.host.memory.write(at, data)

    def get(self, at: int, length: int) -> bytes:
        return self.host.memory.read(at, length)

    def call(self, name: str, *values: int) -> int:
        errno: int = self.host.call(name, *values)
        assert self.host.guarded
        return errno

    @property
    def log(self) -> list[str]:
        return self.host.log.texts


class Wasmtime(Calls):
    """wasmtime's own functions, over a folder of the host; `/` and `.` are that folder."""

    _engine = wasmtime.Engine()
    _module: wasmtime.Module | None = None

    def __init__(self, folder: Path) -> None:
        if Wasmtime._module is None:
            Wasmtime._module = wasmtime.Module(self._engine, _thunks())
        config = wasmtime.WasiConfig()
        for name in ("/", "."):
            config.preopen_dir(str(folder), name)
        self._store = wasmtime.Store(self._engine)
        self._store.set_wasi(config)
        linker = wasmtime.Linker(self._engine)
        linker.define_wasi()
        self._exports = linker.instantiate(self._store, Wasmtime._module).exports(self._store)
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory

    def put(self, at: int, data: bytes) -> None:
        base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        ctypes.memmove(base + at, data, len(data))

    def get(self, at: int, length: int) -> bytes:
        return ctypes.string_at(ctypes.addressof(self._memory.data_ptr(self._store).contents) + at, length)

    def call(self, name: str, *values: int) -> int:
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        errno: int = function(self._store, *map(_signed, values, _TYPES[name]))
        return errno


def _signed(value: int, kind: str) -> int:
    bits = 32 if kind == "i" else 64
    return value - (1 << bits) if value >> (bits - 1) & 1 and value > 0 else value


def _thunks() -> str:
    """A module that hands each call on: a function of the host's finds its memory through the module that calls it."""
    kinds = {"i": "i32", "I": "i64"}
    imports, functions = "", ""
    for name, types in _TYPES.items():
        params = " ".join(kinds[t] for t in types)
        imports += f'(import "wasi_snapshot_preview1" "{name}" (func ${name} (param {params}) (result i32)))\n'
        gets = " ".join(f"(local.get {i})" for i in range(len(types)))
        functions += f'(func (export "{name}") (param {params}) (result i32) (call ${name} {gets}))\n'
    return f'(module {imports} (memory (export "memory") 1) {functions})'

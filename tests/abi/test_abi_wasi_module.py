"""All of `wasi_snapshot_preview1` links, with the types of the interface's definition; no files, no sockets."""

from __future__ import annotations

import pytest

from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.wasi_preview1 import MODULE
from tests.abi.wasi_host import Host

BADF, NOTDIR, NOTSOCK = 8, 54, 57

# Parameters of each function as a linker sees them (wasi-libc's and Rust's `wasi` crate agree): i is i32, I is i64.
# All return an i32, but proc_exit.
SIGNATURES = {
    "args_get": "ii",
    "args_sizes_get": "ii",
    "environ_get": "ii",
    "environ_sizes_get": "ii",
    "clock_res_get": "ii",
    "clock_time_get": "iIi",
    "fd_advise": "iIIi",
    "fd_allocate": "iII",
    "fd_close": "i",
    "fd_datasync": "i",
    "fd_fdstat_get": "ii",
    "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "iII",
    "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI",
    "fd_filestat_set_times": "iIIi",
    "fd_pread": "iiiIi",
    "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii",
    "fd_pwrite": "iiiIi",
    "fd_read": "iiii",
    "fd_readdir": "iiiIi",
    "fd_renumber": "ii",
    "fd_seek": "iIii",
    "fd_sync": "i",
    "fd_tell": "ii",
    "fd_write": "iiii",
    "path_create_directory": "iii",
    "path_filestat_get": "iiiii",
    "path_filestat_set_times": "iiiiIIi",
    "path_link": "iiiiiii",
    "path_open": "iiiiiIIii",
    "path_readlink": "iiiiii",
    "path_remove_directory": "iii",
    "path_rename": "iiiiii",
    "path_symlink": "iiiii",
    "path_unlink_file": "iii",
    "poll_oneoff": "iiii",
    "proc_exit": "i",
    "proc_raise": "i",
    "sched_yield": "",
    "random_get": "ii",
    "sock_accept": "iii",
    "sock_recv": "iiiiii",
    "sock_send": "iiiii",
    "sock_shutdown": "ii",
}


def test_defines_all_46_functions_with_their_types():
    kinds = {"i": ValType.I32, "I": ValType.I64}
    wanted = {
        name: FuncType(tuple(kinds[p] for p in params), () if name == "proc_exit" else (ValType.I32,))
        for name, params in SIGNATURES.items()
    }
    assert len(wanted) == 46
    assert MODULE.name == "wasi_snapshot_preview1"
    assert {name: function.signature for name, function in MODULE.functions.items()} == wanted


def _descriptor_at(name: str) -> int:
    return 2 if name == "path_symlink" else 0


@pytest.mark.parametrize("name", [n for n in SIGNATURES if n.startswith(("path_", "sock_"))])
def test_has_no_directory_and_no_socket(name):
    host = Host()
    values = [0xFFFFFFFF] * len(SIGNATURES[name])  # pointers are never looked at
    values[_descriptor_at(name)] = 3
    assert host.call(name, *values) == BADF
    values[_descriptor_at(name)] = 0
    assert host.call(name, *values) == (NOTDIR if name.startswith("path_") else NOTSOCK)


@pytest.mark.parametrize("fd", [0, 1, 2, 3, 4, 0xFFFFFFFF])
def test_has_no_preopened_directory(fd):
    host = Host()
    assert host.call("fd_prestat_get", fd, 64) == BADF
    assert host.call("fd_prestat_dir_name", fd, 64, 10) == BADF


@pytest.mark.parametrize("name", [n for n in SIGNATURES if n.startswith("fd_")])
@pytest.mark.parametrize("fd", [3, 0xFFFFFFFF])
def test_answers_every_descriptor_function_with_badf_for_what_is_not_open(name, fd):
    host = Host()
    assert host.call(name, fd, *[0] * (len(SIGNATURES[name]) - 1)) == BADF


def test_a_guest_without_memory_gets_an_error_number_and_a_line_in_its_log():
    host = Host()
    host.context.memory = None
    assert host.call("random_get", 0, 8) == 21
    assert host.log.lines == [
        (
            "host",
            "wasi_snapshot_preview1.random_get: the guest exports no memory",
        )
    ]

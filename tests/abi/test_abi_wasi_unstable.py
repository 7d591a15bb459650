"""`wasi_unstable` is preview 1 with four functions whose numbers and records were other ones in 2019."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.errors import CallError, HostError
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Limits
from guesthouse_abi.host import I64, U64
from guesthouse_abi.imports import wasi_preview1
from guesthouse_abi.imports.wasi_unstable import MODULE
from tests.abi.wasi_host import SIZE, Host
from tests.support.budget import examples

OTHER = {"fd_filestat_get", "fd_seek", "path_filestat_get", "poll_oneoff"}
ROOT = 3  # the descriptor of /


def call(host: Host, name: str, *values: int) -> int:
    number: int = MODULE.functions[name].invoke(host.context, *values)
    return number


def with_file(content: bytes) -> Host:
    return Host(files=Files({"/f": content}))


def opened(host: Host) -> int:
    """A descriptor of the file, with the rights to read, to seek and to wait."""
    host.memory.write(0, b"f")
    assert call(host, "path_open", ROOT, 0, 0, 1, 0, 1 << 1 | 1 << 2 | 1 << 21 | 1 << 27, 0, 0, 8) == 0
    return host.memory.u32(8)


def test_all_functions_but_sock_accept_are_there_and_all_but_four_are_those_of_preview_1():
    now = wasi_preview1.MODULE.functions
    assert set(MODULE.functions) == set(now) - {"sock_accept"}
    assert len(MODULE.functions) == 45
    assert {name for name, function in MODULE.functions.items() if function.body is not now[name].body} == OTHER
    assert all(function.signature == now[name].signature for name, function in MODULE.functions.items())
    assert all(function.faults == now[name].faults for name, function in MODULE.functions.items())


@pytest.mark.parametrize("by", ["descriptor", "path"])
def test_the_record_of_a_file_has_56_bytes_with_the_links_in_four_of_them(by):
    host = with_file(b"content")
    fd = opened(host)
    host.memory.write(100, b"\xee" * 72)
    arguments = (fd, 100) if by == "descriptor" else (ROOT, 0, 0, 1, 100)
    name = "fd_filestat_get" if by == "descriptor" else "path_filestat_get"
    assert call(host, name, *arguments) == 0
    _device, inode, kind, links, size, *_times = struct.unpack("<QQB3xIQQQQ", host.memory.read(100, 56))
    assert (kind, links, size) == (4, 1, 7)
    assert inode
    assert host.memory.read(156, 16) == b"\xee" * 16


def test_a_record_may_end_where_the_memory_does():
    host = Host()
    assert call(host, "fd_filestat_get", 0, SIZE - 56) == 0
    assert host.call("fd_filestat_get", 0, SIZE - 56) == 21
    assert call(host, "fd_filestat_get", 0, SIZE - 55) == 21


@pytest.mark.parametrize(("whence", "place"), [(0, 3), (1, 11), (2, 1)], ids=["current", "end", "start"])
def test_positions_are_counted_from_the_current_one_the_end_and_the_start_in_this_order(whence, place):
    host = with_file(b"0123456789")
    fd = opened(host)
    assert call(host, "fd_seek", fd, 2, 2, 16) == 0
    assert call(host, "fd_seek", fd, 1, whence, 16) == 0
    assert host.u64(16) == place


@pytest.mark.parametrize("whence", [3, 0xFFFFFFFF])
def test_a_position_from_anywhere_else_is_inval(whence):
    host = with_file(b"0123456789")
    assert call(host, "fd_seek", opened(host), 1, whence, 16) == 28


def test_a_clock_to_wait_for_has_a_number_of_the_guests_before_it():
    host = Host()
    host.memory.write(0, struct.pack("<QB7xQI4xQQH6x", 5, 0, 0xFFFF_FFFF_FFFF_FFFF, 1, 1000, 0, 0))
    assert call(host, "poll_oneoff", 0, 100, 1, 200) == 0
    assert struct.unpack("<QHB", host.memory.read(100, 11)) == (5, 0, 0)


def test_a_clock_that_is_none_is_seen_behind_that_number():
    host = Host()
    host.memory.write(0, struct.pack("<QB7xQI4xQQH6x", 5, 0, 1, 9, 1000, 0, 0))
    assert call(host, "poll_oneoff", 0, 100, 1, 200) == 0
    assert struct.unpack("<QHB", host.memory.read(100, 11)) == (5, 28, 0)


def test_the_next_subscription_begins_after_56_bytes():
    host = Host(stdin=b"body")
    host.memory.write(0, struct.pack("<QB7xI36x", 5, 2, 1) + struct.pack("<QB7xI36x", 6, 1, 0))
    assert call(host, "poll_oneoff", 0, 100, 2, 200) == 0
    assert host.memory.u32(200) == 2
    assert struct.unpack("<QHB5xQ", host.memory.read(100, 24))[:3] == (5, 0, 2)
    assert struct.unpack("<QHB5xQ", host.memory.read(132, 24)) == (6, 0, 1, 4)


def test_a_pointer_outside_the_memory_is_logged_under_the_modules_own_name():
    host = Host()
    assert call(host, "random_get", 0xFFFFFFFF, 8) == 21
    assert [stream for stream, line in host.log.lines if line.startswith("wasi_unstable.random_get: ")] == ["host"]


def numbers(kind: object) -> st.SearchStrategy[int]:
    bits = 64 if kind in (I64, U64) else 32
    any_number = st.one_of(st.integers(0, 5), st.integers(SIZE - 70, SIZE + 2), st.integers(0, (1 << bits) - 1))
    return any_number.map(lambda n: n - (1 << 64) if kind is I64 and n >= 1 << 63 else n)


@pytest.mark.parametrize("name", sorted(OTHER))
@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_any_numbers_over_any_memory_touch_nothing_outside_it(name, data):
    host = Host(seconds=0.003, limits=Limits(), stdin=b"body", files=Files({"/f": b"0123456789"}))
    fd = opened(host)
    host.memory.write(0, data.draw(st.binary(max_size=200)))
    values = [data.draw(numbers(kind)) for kind in MODULE.functions[name].kinds]
    if data.draw(st.booleans()) and name != "poll_oneoff":
        values[0] = fd
    try:
        assert call(host, name, *values) in range(77)
    except (CallError, HostError):
        pass
    assert host.guarded

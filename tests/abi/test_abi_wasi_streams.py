"""Standard input, output and error of a WASI guest."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse_abi.errors import BadReply
from guesthouse_abi.grants import Limits
from guesthouse_abi.imports.wasi_preview1 import flush, last_words
from guesthouse_abi.imports.wasi_preview1.files import MOST_VECTORS
from guesthouse_abi.imports.wasi_preview1.streams import LOG_CHUNK, LOG_LINE
from tests.abi.wasi_host import SIZE, Host

SUCCESS, BADF, FAULT, INVAL, NOMEM, NOTDIR, NOTSUP, SPIPE = 0, 8, 21, 28, 48, 54, 58, 70


def command(**context) -> Host:
    """A host that collects standard output."""
    host = Host(**context)
    host.context.stdout = bytearray()
    return host


# reading


def test_reads_standard_input_over_several_buffers_to_its_end():
    host = Host(stdin=b"abcdefgh")
    count = host.vectors(0, (1000, 3), (2000, 0), (3000, 2))
    assert host.call("fd_read", 0, 0, count, 64) == SUCCESS
    assert (host.memory.u32(64), host.memory.read(1000, 3), host.memory.read(3000, 2)) == (5, b"abc", b"de")
    assert host.call("fd_read", 0, 0, count, 64) == SUCCESS
    assert (host.memory.u32(64), host.memory.read(1000, 3)) == (3, b"fgh")
    assert host.call("fd_read", 0, 0, count, 64) == SUCCESS
    assert host.memory.u32(64) == 0


def test_a_read_that_fails_consumes_nothing():
    host = Host(stdin=b"abcdefgh")
    bad_buffer = host.vectors(0, (1000, 3), (SIZE - 1, 2))
    assert host.call("fd_read", 0, 0, bad_buffer, 64) == FAULT
    assert host.call("fd_read", 0, SIZE - 8, 2, 64) == FAULT
    good = host.vectors(0, (1000, 3))
    assert host.call("fd_read", 0, 0, good, SIZE - 3) == FAULT
    assert host.context.input_at == 0
    assert host.memory.read(1000, 3) == bytes(3)


def test_buffers_may_overlap_each_other_and_their_own_list():
    host = Host(stdin=struct.pack("<II", 5, 5) + b"12345678")
    count = host.vectors(0, (0, 8), (4, 8))  # the first overwrites the list, the second a part of the first
    assert host.call("fd_read", 0, 0, count, 64) == SUCCESS
    assert host.memory.u32(64) == 16
    assert host.memory.read(0, 12) == struct.pack("<I", 5) + b"12345678"


def test_an_empty_buffer_may_point_anywhere():
    host = Host(stdin=b"abc")
    count = host.vectors(0, (0xFFFFFFFF, 0), (100, 3))
    assert host.call("fd_read", 0, 0, count, 64) == SUCCESS
    assert host.memory.read(100, 3) == b"abc"


# writing


def test_collects_standard_output_byte_for_byte():
    host = command()
    host.memory.write(100, b"\x00\xffgrey\n")
    count = host.vectors(0, (100, 2), (102, 5))
    assert host.call("fd_write", 1, 0, count, 64) == SUCCESS
    assert host.memory.u32(64) == 7
    assert host.context.stdout == bytearray(b"\x00\xffgrey\n")
    assert host.log.lines == []


def test_a_write_that_fails_takes_nothing():
    host = command()
    assert host.call("fd_write", 1, 0, host.vectors(0, (100, 2), (SIZE, 1)), 64) == FAULT
    assert host.call("fd_write", 1, 0, host.vectors(0, (100, 2)), 0xFFFFFFFF) == FAULT
    assert host.context.stdout == bytearray(b"")


def test_stops_a_guest_that_writes_more_than_its_output_limit():
    host = command(limits=Limits(output=10))
    assert host.write(1, b"0123456789") == (SUCCESS, 10)
    with pytest.raises(BadReply, match=r"^more than limits\.output \(10 bytes\) was written to standard output$"):
        host.write(1, b"x")


def test_refuses_an_output_of_many_overlapping_parts_before_it_copies_them():
    host = command()
    count = host.vectors(0, *[(0, SIZE)] * MOST_VECTORS)  # 64 MiB out of 64 KiB
    with pytest.raises(BadReply, match=r"limits\.output"):
        host.call("fd_write", 1, 0, count, 16)
    assert host.context.stdout == bytearray(b"")


def test_output_counts_as_host_memory():
    host = command(limits=Limits(host_memory=100))
    assert host.write(1, bytes(60)) == (SUCCESS, 60)
    assert host.context.held == 60
    assert host.write(1, bytes(60))[0] == NOMEM
    assert host.context.stdout is not None
    assert len(host.context.stdout) == 60


@pytest.mark.parametrize("function", ["fd_read", "fd_write"])
def test_refuses_more_vectors_than_iov_max(function):
    host = Host(stdin=b"abc")
    fd = 0 if function == "fd_read" else 2
    assert host.call(function, fd, 0, MOST_VECTORS, 64) == SUCCESS
    assert host.call(function, fd, 0, MOST_VECTORS + 1, 64) == INVAL
    assert host.call(function, fd, 0, 0xFFFFFFFF, 64) == INVAL


@pytest.mark.parametrize("function", ["fd_read", "fd_write"])
def test_refuses_vectors_whose_sum_has_no_32_bit_form(function):
    host = command(limits=Limits(output=1 << 40))
    count = host.vectors(0, *[(0, 1 << 22)] * MOST_VECTORS)
    host.size = 1 << 22  # said to be, so that the vectors lie inside; nothing may be copied
    assert host.call(function, int(function == "fd_write"), 0, count, 16) == INVAL


@pytest.mark.parametrize(("function", "fd"), [("fd_read", 1), ("fd_read", 2), ("fd_write", 0)])
def test_streams_go_one_way(function, fd):
    assert Host(stdin=b"abc").call(function, fd, 0, 0, 64) == BADF


# log lines


def test_standard_error_becomes_log_lines():
    host = command()
    host.write(2, b"one\ntwo \xff\r\n\nthr")
    assert host.log.lines == [("stderr", "one"), ("stderr", "two \ufffd")]
    host.write(2, b"ee\n")
    assert host.log.lines[2:] == [("stderr", "three")]
    host.write(2, b"four")
    flush(host.context)
    flush(host.context)
    assert host.log.lines[3:] == [("stderr", "four")]
    assert last_words(host.context) == "four"


def test_standard_output_becomes_log_lines_where_no_reply_is_collected():
    host = Host()
    host.write(1, b"out\nrest")
    host.write(2, b"err\n")
    flush(host.context)
    assert host.log.lines == [("stdout", "out"), ("stderr", "err"), ("stdout", "rest")]
    assert last_words(host.context) == "err"


def test_keeps_control_sequences_from_the_operators_terminal():
    host = Host()
    host.write(2, b"\x1b[31mred\x1b[0m\ttab\x07\n")
    assert host.log.lines == [("stderr", "\ufffd[31mred\ufffd[0m\ttab\ufffd")]


def test_takes_long_standard_error_in_pieces():
    host = Host()
    assert host.write(2, b"x" * (LOG_CHUNK + 1)) == (SUCCESS, LOG_CHUNK)
    assert host.write(2, b"y" * LOG_LINE) == (SUCCESS, LOG_LINE)
    assert host.log.lines == [("stderr", "x" * LOG_CHUNK)]
    assert host.write(2, b"y")[0] == SUCCESS
    assert host.log.lines[1:] == [("stderr", "y" * (LOG_LINE + 1))]


def test_a_piece_may_end_within_a_vector():
    host = Host()
    host.memory.write(4096, b"a" * LOG_CHUNK)
    count = host.vectors(0, (4096, 10), (4096, LOG_CHUNK), (4096, 5))
    assert host.call("fd_write", 2, 0, count, 64) == SUCCESS
    assert host.memory.u32(64) == LOG_CHUNK


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_lines_do_not_depend_on_how_they_were_written(parts):
    whole, pieces = Host(), Host()
    whole.write(2, b"".join(parts))
    for part in parts:
        pieces.write(2, part)
    for host in (whole, pieces):
        flush(host.context)
    assert pieces.log.lines == whole.log.lines


# descriptors


def test_standard_streams_are_devices_that_a_c_library_does_not_take_for_a_terminal():
    host = Host()
    for fd, direction in ((0, 1 << 1), (1, 1 << 6), (2, 1 << 6)):
        assert host.call("fd_fdstat_get", fd, 64) == SUCCESS
        kind, _, flags, _, rights, inheriting = struct.unpack("<BBHIQQ", host.memory.read(64, 24))
        assert (kind, flags, inheriting) == (2, 0, 0)
        assert rights & (1 << 1 | 1 << 6) == direction
        assert rights & (1 << 2 | 1 << 5)  # wasi-libc's isatty: a character device without fd_seek and fd_tell
    assert host.call("fd_fdstat_get", 1, SIZE - 23) == FAULT


def test_tells_the_streams_apart_by_their_inode():
    host = Host()
    inodes = set()
    for fd in range(3):
        assert host.call("fd_filestat_get", fd, 64) == SUCCESS
        stat = struct.unpack("<QQB7xQQQQQ", host.memory.read(64, 64))
        assert (stat[0], *stat[2:]) == (0, 2, 1, 0, 0, 0, 0)
        inodes.add(stat[1])
    assert len(inodes) == 3
    assert host.call("fd_filestat_get", 1, SIZE - 63) == FAULT


def test_keeps_descriptor_flags_and_refuses_unknown_ones():
    host = Host()
    assert host.call("fd_fdstat_set_flags", 0, 4) == SUCCESS
    assert host.call("fd_fdstat_get", 0, 64) == SUCCESS
    assert host.memory.read(66, 2) == b"\x04\x00"
    assert host.call("fd_fdstat_set_flags", 0, 1 << 5) == INVAL
    assert host.call("fd_fdstat_set_flags", 0, 1 << 16) == INVAL


@pytest.mark.parametrize(
    ("name", "values", "errno"),
    [
        ("fd_seek", (0, 0, 64), SPIPE),
        ("fd_tell", (64,), SPIPE),
        ("fd_pread", (0, 0, 0, 64), SPIPE),
        ("fd_pwrite", (0, 0, 0, 64), SPIPE),
        ("fd_advise", (0, 0, 0), SPIPE),
        ("fd_allocate", (0, 1), SPIPE),
        ("fd_sync", (), INVAL),
        ("fd_datasync", (), INVAL),
        ("fd_filestat_set_size", (0,), INVAL),
        ("fd_filestat_set_times", (0, 0, 0), NOTSUP),
        ("fd_fdstat_set_rights", (0, 0), NOTSUP),
        ("fd_readdir", (0, 0, 0, 64), NOTDIR),
    ],
)
def test_a_stream_is_a_pipe(name, values, errno):
    host = Host(stdin=b"abc")
    assert [host.call(name, fd, *values) for fd in range(3)] == [errno] * 3


def test_a_closed_descriptor_stays_closed():
    host = command(stdin=b"abc")
    for fd, function in ((0, "fd_read"), (1, "fd_write"), (2, "fd_write")):
        assert host.call("fd_close", fd) == SUCCESS
        assert host.call("fd_close", fd) == BADF
        assert host.call(function, fd, 0, 0, 64) == BADF
        assert host.call("fd_fdstat_get", fd, 64) == BADF


def test_renumbering_moves_a_stream_over_another():
    host = command()
    assert host.call("fd_renumber", 2, 1) == SUCCESS
    host.write(1, b"now standard error\n")
    assert host.log.lines == [("stderr", "now standard error")]
    assert host.write(2, b"")[0] == BADF
    assert host.call("fd_renumber", 1, 1) == SUCCESS
    assert host.call("fd_renumber", 1, 7) == BADF
    assert host.call("fd_renumber", 7, 1) == BADF
    assert host.write(1, b"still\n") == (SUCCESS, 6)

"""Arguments, environment, random bytes and the end of a WASI guest."""

from __future__ import annotations

import pytest

from guesthouse_abi.errors import DeadlineExceeded, Exit
from guesthouse_abi.imports.wasi_preview1 import process
from tests.abi.wasi_host import SIZE, Host

SUCCESS, FAULT, NOSYS = 0, 21, 52


def strings(host: Host, what: str) -> list[bytes]:
    """What a C library finds: the sizes first, then pointers at 1024 and bytes at 2048."""
    assert host.call(f"{what}_sizes_get", 8, 12) == SUCCESS
    count, size = host.memory.u32(8), host.memory.u32(12)
    assert host.call(f"{what}_get", 1024, 2048) == SUCCESS
    block = host.memory.read(2048, size)
    starts = [host.memory.u32(1024 + 4 * index) - 2048 for index in range(count)]
    ends = [*starts[1:], size][:count]
    found = [block[start:end] for start, end in zip(starts, ends, strict=True)]
    assert all(string.endswith(b"\0") for string in found)
    return [string[:-1] for string in found]


def test_hands_over_arguments():
    host = Host(arguments=("grayscale", "--größe", "", "a b"))
    assert strings(host, "args") == [b"grayscale", "--größe".encode(), b"", b"a b"]


def test_hands_over_the_environment():
    host = Host(variables=lambda: [("NAME", "camera"), ("EMPTY", ""), ("QUERY", "a=1&b=2")])
    assert strings(host, "environ") == [b"NAME=camera", b"EMPTY=", b"QUERY=a=1&b=2"]


def test_has_neither_unless_given():
    assert strings(Host(), "args") == []
    assert strings(Host(), "environ") == []


def test_asks_for_the_environment_once():
    answers = [[("A", "1")]]
    assert strings(Host(variables=lambda: answers.pop()), "environ") == [b"A=1"]


def test_text_that_is_no_c_string_does_not_reach_the_guest_cut_short():
    host = Host(
        arguments=("a\0b", "lone \ud800"),
        variables=lambda: [("A\0B", "1"), ("C", "1\0002"), ("", "3"), ("D=E", "4"), ("F", "5")],
    )
    assert strings(host, "args") == [b"ab", b"lone ?"]
    assert strings(host, "environ") == [b"F=5"]


@pytest.mark.parametrize("what", ["args", "environ"])
def test_string_tables_out_of_range_are_faults(what):
    host = Host(arguments=("program", "one"), variables=lambda: [("A", "1"), ("B", "2")])
    assert host.call(f"{what}_sizes_get", SIZE - 3, 0) == FAULT
    assert host.call(f"{what}_sizes_get", 0, SIZE - 3) == FAULT
    assert host.call(f"{what}_get", SIZE - 7, 0) == FAULT
    assert host.call(f"{what}_get", 0, SIZE - 7) == FAULT
    assert host.guarded
    assert host.memory.read(0, 64) == bytes(64)


def test_fills_memory_with_random_bytes(monkeypatch):
    monkeypatch.setattr(process, "RANDOM_CHUNK", 1000)
    host = Host()
    assert host.call("random_get", 8, 2500) == SUCCESS
    parts = [host.memory.read(8 + start, 500) for start in range(0, 2500, 500)]
    assert len(set(parts)) == 5
    assert bytes(500) not in parts
    assert host.memory.read(0, 8) + host.memory.read(2508, 8) == bytes(16)


def test_random_bytes_out_of_range_are_a_fault_before_the_first_is_written(monkeypatch):
    monkeypatch.setattr(process, "RANDOM_CHUNK", 1000)
    host = Host()
    assert host.call("random_get", 1, SIZE) == FAULT
    assert host.memory.read(0, SIZE) == bytes(SIZE)


def test_random_bytes_stop_at_the_deadline():
    with pytest.raises(DeadlineExceeded):
        Host(seconds=0).call("random_get", 0, SIZE)


def test_yields_and_knows_no_signals():
    assert Host().call("sched_yield") == SUCCESS
    assert Host().call("proc_raise", 6) == NOSYS


@pytest.mark.parametrize("code", [0, 1, 65, -1])
def test_ends_with_an_exit_code(code):
    with pytest.raises(Exit) as end:
        Host().call("proc_exit", code)
    assert end.value.code == code

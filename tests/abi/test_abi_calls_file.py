"""The file of calls: whatever a guest writes to it is a call, or an error number."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.errors import CallError, HostError
from guesthouse_abi.grants import Grants
from guesthouse_abi.imports import host_modules
from guesthouse_abi.imports.dapr_v1 import begin_draft
from guesthouse_abi.imports.wasi_preview1 import calls_file
from guesthouse_abi.imports.wasi_preview1.calls_file import MODULES, READY, Freezing
from guesthouse_abi.imports.wasi_preview1.wire import RIGHT_READ, RIGHT_WRITE
from tests.abi.wasi_host import SIZE, Host
from tests.support.budget import examples

PATH = "/dev/guesthouse"
SUCCESS, BADF, FAULT, INVAL, NOENT, NOSYS, PERM, SPIPE = 0, 8, 21, 28, 44, 52, 63, 70
OUT, RESULT, TEXT, AT = 256, 512, 1024, 8192
FUNCTIONS = [
    (f"{module}.{name}", function) for module in MODULES for name, function in host_modules()[module].functions.items()
]


def opened(**grants: object) -> tuple[Host, int]:
    """A host, and a descriptor of the file."""
    host = Host(grants=Grants(calls_file=PATH, **grants))  # type: ignore[arg-type]
    path = PATH[1:].encode()
    host.memory.write(TEXT, path)
    assert host.call("path_open", 3, 0, TEXT, len(path), 0, RIGHT_READ | RIGHT_WRITE, 0, 0, OUT) == SUCCESS
    return host, host.memory.u32(OUT)


def call(name: str, *arguments: int, to: int = RESULT) -> bytes:
    return name.encode() + b"\0" + struct.pack(f"<{1 + len(arguments)}Q", to, *arguments)


def test_a_call_is_written_and_its_result_is_in_memory() -> None:
    host, fd = opened(config=(("colour", "blue"),))
    host.memory.write(TEXT, b"colour")
    written = call("dapr_v1.config_read", TEXT, 6, 0, TEXT + 64, 16)
    assert host.write(fd, written) == (SUCCESS, len(written))
    assert host.u64(RESULT) == 4
    assert host.memory.read(TEXT + 64, 4) == b"blue"


def test_a_call_may_come_in_parts_of_one_write_and_not_in_two() -> None:
    host, fd = opened()
    host.memory.write(AT, call("dapr_v1.time_left"))
    host.vectors(0, (AT, 5), (AT + 5, 21))
    assert host.call("fd_write", fd, 0, 2, 16) == SUCCESS
    assert host.u64(RESULT) > 0
    assert host.write(fd, b"dapr_v1")[0] == INVAL


def test_without_the_grant_there_is_no_such_file() -> None:
    host = Host(grants=Grants(body_file="/body"))
    host.memory.write(TEXT, b"dev/guesthouse")
    assert host.call("path_open", 3, 0, TEXT, 14, 0, RIGHT_READ, 0, 0, OUT) == NOENT


def test_the_file_is_a_pipe_and_cannot_be_removed() -> None:
    host, fd = opened()
    assert host.call("fd_seek", fd, 0, 0, OUT) == SPIPE
    assert host.call("fd_read", fd, 0, 0, 16) == BADF
    assert host.write(fd, call("dapr_v1.time_left", to=SIZE - 7))[0] == FAULT
    host.memory.write(TEXT, b"dev/guesthouse")
    assert host.call("path_unlink_file", 3, TEXT, 14) != SUCCESS
    assert host.call("path_filestat_get", 3, 0, TEXT, 14, OUT) == SUCCESS
    assert host.memory.read(OUT + 16, 1) == b"\2"  # a character device
    assert host.call("fd_close", fd) == SUCCESS
    assert host.write(fd, call("dapr_v1.time_left"))[0] == BADF


def test_a_guest_that_is_frozen_can_say_that_it_is_ready_and_nothing_else() -> None:
    host, fd = opened()
    freezing = host.context.state(Freezing)
    assert host.write(fd, call("dapr_v1.time_left"))[0] == PERM
    assert host.write(fd, call(READY.decode()))[0] == PERM
    assert freezing.entry is None
    assert host.write(fd, call(READY.decode(), 4096))[0] == SUCCESS
    assert freezing.entry == 4096


def test_a_call_is_no_longer_than_it_can_be() -> None:
    host, fd = opened()
    assert host.write(fd, call("a" * 495))[0] == NOSYS
    assert host.write(fd, call("a" * 504))[0] == INVAL


def test_an_event_is_never_ready_to_be_frozen() -> None:
    host, fd = opened()
    assert host.write(fd, call(READY.decode(), 4096))[0] == NOSYS


def test_all_functions_that_can_be_called_take_unsigned_numbers() -> None:
    """So arguments need no more than their lower bits."""
    assert {str(kind) for _, function in FUNCTIONS for kind in function.kinds} <= {
        "guesthouse_abi.host.U32",
        "guesthouse_abi.host.U64",
    }
    assert calls_file.names() == [(function.module, function.name) for _, function in FUNCTIONS]


NUMBERS = st.one_of(
    st.integers(0, 20), st.integers(0, SIZE), st.integers(SIZE - 70, SIZE + 2), st.integers(0, 2**64 - 1)
)
CALLS = st.one_of(
    st.binary(max_size=600),
    st.sampled_from(FUNCTIONS).flatmap(
        lambda one: st.lists(NUMBERS, min_size=1 + len(one[1].kinds), max_size=1 + len(one[1].kinds)).map(
            lambda numbers: call(one[0], *numbers[1:], to=numbers[0])
        )
    ),
)


@settings(max_examples=examples(150))
@given(st.lists(CALLS, max_size=6))
def test_no_bytes_reach_outside_the_guests_memory(written: list[bytes]) -> None:
    host, fd = opened()
    begin_draft(host.context)
    for one in written:
        try:
            host.write(fd, one)
        except (CallError, HostError):
            pass
        assert host.guarded

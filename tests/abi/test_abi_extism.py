"""The import modules of Extism, function by function, without an engine. Who makes calls is scripted."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.calls import Code
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import TooMuch, Trap
from guesthouse_abi.facts import PlainFacts
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import ValType
from guesthouse_abi.imports import extism
from guesthouse_abi.imports.extism import MODULE, USER, begin
from guesthouse_abi.services import Ended, Log, Services, Sidecar
from tests.abi.test_abi_dapr_v1 import Scripted
from tests.support.budget import examples
from tests.support.doubles import Lines

FUNCTIONS = {**MODULE.functions, **USER.functions}


class Host:
    """One event's host side."""

    def __init__(self, body: bytes = b"", **limits: int) -> None:
        self.log = Lines()
        self.sidecar = Scripted()
        services = Services({Log: self.log, Sidecar: self.sidecar})
        event = PlainFacts("invoke", "greet", body)
        self.context = Context(
            Deadline.after(60), Grants(config=(("a", "b"),)), Limits(**limits), services, event=event
        )
        self.kernel = begin(self.context, body)

    def call(self, name: str, *values: int) -> int:
        found: int = FUNCTIONS[name].invoke(self.context, *values)
        return found

    def put(self, data: bytes) -> int:
        return self.kernel.put(self.context, data)


def test_a_body_that_the_host_has_no_room_for_is_too_much() -> None:
    with pytest.raises(TooMuch, match="a body of 2000 bytes; the limit host_memory is 1000"):
        Host(b"x" * 2000, host_memory=1000)


def test_what_is_freed_is_no_longer_held() -> None:
    host = Host()
    blocks = [host.call("alloc", size) for size in (1, 1000, 77)]
    for block in (blocks[1], blocks[1], 5, blocks[0], blocks[2]):
        host.call("free", block)
    assert host.context.held == 0
    host.call("alloc", 10)
    host.call("reset")
    assert host.context.held == 0


def test_there_is_a_bound_to_blocks_and_freed_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extism, "_BLOCKS", 2)
    host = Host()
    first = host.call("alloc", 8)
    assert host.call("alloc", 8)
    assert host.call("alloc", 8) == 0
    host.call("free", first)
    assert host.call("alloc", 8)


def test_a_variable_is_held_once_however_often_it_is_set() -> None:
    host = Host()
    name, value = host.put(b"name"), host.put(b"v" * 500)
    before = host.context.held
    for _ in range(3):
        host.call("var_set", name, value)
    assert host.context.held == before + 4 + 500 + 64
    host.call("var_set", name, 0)
    assert host.context.held == before


def test_names_and_lines_are_bounded() -> None:
    host = Host(log=1 << 20)
    for function, values in (("config_get", ()), ("var_get", ()), ("var_set", (0,))):
        with pytest.raises(Trap, match="a string of 4097 bytes; at most 4096 are read here"):
            host.call(function, host.put(b"n" * 4097), *values)
    host.call("log_error", host.put(b"x" * 70_000))
    assert host.log.entries == [("error", "x" * 65536, {})]


def test_a_call_and_its_answer() -> None:
    host = Host()
    host.sidecar.at_once = Ended(0, "", b"\0response")
    answer = host.call("dapr_call", host.put(b"GetState\nre\nquest"))
    assert host.kernel.whole(answer) == b"\0\0response"
    request = host.sidecar.begun[0][0]
    assert (request.method, request.message) == ("GetState", b"re\nquest")


def peak(host: Host, request: int) -> int:
    """The most bytes of Python's that a call took at once."""
    host.call("dapr_call", request)
    tracemalloc.start()
    try:
        host.call("dapr_call", request)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_request_is_copied_once_and_its_answer_too() -> None:
    host = Host(host_memory=8 << 20)
    host.sidecar.at_once = Ended(0, "", b"v")
    assert 1 << 20 < peak(host, host.put(b"SaveState\n" + bytes(1 << 20))) < 3 << 19
    host.sidecar.at_once = Ended(0, "", bytes(1 << 20))
    assert 1 << 20 < peak(host, host.put(b"GetState\n")) < 3 << 19


def test_a_request_without_room_is_refused_before_it_is_copied() -> None:
    host = Host(host_memory=3 << 19)
    request = host.put(b"SaveState\n" + bytes(1 << 20))
    assert peak(host, request) < 1 << 16
    answer = host.call("dapr_call", request)
    assert host.kernel.whole(answer)[:1] == bytes([Code.RESOURCE_EXHAUSTED])
    assert host.sidecar.begun == []


@pytest.mark.parametrize(
    ("block", "method"), [(b"", ""), (b"\n", ""), (b"GetState", "GetState"), (b"m" * 128, "m" * 128)]
)
def test_a_request_without_a_message_has_an_empty_one(block: bytes, method: str) -> None:
    host = Host()
    host.sidecar.at_once = Ended(0, "", b"")
    host.call("dapr_call", host.put(block))
    assert [(one.method, one.message) for one, *_ in host.sidecar.begun] == [(method, b"")]


def test_a_name_of_a_method_that_is_too_long_is_refused() -> None:
    host = Host()
    answer = host.call("dapr_call", host.put(b"m" * 129 + b"\n"))
    assert host.kernel.whole(answer) == bytes([Code.INVALID_ARGUMENT]) + b"a method's name of more than 128 bytes"
    assert host.sidecar.begun == []


def test_an_answer_for_which_there_is_no_room_is_none() -> None:
    host = Host(host_memory=2000)
    host.sidecar.at_once = Ended(0, "", b"v" * 1000)
    assert host.call("dapr_call", host.put(b"GetState\n")) == 0
    assert "extism:host/env.alloc: " in host.log.texts[-1]


ANY = st.one_of(st.sampled_from([0, 1, 64, 65, 72, 136, 1 << 31, 1 << 63, (1 << 64) - 1]), st.integers(0, 400))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.tuples(ANY, ANY)), max_size=20), st.binary(max_size=200)
)
def test_any_numbers_have_an_answer_or_stop_the_guest(steps: list[tuple[str, tuple[int, int]]], body: bytes) -> None:
    host = Host(body, host_memory=4096, output=2048, log=500)
    host.sidecar.at_once = Ended(0, "", b"value")
    for name, values in steps:
        signature = FUNCTIONS[name].signature
        given = [v % (1 << 32) if kind is ValType.I32 else v for v, kind in zip(values, signature.params, strict=False)]
        try:
            found = host.call(name, *given)
        except Trap:
            continue
        bits = {(): 0, (ValType.I32,): 32, (ValType.I64,): 64}[signature.results]
        assert (found is None) if bits == 0 else (0 <= found < 1 << bits)
    assert 0 <= host.context.held <= 4096

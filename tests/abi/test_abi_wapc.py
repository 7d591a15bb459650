"""The import module `wapc`, function by function, on a memory between guard bytes. Who makes calls is scripted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadReply, DeadlineExceeded, Trap
from guesthouse_abi.facts import PlainFacts
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import ValType
from guesthouse_abi.imports import dapr_v1
from guesthouse_abi.imports.wapc import MODULE, Exchange, begin
from guesthouse_abi.lastwords import ERROR_TEXT
from guesthouse_abi.services import Ended, Log, Services, Sidecar
from tests.abi.test_abi_dapr_v1 import Scripted
from tests.support.budget import examples
from tests.support.doubles import Lines
from tests.support.guarded import GuardedHost

SIZE = 65536
OUT = 4096


class Host(GuardedHost):
    """One event's host side, without an engine."""

    def __init__(self, *, sidecar: bool = True, seconds: float = 60, **limits: int) -> None:
        self.log = Lines()
        self.sidecar = Scripted()
        services = Services({Log: self.log, Sidecar: self.sidecar} if sidecar else {Log: self.log})
        context = Context(
            Deadline.after(seconds), Grants(), Limits(**limits), services, event=PlainFacts("invoke", "greet", b"body")
        )
        super().__init__(context, SIZE)
        self.memory.write(256, b"dapr" + b"GetState" + b"request")

    def call(self, name: str, *values: int) -> int:
        found: int = MODULE.functions[name].invoke(self.context, *values)
        return found

    def ask(self) -> int:
        return self.call("__host_call", 256, 4, 0, 0, 260, 8, 268, 7)


def test_a_guest_that_is_not_called_by_wapc_has_no_request_and_no_response() -> None:
    for name, values in {"__guest_request": (0, 0), "__guest_response": (0, 0), "__guest_error": (0, 0)}.items():
        with pytest.raises(Trap, match=r"there is no such request in a guest that is not called as \"wapc\""):
            Host().call(name, *values)


def test_a_response_is_held_once_however_often_it_is_given() -> None:
    host = Host(host_memory=1000, output=900)
    exchange = begin(host.context, b"greet", b"")
    for _ in range(3):
        host.call("__guest_response", 0, 450)
    assert host.context.held == 450
    assert exchange.response is not None
    with pytest.raises(Trap, match="the limit host_memory is 1000"):
        host.call("__guest_response", 0, 900)
    with pytest.raises(BadReply, match="a reply of 901 bytes; the limit output is 900"):
        host.call("__guest_response", 0, 901)


def test_an_error_and_a_line_are_cut() -> None:
    host = Host()
    exchange = begin(host.context, b"greet", b"")
    host.memory.write(0, b"x" * SIZE)
    host.call("__guest_error", 0, SIZE)
    host.call("__console_log", 0, 3)
    assert exchange.error == "x" * ERROR_TEXT
    assert host.log.lines == [("stdout", "xxx")]


def test_an_answer_is_held_until_the_next_call() -> None:
    host = Host()
    host.sidecar.at_once = Ended(0, "", b"v" * 100)
    held = []
    for _ in range(3):
        assert host.ask() == 1
        held.append(host.context.held)
    assert held[0] > 100
    assert len(set(held)) == 1
    request = host.sidecar.begun[0][0]
    assert (request.method, request.message, request.metadata, request.seconds) == ("GetState", b"request", (), None)


def test_an_answer_that_is_too_large_is_an_error() -> None:
    host = Host(host_memory=1000)
    host.sidecar.at_once = Ended(0, "", b"v" * 1000)
    assert host.ask() == 0
    assert b"the limit host_memory is 1000" in host.context.state(Exchange).host_error
    assert host.call("__host_response_len") == 0


def test_a_call_that_another_interface_has_closed_is_no_fault() -> None:
    host = Host()
    host.sidecar.at_once = Ended(0, "", b"v")
    assert host.ask() == 1
    assert dapr_v1.MODULE.functions["call_close"].invoke(host.context, 1) == 0
    assert host.ask() == 1


def test_calls_of_both_interfaces_are_counted_together() -> None:
    host = Host()
    host.sidecar.limits, host.sidecar.at_once = (4, 2), Ended(0, "", b"")
    assert host.ask() == 1
    assert dapr_v1.MODULE.functions["call_start"].invoke(host.context, 260, 8, 0, 0, 0, 0, 0) == 2
    assert host.ask() == 0
    assert b"2 calls were made by this event" in host.context.state(Exchange).host_error


def test_the_events_deadline_ends_a_call() -> None:
    host = Host(seconds=0.01)
    with pytest.raises(DeadlineExceeded):
        host.ask()


def test_without_a_sidecar_a_call_stops_the_guest() -> None:
    with pytest.raises(Trap, match="the manifest grants this guest no Sidecar"):
        Host(sidecar=False).ask()


ANY = st.one_of(st.sampled_from([0, 1, 4, 256, SIZE - 1, SIZE, SIZE + 1, 1 << 31, (1 << 32) - 1]), st.integers(0, 300))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.sampled_from(sorted(MODULE.functions)).flatmap(
            lambda name: st.tuples(st.just(name), st.lists(ANY, min_size=8, max_size=8).map(tuple))
        ),
        max_size=12,
    )
)
def test_any_numbers_have_an_answer_or_stop_the_guest(steps: list[tuple[str, tuple[int, ...]]]) -> None:
    host = Host(host_memory=4096, output=2048, log=500)
    host.sidecar.at_once = Ended(0, "", b"value")
    begin(host.context, b"greet", b"payload")
    for name, values in steps:
        count = len(MODULE.functions[name].signature.params)
        try:
            found = host.call(name, *values[:count])
        except (Trap, BadReply):
            continue
        results = MODULE.functions[name].signature.results
        assert results == () or (results == (ValType.I32,) and 0 <= found < 1 << 32)
    assert host.guarded
    assert 0 <= host.context.held <= 4096

"""The import module `http_handler`, function by function, on a memory between guard bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import Trap
from guesthouse_abi.facts import PlainFacts
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import ValType
from guesthouse_abi.imports.http_handler import MODULE, begin
from guesthouse_abi.services import HttpResponse, Log, Services
from tests.support.budget import examples
from tests.support.doubles import Lines
from tests.support.guarded import GuardedHost

SIZE = 65536
OUT = 4096
EVENT = PlainFacts("invoke", "files/a b", b"body", "text/plain", "GET", "q=1", metadata={"x-a": "o\0ne", "x-b": "two"})


class Host(GuardedHost):
    """One event's host side, without an engine."""

    def __init__(self, event: PlainFacts = EVENT, **limits: int) -> None:
        self.log = Lines()
        config = (("guestConfig", "blue"),)
        context = Context(
            Deadline.after(60), Grants(config=config), Limits(**limits), Services({Log: self.log}), event=event
        )
        super().__init__(context, SIZE)
        self.exchange = begin(context)
        self._free = 8192

    def call(self, name: str, *values: int) -> int:
        found: int = MODULE.functions[name].invoke(self.context, *values)
        return found

    def put(self, data: bytes) -> tuple[int, int]:
        pointer, self._free = self._free, self._free + len(data)
        self.memory.write(pointer, data)
        return pointer, len(data)

    def text(self, name: str) -> str:
        return self.memory.read(OUT, self.call(name, OUT, 4096)).decode()


def test_without_a_request_everything_of_it_stops_the_guest() -> None:
    context = Context(Deadline.after(60), Grants(), Limits(), Services({Log: Lines()}))
    with pytest.raises(Trap, match=r"there is no HTTP request in a guest that is not called as \"http-wasm\""):
        MODULE.functions["get_uri"].invoke(context, 0, 0)


def test_a_name_that_no_uri_has_is_escaped_and_comes_back_as_it_was() -> None:
    host = Host()
    assert host.text("get_uri") == "/files/a%20b?q=1"
    request = host.exchange.next_request()
    assert (request.verb, request.name, request.query, request.body) == ("GET", "files/a b", "q=1", b"body")
    assert request.headers == (("content-type", "text/plain"), ("x-a", "one"), ("x-b", "two"))


def test_a_name_that_is_escaped_already_is_not_escaped_again() -> None:
    assert Host(PlainFacts("invoke", "/a%2Fb/é")).text("get_uri") == "/a%2Fb/%C3%A9"


def test_what_is_set_is_passed_on() -> None:
    host = Host()
    host.call("set_uri", *host.put(b"/other?"))
    host.call("set_method", *host.put(b"put"))
    host.call("write_body", 0, *host.put(b"new"))
    host.call("set_header_value", 0, *host.put(b"X-A"), *host.put("é".encode()))
    request = host.exchange.next_request()
    assert (request.verb, request.name, request.query, request.body) == ("PUT", "other", "", b"new")
    assert ("x-a", "é") in request.headers


def test_what_stands_behind_takes_the_place_of_what_was_written() -> None:
    host = Host()
    host.call("enable_features", 2)
    host.call("write_body", 1, *host.put(b"mine"))
    host.exchange.take(HttpResponse(404, (("x-c", "d"),), b"behind"))
    assert host.call("get_status_code") == 404
    assert host.call("read_body", 1, OUT, 64) == 1 << 32 | 6
    host.call("write_body", 1, *host.put(b"and "))
    host.call("write_body", 1, *host.put(b"more"))
    assert host.exchange.response.body == b"and more"


def test_what_is_written_is_held() -> None:
    host = Host(host_memory=1000)
    host.call("write_body", 1, 0, 600)
    assert host.context.held == 600
    with pytest.raises(Trap, match="the limit host_memory is 1000"):
        host.call("write_body", 0, 0, 600)


def test_an_event_of_many_headers_is_read_and_no_header_is_added_to_it() -> None:
    host = Host(PlainFacts("invoke", "m", metadata={f"x-{number}": "v" * 100 for number in range(1000)}))
    count = host.call("get_header_names", 0, OUT, 16)
    assert count >> 32 == 1000
    with pytest.raises(Trap, match="at most 65536 are kept"):
        host.call("add_header_value", 0, *host.put(b"x"), 0, 0)


ANY = st.one_of(
    st.sampled_from([0, 1, 2, 3, 4, 64, 8192, SIZE - 1, SIZE, SIZE + 1, 1 << 31, (1 << 32) - 1]), st.integers(0, 300)
)


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(
        st.sampled_from(sorted(MODULE.functions)).flatmap(
            lambda name: st.tuples(st.just(name), st.lists(ANY, min_size=5, max_size=5).map(tuple))
        ),
        max_size=15,
    ),
    st.booleans(),
)
def test_any_numbers_have_an_answer_or_stop_the_guest(steps: list[tuple[str, tuple[int, ...]]], passed: bool) -> None:
    host = Host(host_memory=4096, output=2048, input=2048, log=500)
    host.memory.write(0, bytes(range(32, 127)) * 3)
    if passed:
        host.exchange.take(HttpResponse(200, (), b"behind"))
    for name, values in steps:
        signature = MODULE.functions[name].signature
        signed = [v - (1 << 32) if name.startswith("log") and i == 0 and v >> 31 else v for i, v in enumerate(values)]
        try:
            found = host.call(name, *signed[: len(signature.params)])
        except Trap:
            continue
        bits = {(): 0, (ValType.I32,): 32, (ValType.I64,): 64}[signature.results]
        assert (found is None) if bits == 0 else (0 <= found < 1 << bits)
    assert host.guarded
    assert 0 <= host.context.held <= 4096
    host.exchange.next_request()

"""The import module `dapr_v1`, function by function, on a memory between guard bytes. Who makes calls is scripted."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi import pairs
from guesthouse_abi.calling import Unfit
from guesthouse_abi.calling.dapr import Dapr, _response
from guesthouse_abi.calls import CallTable
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadText, Cancelled, DeadlineExceeded
from guesthouse_abi.facts import PlainFacts
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import FuncType, ValType
from guesthouse_abi.imports.dapr_v1 import (
    ABSENT,
    BAD_HANDLE,
    INVALID,
    LIMIT,
    MODULE,
    PENDING,
    UNSUPPORTED,
    Draft,
    begin_draft,
)
from guesthouse_abi.services import Account, CallRequest, Calls, Ended, Log, Services, Sidecar
from guesthouse_abi.spent import Spent
from tests.support.budget import examples
from tests.support.doubles import Lines
from tests.support.guarded import GuardedHost

SIZE = 65536
OUT = 4096  # where results are read to
TOPIC = PlainFacts(
    "topic", "pubsub/orders/new", b"0123456789", "text/plain", path="/orders", id="7", metadata={"ce_source": "shop"}
)


class Scripted:
    """A sidecar whose calls end when the test says so."""

    def __init__(self, most_open: int = 4, most: int = 8) -> None:
        self.begun: list[tuple[CallRequest, float, Callable[[Ended], None]]] = []
        self.cancelled: list[str] = []
        self.limits = most_open, most
        self.at_once: Ended | None = None

    def calls(self, event: Any, deadline: Deadline, spent: Spent, account: Account) -> Calls:
        return CallTable(self._begin, *self.limits, deadline, spent, account)

    def _begin(self, request: CallRequest, seconds: float, done: Callable[[Ended], None]) -> Callable[[], object]:
        self.begun.append((request, seconds, done))
        if self.at_once is not None:
            done(self.at_once)
        return lambda: self.cancelled.append(request.method)

    def end(self, number: int, ended: Ended) -> None:
        self.begun[number - 1][2](ended)


class Host(GuardedHost):
    """One event's host side, without an engine."""

    def __init__(self, event: PlainFacts = TOPIC, seconds: float = 60, config: Any = (), **limits: int) -> None:
        self.log = Lines()
        self.sidecar = Scripted()
        services = Services({Log: self.log, Sidecar: self.sidecar})
        context = Context(Deadline.after(seconds), Grants(config=config), Limits(**limits), services, event=event)
        super().__init__(context, SIZE)
        self._free = 8192

    def call(self, name: str, *values: int) -> int:
        found: int = MODULE.functions[name].invoke(self.context, *values)
        return found

    def put(self, data: bytes | str) -> tuple[int, int]:
        data = data.encode() if isinstance(data, str) else data
        pointer, self._free = self._free, self._free + len(data)
        self.memory.write(pointer, data)
        return pointer, len(data)

    def read(self, name: str, *values: int, capacity: int = 2048, offset: int = 0) -> bytes | int:
        size = self.call(name, *values, offset, OUT, capacity)
        return size if size < 0 else self.memory.read(OUT, max(0, min(size - offset, capacity)))

    def start(
        self, method: str = "GetState", message: bytes = b"", metadata: bytes = b"", milliseconds: int = 0
    ) -> int:
        return self.call("call_start", *self.put(method), *self.put(message), *self.put(metadata), milliseconds)

    def wait(self, *handles: int, mode: int = 0, milliseconds: int = 0xFFFFFFFF) -> int:
        pointer, _ = self.put(struct.pack(f"<{len(handles)}I", *handles))
        return self.call("call_wait", pointer, len(handles), mode, milliseconds)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (1, b"0123456789"),
        (2, b"topic"),
        (3, b"pubsub/orders/new"),
        (4, b"text/plain"),
        (5, ABSENT),
        (6, ABSENT),
        (7, b"/orders"),
        (8, b"7"),
        (9, b"pubsub"),
        (10, b"orders/new"),
        (11, b"shop"),
        (12, ABSENT),
        (13, ABSENT),
        (0xFFFFFFFF, ABSENT),
    ],
)
def test_the_fields_of_an_event(field: int, value: bytes | int) -> None:
    assert Host().read("event_read", field) == value


def test_an_invocation_has_no_topic() -> None:
    host = Host(PlainFacts("invoke", "a/b", verb="GET", query="x=1"))
    assert [host.read("event_read", field) for field in (5, 6, 9, 10, 11)] == [b"GET", b"x=1", ABSENT, ABSENT, ABSENT]


def test_a_body_is_read_in_pieces() -> None:
    host = Host()
    assert host.call("event_read", 1, 0, 0, 0) == 10, "the size alone"
    assert host.read("event_read", 1, offset=4, capacity=3) == b"456"
    assert host.read("event_read", 1, offset=8, capacity=8) == b"89"
    assert host.call("event_read", 1, 10, OUT, 8) == 10, "nothing is left: no error"
    assert host.call("event_read", 1, 0xFFFFFFFF, OUT, 8) == 10


@pytest.mark.parametrize(("buffer", "capacity"), [(SIZE, 1), (SIZE - 4, 5), (0xFFFFFFFF, 1), (0, 0xFFFFFFFF)])
def test_a_buffer_outside_the_memory_is_invalid(buffer: int, capacity: int) -> None:
    assert Host().call("event_read", 1, 0, buffer, capacity) == INVALID


def test_metadata_by_name_and_all() -> None:
    host = Host(PlainFacts("invoke", metadata={"accept": "text/html", "x": ""}))
    assert host.read("event_metadata", *host.put("accept")) == b"text/html"
    assert host.read("event_metadata", *host.put("x")) == b""
    assert host.read("event_metadata", *host.put("y")) == ABSENT
    assert host.read("event_metadata", *host.put(b"\xff")) == INVALID
    everything = host.read("event_metadata_all")
    assert isinstance(everything, bytes)
    assert dict(pairs.decode(everything)) == {"accept": "text/html", "x": ""}


def test_without_a_handler_there_is_no_reply_to_write() -> None:
    host = Host()
    text = host.put("a")
    assert host.call("reply_write", *text) == UNSUPPORTED
    assert host.call("reply_set", 1, *text) == UNSUPPORTED
    assert host.call("retry_after", 10) == UNSUPPORTED


def test_a_reply_is_written_in_pieces_up_to_the_limit() -> None:
    host = Host(output=6)
    draft = begin_draft(host.context)
    assert [host.call("reply_write", *host.put(part)) for part in ("abc", "", "def", "g")] == [0, 0, 0, LIMIT]
    assert host.call("reply_write", 0, 0xFFFFFFFF) == INVALID
    assert bytes(draft.body) == b"abcdef"


def test_only_an_invocation_has_a_status_and_headers() -> None:
    host = Host()
    begin_draft(host.context)
    assert host.call("reply_status", 201) == UNSUPPORTED
    assert host.call("reply_header", *host.put("a"), *host.put("b")) == UNSUPPORTED
    host = Host(PlainFacts("invoke"))
    draft = begin_draft(host.context)
    assert [host.call("reply_status", status) for status in (201, 199, 600, 0xFFFFFFFF)] == [0] + 3 * [INVALID]
    assert draft.status == 201


class Exports:
    """A `Shape` of these functions."""

    imported: tuple[tuple[str, str], ...] = ()
    has_memory = True

    def __init__(self, functions: dict[str, FuncType | None]) -> None:
        self.functions = functions


def test_a_handler_of_another_type_is_refused_also_one_that_is_reserved() -> None:
    handler = FuncType((), (ValType.I32,))
    with pytest.raises(Unfit, match="export 'dapr_on_actor' is"):
        Dapr().bind(Exports({"dapr_on_event": handler, "dapr_on_actor": FuncType()}))
    with pytest.raises(Unfit, match="export 'dapr_on_job' is of another type"):
        Dapr().bind(Exports({"dapr_on_event": handler, "dapr_on_job": None}))
    caller = Dapr().bind(Exports({"dapr_on_event": handler, "dapr_on_actor": handler}))
    kinds = {"invoke", "topic", "binding", "job", "operation", "actor", "timer", "reminder"}
    assert caller.triggers == frozenset(kinds)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"no cup", "no cup"), (b"x" + "ä".encode() * 2000, "x" + "ä" * 511), (b"\xff\xfepicture", ""), (b"cut\xc3", "")],
)
def test_the_text_of_a_status_is_the_body_if_that_is_text(body: bytes, text: str) -> None:
    draft = Draft("invoke")
    draft.status, draft.body = 404, bytearray(body)
    assert _response(draft, stop=False).text == text


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        ("cache-control", "no-store", 0),
        ("content-type", "text/html", INVALID),
        ("Accept", "x", INVALID),
        ("dapr-app-id", "x", INVALID),
        ("guesthouse-x", "x", INVALID),
        ("grpc-status", "0", INVALID),
        ("x-bin", "x", INVALID),
        ("wasm-status", "500", INVALID),
        ("x", "a\nb", INVALID),
        ("x", "a\r", INVALID),
        ("x", "\ta", INVALID),
        ("a:b", "c", INVALID),
        ("a: b", "c", INVALID),
        ("", "x", INVALID),
        ("x", "y" * 4095, 0),
        ("xx", "y" * 4095, LIMIT),
    ],
)
def test_headers(name: str, value: str, result: int) -> None:
    host = Host(PlainFacts("invoke"))
    draft = begin_draft(host.context)
    assert host.call("reply_header", *host.put(name), *host.put(value)) == result
    assert draft.headers == ([(name, value)] if result == 0 else [])


def test_texts_of_a_reply() -> None:
    host = Host()
    draft = begin_draft(host.context)
    assert host.call("reply_set", 1, *host.put("text/html; charset=utf-8")) == 0
    assert host.call("reply_set", 1, *host.put("a\nb")) == INVALID
    assert host.call("reply_set", 1, *host.put("ü/x")) == INVALID
    assert host.call("reply_set", 2, *host.put("no such cart")) == 0
    assert host.call("reply_set", 2, *host.put(b"\xff")) == INVALID
    assert host.call("reply_set", 3, *host.put("x")) == INVALID
    assert host.call("retry_after", 1500) == 0
    assert (draft.content_type, draft.text, draft.retry_after) == ("text/html; charset=utf-8", "no such cart", 1.5)
    assert host.call("reply_set", 2, *host.put("ü" * 2000)) == 0
    assert draft.text == "ü" * 512


def test_log_lines_have_levels_and_fields() -> None:
    host = Host(log=40)
    fields = host.put(pairs.encode([("order", "7")]))
    assert host.call("log", 2, *host.put("late"), *fields) == 0
    assert host.call("log", 4, *host.put("late"), *fields) == INVALID
    assert host.call("log", 1, *host.put("late"), fields[0], fields[1] - 1) == INVALID
    assert host.log.entries == [("warning", "late", {"order": "7"})]
    assert host.call("log", 1, *host.put("x" * 60), 0, 0) == 0, "lines that are too many are dropped, and no error"
    assert len(host.log.entries) == 1


def test_time_and_configuration() -> None:
    host = Host(seconds=60, config=(("url", "http://x"),))
    assert 50_000 < host.call("time_left") <= 60_000
    assert host.read("config_read", *host.put("url")) == b"http://x"
    assert host.read("config_read", *host.put("other")) == ABSENT


# ---- calls ----


def test_a_call_and_what_comes_back() -> None:
    host = Host()
    first = host.start("GetState", b"request", pairs.encode([("x-a", "b")]), 250)
    assert first == 1
    request, seconds, _ = host.sidecar.begun[0]
    assert request == CallRequest("GetState", b"request", (("x-a", "b"),), 0.25)
    assert seconds == 0.25
    assert host.call("call_status", 1) == PENDING
    assert host.read("call_read", 1, 0) == PENDING
    assert host.wait(1, milliseconds=0) == PENDING
    host.sidecar.end(1, Ended(0, "", b"value", b"i", b"t"))
    assert host.wait(1) == 0
    assert host.call("call_status", 1) == 0
    assert [host.read("call_read", 1, part) for part in range(6)] == [b"value", b"", b"i", b"t", ABSENT, ABSENT]
    assert host.read("call_read", 1, 0, offset=2, capacity=2) == b"lu"
    assert host.call("call_close", 1) == 0
    assert host.call("call_close", 1) == BAD_HANDLE
    assert host.call("call_status", 1) == BAD_HANDLE


def test_a_call_that_failed() -> None:
    host = Host()
    host.start()
    host.sidecar.end(1, Ended(10, "stale", None, b"", b"", b"status"))
    assert host.call("call_status", 1) == 10
    assert [host.read("call_read", 1, part) for part in (0, 1, 4)] == [ABSENT, b"stale", b"status"]


def test_waiting_for_any_tells_the_one_that_ended_first() -> None:
    host = Host()
    for _ in range(3):
        host.start()
    host.sidecar.end(3, Ended(0, "", b""))
    host.sidecar.end(1, Ended(0, "", b""))
    assert host.wait(1, 2, 3) == 2
    assert host.wait(1, 2) == 0
    assert host.wait(1, 2, 3, mode=1, milliseconds=0) == PENDING
    host.sidecar.end(2, Ended(0, "", b""))
    assert host.wait(1, 2, 3, mode=1) == 3
    assert host.wait() == ABSENT
    assert host.wait(mode=1) == 0


def test_a_wait_ends_when_a_call_ends_elsewhere() -> None:
    host = Host()
    host.start()
    ends = threading.Timer(0.05, lambda: host.sidecar.end(1, Ended(0, "", b"late")))
    ends.start()
    assert host.wait(1) == 0
    ends.join()
    assert host.read("call_read", 1, 0) == b"late"


def test_waits_that_are_refused() -> None:
    host = Host()
    assert host.wait(1) == BAD_HANDLE, "before any call"
    host.start()
    assert host.wait(1, 2) == BAD_HANDLE
    assert host.wait(1, mode=2) == INVALID
    assert host.call("call_wait", 0, 1025, 0, 0) == INVALID
    assert host.call("call_wait", SIZE - 2, 1, 0, 0) == INVALID
    assert host.call("call_wait", 0, 0xFFFFFFFF, 0, 0) == INVALID


def test_the_events_deadline_ends_a_wait() -> None:
    host = Host(seconds=0.05)
    host.start()
    with pytest.raises(DeadlineExceeded):
        host.wait(1)
    host = Host()
    host.start()
    threading.Timer(0.05, host.context.deadline.cancel).start()
    with pytest.raises(Cancelled):
        host.wait(1)


def test_as_many_calls_as_there_may_be() -> None:
    host = Host()
    assert [host.start() for _ in range(5)] == [1, 2, 3, 4, LIMIT], "open at once"
    assert host.log.texts[-1].startswith("dapr_v1.call_start: 4 calls are open")
    for handle in range(1, 5):
        assert host.call("call_close", handle) == 0
    assert host.sidecar.cancelled == ["GetState"] * 4
    assert [host.start() for _ in range(4)] == [5, 6, 7, 8]
    assert host.call("call_close", 5) == 0
    assert host.start() == LIMIT, "in all"


def test_bytes_of_calls_are_held_until_they_are_closed() -> None:
    host = Host(host_memory=2000)
    assert host.start(message=b"x" * 1000) == 1
    assert host.start(message=b"x" * 1000) == LIMIT
    host.sidecar.end(1, Ended(0, "", b"y" * 2000))
    assert host.call("call_status", 1) == LIMIT, "what came back is too large"
    assert host.call("call_close", 1) == 0
    assert host.start(message=b"x" * 1000) == 2


def test_calls_that_are_refused_have_a_handle_and_a_line_in_the_log() -> None:
    host = Host()
    host.sidecar.at_once = Ended(7, "write read_state", refused=True)
    assert host.start("GetState") == 1
    assert host.call("call_status", 1) == 7
    assert host.log.texts == ["dapr_v1.call_start: GetState: write read_state"]


@pytest.mark.parametrize("code", [12, 14])
def test_a_name_that_a_guest_made_up_is_none_of_the_metrics(code: int) -> None:
    host = Host()
    host.sidecar.at_once = Ended(code, "there is no sidecar here", refused=True)
    host.start("Invented")
    host.context.end()
    assert [call.subject for call in host.context.spent.calls] == ["unknown"]


def test_arguments_of_a_call() -> None:
    host = Host()
    assert host.call("call_start", *host.put("m" * 129), 0, 0, 0, 0, 0) == INVALID
    assert host.call("call_start", *host.put(b"\xff"), 0, 0, 0, 0, 0) == INVALID
    assert host.call("call_start", *host.put("m"), SIZE, 1, 0, 0, 0) == INVALID
    assert host.call("call_start", *host.put("m"), 0, 0, *host.put(b"\1\0\0\0"), 0) == INVALID
    assert host.sidecar.begun == []


def test_open_calls_end_with_the_event_and_are_told() -> None:
    host = Host()
    host.start("GetState")
    host.start("SaveState")
    host.sidecar.end(2, Ended(10, "stale"))
    host.context.end()
    assert host.sidecar.cancelled == ["GetState"]
    told = [(call.capability, call.subject, call.status) for call in host.context.spent.calls]
    assert told == [("dapr", "GetState", "CANCELLED"), ("dapr", "SaveState", "ABORTED")]
    assert host.context.spent.seconds["dapr"] >= 0
    host.sidecar.end(1, Ended(0, "", b"too late"))


def test_pairs_that_are_none() -> None:
    for broken in (b"\1", b"\1\0\0\0\0\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xffab", b"\1\0\0\0\1\0\0\0\xff\xff"):
        with pytest.raises(BadText):
            pairs.decode(broken)
    with pytest.raises(BadText):
        pairs.decode(bytes(8 * 1025))


@settings(max_examples=examples(200))
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=10))
def test_pairs_come_back(given_pairs: list[tuple[str, str]]) -> None:
    assert pairs.decode(pairs.encode(given_pairs)) == tuple(
        (name.encode("utf-8", "replace").decode(), value.encode("utf-8", "replace").decode())
        for name, value in given_pairs
    )


U32 = st.one_of(st.integers(0, 16), st.integers(SIZE - 16, SIZE + 16), st.sampled_from([0xFFFFFFFF, 0x80000000]))


@pytest.mark.hypothesis
@settings(max_examples=examples(500))
@given(st.lists(st.tuples(st.sampled_from(sorted(MODULE.functions)), st.lists(U32, min_size=7, max_size=7))))
def test_any_numbers_have_an_answer(steps: list[tuple[str, list[int]]]) -> None:
    host = Host(PlainFacts("invoke", body=b"body"))
    begin_draft(host.context)
    for name, numbers in steps:
        if name == "call_wait":
            numbers[3] = 0  # nobody would end the calls
        count = len(MODULE.functions[name].kinds)
        answer = host.call(name, *numbers[:count])
        assert -6 <= answer <= 0x7FFFFFFF

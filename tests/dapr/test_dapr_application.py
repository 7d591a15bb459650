"""Transports start, drain and stop together, whatever they are; one of them here is a toy without gRPC."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from structlog.testing import capture_logs

from guesthouse.dapr.admission import Admission
from guesthouse.dapr.application import Application
from guesthouse.dapr.events import Events
from guesthouse.dapr.listing import Listing
from guesthouse.dapr.server import Server, ServerConfig
from guesthouse.dapr.tokens import Tokens
from guesthouse.dapr.transport import Drain, ServeError
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse_abi.deadline import Deadline
from tests.dapr.dapr_ends import Application as Caller
from tests.dapr.dapr_ends import Blocked, Script, in_background
from tests.support.waiting import join, until

GENTLY = Drain(limit=10.0)


class Toy:
    """A transport by which a test hands events in."""

    def __init__(self, name: str, events: Events, admission: Admission, story: list[str]) -> None:
        self.name = name
        self.fault: Exception | None = None
        self._events, self._admission, self._story = events, admission, story

    def start(self) -> None:
        self._story.append(f"{self.name} starts")
        if self.fault is not None:
            raise self.fault

    def drain(self, drain: Drain) -> bool:
        return self._admission.close(drain.limit)

    def stop(self, seconds: float = 0.0) -> int:
        self._story.append(f"{self.name} stops")
        return 0

    def bring(self, event: Event, token: str = "") -> Reply:
        self._events.admit([("dapr-api-token", token)], lambda: "a toy")
        try:
            return self._events.dispatch(event, Deadline(math.inf))
        finally:
            self._events.leave()


@pytest.fixture
def story() -> list[str]:
    """What toys were told to do."""
    return []


Make = Callable[..., Toy]


@pytest.fixture
def toy(handler: Script, story: list[str]) -> Make:
    def make(name: str = "toy", capacity: int = 2, tokens: tuple[str, ...] = ()) -> Toy:
        admission = Admission(capacity)
        return Toy(name, Events(handler, Tokens(tokens), admission), admission, story)

    return make


def event(body: bytes = b"x") -> Event:
    return Event(Trigger.INVOKE, "echo", body)


def test_a_toy_hands_events_in_beside_the_server_and_both_end_together(toy: Make, connect, handler: Script):
    one, server = toy(), Server(ServerConfig(port=0, threads=12), handler, Listing())
    application = Application([one, server], GENTLY)
    application.start()
    assert one.bring(event(b"by the toy")).body == b"by the toy"
    caller = Caller(connect(server))
    caller.OnInvoke(InvokeRequest(method="by the server"), timeout=10)
    assert [one.name for one in handler.events] == ["echo", "by the server"]
    handler.answer = blocked = Blocked()
    replies: list[Reply] = []
    inside = in_background(lambda: replies.append(one.bring(event(b"kept"))))
    assert blocked.entered.acquire(timeout=10)
    finished: list[bool] = []
    drain = in_background(lambda: finished.append(application.drain()))
    until(lambda: not server.ready)

    def refused() -> bool:
        try:
            one.bring(event())
        except Failure as failure:
            return failure.reason is Reason.DRAINING
        return False

    handler.answer = lambda event, deadline: Reply(b"")
    until(refused)
    assert not finished
    blocked.release.set()
    join(inside, drain)
    assert (finished, [reply.body for reply in replies]) == ([True], [b"kept"])
    with pytest.raises(grpc.RpcError):
        caller.OnInvoke(InvokeRequest(), timeout=10)


def test_transports_start_in_their_order_and_stop_in_the_opposite_one(toy: Make, story: list[str]):
    application = Application([toy("first"), toy("second")], GENTLY)
    application.start()
    assert application.drain() is True
    assert story == ["first starts", "second starts", "second stops", "first stops"]


def test_where_one_transport_cannot_start_none_serves(toy: Make, story: list[str]):
    transports = [toy("first"), toy("second"), toy("third")]
    transports[1].fault = ServeError("port 1 is in use")
    with pytest.raises(ServeError, match="port 1 is in use"):
        Application(transports).start()
    assert story == ["first starts", "second starts", "third stops", "second stops", "first stops"]


def test_a_transport_whose_events_do_not_end_is_named(toy: Make, handler: Script):
    handler.answer = blocked = Blocked()
    slow, quick = toy("slow"), toy("quick")
    application = Application([slow, quick], Drain(limit=0.05))
    application.start()
    inside = in_background(lambda: slow.bring(event()))
    assert blocked.entered.acquire(timeout=10)
    with capture_logs() as lines:
        assert application.drain() is False
    blocked.release.set()
    join(inside)
    (line,) = lines
    assert (line["log_level"], line["transport"], line["cut_off"]) == ("warning", "slow", True)


def test_an_event_is_let_in_by_its_token_and_leaves_whatever_comes_of_it(toy: Make, handler: Script):
    one = toy(capacity=1, tokens=("secret",))
    with capture_logs() as lines, pytest.raises(Failure, match="is not one of this application's"):
        one.bring(event(), "a guess")
    assert [(line["reason"], line["peer"]) for line in lines] == [("DENIED", "a toy")]
    handler.fail(RuntimeError("an error of ours"))
    for _ in range(2):  # the only place is free again each time
        with pytest.raises(RuntimeError):
            one.bring(event(), "secret")


def test_events_and_transports_need_no_grpc():
    modules = "guesthouse.dapr.application, guesthouse.dapr.events, guesthouse.dapr.transport"
    program = f"import sys, {modules}; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0

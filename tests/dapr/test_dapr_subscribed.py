"""What is said of topics that the sidecar has not subscribed to: a real gRPC server with `GetMetadata`."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprServicer, DaprStub, add_DaprServicer_to_server
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest, GetMetadataResponse, PubsubSubscription

from guesthouse.dapr.listing import Listing, Subscription
from guesthouse.dapr.subscribed import Subscribed
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from tests.support.serving import connected
from tests.support.waiting import join, until

LISTING = Listing((Subscription("bus", "photos"), Subscription("bus", "texts")))


class Sidecar(DaprServicer):
    def __init__(self) -> None:
        self.subscribed: list[str] = []
        self.asked = threading.Semaphore(0)
        self.refuse = False
        self.answer = threading.Event()
        self.answer.set()
        self.port = 0

    def GetMetadata(self, request, context):
        self.asked.release()
        self.answer.wait()
        if self.refuse:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not allowed")
        told = [PubsubSubscription(pubsub_name="bus", topic=topic) for topic in self.subscribed]
        return GetMetadataResponse(subscriptions=told)


@pytest.fixture
def sidecar():
    servicer = Sidecar()
    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    add_DaprServicer_to_server(servicer, server)
    servicer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer
    server.stop(None)


@pytest.fixture
def subscribed(sidecar):
    with (
        connected(f"127.0.0.1:{sidecar.port}") as connection,
        contextlib.closing(Subscribed(connection, first=0.0, again=0.01)) as asking,
    ):
        yield asking


@pytest.fixture
def warnings(monkeypatch):
    lines: list[dict[str, object]] = []

    def warning(text: str, **more: object) -> None:
        lines.append({"event": text, **more})

    monkeypatch.setattr("guesthouse.dapr.subscribed._log.warning", warning)
    return lines


def test_what_the_sidecar_has_is_known_and_no_word_is_lost_on_it(sidecar, subscribed, warnings):
    sidecar.subscribed = ["texts", "photos", "of another"]
    subscribed.fetched(LISTING)
    until(lambda: subscribed.topics == {"bus/photos": True, "bus/texts": True})
    assert warnings == []


def test_a_topic_that_is_missing_is_warned_of_once_and_found_when_it_is_there(sidecar, subscribed, warnings):
    sidecar.subscribed = ["texts"]
    subscribed.fetched(LISTING)
    for _ in range(5):
        assert sidecar.asked.acquire(timeout=30)
    assert subscribed.topics == {"bus/photos": False, "bus/texts": True}
    (line,) = warnings
    assert line["event"] == "the sidecar has not subscribed: no event of these topics comes"
    assert line["topics"] == ["bus/photos"]
    assert "failed to subscribe" in str(line["remedy"])
    sidecar.subscribed.append("photos")
    until(lambda: subscribed.topics["bus/photos"])


def test_a_topic_of_which_an_event_has_come_is_subscribed(sidecar, subscribed, warnings):
    sidecar.refuse = True
    subscribed.fetched(LISTING)
    subscribed.answered(Event(Trigger.TOPIC, "bus/photos"), Reply(b""))
    subscribed.failed(Event(Trigger.TOPIC, "bus/texts"), Failure(Reason.GUEST, "no"))
    subscribed.answered(Event(Trigger.TOPIC, "bus/of another"), Reply(b""))
    assert subscribed.topics == {"bus/photos": True, "bus/texts": True}
    sidecar.refuse = False
    assert sidecar.asked.acquire(timeout=30)
    assert warnings == []


def test_a_sidecar_that_does_not_say_is_no_reason_for_a_word(sidecar, subscribed, warnings):
    sidecar.refuse = True
    subscribed.fetched(LISTING)
    for _ in range(3):
        assert sidecar.asked.acquire(timeout=30)
    assert (subscribed.topics, warnings) == ({}, [])


def test_a_question_under_way_ends_with_who_asks_and_the_connection_stays(sidecar, monkeypatch):
    monkeypatch.setattr("guesthouse.dapr.subscribed._TIMEOUT", 3600.0)
    with connected(f"127.0.0.1:{sidecar.port}") as connection:
        sidecar.answer.clear()
        asking = Subscribed(connection, first=0.0, again=0.0)
        asking.fetched(LISTING)
        assert sidecar.asked.acquire(timeout=30)
        closing = threading.Thread(target=asking.close)
        closing.start()
        join(closing)  # though the sidecar has not answered
        sidecar.answer.set()
        assert DaprStub(connection.channel).GetMetadata(GetMetadataRequest(), timeout=30).subscriptions == []


def test_nobody_is_asked_before_the_sidecar_has_fetched_the_list(sidecar):
    with connected(f"127.0.0.1:{sidecar.port}") as connection:
        Subscribed(connection, first=0.0, again=0.0).close()
    assert not sidecar.asked.acquire(blocking=False)

"""The input binding: replies of guests as events for other applications."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc
import pytest

from guesthouse.dapr.component.input_binding import STREAMS, VIA
from guesthouse.dapr.component.reader import Bounds, Reader
from guesthouse.dapr.component.resource import LARGEST
from guesthouse.dapr.component.server import Component
from guesthouse.dapr.executor import SPARE_THREADS
from guesthouse.dapr.proto.components_pb2 import PingRequest, ReadResponse
from guesthouse.event import Failure, Reason, Reply
from tests.dapr.component_ends import Reading, Sidecar
from tests.dapr.dapr_ends import Script
from tests.support.waiting import until


@pytest.fixture
def served(component: Callable[..., Component]) -> Component:
    """A component that publishes the replies of `echo`."""
    return component(replies=("echo",))


@pytest.fixture
def sidecar(served: Component, dial: Callable[..., Sidecar]) -> Sidecar:
    """With a reader."""
    found = dial(served)
    found.init_input()
    return found


def readers(served: Component) -> list[Reader[ReadResponse]]:
    return [reader for instance in served._replies._instances.values() for reader in instance.readers]


def bodies(reading: Reading, count: int) -> list[bytes]:
    """The next messages, each acknowledged."""
    found = []
    for _ in range(count):
        message = reading.next()
        reading.acknowledge(message)
        found.append(message.data)
    return found


def test_a_reply_is_an_event(sidecar: Sidecar, handler: Script):
    handler.answer = lambda event, deadline: Reply(b"[1]", "application/json")
    reading = sidecar.read()
    sidecar.invoke("echo", b"photo")
    message = reading.next()
    assert (message.data, message.content_type) == (b"[1]", "application/json")
    assert dict(message.metadata) == {
        "guest": "echo",
        "trigger": "operation",
        "name": "echo",
        "messageId": message.message_id,
        "contentType": "application/json",
        VIA: "echo",
    }


def test_every_message_has_an_id_of_its_own_and_they_come_in_order(sidecar: Sidecar):
    reading = sidecar.read()
    for number in range(10):
        sidecar.invoke("echo", b"%d" % number)
    messages = [reading.next() for _ in range(10)]
    assert [message.data for message in messages] == [b"%d" % number for number in range(10)]
    assert len({message.message_id for message in messages}) == 10


def test_failures_and_other_guests_are_not_published(sidecar: Sidecar, handler: Script):
    sidecar.invoke("other", b"1")
    handler.fail(Failure(Reason.GUEST, "no film"))
    sidecar.invoke("echo", b"2", failures="answer")
    handler.answer = lambda event, deadline: Reply(b"3")
    sidecar.invoke("echo")
    assert sidecar.read().next().data == b"3"


def test_replies_wait_from_init_on_until_somebody_reads(sidecar: Sidecar):
    sidecar.invoke("echo", b"1")
    sidecar.init_input()  # again changes nothing
    assert bodies(sidecar.read(), 1) == [b"1"]


def test_a_component_resource_may_read_some_guests_only(component, dial):
    served = component(replies=("echo", "other"))
    all_of_them, some = dial(served, "all"), dial(served, "some")
    all_of_them.init_input()
    some.init_input(Replies="other")
    for guest in ("echo", "other"):
        some.invoke(guest, guest.encode())
    assert bodies(some.read(), 1) == [b"other"]
    assert bodies(all_of_them.read(), 2) == [b"echo", b"other"]


def test_init_refuses_guests_whose_replies_are_not_published(sidecar: Sidecar):
    with pytest.raises(grpc.RpcError) as error:
        sidecar.init_input(replies="echo, ecko")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details() == (
        "component 'guests': its metadata replies names ecko; the guests whose replies are published here are echo"
    )


def test_all_sidecars_get_every_reply(component, dial):
    served = component(replies=("echo",))
    sidecars = [dial(served), dial(served), dial(served, ""), dial(served, None)]
    readings = [one.read() for one in sidecars]
    until(lambda: len(readers(served)) == 4)
    sidecars[0].invoke("echo", b"x")
    assert [bodies(reading, 1) for reading in readings] == [[b"x"]] * 4


# Acknowledgements


def test_no_more_than_so_many_are_unacknowledged(component, dial):
    served = component(replies=("echo",), bounds=Bounds(unacknowledged=2))
    sidecar = dial(served)
    sidecar.init_input()
    reading = sidecar.read()
    for number in range(5):
        sidecar.invoke("echo", b"%d" % number)
    first, second = reading.next(), reading.next()
    (reader,) = readers(served)
    assert (reader.unacknowledged, len(reader)) == (2, 5)
    reading.acknowledge(second)
    assert reading.next().data == b"2"
    reading.acknowledge(first)
    assert reading.next().data == b"3"


def test_a_message_that_an_application_failed_on_comes_again(sidecar: Sidecar):
    reading = sidecar.read()
    sidecar.invoke("echo", b"x")
    message = reading.next()
    reading.acknowledge(message, "the application is busy")
    assert reading.next() == message  # after a pause of a second
    reading.acknowledge(message)


def test_a_new_stream_gets_what_the_last_one_did_not_acknowledge(served: Component, sidecar: Sidecar):
    first = sidecar.read()
    for number in range(3):
        sidecar.invoke("echo", b"%d" % number)
    taken = [first.next() for _ in range(3)]
    first.acknowledge(taken[1])
    first.acknowledge(taken[1])  # twice: nothing happens
    (reader,) = readers(served)
    until(lambda: reader.unacknowledged == 2)
    first.hang_up()
    until(lambda: reader.free)
    sidecar.invoke("echo", b"3")
    second = sidecar.read()
    assert bodies(second, 3) == [b"0", b"2", b"3"]
    assert readers(served) == [reader]


def test_a_stream_ends_when_the_sidecar_says_nothing_more(sidecar: Sidecar):
    reading = sidecar.read()
    reading._acknowledgements.put(None)
    with pytest.raises(StopIteration):
        reading.next()


# Bounds


def test_a_reply_that_no_sidecar_takes_is_not_published(sidecar: Sidecar, handler: Script, caplog):
    reading = sidecar.read()
    handler.answer = lambda event, deadline: Reply(bytes(LARGEST))
    sidecar.invoke("echo", failures="answer")
    handler.answer = lambda event, deadline: Reply(bytes(LARGEST - 1000))
    sidecar.invoke("echo")
    assert len(reading.next().data) == LARGEST - 1000
    assert "a reply of guest echo is not published: with 4194" in caplog.text


def test_a_guest_does_not_answer_its_own_replies_for_ever(sidecar: Sidecar, caplog):
    reading = sidecar.read()
    sidecar.invoke("echo", b"1", 20.0, **{VIA: "other,echo"})
    sidecar.invoke("echo", b"2", 20.0, **{VIA: "other"})
    message = reading.next()
    assert (message.data, message.metadata[VIA]) == (b"2", "other,echo")
    assert (
        "a reply of guest echo is not published: its event came from an earlier reply of this guest" in caplog.messages
    )


def test_a_stream_too_many_is_refused_and_the_others_go_on(component, dial):
    served = component(replies=("echo",), threads=1 + SPARE_THREADS)  # streams take none of them
    sidecar = dial(served)
    readings = [sidecar.read() for _ in range(STREAMS)]
    until(lambda: [reader.free for reader in readers(served)] == [False] * STREAMS)
    sidecar.invoke("echo", b"1")
    assert [reading.next().data for reading in readings] == [b"1"] * STREAMS
    with pytest.raises(grpc.RpcError) as refused:
        sidecar.read().next()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    readings[0].hang_up()
    sidecar.invoke("echo", b"2")
    assert readings[-1].next().data == b"2"


def test_what_was_kept_for_a_sidecar_that_is_gone_is_let_go(component, dial):
    served = component(replies=("echo",), bounds=Bounds(keep=0.01))
    sidecar = dial(served)
    sidecar.init_input()
    assert len(readers(served)) == 1
    time.sleep(0.02)
    sidecar.invoke("echo", b"x")
    assert readers(served) == []


def test_ping_is_answered(sidecar: Sidecar):
    sidecar.input.Ping(PingRequest(), timeout=10)

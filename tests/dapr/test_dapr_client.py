"""The client that sends one event as a sidecar would, against the real server."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import trustme
from dapr.proto.common.v1.common_pb2 import InvokeResponse
from dapr.proto.runtime.v1.appcallback_pb2_grpc import AppCallbackServicer, add_AppCallbackServicer_to_server

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from tests.dapr.dapr_ends import Blocked, Script
from tests.support.waiting import join

EVENTS = {
    Trigger.INVOKE: Event(
        Trigger.INVOKE, "api/image", b"\xff", "image/png", "GET", "q=1", metadata={"accept": "text/*"}
    ),
    Trigger.BINDING: Event(Trigger.BINDING, "camera", b"\xff", metadata={"key": "value"}),
    Trigger.TOPIC: Event(Trigger.TOPIC, "bus/photos", b"\xff", "application/octet-stream", path="p", id="7"),
    Trigger.JOB: Event(Trigger.JOB, "nightly", b'{"n":5}', "application/json", "POST"),
}


@pytest.fixture
def client(serve):
    with Client(f"127.0.0.1:{serve().port}") as made:
        yield made


@pytest.mark.parametrize("trigger", EVENTS)
def test_the_handler_gets_the_event_that_was_sent(client: Client, handler: Script, trigger):
    sent = EVENTS[trigger]
    reply = client.send(sent, timeout=10)
    (event,) = handler.events
    for name in ("trigger", "name", "body", "content_type", "verb", "query", "path", "id"):
        assert getattr(event, name) == getattr(sent, name), name
    assert sent.metadata.items() <= event.metadata.items()
    if trigger is Trigger.INVOKE:
        assert reply == Reply(b"\xff", "image/png")
    elif trigger is Trigger.BINDING:
        assert reply == Reply(b"\xff")
    else:
        assert reply == Reply(b"")


def test_permanent_headers_go_under_the_names_that_a_sidecar_gives_them():
    seen: list[dict[str, str]] = []

    class Application(AppCallbackServicer):
        def OnInvoke(self, request, context):
            seen.append(dict(context.invocation_metadata()))
            return InvokeResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    add_AppCallbackServicer_to_server(Application(), server)
    with Client(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", token="sesame") as client:
        server.start()
        client.send(Event(Trigger.INVOKE, "m", metadata={"accept": "text/html", "x-own": "1"}), timeout=10)
    server.stop(None)
    del seen[0]["user-agent"]
    assert seen == [{"dapr-accept": "text/html", "x-own": "1", "dapr-api-token": "sesame"}]


def test_a_job_that_is_not_json_goes_as_bytes(client: Client, handler: Script):
    client.send(Event(Trigger.JOB, "nightly", b"\xff", "text/plain"), timeout=10)
    assert handler.events[0].body == b"\xff"


def test_refuses_to_send_a_job_whose_json_is_none(client: Client):
    with pytest.raises(Failure, match=r"^the data of job 'nightly' is not JSON: "):
        client.send(Event(Trigger.JOB, "nightly", b"{", "application/json"))


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("trigger", EVENTS)
def test_a_failure_arrives_with_its_reason_guest_and_text(client: Client, handler: Script, trigger, reason):
    handler.fail(Failure(reason, "so it went", "classify"))
    with pytest.raises(Failure) as raised:
        client.send(EVENTS[trigger], timeout=10)
    assert (raised.value.reason, raised.value.guest) == (reason, "classify")
    if trigger is Trigger.TOPIC and reason is not Reason.DENIED:
        dropped = reason in (Reason.NOT_FOUND, Reason.MALFORMED, Reason.TOO_LARGE)
        assert raised.value.text == f"so it went (answered {'DROP' if dropped else 'RETRY'})"
    else:
        assert raised.value.text == "so it went"


def test_a_failure_without_a_guest_arrives_so(client: Client, handler: Script):
    handler.fail(Failure(Reason.NOT_FOUND, "no such method"))
    with pytest.raises(Failure) as raised:
        client.send(EVENTS[Trigger.INVOKE], timeout=10)
    assert (raised.value.text, raised.value.guest) == ("no such method", "")


def test_says_what_to_do_where_nobody_listens(serve):
    server = serve()
    server.stop()
    with Client(f"127.0.0.1:{server.port}") as client, pytest.raises(Failure) as raised:
        client.send(EVENTS[Trigger.INVOKE], timeout=10)
    assert raised.value.text.startswith(
        f"no application at 127.0.0.1:{server.port}: start one with `guesthouse serve`, or check --to ("
    )
    assert raised.value.reason is Reason.TRY_AGAIN


def test_says_where_the_server_is_no_dapr_application():
    other = grpc.server(ThreadPoolExecutor(1))
    port = other.add_insecure_port("127.0.0.1:0")
    other.start()
    with Client(f"127.0.0.1:{port}") as client, pytest.raises(Failure) as raised:
        client.send(EVENTS[Trigger.INVOKE], timeout=10)
    assert str(raised.value) == f"127.0.0.1:{port} is no Dapr application (it does not know AppCallback); check --to"
    other.stop(None)


def test_says_that_there_was_no_answer_in_time(client: Client, handler: Script):
    handler.answer = Blocked()
    with pytest.raises(Failure) as raised:
        client.send(EVENTS[Trigger.INVOKE], timeout=0.1)
    assert raised.value.reason is Reason.DEADLINE
    assert raised.value.text == f"{client.address} did not answer in time"


def test_an_event_over_the_servers_message_size_is_too_large(serve):
    with Client(f"127.0.0.1:{serve(message=1000).port}") as client, pytest.raises(Failure) as raised:
        client.send(Event(Trigger.INVOKE, "m", bytes(2000)), timeout=10)
    assert raised.value.reason is Reason.TOO_LARGE
    assert "larger than max" in raised.value.text


def test_sends_large_messages(serve):
    with Client(f"127.0.0.1:{serve(message=9 * 2**20).port}") as client:
        assert len(client.send(Event(Trigger.INVOKE, "m", bytes(8 * 2**20)), timeout=30).body) == 8 * 2**20


@pytest.mark.parametrize("trigger", EVENTS)
def test_the_token_comes_from_the_environment(serve, monkeypatch, trigger):
    monkeypatch.setenv("APP_API_TOKEN", "sesame")
    with Client(f"127.0.0.1:{serve(tokens=('sesame',)).port}") as client:
        client.send(EVENTS[trigger], timeout=10)
    with Client(client.address, token="wrong") as client, pytest.raises(Failure) as refused:
        client.send(EVENTS[trigger], timeout=10)
    assert refused.value.reason is Reason.DENIED


def test_speaks_tls_to_a_server_whose_signer_it_is_given(serve, tmp_path):
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    certificate, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(certificate))
    leaf.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    with Client(f"127.0.0.1:{serve(tls=(certificate, key), core='auto').port}", ca=ca) as client:
        assert client.send(EVENTS[Trigger.INVOKE], timeout=10).body == b"\xff"


def test_waits_for_a_server_that_starts_later(serve):
    first = serve()
    first.stop()
    with Client(f"127.0.0.1:{first.port}") as client:
        with pytest.raises(Failure, match=r"no application at|did not answer in time"):
            client.wait_until_healthy(0.05)
        starter = threading.Timer(0.1, serve, kwargs={"port": first.port})
        starter.start()
        client.wait_until_healthy(20)
        join(starter)


def test_an_operation_is_not_sent_this_way(client: Client):
    with pytest.raises(Failure, match="comes through the component's socket"):
        client.send(Event(Trigger.OPERATION, "classify"))

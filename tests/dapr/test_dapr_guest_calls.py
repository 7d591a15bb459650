"""Calls of guests over gRPC, against a server of one answer. What a real sidecar does with them: tests/dapr_real."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import StreamPayload
from dapr.proto.runtime.v1.crypto_pb2 import DecryptRequest, DecryptRequestOptions, DecryptResponse
from dapr.proto.runtime.v1.state_pb2 import GetStateRequest
from google.protobuf import proto

from guesthouse.dapr import one_batch
from guesthouse.dapr.guest_calls import GuestCalls
from guesthouse_abi import pairs
from guesthouse_abi.services import Ended
from tests.support.ports import free_port
from tests.support.serving import connected
from tests.support.waiting import PATIENCE, until

UNAVAILABLE, EXHAUSTED, CANCELLED = 14, 8, 1
GET = GetStateRequest(store_name="store", key="a").SerializeToString()


@pytest.fixture(autouse=True, params=["one batch", "a stream"])
def _made_as(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How calls with one response are made: as with the installed grpcio, and as with one that was not tried."""
    if request.param == "a stream":
        monkeypatch.setattr(one_batch, "TRIED", ())


class OneAnswer(grpc.GenericRpcHandler):
    """Answers each call with the same function of its context, which gives messages."""

    def __init__(self, answer: Callable[[grpc.ServicerContext], Iterator[bytes]]) -> None:
        self._answer = answer
        self.called = 0

    def service(self, details: Any) -> Any:
        def streamed(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            self.called += details.method.endswith("/GetState")
            yield from self._answer(context)

        return grpc.stream_stream_rpc_method_handler(streamed)


@contextlib.contextmanager
def served(handler: OneAnswer, port: int = 0) -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait(PATIENCE)


@contextlib.contextmanager
def calls_to(port: int) -> Iterator[GuestCalls]:
    with connected(f"127.0.0.1:{port}") as connection:
        yield GuestCalls(connection)


def ended(calls: GuestCalls, method: str = "GetState", message: bytes = GET) -> Ended:
    ends: Queue[Ended] = Queue()
    calls.begin(method, message, (), PATIENCE, ends.put).drive()
    return ends.get(timeout=PATIENCE)


def decryption() -> bytes:
    request = DecryptRequest(options=DecryptRequestOptions(component_name="keys"), payload=StreamPayload(data=b"x"))
    written = io.BytesIO()
    proto.serialize_length_prefixed(request, written)
    return written.getvalue()


def threads_of_calls() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "a guest's call"]


def ok(_: grpc.ServicerContext) -> Iterator[bytes]:
    yield b"found"


def test_a_call_is_answered():
    with served(OneAnswer(ok)) as port, calls_to(port) as calls:
        end = ended(calls)
    assert (end.code, end.message) == (0, b"found")


def test_calls_are_made_in_one_batch_with_the_grpcio_that_is_locked():
    """Try the calls with a new version before it is added."""
    assert not one_batch.TRIED or grpc.__version__.startswith(one_batch.TRIED)


def test_all_that_the_sidecar_says_of_a_call_is_there():
    def says(context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata((("first", "a"),))
        context.set_trailing_metadata((("last", "b"), ("grpc-status-details-bin", b"\x00\xff")))
        context.set_code(grpc.StatusCode.ABORTED)
        context.set_details("Grüße")
        return iter(())

    with served(OneAnswer(says)) as port, calls_to(port) as calls:
        end = ended(calls)
    assert (end.code, end.text, end.message or b"") == (10, "Grüße", b"")
    assert ("first", "a") in pairs.decode(end.initial)
    assert pairs.encode([("last", "b")]) in end.trailing
    assert end.details == b"\x00\xff"


def test_an_empty_response_is_a_response():
    with served(OneAnswer(lambda _: iter([b""]))) as port, calls_to(port) as calls:
        end = ended(calls)
    assert (end.code, end.message) == (0, b"")


def test_the_time_of_a_call_ends_it():
    ends: Queue[Ended] = Queue()
    with served(OneAnswer(waits)) as port, calls_to(port) as calls:
        calls.begin("GetState", GET, (), 0.1, ends.put).drive()
        assert ends.get(timeout=PATIENCE).code == 4


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_without_a_sidecar_the_guest_is_told_what_to_look_at(host):
    with connected(f"{host}:{free_port()}") as connection:
        calls = GuestCalls(connection)
        for _ in range(2):  # the first meets nobody, and the other waits for a connection that does not come
            end = ended(calls)
            assert end.code == UNAVAILABLE
            assert end.text.startswith("the sidecar cannot be reached; is it running, and are DAPR_GRPC_PORT")


def test_an_answer_that_reads_as_if_nothing_was_sent_is_not_asked_for_again():
    text = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:1: Connection refused"

    def refuses(context: grpc.ServicerContext) -> Iterator[bytes]:
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details(text)
        return iter(())

    handler = OneAnswer(refuses)
    with served(handler) as port, calls_to(port) as calls:
        end = ended(calls)
        assert (end.code, end.text) == (UNAVAILABLE, text)
        assert handler.called == 1
        assert ended(calls).text == text
        assert handler.called == 2


def test_a_sidecar_that_comes_back_is_found_by_the_calls_that_wait_for_it():
    port = free_port()
    with calls_to(port) as calls:
        with served(OneAnswer(ok), port):
            assert ended(calls).code == 0
        until(lambda: ended(calls).code == UNAVAILABLE, "it is away")
        ends: Queue[Ended] = Queue()
        calls._reach.doubt()
        calls.begin("GetState", GET, (), PATIENCE, ends.put).drive()
        with served(OneAnswer(ok), port):
            assert ends.get(timeout=PATIENCE).code in (0, UNAVAILABLE)  # a busy machine may take longer
            until(lambda: ended(calls).code == 0, "it is there")


def test_a_call_that_waits_for_a_connection_can_be_given_up():
    with calls_to(free_port()) as calls:
        ended(calls)
        ends: Queue[Ended] = Queue()
        calls._reach.doubt()
        calls.begin("GetState", GET, (), PATIENCE, ends.put)()
        assert ends.get(timeout=PATIENCE).code in (UNAVAILABLE, CANCELLED)


def test_a_stream_is_collected_up_to_a_bound_that_its_request_gives():
    message = DecryptResponse(payload=StreamPayload(data=bytes(100_000))).SerializeToString()
    gone = threading.Event()

    def without_end(context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(gone.set)
        while context.is_active():
            yield message

    with served(OneAnswer(without_end)) as port, calls_to(port) as calls:
        end = ended(calls, "DecryptAlpha1", decryption())
        assert end.code == EXHAUSTED
        assert "the response has more than 10" in end.text
        assert end.message is None
        assert gone.wait(PATIENCE)
        until(lambda: not threads_of_calls(), "no thread is left")


def waits(context: grpc.ServicerContext) -> Iterator[bytes]:
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(PATIENCE)
    yield b""


METHODS = pytest.mark.parametrize(("method", "message"), [("GetState", GET), ("DecryptAlpha1", decryption())])


@METHODS
def test_a_call_that_is_given_up_ends_and_leaves_no_thread(method, message):
    ends: Queue[Ended] = Queue()
    with served(OneAnswer(waits)) as port, calls_to(port) as calls:
        for before in (lambda call: None, lambda call: call.watch()):
            call = calls.begin(method, message, (), PATIENCE, ends.put)
            before(call)
            call()
            assert ends.get(timeout=PATIENCE).code == CANCELLED
        until(lambda: not threads_of_calls(), "no thread is left")
        assert ends.empty()


def test_a_guest_that_looks_often_gets_no_thread_for_each_look(monkeypatch):
    made: list[Callable[[], None]] = []

    class Late:
        """A thread that the system has not run yet."""

        def __init__(self, target: Callable[[], None], **_: object) -> None:
            self.target = target

        def start(self) -> None:
            made.append(self.target)

    ends: Queue[Ended] = Queue()
    with served(OneAnswer(ok)) as port, calls_to(port) as calls:
        call = calls.begin("GetState", GET, (), PATIENCE, ends.put)
        with monkeypatch.context() as patch:
            patch.setattr("guesthouse.dapr.guest_calls.threading.Thread", Late)
            for _ in range(3):
                call.watch()
        assert len(made) == 1
        made[0]()
        assert ends.get(timeout=PATIENCE).message == b"found"


def test_a_call_is_under_way_before_anybody_waits_for_it():
    here = threading.Event()

    def says(_: grpc.ServicerContext) -> Iterator[bytes]:
        here.set()
        yield b"found"

    ends: Queue[Ended] = Queue()
    with served(OneAnswer(says)) as port, calls_to(port) as calls:
        call = calls.begin("GetState", GET, (), PATIENCE, ends.put)
        assert here.wait(PATIENCE)
        assert ends.empty()
        call.watch()
        assert ends.get(timeout=PATIENCE).message == b"found"
        call.drive()
        call()
        assert ends.empty()


@METHODS
def test_a_call_after_the_end_is_no_error_of_ours(method, message):
    with calls_to(free_port()) as calls:
        pass
    assert ended(calls, method, message).code == UNAVAILABLE

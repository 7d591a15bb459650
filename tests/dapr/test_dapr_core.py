"""Which core serves, and what the native one does beyond what its servers' own tests ask for."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from importlib.util import find_spec

import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from google.protobuf.any_pb2 import Any

from guesthouse.dapr.core import Choice, choose
from guesthouse.dapr.transport import Drain, ServeError
from guesthouse.event import Event, Reply
from guesthouse_abi.deadline import Deadline
from tests.dapr.dapr_ends import Application, Script
from tests.support.waiting import until

needs_native = pytest.mark.skipif(
    find_spec("pygrpc_native") is None, reason="there is no native core for this platform"
)


@needs_native
@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", ""])
def test_where_only_this_machine_can_connect_the_native_core_serves(address):
    assert choose("auto", address, tls=False) == Choice(native=True, why="it is the faster one")


@needs_native
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1"])
def test_where_others_can_connect_grpcio_serves_until_the_manifest_says_otherwise(address):
    choice = choose("auto", address, tls=False)
    assert not choice.native
    assert choice.why.startswith("other machines can connect, and the native core takes a message in before")
    assert choose("native", address, tls=False).native


def test_the_manifest_may_name_grpcio():
    assert choose("grpcio", "127.0.0.1", tls=False) == Choice(native=False, why="the manifest says so")


def test_where_the_native_core_is_not_installed_grpcio_serves(monkeypatch):
    monkeypatch.setattr("guesthouse.dapr.core.find_spec", lambda name: None)
    assert choose("auto", "127.0.0.1", tls=False).why == (
        "pygrpc-native is not installed: there is none for this platform"
    )
    with pytest.raises(ServeError, match=r'server\.core is "native", but pygrpc-native is not installed'):
        choose("native", "127.0.0.1", tls=False)


@needs_native
def test_a_native_core_that_is_asked_for_tls_is_refused(serve, tmp_path):
    with pytest.raises(ServeError) as refused:
        choose("native", "127.0.0.1", tls=True)
    assert str(refused.value) == ('server.core is "native", but the native core has no TLS; make it "auto" or "grpcio"')


def test_a_server_says_which_core_serves(serve, core):
    assert serve().core.name == core


def until_its_end(event: Event, deadline: Deadline) -> Reply:
    """An answer that comes when its caller has hung up."""
    ended = threading.Event()
    deadline.on_cancel(ended.set)
    assert ended.wait(60)
    return Reply(b"")


def test_a_caller_that_hangs_up_is_heard_while_more_calls_are_held_up_than_threads_were_at_work(
    serve, connect, handler: Script
):
    """An end comes by the way of calls, so a thread must be there to take it."""
    handler.answer = until_its_end
    application = Application(connect(serve(threads=16, at_work=2)))
    calls = [application.OnInvoke.future(InvokeRequest()) for _ in range(8)]
    until(lambda: len(handler.deadlines) == 8, "all events are inside")
    for call in calls:
        call.cancel()
    until(lambda: all(deadline.cancelled for deadline in handler.deadlines), "their ends are heard of")


def test_no_end_is_lost_however_soon_after_the_beginning_it_comes(serve, connect, handler: Script):
    """Another thread may take a call's end before the one that took its beginning goes on."""
    handler.answer = until_its_end
    server = serve(threads=48, at_work=4)
    application = Application(connect(server))
    for _ in range(30):
        for call in [application.OnInvoke.future(InvokeRequest()) for _ in range(16)]:
            call.cancel()
        until(lambda: all(deadline.cancelled for deadline in handler.deadlines), "their ends are heard of")
    assert server.drain(Drain(limit=60.0))  # each of them has left


@needs_native
def test_what_one_call_leaves_in_its_context_is_not_seen_by_the_next(serve, connect, handler: Script):
    left: ContextVar[bytes] = ContextVar("left", default=b"nothing")
    seen: list[bytes] = []

    def leave(event: Event, deadline: Deadline) -> Reply:
        seen.append(left.get())
        left.set(event.body)
        return Reply(b"")

    handler.answer = leave
    application = Application(connect(serve(at_work=1)))
    for number in range(10):
        application.OnInvoke(InvokeRequest(data=Any(value=bytes([number]))), timeout=30)
    assert seen == [b"nothing"] * 10


@needs_native
def test_a_folder_for_temporary_files_that_cannot_be_used_is_told(serve, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(ServeError) as refused:
        serve(core="native")
    assert str(refused.value).startswith("the native core cannot make a socket in the folder for temporary files (")
    assert str(refused.value).endswith('or server.core to "grpcio"')


def test_a_component_that_cannot_have_its_core_is_refused_as_a_server_is(component, monkeypatch):
    monkeypatch.setattr("guesthouse.dapr.core.find_spec", lambda name: None)
    with pytest.raises(ServeError, match="pygrpc-native is not installed"):
        component(core="native")


def test_events_have_the_same_metadata_on_both_cores(serve, connect, handler: Script):
    metadata = (("a", "b"), ("a", "c"), ("x-bin", b"\x01"), ("traceparent", "00-1"), ("grpc-trace-bin", b"\0\1"))
    Application(connect(serve())).OnInvoke(InvokeRequest(method="m"), metadata=metadata, timeout=30)
    (event,) = handler.events
    assert event.metadata == {"a": "b, c", "x-bin": "AQ==", "traceparent": "00-1"}

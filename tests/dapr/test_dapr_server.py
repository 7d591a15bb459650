"""The server itself: its port, its limits, its threads, TLS, health."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import textwrap
from collections.abc import MutableMapping

import grpc
import pytest
import trustme
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from structlog.testing import capture_logs

from guesthouse.dapr.application import Application as Drained
from guesthouse.dapr.core import Choice, Core
from guesthouse.dapr.executor import SPARE_THREADS
from guesthouse.dapr.listing import Listing
from guesthouse.dapr.server import Server, ServerConfig
from guesthouse.dapr.transport import Drain, ServeError
from tests.dapr.dapr_ends import Application, Blocked, Script, in_background
from tests.support.ports import free_port
from tests.support.serving import OVER_TIME
from tests.support.waiting import until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def standard_health(channel: grpc.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=60).status)


# Start


def test_nobody_can_connect_before_the_start(handler: Script):
    port = free_port()
    server = Server(ServerConfig(port=port, threads=10), handler, Listing())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    server.start()
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    server.stop()


def test_refuses_a_port_that_is_in_use(serve):
    first = serve()
    with pytest.raises(ServeError) as refused:
        serve(port=first.port)
    assert str(refused.value) == (
        f"port {first.port} on 127.0.0.1 is in use; stop the other process or choose another with --port"
    )


def test_refuses_a_host_that_is_not_known(serve):
    with pytest.raises(ServeError, match=r"^host 'no such host' is not known \(.+\); give an address of this machine$"):
        serve(host="no such host")


def test_refuses_an_address_of_another_machine(serve):
    with pytest.raises(ServeError, match=r"^cannot listen on 192\.0\.2\.1:0: .+; give an address of this machine"):
        serve(host="192.0.2.1")


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
def test_a_name_or_the_wildcard_is_reached_over_ipv4(serve, connect, host):
    Application(connect(serve(host=host))).HealthCheck(Empty(), timeout=60)


# Message sizes


def test_messages_up_to_the_limit_pass_both_ways(serve, connect):
    application = Application(connect(serve(message=6 * 2**20)))
    body = bytes(6 * 2**20 - 100)
    assert application.OnInvoke(InvokeRequest(data=Any(value=body))).data.value == body


def test_a_message_over_the_limit_is_refused_before_the_handler(serve, connect, handler: Script):
    application = Application(connect(serve(message=10_000)))
    with pytest.raises(grpc.RpcError) as refused:
        application.OnInvoke(InvokeRequest(data=Any(value=bytes(10_001))))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not handler.events
    application.OnInvoke(InvokeRequest(data=Any(value=bytes(9_000))))


# Threads


def test_health_answers_and_events_are_refused_while_every_place_is_taken(serve, connect, handler: Script):
    handler.answer = blocked = Blocked()
    places = 3
    server = serve(threads=places + SPARE_THREADS)
    application = Application(connect(server))
    calls = [application.OnInvoke.future(InvokeRequest()) for _ in range(places)]
    for _ in calls:
        assert blocked.entered.acquire(timeout=60)
    application.HealthCheck(Empty(), timeout=60)
    assert standard_health(application.channel) == SERVING
    with pytest.raises(grpc.RpcError) as refused:
        application.OnInvoke(InvokeRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "the application is busy with 3 events; try again later"
    blocked.release.set()
    for call in calls:
        call.result(timeout=60)
    application.OnInvoke(InvokeRequest(), timeout=60)


# Health


def test_grpc_health_knows_the_services_of_a_sidecar(application: Application):
    for service in ("", "dapr.proto.runtime.v1.AppCallback", "dapr.proto.runtime.v1.AppCallbackAlpha"):
        assert standard_health(application.channel, service) == SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        standard_health(application.channel, "nobody")
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pair(authority: trustme.CA, tmp_path):
    """(certificate, key) for this machine, as files."""
    leaf = authority.issue_cert("127.0.0.1")
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(str(paths[0]))
    leaf.private_key_pem.write_to_path(str(paths[1]))
    return paths


def test_serves_tls(serve, authority: trustme.CA, pair):
    server = serve(tls=pair, core="auto")
    assert server.core == Choice(native=False, why="the native core has no TLS")
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with grpc.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
        assert Application(channel).OnInvoke(InvokeRequest(data=Any(value=b"x")), timeout=60).data.value == b"x"


def test_refuses_a_key_of_another_certificate(serve, authority: trustme.CA, pair):
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(str(pair[1]))
    with pytest.raises(ServeError) as refused:
        serve(tls=pair, core="auto")
    assert str(refused.value).startswith(f"the TLS certificate {pair[0]} and key {pair[1]} cannot be used: ")
    assert str(refused.value).endswith(
        "; both must be PEM files, the key without a passphrase and made for this certificate"
    )


@pytest.mark.parametrize("broken", ["missing", "no PEM"])
def test_refuses_a_certificate_that_cannot_be_read(serve, pair, broken):
    if broken == "missing":
        pair[0].unlink()
    else:
        pair[0].write_text("hello")
    with pytest.raises(ServeError, match="cannot be used: "):
        serve(tls=pair)


# Drain


def test_draining_is_announced_while_everything_is_still_served(serve, connect, handler: Script):
    server = serve()
    application = Application(connect(server))
    drain = in_background(lambda: server.drain(Drain(notice=30.0)))
    until(lambda: health_code(application) is grpc.StatusCode.UNAVAILABLE)
    assert standard_health(application.channel) == NOT_SERVING
    assert application.OnInvoke(InvokeRequest(data=Any(value=b"x")), timeout=60).data.value == b"x"
    server.stop()
    assert drain.is_alive()  # it waits for the rest of its notice, as a daemon


def test_a_drain_finishes_what_is_in_flight_and_refuses_what_comes(serve, connect, handler: Script):
    handler.answer = blocked = Blocked()
    server = serve()
    application = Application(connect(server))
    call = application.OnInvoke.future(InvokeRequest(data=Any(value=b"kept")))
    assert blocked.entered.acquire(timeout=60)
    finished: list[bool] = []
    drain = in_background(lambda: finished.append(server.drain(Drain(limit=5.0))))

    def refused() -> bool:
        with pytest.raises(grpc.RpcError) as error:
            application.OnInvoke(InvokeRequest(), timeout=0.2)
        # Until the drain has begun, the event is let in, and waits.
        assert error.value.code() in (*OVER_TIME, grpc.StatusCode.UNAVAILABLE)
        return error.value.code() is grpc.StatusCode.UNAVAILABLE

    handler.answer = lambda event, deadline: blocked(event, deadline)
    until(refused)
    blocked.release.set()
    assert call.result(timeout=60).data.value == b"kept"
    drain.join(10)
    assert finished == [True]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_drain_cancels_what_is_still_in_flight_at_its_limit(serve, connect, handler: Script):
    handler.answer = blocked = Blocked()
    server = serve()
    application = Application(connect(server))
    call = application.OnInvoke.future(InvokeRequest())
    assert blocked.entered.acquire(timeout=60)
    assert Drained([server], Drain(limit=0.05)).drain() is False
    assert blocked.cancelled.wait(10)
    call.exception(timeout=60)  # waits
    assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_no_call_is_lost_while_callers_hammer_a_server_that_drains(serve, connect, handler: Script):
    server = serve(threads=40)
    application = Application(connect(server))
    codes: set[grpc.StatusCode] = set()

    def hammer() -> None:
        while True:
            call = application.OnInvoke.future(InvokeRequest(), timeout=60)
            if call.exception() is not None:
                codes.add(call.code())
                return

    hammers = [in_background(hammer) for _ in range(8)]
    until(lambda: len(handler.events) > 100)
    assert server.drain(Drain(limit=5.0)) is True
    for thread in hammers:
        thread.join(10)
        assert not thread.is_alive()
    assert codes == {grpc.StatusCode.UNAVAILABLE}


# The whole process

PROGRAM = textwrap.dedent(
    """
    import sys, time
    from guesthouse.dapr.application import Application
    from guesthouse.dapr.listing import Listing
    from guesthouse.dapr.server import Server, ServerConfig
    from guesthouse.dapr.transport import Drain
    from guesthouse.event import Reply
    from guesthouse.system.signals import run_until_signal

    class Slow:
        def dispatch(self, event, deadline=None):
            print("entered", flush=True)
            time.sleep(float(event.body))
            return Reply(b"done")

    server = Server(ServerConfig(port=0, threads=12, core=sys.argv[1]), Slow(), Listing())
    application = Application([server], Drain(notice=0.1, limit=20))
    application.start()
    print(server.port, flush=True)
    code = run_until_signal(application.drain)
    print("drained", flush=True)
    sys.exit(code)
    """
)


class Listening(subprocess.Popen[str]):
    port = 0


@pytest.fixture
def process(core: Core):
    """A server in a process of its own, started with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, core]
    with Listening(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.port = int(running.stdout.readline())
        yield running
        running.kill()


def wait_entered(process) -> None:
    assert process.stdout.readline() == "entered\n"


@pytest.mark.parametrize("number", [15, 2], ids=["SIGTERM", "SIGINT"])
def test_a_signal_drains_and_the_process_ends_with_0(process, connect, number):
    application = Application(connect(process))
    call = application.OnInvoke.future(InvokeRequest(data=Any(value=b"0.5")))
    wait_entered(process)
    process.send_signal(number)
    assert call.result(timeout=60).data.value == b"done"
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "drained\n", "")


def test_a_second_signal_ends_the_process_on_the_spot(process, connect):
    application = Application(connect(process))
    call = application.OnInvoke.future(InvokeRequest(data=Any(value=b"60")))
    wait_entered(process)
    process.send_signal(15)
    until(lambda: health_code(application) is grpc.StatusCode.UNAVAILABLE)
    process.send_signal(15)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + 15, "", "")
    call.exception(timeout=60)  # waits
    assert call.code() is grpc.StatusCode.UNAVAILABLE


def test_a_connection_that_says_nothing_is_not_logged(process):
    for _ in range(3):
        socket.create_connection(("127.0.0.1", process.port), timeout=5).close()
    process.send_signal(15)
    _, err = process.communicate(timeout=60)
    assert err == ""


def health_code(application: Application) -> grpc.StatusCode:
    try:
        application.HealthCheck(Empty(), timeout=60)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_headers_are_taken_up_to_the_limit_and_refused_above_it_every_time(serve, connect):
    application = Application(connect(serve(metadata=32768)))

    def invoke(size: int) -> grpc.StatusCode:
        try:
            application.OnInvoke(InvokeRequest(method="m"), metadata=(("x-long", "x" * size),), timeout=30)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    assert [invoke(30000) for _ in range(10)] == [grpc.StatusCode.OK] * 10
    assert [invoke(33000) for _ in range(10)] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 10


def test_by_default_headers_of_12000_bytes_are_taken_every_time(serve, connect, handler: Script):
    application = Application(connect(serve()))
    for _ in range(50):
        application.OnInvoke(InvokeRequest(method="m"), metadata=(("x-long", "x" * 12_000),), timeout=30)
    assert len(handler.events) == 50


# What is said of it


def remedies(lines: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in lines if line["event"] == "no sidecar has called yet"]


def test_a_sidecar_that_speaks_http_1_is_turned_away_and_its_silence_is_told_with_a_remedy(core: Core):
    with capture_logs() as lines:
        server = Server(ServerConfig(port=0, threads=10, patience=0.05, core=core), Script(), Listing())
        server.start()
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
            caller.sendall(b"GET /dapr/config HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while caller.recv(4096):  # what gRPC says to it, and the end of the connection
                    pass
        until(lambda: remedies(lines))
        server.stop()
    (line,) = remedies(lines)
    assert line["log_level"] == "info"
    assert f"--app-port {server.port} --app-protocol grpc" in str(line["remedy"])


@pytest.mark.parametrize("rpc", ["HealthCheck", "ListTopicSubscriptions", "ListInputBindings"])
def test_nothing_is_told_once_a_sidecar_has_called(serve, connect, rpc: str):
    server = serve()
    with capture_logs() as lines:
        server._unheard()
        assert remedies(lines)
        lines.clear()
        getattr(Application(connect(server)), rpc)(Empty(), timeout=60)
        server._unheard()
        assert not remedies(lines)


def services(channel: grpc.Channel) -> list[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]), timeout=60)
    return [one.name for one in answer.list_services_response.service]


def test_reflection_names_the_services_and_describes_them_where_it_is_asked_for(serve, connect):
    channel = connect(serve(reflection=True, tokens=("t",)))
    assert set(services(channel)) == {
        "dapr.proto.runtime.v1.AppCallback",
        "dapr.proto.runtime.v1.AppCallbackAlpha",
        "dapr.proto.runtime.v1.AppCallbackHealthCheck",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    method = pool.FindServiceByName("dapr.proto.runtime.v1.AppCallback").FindMethodByName("OnInvoke")
    assert method.input_type.full_name == "dapr.proto.common.v1.InvokeRequest"


def test_without_the_key_there_is_no_reflection(serve, connect):
    with pytest.raises(grpc.RpcError) as refused:
        services(connect(serve()))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

"""The component's server: its socket, discovery, its start and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
import wasmtime

from guesthouse.dapr.application import Application
from guesthouse.dapr.component.input_binding import Replies
from guesthouse.dapr.component.reader import Bounds
from guesthouse.dapr.component.server import Component, ComponentConfig
from guesthouse.dapr.component.unix_socket import DEFAULT_FOLDER, FOLDER_VARIABLES, Socket, socket_folder
from guesthouse.dapr.listing import Listing
from guesthouse.dapr.server import Server, ServerConfig
from guesthouse.dapr.transport import Drain, ServeError
from tests.dapr.component_ends import Sidecar
from tests.dapr.dapr_ends import Blocked, Script, in_background
from tests.support.ports import listens
from tests.support.waiting import until

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
OUTPUT, INPUT = "dapr.proto.components.v1.OutputBinding", "dapr.proto.components.v1.InputBinding"


# Discovery


@pytest.mark.parametrize(
    ("guests", "replies", "services"),
    [
        (("echo",), (), {OUTPUT}),
        ((), ("echo",), {INPUT}),
        (("echo",), ("echo",), {OUTPUT, INPUT}),
    ],
)
def test_only_what_the_component_has_is_found(component, dial, guests, replies, services):
    assert dial(component(guests=guests, replies=replies), None).services() == {REFLECTION, *services}


# The folder


@pytest.mark.parametrize("name", FOLDER_VARIABLES)
def test_the_folder_is_that_of_the_environment(name):
    assert socket_folder({name: "/run/dapr"}) == Path("/run/dapr")


def test_the_sidecars_own_variable_comes_first():
    given = dict(zip(FOLDER_VARIABLES, "abc", strict=True))
    assert socket_folder(given) == Path("a")
    assert socket_folder({**given, FOLDER_VARIABLES[0]: ""}) == Path("b")
    assert socket_folder({}) == DEFAULT_FOLDER


# The socket


def accept(path: Path) -> socket.socket:
    """A socket of somebody else."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize("permissions", [0o600, 0o660, 0o666])
def test_the_socket_has_its_permissions_whatever_the_umask_is(component, dial, permissions):
    before = os.umask(0o077)
    try:
        served = component(permissions=permissions)
    finally:
        os.umask(before)
    assert served.socket.path.stat().st_mode & 0o777 == permissions
    assert dial(served).operations()
    assert [entry.name for entry in served.socket.path.parent.iterdir()] == ["guests.sock"]


def test_the_socket_appears_only_when_it_is_served(sockets: Path):
    seen: list[list[str]] = []

    def serve(path: Path) -> None:
        with accept(path):
            # A sidecar that looks now finds no socket, only a folder, which it passes over.
            seen.append([entry.name for entry in sockets.iterdir() if not entry.is_dir()])
            assert path.parent.stat().st_mode & 0o777 == 0o700

    place = Socket(sockets, "guests", 0o660)
    place.place(serve)
    assert seen == [[]]
    assert place.path.is_socket()
    place.remove()
    assert list(sockets.iterdir()) == []


def test_a_stale_socket_is_replaced(component, dial, sockets: Path):
    sockets.mkdir()
    accept(sockets / "guests.sock").close()
    assert dial(component()).operations()


def test_a_component_that_another_process_serves_is_left_alone(component, dial):
    first = component()
    with pytest.raises(ServeError) as refused:
        component()
    assert str(refused.value) == (
        f"another process serves {first.socket.path} (it answers); stop it, or choose another --component"
    )
    assert dial(first).operations()


def test_a_file_is_no_socket(component, sockets: Path):
    sockets.mkdir()
    (sockets / "guests.sock").write_text("mine")
    with pytest.raises(ServeError, match=r"guests\.sock is there and is no socket; remove it, or choose another"):
        component()
    assert (sockets / "guests.sock").read_text() == "mine"


def test_a_path_that_is_too_long_is_refused(component, sockets: Path):
    with pytest.raises(ServeError, match=r"is too long for a socket \(107 bytes\); give a shorter folder"):
        component(folder=sockets / ("x" * 100))


def test_a_folder_that_cannot_be_made_is_refused(component, sockets: Path):
    sockets.write_text("")
    with pytest.raises(ServeError) as refused:
        component()
    assert str(refused.value) == (
        f"no socket can be made in {sockets} (File exists); give a folder that this process may write to, "
        "in $DAPR_COMPONENTS_SOCKETS_FOLDER or as folder of the manifest's [component]"
    )


def test_the_socket_goes_with_the_component(component):
    served = component()
    served.stop()
    assert not served.socket.path.exists()


def test_a_socket_that_another_process_put_there_since_stays(component):
    served = component()
    served.socket.path.unlink()
    with accept(served.socket.path):
        served.stop()
        assert served.socket.path.is_socket()


# Threads


def test_ping_and_refusals_find_a_thread_while_every_place_is_taken(component, dial, handler: Script):
    handler.answer = blocked = Blocked()
    sidecar = dial(component(threads=2 + 8, replies=("echo",)))
    sidecar.init_input()
    reading = sidecar.read()
    threads = [in_background(lambda: sidecar.invoke("echo", b"x")) for _ in range(2)]
    for _ in threads:
        assert blocked.entered.acquire(timeout=10)
    with pytest.raises(grpc.RpcError) as refused:
        sidecar.invoke("echo")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sidecar.operations()
    blocked.release.set()
    assert [reading.next().data, reading.next().data] == [b"x", b"x"]
    for thread in threads:
        thread.join(10)


# Drain


def test_a_drain_finishes_what_is_in_flight_and_refuses_what_comes(component, dial, handler: Script):
    handler.answer = blocked = Blocked()
    served: Component = component()
    sidecar = dial(served)
    answers: list[bytes] = []
    call = in_background(lambda: answers.append(sidecar.invoke("echo", b"kept").data))
    assert blocked.entered.acquire(timeout=10)
    finished: list[bool] = []
    drain = in_background(lambda: finished.append(served.drain(Drain(limit=5.0))))
    until(lambda: not served.socket.path.exists())
    until(lambda: served._admission._closed)
    with pytest.raises(grpc.RpcError) as refused:
        sidecar.invoke("echo")
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    blocked.release.set()
    drain.join(10)
    call.join(10)
    assert (finished, answers) == ([True], [b"kept"])
    assert served.stop() == 0


def test_everything_is_served_while_a_drain_is_announced(component, dial):
    served: Component = component()
    sidecar = dial(served)
    in_background(lambda: served.drain(Drain(notice=30.0)))
    assert sidecar.invoke("echo", b"x").data == b"x"
    assert served.socket.path.exists()


def test_the_end_waits_for_acknowledgements_and_ends_streams_without_an_error(component, dial):
    served: Component = component(replies=("echo",))
    sidecar = dial(served)
    sidecar.init_input()
    reading = sidecar.read()
    for body in (b"1", b"2"):
        sidecar.invoke("echo", body)
    left: list[int] = []
    closing = in_background(lambda: left.append(served.stop(20.0)))
    for _ in range(2):
        reading.acknowledge(reading.next())
    with pytest.raises(StopIteration):
        reading.next()
    assert reading.call.code() is grpc.StatusCode.OK
    closing.join(10)
    assert left == [0]


def test_the_end_says_what_was_not_acknowledged(component, dial):
    served: Component = component(replies=("echo",), bounds=Bounds(unacknowledged=1))
    sidecar = dial(served)
    sidecar.init_input()
    reading = sidecar.read()
    for body in (b"1", b"2"):
        sidecar.invoke("echo", body)
    reading.next()
    assert served.stop(0.05) == 2


def test_an_application_and_its_component_drain_together(dial, handler: Script, sockets: Path):
    handler.answer = blocked = Blocked()
    served = Component(ComponentConfig("guests", sockets, guests=("echo",)), handler, Replies("guests", (), Bounds()))
    server = Server(ServerConfig(port=0), handler, Listing())
    application = Application([served, server])
    application.start()
    sidecar = dial(served)
    answers: list[bytes] = []
    call = in_background(lambda: answers.append(sidecar.invoke("echo", b"kept").data))
    assert blocked.entered.acquire(timeout=10)
    finished: list[bool] = []
    drain = in_background(lambda: finished.append(application.drain()))
    until(lambda: not served.socket.path.exists())
    until(lambda: not listens(server.port))  # the application has nothing to wait for
    with pytest.raises(grpc.RpcError, match="the application is shutting down"):
        sidecar.invoke("echo")
    assert not finished
    blocked.release.set()
    for thread in (call, drain):
        thread.join(10)
    assert (finished, answers) == ([True], [b"kept"])


def test_an_application_whose_port_is_taken_shows_no_socket(serve, handler: Script, sockets: Path):
    server = Server(ServerConfig(port=serve().port), handler, Listing())
    served = Component(ComponentConfig("guests", sockets, guests=("echo",)), handler, Replies("guests", (), Bounds()))
    with pytest.raises(ServeError, match="is in use"):
        Application([served, server]).start()
    assert list(sockets.iterdir()) == []


# The whole process

MANIFEST = """
[app]
name = "vision"
[guests.echo]
module = "echo.wasm"
calling = "command"
[component]
name = "overridden"
replies = ["echo"]
"""
ECHO = """(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 64) "answered")
  (func (export "_start") (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"""


@pytest.fixture
def process(tmp_path: Path, sockets: Path):
    (tmp_path / "guesthouse.toml").write_text(MANIFEST)
    (tmp_path / "echo.wasm").write_bytes(wasmtime.wat2wasm(ECHO))
    command = [sys.executable, "-m", "guesthouse", "serve", "--port", "0", "--component", "guests"]
    environment = {**os.environ, FOLDER_VARIABLES[0]: str(sockets), "GUESTHOUSE_LOG_FORMAT": "json"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, bufsize=1
    ) as running:
        yield running
        running.kill()


def test_one_process_is_application_and_component(process, sockets: Path):
    line = json.loads(process.stderr.readline())
    assert (line["event"], line["component"]) == ("serving", str(sockets / "guests.sock"))
    sidecar = Sidecar(sockets / "guests.sock", "guests")
    sidecar.init_input()
    reading = sidecar.read()
    until(lambda: sidecar.services() == {REFLECTION, OUTPUT, INPUT})
    assert sidecar.operations() == ["create", "echo"]
    assert sidecar.invoke("create").data == b"answered"
    reading.acknowledge(message := reading.next())
    assert message.data == b"answered"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert not (sockets / "guests.sock").exists()
    sidecar.channel.close()


def test_a_component_of_a_bad_name_is_a_usage_error():
    done = subprocess.run(
        [sys.executable, "-m", "guesthouse", "serve", "--component", "My.Guests"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "use small letters, digits and -, as in guests for bindings.guests" in " ".join(done.stderr.split())

"""The host's own methods, over a real gRPC channel: who is answered, and with what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import wasmtime
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from dapr.proto.runtime.v1.appcallback_pb2_grpc import AppCallbackStub
from google.protobuf.any_pb2 import Any

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import load
from guesthouse.manifest.read import ManifestError
from served import serving

ECHO = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1000000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
MANIFEST = """
[app]
name = "vision"
{page}
[guests.echo]
module = "echo.wasm"
calling = "command"
reply_type = "text/plain"
[[invoke]]
method = "echo"
guest = "echo"
[[binding]]
name = "camera"
guest = "echo"
"""
PAGE = '[page]\napps = ["web", "desk"]'


def write(folder: Path, page: str) -> Path:
    (folder / "echo.wasm").write_bytes(wasmtime.wat2wasm(ECHO))
    path = folder / "guesthouse.toml"
    path.write_text(MANIFEST.format(page=page))
    return path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(write(tmp_path_factory.mktemp("page"), PAGE)) as (client, _):
        yield client


def ask(client: Client, method: str, query: str = "", caller: str = "web") -> bytes:
    metadata = {"dapr-caller-app-id": caller} if caller else {}
    return client.send(Event(Trigger.INVOKE, method, verb="GET", query=query, metadata=metadata)).body


def test_the_status_lists_guests_methods_and_slots(client: Client):
    status = json.loads(ask(client, "_guesthouse/status"))
    assert status["app"] == "vision"
    assert status["methods"] == [{"method": "echo", "guest": "echo", "verbs": []}]
    assert status["bindings"] == [{"name": "camera", "guest": "echo", "to": []}]
    (guest,) = status["guests"]
    assert guest["name"] == "echo"
    assert guest["slots"]["busy"] == 0
    assert {"calls", "window", "series"} <= set(guest)


def test_the_status_names_no_file_of_the_host(client: Client, tmp_path_factory: pytest.TempPathFactory):
    assert str(tmp_path_factory.getbasetemp()) not in ask(client, "_guesthouse/status").decode()


def test_events_of_bindings_are_told_with_a_cursor(client: Client):
    before = json.loads(ask(client, "_guesthouse/events"))["cursor"]
    client.send(Event(Trigger.BINDING, "camera", b"click"))
    news = json.loads(ask(client, "_guesthouse/events", f"after={before}"))
    assert [(event["name"], event["reply"]) for event in news["events"]] == [("camera", "click")]


def test_pictures_are_answered_as_jpeg(client: Client, photos: Path):
    before = json.loads(ask(client, "_guesthouse/events"))["cursor"]
    client.send(Event(Trigger.BINDING, "camera", (photos / "rocket.jpg").read_bytes()))
    (event,) = json.loads(ask(client, "_guesthouse/events", f"after={before}"))["events"]
    assert ask(client, f"_guesthouse/pictures/{event['picture']}").startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("caller", ["", "other", "WEB", "web, other", "other, web", "web, web"])
@pytest.mark.parametrize("method", ["_guesthouse/status", "_guesthouse/events"])
def test_to_others_the_methods_do_not_exist(client: Client, method: str, caller: str):
    with pytest.raises(Failure) as refused:
        ask(client, method, caller=caller)
    with pytest.raises(Failure) as unknown:
        ask(client, "nothing", caller=caller)
    assert refused.value.reason is unknown.value.reason is Reason.NOT_FOUND
    assert refused.value.text == unknown.value.text.replace("nothing", method)


def test_without_a_page_in_the_manifest_nobody_is_answered(tmp_path: Path):
    with serving(write(tmp_path, "")) as (client, _), pytest.raises(Failure, match="no guest answers the method"):
        ask(client, "_guesthouse/status")


@pytest.mark.parametrize("method", ["_guesthouse/none", "_guesthouse/pictures/x", "_guesthouse/pictures"])
def test_an_unknown_method_of_the_host_is_not_found(client: Client, method: str):
    with pytest.raises(Failure, match="the host does not answer the method"):
        ask(client, method)


def headers_of(client: Client, caller: str) -> dict[str, str]:
    with grpc.insecure_channel(client.address) as channel:
        request = InvokeRequest(method="echo", data=Any(value=b"hello"))
        metadata = (("dapr-caller-app-id", caller),)
        reply, call = AppCallbackStub(channel).OnInvoke.with_call(request, metadata=metadata, timeout=20)
        assert reply.data.value == b"hello"
        return dict(call.initial_metadata())


def test_a_page_learns_who_answered_and_what_it_cost(client: Client):
    headers = headers_of(client, "desk")
    assert headers["guesthouse-guest"] == "echo"
    assert headers["server-timing"].startswith("queued;dur=0.0, guest;dur=")
    assert ", total;dur=" in headers["server-timing"]


def test_other_callers_get_no_headers(client: Client):
    assert not {"guesthouse-guest", "server-timing"} & set(headers_of(client, "other"))


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('[page]\napps = "web"', '"web" is text, not a list'),
        ("[page]\napps = []", "page.apps — name the applications that may ask, or leave the table out"),
        ('[page]\napps = [""]', "is empty"),
        ('[[invoke]]\nmethod = "/_guesthouse/x"\nguest = "echo"', "is a name that the host keeps for itself"),
    ],
)
def test_a_wrong_page_in_the_manifest_is_a_fault(tmp_path: Path, page: str, fault: str):
    with pytest.raises(ManifestError) as refused:
        load(write(tmp_path, page), {})
    assert fault in str(refused.value)

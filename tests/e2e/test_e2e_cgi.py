"""Programs whose replies begin with headers, wherever they run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import wasmtime
from dapr.proto.common.v1.common_pb2 import InvokeRequest
from google.protobuf.any_pb2 import Any

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from tests.support.places import PLACES
from tests.support.serving import serving

# Writes its standard input to its standard output.
CAT = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 65536))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"""
MANIFEST = """
[app]
name = "t"
[guests.cat]
module = "cat.wasm"
calling = "command"
reply = "cgi"
reply_type = "text/plain"
[[invoke]]
method = "cat"
guest = "cat"
"""


@pytest.fixture(scope="module", params=PLACES)
def client(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("cgi")
    (folder / "cat.wasm").write_bytes(wasmtime.wat2wasm(CAT))
    (folder / "guesthouse.toml").write_text(MANIFEST)
    with serving(folder / "guesthouse.toml", request.param) as (client, _):
        yield client


def send(client: Client, output: bytes) -> tuple[bytes, str]:
    reply = client.send(Event(Trigger.INVOKE, "cat", output), timeout=60)
    return reply.body, reply.content_type


def test_the_reply_has_the_type_that_the_program_gives_it_or_that_of_the_manifest(client: Client):
    assert send(client, b"Content-Type: text/html\n\n<p>hi") == (b"<p>hi", "text/html")
    assert send(client, b"X-Kind: cup\n\nhi") == (b"hi", "text/plain")


def test_its_headers_go_to_the_caller(client: Client):
    request = InvokeRequest(method="cat", data=Any(value=b"X-Kind: cup\nETag: 1\n\nhi"))
    response, call = client._application.OnInvoke.with_call(request, timeout=60)
    assert response.data.value == b"hi"
    assert [(key, value) for key, value in call.initial_metadata() if key in ("x-kind", "etag")] == [
        ("x-kind", "cup"),
        ("etag", "1"),
    ]


@pytest.mark.parametrize(
    ("output", "reason", "text"),
    [
        (b"Status: 404 Not Found\n\nno such cup\n", Reason.NOT_FOUND, "no such cup"),
        (b"Status: 503\n\n", Reason.TRY_AGAIN, "status 503"),
        (b"Status: 400\n\nno film", Reason.MALFORMED, "no film"),
        (b"Status: 500\n\nno film", Reason.GUEST, "no film"),
        (b"hello", Reason.BAD_REPLY, "the reply has no blank line, which ends the headers"),
    ],
)
def test_how_it_went_is_what_its_status_says(client: Client, output, reason, text):
    with pytest.raises(Failure) as failed:
        send(client, output)
    assert failed.value.reason is reason
    assert text in failed.value.text

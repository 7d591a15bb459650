"""An application whose guest calls the sidecar: `Calls` sends it requests and reads responses, as messages.

The guest is `tests.support.relay`: it calls the method that its event names, and replies with the response. Components
of the building blocks that guests call here are written by `write_components`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dapr.proto.runtime.v1 import dapr_pb2
from google.protobuf import proto
from google.protobuf.message_factory import GetMessageClass

from guesthouse.dapr.api_methods import METHODS
from guesthouse_abi.calls import Code
from tests.dapr_real.real_programs import Answer, Pair, Redis
from tests.support.relay import RELAY

_RPCS = dapr_pb2.DESCRIPTOR.services_by_name["Dapr"].methods_by_name

#: Its status is the number that its body is.
_ANSWERS = r"""(module
  (import "dapr_v1" "event_read" (func $event_read (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $reply_write (param i32 i32) (result i32)))
  (import "dapr_v1" "reply_status" (func $reply_status (param i32) (result i32)))
  (import "dapr_v1" "reply_header" (func $reply_header (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "retry_after" (func $retry_after (param i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 16) "teapot") (data (i32.const 32) "x-teapotshort")
  (func (export "dapr_on_invoke") (result i32)
    (drop (call $event_read (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 4)))
    (drop (call $reply_write (i32.const 16) (i32.const 6)))
    (drop (call $reply_status (i32.load (i32.const 0))))
    (drop (call $reply_header (i32.const 32) (i32.const 8) (i32.const 40) (i32.const 5)))
    (drop (call $retry_after (i32.const 1500)))
    (i32.const 0)))"""

_AFTER = "(if (i32.gt_u (local.get $count) (i32.const 1)) (then"  # where `relay` has its calls' ends

#: Modules by name. `works` answers jobs and nothing else: as `relay`, it calls the method that the job is named after.
#: `calls-and-traps` makes its call as `relay` does, waits for its end, and traps.
MODULES = {
    "relay": RELAY,
    "works": RELAY.replace("dapr_on_event", "dapr_on_job"),
    "answers": _ANSWERS,
    "calls-and-traps": RELAY.replace(_AFTER, "unreachable " + _AFTER),
}

GRANTS = """
read_state = ["state/*", "missing/*"]
write_state = ["state/*"]
publish = ["pubsub/results"]
invoke = ["stock/*", "acts-thread/*", "acts-process/*"]
bindings = ["files/create", "missing/create"]
secrets = ["vault/stripe", "vault/absent"]
configuration = ["appconfig/flag"]
locks = ["locks/*"]
encrypt = ["keys/photos"]
decrypt = ["keys/photos"]
conversation = ["echoes"]
read_jobs = ["*"]
write_jobs = ["SaveState"]
actors = ["Cart/*"]
workflows = ["checkout"]
"""


def manifest(isolation: str, *methods: str, limits: str = 'time = "30s"', more: str = "") -> str:
    """Of an application whose guest relays these methods; without any, all of them, once and twice (`METHOD*2`)."""
    routed = methods or [name + end for name in METHODS for end in ("", "*2")]
    return f"""
[guests.relay]
module = "MODULES/relay.wasm"
calling = "dapr"
isolation = "{isolation}"
limits = {{ {limits} }}
[guests.relay.dapr]
depth = 3
{GRANTS}
[guests.works]
module = "MODULES/works.wasm"
calling = "dapr"
isolation = "{isolation}"
[guests.works.dapr]
write_state = ["state/*"]
[[job]]
name = "SaveState"
guest = "works"
{more}
""" + "".join(f'[[invoke]]\nmethod = "{name}"\nguest = "relay"\n' for name in routed)


_COMPONENT = """apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{ name: {name} }}
spec:
  type: {kind}
  version: v1
  metadata: [{metadata}]
"""


def write_components(folder: Path, redis: Redis) -> tuple[str, ...]:
    """Write the components into a folder. Returns the sidecar's flags for them."""
    resources, keys, files = folder / "resources", folder / "keys", folder / "files"
    for new in (resources, keys, files):
        new.mkdir(parents=True)
    (folder / "secrets.json").write_text('{"stripe": "sk-one"}')
    (keys / "photos").write_bytes(os.urandom(32))  # a symmetric key
    host = f'{{ name: redisHost, value: "127.0.0.1:{redis.port}" }}'
    for name, kind, metadata in (
        ("state", "state.redis", host + ', { name: actorStateStore, value: "true" }'),
        ("pubsub", "pubsub.redis", host),
        ("appconfig", "configuration.redis", host),
        ("locks", "lock.redis", host),
        ("vault", "secretstores.local.file", f'{{ name: secretsFile, value: "{folder}/secrets.json" }}'),
        ("keys", "crypto.dapr.localstorage", f'{{ name: path, value: "{keys}" }}'),
        ("echoes", "conversation.echo", ""),
        (
            "files",
            "bindings.localstorage",
            f'{{ name: rootPath, value: "{files}" }}, {{ name: direction, value: output }}',
        ),
    ):
        text = _COMPONENT.format(name=name, kind=kind, metadata=metadata)
        (resources / f"{name}.yaml").write_text(text)
    return ("--resources-path", str(resources))


class Calls:
    """What a guest of an application makes of requests."""

    def __init__(self, pair: Pair, folder: Path) -> None:
        self.pair = pair
        self.folder = folder  # of its components

    def send(self, method: str, *requests: dict[str, Any], times: str = "", headers: Mapping[str, str] = {}) -> Answer:
        """An invocation of the guest with requests of a method: one, or the messages of a stream."""
        sidecar = self.pair.sidecar
        return sidecar.invoke(sidecar.app_id, method + times, encoded(method, *requests), headers=headers)

    def does(self, method: str, /, **fields: Any) -> Any:
        """The response to a request, as a message."""
        (response,) = self.streams(method, fields)
        return response

    def streams(self, method: str, *requests: dict[str, Any]) -> list[Any]:
        """The messages of a response, as many as there are."""
        answer = self.send(method, *requests)
        assert answer.status == 200, answer
        assert answer.headers["code"] == "A"
        response = GetMessageClass(_RPCS[method].output_type)
        if not METHODS[method].streams:
            return [response.FromString(answer.body)]
        source, found = io.BytesIO(answer.body), []
        while source.tell() < len(answer.body):
            found.append(proto.parse_length_prefixed(response, source))
        return found

    def fails(self, method: str, /, **fields: Any) -> tuple[str, str]:
        """The code and the text with which a call ends, as the guest sees them."""
        answer = self.send(method, fields)
        assert answer.status == 500, answer
        twice = self.send(method, fields, times="*2")
        assert twice.status == 200, twice
        first, second = (Code(code - ord("A")).name for code in twice.body)
        assert first == second
        return first, answer.json()["message"]


def encoded(method: str, *requests: dict[str, Any]) -> bytes:
    """Requests of a method as a guest writes them."""
    known = METHODS[method]
    messages = [known.request(**fields) for fields in requests]
    if not known.streams:
        (message,) = messages
        return message.SerializeToString()
    written = io.BytesIO()
    for message in messages:
        proto.serialize_length_prefixed(message, written)
    return written.getvalue()

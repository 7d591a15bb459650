"""Guests that call the sidecar: what the calls cost inside the host, and against a handler in Python behind a real one.

`python -m bench.dapr PORT SIDECAR` is that handler: it answers any method with a state that it reads through the client
of Dapr's SDK, from the sidecar whose gRPC port is SIDECAR.
"""

from __future__ import annotations

import functools
import math
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import wasmtime
from dapr.clients import DaprClient
from dapr.proto.runtime.v1.state_pb2 import GetStateResponse

from bench import servers
from bench.measure import Figure, Findings, Options, Spread, Target, take_turns
from bench.native import Servicer, serve
from bench.sidecars import _against, _app, _block, _folders
from guesthouse.assembly import open_plan
from guesthouse.dapr.api_methods import Requests, method_of
from guesthouse.event import Event, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended
from tests.dapr_real.calling_guests import write_components
from tests.dapr_real.real_programs import Program, Redis, Sidecar, running
from tests.support.ports import free_port

#: Begins all calls that the event's body lists, waits for all of them, reads each response, and replies with the last.
#: A call in the body: u8 length of the method, u16 length of the request, method, request.
CALLER = r"""(module
  (import "dapr_v1" "event_read" (func $event_read (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "reply_write" (func $reply_write (param i32 i32) (result i32)))
  (import "dapr_v1" "call_start" (func $call_start (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_wait" (func $call_wait (param i32 i32 i32 i32) (result i32)))
  (import "dapr_v1" "call_status" (func $call_status (param i32) (result i32)))
  (import "dapr_v1" "call_read" (func $call_read (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 4)
  ;; 64: handles; 8192: body; 131072: what is read back
  (func (export "dapr_on_event") (result i32)
    (local $at i32) (local $end i32) (local $count i32) (local $name i32) (local $request i32) (local $size i32)
    (local.set $at (i32.const 8192))
    (local.set $end (i32.add (local.get $at)
      (call $event_read (i32.const 1) (i32.const 0) (i32.const 8192) (i32.const 65536))))
    (block $begun (loop $more
      (br_if $begun (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $name (i32.load8_u (local.get $at)))
      (local.set $request (i32.load16_u (i32.add (local.get $at) (i32.const 1))))
      (i32.store (i32.add (i32.const 64) (i32.shl (local.get $count) (i32.const 2)))
        (call $call_start (i32.add (local.get $at) (i32.const 3)) (local.get $name)
          (i32.add (i32.add (local.get $at) (i32.const 3)) (local.get $name)) (local.get $request)
          (i32.const 0) (i32.const 0) (i32.const 0)))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (local.set $at (i32.add (i32.add (local.get $at) (i32.const 3)) (i32.add (local.get $name) (local.get $request))))
      (br $more)))
    (if (local.get $count) (then
      (drop (call $call_wait (i32.const 64) (local.get $count) (i32.const 1) (i32.const -1)))))
    (local.set $end (local.get $count))
    (local.set $count (i32.const 0))
    (block $read (loop $more
      (br_if $read (i32.ge_u (local.get $count) (local.get $end)))
      (local.set $at (i32.load (i32.add (i32.const 64) (i32.shl (local.get $count) (i32.const 2)))))
      (if (call $call_status (local.get $at)) (then (return (i32.const 1))))
      (local.set $size
        (call $call_read (local.get $at) (i32.const 0) (i32.const 0) (i32.const 131072) (i32.const 65536)))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br $more)))
    (drop (call $reply_write (i32.const 131072) (local.get $size)))
    (i32.const 0)))"""

_MANIFEST = """
[guests.caller]
module = "{module}"
calling = "dapr"
[guests.caller.dapr]
read_state = ["state/*"]
write_state = ["state/*"]
publish = ["pubsub/results"]
[[invoke]]
method = "calls"
guest = "caller"
"""
VALUE = bytes(range(64, 96)) * 8
#: The same in JavaScript, of one call.
SCRIPT = """import { state } from "dapr";
export const onInvoke = async () => (await state("state").get("a")).bytes;
"""
_SCRIPTED = """
[guests.script]
script = "{script}"
calling = "dapr"
[guests.script.dapr]
read_state = ["state/*"]
"""


def _calls(*made: tuple[str, Mapping[str, object]]) -> bytes:
    """The body of an event of `CALLER`'s."""
    written = b""
    for method, fields in made:
        request = method_of(method).request(**fields).SerializeToString()
        written += struct.pack("<BH", len(method), len(request)) + method.encode() + request
    return written


def _get(key: str = "a") -> tuple[str, Mapping[str, object]]:
    return "GetState", {"store_name": "state", "key": key}


def _manifest(folder: Path) -> str:
    (folder / "caller.wasm").write_bytes(wasmtime.wat2wasm(CALLER))
    return _MANIFEST.format(module=folder / "caller.wasm")


#: What a sidecar that costs nothing answers to all calls.
_STATE = GetStateResponse(data=VALUE).SerializeToString()


class _Fake(Requests):
    """A sidecar in this process, which answers at once. See `sidecar.SidecarApi`."""

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """Nothing is sent."""
        done(Ended(0, "", _STATE))
        return int


class Handler(Program):
    """The handler in Python, in a process of its own."""

    def __init__(self, folder: Path, sidecar: Sidecar) -> None:
        super().__init__("handler", folder)
        self._sidecar = sidecar

    def start(self) -> Handler:
        """Begin to listen."""
        ports = self._sidecar.ports
        command = [sys.executable, "-m", "bench.dapr", str(self._sidecar.app_port), str(ports.grpc)]
        self._run(command, {"DAPR_HTTP_PORT": str(ports.http)}, cwd=servers.ROOT)
        return self

    def ready(self) -> Handler:
        """The sidecar waits for its port."""
        return self


def calls(options: Options, folder: Path) -> Findings:
    """Calls of guests: the host's part of three, one in JavaScript, one against the SDK's client, ten against one."""
    findings = Findings()
    findings.add(_inside(options, folder))
    findings.add(_behind(options, folder))
    return findings


def _inside(options: Options, folder: Path) -> Findings:
    options.say("three calls of a guest, to a sidecar that costs nothing")
    (home,) = _folders(folder, "inside")
    (home / "answer.js").write_text(SCRIPT)
    scripted = _SCRIPTED.format(script=home / "answer.js")
    (home / "guesthouse.toml").write_text(servers.APP + _manifest(home) + scripted)
    saved = {"store_name": "state", "states": [{"key": "a", "value": VALUE}]}
    published = {"pubsub_name": "pubsub", "topic": "results", "data": VALUE}
    three = _calls(_get(), ("SaveState", saved), ("PublishEvent", published))
    with open_plan(load(home / "guesthouse.toml", grants=GRANTS), {"dapr": _Fake()}) as plan:

        def run(body: bytes, guest: str = "caller") -> bytes:
            return plan.guests[guest].run(Event(Trigger.INVOKE, "calls", body), Deadline(math.inf)).body

        def side(body: bytes, guest: str = "caller", times: int = 400) -> Callable[[], float]:
            """Microseconds of CPU time for an event: on a busy machine, what passes on the clock says little."""

            def events() -> float:
                began = time.process_time()
                for _ in range(times):
                    run(body, guest)
                return (time.process_time() - began) / times * 1e6

            return events

        one = _calls(_get())
        assert run(three) == run(one) == _STATE
        assert run(b"", "script") == VALUE
        sides = {"none": side(b""), "three": side(three), "one": side(one), "script": side(b"", "script", 100)}
        found = take_turns(sides, options.rounds(25))
    more = Spread.of([three - none for three, none in zip(found["three"], found["none"], strict=True)])
    middle = {name: Spread.of(values).median for name, values in found.items()}
    note = f"{middle['three']:.0f} µs : {middle['none']:.0f} µs"
    what = "three calls of a guest, over an event without any: the host's CPU time"
    calls = Figure("dapr", what, more, unit=" µs", target=Target(140), note=note)
    what = "an event of a guest in JavaScript that makes one call: CPU time"
    note = f"{middle['one']:.0f} µs for the same by a module without a runtime"
    return Findings([calls, Figure("dapr", what, Spread.of(found["script"]), unit=" µs", note=note)])


def _behind(options: Options, folder: Path) -> Findings:
    ours, theirs, shared = _folders(folder, "guesthouse", "handler", "redis")
    redis = Redis(shared)
    subject = Sidecar(ours, "guesthouse", app_port=free_port(), flags=write_components(ours / "components", redis))
    native = Sidecar(theirs, "handler", app_port=free_port(), flags=write_components(theirs / "components", redis))
    app, handler = _app(ours, _manifest(ours), subject), Handler(theirs, native)
    redis.start()
    try:
        with running(app, handler, subject, native):
            for app_id in ("guesthouse", "handler"):
                for key in "abcdefghij":
                    redis.command("HSET", f"{app_id}||{key}", "data", VALUE.decode(), "version", "1")

            def side(sidecar: Sidecar, body: bytes) -> Callable[[], float]:
                invoke = functools.partial(sidecar.invoke_grpc, sidecar.app_id, "calls", body)
                assert VALUE in invoke().data.value, sidecar.app_id
                return _block(invoke, 1, 100)

            options.say("a guest's GetState, a handler's by the SDK's client, and ten together")
            one, ten = _calls(_get()), _calls(*map(_get, "abcdefghij"))
            sides = {
                "guest": side(subject, one),
                "handler": side(native, b""),
                "ten": side(subject, ten),
            }
            found = take_turns(sides, options.rounds(15))
    finally:
        redis.stop()
    return Findings(
        [
            _against(
                "dapr",
                "GetState by a guest, against a handler in Python",
                found["guest"],
                found["handler"],
                Target(1.15),
            ),
            _against("dapr", "ten GetState together, against one", found["ten"], found["guest"], Target(2)),
        ]
    )


def main(port: str, sidecar: str) -> None:
    """Serve the handler."""
    client: DaprClient | None = None

    def answer(_: bytes) -> bytes:
        nonlocal client
        if client is None:  # the sidecar starts after its application
            client = DaprClient(f"127.0.0.1:{sidecar}")
        return bytes(client.get_state("state", "a").data)

    serve(Servicer(answer, "application/octet-stream"), int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Where the time of one small event goes: microseconds of CPU for each stage of its way, from the port to the guest.

The stages contain each other, as the event passes them. Each is run alone in one thread of this process, and what it
costs beyond the next one is its own. What reads and writes HTTP/2, and the threads that wait for calls, cannot be run
alone: they are what a server's process takes for each event, and a thread here does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import Any

import grpc
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse

from bench import bare, micro, servers
from bench.caller import Caller
from bench.measure import Figure, Findings, Options, Spread, take_turns
from bench.over_grpc import block, invoke
from guesthouse.assembly import listing, open_plan
from guesthouse.dapr.admission import Admission
from guesthouse.dapr.callback import Callback
from guesthouse.dapr.client import invoke_request
from guesthouse.dapr.events import Events
from guesthouse.dapr.native import Call
from guesthouse.dapr.tokens import Tokens
from guesthouse.dapr.unary import UnaryCalls
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Event, Reply
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.observe.events import EventLog
from guesthouse.observe.logs import InLog
from guesthouse.plan.current import Plans
from guesthouse_abi.deadline import Deadline

BODY = bytes(range(256)) * 4
_COUNT = 400  # events of a stage in one round


class _Front:
    """Takes answers and sends nothing."""

    def respond(self, *answer: object) -> None:
        """See `pygrpc_native.NativeGrpcFront.respond`."""

    def fail(self, number: int, code: int, text: str, trailers: object = None) -> None:
        """No call may fail here."""
        raise RuntimeError(text)


class _Server:
    """What a call needs of its server."""

    front = _Front()
    ending = False
    receives = sends = math.inf
    metadata = 16384

    def forget(self, number: int) -> None:
        """See `NativeServer.forget`."""


class _NoOutputs:
    def deliver(self, *_: object) -> None:
        """Nothing goes anywhere."""


def _cpu(run: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        began = thread_time()
        for _ in range(_COUNT):
            run()
        return (thread_time() - began) / _COUNT * 1e6

    return measure


def stages(options: Options, folder: Path) -> Findings:
    """An echo of 1 KiB, stage by stage."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "guesthouse.toml"
    path.write_text(servers.APP + servers.guest("echo", "echo"))
    manifest = load(path, grants=GRANTS)
    with open_plan(manifest) as plan, micro.engine_of(True) as engine:
        options.say("an echo of 1 KiB, stage by stage")
        artefact = micro.compiled((servers.ROOT / "guests" / "echo" / "echo.wasm").read_bytes())
        sides = _sides(plan, manifest, bare.cycle(engine.engine, artefact, BODY))
        found = take_turns({name: _cpu(run) for name, run in sides.items()}, options.rounds(25))
    served = _served(options, folder)
    middle = {name: Spread.of(values).median for name, values in found.items()}
    names = list(sides)
    rows = [["HTTP/2, threads, wake-ups", f"{served - middle[names[0]]:.1f}"]]
    for name, inner in zip(names, [*names[1:], None], strict=True):
        rows.append([name, f"{middle[name] - (middle[inner] if inner else 0.0):.1f}"])
    findings = Findings()
    findings.figures.append(
        Figure("stages", "an echo of 1 KiB: the server's CPU for each event, 16 callers", _one(served), "µs")
    )
    findings.figures.append(
        Figure("stages", "the same without HTTP/2, in one thread", Spread.of(found[names[0]]), "µs")
    )
    findings.tables.append(("Stages of an echo of 1 KiB, microseconds of CPU", ["stage", "own"], rows))
    return findings


def _one(value: float) -> Spread:
    return Spread(value, value, value)


def _served(options: Options, folder: Path) -> float:
    """Microseconds of CPU that a server takes for one event."""
    event = invoke("echo", BODY)
    with servers.guesthouse(folder / "served", servers.guest("echo", "echo")) as server, Caller(16) as caller:
        block(caller, server, event, 16, 2000)
        return Spread.of([block(caller, server, event, 16, 6000).cpu * 1000 for _ in range(options.rounds(7))]).median


def _sides(plan: Any, manifest: Any, engine_alone: Callable[[], bytes]) -> dict[str, Callable[[], object]]:
    """The stages, from the outermost to the innermost."""
    plans = Plans(plan)
    dispatcher = Dispatcher(plans, _NoOutputs(), [EventLog()])
    handler = InLog(dispatcher)
    calls = UnaryCalls(Events(handler, Tokens(), Admission(64)), 2**24)
    callback = Callback(calls, listing(manifest))

    def event() -> Event:
        return invoke("echo", BODY)

    method = grpc.unary_unary_rpc_method_handler(
        callback.OnInvoke,
        request_deserializer=InvokeRequest.FromString,
        response_serializer=InvokeResponse.SerializeToString,
    )
    request = invoke_request(event())
    message = request.SerializeToString()
    metadata = (("user-agent", "grpc-go/1.80.0"), ("te", "trailers"), ("content-type", "application/grpc"))
    details = (metadata, "ipv4:127.0.0.1:1", 60.0)
    server: Any = _Server()
    guest = plan.guests["echo"]

    def call() -> None:
        Call(server, 1, method, message, details)()

    def converted() -> Reply:
        context = Call(server, 1, method, message, details)
        return callback.OnInvoke(request, context)  # type: ignore[return-value]

    silent = Dispatcher(plans, _NoOutputs())
    return {
        "protobuf, the call's context and status": call,
        "token, place, conversion, deadline": converted,
        "log, observers": lambda: handler.dispatch(event(), Deadline(math.inf)),
        "plan, route, slot": lambda: silent.dispatch(event(), Deadline(math.inf)),
        "context, cost, calling convention": lambda: guest.runner.run(guest, event(), Deadline(math.inf)),
        "the engine's own calls: instance, guest, memory (without the interpreter lock)": engine_alone,
    }

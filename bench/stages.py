"""Where the time of one small event goes: microseconds of CPU for each stage of its way, from the port to the guest.

The stages contain each other, as the event passes them. Each is run alone in one thread of this process, and what it
costs beyond the next one is its own. What reads and writes HTTP/2, and the threads that wait for calls, cannot be run
alone. The first is the CPU time of the thread that does it, in a server's process. The second is what is left of that
process's time.

The interpreter lock is given up by three calls of the engine. Their time is measured inside these calls, and a call
that does nothing is measured as well and taken off. The stages around the sandbox call nothing that gives the lock up.
A thread that waits for a call, or is woken, does so partly with the lock and partly without it: nobody tells.
"""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import thread_time
from typing import Any

import grpc
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse

from bench import servers
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
from guesthouse.engine import capi
from guesthouse.event import Event, Reply
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.observe.events import EventLog
from guesthouse.observe.logs import InLog
from guesthouse.plan.current import Plans
from guesthouse_abi.deadline import Deadline

BODY = bytes(range(256)) * 4
_COUNT = 400  # events of a stage in one round
_IO = "grpc-native-io"  # how the native core's threads are called


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


_LOCK_GIVEN_UP = ("pre_instantiate", "call_unchecked", "store_delete")  # the functions of `capi` that an event calls
_SANDBOX = "the sandbox: context, engine, calling convention"


class _Watch:
    """Counts calls, and adds up the CPU time inside them."""

    calls = 0
    seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, with its time added up."""

        def watched(*arguments: Any) -> Any:
            began = thread_time()
            try:
                return function(*arguments)
            finally:
                self.seconds += thread_time() - began
                self.calls += 1

        return watched


@contextmanager
def _watched(watch: _Watch) -> Iterator[None]:
    functions = {name: getattr(capi, name) for name in _LOCK_GIVEN_UP}
    for name, function in functions.items():
        setattr(capi, name, watch.around(function))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(capi, name, function)


def _without_lock(run: Callable[[], object], calls: int) -> Callable[[], float]:
    """Microseconds of `run` in calls that give the interpreter lock up, of which it makes `calls`."""
    nothing = ctypes.CDLL(None).abs

    def measure() -> float:
        watch, empty = _Watch(), _Watch()
        idle = empty.around(nothing)
        with _watched(watch):
            for _ in range(_COUNT):
                run()
        for _ in range(_COUNT * calls):
            idle(1)
        return (watch.seconds - empty.seconds) / _COUNT * 1e6

    return measure


def _calls(run: Callable[[], object]) -> int:
    """How many calls that give the lock up are in `run`."""
    watch = _Watch()
    with _watched(watch):
        run()
    return watch.calls


def stages(options: Options, folder: Path) -> Findings:
    """An echo of 1 KiB, stage by stage."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "guesthouse.toml"
    path.write_text(servers.APP + servers.guest("echo", "echo"))
    manifest = load(path, grants=GRANTS)
    with open_plan(manifest) as plan:
        options.say("an echo of 1 KiB, stage by stage")
        sides = _sides(plan, manifest)
        run = sides[_SANDBOX]
        measured = {name: _cpu(side) for name, side in sides.items()}
        measured["without the lock"] = _without_lock(run, _calls(run))
        found = take_turns(measured, options.rounds(25))
    served, in_rust = _served(options, folder)
    middle = {name: Spread.of(values).median for name, values in found.items()}
    free = middle.pop("without the lock")
    names = list(sides)
    rows = [
        ["HTTP/2, in Rust", f"{in_rust:.1f}", "0", f"{in_rust:.1f}"],
        ["threads that wait for a call and are woken", f"{served - in_rust - middle[names[0]]:.1f}", "?", "?"],
    ]
    for name, inner in itertools.pairwise(names):
        own = f"{middle[name] - middle[inner]:.1f}"
        rows.append([name, own, own, "0"])
    rows.append([_SANDBOX, f"{middle[_SANDBOX]:.1f}", f"{middle[_SANDBOX] - free:.1f}", f"{free:.1f}"])
    findings = Findings()
    findings.figures.append(
        Figure("stages", "an echo of 1 KiB: the server's CPU for each event, 16 callers", _one(served), "µs")
    )
    findings.figures.append(
        Figure("stages", "the same without HTTP/2, in one thread", Spread.of(found[names[0]]), "µs")
    )
    header = ["stage", "own", "with the interpreter lock", "without it"]
    findings.tables.append(("Stages of an echo of 1 KiB, microseconds of CPU", header, rows))
    return findings


def _one(value: float) -> Spread:
    return Spread(value, value, value)


def _served(options: Options, folder: Path) -> tuple[float, float]:
    """Microseconds of CPU that a server takes for one event, and those of its thread that reads and writes HTTP/2."""
    event = invoke("echo", BODY)
    with servers.guesthouse(folder / "served", servers.guest("echo", "echo")) as server, Caller(16) as caller:
        block(caller, server, event, 16, 2000)
        whole, in_rust = [], []
        for _ in range(options.rounds(7)):
            before = _seconds_in_rust(server.pid)
            whole.append(block(caller, server, event, 16, 6000).cpu * 1000)
            in_rust.append((_seconds_in_rust(server.pid) - before) / 6000 * 1e6)
        return Spread.of(whole).median, Spread.of(in_rust).median


def _seconds_in_rust(pid: int) -> float:
    """CPU time of the native core's own threads so far; see proc(5) for `schedstat`."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().startswith(_IO)]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _sides(plan: Any, manifest: Any) -> dict[str, Callable[[], object]]:
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
        _SANDBOX: lambda: guest.runner.run(guest, event(), Deadline(math.inf)),
    }

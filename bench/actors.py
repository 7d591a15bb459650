"""Actors behind a real daprd with placement and Redis: ours, the Python SDK's, and the least host that there can be.

    python -m bench --only actors

Each host has a sidecar of its own, and is called by that sidecar's gRPC API. A method `version` (of the SDK's, `echo`)
does nothing; `add` reads a number of its state and saves the next one. `python -m bench.actors sdk PORT SIDECAR`
is the SDK's `ActorGrpcHost` with a plain actor in Python. `python -m bench.actors bare SIDECAR` answers every turn at
once, on one thread: what a turn takes with it is the sidecar's and the caller's part.
"""

from __future__ import annotations

import asyncio
import queue
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import psutil
from dapr.actor import Actor, ActorInterface, actormethod
from dapr.actor.runtime.grpc_host import ActorGrpcHost
from dapr.proto.runtime.v1 import actors_pb2
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub

from bench import servers
from bench.caller import Caller
from bench.measure import Figure, Findings, Options, Spread, Target, ratios, take_turns
from bench.sidecars import _app, _folders
from guesthouse.cli.load_generator import Outcome
from tests.dapr_real.actor_hosts import hosted, module
from tests.dapr_real.calling_guests import write_components
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Program, Redis, Sidecar, running
from tests.support.ports import free_port
from tests.support.waiting import until

INVOKE = "/dapr.proto.runtime.v1.Dapr/InvokeActor"
MANY = 1000
ACTIVATED = 10_000
CALLERS = 64

_MANIFEST = """
[guests.actor]
module = "{module}"
calling = "dapr"
limits = {{ concurrency = 16, queue = 1024 }}
[[actor]]
type = "Ours"
guest = "actor"
"""


class Host(Program):
    """One of the two hosts that this module is, as a program."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(arguments[0], folder)
        self._arguments = arguments

    def start(self) -> Host:
        """It registers its type when its sidecar is there."""
        self._run([sys.executable, "-m", "bench.actors", *self._arguments], {}, cwd=servers.ROOT)
        return self

    def ready(self) -> Host:
        """Its sidecar knows better."""
        return self


class _Side:
    """A host, as the caller sees it."""

    def __init__(self, sidecar: Sidecar, kind: str, app_id: str, caller: Caller) -> None:
        self.sidecar, self.kind, self.app_id, self.caller = sidecar, kind, app_id, caller
        self.sums = 0  # of what `add` has acknowledged
        self.lost = 0

    def call(self, method: str, actors: Sequence[str], callers: int, requests: int) -> Outcome:
        """Invoke a method of one actor after the other."""
        messages = [
            actors_pb2.InvokeActorRequest(
                actor_type=self.kind, actor_id=actor, method=method, data=b"1"
            ).SerializeToString()
            for actor in actors
        ]
        outcome = self.caller.call(f"127.0.0.1:{self.sidecar.ports.grpc}", INVOKE, messages, callers, requests)
        if outcome.errors:
            raise RuntimeError(f"{self.kind}: {outcome.errors} {outcome.examples}")
        if method == "add":
            self.sums += len(outcome.latencies)
        return outcome

    def saved(self, redis: Redis, actors: Sequence[str]) -> int:
        """The sum of all numbers in the store."""
        values = [redis.command("HGET", f"{self.app_id}||{self.kind}||{actor}||n", "data") for actor in actors]
        return sum(int(value) for value in values if value)


def _names(count: int, first: int = 0) -> list[str]:
    return [str(number) for number in range(first, first + count)]


def _p99(latencies: Sequence[float]) -> float:
    return 1000 * statistics.quantiles(latencies, n=100)[98]


def actors(options: Options, folder: Path) -> Findings:
    """Turns a second and their p99, activations, memory for each actor, and what of a turn's time is the host's."""
    ours, theirs, least, shared = _folders(folder, "guesthouse", "sdk", "bare", "shared")
    redis, plane = Redis(shared), ControlPlane(shared)
    redis.start()

    def sidecar(home: Path, app_id: str, app_port: int) -> Sidecar:
        flags = (*write_components(home / "components", redis), *plane.flags)
        return Sidecar(home, app_id, app_port=app_port, flags=flags, probe=False)

    subject, sdk = sidecar(ours, "guesthouse", free_port()), sidecar(theirs, "sdk", free_port())
    bare = sidecar(least, "bare", 0)
    app = _app(ours, _MANIFEST.format(module=module("actor", "-DQUIET")), subject)
    plain = Host(theirs, "sdk", str(sdk.app_port), str(sdk.ports.grpc))
    nothing = Host(least, "bare", str(bare.ports.grpc))
    try:
        with running(plane.placement, plane.scheduler, app, plain, nothing, subject, sdk, bare), Caller(CALLERS) as by:
            sides = {
                "guesthouse": _Side(subject, "Ours", "guesthouse", by),
                "sdk": _Side(sdk, "Plain", "sdk", by),
                "bare": _Side(bare, "Bare", "bare", by),
            }
            for name, side in sides.items():
                until(lambda side=side: side.kind in hosted(side.sidecar), f"{name} hosts its actors")  # type: ignore[misc]
            findings = _turns(options, sides, redis)
            findings.add(_parts(options, sides))
            findings.add(_activations(options, sides, {"guesthouse": app, "sdk": plain}))
            return findings
    finally:
        redis.stop()


def _turns(options: Options, sides: dict[str, _Side], redis: Redis) -> Findings:
    findings, rows = Findings(), []
    for method, other in (("add", "add"), ("version", "echo")):
        for count in (1, MANY):
            names = _names(count)
            for callers, requests in ((1, 300), (16, 1600), (CALLERS, 1600)):
                what = f"{method}, {callers} callers, {count} actors"
                options.say(what)

                def block(
                    side: _Side, method: str, names: list[str] = names, callers: int = callers, requests: int = requests
                ) -> Callable[[], Outcome]:
                    return lambda: side.call(method, names, callers, requests)

                found = take_turns(
                    {"guesthouse": block(sides["guesthouse"], method), "sdk": block(sides["sdk"], other)},
                    options.rounds(7),
                )
                rate = {name: [o.rate for o in outcomes] for name, outcomes in found.items()}
                p99 = {name: [_p99(o.latencies) for o in outcomes] for name, outcomes in found.items()}
                middle = {name: statistics.median(values) for name, values in rate.items()}
                figure = Figure(
                    "actors",
                    f"turns of {what}, against the SDK's host",
                    ratios(rate["guesthouse"], rate["sdk"]),
                    target=Target(1.0, at_least=True),
                    note=f"{middle['guesthouse']:.0f}/s : {middle['sdk']:.0f}/s",
                )
                findings.figures.append(figure)
                row = [f"{statistics.median(p99[name]):.1f}" for name in ("guesthouse", "sdk")]
                rows.append([what, f"{middle['guesthouse']:.0f}", f"{middle['sdk']:.0f}", *row])
    header = ["what", "ours, /s", "the SDK's, /s", "our p99, ms", "the SDK's p99, ms"]
    findings.tables.append(("Turns through a real sidecar", header, rows))
    side = sides["guesthouse"]
    lost = side.sums - side.saved(redis, _names(MANY))
    findings.figures.append(
        Figure("actors", f"turns lost of {side.sums}", Spread.of([float(lost)]), unit="", target=Target(0))
    )
    return findings


def _parts(options: Options, sides: dict[str, _Side]) -> Findings:
    """One turn after the other that does nothing: what is left without the bare host's is the host's own part."""
    options.say("turns that do nothing, one by one")

    def median(side: _Side, method: str) -> Callable[[], float]:
        return lambda: 1000 * statistics.median(side.call(method, ["0"], 1, 300).latencies)

    found = take_turns(
        {name: median(side, "echo" if name == "sdk" else "version") for name, side in sides.items()}, options.rounds(9)
    )
    figures = []
    for name, whose in (("guesthouse", "our"), ("sdk", "the SDK's")):
        more = [one - none for one, none in zip(found[name], found["bare"], strict=True)]
        note = f"{statistics.median(found[name]):.2f} ms : {statistics.median(found['bare']):.2f} ms"
        figures.append(
            Figure("actors", f"a turn's time through daprd: {whose} part of it", Spread.of(more), unit=" ms", note=note)
        )
    return Findings(figures)


def _activations(options: Options, sides: dict[str, _Side], programs: dict[str, Program]) -> Findings:
    findings = Findings()
    rates: dict[str, list[float]] = {name: [] for name in programs}
    memory: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(3):
        for name, program in programs.items():
            options.say(f"{ACTIVATED} new actors, {name}")
            before = _anonymous(program)
            names = _names(ACTIVATED, MANY + number * ACTIVATED)
            outcome = sides[name].call("echo" if name == "sdk" else "version", names, CALLERS, ACTIVATED)
            rates[name].append(outcome.rate)
            memory[name].append((_anonymous(program) - before) / ACTIVATED / 1024)
    middle = {name: statistics.median(values) for name, values in rates.items()}
    findings.figures.append(
        Figure(
            "actors",
            f"activation of {ACTIVATED:,} actors, {CALLERS} callers, against the SDK's host",
            ratios(rates["guesthouse"], rates["sdk"]),
            target=Target(1.0, at_least=True),
            note=f"{middle['guesthouse']:.0f}/s : {middle['sdk']:.0f}/s",
        )
    )
    for name, whose, target in (("guesthouse", "our", Target(1.0)), ("sdk", "the SDK's", None)):
        # The first ten thousand also bring what a host keeps once: they do not count.
        spread = Spread.of(memory[name][1:])
        findings.figures.append(
            Figure("actors", f"{whose} memory for an active actor", spread, unit=" KiB", target=target)
        )
    return findings


def _anonymous(program: Program) -> int:
    info = psutil.Process(program.pid).memory_info()
    return int(info.rss - info.shared)


# ---- the two other hosts ----


class PlainInterface(ActorInterface):
    """What the SDK wants beside the actor."""

    @actormethod(name="add")  # type: ignore[untyped-decorator]
    async def add(self, more: int) -> int:
        """See `Plain`."""
        raise NotImplementedError

    @actormethod(name="echo")  # type: ignore[untyped-decorator]
    async def echo(self, data: int) -> int:
        """See `Plain`."""
        raise NotImplementedError


class Plain(Actor, PlainInterface):
    """The SDK's actor. It saves its state when a method has ended."""

    async def add(self, more: int) -> int:
        """As ours: read, add, save."""
        _, before = await self._state_manager.try_get_state("n")
        after = (before or 0) + more
        await self._state_manager.set_state("n", after)
        return after

    async def echo(self, data: int) -> int:
        """Nothing."""
        return data


async def _sdk(port: int, sidecar: int) -> None:
    while True:  # the sidecar starts after its application
        host = ActorGrpcHost(f"127.0.0.1:{sidecar}", app_port=port)
        await host.register_actor(Plain)
        try:
            await host.run_forever()
        except (grpc.RpcError, RuntimeError):
            await asyncio.sleep(0.2)


def _bare(sidecar: int) -> None:
    request = actors_pb2.SubscribeActorEventsRequestAlpha1
    while True:
        answers: queue.SimpleQueue[actors_pb2.SubscribeActorEventsRequestAlpha1] = queue.SimpleQueue()
        answers.put(request(initial_request=actors_pb2.SubscribeActorEventsRequestInitialAlpha1(entities=["Bare"])))

        def written(
            answers: queue.SimpleQueue[actors_pb2.SubscribeActorEventsRequestAlpha1] = answers,
        ) -> Iterator[actors_pb2.SubscribeActorEventsRequestAlpha1]:
            while True:
                yield answers.get()

        with grpc.insecure_channel(f"127.0.0.1:{sidecar}") as channel:
            grpc.channel_ready_future(channel).result(60)
            try:
                for message in DaprStub(channel).SubscribeActorEventsAlpha1(written()):  # type: ignore[no-untyped-call]
                    kind = message.WhichOneof("response_type")
                    asked = getattr(message, kind)
                    if kind == "invoke_request":
                        told = actors_pb2.SubscribeActorEventsRequestInvokeResponseAlpha1(id=asked.id, data=asked.data)
                        answers.put(request(invoke_response=told))
                    elif kind == "deactivate_request":
                        gone = actors_pb2.SubscribeActorEventsRequestDeactivateResponseAlpha1(id=asked.id)
                        answers.put(request(deactivate_response=gone))
            except grpc.RpcError:
                continue


def main(kind: str, *ports: str) -> None:
    """Be one of the two hosts."""
    if kind == "sdk":
        asyncio.run(_sdk(*map(int, ports)))
    else:
        _bare(*map(int, ports))


if __name__ == "__main__":
    main(*sys.argv[1:])

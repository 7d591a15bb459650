"""Hosts of actors: applications of one id, each behind a sidecar of its own, with one store of their state in Redis.

The actors are guests/actor.c, which says what their methods do. A type of actors is hosted by one application alone, so
each `ActorHosts` has a type of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
from dapr.proto.runtime.v1 import actors_pb2

from guesthouse.dapr.api_methods import METHODS
from tests.dapr_real.calling_guests import write_components
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import App, Pair, Redis, Sidecar, running
from tests.sdk.modules import SDK, c_module, kept, sources
from tests.support.places import engine_table, isolation_of
from tests.support.ports import free_port
from tests.support.waiting import until

SOURCE = Path(__file__).resolve().parent / "guests"

_MANIFEST = """
[app]
name = "{app_id}"
{engine}
[server]
drain = {{ notice = "0s", limit = "{drain}" }}
[guests.actor]
module = "{module}"
calling = "dapr"
isolation = "{isolation}"
limits = {{ {limits} }}
[guests.actor.dapr]
calls = 10000
read_state = ["state/*"]
actors = ["{kind}/*", "{kind}-brief/*"]
[[actor]]
type = "{kind}"
guest = "actor"
{actor}
{more}
"""
LIMITS = 'time = "30s", memory = "8MiB", concurrency = 16, queue = 256, queue_wait = "60s"'


def module(name: str = "actor", *flags: str) -> Path:
    """A guest of guests/, compiled as C; the flags are the compiler's."""
    source = SOURCE / f"{name}.c"
    made_of = [source.read_bytes(), *sources(SDK / "c", ".h"), " ".join(flags).encode()]
    return kept(f"dapr-real-{name}", made_of, lambda goal: c_module(source, goal, *flags))


class Actors:
    """Actors of one type, as a caller reaches them by a sidecar."""

    def __init__(self, sidecar: Sidecar, kind: str) -> None:
        self.sidecar = sidecar
        self.kind = kind

    def call(self, actor: str, method: str, body: bytes = b"", *, seconds: float = 60.0) -> bytes:
        """The reply of a method. Raises `grpc.RpcError`."""
        request = actors_pb2.InvokeActorRequest(actor_type=self.kind, actor_id=actor, method=method, data=body)
        return bytes(self.sidecar.stub.InvokeActor(request, timeout=seconds).data)

    def start(self, actor: str, method: str, body: bytes = b"", *, seconds: float = 60.0) -> Any:
        """The same, without waiting for it: a future of gRPC's."""
        request = actors_pb2.InvokeActorRequest(actor_type=self.kind, actor_id=actor, method=method, data=body)
        return self.sidecar.stub.InvokeActor.future(request, timeout=seconds)

    def fails(self, actor: str, method: str, body: bytes = b"", *, seconds: float = 60.0) -> str:
        """The code and the text with which a call fails."""
        try:
            answer = self.call(actor, method, body, seconds=seconds)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        raise AssertionError(f"{self.kind}/{actor} has answered {method}: {answer!r}")

    def does(self, actor: str, call: str, /, **fields: Any) -> None:
        """Have an actor make a call of its own (`RegisterActorTimer`, say)."""
        request = METHODS[call].request(actor_type=self.kind, actor_id=actor, **fields)
        self.call(actor, f"call-{call}", request.SerializeToString())


class ActorHosts:
    """The hosts of a type of actors, and a sidecar that only calls them and is never killed.

    `place` is where guests run, as in tests/support/places.py.
    """

    def __init__(
        self,
        folder: Path,
        app_id: str,
        redis: Redis,
        control_plane: ControlPlane,
        *,
        place: str = "thread",
        limits: str = LIMITS,
        actor: str = "",
        more: str = "",
        drain: str = "10s",
        guest: Path | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        self.app_id = app_id
        self.kind = f"Cart-{app_id}"
        self.redis = redis
        self.hosts: list[Pair] = []
        self._folder = folder
        self._flags = (*write_components(folder / "components", redis), *control_plane.flags, *flags)
        self.manifest = _MANIFEST.format(
            app_id=app_id,
            engine=engine_table(place),
            isolation=isolation_of(place),
            drain=drain,
            limits=limits,
            module=guest or module(),
            kind=self.kind,
            actor=actor,
            more=more.replace("TYPE", self.kind),
        )
        (folder / "caller").mkdir()
        self.caller = Sidecar(folder / "caller", f"calls-{app_id}", names=folder / "names.db", flags=self._flags)
        self.actors = Actors(self.caller, self.kind)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> ActorHosts:
        self._stack.enter_context(running(self.caller))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, *, environment: Mapping[str, str] = {}) -> Pair:
        """One host more: it is ready when its types are known to the placement service."""
        folder = self._folder / f"host-{len(self.hosts)}"
        folder.mkdir()
        (folder / "guesthouse.toml").write_text(self.manifest)
        sidecar = Sidecar(folder, self.app_id, app_port=free_port(), names=self._folder / "names.db", flags=self._flags)
        app = App(
            folder,
            folder / "guesthouse.toml",
            port=sidecar.app_port,
            sidecar_port=sidecar.ports.grpc,
            environment=environment,
        )
        self._stack.enter_context(running(app, sidecar))
        pair = Pair(app, sidecar)
        self.hosts.append(pair)
        self.hosting(pair)
        return pair

    def hosting(self, pair: Pair) -> None:
        """Wait until a sidecar says that it hosts the type."""
        until(lambda: self.kind in hosted(pair.sidecar), f"{pair.sidecar.name} hosts {self.kind}")

    def state(self, actor: str, key: str = "n") -> str:
        """What is in the store; empty where nothing is."""
        return self.redis.command("HGET", f"{self.app_id}||{self.kind}||{actor}||{key}", "data")

    def open(self, gate: str) -> None:
        """Let the turns go on that wait for a gate."""
        self.redis.command("HSET", f"{self.app_id}||gate-{gate}", "data", "open", "version", "1")

    def begun(self, gate: str) -> int:
        """How often a turn has begun to wait for a gate, on all hosts."""
        return len([line for line in self.said("begun") if line["fields"]["gate"] == gate])

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind in the logs of all hosts."""
        return [line for pair in self.hosts for line in pair.app.lines(event)]


def hosted(sidecar: Sidecar) -> dict[str, int]:
    """The types of actors that a sidecar hosts, and how many actors of each are active there."""
    answer = sidecar.http("GET", "/v1.0/metadata")
    if answer.status != 200:
        return {}
    runtime = answer.json().get("actorRuntime", {})
    return {actor["type"]: actor.get("count", 0) for actor in runtime.get("activeActors", [])}


@contextlib.contextmanager
def actor_hosts(folder: Path, *arguments: Any, **options: Any) -> Iterator[ActorHosts]:
    """`ActorHosts` with one host."""
    with ActorHosts(folder, *arguments, **options) as hosts:
        hosts.add()
        yield hosts

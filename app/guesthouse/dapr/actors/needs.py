"""What a sidecar lacks for actors, as its own metadata say. Most of it a sidecar tells nobody: it takes the types of
actors also where none of their turns can ever come."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grpc
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from dapr.proto.runtime.v1.metadata_pb2 import ActorRuntime, GetMetadataRequest, GetMetadataResponse

from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.status import cut
from guesthouse.text import escaped

TIMEOUT = 5.0  # seconds for the sidecar to answer a question
_DETAILS = 400  # bytes of the sidecar's own text
OLDEST = (1, 18)  # the first version that has the stream
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})", re.ASCII)


class Lack(NamedTuple):
    """What is missing, and what to do. `fatal`: without it no turn can come, or none can be saved."""

    text: str
    remedy: str
    fatal: bool = True


#: What a sidecar needs, for those who have none to ask.
NEEDED = (
    "actors need Dapr 1.18 or later, a placement service, for reminders a scheduler, and a state store with "
    'actorStateStore: "true"'
)


def asked(endpoint: Endpoint) -> list[Lack]:
    """What the sidecar at this address lacks, or why it cannot be asked."""
    with contextlib.closing(SidecarConnection(endpoint)) as connection:
        sidecar = DaprStub(connection.channel)  # type: ignore[no-untyped-call]
        try:
            found = sidecar.GetMetadata(GetMetadataRequest(), timeout=TIMEOUT, metadata=connection.metadata)
        except grpc.RpcError as error:
            return [told(error)]
    return list(lacks(found))


def told(error: grpc.RpcError) -> Lack:
    """What a sidecar's error says, and what to do about it, where that is known. `fatal`: it lasts."""
    code, details = error.code(), cut(escaped(error.details() or "no more"), _DETAILS)
    text = f"{code.name}: {details}"
    if code is grpc.StatusCode.UNAVAILABLE:
        return Lack(text, "is a sidecar running, and are DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT right?", fatal=False)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return Lack(text, "start the sidecar with --app-protocol grpc, and Dapr 1.18.1 also with --app-port")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Lack(text, "give this process the sidecar's DAPR_API_TOKEN")
    return Lack(text, "see the sidecar's log", fatal=False)


def lacks(metadata: GetMetadataResponse, types: Sequence[str] = ()) -> Iterator[Lack]:
    """What the sidecar lacks to hand the turns of these types to this process."""
    found = _VERSION.match(metadata.runtime_version)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST:
        version = metadata.runtime_version[:20]
        yield Lack(f"the sidecar is Dapr {version!a}, which hands no actors over gRPC", "use Dapr 1.18.1 or later")
        return
    runtime = metadata.actor_runtime
    if runtime.runtime_status == ActorRuntime.DISABLED:
        yield Lack(
            "the sidecar has no placement service",
            "run Dapr's placement, and the sidecar with --placement-host-address HOST:PORT",
        )
    elif "disconnected" in runtime.placement:
        yield Lack(
            "the sidecar is not connected to its placement service: calls of actors wait",
            "is placement running, and is the sidecar's --placement-host-address right?",
            fatal=False,
        )
    if not any("ACTOR" in component.capabilities for component in metadata.registered_components):
        yield Lack(
            "no component of the sidecar can store the state of actors",
            'give it a state store with transactions, as state.redis, and in its metadata actorStateStore: "true"',
        )
    if not metadata.scheduler.connected_addresses:
        yield Lack(
            "the sidecar is not connected to a scheduler: no reminder can be registered",
            "run Dapr's scheduler, and the sidecar with --scheduler-host-address HOST:PORT",
            fatal=False,
        )
    protocol = metadata.app_connection_properties.protocol
    if metadata.app_connection_properties.port and protocol not in ("grpc", "grpcs"):
        yield Lack(
            f"the sidecar speaks {protocol[:20]!a} to its application, and hands actors over gRPC alone",
            "start it with --app-protocol grpc",
        )
    taken = sorted({one.type for one in runtime.active_actors} & set(types))
    if taken:
        yield Lack(
            f"another process of this sidecar's application hosts {', '.join(taken)}",
            "a sidecar has one host of actors: it is asked again until that one has ended",
        )

"""A sidecar that hands over turns of actors, as a gRPC server in this process: the test says which turns, and when the
stream ends. What a real one does is in tests/dapr_real."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import grpc
from dapr.proto.runtime.v1 import actors_pb2 as pb
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprServicer, add_DaprServicer_to_server
from dapr.proto.runtime.v1.metadata_pb2 import (
    ActiveActorsCount,
    ActorRuntime,
    AppConnectionProperties,
    GetMetadataResponse,
    MetadataScheduler,
    RegisteredComponents,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BytesValue

from guesthouse.dapr.endpoint import Endpoint
from guesthouse.dapr.tokens import TOKEN_KEY
from tests.support.waiting import until

Answer = pb.SubscribeActorEventsRequestAlpha1
Asked = pb.SubscribeActorEventsResponseAlpha1


class Stream:
    """One stream of an application. `how` is how the application has ended it: "cancelled" or "half-closed"."""

    def __init__(self, initial: pb.SubscribeActorEventsRequestInitialAlpha1) -> None:
        self.initial = initial
        self.how = ""
        self.answers: dict[str, Answer] = {}
        self.order: list[str] = []  # ids, as the answers came
        self.out: SimpleQueue[Asked | None] = SimpleQueue()
        self.gone = threading.Event()  # the application has, or this sidecar has ended the call

    def end(self) -> None:
        """End it from the sidecar's side."""
        self.out.put(None)


class ActorSidecar(DaprServicer):
    """See above. `state` has values by (type, id, key), `calls` all other calls that came."""

    def __init__(self, token: str = "") -> None:
        self.metadata = GetMetadataResponse(
            runtime_version="1.18.2",
            actor_runtime=ActorRuntime(
                runtime_status=ActorRuntime.RUNNING, host_ready=True, placement="placement: connected"
            ),
            registered_components=[RegisteredComponents(name="state", capabilities=["TRANSACTIONAL", "ACTOR"])],
            scheduler=MetadataScheduler(connected_addresses=["127.0.0.1:1"]),
            app_connection_properties=AppConnectionProperties(port=1, protocol="grpc"),
        )
        self.streams: list[Stream] = []
        self.hosts: list[Stream] = []  # the streams that are open
        self.ends = False  # whether it takes no calls any more, as a real one that waits for its streams
        self.forgets = False  # whether it has forgotten the types of its streams
        self.most_open = 0
        self.refuse: tuple[grpc.StatusCode, str] | None = None  # how streams are refused
        self.tries = 0  # streams, refused ones too
        self.asked = 0  # for metadata
        self.state: dict[tuple[str, str, str], bytes] = {}
        self.transactions: list[pb.ExecuteActorStateTransactionRequest] = []
        self.no_store = False
        self.calls: list[Any] = []
        self.invoke: Any = None  # answers `InvokeActor`
        self._token = token
        self._number = 0
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", 4 << 20)])
        add_DaprServicer_to_server(self, self._server)
        self.endpoint = Endpoint(f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}", token=token)
        self._server.start()

    def stop(self) -> None:
        for stream in self.streams:
            stream.end()
        self._server.stop(None).wait()

    # ---- what a test does ----

    def stream(self, number: int = 1) -> Stream:
        """The application's stream of this number, once it is open."""
        until(lambda: len(self.streams) >= number, f"stream {number} is open")
        return self.streams[number - 1]

    def ask(self, kind: str, stream: Stream | None = None, **fields: Any) -> str:
        """Send a request on a stream, else on the newest; its id."""
        self._number += 1
        id = str(self._number)
        request: Any = {f"{kind}_request": {"id": id, "actor_type": "Cart", "actor_id": "7", **fields}}
        (stream or self.stream(max(1, len(self.streams)))).out.put(Asked(**request))
        return id

    def turn(self, method: str = "add", data: bytes = b"", metadata: Mapping[str, str] = {}, **fields: Any) -> str:
        """Ask for a method of an actor."""
        return self.ask("invoke", method=method, data=data, metadata=metadata, **fields)

    def timed(self, kind: str, name: str, data: bytes, **fields: Any) -> str:
        """Ask for a timer or a reminder, whose data are wrapped as a real sidecar does it: `data` is JSON."""
        wrapped = AnyMessage()
        wrapped.Pack(BytesValue(value=data))
        return self.ask(kind, name=name, data=wrapped, **fields)

    def answer(self, id: str) -> Answer:
        """The answer to a request, once it is there."""
        found: Answer = until(
            lambda: next((s.answers[id] for s in self.streams if id in s.answers), None), f"{id} is answered"
        )
        return found

    def answered(self, id: str) -> bool:
        return any(id in stream.answers for stream in self.streams)

    # ---- the API ----

    def SubscribeActorEventsAlpha1(self, requests: Iterator[Answer], context: grpc.ServicerContext) -> Iterator[Asked]:
        self.tries += 1
        self._check(context)
        if self.refuse is not None:
            context.abort(*self.refuse)
        stream = Stream(next(requests).initial_request)
        with self._lock:
            self.streams.append(stream)
            self.hosts.append(stream)
            self.most_open = max(self.most_open, len(self.hosts))
        context.add_callback(stream.gone.set)
        threading.Thread(target=self._read, args=(stream, requests), daemon=True).start()
        try:
            yield Asked(initial_response=pb.SubscribeActorEventsResponseInitialAlpha1())
            while (message := stream.out.get()) is not None:
                yield message
        finally:
            with self._lock:
                self.hosts.remove(stream)

    def _read(self, stream: Stream, requests: Iterator[Answer]) -> None:
        try:
            for answer in requests:
                kind = answer.WhichOneof("request_type")
                assert kind is not None
                id = getattr(answer, kind).id
                stream.answers[id] = answer
                stream.order.append(id)
        except Exception:  # gRPC's own: the call was cancelled
            stream.gone.set()
        # Where a call is cancelled, gRPC may say first that its requests have ended.
        stream.how = "cancelled" if stream.gone.wait(1.0) else "half-closed"
        stream.end()

    def _check(self, context: grpc.ServicerContext) -> None:
        if self._token and (TOKEN_KEY, self._token) not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "authentication error: api token mismatch")

    def GetMetadata(self, request: Any, context: grpc.ServicerContext) -> GetMetadataResponse:
        self.asked += 1
        self._check(context)
        if self.ends:
            context.abort(grpc.StatusCode.UNAVAILABLE, "connection refused")
        answer = GetMetadataResponse()
        answer.CopyFrom(self.metadata)
        with self._lock:
            hosted = {} if self.forgets else {name: 0 for stream in self.hosts for name in stream.initial.entities}
        answer.actor_runtime.active_actors.extend(ActiveActorsCount(type=name, count=n) for name, n in hosted.items())
        return answer

    def GetActorState(self, request: pb.GetActorStateRequest, context: Any) -> pb.GetActorStateResponse:
        key = request.actor_type, request.actor_id, request.key
        return pb.GetActorStateResponse(data=self.state.get(key, b""))

    def ExecuteActorStateTransaction(self, request: pb.ExecuteActorStateTransactionRequest, context: Any) -> Empty:
        if self.no_store:
            context.abort(grpc.StatusCode.INTERNAL, "actor instance is missing")
        self.transactions.append(request)
        for one in request.operations:
            self.state[request.actor_type, request.actor_id, one.key] = one.value.value
        return Empty()

    def InvokeActor(self, request: pb.InvokeActorRequest, context: Any) -> pb.InvokeActorResponse:
        self.calls.append(request)
        if self.invoke is None:
            return pb.InvokeActorResponse(data=b"")
        response: pb.InvokeActorResponse = self.invoke(request, context)
        return response

    def UnregisterActorTimer(self, request: pb.UnregisterActorTimerRequest, context: Any) -> Empty:
        self.calls.append(request)
        return Empty()

    def UnregisterActorReminder(self, request: pb.UnregisterActorReminderRequest, context: Any) -> Empty:
        self.calls.append(request)
        return Empty()


@contextlib.contextmanager
def actor_sidecar(token: str = "") -> Iterator[ActorSidecar]:
    """A sidecar, until the end of the block."""
    sidecar = ActorSidecar(token)
    try:
        yield sidecar
    finally:
        sidecar.stop()

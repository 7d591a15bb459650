"""The two ends of the component's tests: a handler whose replies are published, and a sidecar as a component has it."""

from __future__ import annotations

import dataclasses
import queue
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from guesthouse.dapr.component.input_binding import Replies
from guesthouse.dapr.proto import components_pb2 as pb
from guesthouse.dapr.proto import components_pb2_grpc as pb_grpc
from guesthouse.event import Event, Failure, Handler, Reply
from guesthouse_abi.deadline import Deadline


class Published:
    """What a dispatcher does with its observers."""

    def __init__(self, handler: Handler, replies: Replies) -> None:
        self._handler = handler
        self._replies = replies

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        try:
            reply = dataclasses.replace(self._handler.dispatch(event, deadline), guest=event.name)
        except Failure as failure:
            self._replies.failed(event, failure)
            raise
        self._replies.answered(event, reply)
        return reply


class Sidecar:
    """A connection to a component, with daprd's options: messages of more than 4 MiB are not taken."""

    def __init__(self, socket: Path, instance: str | None) -> None:
        self.channel = grpc.insecure_channel(f"unix://{socket}", [("grpc.use_local_subchannel_pool", 1)])
        self.metadata = (("x-component-instance", instance),) if instance is not None else ()
        self.output = pb_grpc.OutputBindingStub(self.channel)
        self.input = pb_grpc.InputBindingStub(self.channel)

    def services(self) -> set[str]:
        """What discovery finds."""
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="*")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=60)
        return {service.name for service in answer.list_services_response.service}

    def init_output(self, **properties: str) -> None:
        request = pb.OutputBindingInitRequest(metadata={"properties": properties})
        self.output.Init(request, timeout=60, metadata=self.metadata)

    def init_input(self, **properties: str) -> None:
        request = pb.InputBindingInitRequest(metadata={"properties": properties})
        self.input.Init(request, timeout=60, metadata=self.metadata)

    def operations(self) -> list[str]:
        request = pb.ListOperationsRequest()
        return list(self.output.ListOperations(request, timeout=60, metadata=self.metadata).operations)

    def invoke(self, operation: str, data: bytes = b"", timeout: float = 60.0, **metadata: str) -> pb.InvokeResponse:
        request = pb.InvokeRequest(operation=operation, data=data, metadata=metadata)
        answer: pb.InvokeResponse = self.output.Invoke(request, timeout=timeout, metadata=self.metadata)
        return answer

    def read(self) -> Reading:
        return Reading(self)


class Reading:
    """A Read stream. Messages are not acknowledged until the test says so."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._acknowledgements: queue.SimpleQueue[pb.ReadRequest | None] = queue.SimpleQueue()
        self.call = sidecar.input.Read(iter(self._acknowledgements.get, None), metadata=sidecar.metadata, timeout=60)

    def next(self) -> pb.ReadResponse:
        message: pb.ReadResponse = next(self.call)
        return message

    def acknowledge(self, message: pb.ReadResponse, error: str | None = None) -> None:
        request = pb.ReadRequest(message_id=message.message_id)
        if error is not None:
            request.response_error.message = error
        self._acknowledgements.put(request)

    def hang_up(self) -> None:
        self.call.cancel()
        self._acknowledgements.put(None)

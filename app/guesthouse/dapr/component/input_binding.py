"""The input binding of our component: replies of guests as events for other applications.

`Replies` is called for every answered event (`event.Observer`) and hands the replies of published guests to a `Reader`
for each sidecar. `InputBinding` is the service from which sidecars read them (`proto/components.proto`). A message is

- data: the reply's body; content type: the guest's `reply_type`;
- metadata: `guest`; `trigger`, `name` and `id` of the event that it answered; `messageId`, the same when it is sent
  again; `contentType`, since a sidecar does not pass the content type on; and `guesthouse-via`, the guests through
  which replies have come so far: a guest that is asked about what came from itself does not publish again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import grpc

from guesthouse.dapr import status
from guesthouse.dapr.component.reader import Bounds, Reader, Stream
from guesthouse.dapr.component.resource import LARGEST, instance_of, properties_of
from guesthouse.dapr.proto import components_pb2_grpc
from guesthouse.dapr.proto.components_pb2 import (
    InputBindingInitRequest,
    InputBindingInitResponse,
    PingRequest,
    PingResponse,
    ReadRequest,
    ReadResponse,
)
from guesthouse.event import Event, Failure, Reason, Reply

_log = logging.getLogger(__name__)

STREAMS = 32  # that may be read at a time; each holds a thread
VIA = "guesthouse-via"


@dataclass(slots=True)
class _Instance:
    """One Component resource: whose replies it reads, and a reader for each sidecar that has it."""

    guests: frozenset[str]
    readers: list[Reader[ReadResponse]] = field(default_factory=list)


class Replies:
    """Replies of `guests` on their way to sidecars. May be used from any number of threads."""

    def __init__(
        self, component: str, guests: Iterable[str], bounds: Bounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.guests = frozenset(guests)
        self._component = component
        self._bounds = bounds
        self._clock = clock
        self._lock = threading.Lock()
        self._instances: dict[str, _Instance] = {}
        self._streams = 0

    def answered(self, event: Event, reply: Reply) -> None:
        """See `event.Observer`."""
        if reply.guest not in self.guests:
            return
        response = _message(event, reply)
        if response is None:
            _log.warning(
                "a reply of guest %s is not published: its event came from an earlier reply of this guest", reply.guest
            )
            return
        if (size := response.ByteSize()) > LARGEST:
            _log.warning(
                "a reply of guest %s is not published: with %d bytes it is over what a sidecar takes, which is %d",
                reply.guest,
                size,
                LARGEST,
            )
            return
        with self._lock:
            for instance in self._instances.values():
                if reply.guest in instance.guests:
                    instance.readers = [reader for reader in instance.readers if not reader.abandoned]
                    for reader in instance.readers:
                        reader.offer(response.message_id, response, size)

    def failed(self, event: Event, failure: Failure) -> None:
        """Nothing is published of failures."""

    def configure(self, instance: str, properties: Mapping[str, str]) -> None:
        """Read the metadata of a Component resource, and keep replies for its sidecar from now on. Raises `Failure`."""
        named = [name.strip() for name in properties.get("replies", "").split(",") if name.strip()]
        if unknown := sorted(set(named) - self.guests):
            raise Failure(
                Reason.MALFORMED,
                f"component {instance!r}: its metadata replies names {', '.join(unknown)}; "
                f"the guests whose replies are published here are {', '.join(sorted(self.guests))}",
            )
        with self._lock:
            found = self._instance(instance)
            found.guests = frozenset(named) or self.guests
            if not found.readers:
                found.readers.append(self._reader(instance))

    @contextlib.contextmanager
    def reading(self, instance: str) -> Iterator[tuple[Reader[ReadResponse], Stream]]:
        """A reader of an instance for one stream: a reader whose stream has ended, else a new one. Raises `Failure`."""
        with self._lock:
            if self._streams >= STREAMS:
                raise Failure(Reason.FULL, f"{STREAMS} streams read here already")
            self._streams += 1
            readers = self._instance(instance).readers
            reader = next((reader for reader in readers if reader.free), None)
            if reader is None:
                readers.append(reader := self._reader(instance))
            stream = reader.attach()
        try:
            yield reader, stream
        finally:
            reader.detach(stream)
            with self._lock:
                self._streams -= 1

    def finish(self, seconds: float) -> int:
        """Wait up to `seconds` until the sidecars have acknowledged all replies, then end their streams.

        Returns how many replies are not acknowledged.
        """
        with self._lock:
            readers = [reader for instance in self._instances.values() for reader in instance.readers]
        end = time.monotonic() + seconds
        for reader in readers:
            reader.finish(max(0.0, end - time.monotonic()))
        return sum(map(len, readers))

    def _instance(self, name: str) -> _Instance:
        return self._instances.setdefault(name, _Instance(self.guests))

    def _reader(self, instance: str) -> Reader[ReadResponse]:
        return Reader(f"component {instance or self._component}", self._bounds, self._clock)


class InputBinding(components_pb2_grpc.InputBindingServicer):
    """The service that sidecars read replies from."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def Init(self, request: InputBindingInitRequest, context: grpc.ServicerContext) -> InputBindingInitResponse:
        """A sidecar has loaded a Component resource. It may say so again."""
        try:
            self._replies.configure(instance_of(context), properties_of(request.metadata))
        except Failure as failure:
            status.abort(context, failure)
        return InputBindingInitResponse()

    def Read(self, requests: Iterator[ReadRequest], context: grpc.ServicerContext) -> Iterator[ReadResponse]:
        """Send messages until the stream or this process ends. The sidecar sends acknowledgements and nothing else."""
        with contextlib.ExitStack() as stack:
            try:
                reader, stream = stack.enter_context(self._replies.reading(instance_of(context)))
            except Failure as failure:
                status.abort(context, failure)
            if not context.add_callback(lambda: reader.detach(stream)):
                return
            # A daemon: the thread ends with its stream, and at the end of the process nobody waits for a stream.
            threading.Thread(
                target=_acknowledge, args=(requests, reader, stream), name="acknowledge", daemon=True
            ).start()
            while (response := reader.take(stream)) is not None:
                yield response

    def Ping(self, request: PingRequest, context: grpc.ServicerContext) -> PingResponse:
        """It is alive."""
        return PingResponse()


def _acknowledge(requests: Iterator[ReadRequest], reader: Reader[ReadResponse], stream: Stream) -> None:
    """Hand on the sidecar's acknowledgements until its side of the stream ends."""
    try:
        for request in requests:
            failed = request.HasField("response_error")
            error = (status.cut(request.response_error.message) or "no reason given") if failed else ""
            reader.acknowledge(stream, request.message_id, error)
    except grpc.RpcError:  # the stream was cancelled
        pass
    reader.detach(stream)


def _message(event: Event, reply: Reply) -> ReadResponse | None:
    """A reply as a message; None where the event came from a reply of the same guest."""
    via = [name for name in event.metadata.get(VIA, "").split(",") if name]
    if reply.guest in via:
        return None
    response = ReadResponse(data=reply.body, content_type=reply.content_type, message_id=uuid.uuid4().hex)
    response.metadata.update(
        {
            "guest": reply.guest,
            "trigger": event.trigger.value,
            "name": event.name,
            "messageId": response.message_id,
            VIA: ",".join((*via, reply.guest)),
        }
    )
    if event.id:
        response.metadata["id"] = event.id
    if reply.content_type:
        response.metadata["contentType"] = reply.content_type
    return response

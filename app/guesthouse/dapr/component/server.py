"""Guesthouse as a pluggable component of Dapr: the gRPC server on a Unix socket, its start and its end.

What it serves is in `output_binding` (guests as operations) and `input_binding` (replies as events). It may run
beside the application's own server in one process, over the same guests.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from grpc_reflection.v1alpha import reflection

from guesthouse.dapr.admission import Admission
from guesthouse.dapr.component.input_binding import STREAMS, InputBinding, Replies
from guesthouse.dapr.component.output_binding import OutputBinding
from guesthouse.dapr.component.unix_socket import Socket
from guesthouse.dapr.core import Core, choose, make_server
from guesthouse.dapr.events import Events
from guesthouse.dapr.executor import SPARE_THREADS
from guesthouse.dapr.proto import components_pb2, components_pb2_grpc
from guesthouse.dapr.tokens import Tokens
from guesthouse.dapr.transport import Drain, ServeError
from guesthouse.dapr.unary import UnaryCalls
from guesthouse.event import Handler

_LINGER = 0.2  # seconds in which new calls are still refused with a reason, after the last event has left
_FLUSH = 1.0  # seconds for the last answers
_SERVICES = components_pb2.DESCRIPTOR.services_by_name


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """How to serve the component `bindings.NAME`.

    `permissions` are those of the socket: a sidecar needs to write to it. `guests` are the operations of the output
    binding, which is not there without any. `message` is the largest request in bytes. `threads` is how many events
    may be inside plus `SPARE_THREADS`. `at_work` and `core` are as for the server.
    """

    name: str
    folder: Path
    permissions: int = 0o660
    guests: tuple[str, ...] = ()
    message: int = 16 * 2**20
    threads: int = 64 + SPARE_THREADS
    at_work: int = 2
    core: Core = "auto"


class Component:
    """A pluggable component's server, a `Transport`. No sidecar can find it before `start`."""

    name = "component"

    def __init__(self, config: ComponentConfig, handler: Handler, replies: Replies) -> None:
        self.config = config
        self.socket = Socket(config.folder, config.name, config.permissions)
        self._replies = replies
        self._admission = Admission(max(1, config.threads - SPARE_THREADS))
        self.core = choose(config.core, "", tls=False)
        self._server = make_server(
            self.core, config.at_work, config.threads, "component", _options(config.message), STREAMS
        )
        served = [reflection.SERVICE_NAME]
        if config.guests:
            output = OutputBinding(UnaryCalls(Events(handler, Tokens(), self._admission)), config.guests)
            components_pb2_grpc.add_OutputBindingServicer_to_server(output, self._server)  # type: ignore[no-untyped-call]
            served.append(_SERVICES["OutputBinding"].full_name)
        if replies.guests:
            components_pb2_grpc.add_InputBindingServicer_to_server(InputBinding(replies), self._server)  # type: ignore[no-untyped-call]
            served.append(_SERVICES["InputBinding"].full_name)
        # daprd asks for version 1alpha of the reflection service.
        reflection.enable_server_reflection(served, self._server, pool=components_pb2.DESCRIPTOR.pool)

    def start(self) -> None:
        """Serve, then show the socket under its name: a sidecar looks for sockets once. Raises `ServeError`."""
        self.socket.place(self._listen)

    def drain(self, drain: Drain) -> bool:
        """See `Transport.drain`. Replies are still read afterwards, until `stop`."""
        threading.Event().wait(drain.notice)
        self.socket.remove()
        finished = self._admission.close(drain.limit)
        # A sidecar that has not noticed yet is told to try again.
        threading.Event().wait(_LINGER)
        return finished

    def stop(self, seconds: float = 0.0) -> int:
        """See `Transport.stop`. A reply was read when its sidecar has acknowledged it."""
        self.socket.remove()
        left = self._replies.finish(seconds)
        self._server.stop(_FLUSH).wait()
        return left

    def _listen(self, path: Path) -> None:
        try:
            self._server.add_insecure_port(f"unix://{quote(str(path))}")
        except RuntimeError as error:
            raise ServeError(f"cannot listen on a socket in {path.parent.parent}: {error}") from error
        self._server.start()


def _options(message: int) -> list[tuple[str, int]]:
    return [
        # A body is longest as base64 in a JSON text.
        ("grpc.max_receive_message_length", message * 4 // 3 + 65536),
        ("grpc.max_send_message_length", -1),  # measured before it is sent
    ]

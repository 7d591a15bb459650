"""Replies that a route sends on: to a state store and to output bindings, through the sidecar.

The sidecar's gRPC API is `dapr/proto/runtime/v1/dapr.proto`. Where the sidecar listens is in `endpoint`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc
from dapr.proto.common.v1.common_pb2 import StateItem
from dapr.proto.runtime.v1.binding_pb2 import InvokeBindingRequest
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from dapr.proto.runtime.v1.state_pb2 import SaveStateRequest

from guesthouse.dapr.convert import Metadata
from guesthouse.dapr.endpoint import SidecarConnection
from guesthouse.dapr.status import cut
from guesthouse.event import Destination, Event, Failure, Reason, Reply
from guesthouse.text import escaped
from guesthouse.tracecontext import context_of
from guesthouse_abi.deadline import Deadline

_log = logging.getLogger(__name__)

Request = TypeVar("Request")

ATTEMPTS = 4
FIRST_PAUSE = 0.1  # seconds; doubles with each attempt
EVENT_ID = "eventId"
TIME = 10.0  # seconds for all outputs of one event
DETAILS = 400  # bytes of the sidecar's own text that a failure repeats: daprd logs that text nowhere
# Both ends know when a call must end. Where the sidecar's clock is ahead, it resets the stream: CANCELLED.
_TIME_IS_OVER = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_GO_TIME_IS_OVER = "context deadline exceeded"  # Go's text, from a sidecar that answers instead of resetting the stream


@dataclass(slots=True)
class _Delivery:
    """One reply on its way to its outputs."""

    reply: Reply
    deadline: Deadline  # when the outputs must have accepted the reply
    caller: Deadline  # the event's, which is only asked whether the caller hung up
    begun: bool = False  # whether an output has accepted the reply

    def check_caller(self) -> None:
        """Raise `Failure` where the caller waits no more and no output has accepted the reply."""
        if self.caller.cancelled and not self.begun:
            text = "the caller hung up before the reply was handed on"
            raise Failure(Reason.CANCELLED, text, self.reply.guest, self.reply.cost)

    def pause(self, seconds: float) -> bool:
        """Wait about `seconds`, or until the caller hangs up. False, at once, where the outputs have less time left."""
        seconds *= random.uniform(0.75, 1.25)
        if seconds >= self.deadline.remaining():
            return False
        if self.begun:
            time.sleep(seconds)
            return True
        hung_up = threading.Event()
        forget = self.caller.on_cancel(hung_up.set)
        try:
            hung_up.wait(seconds)
        finally:
            forget()
        return True


class SidecarOutputs:
    """`event.Outputs` over the sidecar. May be used from any number of threads.

    All outputs of one event have `seconds` together, however much time the guest has used.
    """

    def __init__(self, connection: SidecarConnection, seconds: float = TIME) -> None:
        self._time = seconds
        self._connection = connection
        self._sidecar = DaprStub(connection.channel)  # type: ignore[no-untyped-call]

    def deliver(self, reply: Reply, event: Event, destination: Destination, caller: Deadline) -> None:
        """Save the reply as state, then send it to each output binding in turn (operation `create`, bytes as they are).

        The state comes first: an event whose delivery fails is sent again, and a state that is written twice does no
        harm. A call is repeated while the sidecar cannot be reached, so an output may get a reply twice: the id of an
        event that has one (a topic's) goes along in the binding's metadata as `eventId`. Raises `Failure`: `OUTPUT` at
        the first destination that did not accept the reply; `CANCELLED` where the caller hung up before the first
        destination had it. Once one destination has the reply, the others get it too. The calls belong to the event's
        trace.
        """
        delivery = _Delivery(reply, Deadline.after(self._time), caller)
        metadata = (*self._connection.metadata, *context_of(event.metadata).items())
        content_type = {"contentType": reply.content_type} if reply.content_type else {}
        if destination.state is not None:
            store, template = destination.state
            item = StateItem(key=state_key(template, event), value=reply.body, metadata=content_type)
            save = SaveStateRequest(store_name=store, states=[item])
            self._call(self._sidecar.SaveState, save, f"state store {store!r}", delivery, metadata)
        described = {**content_type, EVENT_ID: event.id} if event.id else content_type
        for name in destination.to:
            create = InvokeBindingRequest(name=name, data=reply.body, metadata=described, operation="create")
            self._call(self._sidecar.InvokeBinding, create, f"output binding {name!r}", delivery, metadata)

    def _call(
        self,
        method: Callable[..., object],
        request: Request,
        output: str,
        delivery: _Delivery,
        metadata: Metadata,
    ) -> None:
        """Call, and repeat the call with growing pauses while the sidecar cannot be reached."""
        for attempt in range(ATTEMPTS):
            delivery.check_caller()
            timeout = delivery.deadline.remaining()
            try:
                method(request, timeout=timeout, metadata=metadata)
                delivery.begun = True
                return
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
            target = self._connection.target
            _log.warning("%s, attempt %d: %s: %s (%s)", output, attempt + 1, code.name, details, target)
            again = code is grpc.StatusCode.UNAVAILABLE and attempt + 1 < ATTEMPTS
            if not again or not delivery.pause(FIRST_PAUSE * 2**attempt):
                break
        if code is grpc.StatusCode.UNAVAILABLE:
            why = "the sidecar cannot be reached; is it running, and are DAPR_GRPC_PORT or DAPR_GRPC_ENDPOINT right?"
        elif code in _TIME_IS_OVER or _GO_TIME_IS_OVER in (details or ""):
            why = f"no answer within {timeout:.3g} s, what was left of outputs.time; the sidecar's log has more"
        else:
            why = f"the sidecar says {code.name}: {cut(escaped(details or 'no more'), DETAILS)}"
        raise Failure(
            Reason.OUTPUT, f"{output} did not accept the reply: {why}", delivery.reply.guest, delivery.reply.cost
        )


def state_key(template: str, event: Event) -> str:
    """The key of an event's state. `{id}` stands for the event's id, `{name}` for its method, binding, topic or job,
    `{sha256}` for the digest of its body.

    Only a topic's event has an id, and the same one when it is sent again; for any other event, `{id}` is new each
    time.
    """
    values = {
        "{name}": lambda: event.name,
        "{id}": lambda: event.id or uuid.uuid4().hex,
        "{sha256}": lambda: hashlib.sha256(event.body).hexdigest(),
    }
    return re.sub(r"\{(?:name|id|sha256)\}", lambda found: values[found[0]](), template)

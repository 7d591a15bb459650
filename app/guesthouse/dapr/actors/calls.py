"""Events that actors answer: `event.ActorCalls` over the sidecar's `InvokeActor`. The host itself makes these calls, by
routes of the manifest; the calls of guests are in `guest_calls`."""

from __future__ import annotations

import grpc
from dapr.proto.runtime.v1.actors_pb2 import InvokeActorRequest
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub

from guesthouse.dapr.endpoint import SidecarConnection
from guesthouse.dapr.status import cut
from guesthouse.event import Event, Failure, Reason, Reply
from guesthouse.text import escaped
from guesthouse.tracecontext import context_of
from guesthouse_abi.deadline import Deadline

_DETAILS = 400  # bytes of the sidecar's own text that a failure repeats
_NO_METHOD = "actor method not found"  # daprd's words: its code is INTERNAL for whatever an actor answers
_ACTOR_FAILED = "error from actor service"
_REASONS = {
    grpc.StatusCode.INVALID_ARGUMENT: Reason.MALFORMED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.TOO_LARGE,  # over the sidecar's --max-body-size
}


class SidecarActors:
    """See `event.ActorCalls`. For any number of threads."""

    def __init__(self, connection: SidecarConnection, seconds: float) -> None:
        """`seconds` is the most that a call may take: without a host for the actor, a sidecar waits for ever."""
        self._seconds = seconds
        self._metadata = connection.metadata
        self._sidecar = DaprStub(connection.channel)  # type: ignore[no-untyped-call]

    def answer(self, event: Event, actor: tuple[str, str], method: str, caller: Deadline) -> Reply:
        """See `event.ActorCalls`. The call is made once: nothing tells whether a turn that failed has begun."""
        kind, id = actor
        described = {name: value for name, value in event.metadata.items() if name.startswith("ce_")}
        if event.content_type:
            described["content-type"] = event.content_type
        request = InvokeActorRequest(
            actor_type=kind,
            actor_id=id,
            method=method,
            data=event.body,
            metadata={**described, **context_of(event.metadata)},
        )
        call = self._sidecar.InvokeActor.future(
            request, timeout=min(self._seconds, caller.remaining()), metadata=self._metadata
        )
        forget = caller.on_cancel(call.cancel)
        try:
            return Reply(call.result().data)
        except grpc.FutureCancelledError:
            raise Failure(Reason.CANCELLED, "the caller hung up before the actor had answered") from None
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or "no more"
        finally:
            forget()
        raise _failure(f"{kind}/{id}", code, details)


def _failure(actor: str, code: grpc.StatusCode, details: str) -> Failure:
    reason = _REASONS.get(code, Reason.OUTPUT)
    if code is grpc.StatusCode.INTERNAL:
        reason = Reason.NOT_FOUND if _NO_METHOD in details else reason
        reason = Reason.GUEST if _ACTOR_FAILED in details else reason
    text = f"the actor {actor[:200]!a} did not answer: the sidecar says {code.name}: {cut(escaped(details), _DETAILS)}"
    return Failure(reason, text)

"""What a sidecar may answer: any bytes, any status, any message. A reply was accepted, or its event fails."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.dapr import outputs as outputs_module
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse_abi.deadline import Deadline
from tests.support.budget import examples
from tests.support.serving import connected


@dataclass(frozen=True)
class Route:
    to: tuple[str, ...] = ("results",)
    state: tuple[str, str] | None = ("store", "{id}")


class Anything(grpc.GenericRpcHandler):
    """Answers each call with what comes next."""

    def __init__(self) -> None:
        self.answer: tuple[grpc.StatusCode, str, bytes] = (grpc.StatusCode.OK, "", b"")

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        code, text, data = self.answer
        if code is not grpc.StatusCode.OK:
            context.abort(code, text)
        return data


@pytest.fixture(scope="module")
def ends() -> Iterator[tuple[Anything, SidecarOutputs]]:
    anything = Anything()
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((anything,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.MonkeyPatch.context() as patch, connected(f"127.0.0.1:{port}") as connection:
        patch.setattr(outputs_module, "FIRST_PAUSE", 0.001)
        yield anything, SidecarOutputs(connection)
    server.stop(None)


@settings(max_examples=examples(100), deadline=None)
@given(
    code=st.sampled_from(list(grpc.StatusCode)),
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    data=st.binary(max_size=60),
)
def test_whatever_a_sidecar_answers_a_reply_was_accepted_or_its_event_fails(ends, code, text, data):
    anything, outputs = ends
    anything.answer = (code, text, data)
    event = Event(Trigger.TOPIC, "bus/photos", id="7")
    failed: Failure | None = None
    try:
        outputs.deliver(Reply(b"x", "", "g"), event, Route(), Deadline.after(5))
    except Failure as failure:
        failed = failure
    if failed is None:
        assert code is grpc.StatusCode.OK
        return
    assert failed.reason in (Reason.OUTPUT, Reason.DEADLINE, Reason.CANCELLED)
    assert len(str(failed)) < 2000

"""Turns of actors, drawn: whatever a guest reads, writes and saves, it reads what it wrote, and the sidecar has in the
end what a dictionary has; and whatever bytes a guest sends, they are refused in words or collected."""

from __future__ import annotations

import contextlib
from typing import Any

from dapr.proto.runtime.v1.actors_pb2 import (
    ExecuteActorStateTransactionRequest,
    GetActorStateRequest,
    GetActorStateResponse,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse.dapr.actors.state import TurnState
from guesthouse.dapr.api_methods import method_of
from guesthouse.event import Failure
from guesthouse.sidecar import NotMade
from guesthouse_abi.calls import Code
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import TooMuch
from guesthouse_abi.services import Ended
from tests.support.actors import Store
from tests.support.budget import examples

KEYS = st.sampled_from("abc")
VALUES = st.binary(max_size=3)
OPERATIONS = st.lists(st.tuples(st.sampled_from(["upsert", "delete"]), KEYS, VALUES), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("write"), OPERATIONS),
        st.tuples(st.just("save"), st.booleans()),  # whether the sidecar takes it
        st.tuples(st.just("inner"), st.tuples(KEYS, VALUES)),  # a turn inside a reentrant one
    ),
    max_size=12,
)


class Held:
    """`services.Account`, with little room."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def hold(self, count: int) -> None:
        if self.held + count > self.most:
            raise TooMuch("too much")
        self.held += count

    def release(self, count: int) -> None:
        assert 0 <= count <= self.held
        self.held -= count


@settings(max_examples=examples(300), deadline=None)
@given(
    steps=STEPS,
    before=st.dictionaries(KEYS, VALUES.filter(bool)),
    reentrant=st.booleans(),
    room=st.sampled_from([700, 1500, 1 << 20]),
)
def test_a_turn_is_a_dictionary_that_is_saved_at_its_end(
    steps: list[tuple[str, Any]], before: dict[str, bytes], reentrant: bool, room: int
) -> None:
    store, account = Store(**before), Held(room)
    state = TurnState("Cart", "7", "r-1" if reentrant else "")
    unsaved: dict[str, bytes | None] = {}

    def made(method: str, message: bytes) -> Ended:
        endings: list[Ended] = []
        try:
            state.begin(store, method, message, (), 5.0, account, endings.append)
        except NotMade as refusal:
            return Ended(refusal.code)
        return endings[0]

    for kind, what in steps:
        if kind == "get":
            ended = made("GetActorState", GetActorStateRequest(key=what).SerializeToString())
            value = unsaved[what] if what in unsaved else store.values.get(what)
            assert GetActorStateResponse.FromString(ended.message or b"").data == (value or b"")
        elif kind == "write":
            request = ExecuteActorStateTransactionRequest(actor_type="Cart", actor_id="7")
            for operation, key, value in what:
                request.operations.add(operationType=operation, key=key, value=AnyMessage(value=value))
            code = made("ExecuteActorStateTransaction", request.SerializeToString()).code
            assert code in (0, Code.RESOURCE_EXHAUSTED)
            if not code:
                for operation, key, value in what:
                    unsaved[key] = value if operation == "upsert" else None
        elif kind == "save":
            store.fails = None if what else Ended(Code.ABORTED, "no")
            if made("ExecuteActorStateTransaction", b"").code == 0:
                apply(store.values, unsaved)
            store.fails = None
        elif reentrant:
            key, value = what
            store.values[key] = value
    state.commit(Deadline.after(60))
    apply(wanted := dict(store.values), unsaved)
    assert store.values == wanted
    assert account.held <= room


def apply(values: dict[str, bytes], unsaved: dict[str, bytes | None]) -> None:
    for key, value in unsaved.items():
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    unsaved.clear()


@settings(max_examples=examples(300), deadline=None)
@given(
    st.sampled_from(["ExecuteActorStateTransaction", "GetActorState"]),
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda head, kind, key, rest: head + b"\x1a" + bytes([len(kind) + len(key) + 4 + len(rest)])
            + b"\x0a" + bytes([len(kind)]) + kind + b"\x12" + bytes([len(key)]) + key + rest,
            st.just(b"\x0a\x04Cart\x12\x017"), st.sampled_from([b"upsert", b"delete", b"x"]),
            st.binary(max_size=8), st.binary(max_size=40),
        ),
    ),
)  # fmt: skip
def test_any_request_is_refused_in_words_or_collected(method: str, message: bytes) -> None:
    state, endings = TurnState("Cart", "7"), list[Ended]()
    with contextlib.suppress(NotMade):
        checked = method_of(method).checked(message)
        state.begin(Store(), method, checked.message, (), 5.0, Held(1 << 20), endings.append)
        assert endings[0].code == 0
    with contextlib.suppress(Failure):
        state.commit(Deadline.after(60))

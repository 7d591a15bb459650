"""An actor's state during one turn, over a sidecar that keeps state in a dictionary. Behind a real sidecar, actors are
tested in tests/dapr_real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from dapr.proto.runtime.v1.actors_pb2 import (
    ExecuteActorStateTransactionRequest,
    GetActorStateRequest,
    GetActorStateResponse,
    TransactionalActorStateOperation,
)
from google.protobuf.any_pb2 import Any as AnyMessage

from guesthouse.dapr.actors import state as state_module
from guesthouse.dapr.actors.state import REENTRANCY, TurnState
from guesthouse.event import Failure, Reason
from guesthouse.sidecar import NotMade
from guesthouse_abi.calls import Code
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import TooMuch
from guesthouse_abi.services import Ended
from tests.support.actors import Store


class Held:
    """`services.Account`."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.most, self.held = most, 0

    def hold(self, count: int) -> None:
        if self.held + count > self.most:
            raise TooMuch(f"the limit host_memory is {self.most}")
        self.held += count

    def release(self, count: int) -> None:
        self.held -= count


class Turn:
    """A guest's calls in one turn."""

    def __init__(self, store: Store, reentrancy: str = "", most: int = 1 << 20) -> None:
        self.store, self.account = store, Held(most)
        self.state = TurnState("Cart", "7", reentrancy)

    def call(self, method: str, request: Any, metadata: Sequence[tuple[str, str]] = ()) -> list[Ended]:
        """What the call has ended with, or will."""
        endings: list[Ended] = []
        message = request if isinstance(request, bytes) else request.SerializeToString()
        self.cancel = self.state.begin(self.store, method, message, metadata, 60.0, self.account, endings.append)
        return endings

    def get(self, key: str) -> bytes:
        (ended,) = self.call("GetActorState", GetActorStateRequest(actor_type="Cart", actor_id="7", key=key))
        assert ended.code == 0
        assert ended.message is not None
        return GetActorStateResponse.FromString(ended.message).data

    def write(self, *operations: tuple[str, str, bytes]) -> list[Ended]:
        request = ExecuteActorStateTransactionRequest(actor_type="Cart", actor_id="7")
        for kind, key, value in operations:
            request.operations.add(operationType=kind, key=key, value=AnyMessage(value=value, type_url="x/y"))
        return self.call("ExecuteActorStateTransaction", request, [("traceparent", TRACE), ("x-mine", "1")])

    def save(self) -> list[Ended]:
        return self.write()

    def commit(self) -> None:
        self.state.commit(Deadline.after(60))


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_what_is_written_is_saved_at_the_end_in_one_transaction_the_last_write_of_a_key_counts() -> None:
    turn = Turn(Store(c=b"old"))
    assert turn.write(("upsert", "a", b"1"), ("upsert", "b", b"2"), ("upsert", "a", b"3")) == [Ended(0, "", b"")]
    turn.write(("delete", "c", b""), ("upsert", "b", b"4"))
    assert turn.store.made == []
    turn.commit()
    assert turn.store.transactions == [[("upsert", "a", b"3"), ("delete", "c", b""), ("upsert", "b", b"4")]]
    assert turn.store.metadata == [{"traceparent": TRACE}]
    assert turn.state.saved_bytes > 0


def test_the_last_write_of_a_key_stands_where_it_was_made() -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"), ("upsert", "b", b"2"), ("delete", "a", b""))
    turn.commit()
    assert turn.store.transactions == [[("upsert", "b", b"2"), ("delete", "a", b"")]]


def test_a_turn_that_writes_nothing_saves_nothing() -> None:
    turn = Turn(Store(a=b"1"))
    assert turn.get("a") == b"1"
    assert turn.save() == [Ended(0, "", b"")]
    turn.commit()
    assert turn.store.made == ["GetActorState"]
    assert turn.state.saved_bytes == 0


def test_a_read_gives_what_the_turn_has_written_before_as_the_sidecar_would() -> None:
    turn, other = Turn(Store(a=b"old", b=b"gone")), Turn(Store(a=b"\xff\0new"))
    assert turn.get("a") == b"old"
    turn.write(("upsert", "a", b"\xff\0new"), ("delete", "b", b""), ("upsert", "empty", b""))
    read = GetActorStateRequest(actor_type="Cart", actor_id="7", key="a")
    assert turn.call("GetActorState", read) == other.call("GetActorState", read)
    assert [turn.get(key) for key in ("b", "empty")] == [b"", b""]


def test_a_read_is_asked_for_once_in_a_turn() -> None:
    turn = Turn(Store(a=b"1"))
    assert [turn.get(key) for key in ("a", "a", "none", "none")] == [b"1", b"1", b"", b""]
    assert turn.store.made == ["GetActorState"] * 2
    assert Turn(turn.store).get("a") == b"1"
    assert turn.store.made == ["GetActorState"] * 3, "another turn reads anew"
    assert turn.state.read_bytes == len(GetActorStateResponse(data=b"1").SerializeToString())


def test_a_read_that_failed_is_made_again() -> None:
    turn = Turn(Store(a=b"1"))
    turn.store.fails = Ended(Code.UNAVAILABLE, "no")
    assert turn.call("GetActorState", GetActorStateRequest(key="a"))[0].code == Code.UNAVAILABLE
    turn.store.fails = None
    assert turn.get("a") == b"1"


def test_a_read_that_ends_after_a_write_does_not_hide_it() -> None:
    turn = Turn(Store(a=b"old"))
    turn.store.later = []
    early = turn.call("GetActorState", GetActorStateRequest(key="a"))
    turn.write(("upsert", "a", b"new"))
    turn.store.later[0]()
    assert GetActorStateResponse.FromString(early[0].message or b"").data == b"old"
    assert turn.get("a") == b"new"


def test_what_is_saved_at_once_is_not_saved_again() -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"))
    assert turn.save() == [Ended(0, "", b"")]
    assert turn.store.transactions == [[("upsert", "a", b"1")]]
    assert turn.get("a") == b"1"
    turn.write(("upsert", "b", b"2"))
    turn.commit()
    assert turn.store.transactions[1:] == [[("upsert", "b", b"2")]]


def test_what_could_not_be_saved_at_once_is_saved_at_the_end() -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"))
    turn.store.fails = Ended(Code.ABORTED, "no")
    assert turn.save() == [Ended(Code.ABORTED, "no")]
    turn.store.fails = None
    turn.commit()
    assert turn.store.transactions == [[("upsert", "a", b"1")]]


def test_what_is_written_while_a_transaction_goes_on_is_saved_after_it() -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"), ("upsert", "b", b"1"))
    turn.store.later = []
    turn.save()
    cancel = turn.cancel
    turn.write(("upsert", "a", b"2"))
    saved, turn.store.later = turn.store.later, None
    ending = threading.Timer(0.05, saved[0])
    ending.start()
    cancel()  # what the guest's end does: it waits, so that the next turn cannot begin before
    assert len(turn.store.transactions) == 1
    turn.commit()
    ending.join()
    assert turn.store.transactions == [[("upsert", "a", b"1"), ("upsert", "b", b"1")], [("upsert", "a", b"2")]]


def test_one_transaction_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"))
    turn.store.later = []
    turn.save()
    turn.write(("upsert", "a", b"2"))
    first, turn.store.later = turn.store.later, None
    ending = threading.Thread(target=first[0])
    ending.start()
    assert turn.save() == [Ended(0, "", b"")]
    ending.join()
    assert turn.store.transactions == [[("upsert", "a", b"1")], [("upsert", "a", b"2")]]


def test_no_transaction_is_sent_behind_one_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_LATER", -60.0)  # a call may take 60 seconds and this
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"))
    turn.store.later = []
    turn.save()
    turn.write(("upsert", "b", b"2"))
    with pytest.raises(NotMade, match=r"an earlier transaction of this turn has not ended"):
        turn.save()
    with pytest.raises(Failure, match=r"'Cart/7' was not saved: .* an earlier transaction goes on") as failed:
        turn.commit()
    assert failed.value.reason is Reason.OUTPUT
    assert len(turn.store.made) == 1


def test_what_the_sidecar_does_not_take_fails_the_turn_in_its_words() -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"1"))
    turn.store.fails = Ended(Code.INTERNAL, "actor instance is missing\x1b[2J")
    with pytest.raises(Failure) as failed:
        turn.commit()
    assert failed.value.reason is Reason.OUTPUT
    assert failed.value.text == (
        "the state of the actor 'Cart/7' was not saved: the sidecar says INTERNAL: actor instance is missing\\x1b[2J"
    )
    assert turn.state.saved_bytes == 0


def test_a_turn_that_was_given_up_saves_nothing() -> None:
    turn, deadline = Turn(Store()), Deadline.after(60)
    turn.write(("upsert", "a", b"1"))
    deadline.cancel()
    with pytest.raises(Failure) as failed:
        turn.state.commit(deadline)
    assert failed.value.reason is Reason.CANCELLED
    assert turn.store.made == []


class Holds(Store):
    """A sidecar that holds calls back, and lets go of one when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        self.begun.set()
        return lambda: done(Ended(Code.CANCELLED, "cancelled"))


@pytest.mark.parametrize("cut_first", [False, True])
def test_a_transaction_that_the_sidecar_holds_back_ends_soon_after_its_turn_was_given_up(cut_first: bool) -> None:
    turn = Turn(Holds())
    turn.write(("upsert", "a", b"1"))
    if cut_first:
        turn.state.give_up()
    endings = turn.save()
    turn.state.give_up()
    turn.cancel()  # what the guest's end does
    assert [ended.code for ended in endings][:1] == [Code.CANCELLED]


def test_a_commit_that_the_sidecar_holds_back_ends_soon_after_its_turn_was_cancelled() -> None:
    sidecar, deadline = Holds(), Deadline.after(60)
    turn = Turn(sidecar)
    turn.write(("upsert", "a", b"1"))

    def cut() -> None:
        sidecar.begun.wait(60)
        deadline.cancel()

    cutting = threading.Thread(target=cut)
    cutting.start()
    with pytest.raises(Failure, match="CANCELLED: cancelled"):
        turn.state.commit(deadline)
    cutting.join()


def test_a_turn_that_its_own_calls_may_come_back_to_keeps_nothing_that_they_may_change() -> None:
    turn = Turn(Store(a=b"1"), reentrancy="r-1")
    assert turn.state.handed_on == {REENTRANCY: "r-1"}
    assert turn.get("a") == b"1"
    turn.store.values["a"] = b"2"  # by a turn inside this one
    assert turn.get("a") == b"2"
    turn.write(("upsert", "a", b"3"))
    assert turn.get("a") == b"3"
    turn.save()
    turn.store.values["a"] = b"4"
    assert turn.get("a") == b"4"
    turn.commit()
    assert turn.store.values == {"a": b"4"}
    assert turn.account.held == 0


def test_a_value_that_is_written_while_it_is_saved_is_not_lost_in_a_turn_that_calls_may_come_back_to() -> None:
    turn = Turn(Store(), reentrancy="r-1")
    turn.write(("upsert", "a", b"1"))
    turn.store.later = []
    turn.save()
    turn.write(("upsert", "a", b"2"))
    (saved,), turn.store.later = turn.store.later, None
    saved()
    assert turn.get("a") == b"2"
    turn.commit()
    assert turn.store.values == {"a": b"2"}


def test_an_actor_that_is_not_reentrant_hands_nothing_on() -> None:
    assert Turn(Store()).state.handed_on == {}


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (("increment", "a", b""), "an operation 'increment': write upsert or delete"),
        (("", "a", b""), "an operation '': write upsert or delete"),
        (("Upsert", "a", b""), "an operation 'Upsert'"),
        (("upsert", "", b""), "the operation upsert has no key"),
        (("upsert", "8||a", b""), "it may be another actor's"),
        (("delete", "|a", b""), "it may be another actor's"),
    ],
)
def test_an_operation_that_is_refused_takes_the_whole_transaction_along(
    operation: tuple[str, str, bytes], why: str
) -> None:
    turn = Turn(Store())
    with pytest.raises(NotMade, match=r"operation|key") as refused:
        turn.write(("upsert", "ok", b"1"), operation)
    assert refused.value.code == Code.INVALID_ARGUMENT
    assert why in str(refused.value)
    turn.commit()
    assert turn.store.made == []
    assert turn.account.held == 0


@pytest.mark.parametrize("key", ["8||a", "|a"])
def test_no_read_of_a_key_reaches_another_actor(key: str) -> None:
    turn = Turn(Store())
    with pytest.raises(NotMade, match="it may be another actor's"):
        turn.get(key)
    assert turn.store.made == []


def test_a_transaction_has_so_many_operations() -> None:
    turn = Turn(Store())
    turn.write(*[("upsert", str(number), b"") for number in range(1000)])
    with pytest.raises(NotMade, match="more than 1000 operations in one transaction"):
        turn.write(*[("upsert", str(number), b"") for number in range(1001)])


def test_a_turn_writes_as_much_as_the_host_holds_for_it() -> None:
    turn = Turn(Store(), most=100_000)
    turn.write(("upsert", "a", b"x" * 60_000))
    with pytest.raises(NotMade, match="would write too much state: the limit host_memory is 100000") as refused:
        turn.write(("upsert", "b", b"x" * 60_000))
    assert refused.value.code == Code.RESOURCE_EXHAUSTED
    assert turn.get("b") == b""
    turn.write(("delete", "a", b""))
    turn.write(("upsert", "b", b"x" * 60_000))
    turn.commit()
    assert turn.store.values == {"b": b"x" * 60_000}


def test_many_writes_of_little_count_too() -> None:
    turn = Turn(Store(), most=100_000)
    with pytest.raises(NotMade, match="too much state"):
        turn.write(*[("upsert", str(number), b"") for number in range(1000)])


def test_what_is_read_counts_and_is_not_kept_where_it_is_too_much() -> None:
    turn = Turn(Store(a=b"x" * 60_000, b=b"y" * 60_000), most=100_000)
    for _ in range(2):
        assert len(turn.get("a")) == len(turn.get("b")) == 60_000
    turn.write(("upsert", "c", b""))
    assert turn.store.made == ["GetActorState"] * 3, "the second time, b alone is read again"
    assert turn.account.held < 100_000


def test_saving_at_once_gives_back_what_it_took() -> None:
    turn = Turn(Store())
    turn.write(("upsert", "a", b"x" * 1000))
    held = turn.account.held
    turn.save()
    turn.save()
    assert turn.account.held == held


@pytest.mark.parametrize("method", ["RegisterActorTimer", "UnregisterActorReminder", "InvokeActor", "GetState"])
def test_other_calls_are_passed_on(method: str) -> None:
    turn = Turn(Store())
    assert turn.call(method, b"") == [Ended(0, "", b"passed on")]
    assert turn.store.made == [method]


def test_a_value_keeps_its_type_and_metadata_on_its_way() -> None:
    seen: list[TransactionalActorStateOperation] = []

    class Kept(Store):
        def ended(self, method: str, message: bytes) -> Ended:
            seen.extend(ExecuteActorStateTransactionRequest.FromString(message).operations)
            return Ended(0, "", b"")

    turn = Turn(Kept())
    operation = TransactionalActorStateOperation(
        operationType="upsert", key="a", value=AnyMessage(type_url="t", value=b"1"), metadata={"ttlInSeconds": "5"}
    )
    turn.call("ExecuteActorStateTransaction", ExecuteActorStateTransactionRequest(operations=[operation]))
    turn.commit()
    assert seen == [operation]

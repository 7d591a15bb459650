"""The sixth example of the SDKs, the actor `account`, does what guests/sdk/EXAMPLES.md says: built modules, with a
sidecar that keeps state in a dictionary and has actors call each other. Behind a real one: tests/dapr_real.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from dapr.proto.runtime.v1 import actors_pb2
from google.protobuf import json_format

from guesthouse.assembly import open_plan
from guesthouse.dapr.actors.state import TurnState
from guesthouse.dapr.api_methods import Requests
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Actor, Answer, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse_abi.services import Ended
from tests.sdk.modules import ACCOUNT, ACTORS, SDK, line_of
from tests.support.doubles import NoOutputs
from tests.support.places import PLACES, engine_table, isolation_of

UNAVAILABLE = Ended(14, "no answer")


class Bank(Requests):
    """A sidecar for the actors of one guest: state by actor and key. `sidecar.SidecarApi`."""

    def __init__(self) -> None:
        self.state: dict[str, dict[str, bytes]] = {}
        self.made: list[tuple[str, bytes]] = []
        self.fails: dict[str, Ended] = {}  # by method: how the next call of it ends
        self.invoke: Callable[[actors_pb2.InvokeActorRequest], bytes] = lambda request: b""

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        self.made.append((method, message))
        if method in self.fails:
            done(self.fails.pop(method))
        elif method == "InvokeActor":  # another guest's turn, while this one waits in its thread
            threading.Thread(target=lambda: done(self._invoked(message))).start()
        else:
            done(Ended(0, "", self._ended(method, message)))
        return lambda: None

    def _invoked(self, message: bytes) -> Ended:
        try:
            data = self.invoke(actors_pb2.InvokeActorRequest.FromString(message))
        except Failure as failure:
            return Ended(13, failure.text)
        return Ended(0, "", actors_pb2.InvokeActorResponse(data=data).SerializeToString())

    def _ended(self, method: str, message: bytes) -> bytes:
        if method == "GetActorState":
            read = actors_pb2.GetActorStateRequest.FromString(message)
            value = self.state.get(read.actor_id, {}).get(read.key, b"")
            return actors_pb2.GetActorStateResponse(data=value).SerializeToString()
        if method == "ExecuteActorStateTransaction":
            written = actors_pb2.ExecuteActorStateTransactionRequest.FromString(message)
            for one in written.operations:
                assert one.operationType == "upsert"
                self.state.setdefault(written.actor_id, {})[one.key] = one.value.value
        return b""


class Accounts:
    """Sends events to the actors."""

    def __init__(self, dispatcher: Dispatcher, bank: Bank) -> None:
        self.bank = bank
        self._dispatcher = dispatcher
        bank.invoke = lambda request: self.reply(request.actor_id, request.method, request.data).body

    def reply(self, id: str, method: str, body: bytes = b"", trigger: Trigger = Trigger.ACTOR) -> Reply:
        actor = Actor(id, method, state=TurnState("Account", id))
        return self._dispatcher.dispatch(Event(trigger, "Account", body, actor=actor))

    def failure(self, id: str, method: str, body: bytes = b"", trigger: Trigger = Trigger.ACTOR) -> tuple[Reason, str]:
        with pytest.raises(Failure) as failed:
            self.reply(id, method, body, trigger)
        return failed.value.reason, failed.value.text

    def balance(self, id: str) -> int:
        return int(self.reply(id, "balance").body)


def manifest(language: str, place: str) -> str:
    """The manifest of the sixth example in EXAMPLES.md, with the module of one SDK."""
    page = (SDK / "EXAMPLES.md").read_text().partition("## `account`")[2]
    found = re.search(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found[1].replace('calling = "dapr"', f'calling = "dapr"\nisolation = "{isolation_of(place)}"')
    text = text.replace(f'module = "{ACCOUNT}.wasm"', line_of(language, ACCOUNT))
    return f'[app]\nname = "examples"\n{engine_table(place)}{text}'


#: Scripts in Python are served by wasmtime alone.
RUNS = [(language, place) for language in ACTORS for place in PLACES if (language, place) != ("python", "wasmer")]


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dispatcher, Bank]]:
    path = tmp_path_factory.mktemp("account") / "guesthouse.toml"
    path.write_text(manifest(*request.param))
    bank = Bank()
    with open_plan(load(path, grants=GRANTS), {"dapr": bank}) as plan:
        yield Dispatcher(Plans(plan), NoOutputs()), bank


@pytest.fixture
def accounts(loaded: tuple[Dispatcher, Bank]) -> Accounts:
    dispatcher, bank = loaded
    bank.__init__()  # type: ignore[misc]
    return Accounts(dispatcher, bank)


def test_money_comes_and_goes(accounts: Accounts) -> None:
    assert accounts.balance("ann") == 0
    assert accounts.reply("ann", "deposit", b"7").body == b"7"
    assert accounts.reply("ann", "withdraw", b"3").body == b"4"
    assert (accounts.balance("ann"), accounts.balance("bob")) == (4, 0)


def test_more_than_there_is_is_refused_with_a_status(accounts: Accounts) -> None:
    accounts.reply("ann", "deposit", b"5")
    before = dict(accounts.bank.state["ann"])
    reply = accounts.reply("ann", "withdraw", b"6")
    assert reply.answer == Answer(409, "not enough: the balance is 5")
    assert reply.body == b"not enough: the balance is 5"
    assert accounts.reply("ann", "transfer", b"t1 bob 6").answer == reply.answer
    assert accounts.bank.state["ann"] == before
    assert accounts.balance("bob") == 0


@pytest.mark.parametrize("method", ["deposit", "withdraw", "interest"])
@pytest.mark.parametrize("body", [b"", b"0", b"-1", b"+1", b"1.5", b"1 ", b"x", b"1000000001", b"9" * 30])
def test_what_is_no_amount_is_dropped(accounts: Accounts, method: str, body: bytes) -> None:
    assert accounts.failure("ann", method, body) == (Reason.MALFORMED, "this is not an amount")


@pytest.mark.parametrize("body", [b"", b"t1", b"t1 bob", b" bob 1", b"t1  1", b"t1 ann 1"])
def test_what_is_no_transfer_is_dropped(accounts: Accounts, body: bytes) -> None:
    accounts.reply("ann", "deposit", b"5")
    assert accounts.failure("ann", "transfer", body) == (Reason.MALFORMED, "this is not a transfer")
    assert accounts.balance("ann") == 5


def test_a_transfer_moves_money_once_however_often_it_is_asked_for(accounts: Accounts) -> None:
    accounts.reply("ann", "deposit", b"10")
    for _ in range(3):
        assert accounts.reply("ann", "transfer", b"t1 bob 4").body == b"6"
    assert accounts.reply("ann", "transfer", b"t1 eve 5").body == b"6"  # the id stands for what it stood for first
    assert accounts.reply("ann", "transfer", b"t2 bob 1").body == b"5"
    assert [accounts.balance(id) for id in ("ann", "bob", "eve")] == [5, 5, 0]


def test_a_transfer_that_got_no_answer_is_finished_when_it_is_asked_for_again(accounts: Accounts) -> None:
    accounts.reply("ann", "deposit", b"10")
    accounts.bank.fails["InvokeActor"] = UNAVAILABLE
    assert accounts.failure("ann", "transfer", b"t1 bob 4") == (Reason.TRY_AGAIN, "no answer")
    assert [accounts.balance(id) for id in ("ann", "bob")] == [6, 0]  # it was saved before the call
    assert accounts.reply("ann", "transfer", b"t1 bob 4").body == b"6"
    assert [accounts.balance(id) for id in ("ann", "bob")] == [6, 4]


def test_nobody_gets_money_where_taking_it_out_is_not_saved(accounts: Accounts) -> None:
    accounts.reply("ann", "deposit", b"10")
    accounts.bank.fails["ExecuteActorStateTransaction"] = Ended(14, "no store")
    assert accounts.failure("ann", "transfer", b"t1 bob 4") == (Reason.TRY_AGAIN, "no store")
    assert [accounts.balance(id) for id in ("ann", "bob")] == [10, 0]


def test_interest_is_paid_by_a_reminder_which_stops(accounts: Accounts) -> None:
    accounts.reply("ann", "deposit", b"1000")
    assert accounts.reply("ann", "interest", b"2").body == b""
    registered = [message for method, message in accounts.bank.made if method == "RegisterActorReminder"]
    reminder = actors_pb2.RegisterActorReminderRequest.FromString(registered[0])
    assert json_format.MessageToDict(reminder, preserving_proto_field_name=True) == {
        "actor_type": "Account", "actor_id": "ann", "name": "interest", "due_time": "1s", "period": "1s",
        "data": "Mg==",
    }  # fmt: skip
    assert [accounts.reply("ann", "interest", b"2", Trigger.REMINDER).stop for _ in range(2)] == [False, True]
    assert accounts.balance("ann") == 1020
    accounts.reply("ann", "interest", b"2")  # counts anew
    assert [accounts.reply("ann", "interest", b"2", Trigger.REMINDER).stop for _ in range(2)] == [False, True]
    assert accounts.balance("ann") == 1040


def test_other_names_are_not_there(accounts: Accounts) -> None:
    assert accounts.reply("ann", "rob").answer == Answer(404, "there is no method rob")
    told = accounts.failure("ann", "deposit", b"1", Trigger.REMINDER)
    assert told == (Reason.MALFORMED, "there is no reminder deposit")

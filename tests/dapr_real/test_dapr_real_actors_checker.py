"""The checker of actors: a short run of it, and that it finds what it looks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dapr_real.actors_checker import KINDS, Account, Operation, Turn, bank_of, check, faults
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Redis


@pytest.mark.parametrize("place", ["thread", "process"])
def test_what_was_acknowledged_is_in_the_state_once_though_each_kind_of_program_is_killed(
    tmp_path: Path, redis: Redis, control_plane: ControlPlane, place: str
):
    with bank_of(tmp_path, redis, control_plane, place=place, accounts=40, callers=16) as bank:
        kills = KINDS if place == "thread" else KINDS[:1]
        assert check(bank, 5.0 * len(kills), kills, print) == []


def bank() -> tuple[list[Operation], dict[str, Account]]:
    """What is found where all is well: 100 was deposited in `a`, 30 of it was sent to `b`, and a reminder brought 5."""
    operations = [
        Operation("1", "deposit", "a", 100, acknowledged=True),
        Operation("2", "send", "a", 30, "b", acknowledged=True),
        Operation("3", "later", "a", 5, "b", acknowledged=True),
        Operation("4", "deposit", "b", 7),
    ]
    a = [Turn("1", 1, 100, 10, 20, "t1", "-"), Turn("2", 2, -30, 20, 40, "t2", "-")]
    a += [Turn("3", 3, -5, 41, 50, "t3", "gone"), Turn("3-brought", 4, 0, 51, 70, "t4", "-")]
    b = [Turn("2", 1, 30, 25, 35, "t5", "-"), Turn("3", 2, 5, 55, 60, "t6", "-")]
    return operations, {"a": Account(a, 4, 65), "b": Account(b, 2, 35)}


def test_it_says_nothing_where_all_is_well():
    assert list(faults(*bank())) == []


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ({"id": "other"}, "lost: "),
        ({"amount": -31}, "made up: "),
        ({"number": 3}, "numbers: "),
        ({"amount": -31}, "balance: "),
        ({"begin": 19}, "overlap: in account a Turn(id='2'"),
        ({"busy": "t1"}, "which was saved later"),
    ],
)
def test_it_finds_a_turn_that_is_not_as_it_should_be(flaw: dict[str, Any], said: str):
    operations, accounts = bank()
    accounts["a"].turns[1] = accounts["a"].turns[1]._replace(**flaw)
    assert any(said in text for text in faults(operations, accounts))


def test_it_finds_a_turn_that_was_done_twice():
    operations, accounts = bank()
    accounts["b"].turns.append(Turn("2", 3, 30, 80, 90, "t7", "-"))
    accounts["b"].number, accounts["b"].balance = 3, 65
    assert list(faults(operations, accounts)) == ["sum: 100 was deposited, and 130 is there"]


def test_it_finds_a_reminder_that_has_brought_nothing():
    operations, accounts = bank()
    accounts["a"].turns.pop()
    accounts["a"].number = 3
    accounts["a"].waiting.append("3")
    assert list(faults(operations, accounts)) == [
        "lost: later 3 was acknowledged, and account a has no 3-brought",
        "reminder: account a has 3 left to bring",
    ]

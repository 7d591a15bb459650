"""What is counted of guests' calls to the sidecar: by building block, method and status, with their time."""

from __future__ import annotations

import pytest

from guesthouse.dapr.api_methods import CLOSED, METHODS
from guesthouse.page.calls import Calls
from guesthouse.sidecar import building_block


def test_calls_are_counted_by_method_and_status_and_by_building_block():
    calls = Calls()
    calls.add({("dapr", "GetState", "OK"): [0.001, 0.003], ("dapr", "PublishEvent", "OK"): [0.010]})
    calls.add({("dapr", "SaveState", "ABORTED"): [0.002], ("dapr", "GetState", "OK"): [0.002]})
    assert calls.in_all() == {"count": 5, "ms": 18.0, "failed": 1}
    assert calls.by_block() == [
        {"block": "pub/sub", "count": 1, "ms": 10.0, "failed": 0},
        {"block": "state", "count": 4, "ms": 8.0, "failed": 1},
    ]
    assert calls.by_status() == [
        {"block": "pub/sub", "method": "PublishEvent", "status": "OK", "count": 1, "ms": 10.0},
        {"block": "state", "method": "GetState", "status": "OK", "count": 3, "ms": 6.0},
        {"block": "state", "method": "SaveState", "status": "ABORTED", "count": 1, "ms": 2.0},
    ]


def test_calls_of_another_capability_are_none_of_the_sidecars():
    calls = Calls()
    calls.add({("keyvalue", "get", "OK"): [1.0]})
    assert (calls.in_all(), calls.by_block(), calls.by_status()) == ({"count": 0, "ms": 0.0, "failed": 0}, [], [])


@pytest.mark.parametrize("method", METHODS)
def test_each_method_that_guests_may_call_is_of_a_building_block(method: str):
    assert building_block(method) != "other"


@pytest.mark.parametrize(
    ("method", "block"),
    [
        ("DeleteBulkState", "state"),
        ("ExecuteActorStateTransaction", "actors"),
        ("RegisterActorReminder", "actors"),
        ("InvokeService", "invocation"),
        ("InvokeBinding", "bindings"),
        ("UnlockAlpha1", "lock"),
        ("SubtleSignAlpha1", "cryptography"),
        ("DecryptAlpha1", "cryptography"),
        ("BulkPublishEventAlpha1", "pub/sub"),
        ("RaiseEventWorkflowBeta1", "workflow"),
        ("unknown", "other"),
    ],
)
def test_a_method_is_of_the_building_block_that_dapr_has_it_in(method: str, block: str):
    assert building_block(method) == block


def test_what_no_guest_may_call_has_a_block_too():
    assert {building_block(method) for method in CLOSED} <= {"actors", "configuration", "pub/sub", "other"}

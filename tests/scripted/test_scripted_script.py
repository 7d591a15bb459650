"""Scripted answers: which calls match, what is answered, and what a script says of calls that it does not expect."""

from __future__ import annotations

import queue
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from guesthouse.dapr.api_methods import METHODS
from guesthouse.scripted.script import ScriptedSidecar, load_script
from guesthouse.scripted.tables import ScriptFaults
from guesthouse_abi.services import Ended

OK, DEADLINE_EXCEEDED, FAILED_PRECONDITION, UNIMPLEMENTED, UNAVAILABLE = 0, 4, 9, 12, 14


def scripted(folder: Path, text: str) -> ScriptedSidecar:
    file = folder / "calls.toml"
    file.write_text(text)
    return ScriptedSidecar(load_script(file))


def call(sidecar: ScriptedSidecar, method: str, fields: Mapping[str, Any] | None = None) -> Ended:
    """Make a call as the host does, after its request was read."""
    message = METHODS[method].request(**fields or {}).SerializeToString()
    ended: list[Ended] = []
    sidecar.begin(method, message, (), 1.0, ended.append)
    (one,) = ended
    return one


def response(method: str, ended: Ended) -> Any:
    assert ended.message is not None
    return METHODS[method].response.FromString(ended.message)


GET = """
[[call]]
method = "GetState"
request = { storeName = "store", key = "cart-1" }
reply = { data = { json = { total = 3 } }, etag = "7" }
"""
SAVE = """
[[call]]
method = "SaveState"
request = { storeName = "store", states = [{ key = "cart-1", value = { json = { total = 4, of = "tea" } } }] }
"""
SAVED: dict[str, Any] = {"store_name": "store", "states": [{"key": "cart-1", "value": b'{ "of": "tea", "total": 4}'}]}
CART = {"store_name": "store", "key": "cart-1"}


def test_a_call_is_answered_by_the_message_that_the_script_has(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, GET)
    answer = response("GetState", call(sidecar, "GetState", CART))
    assert (answer.data, answer.etag) == (b'{"total":3}', "7")
    assert sidecar.faults() == []


def test_what_the_script_does_not_name_may_be_anything(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, GET)
    assert call(sidecar, "GetState", {**CART, "consistency": 2, "metadata": {"a": "b"}}).code == OK


def test_bytes_that_are_json_are_compared_as_json(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, SAVE)
    assert call(sidecar, "SaveState", SAVED).code == OK
    other = scripted(tmp_path, SAVE)
    ended = call(other, "SaveState", {"store_name": "store", "states": [{"key": "cart-1", "value": b"{}"}]})
    assert ended.code == FAILED_PRECONDITION
    assert ended.text == (
        "SaveState was not expected: call 1 (SaveState) expects another request: request.states[0].value is "
        '"{}", not "{\\"total\\":4,\\"of\\":\\"tea\\"}"'
    )


def test_a_call_may_take_a_while_and_be_given_up(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, GET + 'after = "1h"\n' + GET + 'after = "10ms"')
    message = METHODS["GetState"].request(**CART).SerializeToString()
    ended: queue.Queue[Ended] = queue.Queue()
    cancel = sidecar.begin("GetState", message, (), 7200.0, ended.put)
    assert ended.empty()
    cancel()
    sidecar.begin("GetState", message, (), 60.0, ended.put)
    assert ended.get(timeout=60).code == OK
    assert ended.empty()


def test_a_call_that_takes_longer_than_it_may_ends_with_its_deadline(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, GET + 'after = "1h"')
    ended: queue.Queue[Ended] = queue.Queue()
    sidecar.begin("GetState", METHODS["GetState"].request(**CART).SerializeToString(), (), 0.01, ended.put)
    assert ended.get(timeout=60).code == DEADLINE_EXCEEDED


def test_lists_have_as_many_elements_as_the_script_says(tmp_path: Path) -> None:
    for states, count in (([], 0), ([*SAVED["states"], {"key": "b"}], 2)):
        ended = call(scripted(tmp_path, SAVE), "SaveState", {"store_name": "store", "states": states})
        assert ended.code == FAILED_PRECONDITION
        assert ended.text.endswith(f"request.states has {count} elements, not 1")


def test_a_status_takes_the_place_of_a_reply(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, '[[call]]\nmethod = "PublishEvent"\nstatus = "UNAVAILABLE"\ntext = "no broker"\n')
    ended = call(sidecar, "PublishEvent")
    assert (ended.code, ended.text, ended.message) == (UNAVAILABLE, "no broker", None)


def test_calls_come_in_the_order_that_is_written(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, GET + SAVE)
    ended = call(sidecar, "SaveState", SAVED)
    assert (ended.code, ended.text) == (
        UNIMPLEMENTED, "SaveState was not expected: the script expects call 1 (GetState)",
    )  # fmt: skip
    assert call(sidecar, "GetState", CART).code == OK
    assert call(sidecar, "SaveState", SAVED).code == OK
    assert call(sidecar, "GetState", CART).text == "GetState was not expected: the script expects no further call"
    assert sidecar.faults() == [
        "an unexpected call of SaveState: the script expects call 1 (GetState)",
        "an unexpected call of GetState: the script expects no further call",
    ]


def test_calls_may_come_in_any_order(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, 'order = "any"\n' + GET + SAVE)
    assert call(sidecar, "SaveState", SAVED).code == OK
    assert sidecar.faults() == ["call 1 (GetState) did not come"]
    assert call(sidecar, "GetState", CART).code == OK
    assert sidecar.faults() == []


def test_a_call_comes_as_often_as_the_script_says(tmp_path: Path) -> None:
    sidecar = scripted(tmp_path, GET + "times = 2\n" + SAVE)
    assert call(sidecar, "GetState", CART).code == OK
    assert sidecar.faults() == ["call 1 (GetState) came 1 of 2 times", "call 2 (SaveState) did not come"]
    assert call(sidecar, "SaveState", SAVED).code == UNIMPLEMENTED
    assert call(sidecar, "GetState", CART).code == OK
    assert call(sidecar, "SaveState", SAVED).code == OK


def test_a_call_may_come_any_number_of_times_or_not_at_all(tmp_path: Path) -> None:
    script = GET + 'times = "any"\n' + SAVE
    sidecar = scripted(tmp_path, script)
    assert [call(sidecar, "GetState", CART).code for _ in range(3)] == [OK] * 3
    assert call(sidecar, "SaveState", SAVED).code == OK
    assert call(sidecar, "GetState", CART).code == UNIMPLEMENTED  # its turn is over
    without = scripted(tmp_path, script)
    assert call(without, "SaveState", SAVED).code == OK
    assert without.faults() == []


def test_an_invocation_carries_any_bytes(tmp_path: Path) -> None:
    sidecar = scripted(
        tmp_path,
        """
        [[call]]
        method = "InvokeService"
        request = { id = "billing", message = { method = "charge", data = { json = { total = 3 } } } }
        reply = { data = { text = "paid" }, contentType = "text/plain" }
        """,
    )
    data = {"value": b'{"total": 3}'}
    ended = call(sidecar, "InvokeService", {"id": "billing", "message": {"method": "charge", "data": data}})
    answer = response("InvokeService", ended)
    assert (answer.data.value, answer.content_type) == (b"paid", "text/plain")


def test_maps_and_protobufs_own_messages_are_compared_by_what_is_named(tmp_path: Path) -> None:
    script = """
        order = "any"
        [[call]]
        method = "GetConfiguration"
        request = { keys = ["a"], metadata = { b = "c" } }
        reply = { items = { a = { value = "blue", version = "2" } } }
        [[call]]
        method = "ScheduleJob"
        request = { job = { name = "sweep", data = { text = "x" }, failurePolicy = POLICY } }
    """
    sidecar = scripted(tmp_path, script.replace("POLICY", '{ constant = { interval = "5s" } }'))
    ended = call(sidecar, "GetConfiguration", {"keys": ["a"], "metadata": {"b": "other"}})
    assert """request.metadata['b'] is "other", not "c\"""" in ended.text
    ended = call(sidecar, "GetConfiguration", {"keys": ["a"], "metadata": {"x": "y"}})
    assert 'request.metadata has no "b"' in ended.text
    ended = call(sidecar, "GetConfiguration", {"keys": ["a", "b"], "metadata": {"b": "c"}})
    assert ended.code == FAILED_PRECONDITION
    ended = call(sidecar, "GetConfiguration", {"keys": ["a"], "metadata": {"b": "c", "x": "y"}})
    assert response("GetConfiguration", ended).items["a"].value == "blue"
    job = {"name": "sweep", "data": {"value": b"x"}, "failure_policy": {"constant": {"interval": {"seconds": 4}}}}
    assert 'interval is "4s", not "5s"' in call(sidecar, "ScheduleJob", {"job": job}).text
    job["failure_policy"] = {"constant": {"interval": {"seconds": 5}}}
    assert call(sidecar, "ScheduleJob", {"job": job}).code == OK


def test_streams_are_lists_of_messages(tmp_path: Path) -> None:
    script = """
        [[call]]
        method = "EncryptAlpha1"
        request = [{ options = { keyName = "k" }, payload = { data = { text = "ab" } } }, {}]
        reply = [{ payload = { data = { text = "x" } } }, { payload = { seq = "1" } }]
    """
    sidecar = scripted(tmp_path, script)
    first = METHODS["EncryptAlpha1"].request(options={"key_name": "k"}, payload={"data": b"ab"}).SerializeToString()
    delimited = bytes([len(first)]) + first
    ended: list[Ended] = []
    sidecar.begin("EncryptAlpha1", delimited, (), 1.0, ended.append)
    assert "its request has 1 messages, not 2" in ended[0].text
    sidecar.begin("EncryptAlpha1", delimited + b"\0", (), 1.0, ended.append)
    assert ended[1].message == b"\x05\n\x03\n\x01x" + b"\x04\n\x02\x10\x01"


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ('[[call]]\nmethod = "GetStat"', '"GetStat" is no method that guests may call — PLACE: [[call]] #1: method — '),
        ("[[call]]\n", "method is missing — PLACE: [[call]] #1: method — write the method's name"),
        ('[call]\nmethod = "GetState"', "call is no list of tables — PLACE: call — write [[call]] before each"),
        (GET + "replay = 5", 'unknown key "replay" — PLACE: [[call]] #1: replay — it may have after, method, reply,'),
        (GET + SAVE + "[cal]", 'unknown key "cal" — PLACE: cal — it may have call, order'),
        ('order = "random"', '"random" is none of its values — PLACE: order — write one of written, any'),
        (GET + "times = 0", '0 is no number of times — PLACE: [[call]] #1: times — write 1 or more, or "any"'),
        (GET + "after = 5", '5 is not a duration — PLACE: [[call]] #1: after — '),
        (GET + 'status = "GONE"', '"GONE" is none of its values — PLACE: [[call]] #1: status — write one of OK, '),
        (GET + 'status = "ABORTED"', "a call that failed has no reply — PLACE: [[call]] #1: reply — "),
        (GET + 'text = "why"', "a call that did not fail has no text — PLACE: [[call]] #1: text — "),
        ('[[call]]\nmethod = "GetState"\nrequest = 5', "5 is a whole number, not a table — PLACE: [[call]] #1: req"),
        (
            '[[call]]\nmethod = "GetState"\nrequest = { kay = "a" }',
            'GetStateRequest has no field "kay"; it has storeName, key, consistency, metadata — PLACE: [[call]] #1: '
            "request.kay — write it as JSON has the message (docs/guests.md)",
        ),
        (
            '[[call]]\nmethod = "GetState"\nrequest = { key = 5 }',
            "Failed to parse key field: expected string or bytes-like object",
        ),
        (
            '[[call]]\nmethod = "GetState"\nreply = { data = "text here" }',
            '"text here" is not base64; of a text make { text = "…" } — PLACE: [[call]] #1: reply.data — ',
        ),
        (
            '[[call]]\nmethod = "GetState"\nreply = { data = { file = "/etc/passwd" } }',
            'has "file", which is no way to write bytes; write { text = "…" }, { json = … } or { base64 = "…" } — ',
        ),
        (
            '[[call]]\nmethod = "SaveState"\nrequest = { states = { key = "a" } }',
            "a table, not a list — PLACE: [[call]] #1: request.states — ",
        ),
        ("a = ", "not TOML: "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_script_is_told_with_its_place(tmp_path: Path, script: str, fault: str) -> None:
    with pytest.raises(ScriptFaults) as caught:
        scripted(tmp_path, script)
    (found,) = caught.value.faults
    assert found.startswith(fault.replace("PLACE", str(tmp_path / "calls.toml")))


def test_a_script_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ScriptFaults, match=r"cannot be read \(No such file or directory\) — .*absent.toml — name a"):
        load_script(tmp_path / "absent.toml")

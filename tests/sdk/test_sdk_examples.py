"""The five examples that every SDK has do what guests/sdk/EXAMPLES.md says: built modules, against a scripted sidecar.

An SDK is tested here as soon as its modules are in guests/sdk/LANGUAGE/examples, or modules.py builds them.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dapr.proto.runtime.v1 import dapr_pb2
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from guesthouse.assembly import open_plan
from guesthouse.dapr.api_methods import METHODS
from guesthouse.event import Answer, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.services import Ended
from tests.sdk.modules import EXAMPLES, LANGUAGES, SDK, line_of
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.scripted import Scripted, encoded, sidecar_of

ROOT = Path(__file__).resolve().parents[2]

ABORTED, UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL = 10, 14, 4, 13


def manifest(language: str, place: str) -> str:
    """The manifest of EXAMPLES.md, with the modules of one SDK."""
    page = (SDK / "EXAMPLES.md").read_text()
    found = re.search(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found[1].replace('"models/', f'"{ROOT / "models"}/')
    text = text.replace('calling = "dapr"', f'calling = "dapr"\nisolation = "{isolation_of(place)}"')
    for name in EXAMPLES:
        text = text.replace(f'module = "{name}.wasm"', line_of(language, name))
    return f'[app]\nname = "examples"\n{engine_table(place)}{text}'


#: Kotlin's modules keep objects in the engine's own heap, which wasmer has not.
KOTLIN_ON_WASMER = ("kotlin", "wasmer")
#: Scripts in Python are served by wasmtime alone.
PYTHON_ON_WASMER = ("python", "wasmer")
NOWHERE = (KOTLIN_ON_WASMER, PYTHON_ON_WASMER)
RUNS = [(language, place) for language in LANGUAGES for place in PLACES if (language, place) not in NOWHERE]


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def loaded(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    path = tmp_path_factory.mktemp("examples") / "guesthouse.toml"
    path.write_text(manifest(*request.param))
    with open_plan(load(path, grants=GRANTS), {"dapr": Scripted()}) as plan:
        yield plan


@pytest.fixture
def plan(loaded: Plan) -> Plan:
    sidecar_of(loaded).__init__()  # type: ignore[misc]
    return loaded


def answers(plan: Plan, *given: Ended | bytes) -> None:
    """The sidecar answers its calls with these, in the order in which they are made."""
    waiting = iter(given)

    def reply(method: str, done: Callable[[Ended], None]) -> None:
        one = next(waiting)
        done(Ended(0, "", one) if isinstance(one, bytes) else one)

    sidecar_of(plan).reply = reply


def made(plan: Plan) -> list[tuple[str, dict[str, Any]]]:
    """The calls that were made, as protobuf's JSON form has them."""
    calls = []
    for method, message, _ in sidecar_of(plan).made:
        request = METHODS[method].request.FromString(message)
        calls.append((method, json_format.MessageToDict(request, preserving_proto_field_name=True)))
    return calls


def run(plan: Plan, name: str, event: Event) -> Reply:
    return plan.guests[name].run(event, Deadline.after(60))


def failure(plan: Plan, name: str, event: Event) -> tuple[Reason, str]:
    with pytest.raises(Failure) as failed:
        run(plan, name, event)
    return failed.value.reason, failed.value.text


def request(method: str, message: bytes) -> Any:
    """A request message that was sent. Two are equal whatever the order of their metadata."""
    return METHODS[method].request.FromString(message)


def response(method: str, fields: Mapping[str, Any]) -> bytes:
    """A response message of a method."""
    output = dapr_pb2.DESCRIPTOR.services_by_name["Dapr"].methods_by_name[method].output_type
    message: Any = GetMessageClass(output)(**fields)
    found: bytes = message.SerializeToString()
    return found


@pytest.mark.skipif("wasmer" not in PLACES, reason="no Python here has wasmer")
def test_wasmer_refuses_kotlin_for_the_garbage_collection_that_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "guesthouse.toml"
    path.write_text(manifest(*KOTLIN_ON_WASMER))
    with pytest.raises(PlanFaults) as refused, open_plan(load(path, grants=GRANTS), {"dapr": Scripted()}):
        pass
    assert "uses what wasmer 1.1.0 does not have: " in str(refused.value)
    assert "without the gc feature" in str(refused.value)
    assert "serve it by wasmtime" in str(refused.value)


# ---- hello ----


@pytest.mark.parametrize(
    ("query", "greeting", "body"),
    [
        ("name=Ann+Lee", "Good day", "Good day, Ann Lee!"),
        ("a=b&name=%C3%84nn%65&name=x", None, "Hello, Änne!"),
        ("name=100%&", None, "Hello, 100%!"),
        ("name=%4", None, "Hello, %4!"),
        ("name=%zz%+4", None, "Hello, %zz% 4!"),
        ("names=x&name=a%3Db=c", "Ünter", "Ünter, a=b=c!"),
        ("b&name&name=x", None, "Hello, world!"),
        ("name=", None, "Hello, world!"),
        ("", "Servus", "Servus, world!"),
    ],
)
def test_hello_greets_by_the_query_and_a_header(plan: Plan, query: str, greeting: str | None, body: str) -> None:
    metadata = {} if greeting is None else {"x-greeting": greeting}
    reply = run(plan, "hello", Event(Trigger.INVOKE, "any", query=query, metadata=metadata))
    assert reply.body.decode() == body
    assert reply.content_type == "text/plain; charset=utf-8"
    assert reply.answer == Answer(201)
    assert ("x-guest", "hello") in reply.headers


# ---- photo ----


def photo(body: bytes) -> Event:
    return Event(Trigger.TOPIC, "pubsub/photos", body, id="1")


READ = ("GetState", {"store_name": "statestore", "key": "people"})


def saved(people: int, etag: str = "") -> tuple[str, dict[str, Any]]:
    item: dict[str, Any] = {"key": "people", "value": b64encode(str(people).encode()).decode()}
    item |= {"options": {"concurrency": "CONCURRENCY_FIRST_WRITE"}} | ({"etag": {"value": etag}} if etag else {})
    return "SaveState", {"store_name": "statestore", "states": [item]}


@pytest.mark.parametrize(
    ("picture", "state", "data", "etag", "people"),
    [
        ("astronaut.png", b"4", b'{"person":true,"people":5}', "7", 5),
        ("rocket.jpg", b"4", b'{"person":false,"people":4}', "7", 4),
        ("astronaut.png", b"", b'{"person":true,"people":1}', "", 1),
        ("coffee.png", b"none", b'{"person":false,"people":0}', "9", 0),
    ],
)
def test_photo_counts_people_and_publishes(
    plan: Plan, photos: Path, picture: str, state: bytes, data: bytes, etag: str, people: int
) -> None:
    answers(plan, response("GetState", {"data": state, "etag": etag}), b"", b"")
    assert run(plan, "photo", photo((photos / picture).read_bytes())).body == b""
    published = {"pubsub_name": "pubsub", "topic": "results", "data_content_type": "application/json"}
    published["data"] = b64encode(data).decode()
    assert made(plan) == [READ, saved(people, etag), ("PublishEvent", published)]


def test_photo_drops_what_is_no_picture(plan: Plan) -> None:
    answers(plan, b"")
    assert failure(plan, "photo", photo(b"text")) == (Reason.MALFORMED, "the body is not a picture")
    assert made(plan) == [READ]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_photo_is_tried_again_when_a_call_fails(plan: Plan, photos: Path, step: int) -> None:
    answers(plan, *[b""] * step, Ended(ABORTED, "somebody else was faster"))
    event = photo((photos / "astronaut.png").read_bytes())
    assert failure(plan, "photo", event) == (Reason.TRY_AGAIN, "somebody else was faster")
    assert len(made(plan)) == step + 1


# ---- forward ----

ORDER = Event(Trigger.BINDING, "orders", b"tea")


def test_forward_hands_an_answer_to_a_binding(plan: Plan) -> None:
    answers(plan, response("InvokeService", {"data": {"value": b"3"}}), b"")
    assert run(plan, "forward", ORDER).body == b""
    invoked, created = sidecar_of(plan).made
    message = {"method": "price", "data": {"value": b"tea"}, "content_type": "text/plain"}
    price = {"id": "other", "message": {**message, "http_extension": {"verb": 3}}}
    assert invoked[:2] == ("InvokeService", encoded("InvokeService", price))
    create = {"name": "store", "operation": "create", "data": b"3", "metadata": {"fileName": "price"}}
    assert created[:2] == ("InvokeBinding", encoded("InvokeBinding", create))


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    ("code", "reason"),
    [(UNAVAILABLE, Reason.TRY_AGAIN), (DEADLINE_EXCEEDED, Reason.TRY_AGAIN), (INTERNAL, Reason.GUEST)],
)
def test_forward_says_what_failed(plan: Plan, step: int, code: int, reason: Reason) -> None:
    answers(plan, *[b""] * step, Ended(code, "not now"))
    assert failure(plan, "forward", ORDER) == (reason, "not now")


# ---- ten reads ----


def test_ten_reads_are_under_way_at_once(plan: Plan) -> None:
    waiting: list[Callable[[Ended], None]] = []

    def later(method: str, done: Callable[[Ended], None]) -> None:
        waiting.append(done)
        if len(waiting) == 10:  # the last one ends first
            for number, one in reversed(list(enumerate(waiting))):
                data = b"" if number == 4 else b"<%d>" % number
                one(Ended(0, "", response("GetState", {"data": data})))

    sidecar_of(plan).reply = later
    reply = run(plan, "ten_reads", Event(Trigger.INVOKE, "any"))
    assert reply.body == b"<0>\n<1>\n<2>\n<3>\n\n<5>\n<6>\n<7>\n<8>\n<9>"
    assert reply.content_type == "text/plain"
    assert made(plan) == [("GetState", {"store_name": "statestore", "key": f"item-{n}"}) for n in range(10)]


def test_ten_reads_tell_the_first_that_failed(plan: Plan) -> None:
    failed = [Ended(UNAVAILABLE, "no store") if number in (8, 3) else b"" for number in range(10)]
    answers(plan, *failed)
    assert failure(plan, "ten_reads", Event(Trigger.INVOKE, "any")) == (Reason.GUEST, "item-3: no store")


# ---- outcomes ----


@pytest.mark.parametrize(
    ("body", "reason", "text", "after"),
    [
        (b"error", Reason.GUEST, "the body asks for an error", None),
        (b"retry", Reason.TRY_AGAIN, "the body asks for a retry", 1.5),
        (b"drop", Reason.MALFORMED, "the body asks to be dropped", None),
    ],
)
@pytest.mark.parametrize("trigger", [Trigger.INVOKE, Trigger.TOPIC, Trigger.BINDING, Trigger.JOB])
def test_outcomes_are_what_the_body_asks_for(
    plan: Plan, trigger: Trigger, body: bytes, reason: Reason, text: str, after: float | None
) -> None:
    with pytest.raises(Failure) as failed:
        run(plan, "outcomes", Event(trigger, "a/b", body))
    assert (failed.value.reason, failed.value.text, failed.value.retry_after) == (reason, text, after)


def test_outcomes_are_done_for_anything_else(plan: Plan) -> None:
    for body in (b"anything", b"", b"error\0", b"\xff"):
        assert run(plan, "outcomes", Event(Trigger.JOB, "sweep", body)).body == b"done"

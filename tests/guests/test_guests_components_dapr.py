"""Components that act: state, messages, calls and events by interfaces, as wit-bindgen makes them for Rust.

The sidecar is in memory here; behind a real one, the same components are tested in tests/dapr_real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dapr.proto.runtime.v1.state_pb2 import GetStateResponse

from guesthouse.assembly import open_plan
from guesthouse.dapr.actors.state import TurnState
from guesthouse.dapr.api_methods import METHODS
from guesthouse.event import Actor, Answer, Failure, Reason, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.guests.capabilities.sidecar import DEPTH
from guesthouse.manifest import load
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.calls import Code
from guesthouse_abi.services import Ended
from tests.support.blocks import Blocks, echoed
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.runs import Run

ROOT = Path(__file__).resolve().parents[2]

MANIFEST = f"""
ENGINE
[app]
name = "t"
[guests.acts]
module = "{ROOT}/guests/dapr_component/dapr_component.wasm"
calling = "dapr"
isolation = "ISOLATION"
config = {{ colour = "blue" }}
limits = {{ time = "20s", memory = "16MiB", host_memory = "8MiB", output = "64KiB" }}
[guests.acts.dapr]
read_state = ["store/*", "other/*"]
write_state = ["store/a*"]
open = 4
[guests.counts]
module = "{ROOT}/guests/messaging_component/messaging_component.wasm"
calling = "messaging"
isolation = "ISOLATION"
limits = {{ time = "20s", memory = "16MiB" }}
[guests.counts.dapr]
read_state = ["store/*"]
write_state = ["store/orders"]
publish = ["pubsub/counted"]
[guests.asks]
module = "{ROOT}/guests/http_component/http_component.wasm"
calling = "http"
isolation = "ISOLATION"
limits = {{ time = "20s", memory = "16MiB" }}
[guests.asks.dapr]
invoke = ["stock/charge", "stock/public/*"]
depth = 3
"""


def manifest(folder: Path, place: str) -> Path:
    text = MANIFEST.replace("ENGINE", engine_table(place)).replace("ISOLATION", isolation_of(place))
    (folder / "guesthouse.toml").write_text(text)
    return folder / "guesthouse.toml"


@pytest.fixture(scope="module", params=PLACES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("acting")
    with open_plan(load(manifest(folder, request.param), grants=GRANTS), {"dapr": Blocks()}) as opened:
        yield opened


@pytest.fixture
def sidecar(loaded: Plan) -> Blocks:
    found = loaded.host.services["dapr"]
    assert isinstance(found, Blocks)
    found.__init__()  # type: ignore[misc]
    return found


@pytest.fixture
def run(loaded: Plan, sidecar: Blocks) -> Run:
    """Answer one event by a guest: `acts` unless another is named."""
    return Run(loaded, "acts")


# ---- dapr:guest, events ----


def test_an_invocation_is_answered_with_type_and_headers(run: Run) -> None:
    reply = run("echo", b"hello", content_type="text/x")
    assert (reply.body, reply.content_type, reply.headers) == (b"hello", "text/x", (("x-one", "1"),))


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_a_body_up_to_the_limit_comes_back_whole(run: Run, size: int) -> None:
    assert run("echo", b"x" * size).body == b"x" * size


def test_a_reply_over_the_limit_is_no_reply(run: Run) -> None:
    reason, text = run.failure("echo", b"x" * 65_537)
    assert (reason, text) == (Reason.BAD_REPLY, "a reply of 65537 bytes; the limit output is 65536")


def test_a_guest_knows_all_of_its_event(run: Run) -> None:
    told = run(
        "shop/cart",
        b"abc",
        content_type="text/x",
        verb="PUT",
        query="a=1",
        metadata={"b": "ä", "a": "1"},
    ).body.decode()
    assert told.splitlines() == [
        "invoke shop/cart",
        '3 bytes Some("text/x")',
        'Some("PUT") Some("a=1") None None',
        '[("a", "1"), ("b", "ä")]',
        "None",
        "None",
    ]
    told = run(
        "pubsub/orders/new",
        trigger=Trigger.TOPIC,
        path="/high",
        id="7",
        metadata={"ce_source": "shop", "ce_type": "order"},
    ).body.decode()
    assert told.splitlines()[2:5] == [
        'None None Some("/high") Some("7")',
        '[("ce_source", "shop"), ("ce_type", "order")]',
        'Some(TopicFacts { pubsub-name: "pubsub", topic: "orders/new", source: Some("shop"), type: Some("order") })',
    ]


@pytest.mark.parametrize("trigger", [Trigger.TOPIC, Trigger.BINDING, Trigger.JOB, Trigger.OPERATION])
def test_each_kind_of_event_has_its_callback(run: Run, trigger: Trigger) -> None:
    assert run("a/b", trigger=trigger).body.decode().startswith(f"{trigger.value} a/b\n")


@pytest.mark.parametrize("trigger", ["actor", "timer", "reminder", "activate", "deactivate"])
def test_each_turn_of_an_actor_has_its_callback(run: Run, trigger: str) -> None:
    method = "" if trigger.endswith("activate") else "beat"
    actor = Actor("7", method, "called" if trigger == "timer" else "", state=TurnState("Cart", "7", ""))
    reply = run("Cart", trigger=Trigger(trigger), actor=actor)
    lines = reply.body.decode().splitlines()
    assert lines[0] == f"{trigger} Cart"
    named, called = 'Some("beat")' if method else "None", 'Some("called")' if trigger == "timer" else "None"
    assert lines[-1] == f'Some(ActorFacts {{ id: "7", method: {named}, callback: {called} }})'
    assert reply.stop is (trigger == "timer")


def test_a_status_from_300_on_is_the_answer_of_an_invocation(run: Run) -> None:
    assert run("status/404", b"no such thing").answer == Answer(404, "no such thing", 1.5)
    assert run("status/201", b"made").body == b"made"
    assert run.failure("status/700")[1] == "a reply with the status 700; it is one from 200 to 599"


@pytest.mark.parametrize(
    ("name", "reason"), [("fail", Reason.GUEST), ("retry", Reason.TRY_AGAIN), ("drop", Reason.MALFORMED)]
)
def test_a_failure_has_the_guests_own_text(run: Run, name: str, reason: Reason) -> None:
    assert run.failure(name, b"why") == (reason, "why")
    assert run.failure(name) == (reason, "the guest gives no reason")


def test_a_failure_that_may_succeed_later_says_when(run: Run) -> None:
    with pytest.raises(Failure) as failed:
        run("retry", b"why")
    assert failed.value.retry_after == 2.5


def test_a_guest_that_panics_fails_with_a_trap(run: Run) -> None:
    assert run.failure("trap")[0] is Reason.TRAP


# ---- dapr:guest, calls ----


def state_request(key: str, store: str = "store") -> bytes:
    return METHODS["GetState"].request(store_name=store, key=key).SerializeToString()


def test_a_call_has_the_response_or_the_code_and_the_text(run: Run, sidecar: Blocks) -> None:
    sidecar.values["a"] = b"one", 3
    assert GetStateResponse.FromString(run("relay/GetState", state_request("a")).body).data == b"one"
    denied = run("relay/GetState", state_request("a", "elsewhere")).body.decode()
    assert denied.startswith("Code::PermissionDenied: the guest may not read the state 'elsewhere/a'")
    assert run("relay/GetState", b"\xff").body.decode().startswith("Code::InvalidArgument: the request is no GetState")
    assert run("relay/Nothing").body.decode().startswith("Code::Unimplemented: ")


def test_two_calls_run_at_once(run: Run) -> None:
    assert run("both", state_request("a")).body == b"true true Some(Code::Ok) true Code::Unimplemented None true"


def test_a_guest_has_its_configuration_time_and_log(run: Run) -> None:
    assert run("runtime").body == b'Some("blue") None true'


# ---- wasi:keyvalue ----


def test_a_component_uses_the_state_store(run: Run, sidecar: Blocks) -> None:
    assert run("kv/get/a").body == b"none"
    run("kv/set/a", b"one")
    assert sidecar.values["a"] == (b"one", 1)
    assert (run("kv/get/a").body, run("kv/exists/a").body) == (b"one", b"true")
    assert run("kv/increment/a2", b"xxx").body == b"3"
    assert run("kv/increment/a2", b"x").body == b"4"
    assert run("kv/swap/a", b"two").body == b"swapped Some([111, 110, 101])"
    assert run("kv/many/a").body == b'[("a2", Some([])), ("a3", None), ("a1", Some([111, 110, 101]))]'
    run("kv/delete/a")
    assert sidecar.values == {}


def test_a_swap_that_others_came_before_has_their_value(run: Run, sidecar: Blocks) -> None:
    def meanwhile() -> None:
        sidecar.values["a"] = b"1", 9

    sidecar.values["a"] = b"0", 1
    sidecar.before_save = meanwhile
    assert run("kv/swap/a", b"mine").body == b"changed Some([49])"


@pytest.mark.parametrize("what", ["set", "swap", "increment", "many", "delete"])
def test_what_is_not_granted_is_denied(run: Run, sidecar: Blocks, what: str) -> None:
    assert run(f"kv/{what}/b").body == b"Error::AccessDenied"
    assert (sidecar.values, set(sidecar.made) - {"GetState"}) == ({}, set())


def test_keys_are_not_listed(run: Run) -> None:
    assert run("kv/list").body == b'Error::Other("the keys of Dapr\'s state stores cannot be listed")'


# ---- wasi:messaging ----


def test_a_message_is_handled_counted_and_sent_on(run: Run, sidecar: Blocks) -> None:
    for number in (1, 2):
        facts = {"content_type": "text/x", "metadata": {"ce_source": "shop"}}
        assert run("pubsub/orders", b"one", "counts", trigger=Trigger.TOPIC, **facts).body == b""
        sent = sidecar.published[-1]
        assert (sent.pubsub_name, sent.topic, sent.data) == ("pubsub", "counted", b"one")
        assert sent.data_content_type == "text/x"
        assert dict(sent.metadata) == {"ce_source": "shop", "number": str(number)}


def test_a_handlers_error_fails_the_message(run: Run) -> None:
    topic = {"guest": "counts", "trigger": Trigger.TOPIC}
    assert run.failure("pubsub/orders", b"timeout", **topic)[0] is Reason.TRY_AGAIN
    assert run.failure("pubsub/orders", b"fail", **topic) == (Reason.GUEST, "other: it is said to")
    assert run.failure("pubsub/other", b"one", **topic) == (Reason.GUEST, "other: Error::AccessDenied")
    reason, text = run.failure("pubsub/orders", b"ask", **topic)
    assert (reason, text) == (Reason.GUEST, "other: Dapr's pub/sub has no replies: publish to another topic")


def test_a_message_that_is_not_granted_is_not_sent(run: Run, sidecar: Blocks) -> None:
    sidecar.fails["PublishEvent"] = Ended(Code.UNAVAILABLE, "the broker is gone")
    reason, text = run.failure("pubsub/orders", b"one", "counts", trigger=Trigger.TOPIC)
    assert (reason, text) == (Reason.GUEST, "connection: the broker is gone")


# ---- wasi:http/outgoing-handler ----


def test_a_request_goes_to_another_application_and_its_response_comes_back(run: Run, sidecar: Blocks) -> None:
    reply = run("ask/stock/charge", b"the body", "asks", query="a=1")
    assert reply.body == b"200\ncontent-type: text/asked\nthe body"
    ((request, metadata),) = sidecar.invoked
    assert (request.id, request.message.method) == ("stock", "charge")
    assert (request.message.http_extension.verb, request.message.http_extension.querystring) == (4, "a=1")
    assert metadata == {"x-asked": "1", DEPTH: "1"}


def test_two_requests_run_at_once(run: Run) -> None:
    body = run("twice/stock/public/x", b"first", "asks").body
    assert body == b"200\ncontent-type: text/asked\nfirst200\ncontent-type: text/asked\nsecond"


def test_a_large_body_goes_there_and_back(run: Run) -> None:
    body = bytes(range(256)) * 4000
    assert run("ask/stock/charge", body, "asks").body.endswith(body)


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("example.org/", b"ErrorCode::HttpRequestDenied\n"),
        ("stock/refund", b"ErrorCode::HttpRequestDenied\n"),
        ("stock:80/charge", b"ErrorCode::HttpRequestDenied\n"),
        ("user@stock/charge", b"ErrorCode::HttpRequestDenied\n"),
        ("stock/public/../refund", b"ErrorCode::HttpRequestUriInvalid\n"),
        ("stock/public/%2e%2e/refund", b"ErrorCode::HttpRequestUriInvalid\n"),
    ],
)
def test_nothing_else_can_be_asked(run: Run, sidecar: Blocks, target: str, error: bytes) -> None:
    assert run(f"ask/{target}", b"", "asks").body == error
    assert sidecar.invoked == []


def test_invocations_one_within_the_other_end(run: Run, sidecar: Blocks) -> None:
    assert run("ask/stock/charge", b"", "asks", metadata={DEPTH: "3"}).body == b"ErrorCode::HttpRequestDenied\n"
    assert sidecar.invoked == []


def test_a_request_whose_body_is_dropped_is_not_sent(run: Run, sidecar: Blocks) -> None:
    assert run("half/stock/charge", b"", "asks").body == b"ErrorCode::HttpProtocolError\n"
    assert sidecar.invoked == []


def test_an_error_of_the_application_is_its_status(run: Run, sidecar: Blocks) -> None:
    def answer(request: Any) -> Ended:
        told = b"\x10\0\0\0\3\0\0\0dapr-http-status404"
        return echoed(request)._replace(code=Code.NOT_FOUND, text="no such thing", message=None, initial=told)

    sidecar.answer = answer
    assert run("ask/stock/charge", b"", "asks").body == b"404\ncontent-type: text/plain\nno such thing"


# ---- loading ----


@pytest.mark.parametrize(
    ("guest", "calling", "fault"),
    [
        ("http", "messaging", "exports neither wasi:messaging/incoming-handler nor wasmcloud:messaging/handler"),
        ("http", "dapr", "exports no handler (dapr_on_invoke"),
        ("dapr", "http", "exports no wasi:http/incoming-handler"),
    ],
)
def test_a_component_that_is_called_otherwise_is_a_fault(tmp_path: Path, guest: str, calling: str, fault: str) -> None:
    module = ROOT / "guests" / f"{guest}_component" / f"{guest}_component.wasm"
    text = f'[app]\nname = "t"\n[guests.g]\nmodule = "{module}"\ncalling = "{calling}"\n'
    (tmp_path / "guesthouse.toml").write_text(text)
    with pytest.raises(PlanFaults) as failed, open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS)):
        pass
    assert fault in str(failed.value)


def test_messages_are_for_topics_alone(tmp_path: Path) -> None:
    text = manifest(tmp_path, "thread").read_text() + '[[invoke]]\nmethod = "m"\nguest = "counts"\n'
    (tmp_path / "guesthouse.toml").write_text(text)
    with pytest.raises(PlanFaults, match="counts"), open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS)):
        pass

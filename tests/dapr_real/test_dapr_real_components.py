"""Components behind a real sidecar: state in Redis, messages through its pub/sub, requests to another application.

What each function of the interfaces does is tested in tests/abi, what may be reached in tests/guests.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.dapr_real.calling_guests import encoded, write_components
from tests.dapr_real.real_programs import Answer, Pair, Redis, Start
from tests.support.waiting import until

METHODS = (
    *(
        f"kv/{what}/{key}"
        for what in ("set", "get", "exists", "delete", "swap", "increment", "many")
        for key in ("a", "b")
    ),
    "kv/get/other",
    "relay/GetState",
    "echo",
    "ask/stock/answers",
    "ask/stock/gone",
    "ask/nobody/x",
    "twice/stock/answers",
)
MANIFEST = (
    """
[guests.acts]
module = "GUESTS/dapr_component/dapr_component.wasm"
calling = "dapr"
[guests.acts.dapr]
read_state = ["store/*"]
write_state = ["store/*"]
[guests.counts]
module = "GUESTS/messaging_component/messaging_component.wasm"
calling = "messaging"
[guests.counts.dapr]
read_state = ["store/*"]
write_state = ["store/*"]
publish = ["pubsub/counted"]
[guests.asks]
module = "GUESTS/http_component/http_component.wasm"
calling = "http"
[guests.asks.dapr]
invoke = ["stock/*", "nobody/*"]
[[topic]]
pubsub = "pubsub"
topic = "orders"
guest = "counts"
"""
    + "".join(
        f'[[invoke]]\nmethod = "{name}"\nguest = "{"asks" if name.startswith(("ask", "twice")) else "acts"}"\n'
        for name in METHODS
    )
)  # fmt: skip
STOCK = """
[guests.answers]
module = "GUESTS/http_component/http_component.wasm"
calling = "http"
[guests.acts]
module = "GUESTS/dapr_component/dapr_component.wasm"
calling = "dapr"
[guests.acts.dapr]
read_state = ["store/*"]
[[invoke]]
method = "answers"
guest = "answers"
[[invoke]]
method = "kv/get/a"
guest = "acts"
"""


@pytest.fixture(scope="module")
def stock(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Pair:
    """Another application, whose sidecar has no store of that name."""
    return start_for_module(STOCK, app_id="stock", flags=write_components(tmp_path_factory.mktemp("stock"), redis))


@pytest.fixture(scope="module")
def acts(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, redis: Redis, stock: Pair) -> Pair:
    folder = tmp_path_factory.mktemp("components")
    flags = write_components(folder, redis)
    resources = folder / "resources"
    (resources / "store.yaml").write_text(
        (resources / "state.yaml").read_text().replace("name: state }", "name: store }")
    )
    return start_for_module(MANIFEST, app_id="components", flags=flags, subscribes=True)


def answered(pair: Pair, method: str, body: bytes = b"") -> bytes:
    answer: Answer = pair.sidecar.invoke(pair.sidecar.app_id, method, body)
    assert answer.status == 200, answer
    return answer.body


def test_values_are_kept_where_other_guests_find_them(acts: Pair, redis: Redis) -> None:
    answered(acts, "kv/delete/a")
    assert answered(acts, "kv/get/a") == b"none"
    answered(acts, "kv/set/a", b"one")
    assert redis.command("HGET", "components||a", "data") == "one"
    assert (answered(acts, "kv/get/a"), answered(acts, "kv/exists/a")) == (b"one", b"true")
    response = answered(acts, "relay/GetState", encoded("GetState", {"store_name": "store", "key": "a"}))
    assert b"one" in response
    assert answered(acts, "kv/swap/a", b"two") == b"swapped Some([111, 110, 101])"
    assert redis.command("HGET", "components||a", "data") == "two"
    assert answered(acts, "kv/many/a").startswith(b'[("a2", Some(')


def test_a_value_is_made_once_by_a_swap(acts: Pair, redis: Redis) -> None:
    answered(acts, "kv/delete/b")
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda number: answered(acts, "kv/swap/b", str(number).encode()), range(4)))
    made = [number for number, one in enumerate(told) if one == b"swapped None"]
    assert len(made) == 1
    swapped = [one for one in told if one.startswith((b"swapped Some", b"changed Some"))]
    assert len(swapped) == 3


def test_additions_at_the_same_time_are_all_counted(acts: Pair, redis: Redis) -> None:
    answered(acts, "kv/delete/a")
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: int(answered(acts, "kv/increment/a", b"x")), range(4)))
    assert sorted(numbers) == [1, 2, 3, 4]
    assert redis.command("HGET", "components||a", "data") == "4"


def test_a_store_that_the_sidecar_has_not_is_no_such_store(stock: Pair) -> None:
    assert answered(stock, "kv/get/a") == b"Error::NoSuchStore"


def test_a_message_is_counted_and_sent_on(acts: Pair, redis: Redis) -> None:
    published = acts.sidecar.http("POST", "/v1.0/publish/pubsub/orders", b"one", {"content-type": "text/plain"}, 60)
    assert published.status == 204, published
    until(lambda: redis.command("XLEN", "counted") == "1", "the message has been sent on")
    assert redis.command("HGET", "components||orders", "data") == "1"
    assert '"data":"one"' in redis.command("XRANGE", "counted", "-", "+")


def test_a_request_goes_to_another_application_and_back(acts: Pair) -> None:
    told = answered(acts, "ask/stock/answers", b"the body").decode()
    assert told.startswith("200\n")
    assert "content-type: text/asked\n" in told
    assert told.endswith("\nthe body")
    twice = answered(acts, "twice/stock/answers", b"first").decode()
    assert (twice.count("200\n"), twice.endswith("\nsecond")) == (2, True)


def test_what_another_application_refuses_is_its_status(acts: Pair) -> None:
    assert answered(acts, "ask/stock/gone").decode().startswith("404\n")


def test_an_application_that_is_not_there_is_an_error_of_the_interface(acts: Pair) -> None:
    assert answered(acts, "ask/nobody/x") == b"ErrorCode::DestinationNotFound\n"

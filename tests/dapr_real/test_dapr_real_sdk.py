"""The five examples that every SDK has (guests/sdk/EXAMPLES.md), behind a real sidecar with Redis, by built modules.

Their details are tested with a scripted sidecar in tests/sdk.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dapr.proto.common.v1.common_pb2 import StateItem
from dapr.proto.runtime.v1.state_pb2 import GetStateRequest, SaveStateRequest

from tests.dapr_real.real_programs import ROOT, Pair, Redis, Start
from tests.sdk.modules import EXAMPLES, LANGUAGES, SDK, line_of, module_of
from tests.support.waiting import until

PHOTOS = ROOT / "tests" / "data" / "photos"

_COMPONENT = """apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{ name: {name} }}
spec:
  type: {kind}
  version: v1
  metadata: [{metadata}]
"""
#: A message whose event is to be tried again comes again soon, and as often as it takes.
_POLICY = """apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: { name: again }
spec:
  policies: { retries: { again: { policy: constant, duration: 50ms, maxRetries: -1 } } }
  targets: { components: { pubsub: { inbound: { retry: again } } } }
"""

OTHER = f"""
[guests.hello]
module = "{module_of("rust", "hello")}"
calling = "dapr"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[[invoke]]
method = "price"
guest = "hello"
[[topic]]
pubsub = "pubsub"
topic = "results"
guest = "echo"
state = {{ store = "statestore", key = "last" }}
"""
ROUTES = """
[[invoke]]
method = "hello"
guest = "hello"
[[invoke]]
method = "ten-reads"
guest = "ten_reads"
[[invoke]]
method = "outcomes"
guest = "outcomes"
[[topic]]
pubsub = "pubsub"
topic = "photos-LANGUAGE-ISOLATION"
guest = "photo"
[[binding]]
name = "tick"
guest = "forward"
"""


def components(folder: Path, redis: Redis) -> tuple[str, ...]:
    """Write those of an application into a folder. Returns the sidecar's flags for them."""
    host = f'{{ name: redisHost, value: "127.0.0.1:{redis.port}" }}'
    files = f'{{ name: rootPath, value: "{folder}/files" }}, {{ name: direction, value: output }}'
    every_second = '{ name: schedule, value: "@every 1s" }, { name: direction, value: input }'
    (folder / "policy.yaml").write_text(_POLICY)
    for name, kind, metadata in (
        ("statestore", "state.redis", host),
        ("pubsub", "pubsub.redis", host),
        ("store", "bindings.localstorage", files),
        ("tick", "bindings.cron", every_second),
    ):
        (folder / f"{name}.yaml").write_text(_COMPONENT.format(name=name, kind=kind, metadata=metadata))
    return ("--resources-path", str(folder))


def manifest(language: str, isolation: str) -> str:
    found = re.search(r"^```toml\n(.*?)^```$", (SDK / "EXAMPLES.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found[1].replace('"models/', '"ROOT/models/')
    text = text.replace('calling = "dapr"', f'calling = "dapr"\nisolation = "{isolation}"')
    for name in EXAMPLES:
        text = text.replace(f'module = "{name}.wasm"', line_of(language, name))
    return text + ROUTES.replace("LANGUAGE", language).replace("ISOLATION", isolation)


class Examples:
    """The application of one SDK's examples, and the other one that they call."""

    def __init__(self, pair: Pair, other: Pair, photos: str, files: Path) -> None:
        self.sidecar = pair.sidecar
        self.other = other.sidecar
        self._photos = photos
        self.files = files

    def invoke(self, method: str, body: bytes = b"", **more: Any) -> Any:
        return self.sidecar.invoke(self.sidecar.app_id, method, body, **more)

    def publish(self, photo: str) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        body = (PHOTOS / photo).read_bytes()
        answer = self.sidecar.http("POST", f"/v1.0/publish/pubsub/{self._photos}", body, headers)
        assert answer.status == 204, answer

    def person(self) -> Any:
        """Whether there is a person, as the other application was told last."""
        found = self.other.stub.GetState(GetStateRequest(store_name="statestore", key="last"), timeout=60).data
        try:
            return json.loads(found)["person"]
        except ValueError:  # nothing, or another file's tests have published on this topic before
            return None

    def people(self) -> bytes:
        request = GetStateRequest(store_name="statestore", key="people")
        return bytes(self.sidecar.stub.GetState(request, timeout=60).data)


@pytest.fixture(scope="module")
def other(start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, redis: Redis) -> Pair:
    folder = tmp_path_factory.mktemp("other")
    flags = components(folder, redis)
    for name in ("tick", "store"):
        (folder / f"{name}.yaml").unlink()
    return start_for_module(OTHER, app_id="other", flags=flags, subscribes=True)


@pytest.fixture(
    scope="module",
    params=[(language, place) for language in LANGUAGES for place in ("thread", "process")],
    ids="-".join,
)
def examples(
    request: Any, start_for_module: Start, tmp_path_factory: pytest.TempPathFactory, redis: Redis, other: Pair
) -> Examples:
    language, isolation = request.param
    folder = tmp_path_factory.mktemp(language)
    name = f"{language}-{isolation}"
    pair = start_for_module(
        manifest(language, isolation), app_id=f"examples-{name}", flags=components(folder, redis), subscribes=True
    )
    return Examples(pair, other, f"photos-{name}", folder / "files")


def test_hello_answers_an_http_caller(examples: Examples) -> None:
    answer = examples.invoke("hello?name=Ann+Lee", verb="GET", headers={"x-greeting": "Good day"})
    assert (answer.status, answer.body) == (200, b"Good day, Ann Lee!")
    assert answer.headers["wasm-status"] == "201"
    assert answer.headers["x-guest"] == "hello"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_photo_counts_people_also_where_photos_come_at_once(examples: Examples) -> None:
    """A photo whose result could not be published comes again, and is counted again: so these are the least counts."""

    def counted(least: int) -> bool:
        return int(examples.people() or b"0") >= least

    examples.publish("astronaut.png")
    until(lambda: counted(1) and examples.person() is True, "the first photo")
    examples.publish("rocket.jpg")
    until(lambda: examples.person() is False, "the second photo")
    for _ in range(5):
        examples.publish("astronaut.png")
    until(lambda: counted(6), "five more")


def test_forward_hands_the_answer_of_another_application_to_a_binding(examples: Examples) -> None:
    file = examples.files / "price"
    until(lambda: file.exists() and file.read_bytes() == b"Hello, world!", "the file of the binding")


def test_ten_reads_give_ten_values(examples: Examples) -> None:
    states = [StateItem(key=f"item-{n}", value=b"<%d>" % n) for n in range(10) if n != 4]
    examples.sidecar.stub.SaveState(SaveStateRequest(store_name="statestore", states=states), timeout=60)
    answer = examples.invoke("ten-reads")
    assert (answer.status, answer.body) == (200, b"<0>\n<1>\n<2>\n<3>\n\n<5>\n<6>\n<7>\n<8>\n<9>")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"error", 500, "the body asks for an error"),
        (b"retry", 503, "the body asks for a retry"),
        (b"drop", 400, "the body asks to be dropped"),
    ],
)
def test_outcomes_reach_an_http_caller(examples: Examples, body: bytes, status: int, text: str) -> None:
    answer = examples.invoke("outcomes", body)
    assert answer.status == status
    assert text in answer.json()["message"]
    assert examples.invoke("outcomes", b"else").body == b"done"

"""Photos out of a RabbitMQ queue, and replies into one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dapr.proto.runtime.v1.binding_pb2 import InvokeBindingRequest

from tests.dapr_real.bindings_ends import GUESTS, failures, mended, stored
from tests.dapr_real.rabbitmq import RabbitMQ
from tests.dapr_real.real_programs import Pair, Redis, Start
from tests.support.waiting import until

# Beside components/rabbitmq: a way to put photos into their queue, and to read what came into the others.
ENDS = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {{ name: {name} }}
spec:
  type: bindings.rabbitmq
  version: v1
  metadata:
    - {{ name: host, value: "amqp://guest:guest@localhost:{port}" }}
    - {{ name: queueName, value: {queue} }}
    - {{ name: durable, value: "true" }}
    - {{ name: direction, value: {direction} }}
"""
MANIFEST = f"""{GUESTS}
[[binding]]
name = "photos"
guest = "echo"
to = ["results"]
attempts = 3
dead_letter = "failed"
[[binding]]
name = "read-results"
guest = "echo"
state = {{ store = "state", key = "result-{{id}}" }}
[[binding]]
name = "read-failed"
guest = "echo"
state = {{ store = "state", key = "failed-{{id}}" }}
"""


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq")).start()
    yield server
    server.stop()


@pytest.fixture
def queues(start: Start, rabbitmq: RabbitMQ, redis: Redis, tmp_path: Path):
    """A function that starts an application with queues of its own."""

    def begin(text: str, app_id: str) -> Pair:
        ends = tmp_path / f"{app_id}-ends"
        ends.mkdir()
        for name, queue, direction in (
            ("publish", "photos", "output"),
            ("read-results", "results", "input"),
            ("read-failed", "failed", "input"),
        ):
            end = ENDS.format(name=name, port=rabbitmq.port, queue=f"{app_id}-{queue}", direction=direction)
            (ends / f"{name}.yaml").write_text(end)
        replace = {
            "localhost:5672": f"localhost:{rabbitmq.port}",
            "queueName, value: ": f"queueName, value: {app_id}-",
            "duration: 1s": "duration: 200ms",
            "localhost:6379": f"localhost:{redis.port}",
        }
        flags = ("--resources-path", str(ends))
        # Without health checks: see components/rabbitmq/photos.yaml.
        names = ("rabbitmq", "rabbitmq-results", "redis")
        return start(text, app_id=app_id, components=names, replace=replace, flags=flags, probe=False)

    return begin


def publish(pair: Pair, *texts: str) -> None:
    for text in texts:  # over gRPC: the HTTP API takes JSON, and hands it on as such
        create = InvokeBindingRequest(name="publish", data=text.encode(), operation="create")
        pair.sidecar.stub.InvokeBinding(create, timeout=20)


def test_a_photo_in_a_queue_is_answered_into_another(queues, redis):
    pair = queues(MANIFEST, "line")
    publish(pair, "one", "two")
    until(lambda: stored(redis, "line") == ["one", "two"], "the replies")
    assert not failures(pair.app)


@pytest.mark.parametrize(
    ("limit", "failed"),
    [("output", ["BAD_REPLY"] * 3), ("input", ["TOO_LARGE"])],
    ids=["its guest fails", "it is at fault itself"],
)
def test_a_photo_that_fails_for_ever_leaves_the_queue_and_those_behind_it_are_answered(queues, redis, limit, failed):
    broken = f'[guests.choosy]\nmodule = "GUESTS/echo/echo.wasm"\nfunction = "echo"\nlimits = {{ {limit} = "8B" }}\n'
    name = f"choosy-{limit}"
    pair = queues(broken + MANIFEST.replace('guest = "echo"', 'guest = "choosy"', 1), name)
    publish(pair, "a photo that is too large", "small")
    until(lambda: stored(redis, name) == ["a photo that is too large", "small"], "both")
    # The dead letter is there before it is said that the event was given up, and only then that it failed.
    until(lambda: failures(pair.app) == failed, f"the failures are {failed}")
    (line,) = pair.app.lines("gave an event up")
    assert (line["name"], line["dead_letter"]) == ("photos", "failed")


def test_photos_wait_for_their_application_and_outlive_the_broker(queues, redis, rabbitmq):
    pair = queues(MANIFEST.replace("attempts = 3\ndead_letter", "attempts = 10000\ndead_letter"), "waits")
    mended(pair, 'guest = "echo"\nto', 'guest = "fails"\nto')
    publish(pair, "one")
    until(lambda: failures(pair.app), "it fails")
    pair.app.kill()
    publish(pair, "two")
    pair.sidecar.stop()
    rabbitmq.stop()
    rabbitmq.start()
    pair.sidecar.start()
    mended(pair, 'guest = "fails"\nto', 'guest = "echo"\nto')
    until(lambda: set(stored(redis, "waits")) == {"one", "two"}, "both are answered")

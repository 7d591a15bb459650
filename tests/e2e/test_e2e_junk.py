"""What strangers send that no guest can use: each of our guests says that the event is at fault, and never fails in
another way. So an HTTP caller gets 400, and a message of a topic is not sent again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from guesthouse.dapr.client import Client
from guesthouse.event import Event, Failure, Reason, Trigger
from tests.support.manifests import placed
from tests.support.pictures import rgb_png
from tests.support.serving import serving

MANIFEST = """
[app]
name = "t"
[models.classifier]
path = "ROOT/models/efficientnet-lite0.onnx"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
stands_for = ["459a5c728732a1022fbe625f66cad5f626a67b1e4a17fad819cd23cdf78cb3a1"]
"""
GUEST = """
[guests.NAME]
module = "GUESTS/MODULE.wasm"
CALLED
models = ["classifier", "person"]
[[invoke]]
method = "NAME"
guest = "NAME"
[[topic]]
pubsub = "bus"
topic = "NAME"
guest = "NAME"
"""
FUNCTION, PROGRAM = 'calling = "bindgen"\nfunction = "infer"', 'calling = "command"'
FILES = """calling = "command"
args = ["visual_wake_words.tflite", "photo.jpg"]
files = { "/visual_wake_words.tflite" = "ROOT/guests/person/visual_wake_words.tflite" }
body_file = "/photo.jpg"
"""
PICTURES = {
    "classify": FUNCTION,
    "classify_c": FUNCTION,
    "classify_nn": PROGRAM,
    "person": FUNCTION,
    "person_files": FILES,
    "grayscale": PROGRAM,
}
TENSORS = {"tensor": ("tensor", "infer"), "tensor_nn": ("tensor_nn", "infer"), "wamr": ("tensor_nn", "infer_wamr")}


def junk(photos: Path) -> dict[str, bytes]:
    jpeg, coffee = (photos / "rocket.jpg").read_bytes(), (photos / "coffee.png").read_bytes()
    return {
        "nothing": b"",
        "text": b"this is no photo",
        "JSON": b'{"photo": "coffee.png"}',
        "the signature of a JPEG": b"\xff\xd8\xff\xe0broken",
        "the signature of a PNG": b"\x89PNG\r\n\x1a\nbroken",
        "the beginning of a JPEG": jpeg[:300],
        "the beginning of a PNG": coffee[:2000],
        "a PNG whose pixels are none": rgb_png(600, 400, b"these were never deflated"),
        "a PNG that says it is larger than the guest's memory": rgb_png(8000, 6000, zlib.compress(bytes(1000))),
        "a PNG that says it has 65535x65535 pixels": rgb_png(65535, 65535, zlib.compress(bytes(1000))),
        "the start of a WebP": b"RIFF\x24\0\0\0WEBPVP8 ",
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, guests_folder: Path, place: str) -> Iterator[Client]:
    tables = [(name, name, called) for name, called in PICTURES.items()]
    tables += [(name, folder, f'function = "{function}"') for name, (folder, function) in TENSORS.items()]
    text = MANIFEST
    for name, folder, called in tables:
        text += GUEST.replace("NAME", name).replace("MODULE", f"{folder}/{folder}").replace("CALLED", called)
    path = tmp_path_factory.mktemp("junk") / "guesthouse.toml"
    path.write_text(placed(text, guests_folder))
    with serving(path, place) as (client, _):
        yield client


def not_malformed(client: Client, guests: Iterable[str], bodies: dict[str, bytes]) -> dict[tuple[str, str], object]:
    """What each guest made of each body, where it did not say that the event is at fault."""
    answers = {(guest, what): answer(client, guest, body) for guest in guests for what, body in bodies.items()}
    return {which: said for which, said in answers.items() if said is not Reason.MALFORMED}


def answer(client: Client, guest: str, body: bytes) -> object:
    try:
        return client.send(Event(Trigger.INVOKE, guest, body, "", "POST"), timeout=60).body
    except Failure as failure:
        return failure.reason


def test_each_guest_that_takes_pictures_says_of_junk_that_the_event_is_at_fault(client: Client, photos: Path):
    assert not_malformed(client, PICTURES, junk(photos)) == {}


def test_each_guest_that_takes_a_tensor_says_of_another_size_that_the_event_is_at_fault(client: Client, photos: Path):
    bodies = {"a byte short": bytes(150_527), "a byte long": bytes(150_529), **junk(photos)}
    assert not_malformed(client, TENSORS, bodies) == {}


@pytest.mark.parametrize("guest", [*PICTURES, *TENSORS])
def test_junk_of_a_topic_is_dropped_and_not_asked_for_again(client: Client, guest):
    with pytest.raises(Failure, match="answered DROP"):
        client.send(Event(Trigger.TOPIC, f"bus/{guest}", b"this is no photo"), timeout=60)

"""Which model a guest's bytes mean, and how bytes seen before are known again."""

from __future__ import annotations

import gc
import hashlib
from typing import Any

import pytest
from inference_host import Doubler, Host

from guesthouse.inference.model import ModelConfig
from guesthouse.inference.registry import Registry
from guesthouse_abi.errors import DeadlineExceeded, Denied, InferenceError, OutOfBounds, TooMuch
from guesthouse_abi.grants import Limits
from guesthouse_abi.imports.wasmedge_tensorflow import MODULE
from guesthouse_abi.memory import Memory
from guesthouse_abi.services import Model, Services
from guesthouse_abi.sessions.model_lookup import KnownBlobs, resolve
from inference import tiny_models

FILE = bytes(range(256)) * 8
MODEL: Any = Doubler()  # a model by its identity


def resolved(host: Host, pointer: int, length: int, known: KnownBlobs | None = None) -> Model:
    return resolve(host.context, host.memory.bytes_at(pointer, length), known or KnownBlobs())


def recalled(known: KnownBlobs, host: Host, place: tuple[int, int]) -> str | None:
    return known.recall(host.memory.bytes_at(*place))


def test_the_marker_names_a_model():
    host = Host(MODULE)
    assert resolved(host, *host.put("guesthouse:model/doubler")).name == "doubler"


def test_a_model_that_is_not_granted_is_denied_before_it_is_looked_for():
    host = Host(MODULE, models=frozenset({"fixed", "gone"}))
    with pytest.raises(Denied, match="the manifest does not grant the model 'doubler' to this guest: add it to the"):
        resolved(host, *host.put("guesthouse:model/doubler"))
    with pytest.raises(InferenceError, match="the manifest has no model 'gone'"):
        resolved(host, *host.put("guesthouse:model/gone"))


def test_embedded_bytes_mean_the_model_that_stands_for_them():
    host = Host(MODULE)
    host.inference.stand_for("doubler", FILE)
    for _ in range(2):
        assert resolved(host, *host.put(FILE), KnownBlobs()).name == "doubler"
    assert host.context.held == 0


def test_unknown_bytes_are_refused_with_what_to_put_in_the_manifest():
    host = Host(MODULE)
    digest = hashlib.sha256(FILE).hexdigest()
    with pytest.raises(InferenceError) as error:
        resolved(host, *host.put(FILE), KnownBlobs())
    assert str(error.value) == (
        f'no model of the manifest stands for these 2048 bytes: give one stands_for = ["{digest}"] and name it in the '
        'guest\'s "models"'
    )


def test_bytes_of_a_model_that_is_not_granted_are_denied():
    host = Host(MODULE, models=frozenset())
    host.inference.stand_for("doubler", FILE)
    with pytest.raises(Denied, match=r"stand for the model 'doubler', which the manifest does not grant to this guest"):
        resolved(host, *host.put(FILE), KnownBlobs())


def test_a_grant_is_asked_for_again_when_the_bytes_are_known():
    known = KnownBlobs()
    granted = Host(MODULE)
    granted.inference.stand_for("doubler", FILE)
    resolved(granted, *granted.put(FILE), known)
    other = Host(MODULE, models=frozenset())
    other.inference.stand_for("doubler", FILE)
    with pytest.raises(Denied):
        resolved(other, *other.put(FILE), known)


def test_a_guest_opens_its_own_model_only_when_the_manifest_allows_it():
    host = Host(MODULE, allow_guest_models=True)
    assert resolved(host, *host.put(FILE), KnownBlobs()).name == "doubler"
    assert host.inference.opened == [FILE]


def test_the_copy_of_the_bytes_counts_as_host_memory():
    host = Host(MODULE, limits=Limits(host_memory=1000))
    with pytest.raises(TooMuch, match="2048 bytes of host memory"):
        resolved(host, *host.put(FILE), KnownBlobs())


def test_bytes_outside_the_memory_are_not_looked_at():
    host = Host(MODULE)
    with pytest.raises(OutOfBounds):
        resolved(host, host.size - 10, 11)


def test_nothing_is_hashed_past_the_deadline():
    host = Host(MODULE, seconds=-1)
    with pytest.raises(DeadlineExceeded):
        resolved(host, *host.put(FILE), KnownBlobs())


class Reads(Memory):
    """Counts what is copied out of the guest."""

    copied = 0

    def read(self, pointer: int, length: int) -> bytes:
        self.copied += length
        return super().read(pointer, length)


def test_known_bytes_are_compared_in_place_and_not_hashed_again():
    known = KnownBlobs()
    host = Host(MODULE)
    host.inference.stand_for("doubler", FILE)
    place = host.put(FILE)
    host.memory = host.context.memory = Reads(host.memory._locate)
    resolved(host, *place, known)
    assert host.memory.copied == len(FILE)
    resolved(host, *place, known)
    assert host.memory.copied == len(FILE)


@pytest.mark.parametrize("place", [0, 31, 32, 700, 1023, 1024, 2047])
def test_one_other_byte_anywhere_is_noticed(place):
    known = KnownBlobs()
    host = Host(MODULE)
    host.inference.stand_for("doubler", FILE)
    pointer, length = host.put(FILE)
    resolved(host, pointer, length, known)
    host.memory.write(pointer + place, bytes([FILE[place] ^ 1]))
    with pytest.raises(InferenceError):
        resolved(host, pointer, length, known)


def test_only_bytes_of_the_hosts_models_are_kept():
    known = KnownBlobs()
    host = Host(MODULE, allow_guest_models=True)
    place = host.put(FILE)
    resolved(host, *place, known)
    assert recalled(known, host, place) is None


def test_the_oldest_blobs_go_when_there_are_too_many_or_too_many_bytes():
    host = Host(MODULE)
    one, two, three = (host.put(bytes([fill]) * 100) for fill in (1, 2, 3))
    known = KnownBlobs(entries=2, size=1000)
    for name, place in (("1", one), ("2", two)):
        known.remember(MODEL, name, host.memory.read(*place))
    assert recalled(known, host, one) == "1"  # and is the younger now
    known.remember(MODEL, "3", host.memory.read(*three))
    assert [recalled(known, host, place) for place in (one, two, three)] == ["1", None, "3"]
    small = KnownBlobs(entries=10, size=250)
    for name, place in (("1", one), ("2", two), ("3", three)):
        small.remember(MODEL, name, host.memory.read(*place))
    assert [recalled(small, host, place) for place in (one, two, three)] == [None, "2", "3"]
    small.remember(MODEL, "large", bytes(251))
    assert recalled(small, host, two) == "2"


def test_bytes_are_forgotten_with_the_model_that_they_stood_for():
    known, host = KnownBlobs(), Host(MODULE)
    host.inference.stand_for("doubler", FILE)
    place = host.put(FILE)
    resolved(host, *place, known)
    assert (recalled(known, host, place), known.held) == (hashlib.sha256(FILE).hexdigest(), len(FILE))
    host.inference.models.clear()  # a reload, by which no plan has it any more
    gc.collect()
    assert (recalled(known, host, place), known.held) == (None, 0)


def test_bytes_outlive_a_reload_that_keeps_their_model_and_no_other(tmp_path):
    path = tiny_models.save(tmp_path, tiny_models.doubling())
    known, host = KnownBlobs(), Host(MODULE, models=frozenset({"doubler"}))
    config = ModelConfig(name="doubler", path=path, stands_for=(hashlib.sha256(FILE).hexdigest(),))
    first = Registry.open([config])
    host.context.services = Services(first, host.log)
    resolved(host, *host.put(FILE), known)
    second = Registry.open([config], first)
    first.close()
    host.context.services = Services(second, host.log)
    del first
    gc.collect()
    assert known.held == len(FILE)
    third = Registry.open([], second)
    second.close()
    host.context.services = Services(third, host.log)
    del second
    gc.collect()
    assert known.held == 0
    third.close()


def test_what_is_remembered_is_bounded_and_can_be_bounded_further():
    known = KnownBlobs(size=300)
    host = Host(MODULE)
    blobs = {name: (name * 100).encode() for name in "abc"}
    places = {name: host.put(blob) for name, blob in blobs.items()}

    def remembered() -> str:
        return "".join(name for name in blobs if recalled(known, host, places[name]) == name)

    for name, blob in blobs.items():
        known.remember(MODEL, name, blob)
    assert remembered() == "abc"
    known.keep_at_most(299)
    assert remembered() == "bc"
    known.remember(MODEL, "a", blobs["a"])
    assert remembered() == "ac"
    known.keep_at_most(99)
    known.remember(MODEL, "b", blobs["b"])
    assert remembered() == ""


@pytest.mark.parametrize("name", ["mobilenet.v2", "./models/sum.tflite", "mit Umlaut ä", "doubler"])
def test_a_guest_may_call_a_model_by_a_name_of_its_own(name):
    host = Host(MODULE, models=frozenset({"doubler"}), aliases=((name, "doubler"),) if name != "doubler" else ())
    assert resolved(host, *host.put(f"guesthouse:model/{name}")).name == "doubler"
    with pytest.raises(Denied, match="does not grant the model 'fixed'"):
        resolved(host, *host.put("guesthouse:model/fixed"))


def test_a_name_of_the_guests_own_goes_before_a_models_name():
    host = Host(MODULE, models=frozenset({"doubler", "fixed"}), aliases=(("fixed", "doubler"), ("doubler", "fixed")))
    assert resolved(host, *host.put("guesthouse:model/fixed")).name == "doubler"
    assert resolved(host, *host.put("guesthouse:model/doubler")).name == "fixed"


def test_another_name_grants_nothing():
    host = Host(MODULE, models=frozenset(), aliases=(("mine", "doubler"),))
    with pytest.raises(Denied, match="does not grant the model 'mine'"):
        resolved(host, *host.put("guesthouse:model/mine"))


def test_the_longest_name_of_a_manifest_fits():
    name = "ä" * 128
    host = Host(MODULE, aliases=((name, "doubler"),))
    assert resolved(host, *host.put(f"guesthouse:model/{name}")).name == "doubler"

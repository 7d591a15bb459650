"""Model bytes that a guest embeds: pages of its memory that cannot have changed are not compared again."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guesthouse.engine import open_engine
from guesthouse.engine.base import Engine, EngineConfig, Instance, Linked
from guesthouse_abi import pages
from guesthouse_abi.memory import GuestBytes
from guesthouse_abi.sessions.model_lookup import KnownBlobs
from tests.support import wat

SIZE = 700_000
BLOB = random.Random(7).randbytes(SIZE)
DIGEST = hashlib.sha256(BLOB).hexdigest()
AT = 70_000  # not at the beginning of a page
pytestmark = pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="Linux alone tells of pages")


class Model:
    """A model, which is all that lookup asks of it."""

    name = "embedded"


@pytest.fixture(params=[True, False], ids=["pooling", "on demand"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    opened = open_engine("wasmtime", EngineConfig(instances=2, pooling=request.param))
    yield opened
    opened.close()


def module(data: bytes) -> str:
    """A module whose memory has `data` at AT."""
    pages, text = (AT + len(data)) // 65536 + 1, "".join(f"\\{byte:02x}" for byte in data)
    return f'(module (memory (export "memory") {pages}) (data (i32.const {AT}) "{text}"))'


@pytest.fixture
def linked(engine: Engine) -> Linked:
    return wat.compiled(engine, module(BLOB)).link([])


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each comparison was of."""
    sizes: list[int] = []
    has_at: Callable[..., bool] = GuestBytes.has_at

    def counted(self: GuestBytes, offset: int, data: bytes) -> bool:
        sizes.append(len(data))
        return has_at(self, offset, data)

    monkeypatch.setattr(GuestBytes, "has_at", counted)
    return sizes


@pytest.fixture
def known() -> KnownBlobs:
    blobs = KnownBlobs()
    blobs.remember(MODEL, DIGEST, BLOB)  # type: ignore[arg-type]
    return blobs


MODEL = Model()


def started(linked: Linked) -> tuple[Instance, GuestBytes]:
    context = wat.context()
    instance = linked.instantiate(context)
    return instance, context.memory.bytes_at(AT, SIZE)


def test_what_a_module_brings_is_compared_whole_once(linked: Linked, known: KnownBlobs, compared: list[int]):
    totals = []
    for _ in range(4):
        instance, given = started(linked)
        compared.clear()
        assert known.recall(given) == DIGEST
        totals.append(sum(compared))
        instance.close()
    assert totals[0] >= SIZE
    assert totals[3] < SIZE / 2  # a pool keeps some pages for the next instance, and those are compared


def test_a_byte_that_an_instance_has_written_is_found_wherever_it_is(linked: Linked, known: KnownBlobs):
    for place in (0, 1, 4095, 4096, 300_000, SIZE // 2, SIZE - 4097, SIZE - 1):
        for _ in range(2):  # the second time with pages that are known
            instance, given = started(linked)
            assert known.recall(given) == DIGEST
            instance.close()
        context = wat.context()
        instance = linked.instantiate(context)
        context.memory.write(AT + place, bytes([BLOB[place] ^ 1]))
        assert known.recall(context.memory.bytes_at(AT, SIZE)) is None
        instance.close()


def test_bytes_that_a_guest_wrote_are_not_taken_for_what_its_module_brings(engine: Engine, known: KnownBlobs):
    """One instance writes the model itself; the next one hands over the same place without having written there."""
    other = bytearray(BLOB)
    for place in range(SIZE // 3, 2 * SIZE // 3):  # the samples at both ends fit, and the one in the middle does not
        other[place] ^= 0x55
    middle = SIZE // 2
    other[middle - 32 : middle] = BLOB[middle - 32 : middle]  # now it fits too
    linked = wat.compiled(engine, module(bytes(other))).link([])
    for _ in range(3):
        context = wat.context()
        instance = linked.instantiate(context)
        context.memory.write(AT, BLOB)
        assert known.recall(context.memory.bytes_at(AT, SIZE)) == DIGEST
        instance.close()
        instance, given = started(linked)
        assert known.recall(given) is None
        instance.close()


def test_what_was_found_at_one_place_says_nothing_of_another(engine: Engine, known: KnownBlobs):
    other = bytearray(BLOB)
    other[300_000] ^= 1  # none of the samples is there
    distance = -(-SIZE // 4096) * 4096
    linked = wat.compiled(engine, module(BLOB + bytes(distance - SIZE) + bytes(other))).link([])
    for _ in range(3):
        context = wat.context()
        instance = linked.instantiate(context)
        assert known.recall(context.memory.bytes_at(AT, SIZE)) == DIGEST
        assert known.recall(context.memory.bytes_at(AT + distance, SIZE)) is None
        instance.close()


def test_places_are_remembered_up_to_a_bound(linked: Linked):
    known = KnownBlobs(entries=200)
    small = [bytes([number]) * 5000 for number in range(100)]
    for data in small:
        known.remember(MODEL, hashlib.sha256(data).hexdigest(), data)  # type: ignore[arg-type]
    context = wat.context()
    instance = linked.instantiate(context)
    for data in small:
        context.memory.write(AT, data)
        assert known.recall(context.memory.bytes_at(AT, len(data))) == hashlib.sha256(data).hexdigest()
    image = context.memory.image
    assert image is not None
    assert 1 <= len(image) <= 64
    instance.close()


def test_where_the_system_does_not_tell_all_is_compared(
    linked: Linked, known: KnownBlobs, compared: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pages._Map, "read", lambda *_: b"")
    for _ in range(3):
        instance, given = started(linked)
        compared.clear()
        assert known.recall(given) == DIGEST
        assert sum(compared) >= SIZE
        instance.close()

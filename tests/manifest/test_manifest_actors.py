"""Actors in the manifest: their types, and topics whose events actors answer."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.manifest import ManifestError, parse, warnings
from guesthouse.manifest.addresses import Address, AddressFault

GUEST = {"module": "g.wasm", "calling": "dapr"}
TOPIC = {"pubsub": "p", "topic": "t"}


def parsed(**tables: Any) -> Any:
    raw = {"app": {"name": "a"}, "guests": {"g": dict(GUEST)}, **tables}
    return parse(raw, Path("guesthouse.toml"), {})


def faults(**tables: Any) -> list[str]:
    with pytest.raises(ManifestError) as error:
        parsed(**tables)
    return list(error.value.faults)


def test_a_type_of_actors_is_a_route_with_the_settings_that_dapr_has_too() -> None:
    manifest = parsed(actor=[{"type": "Cart", "guest": "g"}, {"type": "Till", "guest": "g", "idle": "30s"}])
    cart, till = manifest.actor
    assert (cart.idle, cart.drain, cart.reentrant, cart.enabled) == (3600, 2, False, True)
    assert till.idle == 30
    assert [(route.trigger, route.name, route.guest) for route in manifest.routes()] == [
        (Trigger.ACTOR, "Cart", "g"),
        (Trigger.ACTOR, "Till", "g"),
    ]
    assert list(warnings(manifest)) == []


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"type": "Cart", "guest": "h"}, ('"h" is no guest of this manifest', "guest", "did you mean g?")),
        ({"type": "a/b", "guest": "g"}, ('"a/b" is no type of actors', "type", "as in Cart")),
        ({"type": "", "guest": "g"}, ("is empty", "type", "")),
        ({"type": "dapr.internal.x", "guest": "g"}, ("workflow engine", "type", "another name")),
        ({"type": "Cart", "guest": "g", "idle": "0s"}, ("", "idle", "")),
        ({"type": "Cart", "guest": "g", "drain": "-1s"}, ("", "drain", "")),
        ({"guest": "g"}, ("type is missing", "type", "")),
        ({"type": "Cart"}, ("guest is missing", "guest", "")),
        ({"type": "Cart", "guest": "g", "ttl": 1}, ("ttl", "", "")),
    ],
)
def test_a_fault_of_a_type_is_told_in_words(table: dict[str, Any], told: tuple[str, str, str]) -> None:
    (fault,) = faults(actor=[table])
    what, where, remedy = fault.split(" — ")
    assert told[0] in what
    assert f"[[actor]] #1: {told[1]}" in where
    assert told[2] in remedy or "did you mean" in remedy or told[0] == '"h" is no guest of this manifest'


def test_a_type_has_one_table() -> None:
    (fault,) = faults(actor=[{"type": "Cart", "guest": "g"}] * 2)
    assert '"Cart" is answered by [[actor]] #1 already' in fault


def test_a_turn_inside_another_one_needs_a_second_slot() -> None:
    guest = {**GUEST, "limits": {"concurrency": 1}}
    (fault,) = faults(guests={"g": guest}, actor=[{"type": "Cart", "guest": "g", "reentrant": True}])
    assert "is of no use with limits.concurrency = 1" in fault
    assert parsed(guests={"g": guest}, actor=[{"type": "Cart", "guest": "g"}])


def test_a_guest_that_cannot_know_which_actor_it_is_is_warned_of() -> None:
    manifest = parsed(guests={"g": {"module": "g.wasm", "function": "f"}}, actor=[{"type": "Cart", "guest": "g"}])
    (warning,) = warnings(manifest)
    assert "learns neither its actor's id nor the method" in warning


# ---- topics whose events actors answer ----


def test_a_topic_names_a_guest_or_an_actor() -> None:
    manifest = parsed(topic=[{**TOPIC, "actor": "Cart/{data.id}", "dead_letter": "d"}])
    assert [(route.name, route.guest) for route in manifest.routes()] == [("p/t", "")]
    assert list(warnings(manifest)) == []


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({}, "is missing — "),
        ({"guest": "g", "actor": "Cart/7"}, "does not go with guest"),
        ({"guest": "g", "method": "add"}, '"add" is of an actor, and none is named'),
        ({"actor": "Cart"}, '"Cart" names no actor'),
        ({"actor": "Cart/"}, '"Cart/" names no actor'),
        ({"actor": "{data.type}/7"}, "has no type of actors before the /"),
        ({"actor": "/7"}, "has no type of actors before the /"),
        ({"actor": "Cart/a/b"}, "has / \\ # ? or a control character in its id"),
        ({"actor": "Cart/{id}"}, "has {id}, which stands for nothing"),
        ({"actor": "Cart/{data}"}, "has {data}, which stands for nothing"),
        ({"actor": "Cart/{data.a..b}"}, "has {data.a..b}, which stands for nothing"),
        ({"actor": "Cart/{data.a"}, "has a brace without its other half"),
        ({"actor": "Cart/x}"}, "has a brace without its other half"),
    ],
)
def test_a_fault_of_an_address_is_told_in_words(table: dict[str, Any], told: str) -> None:
    (fault,) = faults(topic=[{**TOPIC, **table}])
    assert told in fault


def named(address: str, body: bytes = b"", **metadata: str) -> str:
    return Address.parse(address).id_for(Event(Trigger.TOPIC, "p/t", body, metadata=metadata))


@pytest.mark.parametrize(
    ("address", "id"),
    [
        ("Cart/fixed", "fixed"),
        ("Cart/{data.customer.id}", "c 7"),
        ("Cart/{data.number}", "12"),
        ("Cart/shop-{data.number}-{metadata.Region}!", "shop-12-eu!"),
        ("Cart/{metadata.ce_id}", "e1"),
        ("Cart/{data.customer.ü}", "ü"),
    ],
)
def test_an_actor_is_named_by_values_of_the_body_and_of_the_metadata(address: str, id: str) -> None:
    body = '{"customer": {"id": "c 7", "ü": "ü"}, "number": 12}'.encode()
    assert named(address, body, region="eu", ce_id="e1") == id


@pytest.mark.parametrize(
    ("address", "body", "told"),
    [
        ("Cart/{data.id}", b"", "the body is not JSON"),
        ("Cart/{data.id}", b"[" * 100_000, "the body is not JSON"),
        ("Cart/{data.id}", b"\xff", "the body is not JSON"),
        ("Cart/{data.id}", b"[1]", "no text or whole number at 'data.id'"),
        ("Cart/{data.id}", b"{}", "no text or whole number at 'data.id'"),
        ("Cart/{data.id}", b'{"id": ""}', "no text or whole number"),
        ("Cart/{data.id}", b'{"id": true}', "no text or whole number"),
        ("Cart/{data.id}", b'{"id": 1.5}', "no text or whole number"),
        ("Cart/{data.id}", b'{"id": {}}', "no text or whole number"),
        ("Cart/{data.id.x}", b'{"id": "x"}', "no text or whole number"),
        ("Cart/{data.id}", b'{"id": "a/b"}', "an id has up to 255 bytes"),
        ("Cart/{data.id}", b'{"id": "a\\u0000b"}', "an id has up to 255 bytes"),
        ("Cart/{data.id}", b'{"id": "a\\ud800b"}', "an id has up to 255 bytes"),
        ("Cart/{data.id}", b'{"id": "%s"}' % (b"x" * 256), "an id has up to 255 bytes"),
        ("Cart/{metadata.key}", b"{}", "no metadata 'key'"),
    ],
)
def test_an_event_that_names_no_actor_is_itself_at_fault(address: str, body: bytes, told: str) -> None:
    with pytest.raises(Failure) as error:
        named(address, body)
    assert told in error.value.text
    assert error.value.reason is Reason.MALFORMED
    assert len(error.value.text) < 400


@given(st.text())
def test_any_text_is_an_address_or_a_fault_in_words(text: str) -> None:
    with contextlib.suppress(AddressFault):
        assert text.startswith(f"{Address.parse(text).type}/")


@given(st.binary() | st.text().map(str.encode), st.text())
def test_any_event_names_an_actor_or_is_at_fault(body: bytes, key: str) -> None:
    try:
        id = named("Cart/x{data.id}{metadata.key}", body, key=key)
    except Failure as error:
        id, failure = "x", error
    else:
        failure = Failure(Reason.MALFORMED, "")
    assert failure.reason is Reason.MALFORMED
    assert id.startswith("x")

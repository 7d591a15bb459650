"""`wasi:keyvalue` and the two packages of messaging, function by function, on a sidecar in memory."""

from __future__ import annotations

from typing import Any

import pytest

from guesthouse_abi.calls import Code
from guesthouse_abi.canonical.functions import Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.preview2 import keyvalue as kv
from guesthouse_abi.imports.preview2 import messaging
from guesthouse_abi.imports.preview2.keyvalue import Bucket, Cas
from guesthouse_abi.imports.preview2.messaging import Client, Message
from guesthouse_abi.services import Ended, Log, Services, Sidecar
from tests.support.blocks import Blocks
from tests.support.doubles import Lines

DENIED = Ended(Code.PERMISSION_DENIED, "the guest may not read", refused=True)


@pytest.fixture
def sidecar() -> Blocks:
    return Blocks()


@pytest.fixture
def context(sidecar: Blocks) -> Context:
    return context_of(sidecar)


def context_of(sidecar: Any, **limits: int) -> Context:
    services = Services({Log: Lines(), Sidecar: sidecar})
    return Context(Deadline.after(60), Grants(), Limits(**limits), services)


@pytest.fixture
def bucket(context: Context) -> Bucket:
    return kv.open_bucket(context, "store")


def failed(function: Any, *arguments: Any) -> Any:
    """The value of `err`."""
    with pytest.raises(Fail) as found:
        function(*arguments)
    return found.value.value


def test_values_are_set_read_and_deleted(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    assert kv.get(context, bucket, "a") is None
    assert not kv.exists(context, bucket, "a")
    kv.set_value(context, bucket, "a", b"one")
    assert (kv.get(context, bucket, "a"), kv.exists(context, bucket, "a")) == (b"one", True)
    kv.delete(context, bucket, "a")
    kv.delete(context, bucket, "a")
    assert kv.get(context, bucket, "a") is None
    assert sidecar.made.count("DeleteState") == 2


def test_an_empty_value_is_there_in_a_store_with_etags(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    kv.set_value(context, bucket, "a", b"")
    assert (kv.get(context, bucket, "a"), kv.exists(context, bucket, "a")) == (b"", True)
    sidecar.no_etags = True
    assert kv.get(context, bucket, "a") is None


def test_many_values_are_read_in_the_order_of_their_keys(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    kv.set_many(context, bucket, [("a", b"1"), ("b", b"2")])
    assert kv.get_many(context, bucket, ["b", "x", "a"]) == [("b", b"2"), ("x", None), ("a", b"1")]
    assert kv.get_many_that_are(context, bucket, ["b", "x"]) == [("b", b"2"), None]
    kv.delete_many(context, bucket, ["a", "b"])
    assert sidecar.values == {}
    sidecar.made.clear()
    kv.set_many(context, bucket, [])
    kv.delete_many(context, bucket, [])
    assert (kv.get_many(context, bucket, []), sidecar.made) == ([], [])


def test_an_addition_begins_at_0_and_is_kept_in_digits(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    assert kv.increment(context, bucket, "n", 5) == 5
    assert kv.increment(context, bucket, "n", -7) == -2
    assert sidecar.values["n"][0] == b"-2"
    assert failed(kv.increment_unsigned, context, bucket, "n", 1).name == "other"
    assert kv.increment_unsigned(context, bucket, "m", (1 << 64) - 1) == (1 << 64) - 1


def test_an_addition_that_others_come_before_is_done_again(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    others = iter([b"10", b"20"])

    def meanwhile() -> None:
        for value in others:
            sidecar.values["n"] = value, sidecar.values.get("n", (b"", 0))[1] + 1
            return

    sidecar.before_save = meanwhile
    assert kv.increment(context, bucket, "n", 1) == 21


def test_an_addition_that_others_always_come_before_ends(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    def meanwhile() -> None:
        sidecar.values["n"] = b"1", sidecar.values.get("n", (b"", 0))[1] + 1

    sidecar.before_save = meanwhile
    assert failed(kv.increment, context, bucket, "n", 1) == Case("other", "others have changed 'n' 8 times meanwhile")


@pytest.mark.parametrize("value", [b"", b"1.5", b" 1", b"x", b"1" * 21, b"9223372036854775807"])
def test_what_is_no_number_or_would_be_too_large_is_not_added_to(
    context: Context, bucket: Bucket, sidecar: Blocks, value: bytes
) -> None:
    sidecar.values["n"] = value, 1
    assert failed(kv.increment, context, bucket, "n", 1).name == "other"
    assert sidecar.values["n"] == (value, 1)


def test_a_swap_is_done_where_nobody_has_changed_the_value(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    cas = kv.new_cas(context, bucket, "a")
    assert kv.current(context, cas) is None
    kv.swap(context, cas, b"one")
    cas = kv.new_cas(context, bucket, "a")
    assert kv.current(context, cas) == b"one"
    sidecar.values["a"] = b"theirs", 7
    name, again = failed(kv.swap, context, cas, b"two")
    assert (name, again.stored) == ("cas-failed", (b"theirs", "7"))
    kv.swap(context, again, b"two")
    assert sidecar.values["a"][0] == b"two"


def test_what_is_swapped_is_read_with_strong_consistency(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    kv.get(context, bucket, "a")
    kv.exists(context, bucket, "a")
    assert sidecar.newest == [False, False]
    kv.new_cas(context, bucket, "a")
    kv.increment(context, bucket, "n", 1)
    assert sidecar.newest[2:] == [True, True]


def test_a_value_that_somebody_has_made_meanwhile_is_not_swapped(
    context: Context, bucket: Bucket, sidecar: Blocks
) -> None:
    cas = kv.new_cas(context, bucket, "a")
    sidecar.values["a"] = b"theirs", 1
    name, again = failed(kv.swap, context, cas, b"mine")
    assert (name, kv.current(context, again)) == ("cas-failed", b"theirs")


def test_nothing_is_atomic_in_a_store_without_etags(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    sidecar.values["n"], sidecar.no_etags = (b"1", 1), True
    name, text = failed(kv.increment, context, bucket, "n", 1)
    assert (name, text) == ("other", "the state store 'store' has no etags, so nothing is atomic in it")
    name, error = failed(kv.swap, context, kv.new_cas(context, bucket, "n"), b"2")
    assert (name, error.name) == ("store-error", "other")
    assert sidecar.values["n"] == (b"1", 1)


def test_what_a_cas_keeps_is_counted_until_it_is_dropped_or_used(
    context: Context, bucket: Bucket, sidecar: Blocks
) -> None:
    sidecar.values["a"] = b"x" * 10_000, 1
    dropped, used = kv.new_cas(context, bucket, "a"), kv.new_cas(context, bucket, "a")
    kv.exists(context, bucket, "b")  # the answer of the last call is counted, too
    held = context.held
    dropped.release(context)
    assert held - context.held > 10_000
    kv.swap(context, used, b"")
    assert context.held < 1000


def test_errors_have_the_interfaces_own_names(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    assert failed(kv.open_bucket, context, "") == Case("no-such-store")
    assert failed(kv.open_bucket, context, "x" * 257) == Case("no-such-store")
    assert failed(kv.get, context, kv.open_bucket(context, "other"), "a") == Case("no-such-store")
    assert failed(kv.list_keys, context, bucket, None).name == "other"
    sidecar.fails = {"GetState": DENIED, "SaveState": Ended(Code.UNAVAILABLE, "gone"), "DeleteState": DENIED}
    assert failed(kv.get, context, bucket, "a") == Case("access-denied")
    assert failed(kv.delete, context, bucket, "a") == Case("access-denied")
    assert failed(kv.set_value, context, bucket, "a", b"") == Case("other", "gone")
    assert failed(kv.increment, context, bucket, "a", 1) == Case("access-denied")
    assert failed(kv.new_cas, context, bucket, "a") == Case("access-denied")
    cas = Cas(context, "store", "a", None)
    assert failed(kv.swap, context, cas, b"") == Case("store-error", Case("other", "gone"))


def test_a_value_that_cannot_be_read_fails_them_all(context: Context, bucket: Bucket, sidecar: Blocks) -> None:
    sidecar.fails["GetBulkState"] = Ended(0, "", b"\x0a\x06\x0a\x01a\x22\x01e")
    assert failed(kv.get_many, context, bucket, ["a"]) == Case("other", "e")
    sidecar.fails["GetBulkState"] = Ended(0, "", b"\x0a\xff")
    assert failed(kv.get_many, context, bucket, ["a"]) == Case("other", "the sidecar's response is no message")


def test_a_guest_without_a_sidecar_and_one_over_its_limits_are_refused(sidecar: Blocks) -> None:
    alone = Context(Deadline.after(60), Grants(), Limits(), Services({Log: Lines()}))
    assert failed(kv.get, alone, Bucket("store"), "a") == Case("access-denied")
    assert failed(messaging.send, alone, Client("p"), "t", Message(b""))[0] == "permission-denied"
    small = context_of(sidecar, host_memory=1000)
    assert "host_memory" in failed(kv.set_value, small, Bucket("store"), "a", b"x" * 1000).value
    sidecar.values["a"] = b"x" * 2000, 1
    assert "host_memory" in failed(kv.get, small, Bucket("store"), "a").value


# ---- messages ----


def test_a_message_is_published_with_its_type_and_metadata(context: Context, sidecar: Blocks) -> None:
    message = messaging.new_message(context, b"one")
    assert messaging.message_topic(context, message) is None
    assert messaging.message_metadata(context, message) is None
    messaging.set_content_type(context, message, "text/plain")
    messaging.set_data(context, message, b"two")
    messaging.set_metadata(context, message, [("ttlInSeconds", "5"), ("b", "1")])
    messaging.add_metadata(context, message, "b", "2")
    messaging.add_metadata(context, message, "c", "3")
    messaging.remove_metadata(context, message, "c")
    held = context.held
    messaging.send(context, messaging.connect(context, "pubsub"), "orders", message)
    (request,) = sidecar.published
    assert (request.pubsub_name, request.topic, request.data) == ("pubsub", "orders", b"two")
    assert request.data_content_type == "text/plain"
    assert dict(request.metadata) == {"ttlInSeconds": "5", "b": "2"}
    assert held > 300
    assert context.held < held


def test_a_message_of_wasmcloud_names_component_and_topic(context: Context, sidecar: Blocks) -> None:
    messaging.publish(context, ("pubsub/orders/new", b"one", None))
    (request,) = sidecar.published
    assert (request.pubsub_name, request.topic, request.data) == ("pubsub", "orders/new", b"one")
    assert "write PUBSUB/TOPIC" in failed(messaging.publish, context, ("orders", b"", None))
    assert "has no replies" in failed(messaging.publish, context, ("pubsub/orders", b"", "me"))
    assert "has no replies" in failed(messaging.request_by_subject, context, "pubsub/orders", b"", 5)
    assert len(sidecar.published) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Code.PERMISSION_DENIED, Case("permission-denied", "why")),
        (Code.DEADLINE_EXCEEDED, Case("timeout")),
        (Code.UNAVAILABLE, Case("connection", "why")),
        (Code.NOT_FOUND, Case("other", "why")),
    ],
)
def test_a_message_that_is_not_sent_is_an_error(context: Context, sidecar: Blocks, code: Code, error: Case) -> None:
    sidecar.fails["PublishEvent"] = Ended(code, "why")
    assert failed(messaging.send, context, Client("pubsub"), "t", Message(b"")) == error
    assert failed(messaging.publish, context, ("pubsub/t", b"", None)) == "why"


def test_replies_are_refused(context: Context) -> None:
    client, message = Client("pubsub"), Message(b"")
    assert failed(messaging.request, context, client, "t", message, None).name == "other"
    assert failed(messaging.reply, context, message, message).name == "other"
    assert failed(messaging.connect, context, "x" * 257).name == "other"


def test_what_a_message_keeps_is_bounded() -> None:
    context = context_of(Blocks(), host_memory=100_000)
    message = messaging.new_message(context, b"")
    with pytest.raises(HostError, match="more than 256 pieces"):
        messaging.set_metadata(context, message, [(str(number), "") for number in range(257)])
    messaging.set_metadata(context, message, [])
    for _ in range(40):
        messaging.add_metadata(context, message, "a", "x" * 1000)
    with pytest.raises(TooMuch):
        messaging.add_metadata(context, message, "a", "x" * 50_000)
    with pytest.raises(TooMuch):  # a character may take four bytes
        messaging.set_content_type(context, message, "x" * 14_000 + "\N{GRINNING FACE}")
    message.release(context)
    assert context.held == 0

"""`wasi:http`: the body of a response, in whatever pieces a guest writes it."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse_abi.canonical.functions import Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.errors import BadReply
from guesthouse_abi.imports.preview2.http import FIELD, Fields, OutgoingBody
from tests.support import wat

LENGTHS = st.lists(st.sampled_from([0, 1, 100, 4095, 4096, 5000]), max_size=12)


@given(LENGTHS)
def test_a_body_is_all_that_was_written_in_order_however_long_each_piece_is(lengths: list[int]) -> None:
    context, body = wat.context(), OutgoingBody()
    pieces = [bytes([index]) * length for index, length in enumerate(lengths, 1)]
    for piece in pieces:
        body.give(context, piece)
    assert context.held == sum(lengths)
    assert body.taken(context) == b"".join(pieces)
    assert context.held == 0


def test_short_pieces_take_no_more_memory_than_their_bytes() -> None:
    context, body, count = wat.context(), OutgoingBody(), 20_000
    tracemalloc.start()
    try:
        for index in range(count):
            body.give(context, index.to_bytes(2, "little"))
        assert tracemalloc.get_traced_memory()[0] < 4 * count
    finally:
        tracemalloc.stop()


def test_a_body_over_the_limit_ends_the_guest_whichever_pieces_it_has() -> None:
    context, body = wat.context(output=10_000), OutgoingBody()
    body.give(context, bytes(5000))
    body.give(context, bytes(3))
    with pytest.raises(BadReply, match=r"more than limits.output \(10000 bytes\)"):
        body.give(context, bytes(4998))


def test_the_name_and_the_value_of_a_field_have_a_greatest_length() -> None:
    context, fields = wat.context(), Fields()
    fields.add(context, "a" * FIELD, b"b" * FIELD)
    for name, value in (("a" * (FIELD + 1), b""), ("a", b"b" * (FIELD + 1))):
        with pytest.raises(Fail) as refused:
            fields.add(context, name, value)
        assert refused.value.value == Case("invalid-syntax")

"""Which trace an event belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guesthouse.tracecontext import context_of, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
OTHER = f"00-{TRACE[::-1]}-{SPAN}-00"


@pytest.mark.parametrize(
    ("metadata", "context"),
    [
        ({"traceparent": PARENT}, {"traceparent": PARENT}),
        ({"traceparent": PARENT, "tracestate": "a=1"}, {"traceparent": PARENT, "tracestate": "a=1"}),
        ({"ce_traceparent": PARENT, "ce_tracestate": "a=1"}, {"traceparent": PARENT, "tracestate": "a=1"}),
        ({"traceparent": OTHER, "ce_traceparent": PARENT}, {"traceparent": OTHER}),
        # A later version is read as this one, and sent on as this one.
        ({"traceparent": f"cc-{TRACE}-{SPAN}-01-what-comes"}, {"traceparent": PARENT}),
    ],
)
def test_the_context_is_what_the_sidecar_or_the_publisher_says(metadata, context):
    assert context_of(metadata) == context
    assert trace_id(metadata) == context["traceparent"][3:35]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"traceparent": ""},
        {"traceparent": f"{PARENT}, {PARENT}"},  # sent twice
        {"traceparent": f"{PARENT}-more"},
        {"traceparent": f"cc-{TRACE}-{SPAN}-01more"},
        {"traceparent": f"ff-{TRACE}-{SPAN}-01"},
        {"traceparent": PARENT.upper()},
        {"traceparent": f"00-{'0' * 32}-{SPAN}-01"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {"traceparent": PARENT + "\n"},
        {"tracestate": "a=1"},
    ],
)
def test_what_is_no_context_is_none(metadata):
    assert context_of(metadata) == {}
    assert trace_id(metadata) == ""


@given(st.text(), st.text())
def test_nothing_leaves_that_could_not_be_a_header(parent, state):
    for metadata in (
        {"traceparent": parent, "tracestate": state},
        {"traceparent": PARENT, "tracestate": state},
        {"ce_traceparent": PARENT + parent, "ce_tracestate": state},
    ):
        for value in context_of(metadata).values():
            assert value.isascii()
            assert value.isprintable()
            assert len(value) <= 512

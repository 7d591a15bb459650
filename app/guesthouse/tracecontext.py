"""The trace that an event belongs to, read from its metadata: https://www.w3.org/TR/trace-context/.

A sidecar sends `traceparent` and `tracestate`. A CloudEvent may carry its publisher's as `ce_traceparent`. (A sidecar
whose caller sent a `traceparent` passes that one on. Its own span is then in `grpc-trace-bin`, which gRPC does not show
to applications.) Spans are made in `observe/traces`. This module works without OpenTelemetry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PARENT, STATE = "traceparent", "tracestate"

_SIZE = 55  # characters; a later version may have more after another "-"
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")  # characters that may be sent in a header


def context_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """The event's `traceparent`, and `tracestate` where there is one. Empty where the event belongs to no trace."""
    for parent, state in ((PARENT, STATE), (f"ce_{PARENT}", f"ce_{STATE}")):
        if found := _checked(metadata.get(parent, "")):
            tail = metadata.get(state, "")
            return {PARENT: found, STATE: tail} if _STATE.fullmatch(tail) else {PARENT: found}
    return {}


def trace_id(metadata: Mapping[str, str]) -> str:
    """The trace's id, 32 hexadecimal digits; "" where the event belongs to no trace."""
    return context_of(metadata).get(PARENT, "")[3:35]


def _checked(parent: str) -> str:
    """The `traceparent` as version 00 has it; "" where the text is none."""
    if not _PARENT.fullmatch(parent[:_SIZE]) or (len(parent) > _SIZE and (parent[:2] == "00" or parent[_SIZE] != "-")):
        return ""
    return f"00{parent[2:_SIZE]}"

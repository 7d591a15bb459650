"""The trace that an event belongs to, read from its metadata: https://www.w3.org/TR/trace-context/.

A sidecar sends `traceparent` and `tracestate`, the same as `grpc-trace-bin`, and a CloudEvent may carry its publisher's
as `ce_traceparent`. What spans are made of is in `traces`; this works without OpenTelemetry.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

PARENT, STATE, BINARY = "traceparent", "tracestate", "grpc-trace-bin"

_SIZE = 55  # characters; in a later version, more may follow a "-"
_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_STATE = re.compile(r"[\x20-\x7e]{1,512}")  # what may go into a header again
_BINARY_SIZE = 29


def context_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """`traceparent`, and `tracestate` where there is one; empty where the event belongs to no trace."""
    for parent, state in ((PARENT, STATE), (f"ce_{PARENT}", f"ce_{STATE}")):
        if found := _checked(metadata.get(parent, "")):
            tail = metadata.get(state, "")
            return {PARENT: found, STATE: tail} if _STATE.fullmatch(tail) else {PARENT: found}
        if parent == PARENT and (found := _from_binary(metadata.get(BINARY, ""))):
            return {PARENT: found}
    return {}


def trace_id(metadata: Mapping[str, str]) -> str:
    """32 hexadecimal digits; empty where the event belongs to no trace."""
    return context_of(metadata).get(PARENT, "")[3:35]


def _checked(parent: str) -> str:
    """A `traceparent` of the version that is known here; empty for what is none."""
    if not _PARENT.fullmatch(parent[:_SIZE]) or (len(parent) > _SIZE and (parent[:2] == "00" or parent[_SIZE] != "-")):
        return ""
    return f"00{parent[2:_SIZE]}"


def _from_binary(text: str) -> str:
    """`traceparent` of a base64 `grpc-trace-bin`: 0, then 0 and the trace id, 1 and the span id, 2 and the flags.

    https://github.com/census-instrumentation/opencensus-specs/blob/master/encodings/BinaryEncoding.md
    """
    if not text:
        return ""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    if len(data) != _BINARY_SIZE or (data[0], data[1], data[18], data[27]) != (0, 0, 1, 2):
        return ""
    return _checked(f"00-{data[2:18].hex()}-{data[19:27].hex()}-{data[28]:02x}")

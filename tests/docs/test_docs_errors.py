"""The tables of failures in docs/operations.md and docs/dapr.md say what the gRPC services answer."""

from __future__ import annotations

import re
from pathlib import Path

import grpc
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventResponse

from guesthouse.dapr import status
from guesthouse.event import Failure, Reason

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(page: str) -> list[tuple[list[Reason], list[str]]]:
    """Rows whose first cell begins with a reason: (reasons, the other cells)."""
    found = []
    for line in re.findall(r"^\|.*\|$", (DOCS / page).read_text(), re.MULTILINE):
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([A-Z_]+)`", first) if first.startswith("`") and first[1:2].isupper() else []
        if names and names[0] in Reason.__members__:
            found.append(([Reason[name] for name in names], cells))
    return found


def test_operations_has_every_reason_with_its_status_and_what_a_topic_is_told() -> None:
    listed = rows("operations.md")
    assert sorted(reasons[0].value for reasons, _ in listed) == sorted(reason.value for reason in Reason)
    for (reason,), (_, code, topic, *_) in listed:
        assert code.split(",")[0] == status.CODES[reason].name
        if reason is Reason.DENIED:  # the whole call is refused
            assert topic == status.CODES[reason].name
        else:
            told = status.topic_status(Failure(reason, ""))
            assert topic == TopicEventResponse.TopicEventResponseStatus.Name(told)


def test_dapr_has_every_reason_with_the_code_and_its_http_status() -> None:
    # A sidecar's table: pkg/messaging/v1/util.go of dapr/dapr, HTTPStatusFromCode.
    http = {
        grpc.StatusCode.INTERNAL: 500,
        grpc.StatusCode.INVALID_ARGUMENT: 400,
        grpc.StatusCode.NOT_FOUND: 404,
        grpc.StatusCode.DEADLINE_EXCEEDED: 504,
        grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
        grpc.StatusCode.UNAVAILABLE: 503,
        grpc.StatusCode.UNAUTHENTICATED: 401,
        grpc.StatusCode.CANCELLED: 408,
    }
    listed = [
        (reasons, cells)
        for reasons, cells in rows("dapr.md")
        if len(cells) == 2 and cells[0] in grpc.StatusCode.__members__
    ]
    assert sorted(r.value for reasons, _ in listed for r in reasons) == sorted(reason.value for reason in Reason)
    for reasons, (code, number) in listed:
        assert {status.CODES[reason].name for reason in reasons} == {code}
        assert http[grpc.StatusCode[code]] == int(number)

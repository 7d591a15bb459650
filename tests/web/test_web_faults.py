"""What sidecars and hosts answer, turned into words for a person."""

from __future__ import annotations

import json

import pytest

from guesthouse.event import Reason
from guesthouse.web.faults import _BY_REASON, of_answer


def host(reason: str, message: str = "guest 'classify': no photo", code: int = 13) -> bytes:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    info = {"@type": kind, "reason": reason, "domain": "guesthouse", "metadata": {"guest": "classify"}}
    return json.dumps({"code": code, "message": message, "details": [info]}).encode()


def test_a_guests_failure_names_guest_reason_and_remedy():
    fault = of_answer(500, host("GUEST"), "vision")
    assert (fault.status, fault.code, fault.guest, fault.reason) == (500, "failed", "classify", "GUEST")
    assert fault.title == "The guest refused the photo"
    assert fault.text == "guest 'classify': no photo"
    assert fault.remedy


def test_every_reason_has_words_except_those_that_are_nobodys_here():
    assert set(_BY_REASON) == {reason.value for reason in Reason} - {"CANCELLED", "OUTPUT", "INTERNAL"}
    assert of_answer(500, host("INTERNAL"), "vision").title == "The guest host failed"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            500,
            b'{"errorCode":"ERR_DIRECT_INVOKE","message":"failed to invoke, id: vision, err: couldn\'t find service"}',
        ),
        (503, b'{"code":14,"message":"connection refused"}'),
        (502, b"<html>bad gateway"),
        (500, b""),
        (500, b"[1]"),
        (500, b'{"message":null,"details":[1]}'),
    ],
)
def test_what_the_host_did_not_say_means_that_it_is_away(status: int, body: bytes):
    fault = of_answer(status, body, "vision")
    assert (fault.status, fault.code) == (502, "host-away")
    assert "“vision”" in fault.text
    assert "guesthouse serve" in fault.remedy


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, b""), (401, b'{"errorCode":"ERR_UNAUTHORIZED"}'), (500, b'{"message":"invalid API token"}')],
)
def test_a_refused_token_is_told_apart(status: int, body: bytes):
    fault = of_answer(status, body, "vision")
    assert fault.code == "sidecar-denied"
    assert "DAPR_API_TOKEN" in fault.remedy


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (413, b""),
        (500, b'{"message":"http: request body too large"}'),
        (500, b'{"errorCode":"ERR_DIRECT_INVOKE","message":"grpc: received message larger than max (5 vs. 4)"}'),
    ],
)
def test_a_sidecars_limit_is_told_apart(status: int, body: bytes):
    fault = of_answer(status, body, "vision")
    assert (fault.status, fault.code) == (413, "over-sidecar-limit")
    assert "--max-body-size" in fault.remedy

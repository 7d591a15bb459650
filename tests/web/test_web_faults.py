"""What sidecars and hosts answer, turned into words for a person."""

from __future__ import annotations

import json

import pytest

from guesthouse.event import Reason
from guesthouse.web.faults import _BY_REASON, about_the_file, not_shown, of_answer, sidecar_away


def host(reason: str, message: str = "guest 'classify': no photo", code: int = 13) -> bytes:
    kind = "type.googleapis.com/google.rpc.ErrorInfo"
    info = {"@type": kind, "reason": reason, "domain": "guesthouse", "metadata": {"guest": "classify"}}
    return json.dumps({"code": code, "message": message, "details": [info]}).encode()


def test_a_guests_failure_names_guest_reason_and_remedy():
    fault = of_answer(500, host("GUEST"), "vision")
    assert (fault.status, fault.code, fault.guest, fault.reason) == (500, "failed", "classify", "GUEST")
    assert fault.title == "The guest refused the file"
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


@pytest.mark.parametrize(
    ("takes", "remedy"),
    [
        (("image/jpeg", "image/png"), "Try another file: this guest takes JPEG and PNG."),
        (("application/octet-stream",), "Try another file: this guest takes raw bytes."),
        (("text/csv",), "Try another file: this guest takes text/csv."),
        ((), "Try another file."),
    ],
)
@pytest.mark.parametrize("reason", ["GUEST", "MALFORMED"])
def test_the_remedy_says_what_this_guest_takes(reason: str, takes: tuple[str, ...], remedy: str):
    assert about_the_file(of_answer(500, host(reason), "vision"), takes).remedy == remedy


@pytest.mark.parametrize("reason", ["GUEST", "MALFORMED", "TRAP"])
@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("a picture of 6000x4000 pixels; the limit pixels is 100", "pixels"),
        ("9 bytes of host memory for one event; the limit host_memory is 8", "host_memory"),
        ("decoding it needs 72000000 bytes: more than limits.memory leaves", "memory"),
    ],
)
def test_where_a_limit_is_named_the_remedy_names_it_too(reason: str, text: str, limit: str):
    fault = about_the_file(of_answer(500, host(reason, text), "vision"), ("image/png",))
    assert fault.remedy == f"Choose a smaller one, or raise the guest’s limits.{limit} in the host’s guesthouse.toml."


def test_a_crash_that_names_no_limit_is_no_matter_of_the_file():
    fault = of_answer(500, host("TRAP", "trap: unreachable"), "vision")
    assert about_the_file(fault, ("image/png",)) is fault


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("http://127.0.0.1:3611", "`daprd --app-id web --dapr-http-port 3611`"),
        ("http://localhost", "--dapr-http-port 80`"),
        ("https://dapr.example:9", "right DAPR_HTTP_ENDPOINT"),
    ],
)
def test_what_to_do_about_an_absent_sidecar_names_the_pages_own_port(url: str, remedy: str):
    fault = sidecar_away(url)
    assert url in fault.text
    assert remedy in fault.remedy
    assert "3500" not in fault.remedy


def test_a_page_behind_the_hosts_own_sidecar_is_told_so():
    fault = not_shown("vision", "vision")
    assert "the host’s own sidecar (app id “vision”)" in fault.text
    assert "a sidecar of its own" in fault.remedy


def test_a_page_that_is_not_named_is_told_which_name_to_write():
    assert '[page] apps = ["desk"]' in not_shown("vision", "desk").remedy
    assert '[page] apps = ["web"]' in not_shown("vision", "").remedy

"""Guests that are components, as the toolchains of Rust and C make them: programs, and handlers of HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from guesthouse.assembly import open_plan
from guesthouse.event import Reason, Trigger
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.plan import Plan, PlanFaults
from tests.support.places import PLACES, engine_table, isolation_of
from tests.support.runs import Run

ROOT = Path(__file__).resolve().parents[2]

MANIFEST = f"""
ENGINE
[app]
name = "t"
[guests.web]
module = "{ROOT}/guests/http_component/http_component.wasm"
calling = "http"
isolation = "ISOLATION"
limits = {{ time = "20s", memory = "16MiB" }}
[guests.cli]
module = "{ROOT}/guests/cli_component/cli_component.wasm"
calling = "command"
isolation = "ISOLATION"
args = ["one", "two"]
env = {{ GREETING = "hello" }}
limits = {{ time = "20s", memory = "16MiB" }}
[guests.capitals]
module = "{ROOT}/guests/c_component/c_component.wasm"
calling = "command"
isolation = "ISOLATION"
limits = {{ time = "20s", memory = "16MiB" }}
"""


def manifest(folder: Path, place: str) -> Path:
    text = MANIFEST.replace("ENGINE", engine_table(place)).replace("ISOLATION", isolation_of(place))
    (folder / "guesthouse.toml").write_text(text)
    return folder / "guesthouse.toml"


@pytest.fixture(scope="module", params=PLACES)
def plan(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("components")
    with open_plan(load(manifest(folder, request.param), grants=GRANTS)) as opened:
        yield opened


@pytest.fixture
def run(plan: Plan) -> Run:
    """Answer one event by a guest: `web` unless another is named."""
    return Run(plan, "web")


# ---- programs ----


def test_a_program_has_arguments_variables_and_standard_streams(run: Run) -> None:
    reply = run("m", b"the body", "cli")
    assert reply.body.decode().splitlines() == [
        "cli one two",
        "GREETING=hello",
        "GUESTHOUSE_TRIGGER=invoke",
        "the body",
    ]


def test_a_programs_large_input_and_output_are_whole(run: Run) -> None:
    body = b"0123456789abcdef" * 50_000
    assert run("m", body, "cli").body.endswith(body)


@pytest.mark.parametrize("body", [b"exit 1", b"fail"])
def test_a_program_that_fails_says_why_on_standard_error(run: Run, body: bytes) -> None:
    reason, text = run.failure("m", body, "cli")
    assert reason is Reason.GUEST
    assert text.startswith("exit code 1: ")


def test_a_program_that_ends_itself_well_has_its_output_as_the_reply(run: Run) -> None:
    assert run("m", b"exit 0", "cli").body == b""


def test_a_program_of_c_is_served_too(run: Run) -> None:
    assert run("m", b"hello " * 2000, "capitals").body == b"HELLO " * 2000


# ---- HTTP ----


def test_an_invocation_is_a_request_and_the_response_its_reply(run: Run) -> None:
    reply = run("headers", b"hello", content_type="text/plain", metadata={"x-one": "1", "other": "2"})
    assert (reply.body, reply.content_type) == (b"hello", "text/plain")
    assert reply.headers == (("x-one", "1"),)


def test_a_request_has_the_verb_the_path_the_query_and_the_headers_of_the_invocation(run: Run) -> None:
    facts = run(
        "facts",
        b"abc",
        verb="PUT",
        query="a=1&b=ä",
        content_type="text/x",
        metadata={"x-two": "two\x01lines", "guesthouse-name": "forged", "not a name": "x"},
    ).body.decode()
    assert facts.splitlines() == [
        "Method::Put /facts?a=1&b=%C3%A4",
        'authority Some("web") scheme Some(Scheme::Http)',
        "content-length: 3",
        "content-type: text/x",
        "guesthouse-name: facts",
        "guesthouse-trigger: invoke",
        "x-two: two lines",
    ]


def test_a_name_that_is_no_path_is_quoted_in_it(run: Run) -> None:
    assert run("facts/ä ?#", verb="PATCH").body == b""  # its path is another one, which is answered with the body
    assert run("facts", verb="PURGE").body.startswith(b'Method::Other("PURGE") /facts\n')


@pytest.mark.parametrize("trigger", [Trigger.TOPIC, Trigger.BINDING, Trigger.JOB, Trigger.OPERATION])
def test_any_other_event_is_a_post_with_its_facts_in_headers(run: Run, trigger: Trigger) -> None:
    facts = run("facts", b"abc", trigger=trigger, path="/high", id="7", query="a=1").body.decode()
    assert facts.splitlines()[0] == "Method::Post /facts"
    assert facts.splitlines()[3:] == [
        "guesthouse-id: 7",
        "guesthouse-name: facts",
        "guesthouse-path: /high",
        f"guesthouse-trigger: {trigger.value}",
    ]


@pytest.mark.parametrize("size", [0, 1, 4096, 600_000, 3_000_000])
def test_a_body_of_any_size_comes_back_whole(run: Run, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    assert run("echo", body[:size]).body == body[:size]


def test_a_status_from_300_on_is_the_answer_of_an_invocation(run: Run) -> None:
    reply = run("status/404", b"no such thing")
    assert reply.answer is not None
    assert (reply.answer.status, reply.answer.text, reply.body) == (404, "no such thing", b"")
    created = run("status/201", b"made")
    assert created.answer is not None
    assert (created.answer.status, created.body) == (201, b"made")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(404, Reason.NOT_FOUND), (422, Reason.MALFORMED), (500, Reason.GUEST), (503, Reason.TRY_AGAIN)],
)
def test_the_status_says_how_another_event_went(run: Run, status: int, reason: Reason) -> None:
    assert run.failure(f"status/{status}", b"why", trigger=Trigger.TOPIC) == (reason, "why")
    assert run("status/204", trigger=Trigger.TOPIC).body == b""


def test_a_guest_that_gives_no_response_is_told_so(run: Run) -> None:
    assert run.failure("none") == (Reason.BAD_REPLY, "the guest gave no response (response-outparam.set)")


def test_a_guest_that_does_not_finish_its_body_is_told_so(run: Run) -> None:
    why = "the guest did not finish the body of its response (outgoing-body.finish)"
    assert run.failure("unfinished") == (Reason.BAD_REPLY, why)


def test_a_request_of_the_guests_own_is_refused_where_nothing_is_granted(run: Run) -> None:
    assert run("ask/example.org/").body == b"ErrorCode::HttpRequestDenied\n"


def test_a_guest_that_fails_fails_with_a_trap(run: Run) -> None:
    reason, text = run.failure("status/none")
    assert reason is Reason.TRAP
    assert "unreachable" in text


# ---- loading ----


def test_a_component_is_compiled_once_and_kept_by_its_digest(tmp_path: Path) -> None:
    with open_plan(load(manifest(tmp_path, "thread"), grants=GRANTS)) as plan:
        code = plan.guests["web"].code
        assert code.artefact.name.startswith(f"{code.sha256}-component1-wasmtime-")
    with open_plan(load(manifest(tmp_path, "thread"), grants=GRANTS)) as plan:
        assert not plan.guests["web"].code.compiled


@pytest.mark.parametrize(
    ("guest", "calling", "fault"),
    [
        ("cli", "http", "exports no wasi:http/incoming-handler: it is no component for HTTP"),
        ("http", "command", "exports no function '_start'"),
    ],
)
def test_a_component_that_is_called_otherwise_is_a_fault(tmp_path: Path, guest: str, calling: str, fault: str) -> None:
    module = ROOT / "guests" / f"{guest}_component" / f"{guest}_component.wasm"
    text = f'[app]\nname = "t"\n[guests.g]\nmodule = "{module}"\ncalling = "{calling}"\n'
    (tmp_path / "guesthouse.toml").write_text(text)
    with pytest.raises(PlanFaults) as failed, open_plan(load(tmp_path / "guesthouse.toml", grants=GRANTS)):
        pass
    assert fault in str(failed.value)

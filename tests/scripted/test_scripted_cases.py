"""Tests of guests: how a file is read, when a test passes, and what is said of one that fails."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from guesthouse.event import Answer, Event, Failure, Reason, Reply, Trigger
from guesthouse.manifest import read
from guesthouse.scripted import junit
from guesthouse.scripted.actors import ActorMemory
from guesthouse.scripted.cases import Outcome, cases_in, read_case, run
from guesthouse.scripted.script import Script, ScriptedSidecar
from guesthouse.scripted.tables import ScriptFaults
from guesthouse_abi.deadline import Deadline

EVENT = '[event]\nname = "cart"\n'
ACTOR = '[event]\ntrigger = "actor"\nname = "Cart"\n'
MANIFEST = read.parse({"app": {"name": "t"}}, Path("guesthouse.toml"))


class Answers:
    """An `event.Handler` with one ending."""

    def __init__(self, ending: Reply | Failure) -> None:
        self.ending = ending

    def dispatch(self, event: Event, deadline: Deadline | None = None) -> Reply:
        if isinstance(self.ending, Failure):
            raise self.ending
        return self.ending


def outcome(folder: Path, text: str, ending: Reply | Failure) -> Outcome:
    file = folder / "case.toml"
    file.write_text(EVENT + text)
    sidecar = ScriptedSidecar(Script())
    return run(read_case(file), Answers(ending), sidecar, ActorMemory(MANIFEST, sidecar))


def test_an_event_has_all_that_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(b"\xff\x00")
    file = tmp_path / "photo.toml"
    file.write_text("""
        [event]
        trigger = "topic"
        name = "pubsub/photos"
        body = { file = "photo" }
        content_type = "image/png"
        path = "cats"
        id = "e-1"
        metadata = { CE_source = "camera" }
    """)
    case = read_case(file)
    assert case.name == "photo"
    assert case.event == Event(
        Trigger.TOPIC,
        "pubsub/photos",
        b"\xff\x00",
        "image/png",
        path="cats",
        id="e-1",
        metadata={"ce_source": "camera"},
    )


def test_an_invocation_is_what_a_file_has_by_default(tmp_path: Path) -> None:
    file = tmp_path / "hello.toml"
    file.write_text(EVENT + 'body = { json = { a = "é" } }')
    assert read_case(file).event == Event(Trigger.INVOKE, "cart", '{"a":"é"}'.encode(), verb="POST")


REPLY = Reply(b'{"a": 1}', "application/json", headers=(("x", "y"),), answer=Answer(201))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[reply]",
        "[reply]\nbody = { json = { a = 1 } }",
        """[reply]\nbody = '{"a": 1}'\nstatus = 201\ncontent_type = "application/json"\nheaders = { X = "y" }""",
    ],
)
def test_a_reply_as_it_is_wanted_passes(tmp_path: Path, text: str) -> None:
    assert outcome(tmp_path, text, REPLY).problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[reply]\nbody = "b"', 'the body is "{\\"a\\": 1}", not "b"'),
        ("[reply]\nbody = { json = { a = 2 } }", 'the body is "{\\"a\\": 1}", not "{\\"a\\":2}"'),
        ("[reply]\nstatus = 200", "the status is 201, not 200"),
        ('[reply]\ncontent_type = ""', 'the content type is "application/json", not ""'),
        ('[reply]\nheaders = { x = "z" }', 'the header x is "y", not "z"'),
        ("[failure]", 'it was answered with "{\\"a\\": 1}", and did not fail'),
        ('[[call]]\nmethod = "GetState"', "call 1 (GetState) did not come"),
    ],
)
def test_another_reply_is_told(tmp_path: Path, text: str, problem: str) -> None:
    assert outcome(tmp_path, text, REPLY).problems == [problem]


def test_a_status_that_is_no_success_is_wanted_by_name(tmp_path: Path) -> None:
    teapot = Reply(b"", answer=Answer(418, "teapot"))
    assert outcome(tmp_path, "[reply]\nstatus = 418\ntext = 'tea'", teapot).problems == []
    assert outcome(tmp_path, "", teapot).problems == ["the status is 418: teapot"]
    assert outcome(tmp_path, "[reply]\nstatus = 418\ntext = 'pot of'", teapot).problems == [
        'the status\'s text is "teapot", without "pot of"'
    ]


FAILED = Failure(Reason.TRY_AGAIN, "no broker today", "cart", retry_after=1.5)


@pytest.mark.parametrize("text", ["", 'reason = "TRY_AGAIN"', 'text = "broker"', "retry_after = 1.5"])
def test_a_failure_as_it_is_wanted_passes(tmp_path: Path, text: str) -> None:
    assert outcome(tmp_path, f"[failure]\n{text}", FAILED).problems == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[failure]\nreason = "GUEST"', "the reason is TRY_AGAIN, not GUEST: no broker today"),
        ('[failure]\ntext = "tea"', 'the failure\'s text is "no broker today", without "tea"'),
        ("[failure]\nretry_after = 2", "it may be sent again after 1.5 seconds, not 2"),
        ("", "it failed with TRY_AGAIN: guest 'cart': no broker today"),
    ],
)
def test_another_failure_is_told(tmp_path: Path, text: str, problem: str) -> None:
    assert outcome(tmp_path, text, FAILED).problems == [problem]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "event is missing — PLACE: event — write [event] with its name"),
        ("[event]", "name is missing — PLACE: event.name — write the method, the binding"),
        ('[event]\nname = "x"\ntrigger = "y"', '"y" is none of its values — PLACE: event.trigger — write one of'),
        ('[event]\nname = "x"\ntrigger = "topic"', '"x" names no topic of a component — PLACE: event.name — write'),
        ('[event]\nname = "x"\nbody = 5', "5 is a whole number, not bytes — PLACE: event.body — write text"),
        (EVENT + 'body = { file = "gone" }', "gone cannot be read (No such file or directory) — PLACE: event.body — "),
        (EVENT + 'bdy = ""', 'unknown key "bdy" — PLACE: event.bdy — it may have body, content_type, '),
        (EVENT + "[reply]\n[failure]", "an event has a reply or fails, not both — PLACE: failure — leave one out"),
        (EVENT + "[reply]\nstatus = 99", "99 is no status — PLACE: reply.status — write a number from 200 to 599"),
        (EVENT + '[failure]\nreason = "SAD"', '"SAD" is none of its values — PLACE: failure.reason — write one'),
        (EVENT + "[replies]", 'unknown key "replies" — PLACE: replies — it may have call, event, failure, order,'),
        (EVENT + "[state]", "only an actor has a state — PLACE: state — write trigger = \"actor\", or leave it out"),
        (EVENT + 'actor = "7"', 'unknown key "actor" — PLACE: event.actor — it may have'),
        (ACTOR + 'method = "m"', "actor is missing — PLACE: event.actor — write the actor's id"),
        (ACTOR + 'actor = "7"', "method is missing — PLACE: event.method — write which method, timer or reminder"),
        (ACTOR + 'method = "m"\nactor = "a/b"', '"a/b" is no name of an actor or of its type — PLACE: event.actor'),
        (ACTOR + 'method = "m"\nactor = "7"\n[state]\na = 1', "1 is a whole number, not bytes — PLACE: state.a — "),
        (ACTOR + 'method = "m"\nactor = "7"\n[reply]\nstop = 1', "1 is not true or false — PLACE: reply.stop — write"),
        (EVENT + "metadata = { a = 5 }", "5 is a whole number, not text — PLACE: event.metadata.a — write"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_test_is_told_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "case.toml"
    file.write_text(text)
    with pytest.raises(ScriptFaults) as caught:
        read_case(file)
    (found,) = caught.value.faults
    found = found.removeprefix(f"{tmp_path}/")
    assert found.startswith(fault.replace("PLACE", str(file)))


def test_the_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ScriptFaults, match="there are no tests"):
        cases_in(tmp_path)
    (tmp_path / "tests").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tests" / f"{name}.toml").write_text("x")
    with pytest.raises(ScriptFaults) as caught:
        cases_in(tmp_path)
    assert [name in fault for name, fault in zip("ab", caught.value.faults, strict=True)] == [True, True]


def test_a_report_has_every_test_and_why_it_failed(tmp_path: Path) -> None:
    passed = outcome(tmp_path, "", REPLY)
    failed = outcome(tmp_path, '[reply]\nstatus = 200\nbody = "\\u0001"', REPLY)
    junit.write(tmp_path / "report.xml", "shop", [passed, failed])
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("shop", "2", "1")
    first, second = suite.findall("testcase")
    assert (first.get("name"), first.find("failure")) == ("case", None)
    why = second.find("failure")
    assert why is not None
    assert why.get("message") == "the status is 201, not 200"
    assert why.text == 'the status is 201, not 200\nthe body is "{\\"a\\": 1}", not "\\u0001"'

"""Events in the log: one line at once for the first, one a minute for the others, and what failed with its marks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator

import pytest

from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.observe.events import EventLog
from tests.support.logged import json_lines
from tests.support.waiting import until

EVENT = Event(Trigger.TOPIC, "pubsub/photos", b"no photo", id="7f")


@pytest.fixture
def lines(monkeypatch) -> Iterator[Callable[[], list[dict[str, object]]]]:
    """What the log has, read again at each call."""
    with json_lines() as stream:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_first_event_is_a_line_at_once_and_the_others_of_its_minute_are_one_more(lines):
    log = EventLog(every=0.5)
    for guest in ("classify", "echo", "classify"):
        log.answered(EVENT, Reply(b"label", guest=guest))
    first = lines()[0]
    assert (first["event"], first["level"], first["guest"]) == ("answered", "info", "classify")
    assert (first["name"], first["id"], first["bytes"]) == ("pubsub/photos", "7f", 5)
    until(lambda: len(lines()) >= 2)
    assert len(lines()) == 2
    assert (lines()[1]["event"], lines()[1]["events"]) == ("answered since", 2)
    assert lines()[1]["guests"] == {"echo": 1, "classify": 1}


def test_after_a_quiet_minute_the_next_event_is_a_line_at_once(lines):
    log = EventLog(every=0.0)

    def answered() -> int:
        log.answered(EVENT, Reply(b""))
        return sum(line["event"] == "answered" for line in lines())

    until(lambda: answered() >= 3, pause=0.01)


def test_a_failure_says_which_event_it_was(lines):
    EventLog().failed(EVENT, Failure(Reason.MALFORMED, "the body is not a picture", "classify"))
    (line,) = lines()
    assert (line["id"], line["bytes"], line["error"]) == ("7f", 8, "the body is not a picture")
    assert line["sha256"] == hashlib.sha256(b"no photo").hexdigest()


def test_a_wish_to_be_sent_again_later_is_told(lines):
    EventLog().failed(EVENT, Failure(Reason.TRY_AGAIN, "the store is away", "classify", retry_after=1.5))
    assert [line["retry_after"] for line in lines()] == [1.5]


def test_an_event_without_an_id_has_none_in_its_line(lines):
    EventLog().failed(Event(Trigger.INVOKE, "m"), Failure(Reason.GUEST, "no"))
    assert "id" not in lines()[0]

"""Guests' own lines: under their names, with their event's trigger and trace, and never too many."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from guesthouse.event import Event, Reply, Trigger
from guesthouse.guests.log import BURST, LINE, RATE, GuestLog
from guesthouse.observe import logs
from tests.support.logged import json_lines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


@pytest.fixture(autouse=True)
def stream() -> Iterator[io.StringIO]:
    with json_lines(logs.Level.DEBUG) as lines:
        yield lines


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class Says:
    """Answers events with a line of a guest's, one of ours and one of a library's."""

    def dispatch(self, event, deadline=None) -> Reply:
        GuestLog("door").line("stderr", "knock")
        structlog.get_logger("guesthouse").warning("of ours")
        logging.getLogger("library").warning("of a library")
        if event.name == "fails":
            raise ValueError
        return Reply(b"")


def test_lines_say_the_trigger_and_trace_of_their_event(stream):
    logs.InLog(Says()).dispatch(Event(Trigger.BINDING, "camera", metadata=TRACED))
    written = lines(stream)
    assert [line["event"] for line in written] == ["knock", "of ours", "of a library"]
    assert all((line["trigger"], line["trace_id"]) == ("binding", TRACE) for line in written)
    assert (written[0]["guest"], written[0]["stream"]) == ("door", "stderr")


def test_lines_of_an_event_without_a_trace_say_only_its_trigger(stream):
    logs.InLog(Says()).dispatch(Event(Trigger.JOB, "nightly"))
    assert {line["trigger"] for line in lines(stream)} == {"job"}
    assert not any("trace_id" in line for line in lines(stream))


def test_lines_outside_of_events_say_neither(stream):
    with pytest.raises(ValueError):
        logs.InLog(Says()).dispatch(Event(Trigger.JOB, "fails", metadata=TRACED))
    logging.getLogger("library").warning("afterwards")
    last = lines(stream)[-1]
    assert last["event"] == "afterwards"
    assert not {"trigger", "trace_id"} & last.keys()


def test_a_guest_that_floods_the_log_is_cut_and_told_so_twice(stream):
    clock = Clock()
    log = GuestLog("door", clock=clock)
    text = "x" * (1000 - LINE)
    for _ in range(BURST // 1000 + 50):
        log.line("stdout", text)
    *passed, told = lines(stream)
    assert len(passed) == BURST // 1000
    assert told["event"] == f"lines of the guest are dropped from here: it logs more than {RATE} bytes a second"
    assert (told["level"], told["guest"]) == ("warning", "door")
    assert log.dropped == 50

    clock.now += 0.9  # not a second's worth yet
    log.line("stdout", text)
    assert lines(stream)[-1] == told

    clock.now += 0.2
    log.line("stdout", "here again")
    log.line("stdout", "and again")
    counted, *after = lines(stream)[-3:]
    assert counted["event"] == f"51 lines of the guest were dropped: it logs more than {RATE} bytes a second"
    assert [line["event"] for line in after] == ["here again", "and again"]
    assert log.dropped == 51


def test_one_guests_flood_costs_no_other_guest_a_line(stream):
    flooding, other = GuestLog("flood", clock=Clock()), GuestLog("other", clock=Clock())
    for _ in range(20):
        flooding.line("stdout", "x" * 100_000)
    other.line("host", "refused")
    assert (lines(stream)[-1]["guest"], lines(stream)[-1]["event"]) == ("other", "refused")


def test_a_line_as_long_as_an_event_may_log_passes(stream):
    log = GuestLog("door", burst=4 * BURST, clock=Clock())
    log.line("stdout", "x" * 4 * BURST)
    assert log.dropped == 0
    assert len([line for line in lines(stream) if line.get("guest") == "door"]) == 1


def test_what_nobody_wants_to_see_is_not_counted(stream):
    logs.configure(logs.Format.JSON, logs.Level.WARNING, stream)
    log = GuestLog("door", clock=Clock())
    for _ in range(50):
        log.line("stdout", "x" * 100_000)
    log.line("host", "refused")
    assert log.dropped == 0
    assert [line["event"] for line in lines(stream)] == ["refused"]

"""Events that fail for ever are given up after so many attempts, and what becomes of them then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from guesthouse.assembly import open_plan
from guesthouse.dispatch.attempts import Attempts
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.event import Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.sandbox import Sandbox
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from tests.support.manifests import placed

PHOTO = Event(Trigger.BINDING, "camera", b"photo")
OTHER = Event(Trigger.BINDING, "camera", b"other")


# ---- counting ----


def test_failures_of_one_event_are_counted_together():
    attempts = Attempts()
    assert [attempts.failed(PHOTO) for _ in range(3)] == [1, 2, 3]


def test_an_event_is_known_by_its_binding_and_its_body_and_nothing_else():
    attempts = Attempts()
    attempts.failed(PHOTO)
    assert attempts.failed(OTHER) == 1
    assert attempts.failed(Event(Trigger.BINDING, "door", b"photo")) == 1
    again = Event(Trigger.BINDING, "camera", b"photo", metadata={"deliverycount": "2", "grpc-trace-bin": "AA"})
    assert attempts.failed(again) == 2


def test_an_event_that_is_over_is_forgotten():
    attempts = Attempts()
    attempts.failed(PHOTO)
    attempts.failed(OTHER)
    attempts.forget(PHOTO)
    attempts.forget(PHOTO)
    assert attempts.failed(PHOTO) == 1
    assert attempts.failed(OTHER) == 2


def test_the_events_that_failed_longest_ago_make_room():
    attempts = Attempts(entries=2)
    attempts.failed(PHOTO)
    attempts.failed(OTHER)
    attempts.failed(PHOTO)
    attempts.failed(Event(Trigger.BINDING, "camera", b"third"))  # OTHER goes
    assert attempts.failed(PHOTO) == 3
    assert attempts.failed(OTHER) == 1


def test_a_failure_long_ago_does_not_count():
    now = 0.0
    attempts = Attempts(keep=60.0, clock=lambda: now)
    attempts.failed(PHOTO)
    now = 60.0
    assert attempts.failed(PHOTO) == 2
    now = 120.1
    assert attempts.failed(PHOTO) == 1


# ---- giving up ----

MANIFEST = """
[app]
name = "t"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
[[binding]]
name = "camera"
guest = "echo"
attempts = 3
dead_letter = "failed"
[[binding]]
name = "logged"
guest = "echo"
attempts = 2
[[binding]]
name = "patient"
guest = "echo"
[[binding]]
name = "careless"
guest = "echo"
on_error = "drop"
"""


class Box:
    """Outputs that keep what they get, unless they are broken."""

    def __init__(self) -> None:
        self.kept: list[tuple[tuple[str, ...], bytes]] = []
        self.broken = False

    def deliver(self, reply, event, destination, deadline) -> None:
        assert not deadline.over
        if self.broken:
            raise Failure(Reason.OUTPUT, "output binding 'failed' did not accept the reply")
        self.kept.append((destination.to, reply.body))


class Failing(Dispatcher):
    """Its guest fails for this reason; None: it answers."""

    reason: Reason | None = Reason.TRAP


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def dispatch(box: Box, guests_folder: Path, tmp_path: Path, monkeypatch) -> Iterator[Failing]:
    (tmp_path / "guesthouse.toml").write_text(placed(MANIFEST, guests_folder))
    with open_plan(load(tmp_path / "guesthouse.toml")) as plan:
        made = Failing(Plans(plan), box)

        def run(sandbox, guest, event, deadline):
            if made.reason is None:
                return Reply(event.body)
            raise Failure(made.reason, "no film in the camera", guest.name)

        monkeypatch.setattr(Sandbox, "run", run)
        yield made


def fails(dispatch: Dispatcher, event: Event) -> bool:
    """Whether a failing event is over."""
    with pytest.raises(Failure, match="no film in the camera") as caught:
        dispatch.dispatch(event)
    return caught.value.drop


@pytest.mark.parametrize("reason", [Reason.TRAP, Reason.BAD_REPLY, Reason.GUEST, Reason.DEADLINE, Reason.INTERNAL])
def test_an_event_is_given_up_into_the_dead_letter_output(dispatch, box, reason):
    dispatch.reason = reason
    assert [fails(dispatch, PHOTO) for _ in range(3)] == [False, False, True]
    assert box.kept == [(("failed",), b"photo")]
    assert [fails(dispatch, PHOTO) for _ in range(3)] == [False, False, True]  # sent anew, it is a new event


@pytest.mark.parametrize("reason", [Reason.MALFORMED, Reason.TOO_LARGE])
def test_an_event_that_is_at_fault_itself_is_given_up_at_once(dispatch, box, reason):
    dispatch.reason = reason
    with capture_logs() as logs:
        assert fails(dispatch, PHOTO)
    assert box.kept == [(("failed",), b"photo")]
    assert (logs[-1]["event"], logs[-1]["attempts"]) == ("gave an event up", 1)
    box.broken = True
    assert not fails(dispatch, PHOTO)  # kept, until its dead letter is accepted
    box.broken = False
    assert fails(dispatch, PHOTO)


@pytest.mark.parametrize(
    "reason",
    [Reason.FULL, Reason.TRY_AGAIN, Reason.OUTPUT, Reason.CANCELLED, Reason.DRAINING],
)
def test_what_may_end_without_the_event_is_no_attempt(dispatch, box, reason):
    dispatch.reason = reason
    assert not any(fails(dispatch, PHOTO) for _ in range(5))
    assert box.kept == []


def test_an_answer_ends_the_count(dispatch, box):
    assert [fails(dispatch, PHOTO) for _ in range(2)] == [False, False]
    dispatch.reason = None
    assert dispatch.dispatch(PHOTO).body == b"photo"
    dispatch.reason = Reason.GUEST
    assert [fails(dispatch, PHOTO) for _ in range(3)] == [False, False, True]


def test_an_event_whose_dead_letter_is_not_accepted_is_kept(dispatch, box):
    box.broken = True
    with capture_logs() as logs:
        assert not any(fails(dispatch, PHOTO) for _ in range(4))
    assert [line["event"] for line in logs] == ["kept an event that was to be given up"] * 2
    assert logs[0]["error"] == "output binding 'failed' did not accept the reply"
    box.broken = False
    assert fails(dispatch, PHOTO)
    assert box.kept == [(("failed",), b"photo")]


def test_the_log_names_an_event_that_was_given_up_by_its_body(dispatch, box):
    event = Event(Trigger.BINDING, "logged", b"photo")
    with capture_logs() as logs:
        assert [fails(dispatch, event) for _ in range(2)] == [False, True]
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("gave an event up", "error")
    assert line["sha256"] == "55c64d0fcd6f9d5f7c828093857e3fdfda68478bb4e9bd24d481ef391c7804e8"  # of "photo"
    assert (line["name"], line["guest"], line["attempts"]) == ("logged", "echo", 2)
    assert box.kept == []


def test_without_attempts_an_event_is_never_given_up(dispatch):
    event = Event(Trigger.BINDING, "patient", b"photo")
    assert not any(fails(dispatch, event) for _ in range(20))


@pytest.mark.parametrize("reason", [Reason.MALFORMED, Reason.TOO_LARGE, Reason.GUEST, Reason.TRAP, Reason.BAD_REPLY])
def test_on_error_drop_is_for_what_the_guest_or_the_event_is_at_fault_for(dispatch, reason):
    event = Event(Trigger.BINDING, "careless", b"photo")
    dispatch.reason = reason
    assert fails(dispatch, event)
    for other in (Reason.DEADLINE, Reason.FULL, Reason.TRY_AGAIN, Reason.OUTPUT, Reason.INTERNAL):
        dispatch.reason = other
        assert not fails(dispatch, event)

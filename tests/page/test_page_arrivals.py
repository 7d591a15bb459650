"""What the host keeps of arrived events for the page: the latest of them and their pictures, all of it bounded."""

from __future__ import annotations

import dataclasses
import io
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from guesthouse.dapr.api_methods import METHODS
from guesthouse.event import Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.page import arrivals as module
from guesthouse.page.arrivals import ARRIVALS, AT_ONCE, KINDS, LONGEST_SIDE, Arrivals
from guesthouse.page.counts import TEXT_BYTES
from tests.support.waiting import join

TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
PHOTO = Event(Trigger.BINDING, "camera", b"no picture", "text/plain", id="7", metadata=TRACED)


@pytest.fixture
def arrivals() -> Arrivals:
    return Arrivals(lambda: 1234.5)


# The answers are JSON, which the page takes apart by its names, and so do the tests.


def after(arrivals: Arrivals, cursor: str) -> Any:
    return arrivals.after(cursor)


def reply(total: float = 0.01, body: bytes = b"{}", **parts: Any) -> Reply:
    return Reply(body, "application/json", "classify", replace(Cost(total=total), **parts))


def png(size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 40, 10)).save(out, "PNG")
    return out.getvalue()


def test_an_arrival_has_what_the_page_shows_of_it(arrivals: Arrivals):
    arrivals.answered(PHOTO, reply(0.04, b'[{"label":"cup"}]', guest=0.01, spent={"inference": 0.02}, queued=0.005))
    (event,) = after(arrivals, "")["events"]
    assert event == {
        "number": 1,
        "at": 1234.5,
        "trigger": "binding",
        "name": "camera",
        "id": "7",
        "trace": "0af7651916cd43dd8448eb211c80319c",
        "guest": "classify",
        "type": "text/plain",
        "bytes": 10,
        "cost": {"queued": 5.0, "guest": 10.0, "host": 0.0, "inference": 20.0, "total": 40.0},
        "calls": None,
        "picture": None,
        "text": "no picture",
        "text_cut": False,
        "reply_picture": None,
        "reply_type": "application/json",
        "reply_bytes": 17,
        "reply": '[{"label":"cup"}]',
        "cut": False,
        "failure": None,
    }


def test_a_failed_arrival_says_why(arrivals: Arrivals):
    arrivals.failed(PHOTO, Failure(Reason.GUEST, "no photo", "classify"))
    (event,) = after(arrivals, "")["events"]
    assert event["failure"] == {"reason": "GUEST", "text": "no photo"}
    assert (event["guest"], event["cost"]) == ("classify", None)


def test_an_arrival_has_the_calls_that_its_guest_made(arrivals: Arrivals):
    durations = {("dapr", "GetState", "OK"): [0.001, 0.003], ("dapr", "SaveState", "ABORTED"): [0.002]}
    arrivals.answered(PHOTO, reply(spent={"dapr": 0.006}, durations=durations))
    arrivals.failed(PHOTO, Failure(Reason.GUEST, "no", "classify", Cost(durations=durations)))
    answered, failed = after(arrivals, "")["events"]
    assert answered["cost"]["dapr"] == 6.0
    assert answered["calls"] == failed["calls"]
    assert answered["calls"] == {
        "count": 3,
        "ms": 6.0,
        "failed": 1,
        "kinds": [
            {"block": "state", "method": "GetState", "status": "OK", "count": 2, "ms": 4.0},
            {"block": "state", "method": "SaveState", "status": "ABORTED", "count": 1, "ms": 2.0},
        ],
    }


def test_of_an_event_with_many_calls_a_part_is_kept(arrivals: Arrivals):
    names = sorted(METHODS)[: KINDS + 9]
    arrivals.answered(PHOTO, reply(durations={("dapr", name, "OK"): [0.001] * 1000 for name in names}))
    (event,) = after(arrivals, "")["events"]
    assert (event["calls"]["count"], len(event["calls"]["kinds"])) == (1000 * len(names), KINDS)
    kept = pickle.dumps([dataclasses.astuple(one) for one in arrivals._arrivals])
    assert len(kept) < 8192  # not the times of 25,000 calls


def test_invocations_are_never_shown(arrivals: Arrivals):
    arrivals.answered(Event(Trigger.INVOKE, "api/image", b"private"), reply())
    assert after(arrivals, "")["events"] == []


def test_a_cursor_leads_to_what_came_after_it(arrivals: Arrivals):
    arrivals.answered(PHOTO, reply())
    cursor = after(arrivals, "")["cursor"]
    assert after(arrivals, cursor) == {"cursor": cursor, "missed": 0, "events": []}
    arrivals.answered(PHOTO, reply())
    assert [event["number"] for event in after(arrivals, cursor)["events"]] == [2]


@pytest.mark.parametrize("cursor", ["", "x", "-", "ffffffff-1", "1-1-1", "-5", "\u0663-\u0663"])
def test_a_cursor_of_another_life_leads_to_all_that_is_kept(arrivals: Arrivals, cursor: str):
    arrivals.answered(PHOTO, reply())
    assert [event["number"] for event in after(arrivals, cursor)["events"]] == [1]


def test_it_keeps_so_many_arrivals_and_says_how_many_were_missed(arrivals: Arrivals):
    arrivals.answered(PHOTO, reply())
    cursor = after(arrivals, "")["cursor"]
    for _ in range(ARRIVALS + 20):
        arrivals.answered(PHOTO, reply())
    news = after(arrivals, cursor)
    assert len(news["events"]) == AT_ONCE
    assert news["missed"] == ARRIVALS + 20 - AT_ONCE
    assert news["events"][-1]["number"] == ARRIVALS + 21


def test_a_long_reply_is_cut(arrivals: Arrivals):
    arrivals.answered(PHOTO, reply(body=b"x" * 5000))
    (event,) = after(arrivals, "")["events"]
    assert (len(event["reply"]), event["cut"]) == (TEXT_BYTES, True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Grüße\u202e\x1b[31m".encode(), "Grüße\u202e\x1b[31m"),  # the page shows what would steer it
        (b"", ""),
        (b"a\0b", None),
        (b"\xff\xfe", None),
        ("€".encode()[:2], None),  # nobody cut it here
        (b"x" * (TEXT_BYTES - 1) + "€".encode(), "x" * (TEXT_BYTES - 1)),
    ],
)
def test_what_came_and_what_was_replied_are_text_where_they_are(arrivals: Arrivals, body: bytes, text: str | None):
    arrivals.answered(Event(Trigger.TOPIC, "pubsub/words", body), reply(body=body))
    (event,) = after(arrivals, "")["events"]
    assert (event["text"], event["reply"]) == (text, text)
    assert (event["bytes"], event["reply_bytes"]) == (len(body), len(body))
    assert event["text_cut"] is event["cut"] is (len(body) > TEXT_BYTES)


def test_names_from_outside_are_cut(arrivals: Arrivals):
    arrivals.answered(Event(Trigger.TOPIC, "n" * 9000, b"", "t" * 9000, id="i" * 9000), reply())
    (event,) = after(arrivals, "")["events"]
    assert {len(event[key]) for key in ("name", "type", "id")} == {module.NAME}


def test_a_picture_can_be_had_larger(arrivals: Arrivals):
    arrivals.answered(Event(Trigger.BINDING, "camera", png((3200, 2400))), reply())
    id = after(arrivals, "")["events"][0]["picture"]
    small, large = arrivals.picture(id), arrivals.picture(id, large=True)
    assert small is not None
    assert large is not None
    assert Image.open(io.BytesIO(small)).size == (480, 360)
    assert Image.open(io.BytesIO(large)).size == (1600, 1200)
    assert arrivals._picture_bytes == len(small) + len(large)


def test_a_picture_is_made_small_when_it_is_asked_for(arrivals: Arrivals, photos: Path):
    arrivals.answered(Event(Trigger.BINDING, "camera", (photos / "coffee.png").read_bytes()), reply())
    (event,) = after(arrivals, "")["events"]
    small = arrivals.picture(event["picture"])
    assert small is not None
    picture = Image.open(io.BytesIO(small))
    assert (picture.format, picture.size) == ("JPEG", (LONGEST_SIDE, 320))
    assert arrivals.picture(event["picture"]) == small


def test_a_reply_that_is_a_picture_is_kept_as_one(arrivals: Arrivals):
    arrivals.answered(PHOTO, Reply(png((30, 20)), "image/png", "grayscale"))
    (event,) = after(arrivals, "")["events"]
    assert (event["picture"], event["reply"]) == (None, "")
    made = arrivals.picture(event["reply_picture"])
    assert made is not None
    picture = Image.open(io.BytesIO(made))
    assert picture.size == (30, 20)


@pytest.mark.parametrize("bad", [b"\xff\xd8\xffno more", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"\xff\xd8\xff" * 999])
def test_a_picture_that_cannot_be_decoded_is_none(arrivals: Arrivals, bad: bytes):
    arrivals.answered(Event(Trigger.BINDING, "camera", bad), reply())
    (event,) = after(arrivals, "")["events"]
    assert arrivals.picture(event["picture"]) is None
    assert arrivals.picture(event["picture"]) is None
    assert arrivals._picture_bytes == 0


def test_a_picture_over_the_pixel_limit_is_not_decoded(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LARGEST_PICTURE", 100)
    arrivals.answered(Event(Trigger.BINDING, "camera", png((11, 10))), reply())
    assert arrivals.picture(after(arrivals, "")["events"][0]["picture"]) is None


def test_pictures_are_bounded_in_bytes_the_oldest_going_first(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PICTURE_BYTES", 1000)
    for _ in range(4):
        arrivals.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(398)), reply())
    shown = [event["picture"] is not None for event in after(arrivals, "")["events"]]
    assert shown == [False, False, True, True]
    arrivals.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(2000)), reply())
    assert after(arrivals, "")["events"][-1]["picture"] is None
    assert arrivals._picture_bytes == 800


def test_pictures_leave_with_their_arrivals(arrivals: Arrivals):
    for _ in range(ARRIVALS + 5):
        arrivals.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(98)), reply())
    assert arrivals._picture_bytes == ARRIVALS * 100


def test_an_arrival_keeps_neither_body_nor_traceback(arrivals: Arrivals):
    try:
        raise Failure(Reason.GUEST, "x" * 9000, "classify")
    except Failure as failure:
        arrivals.failed(Event(Trigger.BINDING, "camera", bytes(1000)), failure)
    arrival = arrivals._arrivals[0]
    assert arrival.event.body == b""
    assert arrival.failure is not None
    assert arrival.failure.__traceback__ is None
    assert len(arrival.failure.text) == TEXT_BYTES


def test_many_threads_may_tell_and_ask(arrivals: Arrivals):
    def tell() -> None:
        for _ in range(200):
            arrivals.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(98)), reply())
            arrivals.picture(after(arrivals, "")["events"][-1]["picture"] or "")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert len(after(arrivals, "")["events"]) == AT_ONCE
    assert arrivals._picture_bytes == sum(picture.size for picture in arrivals._pictures.values())

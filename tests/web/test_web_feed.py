"""What the host keeps of events for the page: counts, percentiles, arrivals and their pictures, all of it bounded."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from guesthouse.event import Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.page import feed as module
from guesthouse.page.feed import ARRIVALS, AT_ONCE, LONGEST_SIDE, STEP, STEPS, Feed, percentile
from support.waiting import join

TRACED = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
PHOTO = Event(Trigger.BINDING, "camera", b"no picture", "text/plain", id="7", metadata=TRACED)


class Time:
    """A clock that stands still unless it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def feed(clock: Time) -> Feed:
    return Feed(clock=clock, wall=lambda: 1234.5)


# What a feed says is JSON, which the page takes apart by its names, and so do the tests.


def after(feed: Feed, cursor: str) -> Any:
    return feed.after(cursor)


def counts(feed: Feed, guest: str) -> Any:
    return feed.counts(guest)


def details(feed: Feed, guest: str) -> Any:
    return feed.details(guest)


def reply(total: float = 0.01, body: bytes = b"{}", *, memory: int = 0, host_memory: int = 0, **parts: Any) -> Reply:
    cost = replace(Cost(total=total, memory=memory, host_memory=host_memory), **parts)
    return Reply(body, "application/json", "classify", cost)


def png(size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 40, 10)).save(out, "PNG")
    return out.getvalue()


def test_an_arrival_has_what_the_page_shows_of_it(feed: Feed):
    feed.answered(PHOTO, reply(0.04, b'[{"label":"cup"}]', guest=0.01, spent={"inference": 0.02}, queued=0.005))
    (event,) = after(feed, "")["events"]
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


def test_a_failed_arrival_says_why(feed: Feed):
    feed.failed(PHOTO, Failure(Reason.GUEST, "no photo", "classify"))
    (event,) = after(feed, "")["events"]
    assert event["failure"] == {"reason": "GUEST", "text": "no photo"}
    assert (event["guest"], event["cost"]) == ("classify", None)


def test_invocations_are_counted_but_never_shown(feed: Feed):
    feed.answered(Event(Trigger.INVOKE, "api/image", b"private"), reply())
    assert after(feed, "")["events"] == []
    assert counts(feed, "classify")["calls"] == 1


def test_a_cursor_leads_to_what_came_after_it(feed: Feed):
    feed.answered(PHOTO, reply())
    cursor = after(feed, "")["cursor"]
    assert after(feed, cursor) == {"cursor": cursor, "missed": 0, "events": []}
    feed.answered(PHOTO, reply())
    assert [event["number"] for event in after(feed, cursor)["events"]] == [2]


@pytest.mark.parametrize("cursor", ["", "x", "-", "ffffffff-1", "1-1-1", "-5", "\u0663-\u0663"])
def test_a_cursor_of_another_life_leads_to_all_that_is_kept(feed: Feed, cursor: str):
    feed.answered(PHOTO, reply())
    assert [event["number"] for event in after(feed, cursor)["events"]] == [1]


def test_it_keeps_so_many_arrivals_and_says_how_many_were_missed(feed: Feed):
    feed.answered(PHOTO, reply())
    cursor = after(feed, "")["cursor"]
    for _ in range(ARRIVALS + 20):
        feed.answered(PHOTO, reply())
    news = after(feed, cursor)
    assert len(news["events"]) == AT_ONCE
    assert news["missed"] == ARRIVALS + 20 - AT_ONCE
    assert news["events"][-1]["number"] == ARRIVALS + 21


def test_a_long_reply_is_cut(feed: Feed):
    feed.answered(PHOTO, reply(body=b"x" * 5000))
    (event,) = after(feed, "")["events"]
    assert (len(event["reply"]), event["cut"]) == (module.TEXT_BYTES, True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Grüße\u202e\x1b[31m".encode(), "Grüße\u202e\x1b[31m"),  # the page shows what would steer it
        (b"", ""),
        (b"a\0b", None),
        (b"\xff\xfe", None),
        ("€".encode()[:2], None),  # nobody cut it here
        (b"x" * (module.TEXT_BYTES - 1) + "€".encode(), "x" * (module.TEXT_BYTES - 1)),
    ],
)
def test_what_came_and_what_was_replied_are_text_where_they_are(feed: Feed, body: bytes, text: str | None):
    feed.answered(Event(Trigger.TOPIC, "pubsub/words", body), reply(body=body))
    (event,) = after(feed, "")["events"]
    assert (event["text"], event["reply"]) == (text, text)
    assert (event["bytes"], event["reply_bytes"]) == (len(body), len(body))
    assert event["text_cut"] is event["cut"] is (len(body) > module.TEXT_BYTES)


def test_names_from_outside_are_cut(feed: Feed):
    feed.answered(Event(Trigger.TOPIC, "n" * 9000, b"", "t" * 9000, id="i" * 9000), reply())
    (event,) = after(feed, "")["events"]
    assert {len(event[key]) for key in ("name", "type", "id")} == {module.NAME}


def test_a_picture_can_be_had_larger(feed: Feed):
    feed.answered(Event(Trigger.BINDING, "camera", png((3200, 2400))), reply())
    id = after(feed, "")["events"][0]["picture"]
    small, large = feed.picture(id), feed.picture(id, large=True)
    assert small is not None
    assert large is not None
    assert Image.open(io.BytesIO(small)).size == (480, 360)
    assert Image.open(io.BytesIO(large)).size == (1600, 1200)
    assert feed._held == len(small) + len(large)


def test_a_picture_is_made_small_when_it_is_asked_for(feed: Feed, photos: Path):
    feed.answered(Event(Trigger.BINDING, "camera", (photos / "coffee.png").read_bytes()), reply())
    (event,) = after(feed, "")["events"]
    small = feed.picture(event["picture"])
    assert small is not None
    picture = Image.open(io.BytesIO(small))
    assert (picture.format, picture.size) == ("JPEG", (LONGEST_SIDE, 320))
    assert feed.picture(event["picture"]) == small


def test_a_reply_that_is_a_picture_is_kept_as_one(feed: Feed):
    feed.answered(PHOTO, Reply(png((30, 20)), "image/png", "grayscale"))
    (event,) = after(feed, "")["events"]
    assert (event["picture"], event["reply"]) == (None, "")
    made = feed.picture(event["reply_picture"])
    assert made is not None
    picture = Image.open(io.BytesIO(made))
    assert picture.size == (30, 20)


@pytest.mark.parametrize("bad", [b"\xff\xd8\xffno more", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"\xff\xd8\xff" * 999])
def test_a_picture_that_cannot_be_decoded_is_none(feed: Feed, bad: bytes):
    feed.answered(Event(Trigger.BINDING, "camera", bad), reply())
    (event,) = after(feed, "")["events"]
    assert feed.picture(event["picture"]) is None
    assert feed.picture(event["picture"]) is None
    assert feed._held == 0


def test_a_picture_over_the_pixel_limit_is_not_decoded(feed: Feed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LARGEST_PICTURE", 100)
    feed.answered(Event(Trigger.BINDING, "camera", png((11, 10))), reply())
    assert feed.picture(after(feed, "")["events"][0]["picture"]) is None


def test_pictures_are_bounded_in_bytes_the_oldest_going_first(feed: Feed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PICTURE_BYTES", 1000)
    for _ in range(4):
        feed.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(398)), reply())
    shown = [event["picture"] is not None for event in after(feed, "")["events"]]
    assert shown == [False, False, True, True]
    feed.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(2000)), reply())
    assert after(feed, "")["events"][-1]["picture"] is None
    assert feed._held == 800


def test_pictures_leave_with_their_arrivals(feed: Feed):
    for _ in range(ARRIVALS + 5):
        feed.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(98)), reply())
    assert feed._held == ARRIVALS * 100


def test_an_arrival_keeps_neither_body_nor_traceback(feed: Feed):
    try:
        raise Failure(Reason.GUEST, "x" * 9000, "classify")
    except Failure as failure:
        feed.failed(Event(Trigger.BINDING, "camera", bytes(1000)), failure)
    arrival = feed._arrivals[0]
    assert arrival.event.body == b""
    assert arrival.failure is not None
    assert arrival.failure.__traceback__ is None
    assert len(arrival.failure.text) == module.TEXT_BYTES


def test_counts_have_the_window_and_the_last_failure(feed: Feed, clock: Time):
    for total in (0.010, 0.010, 0.010, 0.200):
        feed.answered(Event(Trigger.INVOKE, "m"), reply(total, guest=0.002, spent={"inference": total - 0.004}))
    clock.now += 2 * STEP
    feed.failed(Event(Trigger.INVOKE, "m"), Failure(Reason.FULL, "busy", "classify"))
    found = counts(feed, "classify")
    assert (found["calls"], found["failures"], found["reasons"]) == (5, 1, {"FULL": 1})
    assert found["last_failure"] == {"reason": "FULL", "text": "busy", "at": 1234.5}
    assert (found["window"]["calls"], found["window"]["failures"]) == (5, 1)
    assert found["window"]["latency"]["p50"] == pytest.approx(10, rel=0.05)
    assert found["window"]["latency"]["p99"] == pytest.approx(200, rel=0.05)
    assert found["window"]["mean"]["guest"] == pytest.approx(2)
    assert found["series"]["calls"][-3:] == [4, 0, 1]
    assert found["series"]["failures"][-3:] == [0, 0, 1]
    assert found["series"]["p50"][-2:] == [None, None]
    assert len(found["series"]["calls"]) == STEPS


def test_failures_are_kept_by_reason_with_the_last_of_each_and_the_most_memory(feed: Feed):
    event = Event(Trigger.INVOKE, "m")
    feed.answered(event, reply(memory=5, host_memory=9))
    for text in ("x" * 9000, "no photo"):
        feed.failed(event, Failure(Reason.GUEST, text, "classify", Cost(memory=7)))
    feed.failed(event, Failure(Reason.FULL, "x" * 9000, "classify"))
    found = details(feed, "classify")
    assert found["peak"] == {"memory": 7, "host_memory": 9}
    guest, full = found["failed"]
    assert guest == {"reason": "GUEST", "count": 2, "text": "no photo", "at": 1234.5}
    assert (full["reason"], full["count"], len(full["text"])) == ("FULL", 1, module.TEXT_BYTES)


def test_what_is_older_than_the_window_counts_no_more(feed: Feed, clock: Time):
    feed.answered(Event(Trigger.INVOKE, "m"), reply())
    clock.now += STEP * STEPS
    found = counts(feed, "classify")
    assert found["calls"] == 1
    assert (found["window"]["calls"], found["window"]["latency"]["p50"]) == (0, None)
    assert sum(found["series"]["calls"]) == 0


def test_events_without_a_guest_are_unrouted(feed: Feed):
    assert feed.unrouted == 0
    feed.failed(Event(Trigger.INVOKE, "nothing"), Failure(Reason.NOT_FOUND, "no guest"))
    assert feed.unrouted == 1


@given(st.lists(st.floats(1e-4, 60), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_within_five_per_cent(seconds: list[float], part: float):
    bins = [0] * module._BINS
    for one in seconds:
        bins[module._bin(one)] += 1
    wanted = sorted(seconds)[max(0, -int(-part * len(seconds) // 1) - 1)]
    assert percentile(bins, part) == pytest.approx(wanted * 1000, rel=0.05)


@given(st.floats(0, 1e9))
def test_every_latency_has_a_bin(seconds: float):
    assert 0 <= module._bin(seconds) < module._BINS


def test_many_threads_may_tell_and_ask(feed: Feed):
    def tell() -> None:
        for _ in range(200):
            feed.answered(Event(Trigger.BINDING, "camera", b"BM" + bytes(98)), reply())
            feed.picture(after(feed, "")["events"][-1]["picture"] or "")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    join(*threads)
    assert counts(feed, "classify")["calls"] == 800
    assert feed._held == sum(picture.size for picture in feed._pictures.values())

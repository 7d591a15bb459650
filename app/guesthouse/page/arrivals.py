"""The latest events that came by themselves, for the page's live feed: what arrived, what was replied, their pictures.

`Arrivals` hears of every event (`event.Observer`) and keeps the last `ARRIVALS` of those that came by themselves
(`event.Trigger.arrives`), with at most `PICTURE_BYTES` of their pictures. Nothing is decoded in the event's thread:
a picture is made small when somebody first asks for it. Who may ask is decided in `methods`.
"""

from __future__ import annotations

import codecs
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import InitVar, dataclass

import simplejpeg

from guesthouse.event import Cost, Event, Failure, Reply
from guesthouse.page import Json
from guesthouse.page.calls import Calls
from guesthouse.page.counts import TEXT_BYTES, milliseconds
from guesthouse.tracecontext import trace_id
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import CallError, HostError
from guesthouse_abi.pictures import Era, Layout, decode_and_resize, size_of

ARRIVALS = 100
AT_ONCE = 50  # arrivals in one answer
PICTURE_BYTES = 32 * 2**20
KINDS = 16  # of calls of one event, by method and status
NAME = 256  # characters of a name or an id that came from outside
LONGEST_SIDE = 480  # pixels of a picture that is shown
LARGE_SIDE = 1600  # pixels of a picture that is looked at by itself
LARGEST_PICTURE = 50_000_000  # pixels of a picture that is decoded
DECODING = 5.0  # seconds

_FORMATS = frozenset({"JPEG", "PNG", "GIF", "BMP"})
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")


class Arrivals:
    """See `event.Observer`. For any number of threads. `wall` is the time of day."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._lock = threading.Lock()
        self._life = uuid.uuid4().hex[:8]  # a cursor of an earlier process means nothing here
        self._number = 0
        self._arrivals: deque[_Arrival] = deque()
        self._pictures: dict[str, _Picture] = {}  # in the order in which they came
        self._picture_bytes = 0

    # ---- in the event's thread ----

    def answered(self, event: Event, reply: Reply) -> None:
        """Keep the event where it came by itself."""
        if event.trigger.arrives:
            with self._lock:
                self._keep(_Arrival(event, reply.guest, reply.cost, self._wall()), event.body, reply)

    def failed(self, event: Event, failure: Failure) -> None:
        """Keep the event where it came by itself."""
        if event.trigger.arrives:
            with self._lock:
                arrival = _Arrival(event, failure.guest, failure.cost, self._wall(), failure)
                self._keep(arrival, event.body, None)

    def _keep(self, arrival: _Arrival, body: bytes, reply: Reply | None) -> None:
        self._number += 1
        arrival.number = self._number
        arrival.picture = self._keep_picture(body)
        if not arrival.picture:
            arrival.body = body[:TEXT_BYTES]
        if reply is not None:
            arrival.reply_type = reply.content_type
            arrival.reply_size = len(reply.body)
            arrival.reply_picture = self._keep_picture(reply.body, "r")
            if not arrival.reply_picture:
                arrival.reply = reply.body[:TEXT_BYTES]
        self._arrivals.append(arrival)
        if len(self._arrivals) > ARRIVALS:
            left = self._arrivals.popleft()
            self._drop(left.picture)
            self._drop(left.reply_picture)

    def _keep_picture(self, data: bytes, suffix: str = "") -> str:
        """The id of a picture that is kept; "" where `data` is no picture, or is larger than `PICTURE_BYTES`."""
        if not data.startswith(_PICTURES) or len(data) > PICTURE_BYTES:
            return ""
        while self._picture_bytes + len(data) > PICTURE_BYTES:
            self._drop(next(iter(self._pictures)))
        id = f"{self._life}-{self._number}{suffix}"
        self._pictures[id] = _Picture(data)
        self._picture_bytes += len(data)
        return id

    def _drop(self, id: str) -> None:
        if (picture := self._pictures.pop(id, None)) is not None:
            self._picture_bytes -= picture.size

    # ---- for those who ask ----

    def after(self, cursor: str) -> dict[str, Json]:
        """The arrivals since `cursor` (`""`: all that are kept), oldest first, and the cursor for the next question.

        `missed` counts arrivals since `cursor` that are no longer kept, or did not fit into one answer.
        """
        life, _, number = cursor.partition("-")
        seen = int(number) if life == self._life and number.isascii() and number.isdigit() else 0
        with self._lock:
            arrivals = [arrival for arrival in self._arrivals if arrival.number > seen][-AT_ONCE:]
            pictures = set(self._pictures)
            last = self._number
        missed = last - seen - len(arrivals) if cursor and seen <= last else 0
        return {
            "cursor": f"{self._life}-{last}",
            "missed": missed,
            "events": [arrival.json(pictures) for arrival in arrivals],
        }

    def picture(self, id: str, *, large: bool = False) -> bytes | None:
        """A picture as a JPEG of at most `LONGEST_SIDE` pixels, or with `large` of at most `LARGE_SIDE`.

        None where the picture is not kept any more, or cannot be decoded.
        """
        with self._lock:
            picture = self._pictures.get(id)
        if picture is None:
            return None
        with picture.lock:
            if picture.small is None:
                data = _jpeg(picture.data, LARGE_SIDE)
                small = _jpeg(data, LONGEST_SIDE) if data else b""
                with self._lock:
                    before, picture.data, picture.small = picture.size, data, small
                    if id in self._pictures:
                        self._picture_bytes += picture.size - before
            return (picture.data if large else picture.small) or None


class _Picture:
    """One picture: `data` is what came, and once somebody has asked the large JPEG, empty where there is none."""

    __slots__ = ("data", "lock", "small")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.small: bytes | None = None
        self.lock = threading.Lock()

    @property
    def size(self) -> int:
        return len(self.data) + len(self.small or b"")


class _Unbounded:
    """A `pictures.Budget` without a bound: `LARGEST_PICTURE` alone bounds what is decoded here."""

    def hold(self, count: int) -> None: ...

    def release(self, count: int) -> None: ...


def _jpeg(data: bytes, side: int) -> bytes:
    """A picture as a JPEG of at most `side` pixels; empty where it cannot be decoded."""
    try:
        width, height = size_of(data, _FORMATS)
        scale = min(1.0, side / max(width, height))
        pixels = decode_and_resize(
            data,
            max(1, round(width * scale)),
            max(1, round(height * scale)),
            Layout.RGB8,
            Era.WASMEDGE_0_15,
            formats=_FORMATS,
            pixels=LARGEST_PICTURE,
            budget=_Unbounded(),
            deadline=Deadline.after(DECODING),
            scale=True,
        )
    except (HostError, CallError):
        return b""
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=82, colorspace="RGB")
    return encoded


@dataclass(slots=True)
class _Arrival:
    """One event that came by itself."""

    event: Event
    guest: str
    spent: InitVar[Cost | None]
    at: float  # time of day, seconds since 1970
    failure: Failure | None = None
    number: int = 0
    size: int = 0
    trace: str = ""
    picture: str = ""
    body: bytes = b""  # its beginning, where it is no picture
    reply_picture: str = ""
    reply_type: str = ""
    reply_size: int = 0
    reply: bytes = b""  # its beginning, where it is no picture
    cost: dict[str, Json] | None = None
    calls: dict[str, Json] | None = None  # to the sidecar; None where there was none

    def __post_init__(self, spent: Cost | None) -> None:
        # Neither the body is kept, nor the traceback of a failure, which keeps many objects alive, nor what a cost has
        # of each call: all these may be large.
        if spent is not None:
            self.cost, self.calls = milliseconds(spent), _calls(spent)
        old = self.event
        self.size, self.trace = len(old.body), trace_id(old.metadata)
        self.event = Event(old.trigger, old.name[:NAME], content_type=old.content_type[:NAME], id=old.id[:NAME])
        if self.failure is not None:
            self.failure = Failure(self.failure.reason, self.failure.text[:TEXT_BYTES], self.failure.guest)

    def json(self, pictures: set[str]) -> dict[str, Json]:
        failure = self.failure
        return {
            "number": self.number,
            "at": round(self.at, 3),
            "trigger": self.event.trigger.value,
            "name": self.event.name,
            "id": self.event.id,
            "trace": self.trace,
            "guest": self.guest,
            "type": self.event.content_type,
            "bytes": self.size,
            "cost": self.cost,
            "calls": self.calls,
            "picture": self.picture if self.picture in pictures else None,
            "text": _text(self.body, self.size),
            "text_cut": self.size > TEXT_BYTES,
            "reply_picture": self.reply_picture if self.reply_picture in pictures else None,
            "reply_type": self.reply_type,
            "reply_bytes": self.reply_size,
            "reply": _text(self.reply, self.reply_size),
            "cut": self.reply_size > TEXT_BYTES,
            "failure": {"reason": failure.reason.value, "text": failure.text} if failure is not None else None,
        }


def _calls(cost: Cost) -> dict[str, Json] | None:
    """The calls of an event to the sidecar, all together, and by method and status the first `KINDS` of them."""
    calls = Calls()
    calls.add(cost.durations)
    kinds = calls.by_status()
    return {**calls.in_all(), "kinds": kinds[:KINDS]} if kinds else None


def _text(beginning: bytes, size: int) -> str | None:
    """The beginning of `size` bytes as text, without a last character that was cut; None where it is no text."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) == size)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text

"""What the page shows of events: counts and latencies of each guest, and the latest arrivals with their pictures.

`Feed` hears of every event (`event.Observer`). It keeps a bounded amount whatever comes: two counters and a histogram
for each guest and each of the last `STEPS` steps of time, and the last `ARRIVALS` events that came by themselves
(binding, topic, job), with at most `PICTURE_BYTES` of their pictures. Nothing is decoded or formatted in the event's
thread: pictures are made small when somebody first asks for them. Who may ask is decided in `hostmethods`.
"""

from __future__ import annotations

import codecs
import math
import threading
import time
import uuid
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import simplejpeg

from guesthouse.event import Cost, Event, Failure, Reply, Trigger
from guesthouse.tracecontext import trace_id
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import CallError, HostError
from guesthouse_abi.pictures import Era, Layout, decode_and_resize, size_of

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | dict[str, Json] | None"

STEP = 5.0  # seconds
STEPS = 60
ARRIVALS = 100
AT_ONCE = 50  # arrivals in one answer
PICTURE_BYTES = 32 * 2**20
TEXT_BYTES = 2048  # of an event, of its reply, or of a failure
NAME = 256  # characters of a name or an id that came from outside
LONGEST_SIDE = 480  # pixels of a picture that is shown
LARGE_SIDE = 1600  # pixels of one that is looked at by itself
LARGEST_PICTURE = 50_000_000  # pixels of one that is decoded
DECODING = 5.0  # seconds

# Latencies are counted in bins, eight to an octave from 0.1 ms on: what is read from them is within 5 %.
_FIRST, _PER_OCTAVE, _BINS = 1e-4, 8, 168
_FORMATS = frozenset({"JPEG", "PNG", "GIF", "BMP"})
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM")


class Feed:
    """See `event.Observer`. For any number of threads. `clock` never goes back, `wall` is the time of day."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._life = uuid.uuid4().hex[:8]  # a cursor of an earlier process means nothing here
        self._number = 0
        self._guests: dict[str, _Counts] = {}
        self._arrivals: deque[_Arrival] = deque()
        self._pictures: dict[str, _Picture] = {}  # in the order in which they came
        self._held = 0

    # ---- in the event's thread ----

    def answered(self, event: Event, reply: Reply) -> None:
        """Count it, and keep it where it came by itself."""
        with self._lock:
            self._of(reply.guest).answered(self._step(), reply.cost)
            if event.trigger is not Trigger.INVOKE:
                self._keep(_Arrival(event, reply.guest, reply.cost, self._wall()), event.body, reply)

    def failed(self, event: Event, failure: Failure) -> None:
        """Count it, and keep it where it came by itself. Failures before a route was found have no guest."""
        with self._lock:
            self._of(failure.guest).failed(self._step(), failure, self._wall())
            if event.trigger is not Trigger.INVOKE:
                arrival = _Arrival(event, failure.guest, failure.cost, self._wall(), failure)
                self._keep(arrival, event.body, None)

    def _of(self, guest: str) -> _Counts:
        return self._guests.get(guest) or self._guests.setdefault(guest, _Counts())

    def _step(self) -> int:
        return int(self._clock() / STEP)

    def _keep(self, arrival: _Arrival, body: bytes, reply: Reply | None) -> None:
        self._number += 1
        arrival.number = self._number
        arrival.picture = self._keep_picture(f"{self._life}-{self._number}", body)
        if not arrival.picture:
            arrival.body = body[:TEXT_BYTES]
        if reply is not None:
            arrival.reply_type = reply.content_type
            arrival.reply_size = len(reply.body)
            arrival.reply_picture = self._keep_picture(f"{self._life}-{self._number}r", reply.body)
            if not arrival.reply_picture:
                arrival.reply = reply.body[:TEXT_BYTES]
        self._arrivals.append(arrival)
        if len(self._arrivals) > ARRIVALS:
            left = self._arrivals.popleft()
            self._drop(left.picture)
            self._drop(left.reply_picture)

    def _keep_picture(self, id: str, data: bytes) -> str:
        """Its id; "" where `data` is no picture, or larger than all of them may be."""
        if not data.startswith(_PICTURES) or len(data) > PICTURE_BYTES:
            return ""
        while self._held + len(data) > PICTURE_BYTES:
            self._drop(next(iter(self._pictures)))
        self._pictures[id] = _Picture(data)
        self._held += len(data)
        return id

    def _drop(self, id: str) -> None:
        if (picture := self._pictures.pop(id, None)) is not None:
            self._held -= picture.size

    # ---- for those who ask ----

    def after(self, cursor: str) -> dict[str, Json]:
        """The arrivals since `cursor` (`""`: all that are kept), oldest first, and the cursor to ask with next.

        `missed` counts those that are no longer kept, or did not fit into one answer.
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
        """A picture as a JPEG of at most `LONGEST_SIDE`, or with `large` of at most `LARGE_SIDE`.

        None where it is not kept any more, or cannot be decoded.
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
                        self._held += picture.size - before
            return (picture.data if large else picture.small) or None

    def counts(self, guest: str) -> dict[str, Json]:
        """What one guest has answered: since the start, and in the last `STEPS` steps of `STEP` seconds."""
        with self._lock:
            return self._of(guest).json(self._step())

    def details(self, guest: str) -> dict[str, Json]:
        """What is kept of one guest besides its counts: failures by reason, and the most memory that an event took."""
        with self._lock:
            return self._of(guest).details()

    @property
    def unrouted(self) -> int:
        """Events that no guest was found for."""
        with self._lock:
            return self._guests[""].failures if "" in self._guests else 0


class _Picture:
    """As it came, until it is first asked for: then `data` is what is shown large, empty where it cannot be decoded."""

    __slots__ = ("data", "lock", "small")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.small: bytes | None = None
        self.lock = threading.Lock()

    @property
    def size(self) -> int:
        return len(self.data) + len(self.small or b"")


class _Unbounded:
    """`pictures.Budget`: the pixel limit alone bounds what is made small here."""

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
    cost: Cost | None
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

    def __post_init__(self) -> None:
        # The body may be large, and a failure's traceback holds on to much: neither is kept here.
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
            "cost": milliseconds(self.cost) if self.cost is not None else None,
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


def _text(beginning: bytes, size: int) -> str | None:
    """The beginning of `size` bytes as text, without a character that was cut; None where it is none."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) == size)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


class _Step:
    """What happened to one guest in one step of time."""

    __slots__ = ("bins", "calls", "failures", "number", "sums")

    def __init__(self, number: int) -> None:
        self.number = number
        self.calls = 0
        self.failures = 0
        self.bins = array("I", bytes(4 * _BINS))
        self.sums = [0.0] * len(PARTS)


PARTS = ("queued", "guest", "host", "inference")


class _Failures(NamedTuple):
    """One guest's failures of one reason: how many, and the last of them."""

    number: int
    text: str
    at: float


class _Counts:
    """One guest's."""

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self._reasons: dict[str, _Failures] = {}  # no more than there are reasons
        self._last: dict[str, Json] | None = None
        self._memory = 0  # the most of any event
        self._host_memory = 0
        self._steps: deque[_Step] = deque(maxlen=STEPS)

    def answered(self, now: int, cost: Cost) -> None:
        self.calls += 1
        step = self._at(now)
        step.calls += 1
        self._measured(step, cost)

    def failed(self, now: int, failure: Failure, at: float) -> None:
        self.calls += 1
        self.failures += 1
        reason, text = failure.reason.value, failure.text[:TEXT_BYTES]
        self._last = {"reason": reason, "text": text, "at": round(at, 3)}
        old = self._reasons.get(reason)
        self._reasons[reason] = _Failures((old.number if old is not None else 0) + 1, text, at)
        step = self._at(now)
        step.calls += 1
        step.failures += 1
        if failure.cost is not None:
            self._measured(step, failure.cost)

    def _at(self, now: int) -> _Step:
        if not self._steps or self._steps[-1].number != now:
            self._steps.append(_Step(now))
        return self._steps[-1]

    def _measured(self, step: _Step, cost: Cost) -> None:
        self._memory = max(self._memory, cost.memory)
        self._host_memory = max(self._host_memory, cost.host_memory)
        step.bins[_bin(cost.queued + cost.total)] += 1
        for index, name in enumerate(PARTS):
            step.sums[index] += getattr(cost, name)

    def json(self, now: int) -> dict[str, Json]:
        steps = {step.number: step for step in self._steps if step.number > now - STEPS}
        series = [steps.get(number) for number in range(now - STEPS + 1, now + 1)]
        kept = list(steps.values())
        bins = [sum(column) for column in zip(*(step.bins for step in kept), strict=True)] if kept else []
        measured = sum(bins)
        means = [sum(step.sums[index] for step in kept) / measured if measured else 0.0 for index in range(len(PARTS))]
        return {
            "calls": self.calls,
            "failures": self.failures,
            "reasons": {reason: kept.number for reason, kept in self._reasons.items()},
            "last_failure": self._last,
            "window": {
                "calls": sum(step.calls for step in kept),
                "failures": sum(step.failures for step in kept),
                "latency": {name: percentile(bins, part) for name, part in _PERCENTILES.items()},
                "mean": {name: _ms(mean) for name, mean in zip(PARTS, means, strict=True)},
            },
            "series": {
                "calls": [step.calls if step else 0 for step in series],
                "failures": [step.failures if step else 0 for step in series],
                **{
                    name: [percentile(step.bins, part) if step else None for step in series]
                    for name, part in _PERCENTILES.items()
                    if name != "p99"
                },
            },
        }

    def details(self) -> dict[str, Json]:
        return {
            "failed": [
                {"reason": reason, "count": kept.number, "text": kept.text, "at": round(kept.at, 3)}
                for reason, kept in sorted(self._reasons.items(), key=lambda item: -item[1].number)
            ],
            "peak": {"memory": self._memory, "host_memory": self._host_memory},
        }


_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _bin(seconds: float) -> int:
    if seconds <= _FIRST:
        return 0
    return min(_BINS - 1, int(math.log2(seconds / _FIRST) * _PER_OCTAVE))


def percentile(bins: Sequence[int], part: float) -> float | None:
    """The latency in milliseconds under which `part` of those counted in `bins` lie; None where there are none."""
    left = part * sum(bins)
    if not left:
        return None
    for index, count in enumerate(bins):
        left -= count
        if count and left <= 1e-9:
            return _ms(_FIRST * 2 ** ((index + 0.5) / _PER_OCTAVE))
    raise AssertionError("a part of them lies beyond all of them")


def milliseconds(cost: Cost) -> dict[str, Json]:
    """The times of a cost."""
    return {name: _ms(seconds) for name, seconds in cost.times().items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)

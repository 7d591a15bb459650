"""Scripted answers: which calls a guest is expected to make, and what each is answered.

    order = "written"                # or "any"

    [[call]]
    method = "GetState"
    request = { storeName = "store", key = "cart-1" }     # what must match; the rest of the request may be anything
    reply = { data = { json = { total = 3 } }, etag = "7" }

    [[call]]
    method = "PublishEvent"
    status = "UNAVAILABLE"           # in place of a reply: gRPC's code
    text = "no broker"               # and its message
    after = "200ms"                  # it ends so much later
    times = 2                        # 1 by default; "any" for as often as it comes, or not at all

Requests and replies are Dapr's messages, as `messages.py` reads them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import proto
from pydantic_core import PydanticCustomError

from guesthouse.dapr.api_methods import METHODS, Method, Requests, method_of
from guesthouse.manifest.rules import closest
from guesthouse.manifest.text import parse_duration, shown
from guesthouse.scripted.messages import NoMessage, difference, fill
from guesthouse.scripted.tables import Table, read
from guesthouse_abi.calls import Code
from guesthouse_abi.services import Ended

WRITTEN, ANY = "written", "any"


@dataclass(frozen=True, slots=True)
class Expected:
    """A call that is expected. It ends `after` so many seconds. `times` is how often; None: any number, also none."""

    name: str  # such as "call 2 (GetState)"
    method: Method
    request: tuple[tuple[Any, Any], ...]  # what each message of the request must match, and its table; none: anything
    ended: Ended
    after: float
    times: int | None

    def difference(self, messages: Sequence[Any]) -> str:
        """How the messages of a request differ from what is expected; empty where they match."""
        if not self.request:
            return ""
        if len(messages) != len(self.request):
            return f"its request has {len(messages)} messages, not {len(self.request)}"
        found = (
            difference(message, wanted, table, "request")
            for message, (wanted, table) in zip(messages, self.request, strict=True)
        )
        return next(filter(None, found), "")


@dataclass(frozen=True, slots=True)
class Script:
    """All calls that are expected; `ordered`: one after the other."""

    expected: tuple[Expected, ...] = ()
    ordered: bool = True


def load_script(path: Path) -> Script:
    """The script in a file. Raises `ScriptFaults`."""
    document = read(path)
    script = script_in(document)
    document.end()
    return script


def script_in(document: Table) -> Script:
    """The keys `order` and `call` of a document. Raises `ScriptFaults`."""
    ordered = document.choice("order", (WRITTEN, ANY), WRITTEN) == WRITTEN
    calls = document.tables("call")
    return Script(tuple(_expected(table, number) for number, table in enumerate(calls, 1)), ordered)


def _expected(table: Table, number: int) -> Expected:
    name = table.text("method", "write the method's name, as in GetState")
    method = METHODS.get(name)
    if method is None:
        remedy = closest(name, METHODS, "the methods are")
        table.refuse(f"{shown(name)} is no method that guests may call", remedy, "method")
    request = _messages(table, "request", method, method.request)
    ended = _ended(table, method)
    after = _seconds(table)
    times = table.take("times")
    if times == ANY:
        times = None
    elif times is None:
        times = 1
    elif not isinstance(times, int) or isinstance(times, bool) or times < 1:
        table.refuse(f"{shown(times)} is no number of times", 'write 1 or more, or "any"', "times")
    table.end()
    return Expected(f"call {number} ({name})", method, tuple(request), ended, after, times)


def _seconds(table: Table) -> float:
    """How long the call takes."""
    value = table.take("after")
    if value is None:
        return 0.0
    try:
        return parse_duration(value)
    except PydanticCustomError as error:
        context = error.context or {}
        table.refuse(f"{shown(value)} {context['what']}", context["remedy"], "after")


def _ended(table: Table, method: Method) -> Ended:
    """How the call is answered."""
    text = table.text("text")
    code = Code[table.choice("status", [code.name for code in Code], "OK")]
    messages = _messages(table, "reply", method, method.response)
    if code:
        if messages:
            table.refuse("a call that failed has no reply", "leave reply out, or status", "reply")
        return Ended(code, text)
    if text:
        table.refuse("a call that did not fail has no text", 'write status too, as in status = "UNAVAILABLE"', "text")
    if not method.streams:
        return Ended(0, "", (messages[0][0] if messages else method.response()).SerializeToString())
    stream = io.BytesIO()
    for message, _ in messages:
        proto.serialize_length_prefixed(message, stream)
    return Ended(0, "", stream.getvalue())


def _messages(table: Table, key: str, method: Method, kind: Callable[[], Any]) -> list[tuple[Any, Any]]:
    """The messages that a key stands for, each with its table: one; of a method with streams also a list of them."""
    value = table.take(key)
    if value is None:
        return []
    values = value if method.streams and isinstance(value, list) else [value]
    found = []
    for one in values:
        message = kind()
        try:
            fill(message, one, key)
        except NoMessage as error:
            table.refuse(str(error), "write it as JSON has the message (docs/guests.md)", error.at)
        found.append((message, one))
    return found


@dataclass(slots=True)
class ScriptedSidecar(Requests):
    """Answers calls by a script: `sidecar.SidecarApi`, for any number of threads."""

    script: Script
    _counts: list[int] = field(default_factory=list)
    _unexpected: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.follow(self.script)

    def follow(self, script: Script) -> None:
        """Begin with a script."""
        with self._lock:
            self.script = script
            self._counts = [0] * len(script.expected)
            self._unexpected = []

    def faults(self) -> list[str]:
        """What came and was not expected, and what was expected and did not come."""
        with self._lock:
            missing = [
                f"{one.name} did not come" if not count else f"{one.name} came {count} of {one.times} times"
                for one, count in zip(self.script.expected, self._counts, strict=True)
                if one.times is not None and count < one.times
            ]
            return [*self._unexpected, *missing]

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """See `sidecar.SidecarApi`."""
        known = method_of(method)
        parts = known.messages(message) if known.streams else [message]
        with self._lock:
            ended, after = self._answer(known, [known.request.FromString(part) for part in parts])
        if after > seconds:
            ended, after = Ended(Code.DEADLINE_EXCEEDED, "the script answers after the call's deadline"), seconds
        if not after:
            done(ended)
            return _nothing
        timer = threading.Timer(after, done, (ended,))
        timer.daemon = True
        timer.start()
        return timer.cancel

    def _answer(self, method: Method, messages: Sequence[Any]) -> tuple[Ended, float]:
        waited_for = list(self._waited_for())
        differences = []
        for position in waited_for:
            expected = self.script.expected[position]
            if expected.method.name != method.name:
                continue
            found = expected.difference(messages)
            if not found:
                self._counts[position] += 1
                return expected.ended, expected.after
            differences.append(f"{expected.name} expects another request: {found}")
        if differences:
            return self._refused(Code.FAILED_PRECONDITION, method, "; ".join(differences))
        names = [self.script.expected[position].name for position in waited_for]
        return self._refused(
            Code.UNIMPLEMENTED, method, f"the script expects {' or '.join(names) if names else 'no further call'}"
        )

    def _refused(self, code: int, method: Method, why: str) -> tuple[Ended, float]:
        self._unexpected.append(f"an unexpected call of {method.name}: {why}")
        return Ended(code, f"{method.name} was not expected: {why}"), 0.0

    def _waited_for(self) -> Iterator[int]:
        """The positions of the calls that may come now."""
        last = max((at for at, count in enumerate(self._counts) if count), default=0) if self.script.ordered else 0
        for at in range(last, len(self._counts)):
            times, count = self.script.expected[at].times, self._counts[at]
            if times is None or count < times:
                yield at
            if self.script.ordered and times is not None and count < times:
                return


def _nothing() -> None:
    """Cancels a call that has ended."""

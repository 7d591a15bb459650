"""One worker process, as the server sees it: started for no guest yet, then a guest's, one event at a time, ended.

Which worker answers which event is the matter of `pool`; how many wait for a guest, that of `stock`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import TypeVar

from guesthouse.event import Cost, Event, Failure, Reason, Reply
from guesthouse.guests.files import Granted
from guesthouse.guests.guest import Guest, GuestConfig
from guesthouse.guests.process import wire
from guesthouse.guests.process.services import Requests
from guesthouse.guests.process.wire import Arena, Channel, Ended, Frame, Kind, TooLong, WireError
from guesthouse.guests.sandbox import REASONS, TEXT
from guesthouse.system import children
from guesthouse_abi.calling import cgi
from guesthouse_abi.deadline import Deadline

T = TypeVar("T")

GRACE = 0.2  # seconds past its deadline after which a worker is killed
START = 60.0  # seconds that a worker may take to start, and to become a guest's
_LOOK = 0.1  # seconds between looks at whether the caller hung up
_KEPT_OUTPUT = 2000  # bytes of what a worker wrote on standard error that are kept, the last ones
_HEADERS = cgi.BLOCK // 4  # the shortest has a name, a colon and an end of line
_PIPE = 1 << 16  # bytes that a pipe holds


class WorkerFault(Exception):
    """A worker that does not start, or cannot become the guest's. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Spec:
    """How workers are started: the engine by its name, the Python that has it, where the compiled pixel kernel
    is, and what is asked of Linux's own kernel."""

    engine: str
    pooling: bool
    interpreter: str
    pixel_kernel: Path
    confinement: str = "best"  # or "required": a worker that the kernel does not close wholly is none


class Artefact:
    """A file of compiled code, held open: the descriptor goes with this object."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`."""
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.fd)


@dataclass(frozen=True, slots=True)
class Setup:
    """What makes a worker a guest's: its settings, its compiled code, its files."""

    config: GuestConfig
    sha256: str  # of the module
    artefact: Artefact
    granted: Granted

    def payload(self) -> bytes:
        """As the worker reads it, in JSON."""
        config = asdict(self.config)
        config["module"] = str(self.config.module)
        config["signed"] = None  # looked at when it was loaded
        config["files"] = ()  # read then
        config["grants"]["models"] = sorted(self.config.grants.models)
        files = self.granted.sealed
        setup = {"sha256": self.sha256, "config": config, "files": None if files is None else files.index}
        return json.dumps(setup).encode()

    @property
    def descriptors(self) -> list[int]:
        files = self.granted.sealed
        return [self.artefact.fd] if files is None else [self.artefact.fd, files.fd]


class Worker:
    """One process. Used by one thread at a time."""

    def __init__(self, spec: Spec) -> None:
        """Start it; `wait` says when it can be set up. Raises `OSError`."""
        self._number = 0
        self._how_it_ended = ""
        self._output = b""  # on standard error
        self._channel: Channel | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _started(spec, theirs.fileno())
        except BaseException:
            self._socket.close()
            raise
        self.pid = self._process.pid
        self._required = spec.confinement == "required"
        self.lacking: list[str] = []  # what the kernel does not close to it

    def wait(self) -> None:
        """Until all that workers need is loaded. Raises `WorkerFault`."""
        self._within_time(lambda: wire.receive_ready(self._socket))

    def become(self, setup: Setup) -> None:
        """Make it the guest's, for good. Raises `WorkerFault`, after which it must be ended."""
        self._set_up(Kind.SETUP, setup)

    def try_out(self, setup: Setup) -> str:
        """Have it load a guest and forget it again; none of the guest's code runs. Returns what is wrong.

        Raises `WorkerFault` where the worker itself is, after which it must be ended.
        """
        frame = self._set_up(Kind.TRY, setup)
        return wire.text(wire.member(frame.head, "text"), TEXT) if frame.kind is Kind.FAULT else ""

    def _set_up(self, kind: Kind, setup: Setup) -> Frame:
        limits, payload = setup.config.limits, setup.payload()
        room = max(limits.host_memory, limits.input, limits.output, len(payload)) + (1 << 16)
        try:
            arena = Arena.create(room)
        except OSError as error:
            raise WorkerFault(error.strerror or str(error)) from None
        if self._channel is not None:
            self._channel.arena.close()
        channel = self._channel = Channel(self._socket, arena)

        def answer() -> Frame:
            channel.send(kind, None, [payload], [arena.fd, *setup.descriptors])
            frame = channel.receive()
            if frame.kind is Kind.FAULT and kind is Kind.SETUP:
                raise WorkerFault(wire.text(wire.member(frame.head, "text"), TEXT))
            if frame.kind not in (Kind.READY, Kind.FAULT):
                raise WireError(f"an unexpected frame ({frame.kind.name})")
            return frame

        frame = self._within_time(answer)
        arena.clear()
        if frame.kind is Kind.READY:
            self.lacking = [wire.text(one, TEXT) for one in wire.items(wire.member(frame.head, "lacking"), 16)]
            if self.lacking and self._required:
                raise WorkerFault(f'process.confinement is "required", and here {"; ".join(self.lacking)}')
        return frame

    def _within_time(self, answer: Callable[[], T]) -> T:
        """What `answer` returns. Raises `WorkerFault` where the worker takes too long, ends, or says nonsense."""
        try:
            self._socket.settimeout(START)
            return answer()
        except TimeoutError:
            raise WorkerFault(f"it was not ready within {START:g} s") from None
        except Ended:
            raise WorkerFault(self.last_words(self.end())) from None
        except WireError as error:
            raise WorkerFault(f"{error}; {self.last_words(self.end())}") from None

    @property
    def alive(self) -> bool:
        """Whether it can be given an event."""
        return self._process.poll() is None

    def answer(self, guest: Guest, event: Event, deadline: Deadline) -> Reply:
        """Have it answer one event, with the services of `guest`.

        Raises `Failure`; and `WireError`, when it must be ended.
        """
        channel = self._channel
        assert channel is not None  # it became a guest's
        self._number += 1
        number, arena = self._number, channel.arena
        began = perf_counter()
        head = {"number": number, "at": deadline.at, "event": wire.packed(event)}
        try:
            channel.send(Kind.EVENT, head, [event.body])
        except TooLong as error:
            raise Failure(Reason.TOO_LARGE, f"the event with its metadata: {error}", guest.name) from None
        requests = Requests(guest, channel, deadline)
        forget = deadline.on_cancel(lambda: arena.cancel(number))
        try:
            while (frame := self._next(channel, deadline)).kind not in (Kind.REPLY, Kind.FAILURE):
                requests.answer(frame)
            return self._ending(frame, guest, channel, requests, began)
        finally:
            forget()
            arena.clear()
            self._listen()

    def _next(self, channel: Channel, deadline: Deadline) -> Frame:
        """The next frame. Raises `WireError` when there is none by the deadline."""
        hung_up = 0.0
        while True:
            left = deadline.at - monotonic() + GRACE
            if deadline.cancelled:
                hung_up = hung_up or monotonic()
                left = min(left, hung_up + GRACE - monotonic())
            if left <= 0:
                raise Overdue
            channel.socket.settimeout(min(left, _LOOK))
            with contextlib.suppress(TimeoutError):
                return channel.receive()
            self._listen()

    def _ending(self, frame: Frame, guest: Guest, channel: Channel, requests: Requests, began: float) -> Reply:
        cost = _cost(wire.member(frame.head, "cost"), requests, began)
        if frame.kind is Kind.REPLY:
            if frame.size > guest.limits.output:
                raise WireError(f"a reply of {frame.size} bytes")
            kind = wire.text(wire.member(frame.head, "type"), TEXT)
            headers = tuple(_header(pair) for pair in wire.items(wire.member(frame.head, "headers"), _HEADERS))
            return Reply(channel.arena.bytes(frame.size), kind, guest.name, cost, headers)
        reason = wire.text(wire.member(frame.head, "reason"), TEXT)
        if reason not in REASONS:
            raise WireError(f"a failure for the reason {reason!a}")
        raise Failure(Reason(reason), wire.text(wire.member(frame.head, "text"), TEXT), guest.name, cost)

    def _listen(self) -> None:
        """Take what it has said on standard error: a worker whose pipe is full would wait for a reader."""
        assert self._process.stderr is not None
        self._output = (self._output + (self._process.stderr.read(_PIPE) or b""))[-_KEPT_OUTPUT:]

    def end(self) -> str:
        """Kill it and let go of all that is its; returns how it ended, for people. The same when called again.

        What it said itself is not in it: that may be of any event that it has answered, and callers are told this text.
        """
        if self._how_it_ended:
            return self._how_it_ended
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        self._listen()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._socket.close()
        if self._channel is not None:
            self._channel.arena.close()
        how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with exit code {code}"
        self._how_it_ended = how
        return how

    def last_words(self, how: str) -> str:
        """How it ended with the last line that it said on standard error, for the operator."""
        said = self._output.decode("utf-8", "replace").strip()
        return f"{how}: {said.splitlines()[-1]}" if said else how


class Overdue(WireError):
    """A worker did not end its event in time."""

    def __init__(self) -> None:
        super().__init__("it did not end in time")


def _started(spec: Spec, end: int) -> subprocess.Popen[bytes]:
    worker = "guesthouse.guests.process.worker"
    arguments = str(os.getpid()), str(end), spec.engine, str(int(spec.pooling)), str(spec.pixel_kernel)
    process = subprocess.Popen(
        children.command(spec.interpreter, worker, *arguments),
        bufsize=0,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(end,),
        start_new_session=True,  # an operator's Ctrl-C is for the server alone: events under way are finished
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    return process


def _header(pair: object) -> tuple[str, str]:
    """A header of a reply, as `cgi` lets it through. Raises `WireError`."""
    name, value = (wire.text(one, cgi.BLOCK) for one in wire.pair(pair))
    if not cgi.may_be_set(name, value):
        raise WireError(f"a header {name[:40]!a} that no guest may set")
    return name, value


def _cost(told: object, requests: Requests, began: float) -> Cost:
    total = perf_counter() - began
    inference = requests.inference_seconds
    values = [wire.number(value) for value in wire.items(told, 4)]
    own, host, memory, host_memory = values if len(values) == 4 else (0.0, 0.0, 0, 0)
    return Cost(
        guest=min(own, total),
        host=max(0.0, min(host, total - inference)),
        inference=inference,
        total=total,
        memory=int(memory),
        host_memory=int(host_memory),
        began=began,
        runs=tuple(requests.runs),
    )

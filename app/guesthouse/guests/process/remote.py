"""One worker process, as the server sees it: its start, its becoming a guest's, its answering events, its end.

Which worker answers which event is decided in `pool`, how many workers wait for a guest in `stock`.
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
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, perf_counter
from typing import TypeVar

from guesthouse.event import Answer, Cost, Event, Failure, Reason, Reply, Trigger
from guesthouse.guests.capabilities import CAPABILITIES, Capabilities
from guesthouse.guests.files import Granted
from guesthouse.guests.guest import Guest, GuestConfig
from guesthouse.guests.process import codec, wire
from guesthouse.guests.process.answers import Answers
from guesthouse.guests.process.wire import Arena, Channel, Ended, Frame, Kind, NotGiven, Numbers, TooLong, WireError
from guesthouse.guests.sandbox import REASONS, TEXT
from guesthouse.system import children, threads
from guesthouse_abi import headers
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.spent import Spent

T = TypeVar("T")

GRACE = 0.2  # seconds past its deadline after which a worker is killed
START = 60.0  # seconds that a worker may take to start, and to become a guest's
_LOOK = 0.1  # seconds between looks at whether the caller hung up
_KEPT_OUTPUT = 2000  # bytes that are kept of what a worker writes on standard error, the last ones
_STOPPED = frozenset({Trigger.TIMER, Trigger.REMINDER})  # events whose guest may want no more of them
_OK, _STATUS = 200, 599  # the least and the greatest status of a reply
_LONGEST = 1 << 32  # seconds after which an event may be sent again
_HEADERS = headers.BLOCK // 4  # of a reply, at most: the shortest header has a name, a colon and an end of line
_MOST = 1e18  # bytes or seconds of a cost
_PIPE = 1 << 16  # bytes that a pipe holds


class WorkerFault(Exception):
    """A worker does not start, or cannot become the guest's. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How workers are started."""

    engine: str  # its name
    pooling: bool
    interpreter: str  # the Python that has the engine
    pixel_kernel: Path  # the compiled one (`engine.PixelCode`)
    confinement: str = "best"  # or "required": a worker that the kernel does not close wholly counts as not started
    #: What guests may reach. The host's own code names them, never a manifest or a guest: workers load their modules.
    capabilities: Capabilities = CAPABILITIES


class Artefact:
    """A file of compiled code, held open. The descriptor is closed with this object."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError`."""
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.fd)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to become a guest's: the guest's settings, compiled code and files."""

    config: GuestConfig
    sha256: str  # of the module
    artefact: Artefact
    granted: Granted

    def payload(self) -> bytes:
        """As the worker reads it, in JSON."""
        # The server alone needs these: it has checked the signature, read the files, and looks at the grants.
        config = codec.encode(replace(self.config, signed=None, files=(), capabilities=()))
        files = self.granted.sealed
        setup = {"sha256": self.sha256, "config": config, "files": None if files is None else files.index}
        return json.dumps(setup).encode()

    @property
    def descriptors(self) -> list[int]:
        files = self.granted.sealed
        return [self.artefact.fd] if files is None else [self.artefact.fd, files.fd]


class Worker:
    """One process. Used by one thread at a time."""

    def __init__(self, spec: WorkerSpec) -> None:
        """Start it; `wait` says when it can be set up. Raises `OSError`."""
        self._capabilities = {capability.name: capability for capability in spec.capabilities}
        self._number = 0  # of the last event
        self._exit_reason = ""  # once it has ended
        self._output = b""  # what it wrote on standard error
        self._listened = 0.0  # when that was read last
        self._patience = START  # seconds that the socket waits for a frame
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
        """Wait until it has loaded all that every guest needs. Raises `WorkerFault`."""
        self._within_time(lambda: wire.receive_ready(self._socket))

    def become(self, setup: Setup) -> None:
        """Make it the guest's, until it ends. Raises `WorkerFault`; it must be ended then."""
        self._set_up(Kind.SETUP, setup)

    def try_out(self, setup: Setup) -> str:
        """Have it load a guest and forget it again, without running the guest's code. Returns what is wrong.

        Raises `WorkerFault` where something is wrong with the worker itself; it must be ended then.
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
        """What `answer` returns. Raises `WorkerFault` where the worker takes too long, ends, or breaks the protocol."""
        try:
            self._wait_at_most(START)
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

        Raises `Failure`; `NotGiven`, where it had ended before; and `WireError`, where it has broken the protocol. It
        must be ended after the last two.
        """
        channel = self._channel
        assert channel is not None  # `become` made it
        threads.note_wait()
        self._number += 1
        number, arena = self._number, channel.arena
        began = perf_counter()
        answers = Answers(guest, event, deadline, channel, self._capabilities)
        forget = deadline.on_cancel(lambda: arena.cancel(number))
        try:
            self._give(channel, event, guest, (number, deadline.at, 0.0, 0.0))
            while (frame := self._next(channel, deadline)).kind not in (Kind.REPLY, Kind.FAILURE):
                answers.answer(frame)
            answers.close()  # calls that are given up now are part of what the event cost
            reply = self._ending(frame, guest, answers, began)
            if reply.stop and event.trigger not in _STOPPED:
                raise WireError("a reply that stops what is no timer and no reminder")
            return reply
        finally:
            forget()
            answers.close()
            arena.clear()
            if monotonic() - self._listened > _LOOK:  # not for each event: it is a system call
                self._listen()

    def _give(self, channel: Channel, event: Event, guest: Guest, numbers: Numbers) -> None:
        """Send the event. Raises `Failure`, `NotGiven`, `WireError`."""
        try:
            channel.send(Kind.EVENT, wire.encode_event(event), [event.body], numbers=numbers)
        except TooLong as error:
            raise Failure(Reason.TOO_LARGE, f"the event with its metadata: {error}", guest.name) from None
        except Ended as error:
            raise NotGiven(str(error)) from None

    def _next(self, channel: Channel, deadline: Deadline) -> Frame:
        """The worker's next frame. Raises `WireError`: `Overdue` when none has come by the deadline."""
        hung_up = 0.0
        while True:
            left = deadline.at - monotonic() + GRACE
            if deadline.cancelled:
                hung_up = hung_up or monotonic()
                left = min(left, hung_up + GRACE - monotonic())
            if left <= 0:
                raise Overdue
            self._wait_at_most(min(left, _LOOK))
            try:
                return channel.receive()
            except TimeoutError:
                self._listen()

    def _wait_at_most(self, seconds: float) -> None:
        """How long to wait for a frame."""
        if seconds != self._patience:
            wire.wait_at_most(self._socket, seconds)
            self._patience = seconds

    def _ending(self, frame: Frame, guest: Guest, answers: Answers, began: float) -> Reply:
        cost = _cost(frame.numbers, answers.spent, began)
        if frame.kind is Kind.REPLY:
            if frame.size > guest.limits.output:
                raise WireError(f"a reply of {frame.size} bytes")
            if frame.head is None:
                return Reply(frame.payload(), guest.config.reply_type, guest.name, cost)
            kind, found, answer, stop = wire.fields(frame.head, 4)
            headers_of_reply = tuple(_header(pair) for pair in wire.items(found, _HEADERS))
            content_type, told = wire.text(kind, TEXT), _answer(answer)
            if not isinstance(stop, bool):
                raise WireError(f"a reply that stops by {type(stop).__name__}")
            return Reply(frame.payload(), content_type, guest.name, cost, headers_of_reply, told, stop)
        reason, text, after = wire.fields(frame.head, 3)
        if wire.text(reason, TEXT) not in REASONS:
            raise WireError(f"a failure for the reason {reason!a}")
        raise Failure(Reason(reason), wire.text(text, TEXT), guest.name, cost, retry_after=_seconds(after))

    def _listen(self) -> None:
        """Read what the worker has written on standard error: with a full pipe it would wait for a reader."""
        assert self._process.stderr is not None
        self._listened = monotonic()
        self._output = (self._output + (self._process.stderr.read(_PIPE) or b""))[-_KEPT_OUTPUT:]

    def end(self) -> str:
        """Kill the process and free all that belongs to it; returns how it ended, for people, also when called again.

        Callers are told this text. So nothing of the worker's own words is in it: they may be about another event.
        """
        if self._exit_reason:
            return self._exit_reason
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        self._listen()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self._socket.close()
        if self._channel is not None:
            self._channel.arena.close()
        by_signal = f"it was ended by {signal.Signals(-code).name}" if code < 0 else ""
        self._exit_reason = by_signal or f"it ended with exit code {code}"
        return self._exit_reason

    def last_words(self, exit_reason: str) -> str:
        """How it ended, with the last line that it wrote on standard error, for the operator."""
        output = self._output.decode("utf-8", "replace").strip()
        return f"{exit_reason}: {output.splitlines()[-1]}" if output else exit_reason


class Overdue(WireError):
    """A worker has not ended its event in time."""

    def __init__(self) -> None:
        super().__init__("it did not end in time")


def _started(spec: WorkerSpec, end: int) -> subprocess.Popen[bytes]:
    modules = [capability.module for capability in spec.capabilities]
    arguments = [str(os.getpid()), str(end), spec.engine, str(int(spec.pooling)), str(spec.pixel_kernel), *modules]
    process = subprocess.Popen(
        children.command(spec.interpreter, "guesthouse.guests.process.worker", *arguments, beside=modules),
        bufsize=0,
        env={},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(end,),
        start_new_session=True,  # an operator's Ctrl-C reaches the server alone, which lets events finish
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    return process


def _header(pair: object) -> tuple[str, str]:
    """A header of a reply; `guesthouse_abi.headers` says which a guest may set. Raises `WireError`."""
    name, value = (wire.text(one, headers.BLOCK) for one in wire.pair(pair))
    if not headers.may_be_set(name, value):
        raise WireError(f"a header {name[:40]!a} that no guest may set")
    return name, value


def _answer(value: object) -> Answer | None:
    """How an invocation went. Raises `WireError`."""
    if value is None:
        return None
    status, text, after = wire.fields(value, 3)
    return Answer(max(int(wire.number(status, _STATUS)), _OK), wire.text(text, TEXT), _seconds(after))


def _seconds(value: object) -> float | None:
    return None if value is None else wire.number(value, _LONGEST)


def _cost(reported: Numbers, spent: Spent, began: float) -> Cost:
    """What an event cost: `reported` is what the worker says of it, `spent` what the server measured itself."""
    total = perf_counter() - began
    in_services = sum(spent.seconds.values()) if spent.seconds else 0.0
    guest, host, memory, host_memory = reported
    if not (0 <= guest <= _MOST and 0 <= host <= _MOST and 0 <= memory <= _MOST and 0 <= host_memory <= _MOST):
        raise WireError("a cost that is none, or out of range")
    return Cost(
        guest=min(guest, total),
        host=max(0.0, min(host, total - in_services)),
        spent=spent.seconds,
        total=total,
        memory=int(memory),
        host_memory=int(host_memory),
        began=began,
        calls=tuple(spent.calls),
        durations=spent.durations,
    )

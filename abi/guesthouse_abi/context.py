"""The state of one call into a guest, as host functions see it: its memory, deadline, grants, services and budget.

One per event, made by the sandbox, handed to every host function as the first argument; gone with the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import HostError, TooMuch
from guesthouse_abi.facts import NO_EVENT, EventFacts
from guesthouse_abi.files import NO_FILES, Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.memory import Memory
from guesthouse_abi.services import Log, Services
from guesthouse_abi.spent import NOTHING, Spent

S = TypeVar("S")

Variables = Callable[[], Sequence[tuple[str, str]]]


def size_of(text: str) -> int:
    """Bytes that a text takes in the host's memory: each character as many as the widest one needs, at most four."""
    return len(text) if text.isascii() else 4 * len(text)


def _nothing() -> Sequence[tuple[str, str]]:
    return ()


class Context:
    """What one event's host functions work on. Used by one thread at a time."""

    __slots__ = (
        "_ending",
        "_logged",
        "_memory",
        "_spent",
        "arguments",
        "body",
        "deadline",
        "event",
        "files",
        "grants",
        "held",
        "held_peak",
        "host_seconds",
        "input_at",
        "limits",
        "refused",
        "services",
        "states",
        "stdin",
        "stdout",
        "variables",
    )

    def __init__(
        self,
        deadline: Deadline,
        grants: Grants,
        limits: Limits,
        services: Services,
        *,
        stdin: bytes = b"",
        arguments: Sequence[str] = (),
        variables: Variables = _nothing,
        files: Files = NO_FILES,
        event: EventFacts = NO_EVENT,
    ) -> None:
        self.deadline = deadline
        self.grants = grants
        self.limits = limits
        self.services = services
        self.stdin = stdin  # standard input, and how far it was read
        self.input_at = 0
        self.stdout: bytearray | None = None  # collected by a command; None: standard output is log lines
        self.arguments = arguments  # argv, the program's name first
        self.variables = variables  # the environment: asked for only when the guest asks
        self.files = files
        self.event = event
        self.body = b""  # the event's, where the guest may read it as a file
        self.host_seconds = 0.0  # in host functions, what was `spent` in services included
        self.held = 0  # bytes of host memory held on the guest's behalf
        self.held_peak = 0
        self.refused = ""  # the last request of the guest's that was beyond one of its limits, in words
        self._memory: Memory | None = None
        self._spent: Spent | None = None
        self.states: dict[type[Any], Any] = {}  # see `state`
        self._logged = 0
        self._ending: ExitStack | None = None

    @property
    def memory(self) -> Memory:
        """The guest's memory. Raises `HostError` for a guest that exports none."""
        if self._memory is None:
            raise HostError("the guest exports no memory")
        return self._memory

    @memory.setter
    def memory(self, memory: Memory | None) -> None:
        self._memory = memory

    @property
    def spent(self) -> Spent:
        """What the event spends in services of the host. Made when first asked for: most events call none."""
        if self._spent is None:
            self._spent = Spent()
        return self._spent

    @property
    def spent_so_far(self) -> Spent:
        """The same for those who only read it."""
        return NOTHING if self._spent is None else self._spent

    def state(self, kind: type[S]) -> S:
        """An import module's own state for this call, made (without arguments) when first asked for."""
        state = self.states.get(kind)
        if state is None:
            state = self.states[kind] = kind()
        found: S = state
        return found

    def state_if_made(self, kind: type[S]) -> S | None:
        """As `state`, but None when it was not asked for yet."""
        return self.states.get(kind)

    def at_end(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when the event is over, however it ends: to give up what it began and left."""
        if self._ending is None:
            self._ending = ExitStack()
        self._ending.callback(callback)

    def end(self) -> None:
        """The event is over."""
        if self._ending is not None:
            self._ending.close()

    def hold(self, count: int) -> None:
        """Account for `count` bytes kept on the guest's behalf. Raises `TooMuch` beyond the limit."""
        held = self.held + count
        if held > self.limits.host_memory:
            raise TooMuch(
                f"{held} bytes of host memory for one event; the limit host_memory is {self.limits.host_memory}"
            )
        self.held = held
        self.held_peak = max(self.held_peak, held)

    def release(self, count: int) -> None:
        """Give back what `hold` took."""
        self.held -= count

    def log_refusal(self, function: str, error: HostError) -> None:
        """Log why a function refused what it was asked for; a limit that was reached is kept for the event's error."""
        self.log("host", f"{function}: {error}")
        if isinstance(error, TooMuch):
            self.refused = str(error)

    def log(self, stream: str, text: str) -> None:
        """A line of the guest's, or (stream "host") of the host's about it; dropped beyond the limit `log`."""
        left = self.limits.log - self._logged
        if left <= 0:
            return
        self._logged += len(text) + 1
        if len(text) >= left:
            text = text[:left] + " … (the guest's log limit is reached)"
        self.services[Log].line(stream, text)

    def log_entry(self, level: str, text: str, fields: Mapping[str, str]) -> None:
        """A line of the guest's with a level and fields, as `services.Log.entry`; dropped beyond the limit `log`."""
        size = len(text) + 1 + sum(len(name) + len(value) + 2 for name, value in fields.items())
        if self._logged + size > self.limits.log:
            self.log("host", "a line with fields was dropped: the guest's log limit is reached")
            self._logged = self.limits.log
            return
        self._logged += size
        self.services[Log].entry(level, text, fields)

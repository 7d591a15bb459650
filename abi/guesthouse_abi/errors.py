"""How a call into a guest can end badly, whatever engine runs it.

Raised by host functions, calling conventions and engines; the sandbox above turns them into a status. Texts are for
guest authors: they name what came and what was expected, never a path or an address of the host.
"""

from __future__ import annotations


class CallError(Exception):
    """A call into a guest did not end with a reply."""


class Trap(CallError):
    """The guest was stopped by the engine.

    `kind` is the engine-neutral name of the trap (`unreachable`, `memory out of bounds`, `stack overflow` …).
    """

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(text or kind)
        self.kind = kind


class BadReply(CallError):
    """The guest broke its calling convention: a record out of range, an unknown tag, too much output."""


class GuestError(CallError):
    """The guest's own error: bindgen's `Err`, a command's exit code."""


class MalformedEvent(CallError):
    """The guest says that the event itself is at fault (a command's exit code 64 or 65)."""


class NotFound(CallError):
    """The guest says that there is nothing by the name that it was asked for."""


class TryAgain(CallError):
    """The guest asks for the same event later (a command's exit code 75), `after` so many seconds if it says so."""

    after: float | None = None


class DeadlineExceeded(CallError):
    """The event's deadline passed while the guest, or the host on its behalf, was at work."""


class Cancelled(CallError):
    """Nobody waits for the answer any more: the caller hung up."""


class Exit(CallError):
    """The guest ended itself by `proc_exit`. Not an error by itself: the calling convention reads the code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class HostFunctionError(CallError):
    """A host function failed by an error of ours; `__cause__` has the exception."""


#: How the text of an error may begin to say what is to become of the event; the rest is its text.
_OUTCOMES: dict[str, type[CallError]] = {"guesthouse:malformed:": MalformedEvent, "guesthouse:try-again:": TryAgain}


def guest_failure(text: str) -> CallError:
    """The exception for an error that a guest gives as a text.

    By how its text begins, the event is at fault (`MalformedEvent`) or may succeed later (`TryAgain`); any other is the
    guest's own (`GuestError`).
    """
    for beginning, outcome in _OUTCOMES.items():
        if text.startswith(beginning):
            return outcome(text[len(beginning) :].strip() or "the guest gives no reason")
    return GuestError(text)


class HostError(Exception):
    """A host function refuses what the guest asked for.

    An import module turns it into its own error number (see `host.HostModule`); where the function has none, it stops
    the guest as a `Trap`.
    """


class Refused(HostError):
    """A refusal with its own error number. It is no line in the guest's log, for the guest may well expect it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"error number {number}")
        self.number = number


class OutOfBounds(HostError):
    """A pointer and length that the guest gave do not lie inside its memory."""

    def __init__(self, pointer: int, length: int, size: int) -> None:
        super().__init__(f"{length} bytes at {pointer:#x} are outside the guest's memory of {size} bytes")


class BadText(HostError):
    """A string of the guest's is not UTF-8, or longer than it may be."""


class BadHandle(HostError):
    """A handle that this instance was never given, or that is closed."""


class TooMuch(HostError):
    """A request beyond the guest's limits (host memory, pixels, number of handles)."""


class Denied(HostError):
    """The manifest does not grant this to the guest."""


class InferenceError(HostError):
    """A model could not be found, opened or run, or a tensor does not fit it. The text says what was expected."""

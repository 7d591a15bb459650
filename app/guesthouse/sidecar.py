"""What the sidecar's API is to guests: the protocol between `dapr/`, which makes the calls, and `guests/capabilities/`,
which looks at what a guest was granted. No protobuf here, and no grants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from guesthouse_abi.services import Account, CallRequest, Ended


@dataclass(frozen=True, slots=True)
class Use:
    """One thing that a call would do: which grant it needs, and the name there, such as `statestore/cart-1`.

    `every`: all names that begin with this one.
    """

    grant: str
    name: str
    every: bool = False


@dataclass(frozen=True, slots=True)
class Checked:
    """A request that was read: its message as it is sent, and all that it would do."""

    message: bytes
    uses: tuple[Use, ...]


#: The grant of what is an actor's own: its state, timers and reminders. Every turn of that actor has it, nothing else.
OWN_ACTOR = "own_actor"


class NotMade(Exception):
    """A call that the host does not make: `code` is gRPC's, the text is for the guest's author."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class TurnCalls(Protocol):
    """The calls of an actor's turn that are not just passed on; see `event.ActorState`. For any number of threads."""

    def begin(
        self,
        api: SidecarApi,
        request: CallRequest,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        account: Account,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """Make a call whose request was checked, or answer it; as `SidecarApi.begin`. Any method may come.

        `account` is of what the host holds for the event: the state that was read and written.
        """


class SidecarApi(Protocol):
    """The sidecar's API. For any number of threads."""

    def checked(self, method: str, message: bytes) -> Checked:
        """Read a request. Raises `NotMade`."""

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """Make a call: `done` is called once, from any thread, when it has ended. Returns what cancels it."""

"""What the sidecar's API is to guests: the protocol between `dapr/`, which makes the calls, and `guests/capabilities/`,
which looks at what a guest was granted. No protobuf here, and no grants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from guesthouse_abi.services import Ended

#: Words in the names of the API's methods, and which building block of Dapr has such a method. Actors come first:
#: their state, timers and reminders are theirs.
_BLOCKS = {
    "actor": "actors",
    "workflow": "workflow",
    "state": "state",
    "publish": "pub/sub",
    "invokeservice": "invocation",
    "binding": "bindings",
    "secret": "secrets",
    "configuration": "configuration",
    "lock": "lock",
    "crypt": "cryptography",
    "subtle": "cryptography",
    "converse": "conversation",
    "job": "jobs",
}


def building_block(method: str) -> str:
    """The building block that a method of the sidecar's API is of; "other" for one that guests do not call."""
    name = method.lower()
    return next((block for word, block in _BLOCKS.items() if word in name), "other")


class Use(NamedTuple):
    """One thing that a call would do: which grant it needs, and the name there, such as `statestore/cart-1`.

    `every`: all names that begin with this one.
    """

    grant: str
    name: str
    every: bool = False


class Checked(NamedTuple):
    """A request that was read: its message as it is sent, and all that it would do."""

    message: bytes
    uses: tuple[Use, ...]


class NotMade(Exception):
    """A call that the host does not make: `code` is gRPC's, the text is for the guest's author."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


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

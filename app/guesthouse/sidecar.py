"""What the sidecar's API is to guests: the protocol between `dapr/`, which makes the calls, and `guests/capabilities/`,
which looks at what a guest was granted. No protobuf here, and no grants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # it imports numpy, and `event.py` is imported for the help of commands
    from guesthouse_abi.services import Account, Ended

_NAME_OF_METADATA = re.compile(r"[a-z0-9_.-]{1,256}", re.ASCII)
#: The host's and the sidecar's; or of a connection: a sidecar hands metadata of an invocation on as headers of HTTP.
_FORBIDDEN = frozenset(
    {"authorization", "connection", "content-length", "content-type", "host", "keep-alive", "proxy-connection", "te",
     "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)  # fmt: skip
_RESERVED = ("dapr-", "grpc-", "guesthouse-", "x-dapr")

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


#: The grant of what is an actor's own: its state, timers and reminders. Every turn of that actor has it, nothing else.
OWN_ACTOR = "own_actor"


class NotMade(Exception):
    """A call that the host does not make: `code` is gRPC's, the text is for the guest's author."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def refused_metadata(name: str, value: str) -> str:
    """Why a guest may not set this piece of metadata of a call; empty where it may."""
    named = _NAME_OF_METADATA.fullmatch(name) is not None
    reserved = name in _FORBIDDEN or name.startswith(_RESERVED) or name.endswith("-bin")
    if named and not reserved and value.isascii() and value.isprintable():
        return ""
    return f"metadata {name[:80]!a} of a call that a guest may not set, or not to this value"


class TurnCalls(Protocol):
    """The calls of an actor's turn; see `event.ActorState`. For any number of threads."""

    @property
    def handed_on(self) -> Mapping[str, str]:
        """Metadata of `InvokeActor` by which a call that comes back to this actor is a part of its turn. Empty where
        the actor cannot be called by itself: such a call would wait for the end of this turn."""

    def begin(
        self,
        api: SidecarApi,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        account: Account,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """Make a call whose request was checked, or answer it; as `SidecarApi.begin`. Any method may come.

        The thread is the guest's. `account` is of what the host holds for the event: the state that was read and
        written. Raises `NotMade`.
        """


class SidecarApi(Protocol):
    """The sidecar's API. For any number of threads."""

    def checked(self, method: str, message: bytes, added: Mapping[str, str]) -> Checked:
        """Read a request. `added` is metadata of the host's, set in the message where its method carries some there
        (`InvokeActor`). Raises `NotMade`."""

    def begin(
        self,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        done: Callable[[Ended], None],
    ) -> Callable[[], object]:
        """Make a call: `done` is called once, from any thread, when it has ended. Returns what cancels it."""

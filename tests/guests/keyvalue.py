"""A capability in one file, for tests: keys and values that the host keeps in memory, and a guest's grant of some keys.

It is written as one for the product would be. It comes with an import module of its own, `toy`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import Protocol

from guesthouse.guests.capabilities.capability import Answer, Ask, AskedEvent, Capability, Question
from guesthouse.guests.guest import GuestConfig
from guesthouse.guests.process.wire import number, text
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import BadHandle, Denied, HostError
from guesthouse_abi.host import I32, U32, HostModule

_KEY = 64  # bytes of a key
_CALLS = 16  # that one event may have in flight


class NoSuchKey(HostError):
    """A key without a value."""


class KeyValue(Protocol):
    """What an import module asks. Each method raises `Denied` for a key that is not granted."""

    def put(self, key: str, value: bytes, deadline: Deadline) -> None: ...

    def get(self, key: str, deadline: Deadline) -> bytes:
        """Raises `NoSuchKey`."""

    def begin(self, key: str) -> Pending:
        """Begin to get a value; several may be under way."""


class Pending(Protocol):
    def value(self, deadline: Deadline) -> bytes:
        """What `KeyValue.get` gives, when it is there."""

    def cancel(self) -> object: ...


@dataclass(frozen=True)
class KeyValueGrant:
    """The keys that the guest may use."""

    keys: tuple[str, ...] = field(metadata={"description": "their names"})
    most: int = field(default=1024, metadata={"description": "bytes of a value at most", "ge": 1, "le": 4096})


# ---- the host's own, and the service of one guest ----


class Store:
    """What lives as long as the process, and is given from outside."""

    def __init__(self, slow: Callable[[str], object] = lambda key: None) -> None:
        """`slow` is called in each call that was begun, in a thread of its own."""
        self.values: dict[str, bytes] = {}
        self.begun: list[Future[bytes]] = []
        self.threads = ThreadPoolExecutor(_CALLS)
        self.slow = slow

    def get(self, key: str) -> bytes:
        if key not in self.values:
            raise NoSuchKey(f"there is no key {key!a}")
        return self.values[key]

    def get_slowly(self, key: str) -> bytes:
        self.slow(key)
        return self.get(key)


class _Pending:
    def __init__(self, found: Future[bytes]) -> None:
        self._found = found

    def value(self, deadline: Deadline) -> bytes:
        try:
            return self._found.result(deadline.remaining())
        except FutureTimeout:
            deadline.check()
            raise

    def cancel(self) -> object:
        return self._found.cancel()


class _Granted:
    """A guest's service: the store, within the guest's grant."""

    def __init__(self, store: Store, grant: KeyValueGrant) -> None:
        self._store = store
        self._grant = grant

    def _check(self, key: str) -> None:
        if key not in self._grant.keys:
            raise Denied(f"the manifest does not grant the key {key!a} to this guest")

    def put(self, key: str, value: bytes, deadline: Deadline) -> None:
        self._check(key)
        if len(value) > self._grant.most:
            raise Denied(f"a value of {len(value)} bytes; the grant says at most {self._grant.most}")
        self._store.values[key] = value

    def get(self, key: str, deadline: Deadline) -> bytes:
        self._check(key)
        return self._store.get(key)

    def begin(self, key: str) -> Pending:
        self._check(key)
        self._store.begun.append(self._store.threads.submit(self._store.get_slowly, key))
        return _Pending(self._store.begun[-1])


# ---- from a worker process: put [key], the value; get [key]; begin [key] gives a number; value [number] ----


class _Remote:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def put(self, key: str, value: bytes, deadline: Deadline) -> None:
        deadline.check()
        self._ask("put", key, [value])

    def get(self, key: str, deadline: Deadline) -> bytes:
        deadline.check()
        return self._ask("get", key).payload()

    def begin(self, key: str) -> Pending:
        return _RemotePending(self._ask, self._ask("begin", key).head)


class _RemotePending:
    def __init__(self, ask: Ask, number: int) -> None:
        self._ask = ask
        self._number = number

    def value(self, deadline: Deadline) -> bytes:
        deadline.check()
        return self._ask("value", self._number).payload()

    def cancel(self) -> object:
        """The server does that at the event's end."""
        return None


class _Answers:
    def __init__(self, service: KeyValue, event: AskedEvent) -> None:
        self._service = service
        self._event = event
        self._pending: list[Pending] = []

    def __call__(self, question: Question) -> Answer:
        deadline, spent = self._event.deadline, self._event.spent
        if question.what == "value":
            index = int(number(question.arguments, _CALLS))
            if index >= len(self._pending):
                raise BadHandle("no such call")
            with spent.timed(CAPABILITY.name, "a call that was begun"):
                return Answer(None, [self._pending[index].value(deadline)])
        key = text(question.arguments, _KEY)
        with spent.timed(CAPABILITY.name, key):
            if question.what == "get":
                return Answer(None, [self._service.get(key, deadline)])
            if question.what == "put":
                self._service.put(key, question.payload(), deadline)
                return Answer()
            if question.what == "begin":
                return self._begin(key)
        raise question.unknown()

    def _begin(self, key: str) -> Answer:
        if len(self._pending) == _CALLS:
            raise Denied(f"more than {_CALLS} calls at once")
        pending = self._service.begin(key)
        self._event.ending.callback(pending.cancel)
        self._pending.append(pending)
        return Answer(len(self._pending) - 1)


# ---- what guests import ----

MODULE = HostModule("toy", {NoSuchKey: -1, Denied: -2, HostError: -3})


class _Calls:
    """The calls that one event has begun."""

    def __init__(self) -> None:
        self.pending: list[Pending] = []


@MODULE.function()
def put(context: Context, key: U32, key_size: U32, value: U32, size: U32) -> I32:
    name = context.memory.text(key, key_size, _KEY)
    with context.spent.timed(CAPABILITY.name, name):
        context.services[KeyValue].put(name, context.memory.read(value, size), context.deadline)
    return I32(0)


@MODULE.function()
def get(context: Context, key: U32, key_size: U32, value: U32) -> I32:
    name = context.memory.text(key, key_size, _KEY)
    with context.spent.timed(CAPABILITY.name, name):
        found = context.services[KeyValue].get(name, context.deadline)
    context.memory.write(value, found)
    return I32(len(found))


@MODULE.function()
def begin(context: Context, key: U32, key_size: U32) -> I32:
    name = context.memory.text(key, key_size, _KEY)
    with context.spent.timed(CAPABILITY.name, name):
        pending = context.services[KeyValue].begin(name)
    context.at_end(pending.cancel)
    calls = context.state(_Calls).pending
    calls.append(pending)
    return I32(len(calls) - 1)


@MODULE.function()
def finish(context: Context, call: U32, value: U32) -> I32:
    calls = context.state(_Calls).pending
    if call >= len(calls):
        raise BadHandle("no such call")
    with context.spent.timed(CAPABILITY.name, "a call that was begun"):
        found = calls[call].value(context.deadline)
    context.memory.write(value, found)
    return I32(len(found))


def _service(store: Store, config: GuestConfig) -> KeyValue | None:
    grant = config.grant(KeyValueGrant)
    return _Granted(store, grant) if grant is not None else None


CAPABILITY = Capability(
    __name__, "keyvalue", KeyValue, _service, _Remote, _Answers, KeyValueGrant, (MODULE,), (NoSuchKey, BadHandle)
)

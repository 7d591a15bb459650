"""An actor's state during one turn: reads are kept, writes are collected, and one transaction saves them at its end.

The rules are those of abi/spec/dapr_v1.md, section 3.6. Which calls a guest may make is not decided here: the
capability (`guests/capabilities/sidecar.py`) hands over what it has checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from dapr.proto.runtime.v1.actors_pb2 import (
    ExecuteActorStateTransactionRequest,
    GetActorStateRequest,
    GetActorStateResponse,
    TransactionalActorStateOperation,
)

from guesthouse.dapr.status import cut
from guesthouse.event import Failure, Reason
from guesthouse.sidecar import NotMade, SidecarApi
from guesthouse.system import threads
from guesthouse.text import escaped
from guesthouse.tracecontext import context_of
from guesthouse_abi.calls import Code, Driven
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import TooMuch
from guesthouse_abi.services import Account, Ended

Done = Callable[[Ended], None]

REENTRANCY = "Dapr-Reentrancy-Id"  # metadata of a method's call, by which the sidecar knows a turn under way
TIME = 10.0  # seconds that saving may take, however much time the guest has used
READ, TRANSACTION = "GetActorState", "ExecuteActorStateTransaction"
UPSERT, DELETE = "upsert", "delete"
_OPERATIONS = 1000  # of one transaction that a guest hands over
_ENTRY = 256  # bytes that a kept value costs the host besides its contents
_LATER = 1.0  # seconds after which a call is given up that should have ended by itself
_DETAILS = 400  # bytes of the sidecar's own text that a failure repeats
_OK = Ended(0, "", b"")


class _Write:
    """A written value, or one that is to be deleted: the operation in protobuf's form."""

    __slots__ = ("raw", "saved", "size")

    def __init__(self, key: str, raw: bytes) -> None:
        self.raw = raw
        self.saved = False
        self.size = _ENTRY + 4 * len(key) + len(raw)


class _Save:
    """A transaction that is under way while the guest goes on."""

    __slots__ = ("_until", "call", "over")

    def __init__(self, seconds: float) -> None:
        self.over = threading.Event()
        self.call: Callable[[], object] | None = None
        self._until = monotonic() + seconds + _LATER

    def wait(self) -> bool:
        """Wait for its end. No guest cancels it: what a sidecar still carries out must not meet a later one."""
        return self.over.wait(max(0.0, self._until - monotonic()))


class TurnState:
    """`event.ActorState` of one turn of one actor. For any number of threads.

    `read_bytes` is how much state came from the sidecar, `saved_bytes` how much it has taken; both for metrics.
    """

    def __init__(self, kind: str, id: str, reentrancy: str = "") -> None:
        """`kind` and `id` name the actor. `reentrancy` is the sidecar's id for calls that come back to this actor;
        empty where its type is not reentrant."""
        self._kind, self._id = kind, id
        self._handed_on: Mapping[str, str] = {REENTRANCY: reentrancy} if reentrancy else {}
        self._lock = threading.Lock()
        self._writes: dict[str, _Write] = {}  # by key, in order
        self._reads: dict[str, bytes] = {}  # responses by key
        self._arrived: dict[str, bytes] = {}  # the same, before the guest's account has them
        self._owed = 0  # bytes that the account has and that are no longer held
        self._save: _Save | None = None
        self._given_up = False
        self._api: SidecarApi | None = None
        self._metadata: Sequence[tuple[str, str]] = ()  # of the last call that has written
        self.read_bytes = 0
        self.saved_bytes = 0

    @property
    def handed_on(self) -> Mapping[str, str]:
        """See `sidecar.TurnCalls`."""
        return self._handed_on

    def begin(
        self,
        api: SidecarApi,
        method: str,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        account: Account,
        done: Done,
    ) -> Callable[[], object]:
        """See `sidecar.TurnCalls`."""
        if method == READ:
            return self._read(api, message, metadata, seconds, account, done)
        if method != TRANSACTION:
            return api.begin(method, message, metadata, seconds, done)
        self._api, self._metadata = api, metadata
        operations = ExecuteActorStateTransactionRequest.FromString(message).operations
        if not operations:
            return self._save_now(api, metadata, seconds, account, done)
        self._collect(operations, account)
        done(_OK)
        return _nothing

    def commit(self, deadline: Deadline) -> None:
        """See `event.ActorState`. Saving has `TIME` for itself; `deadline` says whether anybody waits for the turn."""
        if deadline.cancelled:
            raise Failure(Reason.CANCELLED, "the turn was given up before its state was saved")
        if self._save is not None and not self._save.wait():
            raise Failure(Reason.OUTPUT, self._unsaved(Ended(Code.DEADLINE_EXCEEDED, "an earlier transaction goes on")))
        message, writes = self._transaction()
        if not writes:
            return
        assert self._api is not None
        over, endings = threading.Lock(), [Ended(Code.DEADLINE_EXCEEDED, f"no answer within {TIME:g} s")]
        over.acquire()  # `done` releases it; an event would cost more

        def done(ended: Ended) -> None:
            endings.append(ended)
            over.release()

        threads.note_wait()
        trace = tuple(context_of(dict(self._metadata)).items())
        call = self._api.begin(TRANSACTION, message, trace, TIME, done)
        forget = deadline.on_cancel(lambda: _give_up_soon(call))
        try:
            if isinstance(call, Driven):
                call.drive()
            if not over.acquire(timeout=TIME + _LATER):
                call()
        finally:
            forget()
        ended = endings[-1]
        if ended.code:
            raise Failure(Reason.OUTPUT, self._unsaved(ended))
        self._saved(writes, len(message))

    def give_up(self) -> None:
        """See `event.ActorState`."""
        self._given_up = True
        save = self._save
        if save is not None and save.call is not None and not save.over.is_set():
            _give_up_soon(save.call)

    # ---- reads ----

    def _read(
        self,
        api: SidecarApi,
        message: bytes,
        metadata: Sequence[tuple[str, str]],
        seconds: float,
        account: Account,
        done: Done,
    ) -> Callable[[], object]:
        key = GetActorStateRequest.FromString(message).key
        _check_key(key)
        self._settle(account)
        with self._lock:
            write = self._writes.get(key)
            found = self._reads.get(key) if write is None else _response(write.raw)
        if found is not None:
            done(Ended(0, "", found))
            return _nothing

        def arrived(ended: Ended) -> None:
            if ended.message is not None:
                with self._lock:
                    self.read_bytes += len(ended.message)
                    if not self._handed_on:  # else a call that comes back may write it meanwhile
                        self._arrived[key] = ended.message
            done(ended)

        return api.begin(READ, message, metadata, seconds, arrived)

    def _settle(self, account: Account) -> None:
        """Count what has arrived, and what was let go, in the guest's thread: an account is for one thread."""
        with self._lock:
            arrived, self._arrived = self._arrived, {}
            owed, self._owed = self._owed, 0
        account.release(owed)
        for key, message in arrived.items():
            if key in self._reads:
                continue
            try:
                account.hold(_ENTRY + 4 * len(key) + len(message))
            except TooMuch:  # it can be read again
                continue
            with self._lock:
                self._reads[key] = message

    # ---- writes ----

    def _collect(self, operations: Iterable[TransactionalActorStateOperation], account: Account) -> None:
        """Keep all of these operations, or none. Raises `NotMade`."""
        new: dict[str, _Write] = {}
        for number, operation in enumerate(operations):
            if number == _OPERATIONS:
                raise NotMade(Code.INVALID_ARGUMENT, f"more than {_OPERATIONS} operations in one transaction")
            _check_operation(operation)
            new.pop(operation.key, None)  # the last one counts, and where it stands
            new[operation.key] = _Write(operation.key, operation.SerializeToString())
        self._settle(account)
        _hold(account, sum(write.size for write in new.values()))
        with self._lock:
            replaced = [write for key in new if (write := self._writes.pop(key, None)) is not None]
            self._writes.update(new)
        account.release(sum(write.size for write in replaced))

    def _save_now(
        self, api: SidecarApi, metadata: Sequence[tuple[str, str]], seconds: float, account: Account, done: Done
    ) -> Callable[[], object]:
        """Send what was collected until now, while the guest goes on."""
        if self._save is not None:
            threads.note_wait()
            if not self._save.wait():
                raise NotMade(Code.DEADLINE_EXCEEDED, "an earlier transaction of this turn has not ended")
        self._settle(account)
        message, writes = self._transaction()
        if not writes:
            done(_OK)
            return _nothing
        _hold(account, len(message))
        save = self._save = _Save(seconds)

        def ended(ended: Ended) -> None:
            if ended.code == 0:
                self._saved(writes, len(message))
            with self._lock:
                self._owed += len(message)
            save.over.set()
            done(ended)

        call = save.call = api.begin(TRANSACTION, message, metadata, seconds, ended)
        if self._given_up:
            _give_up_soon(call)
        if isinstance(call, Driven):
            call.watch()
        return save.wait

    def _transaction(self) -> tuple[bytes, Mapping[str, _Write]]:
        """The request that saves what was written and not saved yet, and what that is."""
        with self._lock:
            writes = {key: write for key, write in self._writes.items() if not write.saved}
        if not writes:
            return b"", writes
        request = ExecuteActorStateTransactionRequest(actor_type=self._kind, actor_id=self._id)
        for write in writes.values():
            request.operations.add().ParseFromString(write.raw)
        return request.SerializeToString(), writes

    def _saved(self, writes: Mapping[str, _Write], size: int) -> None:
        """The sidecar has these. In a turn that its own calls may come back to, they are read anew from now on."""
        with self._lock:
            self.saved_bytes += size
            for key, write in writes.items():
                write.saved = True
                if self._handed_on and self._writes.get(key) is write:
                    del self._writes[key]
                    self._owed += write.size

    def _unsaved(self, ended: Ended) -> str:
        code = Code(ended.code).name if ended.code in Code._value2member_map_ else str(ended.code)
        actor = f"{self._kind}/{self._id}"
        return (
            f"the state of the actor {actor[:200]!a} was not saved: "
            f"the sidecar says {code}: {cut(escaped(ended.text or 'no more'), _DETAILS)}"
        )


def _give_up_soon(call: Callable[[], object]) -> None:
    """Nobody waits for the turn any more. A sidecar that carries the transaction out has done so in this time; one that
    holds it back, because actors move to other hosts, must not carry it out later."""
    timer = threading.Timer(_LATER, call)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no thread can be started
        call()


def _response(raw: bytes) -> bytes:
    """What a sidecar answers for a value that was written so: the bytes inside `Any`, whose type it does not keep.
    When a value with a time to live expires, it tells only once it has it."""
    operation = TransactionalActorStateOperation.FromString(raw)
    value = operation.value.value if operation.operationType == UPSERT else b""
    return GetActorStateResponse(data=value).SerializeToString()


def _check_operation(operation: TransactionalActorStateOperation) -> None:
    kind, key = operation.operationType, operation.key
    if kind not in (UPSERT, DELETE):
        raise NotMade(Code.INVALID_ARGUMENT, f"an operation {kind[:80]!a}: write {UPSERT} or {DELETE}")
    if not key:
        raise NotMade(Code.INVALID_ARGUMENT, f"the operation {kind} has no key")
    _check_key(key)


def _check_key(key: str) -> None:
    """A sidecar joins an actor's id and a key by `||`: the key `b||c` of the actor `a` is the key `c` of `a||b`."""
    if "||" in key or key.startswith("|"):
        raise NotMade(Code.INVALID_ARGUMENT, f"the key {key[:80]!a} has || or begins with |: it may be another actor's")


def _hold(account: Account, size: int) -> None:
    try:
        account.hold(size)
    except TooMuch as error:
        raise NotMade(Code.RESOURCE_EXHAUSTED, f"the turn would write too much state: {error}") from error


def _nothing() -> None:
    """Cancels a call that has ended."""

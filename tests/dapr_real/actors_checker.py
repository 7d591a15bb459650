"""A checker of actors, in the way of Jepsen: accounts that send each other money, while programs are killed.

    python -m tests.dapr_real.actors_checker                     # three minutes, 64 callers, 200 accounts
    python -m tests.dapr_real.actors_checker --seconds 30 --place process

Two hosts have the accounts (guests/account.c). Callers deposit, send, and have reminders bring money; some of them hang
up early. All the time a host, a sidecar or the placement service is killed and started again. At the end what is in the
store must agree with what the callers were told:

- an operation that was acknowledged is in the state exactly once, and so is its other half in the other account;
- one whose caller was told of a failure is there once or not at all. Transfers are sent again until they are
  acknowledged, with the same id;
- the turns of an account have numbers without a gap, and none of them overlaps another: each begins after the end of
  the one before, and finds no trace of a turn that was saved later;
- the balance of each account is the sum of its turns, and all balances together are what was deposited.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import grpc

from tests.dapr_real.actor_hosts import LIMITS, ActorHosts, module
from tests.dapr_real.control_plane import ControlPlane
from tests.dapr_real.real_programs import Redis, running
from tests.support.places import PLACES
from tests.support.waiting import join, until

KINDS = ("host", "sidecar", "placement")
PATIENT, IMPATIENT = 20.0, 0.03  # seconds for an answer
_SETTLED = 90.0  # seconds for reminders and repeated transfers, when nothing is killed any more
_HUNG = 15.0  # seconds after which a reminder is taken for one that hangs in its sidecar

Say = Callable[[str], None]


@dataclass(slots=True)
class Operation:
    """What a caller asked for, and whether it was told that it was done."""

    id: str
    method: str
    account: str
    amount: int
    to: str = ""
    acknowledged: bool = False
    error: str = ""  # of the last time that it was not

    @property
    def body(self) -> bytes:
        return " ".join([self.id, str(self.amount), *([self.to] if self.to else [])]).encode()


class Turn(NamedTuple):
    """A turn that was saved, as account.c writes it."""

    id: str
    number: int
    amount: int
    begin: int
    end: int
    token: str
    busy: str

    @classmethod
    def of(cls, id: str, value: str) -> Turn:
        number, amount, begin, end, token, busy = value.split()
        return cls(id, int(number), int(amount), int(begin), int(end), token, busy)


@dataclass(slots=True)
class Account:
    """What the store has of one."""

    turns: list[Turn] = field(default_factory=list)
    number: int = 0
    balance: int = 0
    waiting: list[str] = field(default_factory=list)  # what its reminders have not brought yet


def faults(operations: Sequence[Operation], accounts: Mapping[str, Account]) -> Iterator[str]:
    """What does not hold. Nothing is known of the ids of turns but what the operations say."""
    asked: dict[tuple[str, str], int] = {}
    for operation in operations:
        gives = operation.method != "deposit"
        asked[operation.account, operation.id] = -operation.amount if gives else operation.amount
        needed = [(operation.account, operation.id)]
        if gives:
            asked[operation.to, operation.id] = operation.amount
            needed.append((operation.to, operation.id))
        if operation.method == "later":
            asked[operation.account, f"{operation.id}-brought"] = 0
            needed.append((operation.account, f"{operation.id}-brought"))
        if operation.acknowledged:
            for name, id in needed:
                if not any(turn.id == id for turn in accounts[name].turns):
                    yield f"lost: {operation.method} {operation.id} was acknowledged, and account {name} has no {id}"
    for name, account in accounts.items():
        for turn in account.turns:
            if asked.get((name, turn.id)) != turn.amount:
                yield f"made up: account {name} has {turn}, which nobody has asked for"
        yield from _disorder(name, account)
    deposited = sum(
        turn.amount
        for operation in operations
        if operation.method == "deposit"
        for turn in accounts[operation.account].turns
        if turn.id == operation.id
    )
    found = sum(account.balance for account in accounts.values())
    if found != deposited:
        yield f"sum: {deposited} was deposited, and {found} is there"


def _disorder(name: str, account: Account) -> Iterator[str]:
    turns = sorted(account.turns, key=lambda turn: turn.number)
    if [turn.number for turn in turns] != list(range(1, len(turns) + 1)) or account.number != len(turns):
        yield f"numbers: account {name} has {len(turns)} turns, and its last number is {account.number}"
    if account.balance != sum(turn.amount for turn in turns):
        yield f"balance: account {name} has {account.balance}, its turns make {sum(turn.amount for turn in turns)}"
    if account.waiting:
        yield f"reminder: account {name} has {', '.join(account.waiting)} left to bring"
    tokens = {turn.token: turn for turn in turns}
    for before, turn in zip([None, *turns], turns, strict=False):
        if before is not None and turn.begin < before.end:
            yield f"overlap: in account {name} {turn} began before the end of {before}"
        if turn.busy in tokens:
            yield f"overlap: in account {name} {turn} has met {tokens[turn.busy]}, which was saved later"


class Bank:
    """The accounts, their callers, and what is killed."""

    def __init__(self, hosts: ActorHosts, plane: ControlPlane, *, accounts: int, callers: int, seed: int) -> None:
        self.hosts = hosts
        self.operations: list[Operation] = []
        self.killed: Counter[str] = Counter()
        self.longest = 0.0  # seconds without any acknowledgement
        self.crashed = 0  # how often the scheduler has ended by itself
        self.hung = 0  # reminders that came after their sidecar was started again
        self._plane = plane
        self._names = [f"{number:04d}" for number in range(accounts)]
        self._callers = callers
        self._seed = seed
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._last = monotonic()

    @contextlib.contextmanager
    def supervised(self) -> Iterator[None]:
        """Start the scheduler again whenever it ends, as a cluster would: that of Dapr 1.18.2 does so now and then."""
        over = threading.Event()

        def supervise() -> None:
            while not over.wait(0.2):
                if not self._plane.scheduler.alive:
                    self.crashed += 1
                    self._plane.scheduler.start()

        thread = threading.Thread(target=supervise)
        thread.start()
        try:
            yield
        finally:
            over.set()
            join(thread)

    def run(self, seconds: float, kills: Sequence[str], say: Say) -> None:
        """Have the callers call for that long, while programs are killed in this order."""
        threads = [threading.Thread(target=self._call, args=(number,)) for number in range(self._callers)]
        began = self._last = monotonic()
        for thread in threads:
            thread.start()
        try:
            for number, kind in enumerate(kills):
                self._over.wait(max(0.0, began + seconds * (number + 0.5) / len(kills) - monotonic()))
                say(f"{len(self.operations)} operations; a {kind} is killed")
                self._kill(kind, number)
            self._over.wait(max(0.0, began + seconds - monotonic()))
        finally:
            self._over.set()
            join(*threads)

    def settle(self) -> int:
        """Repeat the transfers that failed until they are acknowledged, and wait for the reminders. How many failed."""
        failed = [one for one in self.operations if not one.acknowledged]

        def repeated(operation: Operation) -> bool:
            return self._made(operation, PATIENT)

        for operation in failed:
            if operation.method != "deposit":
                until(lambda operation=operation: repeated(operation), f"{operation} is done", _SETTLED)  # type: ignore[misc]
        with contextlib.suppress(AssertionError):
            until(lambda: not self._waiting(), "all is brought", _HUNG)
            return len(failed)
        # daprd 1.18.2 may leave a lookup without an answer when actors move twice at once: the reminder that waits for
        # it comes again when its sidecar does.
        self.hung = len(self._waiting())
        for pair in self.hosts.hosts:
            pair.sidecar.kill()
            pair.sidecar.start().ready()
            self.hosts.hosting(pair)
        with contextlib.suppress(AssertionError):  # what is left is told by `faults`
            until(lambda: not self._waiting(), "all is brought", _SETTLED)
        return len(failed)

    def _waiting(self) -> list[str]:
        """What reminders have not brought yet."""
        return self.hosts.redis.command("--scan", "--pattern", f"{self._prefix}*||out-*").split()

    def accounts(self) -> dict[str, Account]:
        """What the store has."""
        found = {name: Account() for name in self._names}
        keys = self.hosts.redis.command("--scan", "--pattern", f"{self._prefix}*").splitlines()
        for key, value in zip(keys, self._values(keys), strict=True):
            name, _, what = key.removeprefix(self._prefix).partition("||")
            account = found[name]
            if what == "head":
                account.number, account.balance = map(int, value.split())
            elif what.startswith("t-"):
                account.turns.append(Turn.of(what[2:], value))
            elif what.startswith("out-"):
                account.waiting.append(what[4:])
        return found

    @property
    def _prefix(self) -> str:
        return f"{self.hosts.app_id}||{self.hosts.kind}||"

    def _values(self, keys: Sequence[str]) -> list[str]:
        asked = "".join(f'HGET "{key}" data\n' for key in keys)
        command = ["redis-cli", "-p", str(self.hosts.redis.port)]
        done = subprocess.run(command, input=asked, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        return done.stdout.splitlines()

    def _call(self, caller: int) -> None:
        choice = random.Random(f"{self._seed}-{caller}")
        number = 0
        while not self._over.is_set():
            number += 1
            # An account sends to later ones only: two that call each other would wait for each other.
            first, second = sorted(choice.sample(self._names, 2))
            method = choice.choices(("deposit", "send", "later"), (5, 4, 1))[0]
            to = "" if method == "deposit" else second
            operation = Operation(f"{caller}-{number}", method, first, choice.randint(1, 100), to)
            with self._lock:
                self.operations.append(operation)
            self._made(operation, IMPATIENT if choice.random() < 0.05 else PATIENT)

    def _made(self, operation: Operation, seconds: float) -> bool:
        try:
            self.hosts.actors.call(operation.account, operation.method, operation.body, seconds=seconds)
        except grpc.RpcError as error:
            operation.error = f"{error.code().name}: {error.details()}"
            return False
        operation.acknowledged = True
        with self._lock:
            now = monotonic()
            self.longest, self._last = max(self.longest, now - self._last), now
        return True

    def _kill(self, kind: str, number: int) -> None:
        self.killed[kind] += 1
        if kind == "placement":
            self._plane.placement.kill()
            self._plane.placement.start().ready()
            return
        pair = self.hosts.hosts[number % len(self.hosts.hosts)]
        program = pair.app if kind == "host" else pair.sidecar
        program.kill()
        program.start()
        program.ready()
        self.hosts.hosting(pair)


def check(bank: Bank, seconds: float, kills: Sequence[str], say: Say) -> list[str]:
    """Run it all, and tell what came of it. Returns what does not hold."""
    with bank.supervised():
        bank.run(seconds, kills, say)
        say("callers have ended; what failed is repeated")
        failed = bank.settle()
    accounts = bank.accounts()
    found = list(faults(bank.operations, accounts))
    turns = sum(len(account.turns) for account in accounts.values())
    killed = ", ".join(f"{count} {kind}" for kind, count in bank.killed.items())
    say(
        f"{len(bank.operations)} operations, of which {failed} failed at first; {turns} turns saved "
        f"({turns / seconds:.0f}/s); killed: {killed}; longest time without an answer {bank.longest:.1f} s; "
        f"reminders that hung in a sidecar: {bank.hung}; ends of the scheduler by itself: {bank.crashed}"
    )
    return found


@contextlib.contextmanager
def bank_of(
    folder: Path,
    redis: Redis,
    plane: ControlPlane,
    *,
    place: str,
    accounts: int = 200,
    callers: int = 64,
    seed: int = 1,
) -> Iterator[Bank]:
    """Accounts on two hosts."""
    # A turn that sends holds its slot while the other account's turn needs one.
    limits = LIMITS.replace("concurrency = 16", f"concurrency = {2 * callers}")
    with ActorHosts(
        folder, f"bank-{place}", redis, plane, place=place, limits=limits, guest=module("account")
    ) as hosts:
        hosts.add()
        hosts.add()
        yield Bank(hosts, plane, accounts=accounts, callers=callers, seed=seed)


def main() -> None:
    """Run the checker that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.dapr_real.actors_checker")
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--place", choices=PLACES, default="thread")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the programs' logs")
    arguments = parser.parse_args()
    began = monotonic()

    def say(text: str) -> None:
        print(f"[{monotonic() - began:4.0f} s] {text}", flush=True)

    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="actors-")))
        for name in ("plane", "bank"):
            (folder / name).mkdir(parents=True)
        redis, plane = Redis(folder).start(), ControlPlane(folder / "plane")
        stack.callback(redis.stop)
        stack.enter_context(running(plane.placement, plane.scheduler))
        size = {"accounts": arguments.accounts, "callers": arguments.callers, "seed": arguments.seed}
        bank = stack.enter_context(bank_of(folder / "bank", redis, plane, place=arguments.place, **size))
        choice = random.Random(arguments.seed)
        kills = [choice.choice(KINDS) for _ in range(int(arguments.seconds / arguments.every))]
        found = check(bank, arguments.seconds, kills, say)
    for text in found[:50]:
        print(text)
    sys.exit(f"{len(found)} faults" if found else 0)


if __name__ == "__main__":
    main()

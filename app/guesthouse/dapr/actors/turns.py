"""Turns of actors: those of one actor run one after the other, those of different actors side by side.

A sidecar lets the next turn of an actor begin when the caller of the one before has given up, and does not say so. So
the turns of an actor are put in order here as well: the next one begins when the guest of the one before has really
ended and its state is saved, also when they came by different streams. A turn that waits for another one holds no
thread: the thread of the turn before takes it next. No gRPC here.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import TypeAlias

from guesthouse.dapr import status
from guesthouse.dapr.actors.messages import ActorType
from guesthouse.dapr.actors.state import REENTRANCY
from guesthouse.dapr.executor import SPARE_THREADS
from guesthouse.event import Actor, ActorState, Event, Failure, Handler, Reason, Reply, Trigger
from guesthouse.tracecontext import context_of
from guesthouse_abi.deadline import Deadline

_log = logging.getLogger(__name__)

#: Makes the state of one turn: the actor's type and id, and the sidecar's id of the calls that may enter it again.
NewState: TypeAlias = Callable[[str, str, str], "ActorState | None"]
_LEAVING = SPARE_THREADS // 2  # actors that are let go at a time
_UNKNOWN = ActorType("")
_ENTERED = REENTRANCY.lower()


class Turn:
    """One request of a sidecar's stream. `answer` is called once, with how its event ended, unless the stream has.

    `after` is called after a reply, before the next turn of the actor begins.
    """

    __slots__ = ("after", "answer", "arrived", "dead", "deadline", "event", "kind", "reentrancy", "state")

    def __init__(
        self,
        event: Event,
        answer: Callable[[Event, Reply | Failure], None],
        after: Callable[[Event, Reply], None],
    ) -> None:
        self.event = event
        self.answer = answer
        self.after = after
        self.arrived = monotonic()
        self.dead = False  # whether its stream has ended
        self.deadline = Deadline(math.inf)
        self.state: ActorState | None = None
        self.kind = _UNKNOWN
        self.reentrancy = ""

    def begin(self, state: ActorState | None) -> Deadline:
        """The deadline of an event that is a part of this turn: an activation has its own time, and its own state."""
        self.state, self.deadline = state, Deadline(math.inf)
        if self.dead:  # `cut` may have seen those before
            self._give_up()
        return self.deadline

    @property
    def place(self) -> str | None:
        """The guest that the turn has one of the places of; None for a deactivation, which has none."""
        return None if self.event.trigger is Trigger.DEACTIVATE else self.kind.guest

    def cut(self) -> None:
        """End it as soon as it looks at its deadline."""
        self.dead = True
        self._give_up()

    def _give_up(self) -> None:
        self.deadline.cancel()
        if (state := self.state) is not None:
            state.give_up()


class _Actor:
    """An actor that is active or has turns."""

    __slots__ = ("active", "reentrancy", "running", "waiting")

    def __init__(self) -> None:
        self.active = False
        self.running = 0  # turns: more than one where they are inside each other
        self.reentrancy = ""  # of the turns that run
        self.waiting: deque[Turn] | None = None


_Next: TypeAlias = tuple[tuple[str, str], _Actor, Turn]


class Turns:
    """Runs turns. For any number of threads.

    `types` gives the types of actors by name, as they are now; `places` of them bound how many turns are inside.

    Deactivations have no places: a sidecar waits for each. Only some begin at a time, so that they never have all
    threads. The others wait to be taken by `left`. `goes_on` is called by a thread that has ended a turn and
    does not come to `left`, for its actor has another one.
    """

    def __init__(
        self,
        handler: Handler,
        new_state: NewState,
        types: Callable[[], Mapping[str, ActorType]],
        goes_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._handler = handler
        self._new_state = new_state
        self._types = types
        self._goes_on = goes_on
        self._lock = threading.Lock()
        self._empty = threading.Condition(self._lock)
        self._actors: dict[tuple[str, str], _Actor] = {}
        self._inside: dict[str | None, int] = {}  # turns at work or waiting, by `Turn.place`
        self._begun: set[Turn] = set()
        self._leaving = 0  # deactivations that have a thread
        self._left: deque[_Next] = deque()  # those that may have one later
        self.active: dict[str, int] = {}  # by type: actors that are active now
        self.activated: dict[str, int] = {}  # by type: actors that became active, since the start

    @property
    def begun(self) -> int:
        """Turns that have begun and have not ended, those of ended streams left out."""
        return len(self._begun)

    def __len__(self) -> int:
        """How many actors are remembered."""
        return len(self._actors)

    def add(self, turn: Turn) -> Callable[[], None] | None:
        """Put a turn in order. Returns what runs it, where its actor is free; else the thread of the turn before takes
        it. Where too many are inside, it fails at once."""
        event = turn.event
        assert event.actor is not None
        turn.kind = kind = self._types().get(event.name, _UNKNOWN)
        turn.reentrancy = event.metadata.get(_ENTERED, "") if kind.reentrant else ""
        key = event.name, event.actor.id
        with self._lock:
            inside = self._inside.get(turn.place, 0)
            actor, begins, given_up = None, True, []
            if inside < kind.places or event.trigger is Trigger.DEACTIVATE:
                self._inside[turn.place] = inside + 1
                actor = self._actors.get(key)
                if actor is None:
                    actor = self._actors[key] = _Actor()
                if event.trigger is Trigger.DEACTIVATE:
                    given_up = self._give_up(key, actor)
                if actor.running and not (turn.reentrancy and turn.reentrancy == actor.reentrancy):
                    if actor.waiting is None:
                        actor.waiting = deque()
                    actor.waiting.append(turn)
                    begins = False
                else:
                    actor.running += 1
                    actor.reentrancy = turn.reentrancy
                    self._begun.add(turn)
                    begins = self._has_thread(key, actor, turn)
        for other in given_up:
            other.cut()
        if actor is None:
            text = f"{inside} turns are at work or wait already, which is concurrency + queue; try again later"
            return partial(self._refuse, turn, Failure(Reason.FULL, text, kind.guest))
        return partial(self._work, key, actor, turn) if begins else None

    @property
    def pressing(self) -> bool:
        """Whether `left` has something."""
        return bool(self._left) and self._leaving < _LEAVING

    def left(self) -> Callable[[], None] | None:
        """What runs a deactivation that had to wait until fewer were at work, if there is one."""
        if not self._left:
            return None
        with self._lock:
            if not self.pressing:
                return None
            self._leaving += 1
            return partial(self._work, *self._left.popleft())

    def _has_thread(self, key: tuple[str, str], actor: _Actor, turn: Turn) -> bool:
        """Whether a turn that is its actor's next may have a thread now; else `left` has it later."""
        if turn.event.trigger is not Trigger.DEACTIVATE:
            return True
        if self._leaving == _LEAVING:
            self._left.append((key, actor, turn))
            return False
        self._leaving += 1
        return True

    def _give_up(self, key: tuple[str, str], actor: _Actor) -> list[Turn]:
        """A sidecar that deactivates an actor waits for no turn of it any more: those that wait here are dropped.

        Returns those that run, to be cut. They may wait for the sidecar, which holds calls for state back while actors
        move to other hosts; and the sidecar waits for the answer to the deactivation.
        """
        for turn in actor.waiting or ():
            self._inside[turn.place] -= 1
        actor.waiting, actor.reentrancy = None, ""
        return [turn for turn in self._begun if turn.event.actor and (turn.event.name, turn.event.actor.id) == key]

    def end_stream(self) -> None:
        """The stream that all turns came by has ended: those that wait are dropped, those that run are cut.

        No actor is active any more: for the next stream, all begin anew.
        """
        with self._lock:
            cut, self._begun = self._begun, set()
            self.active = {}
            for key, actor in list(self._actors.items()):
                for turn in actor.waiting or ():
                    self._inside[turn.place] -= 1
                # What is sent again after the loss of a stream has the same id for reentrancy, and is no part of the
                # turn that was cut.
                actor.waiting, actor.reentrancy = None, ""
                actor.active = False
                if not actor.running:
                    del self._actors[key]
        for turn in cut:
            turn.cut()

    def finish(self, seconds: float) -> bool:
        """Wait up to `seconds` until no turn is inside. Returns whether none is."""
        with self._lock:
            return self._empty.wait_for(lambda: not any(self._inside.values()), seconds)

    # ---- in a turn's thread ----

    def _work(self, key: tuple[str, str], actor: _Actor, first: Turn) -> None:
        turn: Turn | None = first
        while turn is not None:
            try:
                self._run(turn, actor)
            except Exception:
                _log.exception("a turn of an actor ended by an error of ours")
            turn = self._next(key, actor, turn)
            if turn is not None:
                self._goes_on()

    def _next(self, key: tuple[str, str], actor: _Actor, ended: Turn) -> Turn | None:
        """The turn that may begin, since this one has ended. An actor that is not active and has none is forgotten."""
        with self._lock:
            self._begun.discard(ended)
            self._inside[ended.place] -= 1
            if not self._inside[ended.place]:
                self._empty.notify_all()
            if ended.event.trigger is Trigger.DEACTIVATE:
                self._leaving -= 1
            actor.running -= 1
            if actor.running:
                return None
            if actor.waiting:
                turn = actor.waiting.popleft()
                actor.running, actor.reentrancy = 1, turn.reentrancy
                self._begun.add(turn)
                return turn if self._has_thread(key, actor, turn) else None
            actor.waiting, actor.reentrancy = None, ""
            if not actor.active:
                del self._actors[key]
            return None

    def _run(self, turn: Turn, actor: _Actor) -> None:
        event, kind = turn.event, turn.kind
        assert event.actor is not None
        goes = event.trigger is Trigger.DEACTIVATE
        late = not goes and monotonic() - turn.arrived > kind.wait
        with self._lock:
            if turn not in self._begun:
                return
            was_active = actor.active
            if not late:
                self._set_active(actor, kind, not goes)
        if late:
            text = f"it waited for {kind.wait:g} s (queue_wait) until the turns of its actor before it had ended"
            self._refuse(turn, Failure(Reason.FULL, text, kind.guest))
            return
        if goes and not (was_active and kind.deactivates):
            turn.answer(event, Reply(b""))
            return
        if not goes and not was_active and (failure := self._activate(turn)) is not None:
            with self._lock:
                if turn in self._begun:
                    self._set_active(actor, kind, False)
            turn.answer(event, failure)
            return
        event.actor.state = self._new_state(event.name, event.actor.id, turn.reentrancy)
        try:
            reply = self._handler.dispatch(event, turn.begin(event.actor.state))
            event.check_reply(reply)  # whoever answers: a longer one would end the stream
        except Exception as error:
            turn.answer(event, status.logged_failure(error))
            return
        turn.answer(event, reply)
        turn.after(event, reply)

    def _activate(self, turn: Turn) -> Failure | None:
        """Tell the guest that an actor is active from now on. Returns why the guest failed, if it did."""
        if not turn.kind.activates:
            return None
        event = turn.event
        assert event.actor is not None
        state = self._new_state(event.name, event.actor.id, turn.reentrancy)
        first = Event(
            Trigger.ACTIVATE,
            event.name,
            metadata=context_of(event.metadata),
            actor=Actor(event.actor.id, state=state),
        )
        try:
            self._handler.dispatch(first, turn.begin(state))
        except Exception as error:
            failure = status.logged_failure(error)
            failure.text = f"the actor could not be activated: {failure.text}"
            return failure
        return None

    def _set_active(self, actor: _Actor, kind: ActorType, active: bool) -> None:
        if actor.active is not active:
            actor.active = active
            self.active[kind.name] = self.active.get(kind.name, 0) + (1 if active else -1)
            if active:
                self.activated[kind.name] = self.activated.get(kind.name, 0) + 1

    def _refuse(self, turn: Turn, failure: Failure) -> None:
        """Fail a turn that does not begin, so that it is counted and logged as others."""
        turn.event.fault = failure
        try:
            reply = self._handler.dispatch(turn.event, turn.deadline)
        except Exception as error:
            turn.answer(turn.event, status.logged_failure(error))
            return
        turn.answer(turn.event, reply)

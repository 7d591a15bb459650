"""The stream by which a sidecar hands over the turns of its actors: opened, kept, and opened again. A `Transport`.

The RPC is `SubscribeActorEventsAlpha1` of `dapr/proto/runtime/v1/dapr.proto`. Rules that a sidecar's ways impose:

- one stream for each sidecar: when the older of two ends, the sidecar forgets the types of the newer one too. So a
  changed manifest ends the stream and opens another one;
- a stream is cancelled and never half-closed: after a half-close the sidecar waits for answers that cannot come, and
  the other hosts are never told that this one has gone;
- a sidecar that was told to end takes no calls any more, and waits for its streams for ever. A sidecar may also have
  forgotten the types while the stream is open. So the sidecar is asked once a second, and a stream by which no turn can
  come is given up;
- the threads that run turns read the stream, one at a time, and write their answers to it: no message passes from one
  thread to another (`two_way`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import grpc
import structlog
from dapr.proto.runtime.v1.actors_pb2 import UnregisterActorReminderRequest, UnregisterActorTimerRequest
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest

from guesthouse.dapr import two_way
from guesthouse.dapr.actors import messages
from guesthouse.dapr.actors.messages import ActorType, Response
from guesthouse.dapr.actors.needs import TIMEOUT, Lack, lacks, told
from guesthouse.dapr.actors.turns import NewState, Turn, Turns
from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.executor import SPARE_THREADS, ElasticThreads
from guesthouse.dapr.transport import Drain
from guesthouse.dapr.two_way import TwoWay
from guesthouse.event import Event, Failure, Handler, Reply, Trigger
from guesthouse.system.threads import lasting_thread
from guesthouse.tracecontext import context_of

_FIRST, _LONGEST = 0.2, 5.0  # seconds of the first and of the longest pause before a stream is opened again
LOOK = 1.0  # seconds between two questions whether turns can still come
_LOOKS = 2  # so many answers in a row that say no
_CUT = 1.0  # seconds in which turns that were cut end

_METHOD = "/dapr.proto.runtime.v1.Dapr/SubscribeActorEventsAlpha1"
_ENDED = Lack("the sidecar has ended it", "see the sidecar's log", fatal=False)
_OURS = Lack("an error of ours, which this log has", "report it", fatal=False)

_log = structlog.get_logger("guesthouse.actors")


class Actors:
    """Hosts actors: a `Transport`. Nothing is opened before `start`, nor while there are no types of actors."""

    name = "actors"

    def __init__(
        self,
        endpoint: Endpoint,
        handler: Handler,
        new_state: NewState,
        types: Sequence[ActorType],
        *,
        at_work: int = 2,
        threads: int = 64 + SPARE_THREADS,
    ) -> None:
        self._endpoint = endpoint
        self._types: Mapping[str, ActorType] = {}
        self._at_work, self._threads = at_work, threads
        self._turning: ElasticThreads | None = None
        self.turns = Turns(handler, new_state, lambda: self._types, self._goes_on)
        self._changed = threading.Condition()
        self._started = self._draining = self._stopped = False
        self._stream: _Stream | None = None
        self._read: _Stream | None = None  # the same, while it can be read
        self._reading = threading.Lock()
        self._misses = 0  # answers in a row that no turn can come by the stream
        self._threads_of_stream: list[threading.Thread] = []
        self._channel: grpc.Channel | None = None
        self._notes: list[Lack] = []  # what the sidecar lacks, though turns can come
        self._said = ""  # why there is no stream, as the log has it
        self._was_open = False
        self.host(types)

    def start(self) -> None:
        """See `Transport.start`. The stream is opened in a thread of its own, and again until there is a sidecar."""
        with self._changed:
            self._started = True
            self._begin()

    def host(self, types: Sequence[ActorType]) -> None:
        """Host these types from now on. Where the sidecar must be told, the stream ends and another one is opened."""
        with self._changed:
            before = self._types
            self._types = {kind.name: kind for kind in types}
            told, was_told = ({kind.told for kind in some.values()} for some in (self._types, before))
            if told == was_told:
                return
            if self._stream is not None:
                _log.warning(
                    "other types of actors: the stream to the sidecar ends, and another one is opened",
                    types=sorted(self._types),
                    remedy="turns in flight fail at their callers; see docs/actors.md for a policy that repeats them",
                )
                self._stream.cancel()
            if self._started:
                self._begin()
            self._changed.notify_all()

    @property
    def open(self) -> bool:
        """Whether the sidecar has the types now."""
        stream = self._stream
        return stream is not None and stream.registered

    @property
    def active(self) -> Mapping[str, int]:
        """Actors that are active now, by type."""
        return self.turns.active

    @property
    def activated(self) -> Mapping[str, int]:
        """Actors that became active since the start, by type."""
        return self.turns.activated

    def drain(self, drain: Drain) -> bool:
        """See `Transport.drain`. The stream is kept until the sidecar ends it, or for as long as `drain` says.

        There is no leaving without an end for the turns in flight: a sidecar goes on sending until the stream ends.
        """
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            if self._stream is not None:
                _log.info("the stream of actors is kept until the sidecar ends it", seconds=drain.notice + drain.limit)
            self._changed.wait_for(lambda: self._stream is None, drain.notice + drain.limit)
            stream = self._stream
            ended_well = stream is None or not self.turns.begun
            if stream is not None:
                stream.cancel()
        return self.turns.finish(_CUT) and ended_well

    def stop(self, seconds: float = 0.0) -> int:
        """See `Transport.stop`. Nothing is left to be read."""
        with self._changed:
            self._stopped = True
            if self._stream is not None:
                self._stream.cancel()
            self._changed.notify_all()
        self.turns.finish(_CUT)
        if self._channel is not None:
            self._channel.close()
        for thread in self._threads_of_stream:
            thread.join()
        self._threads_of_stream.clear()
        if self._turning is not None:
            self._turning.end()
        return 0

    # ---- in the stream's thread ----

    def _begin(self) -> None:
        if not self._threads_of_stream and self._types and not self._stopped:
            connection = SidecarConnection(self._endpoint)
            self._channel, self._metadata = connection.channel, connection.metadata
            self._sidecar = DaprStub(self._channel)  # type: ignore[no-untyped-call]
            self._pause = _FIRST
            self._turning = ElasticThreads(self, self._at_work, self._threads, "turn", pressing=self._pressing)
            self._turning.start()
            self._threads_of_stream = [
                lasting_thread("actors", self._serve),
                lasting_thread("actors-watch", self._watch),
            ]

    # ---- in the threads of turns ----

    def take(self) -> Callable[[], None] | None:
        """The next turn, as `executor.Calls` has it: whichever thread is free reads the stream. There always is one,
        for there are more threads than places for turns."""
        while True:
            if (left := self.turns.left()) is not None:
                return left
            stream = self._read
            if stream is not None and not stream.ended:
                with self._reading:
                    work = None if stream.ended else stream.read()
                if work is not None:
                    return work
                continue
            with self._changed:
                self._changed.wait_for(lambda: self._over or (self._read is not None and not self._read.ended))
                if self._over:
                    return None

    def _pressing(self) -> bool:
        """Whether something waits for a thread that comes to `take`."""
        stream = self._read
        return self.turns.pressing or (stream is not None and stream.unsent)

    def _goes_on(self) -> None:
        """See `Turns`. A thread that reads already sends answers, but does not come to what is left."""
        assert self._turning is not None
        if self.turns.pressing:
            self._turning.more()
        else:
            self._turning.look()

    @property
    def _over(self) -> bool:
        """Whether there is nothing to read any more."""
        return self._stopped and self._stream is None

    def waiting(self) -> int | None:
        """See `executor.Calls`: the stream does not tell."""
        return None

    # ---- in the stream's thread ----

    def _serve(self) -> bool:
        """Open a stream as soon as there are types, read it to its end, and wait a little. False when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._draining or self._types)
            if self._stopped or self._draining:
                return False
            types = self._types
            stream = self._stream = _Stream(self, types)
        try:
            why = stream.open()
            if why is None:
                with self._changed:
                    self._read = stream
                    self._changed.notify_all()
                why = stream.wait()
        finally:
            with self._changed:
                self._stream = self._read = None
                self._changed.notify_all()
        ours = self._stopped or self._draining or stream.cancelled
        if stream.registered or ours:
            self._pause = _FIRST
        if not ours:
            self._lost(why, stream.registered)
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._draining, self._pause)
        self._pause = min(_LONGEST, self._pause * 2)
        return True

    def _watch(self) -> bool:
        """Wait a little, then ask the sidecar whether turns can still come. False when it is over."""
        with self._changed:
            if self._changed.wait_for(lambda: self._stopped, LOOK):
                return False
            stream = self._stream
        gone = self._gone(stream.types) if stream is not None and stream.registered else None
        self._misses = self._misses + 1 if gone is not None else 0
        if stream is not None and gone is not None and self._misses >= _LOOKS:
            self._misses = 0
            stream.give_up(gone)
        return True

    def _gone(self, types: Mapping[str, ActorType]) -> Lack | None:
        """Why no turn can come any more, though the stream is open."""
        try:
            metadata = self._sidecar.GetMetadata(GetMetadataRequest(), timeout=TIMEOUT, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return Lack("the sidecar takes no calls any more: it ends", "its successor is waited for", fatal=False)
            return None  # it is there
        except ValueError:  # the channel is closed
            return None
        missing = sorted(set(types) - {one.type for one in metadata.actor_runtime.active_actors})
        if not missing:
            return None
        return Lack(f"the sidecar has forgotten {', '.join(missing)}", "it is told of them again", fatal=False)

    def lacking(self, types: Mapping[str, ActorType]) -> Lack | None:
        """Why the sidecar is not asked for a stream. Raises `grpc.RpcError`.

        It would give one all the same: to a sidecar without a store, a guest that reads its state would then be fatal.
        """
        metadata = self._sidecar.GetMetadata(GetMetadataRequest(), timeout=TIMEOUT, metadata=self._metadata)
        found = list(lacks(metadata, list(types)))
        self._notes = [lack for lack in found if not lack.fatal]
        return next((lack for lack in found if lack.fatal), None)

    def opened(self, types: Mapping[str, ActorType]) -> None:
        """The sidecar has acknowledged the types of a stream."""
        again = {"again": True} if self._was_open else {}
        _log.info("the sidecar has the types of actors", types=sorted(types), **again)
        for lack in self._notes:
            _log.warning(lack.text, remedy=lack.remedy)
        self._was_open, self._said = True, ""

    def _lost(self, why: Lack, registered: bool) -> None:
        """Log once why there is no stream, and again where the reason is another one."""
        if registered:
            _log.warning("the stream of actors is lost: it is opened again", error=why.text, remedy=why.remedy)
        elif why.text != self._said:
            # A sidecar that starts after its application is nothing to warn of.
            log = _log.warning if why.fatal or self._was_open else _log.info
            log("no turns of actors come", error=why.text, remedy=why.remedy)
        self._said = why.text

    def unregister(self, event: Event) -> None:
        """Have the sidecar forget a timer or reminder that its guest wants no more: it ignores `cancel` in answers."""
        assert event.actor is not None
        named = {"actor_type": event.name, "actor_id": event.actor.id, "name": event.actor.method}
        metadata = (*self._metadata, *context_of(event.metadata).items())
        try:
            if event.trigger is Trigger.TIMER:
                timer = UnregisterActorTimerRequest(**named)
                self._sidecar.UnregisterActorTimer(timer, timeout=TIMEOUT, metadata=metadata)
            else:
                reminder = UnregisterActorReminderRequest(**named)
                self._sidecar.UnregisterActorReminder(reminder, timeout=TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            _log.warning(
                "it fires again: the sidecar did not take it back",
                trigger=event.trigger.value,
                type=event.name,
                actor=event.actor.id,
                name=event.actor.method,
                error=told(error).text,
            )
        except ValueError:  # the channel is closed: this process ends
            return

    def call(self, first: bytes) -> TwoWay:
        """gRPC's call that a stream is. Raises `ValueError` where the channel is closed."""
        assert self._channel is not None
        return two_way.begin(self._channel, _METHOD, first, self._metadata)


class _Stream:
    """One stream, from its first message to its end."""

    def __init__(self, actors: Actors, types: Mapping[str, ActorType]) -> None:
        self._actors = actors
        self.types = types
        self._why = _ENDED
        self._given_up: Lack | None = None
        self.registered = False
        self.cancelled = False
        self._lock = threading.Lock()
        self._call: TwoWay | None = None
        self._ended = threading.Event()

    def cancel(self) -> None:
        """End it from this side."""
        with self._lock:
            self.cancelled = True
        self._cancel_call()

    def give_up(self, why: Lack) -> None:
        """End it from this side, as if the sidecar had ended it."""
        self._given_up = why
        self._cancel_call()

    def _cancel_call(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def open(self) -> Lack | None:
        """Open it. Returns why it is not open, where it is not."""
        actors = self._actors
        try:
            if (lack := actors.lacking(self.types)) is not None:
                return lack
            with self._lock:
                if self.cancelled:
                    return _ENDED
                self._call = actors.call(messages.initial_request(self.types.values()).SerializeToString())
        except grpc.RpcError as error:
            return told(error)
        except ValueError:  # the channel is closed
            return _ENDED
        return None

    def wait(self) -> Lack:
        """Wait for its end. Returns why it has ended."""
        self._ended.wait()
        return self._why

    def read(self) -> Callable[[], None] | None:
        """Wait for one message. Returns what is to be done in this thread after that, if anything is.

        For one thread at a time, and until it has `ended`.
        """
        assert self._call is not None
        message, why = None, _ENDED
        try:
            message = self._call.receive()
        except grpc.RpcError as error:
            why = told(error)
        except Exception:
            _log.exception("the stream of actors could not be read")
            why = _OURS
        if message is None:
            self._end(why)
            return None
        try:
            return self._handle(Response.FromString(message))
        except Exception:
            _log.exception("a message of the stream of actors could not be handled")
            self.give_up(_OURS)
            return None  # it is read to its end

    def _end(self, why: Lack) -> None:
        self._why = self._given_up or why
        try:
            self._cancel_call()
            self._actors.turns.end_stream()
        except Exception:
            _log.exception("turns could not be told that their stream has ended")
        finally:
            self._ended.set()

    @property
    def unsent(self) -> bool:
        """Whether answers wait for a thread that reads."""
        return self._call is not None and self._call.unsent

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to read."""
        return self._ended.is_set()

    def _handle(self, message: Response) -> Callable[[], None] | None:
        if message.HasField("initial_response"):
            self.registered = True
            self._actors.opened(self.types)
        elif (found := messages.event_of(message)) is not None:
            id, event = found
            return self._actors.turns.add(Turn(event, self._answering(id), self._after))
        return None

    def _answering(self, id: str) -> Callable[[Event, Reply | Failure], None]:
        def answer(event: Event, ending: Reply | Failure) -> None:
            assert self._call is not None
            if isinstance(ending, Failure):
                message = messages.failed(id, event, ending)
            else:
                message = messages.answer(id, event, ending)
            self._call.send(message.SerializeToString())

        return answer

    def _after(self, event: Event, reply: Reply) -> None:
        if reply.stop:
            self._actors.unregister(event)

"""Whether the sidecar has subscribed to the manifest's topics, as its own metadata say.

A sidecar that cannot use one subscription drops them all, and tells neither its application nor publishers. So it is
asked: some seconds after it has fetched the list, and then now and again until it has them all. What it has not is a
warning, once, and `guesthouse_topic_subscribed` 0. A topic of which an event has come is subscribed, whatever it says.
A sidecar that is away, or does not answer this question, is no reason for a word: others tell of that.

RPC: `GetMetadata` of `dapr/proto/runtime/v1/dapr.proto`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import grpc
import structlog
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest

from guesthouse.dapr.sidecar import Endpoint
from guesthouse.dapr.topics import Listing
from guesthouse.event import Event, Failure, Reply, Trigger
from guesthouse.system.threads import lasting_thread

FIRST = 5.0  # seconds after the sidecar fetched the list: it subscribes one topic after the other
AGAIN = 60.0  # seconds between two questions, while topics are missing
_TIMEOUT = 5.0  # seconds for an answer

_log = structlog.get_logger("guesthouse.topics")


class Subscribed:
    """Asks the sidecar, in a thread of its own, and keeps what is known of each topic. An `event.Observer`."""

    def __init__(self, endpoint: Endpoint, *, first: float = FIRST, again: float = AGAIN) -> None:
        self._channel, self._metadata = endpoint.connect()
        self._sidecar = DaprStub(self._channel)  # type: ignore[no-untyped-call]
        self._first, self._again = first, again
        self._changed = threading.Condition()
        self._known: dict[str, bool | None] = {}  # by PUBSUB/TOPIC; None: not known yet
        self._fetched = False
        self._closed = False
        self._thread = lasting_thread("topics", self._run)

    def fetched(self, listing: Listing) -> None:
        """The sidecar has asked for its subscriptions, and got these."""
        with self._changed:
            self._known = {f"{one.pubsub}/{one.topic}": None for one in listing.subscriptions}
            self._fetched = True
            self._changed.notify_all()

    @property
    def topics(self) -> Mapping[str, bool]:
        """For each topic that the sidecar was told of whether it is subscribed, as far as that is known."""
        return {topic: known for topic, known in self._known.copy().items() if known is not None}

    def answered(self, event: Event, reply: Reply) -> None:
        """See `event.Observer`."""
        self._came(event)

    def failed(self, event: Event, failure: Failure) -> None:
        """See `event.Observer`."""
        self._came(event)

    def close(self) -> None:
        """Ask no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._channel.close()
        self._thread.join()

    def _came(self, event: Event) -> None:
        if event.trigger is Trigger.TOPIC and self._known.get(event.name, True) is not True:
            with self._changed:
                if event.name in self._known:
                    self._known[event.name] = True

    def _run(self) -> bool:
        """Wait until the list was fetched, then ask until all is known; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._fetched or self._closed)
            self._fetched = False
        pause = self._first
        while not self._waited(pause):
            if self._complete():
                break
            pause = self._again
        return not self._closed

    def _waited(self, pause: float) -> bool:
        """Wait; True when there is something else to do: the list was fetched again, or this is over."""
        with self._changed:
            return self._changed.wait_for(lambda: self._fetched or self._closed, pause)

    def _complete(self) -> bool:
        """Ask once; whether there is nothing more to ask for."""
        try:
            told = self._sidecar.GetMetadata(GetMetadataRequest(), timeout=_TIMEOUT, metadata=self._metadata)
        except (grpc.RpcError, ValueError):  # away, not allowed, or closed meanwhile
            return False
        subscribed = {f"{one.pubsub_name}/{one.topic}" for one in told.subscriptions}
        with self._changed:
            missing = [topic for topic, known in self._known.items() if not known and topic not in subscribed]
            new = [topic for topic in missing if self._known[topic] is None]
            self._known.update(dict.fromkeys(missing, False))
            self._known.update({topic: True for topic in self._known if topic not in missing})
        if new:
            _not_subscribed(new)
        return not missing


def _not_subscribed(topics: Iterable[str]) -> None:
    _log.warning(
        "the sidecar has not subscribed: no event of these topics comes",
        topics=sorted(topics),
        remedy="its log says why (failed to subscribe); one wrong rule or a missing component takes all topics away",
    )

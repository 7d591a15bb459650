"""Whether the sidecar has subscribed to the manifest's topics, as its own metadata say.

A sidecar that cannot use one subscription drops them all, and tells neither its application nor publishers. So the
sidecar is asked: some seconds after it has fetched the list, and then from time to time until it has subscribed to all
topics. A missing topic is logged as a warning, once, and its `guesthouse_topic_subscribed` is 0. A topic of which an
event has come is subscribed, whatever the sidecar says. A sidecar that does not answer is not logged here: outputs and
health say so.

RPC: `GetMetadata` of `dapr/proto/runtime/v1/dapr.proto`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import grpc
import structlog
from dapr.proto.runtime.v1.dapr_pb2_grpc import DaprStub
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest, GetMetadataResponse

from guesthouse.dapr.endpoint import SidecarConnection
from guesthouse.dapr.listing import Listing
from guesthouse.event import Event, Failure, Reply, Trigger
from guesthouse.system.threads import lasting_thread

FIRST = 5.0  # seconds after the sidecar fetched the list: it subscribes one topic after the other
AGAIN = 60.0  # seconds between two questions, while topics are missing
_TIMEOUT = 5.0  # seconds for an answer

_log = structlog.get_logger("guesthouse.topics")


class Subscribed:
    """Asks the sidecar, in a thread of its own, and remembers what is known of each topic. An `event.Observer`."""

    def __init__(self, connection: SidecarConnection, *, first: float = FIRST, again: float = AGAIN) -> None:
        self._metadata = connection.metadata
        self._sidecar = DaprStub(connection.channel)  # type: ignore[no-untyped-call]
        self._first, self._again = first, again
        self._changed = threading.Condition()
        self._known: dict[str, bool | None] = {}  # by PUBSUB/TOPIC; None: not known yet
        self._fetched = False
        self._closed = False
        self._asked: grpc.Future[GetMetadataResponse] | None = None  # the question under way
        self._thread = lasting_thread("topics", self._run)

    def fetched(self, listing: Listing) -> None:
        """The sidecar has asked for its subscriptions, and was answered this listing."""
        with self._changed:
            self._known = {f"{one.pubsub}/{one.topic}": None for one in listing.subscriptions}
            self._fetched = True
            self._changed.notify_all()

    @property
    def topics(self) -> Mapping[str, bool]:
        """For each topic of the listing whether the sidecar has subscribed to it, as far as that is known."""
        return {topic: known for topic, known in self._known.copy().items() if known is not None}

    def answered(self, event: Event, reply: Reply) -> None:
        """See `event.Observer`."""
        self._came(event)

    def failed(self, event: Event, failure: Failure) -> None:
        """See `event.Observer`."""
        self._came(event)

    def close(self) -> None:
        """Stop asking."""
        with self._changed:
            self._closed = True
            if self._asked is not None:
                self._asked.cancel()
            self._changed.notify_all()
        self._thread.join()

    def _came(self, event: Event) -> None:
        if event.trigger is Trigger.TOPIC and self._known.get(event.name, True) is not True:
            with self._changed:
                if event.name in self._known:
                    self._known[event.name] = True

    def _run(self) -> bool:
        """Wait until the list was fetched, then ask until all topics are subscribed. False when closed."""
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
        """Wait up to `pause` seconds. True as soon as the list was fetched again, or this object was closed."""
        with self._changed:
            return self._changed.wait_for(lambda: self._fetched or self._closed, pause)

    def _complete(self) -> bool:
        """Ask once. True when the sidecar has subscribed to all topics."""
        with self._changed:
            if self._closed:
                return False
            ask = self._sidecar.GetMetadata.future
            self._asked = ask(GetMetadataRequest(), timeout=_TIMEOUT, metadata=self._metadata)
        try:
            metadata = self._asked.result()
        except (grpc.RpcError, grpc.FutureCancelledError):  # the sidecar is away or refuses, or this was closed
            return False
        subscribed = {f"{one.pubsub_name}/{one.topic}" for one in metadata.subscriptions}
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
        remedy="look for `failed to subscribe` in the sidecar's log: it drops all topics for one wrong rule, or for a "
        "missing component",
    )

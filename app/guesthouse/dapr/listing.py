"""What a sidecar asks for when it starts: the topic subscriptions and the input bindings of the application.

These are plain frozen values. `callback` makes protobuf of them once, because a sidecar waits a short time for it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """Events that `match` (CEL over `event`, e.g. `event.type == "photo"`) arrive with this `path`."""

    match: str
    path: str


@dataclass(frozen=True, slots=True)
class Bulk:
    """Delivery of many messages in one call. 0 means the sidecar's own default."""

    max_messages: int = 0
    max_await_ms: int = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic of one pub/sub component. `default` is the path of events that no rule matches."""

    pubsub: str
    topic: str
    rules: tuple[Rule, ...] = ()
    default: str = ""
    dead_letter: str = ""
    bulk: Bulk | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """All that a sidecar is answered: subscriptions, and the names of input bindings."""

    subscriptions: tuple[Subscription, ...] = ()
    bindings: tuple[str, ...] = ()

"""What the application tells the sidecar at start-up: its topic subscriptions and its input bindings.

Plain frozen descriptions; `callback` turns them into protobuf once, because the sidecar gives these calls little time.
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
    """Delivery of many messages in one call. 0 leaves a value to the sidecar."""

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
    """All that the sidecar is told: subscriptions, and the names of input bindings."""

    subscriptions: tuple[Subscription, ...] = ()
    bindings: tuple[str, ...] = ()

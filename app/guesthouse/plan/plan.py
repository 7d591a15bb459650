"""A plan: all that one manifest loads. Guests, models and routes. It is never changed.

How a plan is built is in `build`; which plan an event begins with, and when a plan ends, is in `current`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from guesthouse.engine import PixelCode
from guesthouse.engine.base import Engine
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event
from guesthouse.faults import Faults
from guesthouse.guests.capabilities import CAPABILITIES, Capabilities
from guesthouse.guests.guest import Guest
from guesthouse.guests.process.stock import Stock
from guesthouse.guests.slots import Slots
from guesthouse.inference.registry import Registry
from guesthouse.manifest import Manifest
from guesthouse.plan.routes import Filter, Route, Routes

_logger = structlog.get_logger("guesthouse")


class PlanFaults(Faults):
    """A manifest cannot be served. `faults` has every reason."""


@dataclass(frozen=True, slots=True)
class Host:
    """What all plans of a process share: the engine, the code cache, the stock of worker processes, and the code that
    works on pixels.

    `capabilities` is what guests may reach. `services` has, by a capability's name, the object of the host that the
    capability needs and that lives as long as the process (a client of the sidecar, say).
    """

    engine: Engine
    cache: CodeCache
    stock: Stock
    pixels: PixelCode
    capabilities: Capabilities = CAPABILITIES
    services: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What events are answered with.

    `slots` has the slots of the plan's guests, and of guests of earlier plans that may still be at work. So a guest
    that is changed, or taken out of the manifest and put back, keeps its slots.
    """

    manifest: Manifest
    models: Registry
    guests: Mapping[str, Guest]
    routes: Routes
    host: Host
    slots: Mapping[str, Slots]
    warnings: tuple[str, ...] = ()  # what the manifest's author may not mean, though it can be served
    tokens: tuple[str, ...] = field(
        default=(), repr=False
    )  # a sidecar must send one of these; empty: no token is checked

    @property
    def filters(self) -> tuple[Filter, ...]:
        """What invocations go through before their route."""
        return self.routes.filters

    def route(self, event: Event) -> Route:
        """See `Routes.find`."""
        return self.routes.find(event)

    def log_notes(self, previous: Plan | None = None) -> None:
        """Log the manifest's warnings, and the notes of each model that the plan `previous` did not have."""
        for warning in self.warnings:
            _logger.warning("perhaps not meant", warning=warning)
        for model in self.models.models:
            if previous is None or previous.models.named(model.name) is not model:
                for text in model.notes:
                    _logger.warning("a note on a model", model=model.name, note=text)

    def close(self) -> None:
        """Let go of all runners and models: those that no other plan holds end. May be called twice."""
        if self.models.closed:
            return
        for guest in self.guests.values():
            guest.runner.close()
        self.models.close()

"""All that one manifest loads: guests, models, routes, on what lives as long as the process. Immutable.

How it is built is `build`'s matter; which plan events are answered with, and when one ends, `current`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from guesthouse.engine import PixelCode
from guesthouse.engine.base import Engine
from guesthouse.engine.cache import CodeCache
from guesthouse.event import Event
from guesthouse.guests.guest import Guest
from guesthouse.guests.process.stock import Stock
from guesthouse.guests.slots import Slots
from guesthouse.inference.registry import Registry
from guesthouse.manifest import Manifest
from guesthouse.plan.routes import Route, Routes

_logger = structlog.get_logger("guesthouse")


class PlanFaults(Exception):
    """A manifest that cannot be served; `faults` has every reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Host:
    """What plans are built on, and what lives as long as the process: the engine, its compiled code, its workers, and
    what works on pixels."""

    engine: Engine
    cache: CodeCache
    stock: Stock
    pixels: PixelCode


@dataclass(frozen=True, slots=True)
class Plan:
    """What events are answered with.

    `slots` are those of its guests, and of guests of plans before it that may still be at work: a guest that is
    changed, or taken out and put back, goes on with the same.
    """

    manifest: Manifest
    models: Registry
    guests: Mapping[str, Guest]
    routes: Routes
    host: Host
    slots: Mapping[str, Slots]
    warnings: tuple[str, ...] = ()  # what its author perhaps does not mean; it is served all the same
    tokens: tuple[str, ...] = field(default=(), repr=False)  # of which a sidecar has to send one; none: no check

    def route(self, event: Event) -> Route:
        """See `Routes.find`."""
        return self.routes.find(event)

    def log_notes(self, before: Plan | None = None) -> None:
        """Log what is perhaps not meant, and what an operator should know of models that the plan `before` had not."""
        for warning in self.warnings:
            _logger.warning("perhaps not meant", warning=warning)
        for model in self.models.models:
            if before is None or before.models.named(model.name) is not model:
                for text in model.notes:
                    _logger.warning("a note on a model", model=model.name, note=text)

    def close(self) -> None:
        """Let go of the runners and models that no other plan holds. Closing twice is no error."""
        if self.models.closed:
            return
        for guest in self.guests.values():
            guest.runner.close()
        self.models.close()

"""Puts the parts of an application together from a manifest, for the commands that need them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import structlog

from guesthouse.engine import open_engine
from guesthouse.engine.base import EngineConfig
from guesthouse.engine.cache import CodeCache
from guesthouse.manifest import Manifest
from guesthouse.plan import Plan, build

_SPARE = 2  # instance slots beyond those that events can take: an instance is freed just after its slot


@contextlib.contextmanager
def opened(manifest: Manifest) -> Iterator[Plan]:
    """The plan of a manifest, on an engine of its size; closed at the end.

    Raises `PlanFaults`, `CacheError`.
    """
    limits = [guest.limits for guest in manifest.guests.values()]
    config = EngineConfig(
        instances=sum(one.concurrency for one in limits) + _SPARE,
        memory=max((one.memory for one in limits), default=EngineConfig.memory),
        pooling=manifest.engine.pooling,
    )
    cache = CodeCache(manifest.engine.cache)
    if cache.note:
        structlog.get_logger("guesthouse").warning(cache.note)
    with contextlib.closing(cache), contextlib.closing(open_engine(manifest.engine.name, config)) as engine:
        plan = build(manifest, engine, cache)
        try:
            yield plan
        finally:
            plan.close()

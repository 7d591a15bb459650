"""Where the metrics and traces of a served application go. Both are off until something asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from guesthouse.faults import Faults
from guesthouse.manifest import Manifest
from guesthouse.manifest.tables import Metrics as MetricsTable
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.probes import Probes

if TYPE_CHECKING:  # imported where traces are on
    from guesthouse.observe.traces import Traces


class ExtraMissing(Faults):
    """Something is asked for that needs an extra (`guesthouse[otel]`) which is not installed."""


def traces_for(manifest: Manifest, environ: Mapping[str, str] = os.environ) -> Traces | None:
    """Where spans go: None where neither the manifest nor the standard variables ask for any.

    Raises `ExtraMissing`, `TracesError`.
    """
    asked = manifest.traces is not None or any(
        environ.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT") for kind in ("", "TRACES_")
    )
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not asked or disabled:
        return None
    try:
        from guesthouse.observe import traces
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            f"traces are asked for, and {error.name} is not installed: install guesthouse[otel], or take [traces] and "
            "OTEL_EXPORTER_OTLP_ENDPOINT away"
        ) from error
    endpoint = manifest.traces.endpoint if manifest.traces is not None else None
    return traces.to_collector(manifest.app.name, endpoint, environ)


def probes_for(manifest: Manifest, port: int | None, metrics: Metrics, ready: Callable[[], bool]) -> Probes:
    """The port for metrics and probes, open; `port` goes before the manifest's. Raises `ProbesError`."""
    settings = manifest.metrics or MetricsTable()
    return Probes(
        settings.host,
        port if port is not None else settings.port,
        metrics.registry(),
        ready,
        [token.get_secret_value() for token in settings.token],
    )

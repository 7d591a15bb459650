"""`guesthouse serve`: everything of a manifest behind one gRPC port, until a signal drains it."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import structlog
import typer

from guesthouse import __version__
from guesthouse.cli.observed import probes_for, traces_for
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail
from guesthouse.cli.parts import application_for, opened, with_component
from guesthouse.dapr.application import Application
from guesthouse.dapr.server import ServeError, run_until_signal
from guesthouse.dapr.sidecar import Endpoint, SidecarOutputs
from guesthouse.engine import version_of
from guesthouse.event import Observer
from guesthouse.inference import session
from guesthouse.manifest import load
from guesthouse.manifest.tables import COMPONENT_NAME
from guesthouse.observe import logs
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.probes import Probes
from guesthouse.plan import Plan

app = new_app()

_log = structlog.get_logger("guesthouse")

Host = Annotated[
    str | None, typer.Option("--host", metavar="HOST", help="Listen there.", show_default="the manifest's")
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Listen there; 0 takes a free port.", show_default="the manifest's"),
]


def _component(name: str | None) -> str | None:
    if name is not None and not COMPONENT_NAME.fullmatch(name):
        raise typer.BadParameter("use small letters, digits and -, as in guests for bindings.guests")
    return name


ComponentName = Annotated[
    str | None,
    typer.Option(
        "--component",
        metavar="NAME",
        help="Be the pluggable component bindings.NAME as well.",
        show_default="the manifest's, else none",
        callback=_component,
    ),
]


MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        help="Serve metrics and probes there; 0 takes a free port.",
        show_default="the manifest's, else none",
    ),
]


@app.command(epilog=example_text("serve", "serve -m vision.toml --port 50051 --log-format json"))
def serve(
    manifest: ManifestFile = DEFAULT_MANIFEST,
    host: Host = None,
    port: Port = None,
    component: ComponentName = None,
    metrics_port: MetricsPort = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the guests of a manifest to a Dapr sidecar.

    The port opens when everything is loaded. SIGTERM drains: health says no, events inside are finished; a second
    SIGTERM ends at once.
    """
    began = time.monotonic()
    loaded = load(manifest)
    if component is not None:
        loaded = with_component(loaded, component)
    settings = loaded.metrics
    tokens = (*loaded.server.token, *(settings.token if settings is not None else ()))
    logs.hide(token.get_secret_value() for token in tokens)
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(opened(loaded))
        outputs = stack.enter_context(contextlib.closing(SidecarOutputs(Endpoint.from_environment())))
        traces = traces_for(loaded)
        if traces is not None:
            stack.enter_context(contextlib.closing(traces))
        metrics = Metrics(plan) if loaded.metrics is not None or metrics_port is not None else None
        observers: list[Observer] = [metrics] if metrics is not None else []
        application = application_for(plan, outputs, host=host, port=port, observers=observers, traces=traces)
        probes = None
        if metrics is not None:
            probes = probes_for(loaded, metrics_port, metrics, lambda: application.server.ready)
            stack.enter_context(contextlib.closing(probes))
        try:
            application.start()
        except ServeError as error:
            fail([str(error)])
        _announce(plan, application, probes, time.monotonic() - began)
        code = run_until_signal(application)
        _log.info("ended")
    raise typer.Exit(code)


def _announce(plan: Plan, application: Application, probes: Probes | None, seconds: float) -> None:
    server, component = application.server, application.component
    _log.info(
        "serving",
        address=f"{server.config.host}:{server.port}",
        app=plan.manifest.app.name,
        guests=len(plan.guests),
        models=len(plan.manifest.models),
        compiled=sum(guest.compiled for guest in plan.guests.values()),
        seconds=round(seconds, 2),
        version=__version__,
        engine=version_of(plan.manifest.engine.name),
        onnxruntime=session.VERSION,
        **({"component": str(component.socket.path)} if component is not None else {}),
        **({"metrics": f"{probes.host}:{probes.port}"} if probes is not None else {}),
    )

"""`guesthouse serve`: everything of a manifest behind one gRPC port, until a signal drains it."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import structlog
import typer

from guesthouse import __version__, masking
from guesthouse.assembly import (
    ServedApplication,
    application_for,
    capacity_with_spare,
    open_plan,
    update_application,
    with_component,
)
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.telemetry import probes_for, traces_for
from guesthouse.dapr.actors.calls import SidecarActors
from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.guest_calls import GuestCalls
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.dapr.subscribed import Subscribed
from guesthouse.engine import version_of
from guesthouse.event import Observer
from guesthouse.guests.capabilities import GRANTS
from guesthouse.inference import session
from guesthouse.manifest import Manifest, load
from guesthouse.manifest.tables import COMPONENT_NAME
from guesthouse.observe.metrics import Metrics
from guesthouse.observe.probes import Probes
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan
from guesthouse.plan.reload import Reloader, ReloadListeners, Reloads, Source, files_of
from guesthouse.system import malloc
from guesthouse.system.signals import run_until_signal
from guesthouse.system.stamps import stamps

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


Watch = Annotated[bool, typer.Option("--watch", help="Reload when the manifest or a file that it names changes.")]


@app.command(epilog=example_text("serve", "serve -m vision.toml --port 50051 --log-format json"))
def serve(
    manifest: ManifestFile = DEFAULT_MANIFEST,
    host: Host = None,
    port: Port = None,
    component: ComponentName = None,
    metrics_port: MetricsPort = None,
    watch: Watch = False,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the guests of a manifest to a Dapr sidecar.

    The port opens when everything is loaded. SIGHUP reloads: what has changed is checked, then switched to without a
    stop. SIGTERM drains: health says no, events inside are finished; a second SIGTERM ends at once.
    """
    began = time.monotonic()
    malloc.one_arena()
    malloc.keep_pages()
    with contextlib.ExitStack() as stack:
        hung_up = stack.enter_context(_hang_up_signal())
        read = functools.partial(_read, manifest, component)
        seen = dict(stamps([manifest]))  # stamped before it is read: a change meanwhile is a change
        loaded = read()
        seen |= stamps(files_of(loaded))
        endpoint = Endpoint.from_environment()
        sidecar = stack.enter_context(contextlib.closing(SidecarConnection(endpoint)))
        plan = stack.enter_context(open_plan(loaded, {"dapr": GuestCalls(sidecar)}))
        plans = stack.enter_context(contextlib.closing(Plans(plan)))
        outputs = SidecarOutputs(sidecar, loaded.outputs.time)
        actor_calls = SidecarActors(sidecar, loaded.outputs.time)
        subscribed = stack.enter_context(contextlib.closing(Subscribed(sidecar)))
        traces = traces_for(loaded)
        if traces is not None:
            stack.enter_context(contextlib.closing(traces))
        observers: list[Observer] = [subscribed]
        metrics = None
        if loaded.metrics is not None or metrics_port is not None:
            metrics = Metrics(plans, lambda: subscribed.topics, lambda: application.actors)
            observers.append(metrics)
        reloads = Reloads()
        application = application_for(
            plans,
            outputs,
            host=host,
            port=port,
            observers=observers,
            traces=traces,
            fetched=subscribed.fetched,
            reloads=reloads,
            sidecar=endpoint,
            actor_calls=actor_calls,
        )
        probes = None
        if metrics is not None:
            probes = probes_for(loaded, metrics_port, metrics, lambda: application.server.ready)
            stack.enter_context(contextlib.closing(probes))
        application.start()
        seconds = time.monotonic() - began
        listeners = ReloadListeners(functools.partial(update_application, application), [reloads.ended])
        if metrics is not None:
            listeners.ended.append(metrics.reloaded)
        reloader = Reloader(plans, Source(manifest, read, capacity_with_spare(loaded)), listeners, watch, hung_up)
        reloader.seen(seen)
        stack.enter_context(contextlib.closing(reloader))

        def ready() -> None:
            _announce(plan, application, probes, seconds)
            malloc.give_back()  # what loading took and does not need any more
            reloader.start()  # its first line comes after that of the start

        def drain() -> None:
            reloader.stop()  # nothing is reloaded from now on
            application.drain()

        code = run_until_signal(drain, {signal.SIGHUP: reloader.request}, ready)
        _log.info("ended")
    raise typer.Exit(code)


def _read(path: Path, component: str | None) -> Manifest:
    """The manifest as this command serves it. From now on its tokens are hidden in the log."""
    manifest = load(path, grants=GRANTS)
    if component is not None:
        manifest = with_component(manifest, component)
    tokens = (*manifest.server.token, *(manifest.metrics.token if manifest.metrics is not None else ()))
    masking.hide(token.get_secret_value() for token in tokens)
    return manifest


@contextlib.contextmanager
def _hang_up_signal() -> Iterator[threading.Event]:
    """An event that SIGHUP sets. Without this, a SIGHUP would end the process while it still loads."""
    hung_up = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda _number, _frame: hung_up.set())
    try:
        yield hung_up
    finally:
        signal.signal(signal.SIGHUP, before)


def _announce(plan: Plan, application: ServedApplication, probes: Probes | None, seconds: float) -> None:
    plan.log_notes()
    server, component = application.server, application.component
    _log.info(
        "serving",
        address=f"{server.config.host}:{server.port}",
        app=plan.manifest.app.name,
        guests=len(plan.guests),
        models=len(plan.manifest.models),
        compiled=sum(guest.code.compiled for guest in plan.guests.values()),
        seconds=round(seconds, 2),
        version=__version__,
        **({"core": server.core.name, "because": server.core.why} if server.core is not None else {}),
        engine=version_of(plan.manifest.engine.name),
        onnxruntime=session.VERSION,
        **({"component": str(component.socket.path), "component_core": component.core.name} if component else {}),
        **({"metrics": f"{probes.host}:{probes.port}"} if probes is not None else {}),
    )

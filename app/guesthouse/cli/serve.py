"""`guesthouse serve`: everything of a manifest behind one gRPC port, until a signal drains it."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import structlog
import typer

from guesthouse import __version__
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail
from guesthouse.cli.parts import opened, server_for
from guesthouse.dapr.server import ServeError, run_until_signal
from guesthouse.dapr.sidecar import Endpoint, SidecarOutputs
from guesthouse.engine import version_of
from guesthouse.inference import session
from guesthouse.manifest import load
from guesthouse.observe import logs
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


@app.command(epilog=example_text("serve", "serve -m vision.toml --port 50051 --log-format json"))
def serve(
    manifest: ManifestFile = DEFAULT_MANIFEST,
    host: Host = None,
    port: Port = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the guests of a manifest to a Dapr sidecar.

    The port opens when everything is loaded. SIGTERM drains: health says no, events inside are finished; a second
    SIGTERM ends at once.
    """
    began = time.monotonic()
    loaded = load(manifest)
    logs.hide(token.get_secret_value() for token in loaded.server.token)
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(opened(loaded))
        outputs = stack.enter_context(contextlib.closing(SidecarOutputs(Endpoint.from_environment())))
        server = server_for(plan, outputs, host=host, port=port)
        try:
            server.start()
        except ServeError as error:
            fail([str(error)])
        _announce(plan, f"{server.config.host}:{server.port}", time.monotonic() - began)
        code = run_until_signal(server)
        _log.info("ended")
    raise typer.Exit(code)


def _announce(plan: Plan, address: str, seconds: float) -> None:

    _log.info(
        "serving",
        address=address,
        app=plan.manifest.app.name,
        guests=len(plan.guests),
        models=len(plan.manifest.models),
        compiled=sum(guest.compiled for guest in plan.guests.values()),
        seconds=round(seconds, 2),
        version=__version__,
        engine=version_of(plan.manifest.engine.name),
        onnxruntime=session.VERSION,
    )

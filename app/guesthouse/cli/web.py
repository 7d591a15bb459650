"""`guesthouse web`: the page, for a guest host that the page reaches through its own sidecar."""

from __future__ import annotations

import logging
import os
import socket
from typing import Annotated

import structlog
import typer
import uvicorn

from guesthouse import masking
from guesthouse.cli.options import LogFormat, LogLevel, example_text, new_app
from guesthouse.cli.output import fail
from guesthouse.faults import fault
from guesthouse.manifest.rules import is_loopback
from guesthouse.web.guest_host import GuestHost, url_from_environment
from guesthouse.web.server import LOOPBACK, application

app = new_app()

_log = structlog.get_logger("guesthouse")
_CALLERS = 128  # connections at a time; more are answered 503

Host = Annotated[str, typer.Option("--host", metavar="HOST", help="Listen there.")]
Port = Annotated[int, typer.Option("--port", min=1, max=65535, help="Listen there.")]
App = Annotated[str, typer.Option("--app", metavar="NAME", help="The guest host's Dapr app id.")]


@app.command(epilog=example_text("web", "web --app vision --port 8080"))
def web(
    host: Host = "127.0.0.1",
    port: Port = 8080,
    app: App = "vision",
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the page: photos to guests, a live feed and an operator's view.

    It calls the guest host through a sidecar of its own, found by DAPR_HTTP_PORT (3500) and DAPR_API_TOKEN. With
    GUESTHOUSE_PAGE_TOKEN, the page asks its visitors for that, as the password of any name.
    """
    token, asked = os.environ.get("DAPR_API_TOKEN", ""), os.environ.get("GUESTHOUSE_PAGE_TOKEN", "")
    masking.hide([token, asked])
    for library in ("httpx2", "httpcore2"):  # below a warning they log every call to the sidecar
        logging.getLogger(library).setLevel(logging.WARNING)
    guest_host = GuestHost(url_from_environment(), app, token)
    if not asked and not is_loopback(host):
        _log.warning("whoever reaches the page may use it: set GUESTHOUSE_PAGE_TOKEN", host=host)
    served = application(guest_host, LOOPBACK if is_loopback(host) else None, asked)
    config = uvicorn.Config(
        served,
        host,
        port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=_CALLERS,
        timeout_graceful_shutdown=5,
    )
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # the address follows anyway
        fail([fault(f"cannot listen ({why})", f"{host}:{port}", "choose another with --host or --port")])
    # Connections inherit TCP_NODELAY. Without it, the body of an answer waits 40 ms for the browser to acknowledge the
    # headers. asyncio sets it itself only where the socket was made with the number of TCP.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _log.info(
        "the page",
        url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}",
        app=app,
        sidecar=guest_host.url,
    )
    uvicorn.Server(config).run([listening])

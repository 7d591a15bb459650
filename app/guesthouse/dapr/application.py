"""All that one process serves to sidecars: the application's server and, where it has one, its component.

They start and end as one; what each of them serves is in `server` and `component`.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from guesthouse.dapr.component.server import Component
from guesthouse.dapr.server import ServeError, Server

_LEAST = 1.0  # seconds for the last acknowledgements, however long the events took


class Application:
    """A server and perhaps a component over the same guests. Nobody can connect before `start`."""

    def __init__(self, server: Server, component: Component | None = None) -> None:
        self.server = server
        self.component = component

    def start(self) -> None:
        """Serve. The component first: who sees the port open may start a sidecar. Raises `ServeError`."""
        if self.component is not None:
            self.component.start()
        try:
            self.server.start()
        except ServeError:
            self.stop()
            raise

    def drain(self) -> bool:
        """End gently, see `Server.drain`: no more events are taken, then the last replies are read."""
        if self.component is None:
            return self.server.drain()
        settings = self.component.config
        end = time.monotonic() + settings.notice + settings.limit
        with ThreadPoolExecutor(1) as beside:
            component = beside.submit(self.component.drain)
            finished = self.server.drain()
            finished = component.result() and finished
        left = self.component.close(max(_LEAST, end - time.monotonic()))
        return finished and not left

    def stop(self) -> None:
        """End at once."""
        self.server.stop()
        if self.component is not None:
            self.component.close()

"""An application that can be reloaded, as `guesthouse serve` puts it together, in this process and on a real port."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wasmtime

from guesthouse.assembly import ServedApplication, application_for, capacity_with_spare, open_plan, update_application
from guesthouse.dapr.client import Client
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.event import Event, Trigger
from guesthouse.manifest import load
from guesthouse.observe.metrics import Metrics
from guesthouse.plan.current import Plans
from guesthouse.plan.reload import Reloader, ReloadListeners, Source, files_of
from guesthouse.system.stamps import stamps
from tests.support.served import Served
from tests.support.serving import connected

Serve = Callable[..., Served]

MANIFEST = """
[app]
name = "t"

[guests.says]
module = "says.wasm"
calling = "command"
limits = { concurrency = 2, time = "60s", queue_wait = "60s" }

[[invoke]]
method = "say"
guest = "says"
"""


def says(text: str, log: str = "") -> bytes:
    """A command that logs `log`, if that is something, and replies `text`."""
    calls = "".join(
        f"(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {len(words)}))"
        f"(drop (call $write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 8)))"
        for stream, at, words in ((2, 32, log), (1, 512, text))
        if words
    )
    return bytes(
        wasmtime.wat2wasm(
            f"""(module
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") 1) (data (i32.const 32) "{log}") (data (i32.const 512) "{text}")
              (func (export "_start") {calls}))"""
        )
    )


def replace_file(path: Path, data: bytes | str) -> None:
    """Change a file as editors and copying tools do that care: at once."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data.encode() if isinstance(data, str) else data)
    os.replace(new, path)


@dataclass(frozen=True)
class Reloading:
    """What a test may ask."""

    client: Client
    application: ServedApplication
    plans: Plans
    reloader: Reloader
    metrics: Metrics

    def ask(self, method: str = "say", body: bytes = b"") -> str:
        """The guest's reply to an invocation. Raises `Failure`."""
        return self.client.send(Event(Trigger.INVOKE, method, body), timeout=60).body.decode()


@contextlib.contextmanager
def reloading(path: Path, watch: bool = False) -> Iterator[Reloading]:
    """Serve the manifest at `path` on a free port. Reloads when it is told to, or with `watch` when a file changes."""
    seen = dict(stamps([path]))
    manifest = load(path)
    seen |= stamps(files_of(manifest))
    with contextlib.ExitStack() as stack:
        plan = stack.enter_context(open_plan(manifest))
        plans = stack.enter_context(contextlib.closing(Plans(plan)))
        outputs = SidecarOutputs(stack.enter_context(connected()))
        metrics = Metrics(plans)
        application = application_for(plans, outputs, port=0, observers=[metrics])
        listeners = ReloadListeners(functools.partial(update_application, application), [metrics.reloaded])
        source = Source(path, functools.partial(load, path), capacity_with_spare(manifest))
        reloader = Reloader(plans, source, listeners, watch, interval=0.02)
        reloader.seen(seen)
        stack.enter_context(contextlib.closing(reloader))
        if watch:
            reloader.start()
        application.start()
        stack.callback(application.stop)
        client = stack.enter_context(Client(f"127.0.0.1:{application.server.port}", token=""))
        yield Reloading(client, application, plans, reloader, metrics)


def told(log: list[MutableMapping[str, Any]]) -> list[str]:
    """What was logged but for events: how many were answered is told later, also of another test's."""
    return [line["event"] for line in log if not line["event"].startswith("answered")]

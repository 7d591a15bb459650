"""`guesthouse dev`: a guest's folder, built and loaded again on each change, and a timeline of each event."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from guesthouse.assembly import application_for, capacity_with_spare, open_plan, update_application
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.output import note
from guesthouse.cli.timeline import Timeline
from guesthouse.dapr.actors.calls import SidecarActors
from guesthouse.dapr.endpoint import Endpoint, SidecarConnection
from guesthouse.dapr.guest_calls import GuestCalls
from guesthouse.dapr.outputs import SidecarOutputs
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse.plan.reload import Reloader, ReloadListeners, Source, files_of
from guesthouse.scripted.script import Script, ScriptedSidecar, load_script
from guesthouse.sidecar import SidecarApi
from guesthouse.system.signals import run_until_signal
from guesthouse.system.stamps import Stamp, stamps

app = new_app()

INTERVAL = 0.5  # seconds between two looks at the sources
_MOST = 10_000  # files that are looked at
#: Folders with what a build makes, and with what no guest is built of.
_NOT_SOURCES = frozenset({"target", "build", "node_modules", "out", "dist"})

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where guesthouse.toml and the sources are.")]
Build = Annotated[
    str | None,
    typer.Option("--build", metavar="COMMAND", help="What builds the guest.", show_default="make, with a Makefile"),
]
Dapr = Annotated[
    Path | None,
    typer.Option(
        "--dapr", metavar="FILE", help="Answer calls by this script, anew for each event.", show_default="the sidecar"
    ),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65535, help="Listen there; 0 takes a free port.", show_default="the manifest's"),
]


@app.command(epilog=example_text("dev", "dev cart --dapr cart/calls.toml"))
def dev(
    folder: Folder = Path(),
    build: Build = None,
    dapr: Dapr = None,
    port: Port = None,
    manifest: ManifestFile = DEFAULT_MANIFEST,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve a guest while it is written: build and reload on each change, and tell of each event what happened.

    Events come from a sidecar, or from `guesthouse send … --to 127.0.0.1:50051`. Ctrl-C ends it.
    """
    builder = Builder(folder, _command(folder, build))
    path = folder / manifest if manifest == DEFAULT_MANIFEST else manifest
    read = functools.partial(load, path, grants=GRANTS)
    script = load_script(dapr) if dapr is not None else None
    sidecar = ScriptedSidecar(script or Script())
    builder.build_until_it_succeeds()
    logging.getLogger("guesthouse.events").setLevel(logging.ERROR)  # the timeline says it
    with contextlib.ExitStack() as stack:
        seen = dict(stamps([path]))
        loaded = read()
        seen |= stamps(files_of(loaded))
        connection = stack.enter_context(contextlib.closing(SidecarConnection(Endpoint.from_environment())))
        api: SidecarApi = sidecar if script is not None else GuestCalls(connection)
        plan = stack.enter_context(open_plan(loaded, {"dapr": api}))
        plans = stack.enter_context(contextlib.closing(Plans(plan)))
        outputs = SidecarOutputs(connection, loaded.outputs.time)
        actor_calls = SidecarActors(connection, loaded.outputs.time)
        timeline = Timeline(functools.partial(_differences, sidecar, script) if script is not None else list)
        timeline.install()
        stack.callback(timeline.remove)
        application = application_for(
            plans, outputs, host="127.0.0.1", port=port, observers=[timeline], actor_calls=actor_calls
        )
        application.start()
        source = Source(path, read, capacity_with_spare(loaded))
        listeners = ReloadListeners(functools.partial(update_application, application))
        reloader = Reloader(plans, source, listeners, watch=True, interval=INTERVAL)
        reloader.seen(seen)
        stack.enter_context(contextlib.closing(reloader))
        stack.enter_context(contextlib.closing(builder))

        def ready() -> None:
            note(
                f"listening on 127.0.0.1:{application.server.port}; a change in {folder.absolute()} builds and reloads"
            )
            reloader.start()
            builder.start()

        def drain() -> None:
            builder.close()
            reloader.stop()
            application.drain()

        code = run_until_signal(drain, {}, ready)
    raise typer.Exit(code)


def _command(folder: Path, build: str | None) -> Sequence[str]:
    """What builds the guest; nothing where there is nothing to call."""
    if build is not None:
        return shlex.split(build)
    return ["make"] if (folder / "Makefile").exists() else []


def _differences(sidecar: ScriptedSidecar, script: Script) -> list[str]:
    """How the calls of an event differ from the script, which then begins anew."""
    found = sidecar.faults()
    sidecar.follow(script)
    return found


class Builder:
    """Calls a command when a source has changed, in a thread of its own."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder = folder
        self._command = command
        self._ended = threading.Event()
        self._built = self._states()
        self._thread = threading.Thread(target=self._run, name="build", daemon=True)

    def start(self) -> None:
        """Begin to look. Call `close` at the end."""
        self._thread.start()

    def close(self) -> None:
        """End; a build that is under way is not waited for."""
        self._ended.set()

    def build_until_it_succeeds(self) -> None:
        """Build; where that fails, again after each change."""
        while not self._build():
            note("waiting for a change")
            while not self._changed():
                time.sleep(INTERVAL)

    def _run(self) -> None:
        while not self._ended.wait(INTERVAL):
            if self._changed():
                self._build()

    def _build(self) -> bool:
        if not self._command:
            return True
        began = time.monotonic()
        try:
            done = subprocess.run(self._command, cwd=self._folder, capture_output=True, text=True, errors="replace")
        except OSError as error:
            note(f"not built: {self._command[0]} cannot be called ({error.strerror})")
            return False
        if done.returncode:
            typer.echo(f"{done.stdout}{done.stderr}".rstrip(), err=True)
            note(f"not built: {shlex.join(self._command)} ended with exit code {done.returncode}")
            return False
        note(f"built in {time.monotonic() - began:.1f} s")
        return True

    def _changed(self) -> bool:
        """Whether a source has changed since the last time that this was so. It has settled then: a file that is being
        written is not built."""
        now = self._states()
        if now == self._built or self._ended.wait(0.1) or self._states() != now:
            return False
        self._built = now
        return True

    def _states(self) -> Mapping[Path, Stamp]:
        return stamps(self._sources())

    def _sources(self) -> Iterator[Path]:
        """The files of the folder, without hidden ones and what a build makes."""
        count = 0
        for parent, folders, files in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_SOURCES]
            for name in files:
                if not name.startswith(".") and not name.endswith((".wasm", ".lock")) and count < _MOST:
                    count += 1
                    yield Path(parent, name)

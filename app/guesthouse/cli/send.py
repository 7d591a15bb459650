"""`guesthouse send`: one event, answered in this process or by a running server. The reply's body goes to standard
output byte for byte, everything else to standard error."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guesthouse.cli import costs, event_options
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail, note
from guesthouse.event import Cost, Destination, Event, Failure, Reply
from guesthouse.faults import fault
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse_abi.deadline import Deadline

if TYPE_CHECKING:  # imported where calls are answered by a script
    from guesthouse.scripted.script import ScriptedSidecar

app = new_app()

_EXAMPLE = example_text(
    "send invoke api/image --data photo.png",
    "send binding camera --data photo.png --to 127.0.0.1:50051",
    "send topic pubsub/photos --data - < photo.png",
    "send invoke cart --dapr calls.toml -v",
)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what the event cost, call by call.")]
Dapr = Annotated[
    Path | None,
    typer.Option(
        "--dapr", metavar="FILE", help="Answer the guest's calls by this script; no sidecar.", show_default=False
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="--to: how long to wait.")]


@app.command(epilog=_EXAMPLE)
def send(
    kind: event_options.Kind,
    name: event_options.Name,
    data: event_options.Data = "",
    content_type: event_options.ContentType = "",
    verb: event_options.Verb = "POST",
    query: event_options.Query = "",
    path: event_options.Path_ = "",
    to: event_options.To = None,
    timeout: Timeout = 60.0,
    dapr: Dapr = None,
    verbose: Verbose = False,
    manifest: ManifestFile = DEFAULT_MANIFEST,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Send one event and print the reply. Without --to, the manifest's guest is run in this process.

    A token is taken from $APP_API_TOKEN. With --dapr, the command also fails where other calls came than the script
    expects.
    """
    if to is not None and dapr is not None:
        raise typer.BadParameter("is for a guest that is run here: leave --to out", param_hint="--dapr")
    event = event_options.read_event(kind, name, data, content_type, verb, query, path)
    sidecar = _scripted(dapr)
    try:
        if to is not None:
            from guesthouse.dapr.client import Client

            began = time.perf_counter()
            with Client(to) as client:
                reply = client.send(event, timeout)
            if verbose:
                note(f"{len(reply.body)} bytes {reply.content_type} in {(time.perf_counter() - began) * 1000:.1f} ms")
        else:
            reply = _here(event, manifest, sidecar, verbose)
    except Failure as failure:
        if verbose and failure.cost is not None:
            _note_cost(failure.cost)
        why = fault(str(failure), f"{kind.value} {name}", f"the reason is {failure.reason.value}")
        fail([why, *_unmet(sidecar, dapr)])
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()
    if unmet := _unmet(sidecar, dapr):
        fail(unmet)


def _scripted(file: Path | None) -> ScriptedSidecar | None:
    """What answers calls in a sidecar's place."""
    if file is None:
        return None
    from guesthouse.scripted.script import ScriptedSidecar, load_script

    return ScriptedSidecar(load_script(file))


def _unmet(sidecar: ScriptedSidecar | None, file: Path | None) -> list[str]:
    """How the calls differ from the script."""
    faults = sidecar.faults() if sidecar is not None else ()
    return [fault(one, str(file), "correct the guest, or the script") for one in faults]


def _here(event: Event, manifest: Path, sidecar: ScriptedSidecar | None, verbose: bool) -> Reply:
    """Answer the event in this process. Only the guest that answers is loaded, with the models that it may use."""
    from guesthouse.assembly import narrowed_to, open_plan
    from guesthouse.dispatch.dispatcher import Dispatcher

    loaded = narrowed_to(load(manifest, grants=GRANTS), event)
    with open_plan(loaded, {"dapr": sidecar} if sidecar is not None else None) as plan:
        reply = Dispatcher(Plans(plan), _NamedOutputs()).dispatch(event)
    if verbose:
        note(f"guest {reply.guest}: {len(reply.body)} bytes {reply.content_type}")
        _note_cost(reply.cost)
    return reply


def _note_cost(cost: Cost) -> None:
    for line in costs.calls(cost):
        note(line)
    note(costs.in_words(cost))


class _NamedOutputs:
    """Outputs that are printed and not called: there is no sidecar."""

    def deliver(self, reply: Reply, event: Event, destination: Destination, caller: Deadline) -> None:
        """See `event.Outputs`."""
        outputs = [f"output binding {name}" for name in destination.to]
        outputs += [f"state {'/'.join(destination.state)}"] if destination.state else []
        note(f"not sent on, since no sidecar is here: {', '.join(outputs)}")

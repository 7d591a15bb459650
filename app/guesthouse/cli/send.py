"""`guesthouse send`: one event, answered in this process or by a running server. The reply's body goes to standard
output byte for byte, everything else to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guesthouse.cli import costs, event_options
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail, note, replace_file
from guesthouse.event import ACTOR_TRIGGERS, Cost, Destination, Event, Failure, Reply, Trigger
from guesthouse.faults import fault
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import Manifest, load
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
    "send actor Cart/7 add --data tea.json --state cart.json -v",
    "send reminder Cart/7 tidy-up",
)

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what the event cost, call by call.")]
Dapr = Annotated[
    Path | None,
    typer.Option(
        "--dapr", metavar="FILE", help="Answer the guest's calls by this script; no sidecar.", show_default=False
    ),
]
Method = Annotated[
    str,
    typer.Argument(metavar="METHOD", help="actors: the method, the timer or the reminder.", show_default=False),
]
Callback = Annotated[str, typer.Option("--callback", metavar="TEXT", help="timer: what it was registered with.")]
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="actors: the state as JSON, read before the turn and written after it.",
        show_default="empty",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="--to: how long to wait.")]


@app.command(epilog=_EXAMPLE)
def send(
    kind: event_options.Kind,
    name: event_options.Name,
    method: Method = "",
    data: event_options.Data = "",
    content_type: event_options.ContentType = "",
    verb: event_options.Verb = "POST",
    query: event_options.Query = "",
    path: event_options.Path_ = "",
    to: event_options.To = None,
    timeout: Timeout = 60.0,
    dapr: Dapr = None,
    callback: Callback = "",
    state: State = None,
    verbose: Verbose = False,
    manifest: ManifestFile = DEFAULT_MANIFEST,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Send one event and print the reply. Without --to, the manifest's guest is run in this process.

    A token is taken from $APP_API_TOKEN. With --dapr, the command also fails where other calls came than the script
    expects. A turn of an actor has its state in memory, or in a file with --state; one that fails changes nothing.
    """
    for option, given in (("--dapr", dapr), ("--state", state)):
        if to is not None and given is not None:
            raise typer.BadParameter("is for a guest that is run here: leave --to out", param_hint=option)
    if kind in ACTOR_TRIGGERS and to is None:
        event = event_options.read_turn(kind, name, method, data, content_type, callback)
    else:
        _refuse_for_others(kind, {"METHOD": method, "--callback": callback, "--state": state})
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
            reply = _here(event, manifest, sidecar, state, verbose)
    except Failure as failure:
        if verbose and failure.cost is not None:
            _note_cost(failure.cost)
        why = fault(
            str(failure), " ".join(filter(None, (kind.value, name, method))), f"the reason is {failure.reason.value}"
        )
        fail([why, *_unmet(sidecar, dapr)])
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()
    if unmet := _unmet(sidecar, dapr):
        fail(unmet)


def _refuse_for_others(kind: Trigger, given: Mapping[str, object]) -> None:
    """End the command where an event that is no actor's has what only an actor's may have."""
    for option, value in given.items():
        if value and kind not in ACTOR_TRIGGERS:
            raise typer.BadParameter(
                f"is for actors, and this is of the kind {kind.value}: leave it out", param_hint=option
            )


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


def _here(event: Event, manifest: Path, sidecar: ScriptedSidecar | None, state: Path | None, verbose: bool) -> Reply:
    """Answer the event in this process. Only the guest that answers is loaded, with the models that it may use."""
    from guesthouse.assembly import narrowed_to, open_plan
    from guesthouse.dispatch.dispatcher import Dispatcher

    loaded = narrowed_to(load(manifest, grants=GRANTS), event)
    memory = _Memory(loaded, event, sidecar, state) if event.actor is not None else None
    api = memory.sidecar if memory is not None else sidecar
    with open_plan(loaded, {"dapr": api} if api is not None else None) as plan:
        reply = Dispatcher(Plans(plan), _NamedOutputs()).dispatch(event)
    if memory is not None:
        memory.keep(verbose)
    if reply.stop:
        note(f"the guest has stopped it: a host would unregister the {event.trigger.value}")
    if verbose:
        note(f"guest {reply.guest}: {len(reply.body)} bytes {reply.content_type}")
        _note_cost(reply.cost)
    return reply


class _Memory:
    """An actor's state, for one turn: from a file and back."""

    def __init__(self, manifest: Manifest, event: Event, sidecar: ScriptedSidecar | None, file: Path | None) -> None:
        from guesthouse.scripted.actors import ActorMemory, read_state

        self._file = file
        self._before = read_state(file) if file is not None else {}
        self.sidecar = ActorMemory(manifest, sidecar)
        self.sidecar.turn(event, self._before)

    def keep(self, verbose: bool) -> None:
        """Write the file anew where the turn has changed something; and say what."""
        from guesthouse.scripted.actors import changes, written_state

        after = self.sidecar.values
        if self._file is not None and after != self._before:
            try:
                replace_file(self._file, written_state(after))
            except OSError as error:
                what = f"the state cannot be written ({error.strerror})"
                fail([fault(what, str(self._file), "choose another place with --state")])
        if verbose:
            for line in changes(self._before, after):
                note(line)


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

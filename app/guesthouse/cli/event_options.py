"""An event on the command line: the options and arguments that `send` and `bench` share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from guesthouse.cli.output import fail
from guesthouse.event import ACTOR_TRIGGERS, Event, Trigger
from guesthouse.faults import fault
from guesthouse.manifest.text import shown

Kind = Annotated[Trigger, typer.Argument(help="What sets the event off.", show_default=False)]
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="The method, the binding, PUBSUB/TOPIC, the job, the guest of an operation, or the actor as TYPE/ID.",
        show_default=False,
    ),
]
Data = Annotated[
    str, typer.Option("--data", "-d", metavar="FILE", help="The body; - is standard input.", show_default="empty")
]
ContentType = Annotated[str, typer.Option("--content-type", metavar="TYPE", help="The body's content type.")]
Verb = Annotated[str, typer.Option("--verb", metavar="VERB", help="invoke: the HTTP verb.")]
Query = Annotated[str, typer.Option("--query", metavar="TEXT", help="invoke: the query string, as in a=1&b=2.")]
Path_ = Annotated[str, typer.Option("--path", metavar="TEXT", help="topic: the path of the route that matched.")]
To = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="HOST:PORT", help="A running server; without it, a guest is run here.", show_default=False
    ),
]


def read_event(
    kind: Trigger, name: str, data: str, content_type: str = "", verb: str = "POST", query: str = "", path: str = ""
) -> Event:
    """The event with its body read. A body that cannot be read ends the command."""
    if kind is Trigger.TOPIC and not all(name.partition("/")):
        fail(
            [fault(f"{shown(name)} names no topic of a component", "topic", "write PUBSUB/TOPIC, as in pubsub/photos")]
        )
    if kind in ACTOR_TRIGGERS:
        _refuse_actor(kind, name)
    verb = verb.upper() if kind is Trigger.INVOKE else ""
    return Event(kind, name, read_body(data), content_type, verb, query, path)


def _refuse_actor(kind: Trigger, name: str) -> NoReturn:
    """An actor's turn comes from its sidecar alone, in an order that the sidecar keeps."""
    remedy = "call it by InvokeActor of the sidecar's API; `guesthouse send` without --to runs its guest here"
    fail([fault("an actor is called through its sidecar", f"{kind.value} {name}", remedy)])


def read_turn(kind: Trigger, name: str, method: str, data: str, content_type: str, callback: str) -> Event:
    """An actor's turn with its body read. What names no actor ends the command, and so does a missing method."""
    from guesthouse.scripted.actors import actor_in

    try:
        actor_type, actor = actor_in(name, method, callback)
    except ValueError as error:
        fail([fault(str(error), kind.value, "write TYPE/ID, as in Cart/7")])
    wants = kind not in (Trigger.ACTIVATE, Trigger.DEACTIVATE)
    if wants is not bool(method):
        what = "which method, timer or reminder is missing" if wants else f"{shown(method)} is one argument too many"
        example = f"write {kind.value} {name}" + (" METHOD" if wants else "")
        fail([fault(what, f"{kind.value} {name}", example)])
    return Event(kind, actor_type, read_body(data), content_type, actor=actor)


def read_body(data: str) -> bytes:
    """The bytes of a file, of standard input for `-`, or none."""
    if not data:
        return b""
    if data == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(data).read_bytes()
    except OSError as error:
        fail([fault(f"the body cannot be read ({error.strerror})", data, "name a file, or - for standard input")])

"""`guesthouse check`: everything that `serve` would refuse, and a table of what it would serve."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import typer

from guesthouse.assembly import open_plan
from guesthouse.cli.models import inputs
from guesthouse.cli.options import DEFAULT_MANIFEST, Json, ManifestFile, example_text, new_app
from guesthouse.cli.output import note, number, print_json, print_table
from guesthouse.dapr.actors.needs import NEEDED, Lack, asked
from guesthouse.dapr.endpoint import Endpoint
from guesthouse.dapr.unary import AROUND
from guesthouse.engine.base import PAGE
from guesthouse.faults import Faults
from guesthouse.guests.capabilities import GRANTS
from guesthouse.guests.capabilities.sidecar import CALLS, SidecarGrant, calls_by
from guesthouse.guests.files import opens_files_by
from guesthouse.guests.guest import Guest
from guesthouse.manifest import Manifest, ManifestError, load
from guesthouse.manifest.read import sound_part
from guesthouse.manifest.tables import Actor, Binding, Invoke, Topic
from guesthouse.manifest.text import format_size
from guesthouse.plan.plan import Plan
from guesthouse_abi.calling.command import Command
from guesthouse_abi.calling.http import Handler
from guesthouse_abi.calling.messaging import Receiver

app = new_app()

_ALL = 64
_SHORT = 12  # digits of a digest that tell two apart at a glance

Row = Mapping[str, object]


@app.command(epilog=example_text("check", "check -m vision.toml --json"))
def check(manifest: ManifestFile = DEFAULT_MANIFEST, json: Json = False) -> None:
    """Say what the manifest loads, everything that is wrong with it, and what may not be meant.

    A warning is about what is probably a mistake; a note is about what may be as it should. Runs no guest, but for the
    initialisation of guests that are snapshots. Exit code 1 on any error, 0 where there are only warnings and notes.
    """
    try:
        loaded = load(manifest, grants=GRANTS)
    except ManifestError as error:
        raise ManifestError([*error.faults, *_beneath(manifest)]) from None
    with open_plan(loaded) as plan:
        digits = _ALL if json else _SHORT
        guests, models, files = list(_guests(plan, digits)), list(_models(plan, digits, full=json)), list(_files(plan))
        calls = list(_calls(plan))
        actors = {table.guest for table in loaded.actor}  # whose own state needs no grant
        notes = [
            f"guest {guest.name!r} {text}"
            for guest in plan.guests.values()
            for text in _notes(guest, guest.name in actors)
        ]
        notes += [f"model {model.name!r}: {text}" for model in plan.models.models for text in model.notes]
        warnings = [*_unsendable(loaded), *plan.warnings]
        for lack in _lacks(loaded):
            (warnings if lack.fatal else notes).append(f"{lack.text}: {lack.remedy}")
    filters, routes = list(_filters(loaded)), list(_routes(loaded))
    if json:
        found = {"guests": guests, "models": models, "files": files, "calls": calls}
        found |= {"filters": filters, "routes": routes}
        print_json({**found, "warnings": warnings, "notes": notes})
    else:
        for rows in filter(None, (guests, models, files, calls, filters, routes)):
            print_table(rows)
            typer.echo()
    for warning in warnings:
        note(f"warning: {warning}")
    if json:
        return
    for text in notes:
        note(f"note: {text}")
    loads = f"{number(len(guests), 'guest')}, {number(len(models), 'model')} and {number(len(routes), 'route')}"
    but = f", with {number(len(warnings), 'warning')}" if warnings else ""
    note(f"{manifest}: {loads}, all of them sound{but}")


def _beneath(path: Path) -> Iterator[str]:
    """The faults that would follow once those of the manifest are mended, as far as they can be found now."""
    try:
        sound, left = sound_part(path, grants=GRANTS)
    except ManifestError:  # the file is no TOML, which its own fault says
        return
    for table, name, file in left:
        if why := _unreadable(file):
            yield f"{table}.{name}: {file} cannot be read ({why}): make it, or correct the path"
    try:
        with open_plan(sound):
            pass
    except Faults as error:
        yield from error.faults
    except Exception:  # it is reported once the manifest is in order
        return


def _unreadable(file: Path) -> str | None:
    try:
        with file.open("rb"):
            return None
    except OSError as error:
        return error.strerror


def _unsendable(manifest: Manifest) -> Iterator[str]:
    """Guests whose largest replies do not fit into a message. (A topic's or a job's reply is not sent back.)"""
    message = manifest.server.message
    named = {route.guest for route in manifest.routes() if route.trigger.in_message}
    for name in sorted(named):
        output = manifest.guests[name].limits.output
        if output > message - AROUND:
            yield (
                f"guest {name!r}: limits.output is {format_size(output)}, and server.message {format_size(message)}: "
                f"a larger reply is answered TOO_LARGE; raise server.message to {format_size(output + 65536)}, or "
                "lower limits.output"
            )


def _function(guest: Guest) -> str:
    """The export that is called; empty where there are several."""
    caller = guest.code.caller
    return caller.entry if isinstance(caller, (Command, Handler, Receiver)) else guest.config.function


def _lacks(manifest: Manifest) -> Iterator[Lack]:
    """What actors need, and of that what the sidecar lacks, where the environment says which one it is."""
    if not manifest.actor and all(topic.actor is None for topic in manifest.topic):
        return
    if not any(os.environ.get(name) for name in ("DAPR_GRPC_PORT", "DAPR_GRPC_ENDPOINT")):
        yield Lack(NEEDED, "with DAPR_GRPC_PORT in the environment, check asks the sidecar for them", fatal=False)
        return
    yield from asked(Endpoint.from_environment())


def _guests(plan: Plan, digits: int) -> Iterator[Row]:
    for guest in plan.guests.values():
        modules: dict[str, int] = {}
        for wanted in guest.code.module.imports:
            modules[wanted.module] = modules.get(wanted.module, 0) + 1
        yield {
            "guest": guest.name,
            "calling": guest.config.calling,
            "function": _function(guest),
            "models": sorted(guest.config.grants.models),
            "imports": [f"{name} ({count})" for name, count in sorted(modules.items())],
            "exports": sorted(set(guest.code.module.exports) - {"memory"}),
            "sha256": guest.code.sha256[:digits],
        }


def _models(plan: Plan, digits: int, full: bool) -> Iterator[Row]:
    for name in plan.manifest.models:
        model = plan.models.named(name)
        if model is not None:
            yield {
                "model": name,
                "inputs": [str(one) for one in model.inputs] if full else inputs(model),
                "outputs": [str(one) for one in model.outputs],
                "batchable": model.batchable,
                "sha256": model.sha256[:digits],
                **({"notes": model.notes} if full else {}),
            }


def _files(plan: Plan) -> Iterator[Row]:
    """The files that guests are granted, with whole digests, as `sha256` in the manifest wants them."""
    for guest in plan.guests.values():
        for part in guest.granted.parts:
            yield {
                "files_of": guest.name,
                "path": part.at,
                "from": str(part.host),
                "files": part.files,
                "bytes": part.size,
                "sha256": part.sha256,
            }


def _calls(plan: Plan) -> Iterator[Row]:
    """What guests may do by calls to the sidecar."""
    for guest in plan.guests.values():
        grant = guest.config.grant(SidecarGrant) or SidecarGrant()
        for what, names in grant.lines():
            yield {"calls_of": guest.name, "may": what, "names": names}


def _notes(guest: Guest, is_actor: bool) -> Iterator[str]:
    """What may be as it should, and is not usual."""
    grants, parts = guest.config.grants, guest.granted.parts
    granted = {
        "files": bool(parts),
        "body_file": bool(grants.body_file),
        "scratch": bool(grants.scratch),
        "reply_file": bool(grants.reply_file),
    }
    if guest.config.snapshot is not None:
        yield (
            f"is a snapshot: it was initialised when it was loaded, and its events begin with the "
            f"{format_size(_memory(guest))} of memory that it had then (docs/guests.md)"
        )
    keys = ", ".join(key for key, has in granted.items() if has)
    opens = opens_files_by((i.module, i.name) for i in guest.code.module.imports)
    if keys and not opens:
        yield f"has {keys}, but its module opens no file (it does not import path_open): leave them out"
    if opens and not keys:
        yield (
            f"may open files (it imports {opens}) and is granted none: where it wants some, name them in files, "
            "body_file or scratch (docs/guests.md)"
        )
    for part in parts:
        if not part.files:
            yield f"is granted an empty folder, {part.host}: it sees no folder without a file in it"
    yield from _notes_on_calls(guest, is_actor)


def _memory(guest: Guest) -> int:
    """Bytes of the memory that its events begin with."""
    return next((one.minimum for one in guest.code.module.exports.values() if one.kind == "memory"), 0) * PAGE


def _notes_on_calls(guest: Guest, is_actor: bool) -> Iterator[str]:
    grant = guest.config.grant(SidecarGrant)
    calls = calls_by(guest.code.reached)
    if grant is not None and not calls:
        known = " or ".join([*(".".join(one) for one in CALLS), "an interface of components for it"])
        yield f"has the table dapr, but its module makes no calls (it does not import {known}): leave it out"
    if calls and not is_actor and not any((grant or SidecarGrant()).lines()):
        yield (
            f"may call the sidecar (it imports {calls}) and is granted nothing, so each call ends with "
            f"PERMISSION_DENIED: name what it may do in [guests.{guest.name}.dapr] (docs/guests.md)"
        )


def _filters(manifest: Manifest) -> Iterator[Row]:
    for one in manifest.filter:
        yield {"filter": one.guest, "methods": one.methods, "on_error": one.on_error, "enabled": one.enabled}


def _routes(manifest: Manifest) -> Iterator[Row]:
    for route in manifest.routes():
        table, which = route.table, _which(route.table)
        if isinstance(table, Topic) and table.actor is not None:
            which = f"{which}, by the actor {table.actor}"
        yield {"route": route.trigger.value, "name": route.name, "guest": route.guest, "for": which}


def _which(table: object) -> object:
    """Which of the events by that name a route is for, or where its replies go; "" where its table says neither."""
    if isinstance(table, Invoke):
        return table.verbs or "all usual verbs"
    if isinstance(table, Topic):
        return table.route.match if table.route is not None and table.route.match else "all events"
    if isinstance(table, Actor):
        return "methods, timers, reminders"
    return _onward(table.to) if isinstance(table, Binding) else ""


def _onward(to: tuple[str, ...]) -> str:
    return f"then {', '.join(to)}" if to else ""

"""`guesthouse check`: everything that `serve` would refuse, and a table of what it would serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import typer

from guesthouse.cli.options import DEFAULT_MANIFEST, Json, ManifestFile, example_text, new_app
from guesthouse.cli.output import note, number, print_json, print_table
from guesthouse.cli.parts import opened
from guesthouse.manifest import Manifest, load
from guesthouse.plan import Plan

app = new_app()

_ALL = 64
_SHORT = 12  # digits of a digest that tell two apart at a glance

Row = Mapping[str, object]


@app.command(epilog=example_text("check", "check -m vision.toml --json"))
def check(manifest: ManifestFile = DEFAULT_MANIFEST, json: Json = False) -> None:
    """Say what the manifest loads, everything that is wrong with it, and what may not be meant.

    Runs no guest. Exit code 1 on any error, 0 where there are warnings alone.
    """
    loaded = load(manifest)
    with opened(loaded) as plan:
        digits = _ALL if json else _SHORT
        guests, models = list(_guests(plan, digits)), list(_models(plan, digits))
        warnings = plan.warnings
    routes = list(_routes(loaded))
    if json:
        print_json({"guests": guests, "models": models, "routes": routes, "warnings": list(warnings)})
        return
    for rows in (guests, models, routes):
        print_table(rows)
        typer.echo()
    for warning in warnings:
        note(f"warning: {warning}")
    loads = f"{number(len(guests), 'guest')}, {number(len(models), 'model')} and {number(len(routes), 'route')}"
    but = f", with {number(len(warnings), 'warning')}" if warnings else ""
    note(f"{manifest}: {loads}, all of them sound{but}")


def _guests(plan: Plan, digits: int) -> Iterator[Row]:
    for guest in plan.guests.values():
        modules: dict[str, int] = {}
        for wanted in guest.module.imports:
            modules[wanted.module] = modules.get(wanted.module, 0) + 1
        yield {
            "guest": guest.name,
            "calling": guest.config.calling,
            "function": guest.config.function or "_start",
            "models": sorted(guest.config.grants.models),
            "imports": [f"{name} ({count})" for name, count in sorted(modules.items())],
            "exports": sorted(set(guest.module.exports) - {"memory"}),
            "sha256": guest.sha256[:digits],
        }


def _models(plan: Plan, digits: int) -> Iterator[Row]:
    for name in plan.manifest.models:
        model = plan.models.named(name)
        if model is not None:
            yield {
                "model": name,
                "inputs": [str(one) for one in model.inputs],
                "outputs": [str(one) for one in model.outputs],
                "batchable": model.batchable,
                "sha256": model.sha256[:digits],
            }


def _routes(manifest: Manifest) -> Iterator[Row]:
    for invoke in manifest.invoke:
        yield {"route": "invoke", "name": invoke.method, "guest": invoke.guest, "for": invoke.verbs}
    for binding in manifest.binding:
        yield {"route": "binding", "name": binding.name, "guest": binding.guest, "for": _onward(binding.to)}
    for topic in manifest.topic:
        rule = topic.route.match if topic.route is not None and topic.route.match else "all events"
        name = f"{topic.pubsub}/{topic.topic}"
        yield {"route": "topic", "name": name, "guest": topic.guest, "for": rule}
    for job in manifest.job:
        yield {"route": "job", "name": job.name, "guest": job.guest, "for": ""}


def _onward(to: tuple[str, ...]) -> str:
    return f"then {', '.join(to)}" if to else ""

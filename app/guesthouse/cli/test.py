"""`guesthouse test`: the tests of a guest's folder, without a sidecar. What a test is, is in `scripted/cases.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from guesthouse.assembly import open_plan
from guesthouse.cli import costs
from guesthouse.cli.options import DEFAULT_MANIFEST, LogFormat, LogLevel, ManifestFile, example_text, new_app
from guesthouse.cli.output import fail, note, number
from guesthouse.dispatch.dispatcher import Dispatcher
from guesthouse.faults import fault
from guesthouse.guests.capabilities import GRANTS
from guesthouse.manifest import load
from guesthouse.plan.current import Plans
from guesthouse.scripted import junit
from guesthouse.scripted.actors import ActorMemory
from guesthouse.scripted.cases import NoOutputs, Outcome, cases_in, run
from guesthouse.scripted.script import Script, ScriptedSidecar
from guesthouse.text import escaped

app = new_app()

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where guesthouse.toml and tests/ are.")]
JUnit = Annotated[
    Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit report too.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say of each test which calls it made.")]


@app.command(epilog=example_text("test", "test cart --junit results.xml"))
def run_tests(
    folder: Folder = Path(),
    report: JUnit = None,
    verbose: Verbose = False,
    manifest: ManifestFile = DEFAULT_MANIFEST,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Run the tests of a guest's folder: tests/*.toml, each an event, the calls that it leads to, and the reply.

    Calls are answered by the test, so no sidecar is needed. Exit code 1 where a test fails.
    """
    cases = cases_in(folder)
    loaded = load(folder / manifest if manifest == DEFAULT_MANIFEST else manifest, grants=GRANTS)
    sidecar = ScriptedSidecar(Script())
    outcomes = []
    memory = ActorMemory(loaded, sidecar)
    with open_plan(loaded, {"dapr": memory}) as plan:
        handler = Dispatcher(Plans(plan), NoOutputs())
        width = max(len(case.name) for case in cases)
        for case in cases:
            outcomes.append(run(case, handler, sidecar, memory))
            _tell(outcomes[-1], width, verbose)
    if report is not None:
        try:
            junit.write(report, loaded.app.name, outcomes)
        except OSError as error:
            fail([fault(f"the report cannot be written ({error.strerror})", str(report), "choose another place")])
    _sum_up(outcomes)


def _tell(outcome: Outcome, width: int, verbose: bool) -> None:
    """A line for a test, and below it what is wrong."""
    passed = not outcome.problems
    mark = typer.style("passed", fg="green") if passed else typer.style("FAILED", fg="red", bold=True)
    typer.echo(f"{mark}  {escaped(outcome.case.name).ljust(width)}  {outcome.seconds * 1000:.1f} ms")
    for problem in outcome.problems:
        typer.echo(f"        {escaped(problem)}")
    if verbose or not passed:
        for line in costs.calls(outcome.cost):
            typer.echo(f"        {line}")


def _sum_up(outcomes: Sequence[Outcome]) -> None:
    failed = sum(bool(one.problems) for one in outcomes)
    if not failed:
        note(f"{number(len(outcomes), 'test')} passed")
        return
    note(f"{number(failed, 'test')} of {len(outcomes)} failed")
    raise typer.Exit(1)

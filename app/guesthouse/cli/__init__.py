"""The command line: `guesthouse COMMAND`, one module of this package for each command.

The module of a command has an `app` (see `options.new_app`) and a line in `COMMANDS`. It is imported when its command
is called, so that `guesthouse --help` is quick. How commands print is in `output.py`. A usage error exits with 2, every
other error with 1. A traceback is printed only with `GUESTHOUSE_DEBUG=1`.
"""

from __future__ import annotations

import importlib
import sys
import typing

import typer
from typer.core import TyperCommand, TyperGroup

from guesthouse import __version__
from guesthouse.cli.options import GlobalManifest, LogFormat, LogLevel, Settings, example_text
from guesthouse.cli.output import report

COMMANDS = {
    "serve": "Serve the guests of a manifest to a Dapr sidecar.",
    "send": "Send one event, here or to a running server.",
    "check": "Say what the manifest loads, and all that is wrong with it.",
    "new": "Make a folder with a guest that builds and has tests.",
    "dev": "Build and load a guest on each change; tell of each event.",
    "test": "Run the tests of a guest's folder, without a sidecar.",
    "explain": "Say what a module is, and the lines of a manifest for it.",
    "python": "Fetch the interpreter for guests in Python.",
    "models": "List, inspect and register models.",
    "web": "Serve the page: photos, a live feed, an operator's view.",
    "bench": "Measure requests per second and latency of an event.",
}
"""Command and its summary, in the order of the help. The module of the same name in this package is the command."""


class Commands(TyperGroup):
    """Imports a command when it is called. The help shows the summaries of `COMMANDS`."""

    def list_commands(self, ctx: typing.Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: typing.Any, cmd_name: str) -> typing.Any:
        return TyperCommand(name=cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: typing.Any, args: list[str]) -> typing.Any:
        if args[0] not in COMMANDS:
            return super().resolve_command(ctx, args)
        command = typer.main.get_command(importlib.import_module(f"guesthouse.cli.{args[0]}").app)
        command.name = args[0]
        return command.name, command, args[1:]


app = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"guesthouse {__version__}")
        raise typer.Exit


@app.callback(epilog=example_text("check", "send invoke api/image --data photo.png", "serve"))
def guesthouse(
    ctx: typer.Context,
    manifest: GlobalManifest = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
    version: typing.Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """WebAssembly guests behind Dapr, with the inference done by the host."""
    ctx.ensure_object(Settings).manifest = manifest


def main(arguments: list[str] | None = None) -> typing.NoReturn:
    """The program: runs a command and ends the process."""
    try:
        app(sys.argv[1:] if arguments is None else arguments, prog_name="guesthouse")
    except Exception as error:
        report(error)
    sys.exit(1)

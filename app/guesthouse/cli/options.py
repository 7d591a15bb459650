"""What the modules of commands are made with: their `app`, and the options that several share.

    app = new_app()

    @app.command(epilog=example_text("serve --port 50051"))
    def serve(manifest: ManifestFile = DEFAULT_MANIFEST, log_format: LogFormat = None) -> None: ...

These options may stand before the command too; one that stands after the command wins. `manifest` is the path to use.
The options of the log set the log up themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from guesthouse.observe import logs

DEFAULT_MANIFEST = Path("guesthouse.toml")


@dataclass(slots=True)
class Settings:
    """The options that stood before the command (`ctx.obj`)."""

    manifest: Path | None = None
    log_format: logs.Format = logs.Format.TEXT
    log_level: logs.Level = logs.Level.INFO


def new_app(help: str = "", example: str = "") -> typer.Typer:
    """The `app` of a command's module."""
    return typer.Typer(
        help=help or None,
        epilog=example_text(example) if example else None,
        no_args_is_help=bool(help),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def example_text(*lines: str) -> str:
    """The `epilog` of a command: how it is called."""
    return "\b\nExample:\n" + "\n".join(f"  guesthouse {line}" for line in lines)


def _manifest(ctx: typer.Context, given: Path) -> Path:
    if given == DEFAULT_MANIFEST:
        return _settings(ctx).manifest or given
    return given


def _log_format(ctx: typer.Context, given: logs.Format | None) -> None:
    settings = _settings(ctx)
    settings.log_format = given or settings.log_format
    logs.configure(settings.log_format, settings.log_level)


def _log_level(ctx: typer.Context, given: logs.Level | None) -> None:
    settings = _settings(ctx)
    settings.log_level = given or settings.log_level
    logs.configure(settings.log_format, settings.log_level)


def _settings(ctx: typer.Context) -> Settings:
    return ctx.ensure_object(Settings)


_MANIFEST = ("--manifest", "-m")
_WHERE = "The manifest."
ManifestFile = Annotated[Path, typer.Option(*_MANIFEST, metavar="FILE", help=_WHERE, callback=_manifest)]
GlobalManifest = Annotated[
    Path | None, typer.Option(*_MANIFEST, metavar="FILE", help=_WHERE, show_default=str(DEFAULT_MANIFEST))
]
LogFormat = Annotated[
    logs.Format | None,
    typer.Option(
        "--log-format",
        envvar="GUESTHOUSE_LOG_FORMAT",
        help="How log lines look.",
        callback=_log_format,
        show_default="text",
    ),
]
LogLevel = Annotated[
    logs.Level | None,
    typer.Option(
        "--log-level",
        envvar="GUESTHOUSE_LOG_LEVEL",
        help="The least that is logged.",
        callback=_log_level,
        show_default="info",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

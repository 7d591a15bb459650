"""What commands print with (tables, progress and errors), and how they replace a file.

Results go to standard output, all else to standard error. On a terminal people get colour, tables and progress bars;
in a pipe plain lines; JSON where a command was given `--json`. Text that came from outside is printed with its control
characters escaped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import structlog
import typer

from guesthouse.faults import Faults
from guesthouse.observe import logs
from guesthouse.text import escaped


def fail(faults: Sequence[str]) -> NoReturn:
    """Print each fault (what, where, remedy) to standard error and end the command with exit code 1.

    Where the log is JSON, each fault is a line of the log, so that one program can read both.
    """
    for fault in faults:
        if logs.in_use is logs.Format.JSON:
            structlog.get_logger("guesthouse").error("refused", error=fault)
            continue
        typer.echo(f"{typer.style('error:', fg='red', bold=True)} {escaped(fault)}", err=True)
    raise typer.Exit(1)


def note(text: str) -> None:
    """Print a line to standard error, for the person at the terminal."""
    typer.echo(escaped(text), err=True)


def number(count: int, what: str) -> str:
    """A number of things in words: `1 guest`, `2 guests`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def report(error: Exception) -> None:
    """Print why a command ended: `Faults` are the user's to mend, any other exception is an error of ours."""
    if os.environ.get("GUESTHOUSE_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, Faults):
        faults = error.faults
    else:
        text = " ".join(str(error).split()) or "no message"
        remedy = "run it again with GUESTHOUSE_DEBUG=1 for the traceback, and report it"
        faults = [f"{type(error).__name__}: {text} — inside guesthouse — {remedy}"]
    with contextlib.suppress(typer.Exit):
        fail(faults)


def print_json(value: object) -> None:
    """`value` as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: Sequence[Mapping[str, object]], as_json: bool = False) -> None:
    """Rows of the same columns, which the first row names. On a terminal a table, in a pipe aligned lines; as JSON a
    list of objects with the values as they are."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        return
    header = [column.replace("_", " ") for column in rows[0]]
    cells = [[escaped(_cell(row[column])) for column in rows[0]] for row in rows]
    if sys.stdout.isatty():
        _rich_table(header, cells)
        return
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for line in (header, *cells):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar for `total` steps on standard error, where that is a terminal. Yields what moves the bar."""
    if not sys.stderr.isatty():
        yield lambda steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)


def _rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def replace_file(path: Path, text: str) -> None:
    """Replace the text of a file, wholly or not at all; it may be new. A file that is there keeps its permissions."""
    path = path.resolve()  # a link stays one: the file that it leads to is replaced
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            if path.exists():
                os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise

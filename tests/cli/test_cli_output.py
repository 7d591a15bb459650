"""What commands print with, on a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
import typer

from guesthouse.cli import output

ROWS = [
    {"name": "a", "many_words": ["x", "y"], "share": 0.5, "on": True, "none": None},
    {"name": "long \x1b[31mname", "many_words": [], "share": 1234.5, "on": False, "none": None},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_prints_aligned_lines_in_a_pipe(capsys):
    output.print_table(ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "name               many words  share     on   none",
        "a                  x, y        0.50      yes",
        "long \\x1b[31mname              1,234.50  no",
    ]


def test_prints_values_as_they_are_as_json(capsys):
    output.print_table(ROWS, as_json=True)
    assert '"many_words": [\n      "x",\n      "y"\n    ]' in capsys.readouterr().out


def test_prints_a_table_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    output.print_table(ROWS)
    text = terminal.getvalue()
    assert "\x1b[1m" in text
    assert "\\x1b[31mname" in text.replace("\n", "")


def test_prints_nothing_of_nothing(capsys):
    output.print_table([])
    assert capsys.readouterr().out == ""


def test_fails_with_every_fault(capsys):
    with pytest.raises(typer.Exit) as ended:
        output.fail(["one", "two\nlines"])
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: one\nerror: two\\nlines\n"


def test_shows_progress_on_a_terminal_only(monkeypatch, capsys):
    with output.progress("reading", 3) as step:
        step(1)
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with output.progress("reading", 3) as step:
        step(3)
    assert "reading" in terminal.getvalue()

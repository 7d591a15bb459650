"""The program as a whole: its help, its options on both sides of the command, and how it fails."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse import __version__
from guesthouse.cli import COMMANDS

APP = '[app]\nname = "vision"\n'


def program(*arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m guesthouse` in a process of its own."""
    command = [sys.executable, "-m", "guesthouse", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_help_lists_every_command_and_imports_none():
    watched = "import sys; from guesthouse.cli import main\n"
    watched += "try: main(['--help'])\n"
    watched += (
        "except SystemExit: print(sorted(m for m in ('onnxruntime', 'grpc', 'wasmtime', 'numpy') if m in sys.modules))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", watched], env=env, capture_output=True, text=True, check=True)
    for command, summary in COMMANDS.items():
        assert f"{command} " in ran.stdout
        assert summary in ran.stdout
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(guesthouse, command):
    if importlib.util.find_spec(f"guesthouse.cli.{command}") is None:
        pytest.skip("not written yet")
    ran = guesthouse(command, "--help")
    assert ran.code == 0
    assert "Example:\n" in ran.out
    assert f"guesthouse {command}" in ran.out.split("Example:")[1]


def test_says_its_version(guesthouse):
    assert guesthouse("--version").out == f"guesthouse {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["modles"], "No such command 'modles'"),
        (["--no-such"], "No such option"),
        (["models", "list", "--no-such"], "No such option"),
        (["models", "add", "only-a-name"], "Missing argument 'FILE'"),
        (["--log-format", "xml", "models", "list"], "--log-format"),
    ],
)
def test_usage_errors_exit_2(guesthouse, arguments, text):
    ran = guesthouse(*arguments)
    assert ran.code == 2
    assert text in ran.err
    assert ran.out == ""


def test_no_command_shows_the_help(guesthouse):
    ran = guesthouse()
    assert ran.code == 2
    assert "Commands:" in ran.err + ran.out


def test_takes_the_manifest_before_the_command_after_it_or_from_here(guesthouse, tmp_path, monkeypatch):
    for name in ("a", "b", "guesthouse"):
        (tmp_path / f"{name}.toml").write_text(f'{APP}[models.{name}]\npath = "m.onnx"\n')
    monkeypatch.chdir(tmp_path)
    assert '"name": "a"' in guesthouse("-m", "a.toml", "models", "list", "--json").out
    assert '"name": "b"' in guesthouse("models", "list", "--json", "--manifest", "b.toml").out
    assert '"name": "b"' in guesthouse("-m", "a.toml", "models", "list", "--json", "-m", "b.toml").out
    assert '"name": "guesthouse"' in guesthouse("models", "list", "--json").out


def test_tells_every_fault_of_a_manifest_on_standard_error(guesthouse, tmp_path):
    path = tmp_path / "guesthouse.toml"
    path.write_text('[app]\nnmae = "x"\n')
    ran = guesthouse("models", "list", "-m", path)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines() == [
        f"error: name is missing — {path}: app.name — write the Dapr app id that this manifest is meant for",
        f'error: unknown key "nmae" — {path}: app.nmae — did you mean name?',
    ]


def test_never_shows_a_traceback_unless_asked(guesthouse, tmp_path, monkeypatch):
    path = tmp_path / "guesthouse.toml"
    path.write_text(APP)

    def broken(path, grants):
        raise ZeroDivisionError("one\nby nothing")

    monkeypatch.setattr("guesthouse.cli.models.load", broken)
    ran = guesthouse("models", "list", "-m", path)
    assert ran.code == 1
    assert ran.err == (
        "error: ZeroDivisionError: one by nothing — inside guesthouse — "
        "run it again with GUESTHOUSE_DEBUG=1 for the traceback, and report it\n"
    )
    monkeypatch.setenv("GUESTHOUSE_DEBUG", "1")
    assert "Traceback" in guesthouse("models", "list", "-m", path).err


def test_runs_as_a_module(tmp_path):
    (tmp_path / "guesthouse.toml").write_text(APP)
    ran = program("models", "list", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr == ("guesthouse.toml has no models: add a table [models.NAME] with the path of an ONNX file\n")


def test_ends_quietly_when_nobody_reads_on(tmp_path):
    models = "".join(f'[models.m{number}]\npath = "m{number}.onnx"\n' for number in range(3000))
    (tmp_path / "guesthouse.toml").write_text(APP + models)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "guesthouse", "models", "list"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""

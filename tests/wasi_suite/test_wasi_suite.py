"""Whole programs over preview 1: our own, and the public WASI test suite where somebody has it (README.md says how)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guesthouse.engine import open_engine
from guesthouse.engine.base import Engine, EngineConfig
from guesthouse.event import Event, Trigger
from guesthouse_abi.calling.command import Command
from guesthouse_abi.errors import CallError
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants
from guesthouse_abi.services import Log
from tests.support import wat
from tests.support.places import ENGINES, PLACES
from tests.support.serving import serving
from tests.wasi_suite.programs import Program, below, read

CHECKS = Path(__file__).resolve().parent / "checks"
SUITE = os.environ.get("GUESTHOUSE_WASI_SUITE")
PUBLIC = list(below(Path(SUITE))) if SUITE else []

MiB = 1 << 20


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with closing(open_engine(request.param, EngineConfig())) as made:
        yield made


def run(engine: Engine, program: Program) -> tuple[int, str, str]:
    """The exit code, standard output and the log of one run."""
    context = wat.context(60, grants=Grants(scratch=8 * MiB, scratch_path="/") if program.directory else None)
    context.arguments = (program.name, *program.args)
    context.variables = lambda: list(program.env.items())
    context.files = Files(program.files())
    code = 0
    try:
        wat.called(wat.linked(engine, program.wasm.read_bytes()), Command(), b"", context)
    except CallError as error:
        context.services[Log].line("end", str(error))
        ended = re.match(r"exit code (\d+)", str(error))
        code = int(ended[1]) if ended else -1
    return code, bytes(context.stdout or b"").decode(), "\n".join(text for _, text in wat.lines(context))


def judge(engine: Engine, program: Program) -> None:
    code, stdout, log = run(engine, program)
    assert code == program.exit_code, log
    assert program.stdout is None or stdout == program.stdout
    assert program.stderr is None or log == program.stderr.rstrip("\n")


def check(name: str, guests_folder: Path) -> Program:
    """One of ours, as CI built it or as it is in the repository."""
    rebuilt = guests_folder / name / f"{name}.wasm"
    return read(rebuilt if rebuilt.exists() else CHECKS / f"{name}.wasm", CHECKS / f"{name}.json")


@pytest.mark.parametrize("name", sorted(path.stem for path in CHECKS.glob("*.c")))
def test_a_check_of_ours_passes(engine: Engine, name: str, guests_folder: Path) -> None:
    judge(engine, check(name, guests_folder))


@pytest.mark.parametrize("place", PLACES)
def test_checks_pass_as_guests_of_a_manifest_wherever_guests_run(
    place: str, guests_folder: Path, tmp_path: Path
) -> None:
    programs = [check(name, guests_folder) for name in ("library", "directories", "unstable")]
    tables = [
        f'''[guests.{program.name}]
module = "{program.wasm}"
calling = "command"
args = {json.dumps(program.args)}
files = {{ "/folder" = "{program.directory}/folder" }}
scratch = "8MiB"
scratch_path = "/"
limits = {{ time = "60s", concurrency = 1 }}

[[invoke]]
method = "{program.name}"
guest = "{program.name}"
'''
        for program in programs
    ]
    manifest = tmp_path / "guesthouse.toml"
    manifest.write_text("\n".join(('[app]\nname = "checks"\n', *tables)))
    with serving(manifest, place) as (client, _):
        for program in programs:
            event = Event(Trigger.INVOKE, program.name, b"", "", "POST")
            assert client.send(event, timeout=120).body.decode() == (program.stdout or "")


@pytest.mark.skipif(not PUBLIC, reason="GUESTHOUSE_WASI_SUITE names no copy of the public WASI test suite")
@pytest.mark.parametrize("program", PUBLIC, ids=lambda program: program.name)
def test_a_program_of_the_public_suite_passes(engine: Engine, program: Program) -> None:
    judge(engine, program)

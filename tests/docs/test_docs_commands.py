"""Every command that a page shows is run by CI as it is written, or listed with the reason why not: commands.toml says
which. Those that need no server are run here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import guesthouse.cli
from tests.support.shown import (
    FENCE,
    PAGES,
    ROOT,
    Checkout,
    Run,
    Shown,
    is_command,
    matches,
    registry,
    runs,
    shown,
    words_of,
)

SHOWN = shown()
ALONE = [run for run in runs() if not run.servers]


def entries() -> Iterator[str]:
    for run in runs():
        yield from (*run.servers, *run.commands)
    yield from (*registry()["elsewhere"], *registry()["listed"])


def test_every_command_of_a_page_is_run_or_listed() -> None:
    known = list(entries())
    lost = [one for one in SHOWN if not any(matches(entry, one) for entry in known)]
    assert not lost, "\n".join(f"{one.page} shows, and tests/docs/commands.toml has not: {one.command}" for one in lost)


def test_what_is_run_or_listed_is_on_a_page() -> None:
    lost = [entry for entry in entries() if not any(matches(entry, one) for one in SHOWN)]
    assert not lost, "\n".join(f"tests/docs/commands.toml has, and no page shows: {entry}" for entry in lost)


def test_a_fence_with_commands_says_so() -> None:
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text()):
            if not language:
                for line in block.splitlines():
                    assert not line.startswith("$ "), f"{page.name}: a session's fence begins with ```console: {line}"
                    assert not is_command(line), f"{page.name}: a fence of commands begins with ```sh: {line}"


@pytest.mark.parametrize("where", registry()["elsewhere"].values())
def test_what_is_said_to_run_a_command_is_there(where: str) -> None:
    file, _, text = where.partition(": ")
    assert text in (ROOT / file).read_text(), f"{file} has no {text!r}"


@pytest.mark.parametrize("one", SHOWN, ids=lambda one: f"{one.page}-{one.command}"[:60])
def test_files_that_a_command_names_are_in_the_repository(one: Shown) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    made = set(registry()["files"]) | {"keys/release.pub", "deploy/wheels"}
    for word in re.split(r"[\s'\"=@]+", one.command):
        if word.partition("/")[0] in folders and "/" in word and word not in made:
            assert (ROOT / word).exists(), f"{one.page}: {one.command}: there is no {word}"


def refused(words: list[str]) -> str:
    """Why the real parser refuses these words of a command; nothing when it takes them."""
    group = typer.main.get_command(guesthouse.cli.app)
    try:
        context: Any = group.make_context("guesthouse", list(words))
        while hasattr(context.command, "resolve_command"):
            name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
    except typer.Exit:  # --version, --help
        return ""
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


OURS = [(one, words) for one in SHOWN for words in words_of(one.command) if words[0] == "guesthouse"]


@pytest.mark.parametrize(("one", "words"), OURS, ids=lambda value: value.page if isinstance(value, Shown) else None)
def test_our_own_program_takes_the_command(one: Shown, words: list[str]) -> None:
    """Names and options too of those that are not run. A sentence may name a command without all that it wants."""
    why = refused(words[1:])
    if not one.fenced and ("Missing" in why or "requires an argument" in why):
        return
    assert not why, f"{one.page}: {one.command}: {why}"


@pytest.mark.parametrize("words", ["serv", "serve --ports 1", "models ad", "send invoke"])
def test_the_parser_would_tell(words: str) -> None:
    assert refused(words.split())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("reader"))


# Programs that may be here, and not on the PATH under their own name: the name of Debian's clang has its version in it,
# and Go's archive is unpacked to a place of its own.
PROGRAMS_HERE = {
    "clang": shutil.which("clang") or shutil.which("clang-19"),
    "go": shutil.which("go") or (str(go) if (go := Path("/usr/local/go/bin/go")).exists() else None),
}


@pytest.mark.parametrize("run", ALONE, ids=lambda run: run.name)
def test_commands_do_what_the_pages_say(checkout: Checkout, run: Run) -> None:
    for program in run.needs:
        if not checkout.has(program, PROGRAMS_HERE.get(program) or shutil.which(program)):
            pytest.skip(f"no {program} here")
    checkout.write_manifest(run.manifest)
    checkout.does(run, checkout.environment())

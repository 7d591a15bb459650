"""new: folders that build, pass their tests and answer an event, with the tools of this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from guesthouse.cli.new import LANGUAGES, SDKS, Lang
from tests.support.interpreter import interpreter

GUESTHOUSE = f"{sys.executable} -m guesthouse"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/local/go/bin")  # where Go's archive is unpacked to
    return tmp_path


def make(folder: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """`make` in the new folder, with this Python's guesthouse."""
    # What cargo has built is kept from one run to the next: from source, Rust's standard library takes minutes.
    kept = Path.home() / ".cache" / "guesthouse" / "new-cargo"
    return subprocess.run(
        ["make", f"GUESTHOUSE={GUESTHOUSE}", *targets],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "CARGO_TARGET_DIR": str(kept)},
        timeout=1200,
        check=False,
    )


@pytest.mark.parametrize(
    "lang", [pytest.param(lang, marks=pytest.mark.slow if lang is Lang.RUST else ()) for lang in Lang]
)
def test_a_new_guest_builds_passes_its_tests_and_answers_an_event(guesthouse, folder: Path, lang: Lang) -> None:
    if lang is Lang.PYTHON:
        interpreter()
    if missing := [need.what for need in LANGUAGES[lang].needs if not need.found()]:
        pytest.skip(f"not here: {', '.join(missing)}")
    made = guesthouse("new", "cart", "--lang", lang.value)
    assert made.code == 0, made.err
    assert made.err == ""
    if lang is Lang.ASSEMBLYSCRIPT and make(folder / "cart", "node_modules/.made").returncode:
        pytest.skip("npm gets no packages here")
    tested = make(folder / "cart", "test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    names = [line.split()[1] for line in tested.stdout.splitlines() if line.startswith("passed")]
    assert names == ["counts", "first_visit", "no_name", "no_store"]
    sent = make(folder / "cart", "send")
    assert sent.returncode == 0, sent.stderr
    assert "Hello, Ada! This is visit 42." in sent.stdout
    assert "call SaveState: OK" in sent.stderr
    checked = guesthouse("check", "-m", folder / "cart" / "guesthouse.toml")
    assert checked.code == 0, checked.err
    assert "note:" not in checked.err


@pytest.mark.parametrize("lang", list(Lang))
def test_the_files_are_told_and_no_mark_of_the_templates_is_left(guesthouse, folder: Path, lang: Lang) -> None:
    made = guesthouse("new", "my-cart", "--lang", lang.value)
    assert made.code == 0, made.err
    own = [line.strip() for line in made.out.splitlines() if line.startswith("  my-cart/")]
    assert {"my-cart/Makefile", "my-cart/guesthouse.toml", "my-cart/tests/counts.toml", "my-cart/sdk/"} <= set(own)
    for name in own:
        if not name.endswith("/"):
            text = (folder / name).read_text()
            assert not re.search(r"@[A-Z]+@", text)
    assert any((folder / "my-cart" / "sdk").iterdir())
    assert not [path for path in (folder / "my-cart").rglob("*") if path.suffix == ".wasm"]


def test_what_is_missing_on_this_machine_is_said_with_how_to_get_it(guesthouse, folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    made = guesthouse("new", "cart", "--lang", "c")
    assert made.code == 0
    assert made.err.splitlines() == [
        "missing on this machine: clang (Debian: apt install clang; macOS: brew install llvm)",
        "missing on this machine: wasm-ld, with which clang links (Debian: apt install lld; macOS: brew install lld)",
        "missing on this machine: make (Debian: apt install make)",
    ]


def test_nothing_is_written_over(guesthouse, folder: Path) -> None:
    (folder / "cart").mkdir()
    made = guesthouse("new", "cart", "--lang", "c")
    assert made.code == 1
    assert made.err == (
        "error: there is such a file or folder already — cart — choose another name, or remove it\n"
    )  # fmt: skip
    assert list((folder / "cart").iterdir()) == []


@pytest.mark.parametrize("arguments", [["Cart", "--lang", "c"], ["a/b", "--lang", "c"], ["cart"], ["c", "--lang", "x"]])
def test_names_and_languages_that_there_are_not_are_usage_errors(guesthouse, folder: Path, arguments) -> None:
    assert guesthouse("new", *arguments).code == 2
    assert list(folder.iterdir()) == []


def test_a_folder_where_nothing_can_be_written_is_a_fault(guesthouse, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "cart/sdk")

    monkeypatch.setattr(shutil, "copy", full)
    made = guesthouse("new", "cart", "--lang", "c")
    assert made.code == 1
    assert made.err == (
        "error: the folder cannot be made (No space left on device) — cart/sdk — choose another place\n"
    )  # fmt: skip


def test_the_sdks_are_those_of_the_repository() -> None:
    assert SDKS.resolve() == Path(__file__).resolve().parents[2] / "guests" / "sdk"

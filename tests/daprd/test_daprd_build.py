"""How the tests' daprd is found; building one is tried by everything that runs behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daprd import build


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No daprd and no Go, and a cache of its own."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAPRD", raising=False)
    monkeypatch.setenv("GUESTHOUSE_DAPRD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "OFFICIAL_GO", tmp_path / "no-go")
    monkeypatch.setattr("sys.argv", ["build.py"])


def program(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


def release() -> str:
    return str(build.wanted(build.MODULE))


def test_go_mod_names_an_exact_version():
    assert len(build.numbers(release())) == 3


@pytest.mark.parametrize("patch", [0, 1, 7])
def test_takes_an_installed_daprd_of_the_same_or_a_later_patch(tmp_path: Path, capsys, patch):
    major, minor, least = build.numbers(release())
    found = program(tmp_path / "bin" / "daprd", f"{major}.{minor}.{least + patch}")
    assert build.main() == 0
    assert capsys.readouterr().out == f"{found}\n"


def test_takes_the_daprd_that_daprs_cli_has_installed(tmp_path: Path, capsys):
    folder = tmp_path / "home" / ".dapr" / "bin"
    folder.mkdir(parents=True)
    found = program(folder / "daprd", release())
    assert build.main() == 0
    assert capsys.readouterr().out == f"{found}\n"


def test_a_build_says_how_far_it_is_and_passes_messages_on(tmp_path: Path, capsys, monkeypatch):
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\nprintf 'internal/abi\\ngolang.org/x/net\\n./x.go:1:2: wrong, here\\n' >&2; exit 3\n")
    go.chmod(0o755)
    monkeypatch.setattr(build, "EVERY", 0.0)
    assert build._run([str(go)], "packages compiled") == 3
    said = capsys.readouterr().err.splitlines()
    assert "daprd: 1 packages compiled" in said
    assert "./x.go:1:2: wrong, here" in said
    assert said[-1] == "daprd: 2 packages compiled in all"


def test_leaves_another_version_on_the_path_alone(tmp_path: Path, capsys):
    found = program(tmp_path / "bin" / "daprd", "1.2.3")
    kept = build.kept("daprd", release())
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert build.main() == 0
    said = capsys.readouterr()
    assert said.out == f"{kept}\n"
    assert f"{found} is of version 1.2.3, not {release()} or a later patch: left alone" in said.err


@pytest.mark.parametrize(("says", "what"), [("1.2.3", "which says version 1.2.3"), ("; exit 1", "which does not run")])
def test_refuses_a_named_daprd_that_does_not_fit(tmp_path: Path, monkeypatch, capsys, says, what):
    monkeypatch.setenv("DAPRD", str(program(tmp_path / "mine", says)))
    assert build.main() == 1
    said = capsys.readouterr().err
    assert what in said
    assert f"name a daprd of {release()} or a later patch, or unset it" in said


def test_says_what_to_install_where_there_is_no_go(capsys):
    assert build.main() == 1
    said = capsys.readouterr().err
    assert f"Go is needed to build it: install Go {build.wanted('go')} or newer from go.dev, or set $DAPRD" in said


def test_says_what_to_install_where_go_is_too_old(tmp_path: Path, capsys):
    found = program(tmp_path / "bin" / "go", "go1.20.1")
    assert build.main() == 1
    assert f"{found} is go1.20.1; install Go {build.wanted('go')} or newer" in capsys.readouterr().err


def test_takes_the_one_that_was_built_for_an_image_whatever_is_installed(tmp_path: Path, monkeypatch, capsys):
    program(tmp_path / "bin" / "daprd", release())
    kept = build.kept("daprd", release())
    kept.parent.mkdir(parents=True)
    kept.touch()
    monkeypatch.setattr("sys.argv", ["build.py", "--image"])
    assert build.main() == 0
    assert capsys.readouterr().out == f"{kept}\n"


def test_the_services_are_built_ones_whatever_is_installed(tmp_path: Path, monkeypatch, capsys):
    kept = [build.kept(program, release()) for program in ("scheduler", "placement")]
    for file in kept:
        program(tmp_path / "bin" / file.name.partition("-")[0], release())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setattr("sys.argv", ["build.py", "scheduler", "placement"])
    assert build.main() == 0
    assert capsys.readouterr().out == f"{kept[0]}\n{kept[1]}\n"


def test_says_which_programs_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["build.py", "sentry"])
    with pytest.raises(SystemExit):
        build.main()
    assert "there is no program sentry; there are daprd, placement, scheduler" in capsys.readouterr().err

"""What no release is made of. That one is made, `make release-check` tries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = '__version__ = "0.2.0"\n'


@pytest.mark.parametrize(
    ("package", "changelog", "said"),
    [
        (VERSION, "## Unreleased\n\n## 0.1.0\n\n- old\n", 'no entries for 0.2.0: write a section "## 0.2.0"'),
        (VERSION, "## Unreleased\n\n## [0.2.0] - 2026-12-01\n\n### Added\n", "no entries for 0.2.0"),
        (
            VERSION,
            "## [Unreleased]\n\n### Fixed\n\n- new\n\n## 0.2.0\n\n- old\n",
            'entries under "Unreleased": move them',
        ),
        ("", "## 0.2.0\n\n- new\n", "has no line __version__"),
    ],
)
def test_no_release_is_made_of_a_version_that_the_changelog_does_not_have(
    package: str, changelog: str, said: str, tmp_path: Path
):
    (tmp_path / "app/guesthouse").mkdir(parents=True)
    (tmp_path / "app/guesthouse/__init__.py").write_text(package)
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    command = [sys.executable, str(ROOT / "deploy/release.py"), "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "dist").exists()


def test_a_version_with_entries_and_nothing_unreleased_goes_on_to_be_built(tmp_path: Path):
    (tmp_path / "app/guesthouse").mkdir(parents=True)
    (tmp_path / "app/guesthouse/__init__.py").write_text(VERSION)
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n- new\n")
    command = [sys.executable, str(ROOT / "deploy/release.py"), "--root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "hatchling build" in done.stderr, "there is no pyproject.toml to build from"

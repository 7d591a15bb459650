"""Makes a release in `dist/`: sdist, wheel and bill of materials. It publishes nothing.

    release.py            # refuses a version without a section in CHANGELOG.md, and entries under "Unreleased"
    release.py --check    # the same without a look at CHANGELOG.md, into a folder that is removed afterwards

Run it with a Python that has the packages of requirements/build.txt, as `make release` does. Wheel and sdist are each
installed, with the dependencies of the lock file, into an empty virtualenv. There they are tried in a folder outside
the checkout: the version, `check` of a manifest with one guest, and one event.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("app/guesthouse", "abi/guesthouse_abi")
MANIFEST = """\
[app]
name = "release"

[guests.echo]
module = "echo.wasm"
calling = "bindgen"
function = "echo"

[[invoke]]
method = "echo"
guest = "echo"
"""


class ReleaseError(Exception):
    """The release cannot be made. The text says why and what to do."""


def version_of(root: Path) -> str:
    """The version that the package has."""
    file = root / "app/guesthouse/__init__.py"
    found = re.search(r'^__version__ = "([^"]+)"$', file.read_text(), re.MULTILINE)
    if found is None:
        raise ReleaseError(f'{file} has no line __version__ = "…": write one')
    return found[1]


def check_changelog(text: str, version: str) -> None:
    """Raises `ReleaseError` unless the text has entries for `version`, and none under "Unreleased"."""
    entries: dict[str, bool] = {}
    for section in re.split(r"^## +", text, flags=re.MULTILINE)[1:]:
        title, *lines = section.splitlines()
        name = title.split(" ")[0].strip("[]")  # "## [0.2.0] - 2026-12-01" too
        entries[name] = any(line.strip() and not line.startswith("#") for line in lines)
    if entries.get("Unreleased"):
        raise ReleaseError(f'CHANGELOG.md has entries under "Unreleased": move them to a section "## {version}"')
    if not entries.get(version):
        raise ReleaseError(f'CHANGELOG.md has no entries for {version}: write a section "## {version}"')


def run(*command: str | Path, cwd: Path, data: bytes = b"") -> bytes:
    """What a program prints. Its environment has no variable of Python or Guesthouse. Raises `ReleaseError`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GUESTHOUSE"))}
    environment["GUESTHOUSE_CACHE"] = str(cwd / "cache")
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, input=data, capture_output=True)
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise ReleaseError(f"{' '.join(map(str, command))}: it ended with exit code {done.returncode}\n{output}")
    return done.stdout


def build(root: Path, out: Path) -> tuple[Path, Path]:
    """The sdist and the wheel, in `out`."""
    for old in (*out.glob("guesthouse-*.tar.gz"), *out.glob("guesthouse-*.whl")):
        old.unlink()
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", out, cwd=root)
    (sdist,), (wheel,) = out.glob("guesthouse-*.tar.gz"), out.glob("guesthouse-*.whl")
    return sdist, wheel


def check_wheel(root: Path, wheel: Path) -> None:
    """Raises `ReleaseError` where a file of the packages is missing in the wheel. A link to a folder is that folder."""
    there = {*zipfile.ZipFile(wheel).namelist()}
    there |= {str(folder) for name in there for folder in Path(name).parents}
    wanted = run("git", "ls-files", "--", *PACKAGES, cwd=root).decode().split()
    lost = [name for name in wanted if name.partition("/")[2] not in there]
    if lost:
        raise ReleaseError(f"{wheel.name} has no {', '.join(lost)}: see tool.hatch.build in pyproject.toml")


class Environment:
    """A new virtualenv, which has pip and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
        self.python = folder / "venv/bin/python"

    def install(self, *what: str | Path) -> None:
        run(self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what, cwd=self._folder)

    def try_out(self, root: Path, version: str) -> None:
        """Raises `ReleaseError` unless the installed package serves an event."""
        folder = self._folder / "tried"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "guesthouse.toml").write_text(MANIFEST)
        shutil.copy(root / "guests/echo/echo.wasm", folder)
        guesthouse = self._folder / "venv/bin/guesthouse"
        where = run(self.python, "-c", "import guesthouse; print(guesthouse.__file__)", cwd=folder).decode().strip()
        if not Path(where).is_relative_to(self._folder):
            raise ReleaseError(f"the package that was tried is {where}, and not the one that was installed")
        run(self.python, "-m", "pip", "check", cwd=folder)
        if f"guesthouse {version}" not in (said := run(guesthouse, "--version", cwd=folder).decode()):
            raise ReleaseError(f"guesthouse --version says {said!r}, and not {version}")
        run(guesthouse, "check", cwd=folder)
        said_back = run(guesthouse, "send", "invoke", "echo", "--data", "-", cwd=folder, data=b"a guest")
        if said_back != b"a guest":
            raise ReleaseError(f"the guest echo answered {said_back!r}")
        run(guesthouse, "new", "tried", "--lang", "c", cwd=folder)
        if not (folder / "tried/sdk/dapr.h").is_file():
            raise ReleaseError("guesthouse new made a folder without the SDK")


def make(root: Path, out: Path, version: str) -> None:
    """Make the release in `out`, and try it. It is not published."""
    out.mkdir(parents=True, exist_ok=True)
    sdist, wheel = build(root, out)
    if version not in sdist.name or version not in wheel.name:
        raise ReleaseError(f"{sdist.name} and {wheel.name} are not of the version {version}")
    check_wheel(root, wheel)
    locks = root / "requirements"
    with folder_for_a_while() as folder:
        environment = Environment(folder)
        environment.install("--require-hashes", "-r", locks / "runtime.txt")
        environment.install("--no-deps", "--no-index", wheel)
        environment.try_out(root, version)
        run(environment.python, root / "deploy/sbom.py", "--root", root, "--out", out, cwd=folder)
        run(environment.python, "-m", "pip", "uninstall", "--quiet", "--yes", "guesthouse", cwd=folder)
        environment.install("--require-hashes", "-r", locks / "build.txt")
        environment.install("--no-deps", "--no-index", "--no-build-isolation", sdist)
        environment.try_out(root, version)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:>12,} {path}")


@contextlib.contextmanager
def folder_for_a_while() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="guesthouse-release-") as folder:
        yield Path(folder).resolve()


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a release, and publish nothing.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="the checkout")
    parser.add_argument("--check", action="store_true", help="only try whether a release could be made of this tree")
    options = parser.parse_args()
    root: Path = options.root.resolve()
    try:
        version = version_of(root)
        if options.check:
            with folder_for_a_while() as out:
                make(root, out, version)
            return 0
        check_changelog((root / "CHANGELOG.md").read_text(), version)
        make(root, root / "dist", version)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

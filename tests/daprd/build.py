#!/usr/bin/env python3
"""Finds a daprd for the tests and the demo, or builds one from source, and prints its path.

    python3 tests/daprd/build.py            # the path on standard output, all else on standard error
    python3 tests/daprd/build.py --image    # the one that is built here, whatever $DAPRD and the PATH have
    python3 tests/daprd/build.py placement scheduler    # Dapr's other programs, a path on each line

`$DAPRD` is taken first, then a `daprd` on the PATH or in ~/.dapr/bin (where Dapr's CLI puts it), when its version
fits. Else the one that go.mod beside this file names is built with Go, with all of Dapr's components and without C (as
the official one is), once: the binary is kept in `$GUESTHOUSE_DAPRD_CACHE`, else in ~/.cache/guesthouse/daprd, under
its version, tags and the digest of go.sum. The services `placement` and `scheduler`, which actors and jobs need, are
always built: they do not say their version.
Needs nothing but the standard library, so that it can run before anything is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE = "github.com/dapr/dapr"
PROGRAMS = {"daprd": "allcomponents", "placement": "", "scheduler": ""}  # and the build tags of each
EVERY = 10.0  # seconds between two lines that say how far a build is
OFFICIAL_GO = Path("/usr/local/go/bin/go")  # where Go's own archive is unpacked to, often without being on the PATH


class BuildError(Exception):
    """What the user reads when there is no daprd: what is missing or failed, and what to do."""


def say(text: str) -> None:
    print(f"daprd: {text}", file=sys.stderr, flush=True)


def wanted(name: str) -> str:
    """A version that go.mod names: of the module `name`, or of `go` itself."""
    found = re.search(rf"^\s*(?:require )?{re.escape(name)} v?(\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"{HERE / 'go.mod'} does not name {name}")
    return found[1]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def fits(version: str, release: str) -> bool:
    """Whether a daprd of `version` has the behaviour of `release`: the same minor version, and no older patch."""
    return numbers(version)[:2] == numbers(release)[:2] and numbers(version) >= numbers(release)


def version_of(daprd: str) -> str:
    """What `daprd --version` says; "" when it does not run."""
    try:
        done = subprocess.run([daprd, "--version"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def installed(release: str) -> str | None:
    """The user's own daprd, where its version fits."""
    named, found = os.environ.get("DAPRD"), shutil.which("daprd") or shutil.which("daprd", path=_of_the_cli())
    if named:
        version = version_of(named)
        if fits(version, release):
            return str(Path(named).absolute())
        said = f"says version {version}" if version else "does not run"
        raise BuildError(f"$DAPRD is {named}, which {said}; name a daprd of {release} or a later patch, or unset it")
    if found and not fits(version := version_of(found), release):
        say(f"{found} is of version {version or 'unknown'}, not {release} or a later patch: left alone")
        return None
    return found


def _of_the_cli() -> str:
    return str(Path.home() / ".dapr" / "bin")


def go() -> str:
    """A Go that can build what go.mod says. It is asked not to download another: that works only with a network."""
    found = shutil.which("go") or (str(OFFICIAL_GO) if OFFICIAL_GO.exists() else None)
    least = wanted("go")
    if found is None:
        raise BuildError(f"Go is needed to build it: install Go {least} or newer from go.dev, or set $DAPRD to a daprd")
    done = subprocess.run(
        [found, "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    if numbers(done.stdout) < numbers(least):
        raise BuildError(f"{found} is {done.stdout.strip()}; install Go {least} or newer from go.dev, or set $DAPRD")
    return found


def kept(program: str, release: str) -> Path:
    """Where the binary of this go.sum is, or will be."""
    folder = os.environ.get("GUESTHOUSE_DAPRD_CACHE") or Path.home() / ".cache" / "guesthouse" / "daprd"
    digest = hashlib.sha256((HERE / "go.sum").read_bytes()).hexdigest()[:16]
    return Path(folder).absolute() / "-".join(filter(None, (program, release, PROGRAMS[program], digest)))


def build(target: Path, program: str, release: str) -> None:
    """Build into a temporary file beside `target`, then put it there: nobody sees half of it."""
    compiler, tags = go(), PROGRAMS[program]
    say(f"building {program} {release} ({tags or 'no tags'}) with {compiler}, once; it is kept as {target}")
    if program == "daprd":
        say("6 minutes on two idle cores, and before that 3 GB of modules to download if they are not there yet")
    began = time.monotonic()
    # One less than the cores, but two at least: most of the time goes into few large packages.
    jobs = str(max(2, (os.cpu_count() or 2) - 1))
    package = f"{MODULE}/cmd/{program}"
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / program
        link = f"-s -w -X {MODULE}/pkg/buildinfo.version={release}"
        options = ["-trimpath", "-tags", tags]
        _run([compiler, "list", "-deps", *options, package], "modules downloaded", "go: downloading ")
        if _run(
            [compiler, "build", "-v", "-p", jobs, *options, "-ldflags", link, "-o", str(made), package],
            "packages compiled",
        ):
            hint = "; with a daprd of your own: set $DAPRD" if program == "daprd" else ""
            raise BuildError(f"go build of {program} failed, see above{hint}")
        if program == "daprd" and (version := version_of(str(made))) != release:
            raise BuildError(f"what was built says version {version!r}, not {release}")
        made.replace(target)
    say(f"built in {time.monotonic() - began:.0f} s, {target.stat().st_size / 1e6:.0f} MB")


def _run(command: list[str], what: str, begins: str = "") -> int:
    """Run `go` and say now and then how far it is: it names on standard error what it has done. Returns its status.

    Lines that do not begin so are the program's own words, and are passed on.
    """
    count, told = 0, time.monotonic()
    with subprocess.Popen(
        command,
        cwd=HERE,
        env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            # A package's name has neither blanks nor an end of a sentence; anything else is a message.
            if line.startswith(begins) if begins else re.fullmatch(r"[\w.~/-]+", line.rstrip()):
                count += 1
            else:
                print(line, end="", file=sys.stderr, flush=True)
            if time.monotonic() >= told + EVERY:
                told = time.monotonic()
                say(f"{count} {what}")
    if count:
        say(f"{count} {what} in all")
    return process.returncode


def built(program: str, release: str) -> Path:
    """The binary of go.mod, from the cache or newly built; one build at a time."""
    target = kept(program, release)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            build(target, program, release)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], epilog="example: DAPRD=$(python3 tests/daprd/build.py)"
    )
    parser.add_argument("program", nargs="*", help=f"what to find, daprd where nothing is named: {', '.join(PROGRAMS)}")
    parser.add_argument("--image", action="store_true", help="only the static one that is built here")
    arguments = parser.parse_args()
    programs = arguments.program or ["daprd"]
    if unknown := sorted(set(programs) - PROGRAMS.keys()):
        parser.error(f"there is no program {unknown[0]}; there are {', '.join(PROGRAMS)}")
    try:
        release = wanted(MODULE)
        for program in programs:
            own = installed(release) if program == "daprd" and not arguments.image else None
            print(own or built(program, release))
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

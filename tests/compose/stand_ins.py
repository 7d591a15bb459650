"""Images of the names that docker-compose.yml and the Dockerfile use, made on this machine without an image registry.

They stand in for the official ones where those matter: user numbers, folders, volumes, commands. What is inside comes
from Debian's packages; the sidecar is the daprd that tests/daprd/build.py builds. Other versions than the names say:
what runs here shows that the compose file holds together, not that those very images do.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.daprd import build

ROOT = Path(__file__).resolve().parents[2]
SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "mosquitto", "mosquitto-clients", "redis-server", "redis-tools")
PYTHON = (3, 11)  # that suite's
BASE = "python:3.12-slim-bookworm"
BASE_310 = "python:3.10-slim-bookworm"

# As the official images have it: 1883 and 999, and volumes that belong to them.
DOCKERFILES = {
    "eclipse-mosquitto:2.0.22": f"""
FROM {BASE}
RUN groupmod -g 1883 mosquitto && usermod -u 1883 -g 1883 mosquitto \\
 && mkdir -p /mosquitto/config /mosquitto/data /mosquitto/log && chown -R 1883:1883 /mosquitto
VOLUME ["/mosquitto/data", "/mosquitto/log"]
CMD ["/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"]
""",
    "redis:7.2.11": f"""
FROM {BASE}
RUN groupmod -g 999 redis && usermod -u 999 -g 999 redis && mkdir /data && chown 999:999 /data
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
""",
    **{
        f"daprio/{program}:{build.wanted(build.MODULE)}": f"""
FROM scratch
WORKDIR /
COPY --chown=65532:65532 nonroot /home/nonroot
COPY {program} /
USER 65532:65532
"""
        for program in build.PROGRAMS
    },
}


def cache_folder() -> Path:
    """`$GUESTHOUSE_COMPOSE_CACHE`, else a folder beside what else CI keeps."""
    named = os.environ.get("GUESTHOUSE_COMPOSE_CACHE")
    folder = Path(named) if named else Path.home() / ".cache" / "guesthouse-ci" / "compose"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_archive() -> Path:
    """A tar file of a Debian with what the images need; made once."""
    key = hashlib.sha256(f"{SUITE} {' '.join(PACKAGES)}".encode()).hexdigest()[:12]
    archive = cache_folder() / f"base-{key}.tar"
    if not archive.exists():
        unpacked = archive.with_suffix(".tmp")
        shutil.rmtree(unpacked, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(unpacked)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        partial = archive.with_suffix(".part")
        trimmed = ("--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*")
        subprocess.run(["tar", "-C", unpacked, *trimmed, "-cf", partial, "."], check=True)
        partial.rename(archive)
        shutil.rmtree(unpacked)
    return archive


def wheels() -> Path:
    """The folder of the wheels that the lock files name, for the stand-ins' Pythons; downloaded once."""
    locks = [ROOT / "requirements" / name for name in ("runtime.txt", "build.txt")]
    older = python_310()
    pythons = [_python()] if older is None else [_python(), str(older / "bin" / "python3.10")]
    key = hashlib.sha256(b"".join([*(lock.read_bytes() for lock in locks), *map(str.encode, pythons)])).hexdigest()[:12]
    folder = cache_folder() / f"wheels-{key}"
    if not folder.exists():
        partial = folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        named = [word for lock in locks for word in ("-r", str(lock))]
        for python in pythons:
            command = [python, "-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", str(partial), *named], check=True, stdout=sys.stderr)
        for past in cache_folder().glob("wheels-*"):
            if past != partial:
                shutil.rmtree(past)
        partial.rename(folder)
    return folder


def _python() -> str:
    """A Python of the stand-in's version, with pip: markers in the lock files are read for the one that runs pip."""
    candidates = [sys.executable, *map(str, Path.home().glob(".pyenv/versions/3.11.*/bin/python")), "python3.11"]
    ask = f"import sys, pip; sys.exit(sys.version_info[:2] != {PYTHON})"
    for candidate in candidates:
        if shutil.which(candidate) and not subprocess.run([candidate, "-c", ask], stderr=subprocess.DEVNULL).returncode:
            return candidate
    sys.exit("error: the wheels must be those of Python 3.11, Debian 12's own; install it: python3.11 with pip")


def python_310() -> Path | None:
    """A CPython 3.10 of this machine, which has it where pyenv keeps it: Debian 12 has none."""
    found = sorted(Path.home().glob(".pyenv/versions/3.10.*"))
    return found[-1] if found and shutil.which(str(found[-1] / "bin" / "python3.10")) else None


def make_310(folder: Path) -> None:
    """The image with Python 3.10: the other one, and this machine's 3.10 where the official image has its own."""
    source = python_310()
    assert source is not None
    skip = shutil.ignore_patterns(
        "test", "tests", "site-packages", "__pycache__", "config-3.10-*", "idlelib", "tkinter"
    )
    context = folder / "python-3.10"
    shutil.copytree(source, context / "python", symlinks=True, ignore=skip)
    (context / "python" / "lib" / "python3.10" / "site-packages").mkdir()
    check = "ldconfig && python3 -c 'import ssl, venv'"
    (context / "Dockerfile").write_text(f"FROM {BASE}\nCOPY python /usr/local\nRUN {check}\n")
    subprocess.run(
        ["docker", "build", "--quiet", "--network=none", "--tag", BASE_310, str(context)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def programs() -> dict[str, Path]:
    """Dapr's static programs, of tests/daprd, by their names."""
    command = [sys.executable, str(ROOT / "tests" / "daprd" / "build.py"), "--image", *build.PROGRAMS]
    paths = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return dict(zip(build.PROGRAMS, map(Path, paths), strict=True))


def make(base: Path, programs: Mapping[str, Path], folder: Path) -> None:
    """The images, in the engine that DOCKER_HOST names."""
    with base.open("rb") as archive:
        command = ["docker", "import", "--change", 'CMD ["python3"]', "-", BASE]
        subprocess.run(command, stdin=archive, stdout=subprocess.DEVNULL, check=True)
    for name, dockerfile in DOCKERFILES.items():
        context = folder / name.partition(":")[0].replace("/", "-")
        context.mkdir(parents=True)
        (context / "Dockerfile").write_text(dockerfile)
        program = name.partition(":")[0].rpartition("/")[2]
        if program in programs:
            (context / "nonroot").mkdir()
            shutil.copy(programs[program], context / program)
        subprocess.run(
            ["docker", "build", "--quiet", "--network=none", "--tag", name, str(context)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

"""Modules of the SDKs for tests: those that are committed, and those that are built here, by each language's own tool.

What is built here is kept beside the tests' compiled guests, by the digest of all that it is made of. Where the tool is
missing, the test is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest

from tests.support.interpreter import interpreter

SDK = Path(__file__).resolve().parents[2] / "guests" / "sdk"
EXAMPLES = ("hello", "photo", "forward", "ten_reads", "outcomes")
ACCOUNT = "account"  # the sixth, an actor: test_sdk_actors.py
_KEPT = 16  # modules of one name


def ran(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a tool prints. The test fails with it where the tool fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def tool(*names: str | Path) -> Path:
    """The first of these programs that is here; the test is skipped where none is."""
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    pytest.skip(f"{names[0]} is not here")


def _cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "guesthouse-tests" / "sdk"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def kept(name: str, made_of: Iterable[bytes], build: Callable[[Path], object]) -> Path:
    """The module that `build` writes to the path that it is given, unless it was built before of the same."""
    digest = hashlib.sha256()
    for part in made_of:
        digest.update(hashlib.sha256(part).digest())
    folder = _cache()
    path = folder / f"{name}-{digest.hexdigest()[:32]}.wasm"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            build(Path(made) / "made.wasm")
            os.replace(Path(made) / "made.wasm", path)
        others = sorted(folder.glob(f"{name}-*.wasm"), key=lambda other: other.stat().st_mtime, reverse=True)
        for old in others[_KEPT:]:
            old.unlink(missing_ok=True)
    return path


def sources(folder: Path, *suffixes: str) -> list[bytes]:
    """Names and contents of an SDK's own files, for `kept`."""
    found = (path for path in folder.rglob("*") if path.suffix in suffixes and "node_modules" not in path.parts)
    return [part for path in sorted(found) for part in (str(path.relative_to(folder)).encode(), path.read_bytes())]


# ---- C ----


def clang() -> Path:
    found = tool("clang-19", "clang")
    if "wasm32" not in ran(found, "--print-targets"):
        pytest.skip("clang has no target wasm32")
    return found


def c_module(source: Path, goal: Path, *flags: str) -> None:
    """Compile a guest without a C library."""
    bare = ["--target=wasm32", "-ffreestanding", "-nostdlib", "-Wl,--no-entry", "-O2", "-std=c99"]
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    ran(clang(), *bare, *strict, f"-I{SDK / 'c'}", f"-I{SDK}", *flags, source, "-o", goal)


def clients_c() -> Path:
    source = SDK / "c" / "tests" / "clients.c"
    made_of = [source.read_bytes(), *sources(SDK / "c", ".h")]
    return kept("c-clients", made_of, lambda goal: c_module(source, goal))


# ---- Go ----

_GO_ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOPROXY": "off"}
_WASM = {**_GO_ENVIRONMENT, "GOOS": "wasip1", "GOARCH": "wasm"}


def go_tool() -> Path:
    """Go 1.24 or newer."""
    found = tool("go", "/usr/local/go/bin/go")
    version = re.search(r"go1\.(\d+)", ran(found, "version"))
    if version is None or int(version[1]) < 24:
        pytest.skip("this Go is older than 1.24")
    return found


def go(*arguments: str | Path, wasm: bool = False) -> str:
    """Run Go in the folder of the SDK."""
    return ran(go_tool(), *arguments, cwd=SDK / "go", env=_WASM if wasm else _GO_ENVIRONMENT)


def go_module(package: str) -> Path:
    """A guest of the Go SDK, by its package's folder."""
    name = f"go-{package.replace('/', '-')}"
    flags = ("-trimpath", "-buildmode=c-shared", "-ldflags=-s -w")
    made_of = [go("version").encode(), *(flag.encode() for flag in flags), *sources(SDK / "go", ".go", ".mod")]
    return kept(name, made_of, lambda goal: go("build", *flags, "-o", goal, f"./{package}", wasm=True))


# ---- AssemblyScript ----

AS = SDK / "assemblyscript"
_OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT")


def npm_packages(folder: Path) -> Path:
    """The node_modules of what a lock file names, installed once outside the checkout."""
    npm = tool("npm")
    tool("node")
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:32]
    goal = _cache() / f"node-{wanted}"
    if not goal.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as made:
            for name in ("package.json", "package-lock.json"):
                shutil.copy(folder / name, made)
            command = [str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
            done = subprocess.run(command, cwd=made, capture_output=True, text=True)
            if done.returncode and any(word in done.stderr for word in _OFFLINE):
                pytest.skip("npm reaches no registry, and AssemblyScript is not installed yet")
            assert done.returncode == 0, done.stderr
            with contextlib.suppress(OSError):  # another process was quicker
                os.rename(made, goal)
                os.mkdir(made)
    return goal / "node_modules"


def node_modules() -> Path:
    """The compiler of the SDK."""
    return npm_packages(AS)


def as_module(source: str) -> Path:
    """A guest of the AssemblyScript SDK, by its source."""
    compiler = node_modules() / "assemblyscript" / "bin" / "asc.js"
    made_of = [(AS / "package-lock.json").read_bytes(), *sources(AS, ".ts"), (AS / "asconfig.json").read_bytes()]
    name = f"assemblyscript-{Path(source).stem}"
    command = (compiler, source, "--config", "asconfig.json", "-o")
    return kept(name, made_of, lambda goal: ran(tool("node"), *command, goal, cwd=AS))


# ---- Kotlin and Java ----

_MAVEN_OFFLINE = (
    "Unknown host",
    "Temporary failure in name resolution",
    "Connection refused",
    "Network is unreachable",
    "onnect timed out",
    "onnection timed out",
)


def maven_folder(language: str) -> Path:
    """A folder with the examples of an SDK that Maven builds: all of them by one run, which takes its time."""
    made_of = sources(SDK / language, ".kt", ".java", ".xml")
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in made_of)).hexdigest()
    folder = _cache() / f"{language}-{digest[:32]}"
    with (_cache() / "maven.lock").open("w") as lock:  # other workers of these tests wait for the same modules
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _maven_build(language, folder)
    return folder


def _maven_build(language: str, goal: Path) -> None:
    mvn = tool("mvn")
    tool("javac")
    with tempfile.TemporaryDirectory(dir=_cache()) as made:
        package = Path(made) / "package"
        shutil.copytree(SDK / language, package, ignore=shutil.ignore_patterns("target"))
        command = [str(mvn), "--batch-mode", "--quiet", "package"]
        done = subprocess.run(command, cwd=package, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode and any(word in done.stdout for word in _MAVEN_OFFLINE):
            pytest.skip("Maven reaches no repository, and what it needs is not here yet")
        assert done.returncode == 0, done.stdout
        modules = Path(made) / "modules"
        modules.mkdir()
        for name in EXAMPLES:
            shutil.copy(package / "target" / f"{name}.wasm", modules)
        modules.rename(goal)
    folders = [folder for folder in _cache().glob(f"{language}-*") if folder.is_dir()]
    for old in sorted(folders, key=lambda folder: folder.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


# ---- which there are ----

#: Languages whose modules are not committed: how an example is built.
BUILT: Mapping[str, Callable[[str], Path]] = {
    "assemblyscript": lambda name: as_module(f"examples/{name}.ts"),
    "go": lambda name: go_module(f"examples/{name}"),
    "java": lambda name: maven_folder("java") / f"{name}.wasm",
    "kotlin": lambda name: maven_folder("kotlin") / f"{name}.wasm",
}
#: The guest that uses each client once (test_sdk_clients.py).
CLIENTS: Mapping[str, Callable[[], Path]] = {
    "assemblyscript": lambda: as_module("tests/clients.ts"),
    "c": clients_c,
    "go": lambda: go_module("internal/clients"),
}

#: Languages whose examples are scripts.
SCRIPTS = {path.parents[1].name for path in SDK.glob("*/examples/hello.[jp][sy]")}
LANGUAGES = sorted({*BUILT, *SCRIPTS, *(path.parents[1].name for path in SDK.glob("*/examples/hello.wasm"))})

#: Those that have the sixth.
ACTORS = [language for language in LANGUAGES if any((SDK / language / "examples").glob(f"{ACCOUNT}*"))]


def module_of(language: str, name: str) -> Path:
    """The module of an example; of those that are committed the one that CI rebuilt, where it did."""
    if language in BUILT:
        return BUILT[language](name)
    rebuilt = os.environ.get("GUESTHOUSE_GUESTS")
    if rebuilt:
        return Path(rebuilt) / f"{language}-{name}" / f"{language}-{name}.wasm"
    return SDK / language / "examples" / f"{name}.wasm"


def line_of(language: str, name: str) -> str:
    """The line of a manifest that names an example's module, or its script."""
    if language == "python":
        interpreter()
        return f'script = "{SDK / language / "examples" / name}.py"\nruntime = "python"'
    if language in SCRIPTS:
        return f'script = "{SDK / language / "examples" / name}.js"'
    return f'module = "{module_of(language, name)}"'

"""`guesthouse new`: a folder with a guest that builds, has tests and can be served at once.

What a folder is made of is in `templates/`: what all languages have in `common/`, and a folder for each language. The
SDKs are copied into the new folder, so that it needs nothing but the language's own tools.
"""

from __future__ import annotations

import enum
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from guesthouse.cli.options import example_text, new_app
from guesthouse.cli.output import fail, note
from guesthouse.faults import fault
from guesthouse.guests import python

app = new_app()

HERE = Path(__file__).resolve().parent
TEMPLATES = HERE / "templates"
SDKS = HERE / "sdk"
COMMON = "common"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
#: Of an SDK, what a guest's own folder does not need.
_LEFT_OUT = shutil.ignore_patterns("*.wasm", "build", "target", "node_modules", "tests", "LICENSE", "*_test.go")


class Lang(str, enum.Enum):
    """The languages that guests can be begun in."""

    C = "c"
    RUST = "rust"
    GO = "go"
    ASSEMBLYSCRIPT = "assemblyscript"
    JAVASCRIPT = "javascript"
    PYTHON = "python"


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a language needs on this machine, and how to get it."""

    what: str
    found: Callable[[], bool]
    get: str


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its name in texts, what of the SDKs goes into `sdk/` of a new folder, and what it needs.

    `script` is the guest's file where it needs no build, `runtime` what the manifest says of it besides.
    """

    title: str
    sdk: Sequence[str]  # files by their names, and folders whose content is copied
    needs: Sequence[Need]
    script: str = ""
    runtime: str = ""


def _has(*programs: str) -> Callable[[], bool]:
    """Whether one of these programs is there."""
    return lambda: any(shutil.which(program) for program in programs)


_CLANGS = ("clang", *(f"clang-{version}" for version in range(22, 14, -1)))


def _clang_links() -> bool:
    clang = next(filter(None, map(shutil.which, _CLANGS)), None)
    return clang is not None and Path(_output(clang, "-print-prog-name=wasm-ld")).is_absolute()


def _rust_target() -> bool:
    sysroot = _output("rustc", "--print", "sysroot")
    by_rustup = bool(sysroot) and (Path(sysroot) / "lib" / "rustlib" / "wasm32-wasip1").exists()
    debian = ("/usr/lib/rustlib/src/rust/library", "/usr/lib/wasm32-wasi/crt1-reactor.o")
    return by_rustup or all(map(Path.exists, map(Path, debian)))


def _go_exports() -> bool:
    """Go has //go:wasmexport since 1.24."""
    found = re.search(r"go(\d+)\.(\d+)", _output("go", "version"))
    return found is not None and (int(found[1]), int(found[2])) >= (1, 24)


def _output(*command: str) -> str:
    """What a program prints; empty where it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


_MAKE = Need("make", _has("make"), "Debian: apt install make")
LANGUAGES = {
    Lang.C: Language(
        "C",
        ("c/dapr.h", "c/dapr_mock.h", "wasi_nn.h"),
        (
            Need("clang", _has(*_CLANGS), "Debian: apt install clang; macOS: brew install llvm"),
            Need("wasm-ld, with which clang links", _clang_links, "Debian: apt install lld; macOS: brew install lld"),
            _MAKE,
        ),
    ),
    Lang.RUST: Language(
        "Rust",
        ("rust",),
        (
            Need("cargo", _has("cargo"), "https://rustup.rs; Debian: apt install cargo rustc-web"),
            Need(
                "Rust's target wasm32-wasip1",
                _rust_target,
                "rustup target add wasm32-wasip1; Debian: apt install rustc-web rust-src wasi-libc lld",
            ),
            _MAKE,
        ),
    ),
    Lang.GO: Language(
        "Go", ("go",), (Need("Go 1.24 or newer", _go_exports, "https://go.dev/dl; macOS: brew install go"), _MAKE)
    ),
    Lang.ASSEMBLYSCRIPT: Language(
        "AssemblyScript",
        ("assemblyscript",),
        (Need("npm", _has("npm"), "https://nodejs.org; Debian: apt install npm; macOS: brew install node"), _MAKE),
    ),
    Lang.JAVASCRIPT: Language("JavaScript", ("javascript/README.md",), (_MAKE,), script="guest.js"),
    Lang.PYTHON: Language(
        "Python",
        ("python/README.md",),
        (Need("the interpreter for guests", lambda: python.module_path().exists(), "guesthouse python"), _MAKE),
        script="guest.py",
        runtime="python",
    ),
}


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise typer.BadParameter("use small letters, digits, _ and -, with a letter first, as in cart")
    return name


Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The guest, and its folder.", callback=_name, show_default=False),
]
Chosen = Annotated[Lang, typer.Option("--lang", "-l", help="The language.", show_default=False)]


@app.command(epilog=example_text("new cart --lang c"))
def new(name: Name, lang: Chosen) -> None:
    """Make a folder with a guest that calls the sidecar: source, manifest, tests, an event to send, and the SDK.

    The guest builds, can be tested and can be served as it is. Says what it needs and this machine does not have.
    """
    folder, language = Path(name), LANGUAGES[lang]
    if folder.exists():
        fail([fault("there is such a file or folder already", name, "choose another name, or remove it")])
    try:
        make(folder, lang)
    except OSError as error:
        fail([fault(f"the folder cannot be made ({error.strerror})", str(error.filename), "choose another place")])
    typer.echo(f"{name}/ has a guest in {language.title}:")
    for file in sorted(_own_files(folder)):
        typer.echo(f"  {name}/{file}")
    typer.echo(f"  {name}/sdk/")
    missing = [need for need in language.needs if not need.found()]
    for need in missing:
        note(f"missing on this machine: {need.what} ({need.get})")
    typer.echo(f"\ncd {name}, then make, make test, make send, make dev; README.md says what each does")


def make(folder: Path, lang: Lang) -> None:
    """Make the folder of a guest that has the folder's name. Raises `OSError`."""
    language = LANGUAGES[lang]
    module = f"{folder.name}.wasm"
    texts = {
        "@NAME@": folder.name,
        "@LANGUAGE@": language.title,
        "@KEY@": "script" if language.script else "module",
        "@FILE@": language.script or module,
        "@MORE@": f'\nruntime = "{language.runtime}"' if language.runtime else "",
        "@BUILDS@": f"says that {language.script} needs no build" if language.script else f"builds `{module}`",
    }
    for part in (lang.value, COMMON):
        for source in sorted(path for path in (TEMPLATES / part).rglob("*") if path.is_file()):
            text = source.read_text(encoding="utf-8")
            for mark, value in texts.items():
                text = text.replace(mark, value)
            target = folder / source.relative_to(TEMPLATES / part)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a", encoding="utf-8") as file:  # the Makefile's common part comes after the language's
                file.write(text)
    sdk = folder / "sdk"
    for one in language.sdk:
        if (SDKS / one).is_dir():
            shutil.copytree(SDKS / one, sdk, ignore=_LEFT_OUT, dirs_exist_ok=True)
        else:
            sdk.mkdir(exist_ok=True)
            shutil.copy(SDKS / one, sdk)


def _own_files(folder: Path) -> Iterator[str]:
    """The files that are the guest's own."""
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] != "sdk":
            yield relative.as_posix()

"""The commands that the pages show, and who runs each of them in CI: `docs/commands.toml` says that, and how its own
lines are read is said there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import tomlkit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in [
        *ROOT.glob("*.md"),
        *(p for d in ("docs", "guests", "models", "bench", "components", "tests") for p in (ROOT / d).rglob("*.md")),
    ]
    if "node_modules" not in page.parts  # what npm has installed
)
REGISTRY = ROOT / "tests" / "docs" / "commands.toml"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_ASSIGNED = re.compile(r"\w+=\S+")
#: What a command begins with, where a page has it in the middle of a sentence or forgets to say what a fence holds.
_PROGRAM = re.compile(
    r"apt|apt-get|bash|brew|cargo|clang|cosign|curl|dapr|daprd|docker|docker-compose|emcc|git|go|"
    r"guesthouse|helm|kill|kubectl|make|mosquitto_pub|mosquitto_sub|npm|npx|openssl|pip|pip-audit|podman|"
    r"python|python3|python3\.10|redis-cli|rustup|sh|sha256sum|sudo|wasmedge"
)


@dataclass(frozen=True)
class Shown:
    """A command of a page, without prompt and comment, on one line."""

    page: str  # its path in the checkout
    command: str
    fenced: bool  # in a block of its own; else a few words of a sentence, which may leave out what is not meant
    output: str = ""  # what the page says that it prints


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of that language."""
    return (block for kind, block in FENCE.findall(page.read_text()) if kind == language)


def is_command(text: str) -> bool:
    """Whether a text begins as a command does, and says more than a program's name."""
    words = text.split()
    while words and _ASSIGNED.fullmatch(words[0]):
        del words[0]
    return len(words) > 1 and _PROGRAM.fullmatch(words[0]) is not None


def plain(line: str) -> str:
    return " ".join(re.sub(r"(^|\s)# .*$", "", line).split())


def of_block(language: str, block: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a block of commands (sh), or of a session (console: `$ ` begins a command)."""
    lines = re.sub(r"(?:\\|(?<=\|))\n\s*", " ", block).splitlines()  # a line that goes on in the next
    if language == "sh":
        yield from ((command, "") for line in lines if (command := plain(line)))
        return
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield plain(lines[start].removeprefix("$ ")), "\n".join(lines[start + 1 : end])


def of_page(page: Path) -> Iterator[Shown]:
    name, text = str(page.relative_to(ROOT)), page.read_text()
    for language, block in FENCE.findall(text):
        if language in ("sh", "console"):
            yield from (Shown(name, command, True, output) for command, output in of_block(language, block))
    for span in _SPAN.findall(FENCE.sub("", text)):
        if is_command(span) and "…" not in span:
            yield Shown(name, " ".join(span.split()), False)


def shown() -> list[Shown]:
    """All commands of all pages; the changelog tells of commands as they were."""
    return [one for page in PAGES if page.name != "CHANGELOG.md" for one in of_page(page)]


@dataclass(frozen=True)
class Run:
    """Commands that a test runs as they are written, one after the other, in a copy of the checkout."""

    commands: list[str]
    servers: list[str]  # run while the commands do; without any, it needs no sidecar either
    prints: str  # the last one, among other things, or each server its own
    manifest: str  # a text in the block of a page that the reader has put into guesthouse.toml
    needs: list[str]  # programs

    @property
    def name(self) -> str:
        return (self.servers or self.commands)[-1][:60]


def registry() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(REGISTRY.read_text())
    return found


def runs() -> list[Run]:
    output = {one.command: one.output for one in shown() if one.output}
    return [
        Run(
            commands=entry.get("commands", []),
            servers=entry.get("servers", []),
            prints=entry["prints"] if "prints" in entry else output[entry["commands"][-1]],
            manifest=entry.get("manifest", ""),
            needs=entry.get("needs", []),
        )
        for entry in registry()["run"]
    ]


def matches(pattern: str, one: Shown) -> bool:
    """Whether an entry of the registry means this command: its words, a pattern for them, or a page's own blocks."""
    return pattern == one.command or (pattern == one.page and one.fenced) or fnmatchcase(one.command, pattern)


class Checkout:
    """A copy of the checkout in which a reader follows the pages: what they tell to write is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "guesthouse"
        shutil.copytree(
            ROOT, self.folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "*_cache", "out", "build", "dist")
        )
        for name, source in registry()["files"].items():
            target = self.folder / name
            target.parent.mkdir(exist_ok=True)
            page, _, language = source.partition(": ")
            if language:
                target.write_text(next(blocks(ROOT / page, language)))
            else:
                shutil.copy(ROOT / source, target)
        self._programs = folder / "bin"
        self._programs.mkdir()

    def has(self, program: str, path: str | None) -> bool:
        """Put a program under the name by which the pages call it; whether it is there at all."""
        if path is None:
            return False
        link = self._programs / program
        if not link.exists():
            link.symlink_to(path)
        return True

    def environment(self) -> dict[str, str]:
        """Says where programs are, and nothing that a page does not say."""
        path = f"{Path(sys.executable).parent}:{self._programs}:{os.environ['PATH']}"
        told = ("DAPR_", "APP_", "PYTHON")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(told) and not k.lower().endswith("_proxy")}
        return {**kept, "PATH": path}

    def write_manifest(self, text: str) -> None:
        """The repository's manifest, with the block of a page that has this text put into it."""
        document = tomlkit.parse((ROOT / "guesthouse.toml").read_text())
        if text:
            found = [block for page in PAGES for block in blocks(page, "toml") if text in block]
            assert found, f"no page has a manifest with {text!r} in it"
            for key, value in tomlkit.parse(found[0]).items():
                if isinstance(value, list) or key not in document:
                    document[key] = [*document.get(key, []), *value] if isinstance(value, list) else value
                else:
                    document[key].update(value)
        (self.folder / "guesthouse.toml").write_text(tomlkit.dumps(document))

    def does(self, run: Run, environment: dict[str, str], before: Sequence[str] = ()) -> None:
        """Run the commands: each must succeed, and the last one print what it should. `before` is put before each."""
        said = ""
        for command in run.commands:
            done = subprocess.run(
                [*before, "bash", "-o", "pipefail", "-c", command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=300,
                check=False,
            )
            said = (done.stdout + done.stderr).decode(errors="replace")
            assert done.returncode == 0, f"{command}\n{said}"
        assert run.prints in said


def words_of(command: str) -> list[list[str]]:
    """The words of each program that a line of shell calls, without assignments and redirections."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    programs: list[list[str]] = [[]]
    redirected = False
    for word in lexer:
        if set(word) <= set("|&;"):
            programs.append([])
        elif set(word) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        elif programs[-1] or not _ASSIGNED.fullmatch(word):
            programs[-1].append(word)
    return [words for words in programs if words]

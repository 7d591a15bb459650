"""Programs for WASI preview 1 in the form of the public test suite: NAME.wasm, and beside it NAME.json, which says with
what a program is run and how it ends.

The keys of NAME.json are those of the suite's specification (`args`, `env`, `dirs`, `root`, `exit_code`, `stdout`,
`stderr`). A directory that it names is read here, granted to the guest file by file, and the guest may write beside
those files: nothing that a program does reaches the directory itself.

What a guest finds from the start is called `/` here, always. So `root`, the directory that a program finds as `/`, is
that; one of `dirs`, which it finds under its own name, lies below it, and a program that is told the name as an
argument is told `/` instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """One program and what is expected of it."""

    name: str
    wasm: Path
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None  # the folder that the guest sees
    below: str = ""  # the path that the guest sees it by; empty: it is `/` itself
    exit_code: int = 0
    stdout: str | None = None
    stderr: str | None = None

    def files(self) -> dict[str, bytes]:
        """What is in its directory, by the paths that the guest sees."""
        if self.directory is None:
            return {}
        paths = sorted(path for path in self.directory.rglob("*") if path.is_file())
        return {f"{self.below}/{path.relative_to(self.directory).as_posix()}": path.read_bytes() for path in paths}


def read(wasm: Path, says: Path | None = None) -> Program:
    """A program with its specification, which may be missing; `says` is where it is, if not beside it.

    Raises `ValueError` for a specification that asks for more than this harness knows.
    """
    says = says or wasm.with_suffix(".json")
    wanted = json.loads(says.read_text(encoding="utf-8")) if says.exists() else {}
    unknown = sorted(set(wanted) - {"args", "env", "dirs", "root", "exit_code", "stdout", "stderr"})
    root, dirs = wanted.get("root", ""), wanted.get("dirs", [])
    if unknown or len(dirs) + bool(root) > 1:
        raise ValueError(f"{says}: this harness knows one directory, and no {', '.join(unknown) or 'second one'}")
    named = root or "".join(dirs)
    return Program(
        wasm.stem,
        wasm,
        ["/" if argument in dirs else argument for argument in wanted.get("args", [])],
        wanted.get("env", {}),
        says.parent / named if named else None,
        "/" + named if dirs else "",
        wanted.get("exit_code", 0),
        wanted.get("stdout"),
        wanted.get("stderr"),
    )


def below(folder: Path) -> Iterator[Program]:
    """Every program of preview 1 in a folder and in those below it; later previews have folders of their own."""
    for wasm in sorted(folder.rglob("*.wasm")):
        if not any(part.startswith(("wasm32-wasip2", "wasm32-wasip3")) for part in wasm.parts):
            yield read(wasm)

"""The files that a guest may be granted: names and contents, checked once at load and shared by all its events.

What a guest sees of them, and its own scratch directory, is in `imports/wasi_preview1`. Where contents come from is the
embedder's matter: no file of the host is opened here, and no name that a guest gives ever reaches the host's own files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from guesthouse_abi.grants import Grants

#: What a file's content may be: bytes, or a read-only view (of a mapped file, say).
Buffer: TypeAlias = "bytes | memoryview"

MOST_PART = 255  # bytes of UTF-8 in a name between two slashes
MOST_PATH = 4096  # bytes of UTF-8 in a whole path

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def path_problem(path: str) -> str:
    """What keeps `path` from being a file's name for a guest, in words; empty when nothing does."""
    if not path.startswith("/"):
        return "is not absolute: it must begin with /"
    if _CONTROL.search(path):
        return "has a control character"
    parts = path[1:].split("/")
    if parts == [""]:
        return "is the root, which is no file"
    if "" in parts:
        return "has an empty part: two slashes in a row, or one at the end"
    if "." in parts or ".." in parts:
        return "has a part . or .., which no name of a file is"
    try:
        encoded = [part.encode() for part in parts]
    except UnicodeEncodeError:
        return "is not Unicode text"
    if max(map(len, encoded)) > MOST_PART:
        return f"has a part of more than {MOST_PART} bytes"
    if len(encoded) + sum(map(len, encoded)) > MOST_PATH:
        return f"has more than {MOST_PATH} bytes"
    return ""


class Files:
    """Granted files by absolute path; the directories above them are implied. Never changed, shared by threads.

    Raises `ValueError` for a path with a `path_problem`, and for a file that has another below it.
    """

    __slots__ = ("contents", "tree")

    def __init__(self, contents: Mapping[str, Buffer]) -> None:
        self.contents: Mapping[str, Buffer] = MappingProxyType(dict(contents))
        self.tree: Directory = {}
        for path, content in self.contents.items():
            problem = path_problem(path)
            if problem:
                raise ValueError(f"{path!r} {problem}")
            if isinstance(content, memoryview) and not (
                content.readonly and content.format == "B" and content.ndim == 1
            ):
                raise ValueError(f"{path}: a view that could be written to, or that is not of bytes")
            *above, name = path[1:].encode().split(b"/")
            directory = self.tree
            for part in above:
                below = directory.setdefault(part, {})
                if not isinstance(below, dict):
                    raise ValueError(f"{path} lies below a path that is itself a file")
                directory = below
            if name in directory:
                raise ValueError(f"{path} is both a file and a directory")
            directory[name] = content


Directory: TypeAlias = "dict[bytes, bytes | memoryview | Directory]"

NO_FILES = Files({})


def layout_problems(paths: Iterable[str], grants: Grants) -> list[str]:
    """What keeps granted files and the paths in `grants` from being one tree, in words; empty when nothing does.

    `paths` have no `path_problem` of their own.
    """
    named = {"body_file": grants.body_file, "reply_file": grants.reply_file}
    if grants.scratch and grants.scratch_path != "/":
        named["scratch_path"] = grants.scratch_path
    named = {key: path for key, path in named.items() if path}
    found = [f"{key} {path!r} {path_problem(path)}" for key, path in named.items() if path_problem(path)]
    if found:
        return found
    files = set(paths)
    directories = {above for path in (*files, *named.values()) for above in _above(path)}
    found = [f"{path} is a file, and there is another below it" for path in sorted(files & directories)]
    if grants.body_file in files:
        found.append(f"body_file {grants.body_file} is one of the files, too")
    if grants.body_file in directories:
        found.append(f"body_file {grants.body_file} has another file below it")
    if grants.scratch and grants.scratch_path in {*files, grants.body_file}:
        found.append(f"scratch_path {grants.scratch_path} is a file, not a directory")
    if grants.reply_file:
        if grants.reply_file in {*files, grants.body_file}:
            found.append(f"reply_file {grants.reply_file} is a file that the guest only reads")
        if grants.reply_file in directories | {grants.scratch_path if grants.scratch else ""}:
            found.append(f"reply_file {grants.reply_file} is a directory")
        elif grants.scratch and grants.scratch_path not in ("/", *_above(grants.reply_file)):
            found.append(
                f"reply_file {grants.reply_file} is not below {grants.scratch_path}, where the guest may write"
            )
    return found


def _above(path: str) -> list[str]:
    """The directories above a path, the root aside."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]

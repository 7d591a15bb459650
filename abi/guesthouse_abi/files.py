"""The files that a guest may be granted: names and contents, checked once at load and shared by all its events.

Here are also the nodes that a tree of files is made of. The tree that one event sees, with its scratch directory, is in
`imports/wasi_preview1/tree.py`. The embedder reads the contents: no file of the host is opened here, and no name that a
guest gives ever reaches the host's own files.
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


class Node:
    """A thing with a name in a tree of files. `fixed`: the manifest put it there, so no guest removes or renames it."""

    __slots__ = ("accessed", "changed", "fixed", "inode", "links", "modified")

    def __init__(self, inode: int, *, fixed: bool, now: int = 0) -> None:
        self.inode = inode
        self.fixed = fixed
        self.links = 1
        self.accessed = self.modified = self.changed = now  # nanoseconds since 1970; 0 for what a guest only reads


class File(Node):
    """A regular file. It can be written to when its content is a `bytearray`."""

    __slots__ = ("content", "opened")

    def __init__(self, inode: int, content: Buffer | bytearray, *, fixed: bool, now: int = 0) -> None:
        super().__init__(inode, fixed=fixed, now=now)
        self.content = content
        self.opened = 0  # descriptors of it; counted where it can be written to


class CallsFile(Node):
    """The file by which a guest calls host functions, where it is granted."""

    __slots__ = ()


class Link(Node):
    """A symbolic link. Guests make them; there is none among granted files."""

    __slots__ = ("target",)

    def __init__(self, inode: int, target: bytes, *, now: int) -> None:
        super().__init__(inode, fixed=False, now=now)
        self.target = target


class Directory(Node):
    """A directory. `above` is the inode of the one that it lies in; the root lies in itself.

    No reference leads upwards: an event's tree then has no cycles, and is freed with the event.
    """

    __slots__ = ("above", "below", "entries", "listed", "next_cookie", "slot", "writable")

    def __init__(
        self,
        inode: int,
        above: int,
        *,
        below: Directory | None = None,
        writable: bool = False,
        fixed: bool,
        now: int = 0,
    ) -> None:
        super().__init__(inode, fixed=fixed, now=now)
        self.links = 2  # its name and its own "."; one more for each directory in it
        self.above = above
        self.below = below  # a directory of granted files whose entries are seen here, too
        self.writable = writable
        self.slot: bytes | None = None  # the one name that may be made where the directory is not writable
        self.entries: dict[bytes, tuple[int, Node]] = {}  # by name, with the cookie of `fd_readdir`
        self.next_cookie: int = FIRST_COOKIE if below is None else below.next_cookie
        self.listed: list[tuple[int, bytes, Node]] | None = None

    def add(self, name: bytes, node: Node) -> None:
        """Give a node a name here that no other has."""
        self.entries[name] = (self.next_cookie, node)
        self.next_cookie += 1
        self.listed = None

    def remove(self, name: bytes) -> None:
        del self.entries[name]
        self.listed = None

    def find(self, name: bytes) -> Node | None:
        """The node of that name, None when there is none."""
        found = self.entries.get(name) or (self.below and self.below.entries.get(name))
        return found[1] if found else None

    @property
    def empty(self) -> bool:
        return not self.entries and (self.below is None or not self.below.entries)

    def listing(self) -> list[tuple[int, bytes, Node]]:
        """(cookie, name, node) of each entry in the order of cookies, which an entry keeps until it is removed."""
        listed = self.listed
        if listed is None:
            granted = self.below.entries if self.below else {}
            listed = [(cookie, name, node) for name, (cookie, node) in granted.items()]
            listed += [(cookie, name, node) for name, (cookie, node) in self.entries.items() if name not in granted]
            self.listed = listed
        return listed


FIRST_COOKIE = 3  # of `fd_readdir`: 1 and 2 follow . and ..
ROOT_INODE = 1


class Files:
    """Granted files by absolute path; the directories above them are implied. Never changed, shared by threads.

    Raises `ValueError` for a path with a `path_problem`, and for a file that has another below it.
    """

    __slots__ = ("contents", "inodes", "root")

    def __init__(self, contents: Mapping[str, Buffer]) -> None:
        self.contents: Mapping[str, Buffer] = MappingProxyType(dict(contents))
        self.root = Directory(ROOT_INODE, ROOT_INODE, fixed=True)
        self.inodes = ROOT_INODE + 1  # the first that is free
        for path, content in self.contents.items():
            problem = path_problem(path)
            if problem:
                raise ValueError(f"{path!r} {problem}")
            if isinstance(content, memoryview) and not (
                content.readonly and content.c_contiguous and content.format == "B" and content.ndim == 1
            ):
                raise ValueError(f"{path}: a view that could be written to, or that is not of bytes")
            self._add(path, content)

    def _add(self, path: str, content: Buffer) -> None:
        *above, name = path[1:].encode().split(b"/")
        directory = self.root
        for part in above:
            below = directory.find(part)
            if below is None:
                below = Directory(self._inode(), directory.inode, fixed=True)
                directory.add(part, below)
                directory.links += 1
            if not isinstance(below, Directory):
                raise ValueError(f"{path} lies below a path that is itself a file")
            directory = below
        if directory.find(name) is not None:
            raise ValueError(f"{path} is both a file and a directory")
        directory.add(name, File(self._inode(), content, fixed=True))

    def _inode(self) -> int:
        self.inodes += 1
        return self.inodes - 1


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

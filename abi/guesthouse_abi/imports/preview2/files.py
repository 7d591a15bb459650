"""`wasi:filesystem`: the guest's granted files, its scratch directory, the event's body and the reply as files.

It is the tree of files that preview 1 has (`imports/wasi_preview1/tree.py`), with one preopened directory, `/`, where
the guest is granted any file, and none else. What each function refuses, and how, is as in preview 1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from guesthouse_abi.canonical.functions import Answered, Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.errors import Refused, TooMuch
from guesthouse_abi.files import MOST_PATH, Directory, File, Link, Node
from guesthouse_abi.host import I32
from guesthouse_abi.imports.preview2.io import CHUNK, InputStream, IoError, Writer
from guesthouse_abi.imports.wasi_preview1 import wire
from guesthouse_abi.imports.wasi_preview1.descriptors import descriptors, tree_of
from guesthouse_abi.imports.wasi_preview1.files import LAST, set_times
from guesthouse_abi.imports.wasi_preview1.tree import Place

_SECOND = 10**9
_LATEST = (1 << 64) - 1  # nanoseconds
_ENTRY = 128  # bytes that are counted for an entry of a listing
_CODES = {
    wire.BADF: "bad-descriptor",
    wire.BUSY: "busy",
    wire.EXIST: "exist",
    wire.ILSEQ: "illegal-byte-sequence",
    wire.INVAL: "invalid",
    wire.ISDIR: "is-directory",
    wire.LOOP: "loop",
    wire.NAMETOOLONG: "name-too-long",
    wire.NOENT: "no-entry",
    wire.NOMEM: "insufficient-memory",
    wire.NOSPC: "insufficient-space",
    wire.NOTDIR: "not-directory",
    wire.NOTEMPTY: "not-empty",
    wire.NOTSUP: "unsupported",
    wire.PERM: "not-permitted",
    wire.ROFS: "read-only",
    wire.XDEV: "cross-device",
}
_READ, _WRITE, _MUTATE = "read", "write", "mutate-directory"
Flags = frozenset[str]
Stat = tuple[str, int, int, "tuple[int, int] | None", "tuple[int, int] | None", "tuple[int, int] | None"]


class Descriptor:
    """The resource `descriptor`: an open file or directory."""

    def __init__(self, node: File | Directory, flags: Flags) -> None:
        self.node = node
        self.flags = flags
        if isinstance(node, File):
            _opened(node)

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        if isinstance(self.node, File):
            _closed(context, self.node)

    def file(self, right: str = "") -> File:
        """Raises `Refused` for a directory, and for a file that was not opened so."""
        if isinstance(self.node, Directory):
            raise Refused(wire.ISDIR)
        if right and right not in self.flags:
            raise Refused(wire.BADF)
        if right == _WRITE and not isinstance(self.node.content, bytearray):
            raise Refused(wire.ROFS)
        return self.node

    def directory(self, changes: bool = False) -> Directory:
        """Raises `Refused` for a file, and for a directory that was not opened to be changed."""
        if isinstance(self.node, File):
            raise Refused(wire.NOTDIR)
        if changes and _MUTATE not in self.flags:
            raise Refused(wire.ROFS)
        return self.node


def _opened(file: File) -> None:
    if isinstance(file.content, bytearray):
        file.opened += 1


def _closed(context: Context, file: File) -> None:
    if isinstance(file.content, bytearray):
        file.opened -= 1
        tree_of(context).free_if_unreachable(context, file)


class FileInput(InputStream):
    """A stream that reads a file."""

    def __init__(self, file: File, at: int) -> None:
        super().__init__()
        self._file = file
        self._position = at
        _opened(file)

    def take(self, context: Context, length: int) -> bytes:
        """See `InputStream.take`."""
        part = _part(self._file, self._position, length)
        if not part and length:
            raise Fail(Case("closed"))
        self._position += len(part)
        return part

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        _closed(context, self._file)


class FileTarget:
    """What writes a file: `io.OutputStream`. At its end where there is no position."""

    chunk = CHUNK

    def __init__(self, file: File, at: int | None) -> None:
        self.file = file
        self._position = at

    def give(self, context: Context, data: bytes) -> None:
        """See `io.OutputStream.give`."""
        at = len(self.file.content) if self._position is None else self._position
        try:
            with _told():
                written = tree_of(context).write_bytes(context, self.file, at, data)
        except Fail as failure:
            raise Fail(Case("last-operation-failed", IoError("the file was not written", failure.value))) from failure
        if self._position is not None:
            self._position = at + written
        if written < len(data):
            code = "insufficient-space"
            raise Fail(Case("last-operation-failed", IoError("there was not room for all", code)))


class FileWriter(Writer):
    """A stream that writes a file."""

    def __init__(self, target: FileTarget) -> None:
        super().__init__(target)
        self._file = target.file
        _opened(self._file)

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        _closed(context, self._file)


class Entries:
    """The resource `directory-entry-stream`: what was there when it was made, which is counted until it is dropped."""

    def __init__(self, context: Context, listed: list[tuple[int, bytes, Node]]) -> None:
        """Raises `TooMuch`."""
        self.listed = listed
        self.at = 0
        self._held = _ENTRY * len(listed)
        context.hold(self._held)

    def release(self, context: Context) -> None:
        """The guest has dropped it."""
        context.release(self._held)


TYPES = Answered("wasi:filesystem/types", descriptor=Descriptor, directory_entry_stream=Entries)
PREOPENS = Answered("wasi:filesystem/preopens")
INTERFACES = (TYPES, PREOPENS)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """A refusal becomes an error code of the guest's."""
    try:
        yield
    except Refused as refusal:
        raise Fail(_CODES.get(I32(refusal.number), "io")) from refusal
    except TooMuch as error:
        raise Fail("insufficient-memory") from error


@TYPES.function("filesystem-error-code")
def error_code(context: Context, error: IoError) -> str | None:
    return error.code


@PREOPENS.function("get-directories")
def get_directories(context: Context) -> list[tuple[Descriptor, str]]:
    tree = descriptors(context).tree
    return [] if tree is None else [(Descriptor(tree.root, frozenset({_READ, _MUTATE})), "/")]


# ---- a file ----


def _part(file: File, at: int, length: int) -> bytes:
    with memoryview(file.content) as content:
        return content[at : at + min(length, CHUNK)].tobytes()


def _check_position(at: int) -> None:
    if at > LAST:
        raise Refused(wire.INVAL)


@TYPES.function("[method]descriptor.read-via-stream")
def read_via_stream(context: Context, opened: Descriptor, at: int) -> FileInput:
    with _told():
        return FileInput(opened.file(_READ), at)


@TYPES.function("[method]descriptor.write-via-stream")
def write_via_stream(context: Context, opened: Descriptor, at: int) -> FileWriter:
    with _told():
        _check_position(at)
        return FileWriter(FileTarget(opened.file(_WRITE), at))


@TYPES.function("[method]descriptor.append-via-stream")
def append_via_stream(context: Context, opened: Descriptor) -> FileWriter:
    with _told():
        return FileWriter(FileTarget(opened.file(_WRITE), None))


@TYPES.function("[method]descriptor.read")
def read(context: Context, opened: Descriptor, length: int, at: int) -> tuple[bytes, bool]:
    with _told():
        file = opened.file(_READ)
    part = _part(file, at, length)
    return part, at + len(part) >= len(file.content)


@TYPES.function("[method]descriptor.write")
def write(context: Context, opened: Descriptor, data: bytes, at: int) -> int:
    with _told():
        file = opened.file(_WRITE)
        _check_position(at)
        return tree_of(context).write_bytes(context, file, at, data)


@TYPES.function("[method]descriptor.set-size")
def set_size(context: Context, opened: Descriptor, size: int) -> None:
    with _told():
        file = opened.file(_WRITE)
        _check_position(size)
        tree_of(context).resize(context, file, size)


@TYPES.function("[method]descriptor.advise")
def advise(context: Context, opened: Descriptor, at: int, length: int, advice: str) -> None:
    with _told():
        opened.file()


# ---- a file or a directory ----


@TYPES.function("[method]descriptor.sync")
@TYPES.function("[method]descriptor.sync-data")
def sync(context: Context, opened: Descriptor) -> None:
    return None  # everything is in memory


@TYPES.function("[method]descriptor.get-flags")
def get_flags(context: Context, opened: Descriptor) -> Flags:
    return opened.flags


def _type(node: Node) -> str:
    if isinstance(node, Directory):
        return "directory"
    return "symbolic-link" if isinstance(node, Link) else "regular-file"


@TYPES.function("[method]descriptor.get-type")
def get_type(context: Context, opened: Descriptor) -> str:
    return _type(opened.node)


def _stat(node: Node) -> Stat:
    size = 0
    if isinstance(node, File):
        size = len(node.content)
    elif isinstance(node, Link):
        size = len(node.target)
    accessed, modified, changed = (
        divmod(time, _SECOND) if time else None for time in (node.accessed, node.modified, node.changed)
    )
    return _type(node), node.links, size, accessed, modified, changed


@TYPES.function("[method]descriptor.stat")
def stat(context: Context, opened: Descriptor) -> Stat:
    return _stat(opened.node)


def _hash(node: Node) -> tuple[int, int]:
    return node.inode, 0


@TYPES.function("[method]descriptor.metadata-hash")
def metadata_hash(context: Context, opened: Descriptor) -> tuple[int, int]:
    return _hash(opened.node)


@TYPES.function("[method]descriptor.is-same-object")
def is_same_object(context: Context, opened: Descriptor, other: Descriptor) -> bool:
    return opened.node is other.node


def _set_times(node: Node, accessed: Case, modified: Case) -> None:
    flags, times = 0, []
    pairs = (wire.SET_ACCESSED, wire.SET_ACCESSED_NOW), (wire.SET_MODIFIED, wire.SET_MODIFIED_NOW)
    for given, (at, now) in zip((accessed, modified), pairs, strict=True):
        seconds, nanoseconds = given.value if given.name == "timestamp" else (0, 0)
        if nanoseconds >= _SECOND:
            raise Refused(wire.INVAL)
        times.append(min(seconds * _SECOND + nanoseconds, _LATEST))
        flags |= {"no-change": 0, "now": now, "timestamp": at}[given.name]
    set_times(node, times[0], times[1], flags)


@TYPES.function("[method]descriptor.set-times")
def set_own_times(context: Context, opened: Descriptor, accessed: Case, modified: Case) -> None:
    with _told():
        _set_times(opened.node, accessed, modified)


# ---- below a directory ----


def _path(text: str) -> bytes:
    path = text.encode()
    if len(path) > MOST_PATH:
        raise Refused(wire.NAMETOOLONG)
    if b"\0" in path:
        raise Refused(wire.INVAL)
    return path


def _place(context: Context, opened: Descriptor, path: str, *, follow: bool) -> Place:
    """What a path leads to, to ask about it or to open it."""
    return tree_of(context).walk(opened.directory(), _path(path), follow=follow)


def _entry(context: Context, opened: Descriptor, path: str) -> Place:
    """The name that a path leads to, to make, remove or move it."""
    return tree_of(context).walk(opened.directory(changes=True), _path(path), follow=False, entry=True)


def _node(context: Context, opened: Descriptor, flags: Flags, path: str) -> Node:
    node = _place(context, opened, path, follow="symlink-follow" in flags).node
    if node is None:
        raise Refused(wire.NOENT)
    return node


@TYPES.function("[method]descriptor.stat-at")
def stat_at(context: Context, opened: Descriptor, flags: Flags, path: str) -> Stat:
    with _told():
        return _stat(_node(context, opened, flags, path))


@TYPES.function("[method]descriptor.metadata-hash-at")
def metadata_hash_at(context: Context, opened: Descriptor, flags: Flags, path: str) -> tuple[int, int]:
    with _told():
        return _hash(_node(context, opened, flags, path))


@TYPES.function("[method]descriptor.set-times-at")
def set_times_at(context: Context, opened: Descriptor, flags: Flags, path: str, accessed: Case, modified: Case) -> None:
    with _told():
        opened.directory(changes=True)
        _set_times(_node(context, opened, flags, path), accessed, modified)


@TYPES.function("[method]descriptor.read-directory")
def read_directory(context: Context, opened: Descriptor) -> Entries:
    with _told():
        return Entries(context, opened.directory().listing())


@TYPES.function("[method]directory-entry-stream.read-directory-entry")
def read_directory_entry(context: Context, entries: Entries) -> tuple[str, str] | None:
    if entries.at == len(entries.listed):
        return None
    _, name, node = entries.listed[entries.at]
    entries.at += 1
    return _type(node), name.decode(errors="replace")


@TYPES.function("[method]descriptor.create-directory-at")
def create_directory_at(context: Context, opened: Descriptor, path: str) -> None:
    with _told():
        tree_of(context).make_directory(context, _entry(context, opened, path))


@TYPES.function("[method]descriptor.remove-directory-at")
def remove_directory_at(context: Context, opened: Descriptor, path: str) -> None:
    with _told():
        tree_of(context).remove_directory(context, _entry(context, opened, path))


@TYPES.function("[method]descriptor.unlink-file-at")
def unlink_file_at(context: Context, opened: Descriptor, path: str) -> None:
    with _told():
        tree_of(context).unlink(context, _entry(context, opened, path))


@TYPES.function("[method]descriptor.rename-at")
def rename_at(context: Context, opened: Descriptor, path: str, other: Descriptor, new: str) -> None:
    with _told():
        tree_of(context).rename(context, _entry(context, opened, path), _entry(context, other, new))


@TYPES.function("[method]descriptor.link-at")
def link_at(context: Context, opened: Descriptor, flags: Flags, path: str, other: Descriptor, new: str) -> None:
    with _told():
        old = _entry(context, opened, path)
        if flags:
            raise Refused(wire.INVAL)  # a link at the end is not followed: it gets the second name itself
        if old.node is None:
            raise Refused(wire.NOENT)
        if old.slash and not isinstance(old.node, Directory):
            raise Refused(wire.NOTDIR)
        tree_of(context).link(context, old.node, _entry(context, other, new))


@TYPES.function("[method]descriptor.symlink-at")
def symlink_at(context: Context, opened: Descriptor, target: str, path: str) -> None:
    with _told():
        if not target:
            raise Refused(wire.NOENT)
        if target.startswith("/"):
            raise Refused(wire.PERM)  # an absolute path leads nowhere
        tree_of(context).make_link(context, _entry(context, opened, path), _path(target))


@TYPES.function("[method]descriptor.readlink-at")
def readlink_at(context: Context, opened: Descriptor, path: str) -> str:
    with _told():
        node = _place(context, opened, path, follow=False).node
        if node is None:
            raise Refused(wire.NOENT)
        if not isinstance(node, Link):
            raise Refused(wire.INVAL)
        return node.target.decode(errors="replace")


@TYPES.function("[method]descriptor.open-at")
def open_at(context: Context, opened: Descriptor, path_flags: Flags, path: str, how: Flags, flags: Flags) -> Descriptor:
    with _told():
        return Descriptor(_found(context, opened, path_flags, path, how, flags), flags)


def _found(
    context: Context, opened: Descriptor, path_flags: Flags, path: str, how: Flags, flags: Flags
) -> File | Directory:
    """The file or directory that is opened, made where that is asked for. Raises `Refused`."""
    opened.directory(changes=bool(flags & {_WRITE, _MUTATE} or how & {"create", "truncate"}))
    if "directory" in how and how != {"directory"}:
        raise Refused(wire.INVAL)
    exclusive = how >= {"create", "exclusive"}
    place = _place(context, opened, path, follow="symlink-follow" in path_flags and not exclusive)
    node = place.node
    if node is not None and exclusive:
        raise Refused(wire.EXIST)
    if place.slash and "create" in how:
        raise Refused(wire.ISDIR)
    if node is None and "create" not in how:
        raise Refused(wire.NOENT)
    if isinstance(node, Link):
        raise Refused(wire.LOOP)
    if isinstance(node, Directory):
        if _WRITE in flags or how & {"create", "truncate"}:
            raise Refused(wire.ISDIR)
        return node
    if "directory" in how:
        raise Refused(wire.NOTDIR)
    return tree_of(context).file_at(context, place, writes=_WRITE in flags, truncates="truncate" in how)

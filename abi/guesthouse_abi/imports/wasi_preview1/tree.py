"""The tree of files that one event sees: granted files, the event's body, the scratch directory, the reply's file.

Paths are resolved here, part by part, from the directory of a descriptor; none leads above it, and none to the host's
own files. All that a guest makes is in memory, bounded by the grant `scratch` and counted as memory of the host.
Descriptors and rights are not known here, but WASI's error numbers are. The rules for guests are in docs/abi.md, under
"Files".
"""

from __future__ import annotations

import time
from typing import NamedTuple

from guesthouse_abi.context import Context
from guesthouse_abi.errors import Refused
from guesthouse_abi.files import MOST_PART, MOST_PATH, CallsFile, Directory, File, Link, Node
from guesthouse_abi.imports.wasi_preview1.wire import (
    BUSY,
    EXIST,
    ILSEQ,
    INVAL,
    ISDIR,
    LOOP,
    NAMETOOLONG,
    NOENT,
    NOSPC,
    NOTDIR,
    NOTEMPTY,
    PERM,
    ROFS,
    XDEV,
)

#: Names of files, directories and links that a guest may make.
MOST_NODES = 16_384
#: Bytes that each of these counts, beside its content.
NODE_COST = 1024
#: Symbolic links in one path.
MOST_LINKS = 40
#: Bytes copied at a time; the deadline is looked at in between.
CHUNK = 1 << 20


class Place(NamedTuple):
    """Where a path leads: a name in a directory, and what is there."""

    directory: Directory
    name: bytes  # empty: the path is the directory itself, `node`, and names no entry (".", "..", "a/..")
    node: Node | None
    slash: bool  # the path ends in a slash: only a directory will do


class Tree:
    """One event's files."""

    def __init__(self, context: Context) -> None:
        grants = context.grants
        self.root = context.files.root
        self.limit = grants.scratch or (context.limits.output + NODE_COST if grants.reply_file else 0)
        self.used = 0
        self.nodes = 0
        self._inode = context.files.inodes
        self._directories: dict[int, Directory] = {}  # those of this event alone, by inode
        self._full_logged = False
        self._body: File | None = None
        if grants.body_file or grants.scratch or grants.reply_file or grants.calls_file:
            self.root = self._overlay(context.files.root, context.files.root.inode)
        if grants.scratch and grants.scratch_path != "/":
            above, name = self._grafted(grants.scratch_path)
            self._graft_directory(above, name).writable = True
        elif grants.scratch:
            self.root.writable = True
        if grants.reply_file:
            above, name = self._grafted(grants.reply_file)
            if not above.writable:
                above.slot = name
        if grants.body_file:
            above, name = self._grafted(grants.body_file)
            self._body = File(self._new_inode(), context.body, fixed=True)
            above.add(name, self._body)
        if grants.calls_file:
            above, name = self._grafted(grants.calls_file)
            above.add(name, CallsFile(self._new_inode(), fixed=True))

    def at(self, path: str) -> Node | None:
        """What is under an absolute path of the manifest's, None when there is nothing."""
        try:
            return self.walk(self.root, path[1:].encode(), follow=True).node
        except Refused:
            return None

    def give_body(self, body: bytes) -> None:
        """The event's body, where it came after the tree was made (a start function asked for files)."""
        if self._body is not None:
            self._body.content = body

    # what the manifest adds to the granted files

    def _overlay(self, below: Directory, above: int) -> Directory:
        """This event's own directory over a granted one: it shows the same entries, and those that the event adds."""
        directory = Directory(below.inode, above, below=below, fixed=True)
        directory.links = below.links
        self._directories[directory.inode] = directory
        return directory

    def _grafted(self, path: str) -> tuple[Directory, bytes]:
        """This event's own directory that `path` lies in, made where it is missing, and the last name of the path."""
        *above, name = path[1:].encode().split(b"/")
        directory = self.root
        for part in above:
            directory = self._graft_directory(directory, part)
        return directory, name

    def _graft_directory(self, above: Directory, name: bytes) -> Directory:
        """This event's own directory `name` in `above`, over a granted one of that name where there is one."""
        own = above.entries.get(name)
        if own is not None:
            assert isinstance(own[1], Directory)  # `layout_problems` refuses anything else at load
            return own[1]
        granted = above.find(name)
        if granted is None:
            directory = Directory(self._new_inode(), above.inode, fixed=True)
            self._directories[directory.inode] = directory
            above.links += 1
        else:
            assert isinstance(granted, Directory)
            directory = self._overlay(granted, above.inode)
        directory.writable = above.writable
        above.add(name, directory)
        return directory

    def _new_inode(self) -> int:
        self._inode += 1
        return self._inode - 1

    # finding

    def child(self, directory: Directory, name: bytes) -> Node | None:
        """What a directory has under a name."""
        node = directory.find(name)
        if directory.writable and isinstance(node, Directory) and name not in directory.entries:
            return self._graft_directory(directory, name)  # beside granted files in it a guest may make its own
        return node

    def walk(self, start: Directory, path: bytes, *, follow: bool, entry: bool = False) -> Place:
        """Where `path` leads from `start`; with `follow`, beyond a symbolic link at its end.

        With `entry` the name itself is meant, not what is there: a link at the end is never followed, not even with a
        slash behind it. Raises `Refused` for a path that leads upwards out of `start` or through something that is no
        directory, or is too long.
        """
        if len(path) > MOST_PATH:
            raise Refused(NAMETOOLONG)
        if not path:
            raise Refused(NOENT)
        stack = [start]
        slash = path.endswith(b"/")
        todo = _parts(path)
        links = 0
        while todo:
            part = todo.pop()
            if part == b".":
                continue
            if part == b"..":
                if len(stack) == 1:
                    raise Refused(PERM)
                stack.pop()
                continue
            if len(part) > MOST_PART:
                raise Refused(NAMETOOLONG)
            node = self.child(stack[-1], part)
            if isinstance(node, Link) and (todo or follow or (slash and not entry)):
                links += 1
                if links > MOST_LINKS:
                    raise Refused(LOOP)
                slash = slash or (not todo and node.target.endswith(b"/"))
                todo += _parts(node.target)
            elif not todo:
                if slash and not entry and node is not None and not isinstance(node, Directory):
                    raise Refused(NOTDIR)
                return Place(stack[-1], part, node, slash)
            elif node is None:
                raise Refused(NOENT)
            elif not isinstance(node, Directory):
                raise Refused(NOTDIR)
            else:
                stack.append(node)
        return Place(stack[-1], b"", stack[-1], slash)

    # changing

    def take(self, context: Context, count: int) -> None:
        """Account for `count` more bytes. Raises `Refused` when they are more than the guest was granted."""
        if self.used + count > self.limit:
            self._log_full(context)
            raise Refused(NOSPC)
        context.hold(count)
        self.used += count

    def give_back(self, context: Context, count: int) -> None:
        context.release(count)
        self.used -= count

    def room(self, context: Context) -> int:
        """Bytes that may still be written."""
        return max(0, min(self.limit - self.used, context.limits.host_memory - context.held))

    def _log_full(self, context: Context) -> None:
        if not self._full_logged:
            self._full_logged = True
            bound = "scratch" if context.grants.scratch else "limits.output"
            context.log(
                "host",
                f"no space for the guest's files: {self.nodes} names, {self.used} of {self.limit} bytes ({bound}); "
                f"the host holds {context.held} of {context.limits.host_memory} bytes (limits.host_memory)",
            )

    def _may_change(self, directory: Directory, name: bytes) -> None:
        if not directory.writable and directory.slot != name:
            raise Refused(ROFS)

    def _enter(self, context: Context, place: Place, extra: int = 0) -> None:
        """Account for a new name. Raises `Refused` where none may be made."""
        if not place.directory.links:
            raise Refused(NOENT)  # the directory itself was removed
        self._may_change(place.directory, place.name)
        if self.nodes >= MOST_NODES:
            self._log_full(context)
            raise Refused(NOSPC)
        self.take(context, NODE_COST + extra)
        self.nodes += 1

    def _leave(self, context: Context, node: Node) -> None:
        """Account for a name of `node` that is gone, and with its last name for its content."""
        self.nodes -= 1
        self.give_back(context, NODE_COST + (len(node.target) if isinstance(node, Link) else 0))
        node.links -= 1
        node.changed = time.time_ns()
        if isinstance(node, File):
            self.free_if_unreachable(context, node)

    def free_if_unreachable(self, context: Context, file: File) -> None:
        """Free a file's content when no name and no descriptor leads to it any more."""
        if not file.links and not file.opened and isinstance(file.content, bytearray):
            self.give_back(context, len(file.content))
            file.content = bytearray()

    def make_file(self, context: Context, place: Place) -> File:
        self._enter(context, place)
        file = File(self._new_inode(), bytearray(), fixed=False, now=time.time_ns())
        self._add(place, file)
        return file

    def make_directory(self, context: Context, place: Place) -> None:
        if place.node is not None:
            raise Refused(EXIST)
        if not place.directory.writable:
            raise Refused(ROFS)  # what may be made under the reply's name is a file
        self._enter(context, place)
        directory = Directory(self._new_inode(), place.directory.inode, writable=True, fixed=False, now=time.time_ns())
        self._directories[directory.inode] = directory
        place.directory.links += 1
        self._add(place, directory)

    def make_link(self, context: Context, place: Place, target: bytes) -> None:
        """A symbolic link. Its target is looked at when it is followed."""
        self._new_name(place)
        if not place.directory.writable:
            raise Refused(ROFS)
        self._enter(context, place, len(target))
        self._add(place, Link(self._new_inode(), target, now=time.time_ns()))

    def link(self, context: Context, node: Node, place: Place) -> None:
        """Another name for a file or a symbolic link."""
        if isinstance(node, Directory):
            raise Refused(PERM)
        self._new_name(place)
        if node.fixed:
            raise Refused(XDEV)  # a granted file belongs to all events
        self._enter(context, place, len(node.target) if isinstance(node, Link) else 0)
        node.links += 1
        node.changed = time.time_ns()
        self._add(place, node)

    def _new_name(self, place: Place) -> None:
        if place.node is not None:
            raise Refused(NOTDIR if place.slash and not isinstance(place.node, Directory) else EXIST)
        if place.slash:
            raise Refused(NOENT)

    def _add(self, place: Place, node: Node) -> None:
        place.directory.add(place.name, node)
        _touch(place.directory)

    def _remove(self, context: Context, place: Place, node: Node) -> None:
        place.directory.remove(place.name)
        _touch(place.directory)
        if isinstance(node, Directory):
            place.directory.links -= 1
            node.links = 1
            del self._directories[node.inode]
        self._leave(context, node)

    def unlink(self, context: Context, place: Place) -> None:
        node = place.node
        if node is None:
            raise Refused(NOENT)
        if isinstance(node, Directory):
            raise Refused(ISDIR)
        if place.slash:
            raise Refused(NOTDIR)
        self._removable(place, node)
        self._remove(context, place, node)

    def remove_directory(self, context: Context, place: Place) -> None:
        node = place.node
        if node is None:
            raise Refused(NOENT)
        if not isinstance(node, Directory):
            raise Refused(NOTDIR)
        if not place.name:
            raise Refused(INVAL)
        self._removable(place, node)
        if not node.empty:
            raise Refused(NOTEMPTY)
        self._remove(context, place, node)

    def _removable(self, place: Place, node: Node) -> None:
        self._may_change(place.directory, place.name)
        if node.fixed:
            raise Refused(ROFS)

    def rename(self, context: Context, old: Place, new: Place) -> None:
        """As POSIX has it: what is replaced is of the same kind, and empty when it is a directory."""
        node, there = old.node, new.node
        if node is None:
            raise Refused(NOENT)
        if not old.name or not new.name:
            raise Refused(BUSY)
        is_directory = isinstance(node, Directory)
        if (old.slash or new.slash) and not is_directory:
            raise Refused(NOTDIR)
        self._removable(old, node)
        if there is not None:
            self._removable(new, there)
        elif not new.directory.links:
            raise Refused(NOENT)
        elif is_directory and not new.directory.writable:
            raise Refused(ROFS)
        else:
            self._may_change(new.directory, new.name)
        if node is there:
            return
        if is_directory and self._lies_in(new.directory, node):
            raise Refused(INVAL)
        if there is not None:
            if isinstance(there, Directory):
                if not is_directory:
                    raise Refused(ISDIR)
                if not there.empty:
                    raise Refused(NOTEMPTY)
            elif is_directory:
                raise Refused(NOTDIR)
            self._remove(context, new, there)
        old.directory.remove(old.name)
        _touch(old.directory)
        if isinstance(node, Directory):
            old.directory.links -= 1
            new.directory.links += 1
            node.above = new.directory.inode
        node.changed = time.time_ns()
        self._add(new, node)

    def _lies_in(self, directory: Directory, other: Node) -> bool:
        while directory is not other:
            above = self._directories.get(directory.above)
            if above is None or above is directory:
                return False
            directory = above
        return True

    # contents

    def resize(self, context: Context, file: File, size: int) -> None:
        """Cut a file that can be written to, or lengthen it with zeros."""
        content = file.content
        assert isinstance(content, bytearray)
        more = size - len(content)
        if more > 0:
            self.take(context, more)
            while len(content) < size:
                context.deadline.check()
                content += bytes(min(CHUNK, size - len(content)))
        elif more < 0:
            # A copy: a bytearray that is cut may keep twice as much memory as it has bytes.
            context.deadline.check()
            file.content = content[:size]
            self.give_back(context, -more)
        file.modified = file.changed = time.time_ns()

    def write(self, context: Context, file: File, at: int, vectors: list[tuple[int, int]]) -> int:
        """Copy parts of the guest's memory into a file; what was before `at` and never written is zeros.

        Returns how many bytes there was room for. Raises `Refused` when there was none.
        """
        content = file.content
        assert isinstance(content, bytearray)
        total = sum(length for _, length in vectors)
        if not total:
            return 0
        fits = len(content) + self.room(context) - at  # bytes from `at` on that the file can have
        total = min(total, fits)
        if total <= 0:
            self._log_full(context)
            raise Refused(NOSPC)
        if at > len(content):
            self.resize(context, file, at)
        self.take(context, max(0, at + total - len(content)))
        left = total
        for pointer, length in vectors:
            length = min(length, left)
            for start in range(0, length, CHUNK):
                context.deadline.check()
                part = context.memory.read(pointer + start, min(CHUNK, length - start))
                content[at : at + len(part)] = part
                at += len(part)
            left -= length
        file.modified = file.changed = time.time_ns()
        return total


def _parts(path: bytes) -> list[bytes]:
    """The names in a path, the last first. Raises `Refused` for a path that no directory of a descriptor leads to."""
    if path.startswith(b"/"):
        raise Refused(PERM)
    return [part for part in reversed(path.split(b"/")) if part]


def _touch(directory: Directory) -> None:
    directory.modified = directory.changed = time.time_ns()


def has_files(context: Context) -> bool:
    """Whether the guest is granted any file: without, there is no directory either."""
    grants = context.grants
    return bool(context.files.contents or grants.body_file or grants.scratch or grants.reply_file or grants.calls_file)


def path_of(context: Context, pointer: int, length: int) -> bytes:
    """A path of the guest's, as bytes that are UTF-8 and have no NUL. Raises `Refused`."""
    if length > MOST_PATH:
        context.memory.check(pointer, length)
        raise Refused(NAMETOOLONG)
    path = context.memory.read(pointer, length)
    if b"\0" in path:
        raise Refused(INVAL)
    try:
        path.decode()
    except UnicodeDecodeError:
        raise Refused(ILSEQ) from None
    return path

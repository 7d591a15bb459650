"""`wasi:filesystem` on granted files and a scratch directory. The rules of the tree are tested with preview 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guesthouse_abi.canonical.functions import Fail
from guesthouse_abi.canonical.types import Case
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.preview2 import files as fs
from guesthouse_abi.imports.preview2.files import Descriptor, FileWriter
from guesthouse_abi.services import Log, Services
from tests.support.doubles import Lines

FOLLOW = frozenset({"symlink-follow"})
NONE: frozenset[str] = frozenset()
READ, WRITE = frozenset({"read"}), frozenset({"read", "write"})
CREATE = frozenset({"create"})
Open = Callable[..., Descriptor]


def context_of(granted: bool = True, **grants: Any) -> Context:
    files = Files({"/a.txt": b"granted", "/sub/b.txt": b"b"} if granted else {})
    services = Services({Log: Lines()})
    return Context(Deadline.after(60), Grants(**grants), Limits(host_memory=1 << 20), services, files=files)


@pytest.fixture
def context() -> Context:
    return context_of(scratch=1 << 16, scratch_path="/tmp")


@pytest.fixture
def root(context: Context) -> Descriptor:
    ((found, name),) = fs.get_directories(context)
    assert name == "/"
    return found


def opened(context: Context, root: Descriptor, path: str, how: Any = NONE, flags: Any = READ) -> Descriptor:
    return fs.open_at(context, root, FOLLOW, path, how, flags)


def failed(function: Any, *arguments: Any) -> Any:
    with pytest.raises(Fail) as found:
        function(*arguments)
    return found.value.value


def test_a_guest_without_files_has_no_directory() -> None:
    assert fs.get_directories(context_of(granted=False)) == []


def test_a_granted_file_is_read_by_position_and_as_a_stream(context: Context, root: Descriptor) -> None:
    file = opened(context, root, "a.txt")
    assert fs.read(context, file, 3, 0) == (b"gra", False)
    assert fs.read(context, file, 100, 3) == (b"nted", True)
    assert fs.read(context, file, 100, 1 << 63) == (b"", True)
    stream = fs.read_via_stream(context, file, 2)
    assert (stream.take(context, 3), stream.take(context, 100)) == (b"ant", b"ed")
    assert failed(stream.take, context, 1) == Case("closed")


def test_a_granted_file_is_not_written(context: Context, root: Descriptor) -> None:
    assert failed(opened, context, root, "a.txt", NONE, WRITE) == "read-only"
    assert failed(opened, context, root, "a.txt", frozenset({"truncate"})) == "read-only"
    file = opened(context, root, "a.txt")
    for call, *arguments in ((fs.write, b"", 0), (fs.set_size, 0), (fs.append_via_stream,), (fs.write_via_stream, 0)):
        assert failed(call, context, file, *arguments) == "bad-descriptor"
    assert failed(fs.unlink_file_at, context, root, "a.txt") == "read-only"
    assert failed(opened, context, root, "new", CREATE, WRITE) == "read-only"


def test_a_scratch_file_is_made_written_and_removed(context: Context, root: Descriptor) -> None:
    file = opened(context, root, "tmp/new", CREATE, WRITE)
    assert fs.write(context, file, b"0123", 2) == 4
    writer = fs.write_via_stream(context, file, 1)
    writer.write(context, b"x")
    writer.write(context, b"y")
    appender = fs.append_via_stream(context, file)
    appender.write(context, b"end")
    assert fs.read(context, file, 100, 0) == (b"\0xy123end", True)
    fs.set_size(context, file, 2)
    assert fs.stat(context, file)[2] == 2
    held = context.held
    fs.unlink_file_at(context, root, "tmp/new")
    assert fs.read(context, file, 100, 0) == (b"\0x", True)
    for one in (file, writer, appender):
        one.release(context)
    assert context.held == held - 2 - 1024


def test_a_file_that_does_not_fit_says_so_and_so_does_its_stream(context: Context, root: Descriptor) -> None:
    file = opened(context, root, "tmp/new", CREATE, WRITE)
    assert failed(fs.set_size, context, file, 1 << 62) == "insufficient-space"
    assert failed(fs.set_size, context, file, 1 << 63) == "invalid"
    assert failed(fs.write, context, file, b"x", 1 << 63) == "invalid"
    name, error = failed(fs.append_via_stream(context, file).write, context, bytes(1 << 17))
    assert (name, fs.error_code(context, error)) == ("last-operation-failed", "insufficient-space")
    name, error = failed(fs.append_via_stream(context, file).write, context, b"x")
    assert (name, fs.error_code(context, error)) == ("last-operation-failed", "insufficient-space")


def test_directories_are_listed_made_and_removed(context: Context, root: Descriptor) -> None:
    def names(at: Descriptor) -> list[tuple[str, str]]:
        entries, found = fs.read_directory(context, at), []
        while (one := fs.read_directory_entry(context, entries)) is not None:
            found.append(one)
        return sorted(found)

    assert names(root) == [("directory", "sub"), ("directory", "tmp"), ("regular-file", "a.txt")]
    fs.create_directory_at(context, root, "tmp/d")
    fs.symlink_at(context, root, "d", "tmp/l")
    below = opened(context, root, "tmp", frozenset({"directory"}), frozenset({"read", "mutate-directory"}))
    assert names(below) == [("directory", "d"), ("symbolic-link", "l")]
    assert fs.readlink_at(context, below, "l") == "d"
    assert fs.stat_at(context, below, NONE, "l")[0] == "symbolic-link"
    assert fs.stat_at(context, below, FOLLOW, "l")[0] == "directory"
    fs.rename_at(context, below, "d", root, "tmp/e")
    fs.remove_directory_at(context, root, "tmp/e")
    assert names(below) == [("symbolic-link", "l")]
    assert failed(fs.read_directory, context, opened(context, root, "a.txt")) == "not-directory"


def test_a_directory_that_is_not_opened_to_be_changed_is_not(context: Context, root: Descriptor) -> None:
    below = opened(context, root, "tmp")
    assert fs.get_flags(context, below) == READ
    assert failed(fs.create_directory_at, context, below, "d") == "read-only"
    assert failed(opened, context, below, "x", CREATE) == "read-only"
    assert failed(opened, context, below, ".", NONE, frozenset({"mutate-directory"})) == "read-only"


@pytest.mark.parametrize(
    ("path", "how", "flags", "code"),
    [
        ("gone", NONE, READ, "no-entry"),
        ("", NONE, READ, "no-entry"),
        ("/a.txt", NONE, READ, "not-permitted"),
        ("../a.txt", NONE, READ, "not-permitted"),
        ("a.txt/x", NONE, READ, "not-directory"),
        ("a.txt", frozenset({"directory"}), READ, "not-directory"),
        ("a.txt", frozenset({"create", "exclusive"}), READ, "exist"),
        ("sub", NONE, WRITE, "is-directory"),
        ("tmp/x/", CREATE, WRITE, "is-directory"),
        ("a\0b", NONE, READ, "invalid"),
        ("tmp", frozenset({"directory", "create"}), READ, "invalid"),
        ("x" * 256, NONE, READ, "name-too-long"),
        ("x/" * 3000, NONE, READ, "name-too-long"),
    ],
)
def test_what_cannot_be_opened_has_an_error_code(
    context: Context, root: Descriptor, path: str, how: Any, flags: Any, code: str
) -> None:
    assert failed(opened, context, root, path, how, flags) == code


def test_links_are_counted_and_lead_nowhere_outside(context: Context, root: Descriptor) -> None:
    opened(context, root, "tmp/one", CREATE, WRITE).release(context)
    fs.link_at(context, root, NONE, "tmp/one", root, "tmp/two")
    assert fs.stat_at(context, root, NONE, "tmp/two")[1] == 2
    assert failed(fs.link_at, context, root, FOLLOW, "tmp/one", root, "tmp/three") == "invalid"
    assert failed(fs.link_at, context, root, NONE, "tmp/none", root, "tmp/three") == "no-entry"
    assert failed(fs.link_at, context, root, NONE, "a.txt", root, "tmp/three") == "cross-device"
    assert failed(fs.symlink_at, context, root, "/a.txt", "tmp/l") == "not-permitted"
    assert failed(fs.symlink_at, context, root, "", "tmp/l") == "no-entry"
    assert failed(fs.symlink_at, context, root, "./" * 2048 + "l", "tmp/l") == "name-too-long"
    fs.symlink_at(context, root, "../..", "tmp/up")
    assert failed(fs.stat_at, context, root, FOLLOW, "tmp/up") == "not-permitted"
    fs.symlink_at(context, root, "me", "tmp/me")
    assert failed(fs.stat_at, context, root, FOLLOW, "tmp/me") == "loop"
    assert failed(fs.open_at, context, root, NONE, "tmp/me", NONE, READ) == "loop"
    assert failed(fs.readlink_at, context, root, "a.txt") == "invalid"


def test_times_are_set_where_the_guest_may_write(context: Context, root: Descriptor) -> None:
    file = opened(context, root, "tmp/new", CREATE, WRITE)
    fs.set_own_times(context, file, Case("timestamp", (5, 6)), Case("no-change"))
    assert fs.stat(context, file)[3] == (5, 6)
    fs.set_times_at(context, root, FOLLOW, "tmp/new", Case("now"), Case("timestamp", ((1 << 64) - 1, 999_999_999)))
    assert fs.stat(context, file)[4] == divmod((1 << 64) - 1, 10**9)
    assert failed(fs.set_own_times, context, file, Case("timestamp", (0, 10**9)), Case("now")) == "invalid"
    granted = opened(context, root, "a.txt")
    assert failed(fs.set_own_times, context, granted, Case("now"), Case("now")) == "read-only"
    assert fs.stat(context, granted) == ("regular-file", 1, 7, None, None, None)


def test_two_descriptors_of_one_file_are_the_same_object(context: Context, root: Descriptor) -> None:
    first, second = opened(context, root, "a.txt"), opened(context, root, "sub/../a.txt")
    other = opened(context, root, "sub/b.txt")
    assert fs.is_same_object(context, first, second)
    assert fs.metadata_hash(context, first) == fs.metadata_hash_at(context, root, NONE, "a.txt")
    assert fs.metadata_hash(context, first) != fs.metadata_hash(context, other)
    assert fs.get_type(context, first) == "regular-file"
    assert isinstance(fs.append_via_stream(context, opened(context, root, "tmp/f", CREATE, WRITE)), FileWriter)


def test_the_body_is_a_file_and_the_reply_is_written_to_one() -> None:
    context = context_of(granted=False, body_file="/in", reply_file="/out")
    context.body = b"the body"
    ((root, _),) = fs.get_directories(context)
    assert fs.read(context, opened(context, root, "in"), 100, 0)[0] == b"the body"
    out = opened(context, root, "out", CREATE, WRITE)
    assert fs.write(context, out, b"reply", 0) == 5
    assert failed(opened, context, root, "other", CREATE, WRITE) == "read-only"


def test_listings_that_a_guest_keeps_are_counted(context: Context, root: Descriptor) -> None:
    first = fs.read_directory(context, root)
    context.hold(context.limits.host_memory - context.held)
    assert failed(fs.read_directory, context, root) == "insufficient-memory"
    first.release(context)
    assert context.limits.host_memory - context.held == 128 * len(first.listed) > 0

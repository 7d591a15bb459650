"""Files of a guest: what is granted and only read, the event's body, scratch with its bounds, the reply; no escape.

That calls answer as elsewhere is `test_abi_wasi_files_wasmtime.py`; here is what only this host has.
"""

from __future__ import annotations

import gc
import struct

import pytest

from guesthouse_abi.errors import BadReply, DeadlineExceeded
from guesthouse_abi.files import Directory, File, Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.wasi_preview1 import give_body, read_reply
from guesthouse_abi.imports.wasi_preview1.descriptors import MOST_DESCRIPTORS, Descriptors
from guesthouse_abi.imports.wasi_preview1.tree import CHUNK, MOST_LINKS, MOST_NODES, NODE_COST
from tests.abi.wasi_files import (
    APPEND,
    BADF,
    BUSY,
    CREATE,
    DIRECTORY,
    EXCLUSIVE,
    EXIST,
    FAULT,
    FOLLOW,
    ILSEQ,
    INVAL,
    ISDIR,
    LOOP,
    MFILE,
    NAMETOOLONG,
    NOENT,
    NOMEM,
    NOSPC,
    NOTCAPABLE,
    NOTDIR,
    NOTEMPTY,
    OUT,
    PATH,
    PERM,
    READ,
    ROFS,
    ROOT,
    SEEK_CUR,
    SEEK_END,
    SUCCESS,
    TRUNCATE,
    WRITE,
    XDEV,
    Guest,
    facts,
)
from tests.abi.wasi_host import SIZE, Host

MODEL = bytes(range(256)) * 10
GRANTED = Files({"/models/m.tflite": MODEL, "/models/deep/labels.txt": memoryview(b"cat\ndog\n"), "/readme": b"hi"})


def scratch(size: int = 1 << 20, files: Files = GRANTED, **more) -> Guest:
    return Guest(files, scratch=size, **more)


# finding them


def test_the_root_is_preopened_for_absolute_and_for_relative_names():
    guest = Guest(GRANTED)
    found = []
    for fd in (3, 4):
        assert guest.call("fd_prestat_get", fd, OUT) == SUCCESS
        kind, length = struct.unpack("<B3xI", guest.get(OUT, 8))
        assert guest.call("fd_prestat_dir_name", fd, PATH, length) == SUCCESS
        found.append((kind, guest.get(PATH, length)))
        assert guest.content("models/m.tflite", at=fd) == MODEL
    assert found == [(0, b"/"), (0, b".")]
    assert guest.call("fd_prestat_get", 5, OUT) == BADF
    assert guest.call("fd_prestat_dir_name", 3, PATH, 0) == NAMETOOLONG


@pytest.mark.parametrize("fd", [0, 3, 5, 99])
def test_a_guest_without_files_has_no_directory(fd):
    guest = Guest()
    assert guest.call("fd_prestat_get", fd, OUT) == BADF
    assert guest.call("path_open", fd, 0, *guest._path("m.tflite"), 0, 0, 0, 0, OUT) == (NOTDIR if fd == 0 else BADF)


def test_lists_what_is_granted_with_inodes_that_the_files_have():
    guest = scratch(body_file="/in/body.jpg")
    errno, entries = guest.entries(ROOT)
    assert errno == SUCCESS
    kinds = {name: kind for name, kind, *_ in entries}
    assert kinds == dict.fromkeys((b".", b"..", b"models", b"tmp", b"in"), "directory") | {b"readme": "file"}
    for name, _, inode, _ in entries:
        if name != b"..":
            assert facts(guest.stat(name))["inode"] == inode
    inodes = [inode for name, _, inode, _ in entries if name not in (b".", b"..")]
    assert len(set(inodes)) == len(inodes)
    models = guest.open("models", at=ROOT, flags=DIRECTORY)
    assert guest.entries(models)[1][1][:3] == (b"..", "directory", facts(guest.stat("."))["inode"])


def test_a_directory_is_read_in_pieces_that_are_cut_where_the_buffer_ends():
    guest = Guest(Files({f"/d/{number:03}": b"" for number in range(50)}))
    fd = guest.open("d", flags=DIRECTORY)
    whole = guest.entries(fd)[1]
    assert len(whole) == 52
    for room in (51, 60, 100, 1000):
        names, cookie = [], 0
        while True:
            errno, entries = guest.entries(fd, room, cookie)
            assert errno == SUCCESS
            names += entries
            if guest.u32() < room:
                break
            assert guest.u32() == room
            cookie = entries[-1][3]
        assert names == whole
    assert guest.entries(fd, 10) == (SUCCESS, [])
    assert guest.u32() == 10
    assert guest.entries(fd, 1000, (1 << 64) - 1) == (SUCCESS, [])


def test_entries_keep_their_cookies_while_others_come_and_go():
    guest = scratch()
    tmp = guest.open("tmp", flags=DIRECTORY)
    for name in "abcdef":
        guest.make(name, at=tmp)
    entries = guest.entries(tmp)[1]
    after_c = next(cookie for name, _, _, cookie in entries if name == b"c")
    assert guest.unlink("a", at=tmp) == guest.unlink("c", at=tmp) == SUCCESS
    guest.make("g", at=tmp)
    assert [name for name, *_ in guest.entries(tmp, cookie=after_c)[1]] == [b"d", b"e", b"f", b"g"]


# what is only read


def test_reads_granted_files_without_a_copy_of_the_whole():
    large = memoryview(bytes(10 << 20))
    guest = Guest(Files({"/large": large}))
    fd = guest.open("large")
    assert guest.seek(fd, -3, SEEK_END) == (SUCCESS, len(large) - 3)
    assert guest.read(fd) == (SUCCESS, bytes(3))
    assert guest.read(fd) == (SUCCESS, b"")
    assert guest.pread(fd, 5, 100) == (SUCCESS, bytes(5))
    assert guest.tell(fd) == (SUCCESS, len(large))
    assert guest.host.context.held_peak == 0
    tree = guest.host.context.state(Descriptors).tree
    assert tree is not None
    found = tree.root.find(b"large")
    assert isinstance(found, File)
    assert found.content is large


def test_what_is_granted_is_not_changed_in_any_way():
    guest = scratch()
    assert guest.open("readme", WRITE) == guest.open("readme", READ, flags=TRUNCATE) == -ROFS
    assert guest.open("new", WRITE, flags=CREATE) == guest.open("models/new", WRITE, flags=CREATE) == -ROFS
    assert guest.mkdir("d") == guest.unlink("readme") == guest.rmdir("models") == guest.symlink("readme", "l") == ROFS
    assert guest.rename("readme", "tmp/r") == guest.rename("models", "tmp/m") == guest.rmdir("tmp") == ROFS
    guest.make("tmp/mine", b"x")
    assert guest.rename("tmp/mine", "readme") == guest.rename("tmp/mine", "new") == ROFS
    assert guest.link("tmp/mine", "new") == ROFS
    assert guest.link("readme", "tmp/r") == XDEV
    for path in ("readme", "models"):
        assert guest.call("path_filestat_set_times", ROOT, 0, *guest._path(path), 1, 1, 5) == ROFS
    fd = guest.open("readme")
    assert guest.write(fd, b"x") == guest.pwrite(fd, b"x", 0) == (BADF, 0)
    assert guest.call("fd_filestat_set_size", fd, 0) == guest.call("fd_allocate", fd, 0, 100) == ROFS
    assert guest.call("fd_filestat_set_times", fd, 1, 1, 5) == ROFS
    assert guest.content("readme") == b"hi"
    assert guest.names() == [b".", b"..", b"models", b"readme", b"tmp"]


def test_two_events_share_granted_files_and_nothing_else():
    one, two = scratch(), scratch()
    one.make("tmp/secret", b"of one")
    assert two.open("tmp/secret") == -NOENT
    assert one.content("models/m.tflite") == two.content("models/m.tflite") == MODEL


def test_a_granted_file_inside_scratch_stays_and_may_have_others_beside_it():
    guest = Guest(Files({"/w/keep/a": b"granted"}), scratch=1 << 20, scratch_path="/w")
    guest.make("w/keep/b", b"mine")
    assert guest.names(guest.open("w/keep", flags=DIRECTORY)) == [b".", b"..", b"a", b"b"]
    assert guest.open("w/keep/a", WRITE) == -ROFS
    assert guest.unlink("w/keep/a") == guest.rename("w/keep/b", "w/keep/a") == ROFS
    assert guest.rmdir("w/keep") == guest.rename("w/keep", "w/other") == ROFS
    assert guest.unlink("w/keep/b") == SUCCESS
    assert guest.content("w/keep/a") == b"granted"


def test_the_root_may_be_scratch():
    guest = scratch(scratch_path="/")
    guest.make("out.txt", b"x")
    assert guest.open("readme", WRITE) == -ROFS
    assert guest.content("out.txt") == b"x"


# the body and the reply


def test_the_body_is_a_file_that_is_only_read():
    guest = Guest(body_file="/in/photo.jpg", body=b"jpeg")
    assert guest.content("in/photo.jpg") == b"jpeg"
    assert guest.open("in/photo.jpg", WRITE) == -ROFS
    assert guest.unlink("in/photo.jpg") == ROFS


def test_the_body_is_there_when_a_start_function_asked_for_files_before_it_came():
    guest = Guest(body_file="/body")
    assert guest.content("body") == b""
    give_body(guest.host.context, b"late")
    assert guest.content("body") == b"late"


def test_the_reply_is_a_file_of_scratch():
    guest = scratch(reply_file="/tmp/out/reply.json")
    guest.make("tmp/out/part", b"{}")
    assert guest.rename("tmp/out/part", "tmp/out/reply.json") == SUCCESS
    assert read_reply(guest.host.context) == b"{}"


def test_without_scratch_nothing_but_the_reply_can_be_written():
    guest = Guest(GRANTED, reply_file="/out/reply.txt", limits=Limits(output=10))
    assert guest.open("out/other", WRITE, flags=CREATE) == guest.open("reply.txt", WRITE, flags=CREATE) == -ROFS
    assert guest.mkdir("out/reply.txt") == guest.symlink("x", "out/reply.txt") == ROFS
    fd = guest.open("out/reply.txt", WRITE, flags=CREATE | TRUNCATE)
    assert guest.write(fd, b"twelve bytes") == (SUCCESS, 10)
    assert guest.write(fd, b"x") == (NOSPC, 0)
    assert read_reply(guest.host.context) == b"twelve byt"
    assert guest.unlink("out/reply.txt") == SUCCESS
    assert guest.open("out/reply.txt", WRITE, flags=CREATE | EXCLUSIVE) > 0
    assert guest.log == [
        "no space for the guest's files: 1 names, 1034 of 1034 bytes (limits.output); "
        "the host holds 1034 of 268435456 bytes (limits.host_memory)"
    ]


@pytest.mark.parametrize("made", [None, "directory", "link"])
def test_a_reply_that_is_not_there_is_told(made):
    guest = scratch(reply_file="/tmp/r")
    if made == "directory":
        assert guest.mkdir("tmp/r") == SUCCESS
    elif made == "link":
        assert guest.symlink("r", "tmp/r") == SUCCESS
    with pytest.raises(BadReply, match=r"^the guest ended without a file /tmp/r, which is to have its reply \(reply_f"):
        read_reply(guest.host.context)


def test_a_reply_over_the_limit_is_refused():
    guest = scratch(reply_file="/tmp/r", limits=Limits(output=3))
    guest.make("tmp/r", b"four")
    with pytest.raises(BadReply, match=r"^a reply of 4 bytes in /tmp/r; the limit output is 3$"):
        read_reply(guest.host.context)


# no way out


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        ("..", PERM),
        ("../etc/passwd", PERM),
        ("models/../../etc/passwd", PERM),
        ("/etc/passwd", PERM),
        ("tmp/up/x", PERM),
        ("tmp/abs", NOENT),
        ("models/m.tflite/", NOTDIR),
        ("models/m.tflite/x", NOTDIR),
        ("", NOENT),
        ("a\0b", INVAL),
        (b"\xff", ILSEQ),
        ("x" * 256, NAMETOOLONG),
        ("x/" * 2049, NAMETOOLONG),
    ],
)
def test_no_path_leads_out_of_the_tree(path, errno):
    guest = scratch()
    assert guest.symlink("../../..", "tmp/up") == SUCCESS
    assert guest.symlink("/etc/passwd", "tmp/abs") == PERM
    assert guest.open(path) == -errno
    assert guest.stat(path, lookup=FOLLOW) == -errno


def test_no_path_leads_above_the_descriptor_that_it_begins_at():
    guest = scratch()
    models = guest.open("models", flags=DIRECTORY)
    assert guest.open("../readme", at=models) == guest.open("deep/../../readme", at=models) == -PERM
    assert guest.content("deep/../m.tflite", at=models) == MODEL


def test_links_are_names_in_the_tree_and_end_after_a_number_of_them():
    guest = scratch()
    guest.make("tmp/0", b"end")
    for number in range(MOST_LINKS + 1):
        assert guest.symlink(str(number), f"tmp/{number + 1}") == SUCCESS
    assert guest.content(f"tmp/{MOST_LINKS}") == b"end"
    assert guest.open(f"tmp/{MOST_LINKS + 1}") == -LOOP
    assert guest.open("tmp/1", lookup=0) == -LOOP
    assert guest.readlink("tmp/2", 1) == (SUCCESS, b"1")
    assert guest.link("tmp/0", "tmp/hard") == SUCCESS
    assert facts(guest.stat("tmp/hard"))["links"] == 2
    assert guest.link("tmp/1", "tmp/x", lookup=FOLLOW) == INVAL


# rights


def test_rights_only_shrink():
    guest = scratch()
    base, inheriting = guest.rights(ROOT)
    assert guest.call("fd_fdstat_set_rights", ROOT, base, inheriting & ~WRITE) == SUCCESS
    assert guest.call("fd_fdstat_set_rights", ROOT, base, inheriting) == NOTCAPABLE
    assert guest.call("fd_fdstat_set_rights", ROOT, 1 << 63, 0) == INVAL
    assert guest.open("tmp/x", WRITE, flags=CREATE) == -NOTCAPABLE
    assert guest.open("tmp/x", READ, flags=CREATE) > 0


@pytest.mark.parametrize(
    ("right", "call"),
    [
        (1 << 9, lambda guest: guest.mkdir("tmp/d")),
        (1 << 10, lambda guest: -guest.open("tmp/x", READ, flags=CREATE)),
        (1 << 11, lambda guest: guest.link("tmp/f", "tmp/g")),
        (1 << 12, lambda guest: guest.link("tmp/f", "tmp/g")),
        (1 << 13, lambda guest: -guest.open("readme")),
        (1 << 14, lambda guest: guest.entries(ROOT)[0]),
        (1 << 15, lambda guest: guest.readlink("tmp/l")[0]),
        (1 << 16, lambda guest: guest.rename("tmp/f", "tmp/g")),
        (1 << 17, lambda guest: guest.rename("tmp/f", "tmp/g")),
        (1 << 18, lambda guest: guest.call("path_filestat_get", ROOT, 0, *guest._path("readme"), OUT)),
        (1 << 20, lambda guest: guest.call("path_filestat_set_times", ROOT, 0, *guest._path("tmp/f"), 0, 0, 1)),
        (1 << 21, lambda guest: guest.call("fd_filestat_get", ROOT, OUT)),
        (1 << 24, lambda guest: guest.symlink("f", "tmp/g")),
        (1 << 25, lambda guest: guest.rmdir("tmp/e")),
        (1 << 26, lambda guest: guest.unlink("tmp/f")),
    ],
)
def test_a_directory_without_a_right_refuses_what_needs_it(right, call):
    for keeps in (True, False):
        guest = scratch()
        guest.make("tmp/f")
        assert guest.symlink("f", "tmp/l") == guest.mkdir("tmp/e") == SUCCESS
        base, inheriting = guest.rights(ROOT)
        assert base & right
        if not keeps:
            assert guest.call("fd_fdstat_set_rights", ROOT, base & ~right, inheriting) == SUCCESS
        assert (call(guest) == NOTCAPABLE) is not keeps


def test_a_file_is_cut_only_through_a_directory_that_may_set_sizes():
    guest = scratch()
    guest.make("tmp/f", b"abc")
    base, inheriting = guest.rights(ROOT)
    assert guest.call("fd_fdstat_set_rights", ROOT, base & ~(1 << 19), inheriting) == SUCCESS
    assert guest.open("tmp/f", WRITE, flags=TRUNCATE) == -PERM
    assert guest.content("tmp/f") == b"abc"


def test_a_file_is_read_and_written_as_it_was_opened():
    guest = scratch()
    guest.make("tmp/f", b"abc")
    assert guest.write(guest.open("tmp/f", READ), b"x") == (BADF, 0)
    assert guest.read(guest.open("tmp/f", WRITE)) == (BADF, b"")
    assert guest.call("path_open", ROOT, 0, *guest._path("tmp/f"), 0, 0, 0, 0, OUT) == SUCCESS
    nothing = guest.u32()
    assert guest.call("fd_seek", nothing, 1, 0, OUT) == guest.call("fd_filestat_get", nothing, OUT) == NOTCAPABLE
    assert guest.call("fd_filestat_set_size", nothing, 0) == guest.call("fd_sync", nothing) == NOTCAPABLE
    assert guest.call("fd_fdstat_set_flags", nothing, APPEND) == NOTCAPABLE


# bounds


def test_scratch_is_bounded_and_counted_and_given_back():
    guest = scratch(3 * NODE_COST)
    context = guest.host.context
    fd = guest.open("tmp/f", WRITE, flags=CREATE)
    assert context.held == NODE_COST
    assert guest.write(fd, bytes(2 * NODE_COST + 5)) == (SUCCESS, 2 * NODE_COST)
    assert context.held == 3 * NODE_COST
    assert guest.write(fd, b"x") == (NOSPC, 0)
    assert guest.mkdir("tmp/d") == guest.symlink("x", "tmp/l") == NOSPC
    assert len(guest.log) == 1
    assert "3072 of 3072 bytes (scratch)" in guest.log[0]
    assert guest.call("fd_filestat_set_size", fd, 10) == SUCCESS
    assert context.held == NODE_COST + 10
    assert guest.unlink("tmp/f") == SUCCESS
    assert context.held == 10  # a descriptor still leads there
    assert guest.call("fd_close", fd) == SUCCESS
    assert context.held == 0


def test_holes_count_and_are_zeros():
    guest = scratch(NODE_COST + 100)
    fd = guest.open("tmp/f", READ | WRITE, flags=CREATE)
    assert guest.pwrite(fd, b"end", 90) == (SUCCESS, 3)
    assert guest.host.context.held == NODE_COST + 93
    assert guest.read(fd) == (SUCCESS, bytes(90) + b"end")
    assert guest.pwrite(fd, b"x", 100) == guest.pwrite(fd, b"x", (1 << 63) - 2) == (NOSPC, 0)
    assert guest.pwrite(fd, b"x", (1 << 63) - 1) == guest.pwrite(fd, b"x", (1 << 64) - 1) == (INVAL, 0)
    assert guest.call("fd_filestat_set_size", fd, 1 << 62) == NOSPC
    assert guest.call("fd_filestat_set_size", fd, 1 << 63) == INVAL
    assert guest.call("fd_allocate", fd, (1 << 64) - 1, (1 << 64) - 1) == INVAL
    assert guest.seek(fd, 1 << 62) == (SUCCESS, 1 << 62)
    assert guest.seek(fd, (1 << 63) - 1, SEEK_CUR) == (INVAL, 0)
    assert guest.write(fd, b"x") == (NOSPC, 0)
    assert guest.content("tmp/f") == bytes(90) + b"end"


def test_what_the_host_holds_bounds_scratch_too():
    guest = scratch(limits=Limits(host_memory=NODE_COST + 50))
    fd = guest.open("tmp/f", WRITE, flags=CREATE)
    assert guest.write(fd, bytes(100)) == (SUCCESS, 50)
    assert guest.write(fd, b"x") == (NOSPC, 0)
    assert guest.mkdir("tmp/d") == NOMEM
    assert "host_memory" in guest.log[-1]


def test_descriptors_are_bounded_and_the_lowest_free_number_is_given():
    guest = scratch()
    opened = [guest.open("readme") for _ in range(MOST_DESCRIPTORS - 5)]
    assert opened == list(range(5, MOST_DESCRIPTORS))
    assert guest.open("readme") == guest.open("tmp/x", WRITE, flags=CREATE) == -MFILE
    assert guest.stat("tmp/x") == -NOENT
    for fd in (9, 7):
        assert guest.call("fd_close", fd) == SUCCESS
    assert [guest.open("readme") for _ in range(3)] == [7, 9, -MFILE]


def test_names_are_bounded():
    guest = scratch(1 << 30, limits=Limits(host_memory=1 << 30))
    tree_full = MOST_NODES
    for number in range(tree_full):
        assert guest.mkdir(f"tmp/{number}") == SUCCESS
    assert guest.mkdir("tmp/one more") == NOSPC
    assert guest.rmdir("tmp/7") == SUCCESS
    assert guest.mkdir("tmp/one more") == SUCCESS


def test_a_name_costs_less_memory_than_it_counts():
    import tracemalloc

    guest = scratch(1 << 30, limits=Limits(host_memory=1 << 30))
    guest.make("tmp/" + "x" * 255)
    tracemalloc.start()
    try:
        for number in range(1000):
            fd = guest.open(f"tmp/{number:0255}", WRITE, flags=CREATE)
            assert guest.call("fd_close", fd) == SUCCESS
        guest.entries(guest.open("tmp", flags=DIRECTORY), 100)
        assert tracemalloc.get_traced_memory()[0] < 1000 * NODE_COST
    finally:
        tracemalloc.stop()


def test_deep_directories_are_made_found_and_freed():
    guest = scratch(1 << 28)
    at = guest.open("tmp", flags=DIRECTORY)
    for _ in range(5000):
        assert guest.mkdir("d", at=at) == SUCCESS
        below = guest.open("d", at=at, flags=DIRECTORY)
        assert guest.call("fd_close", at) == SUCCESS
        at = below
    assert guest.rename("tmp/d", "x", to=at) == INVAL  # into itself
    assert guest.open("d/" * 1500, at=ROOT) == -NOENT


def test_long_work_looks_at_the_deadline():
    guest = scratch(1 << 28, limits=Limits(host_memory=1 << 28))
    fd = guest.open("tmp/f", READ | WRITE, flags=CREATE)
    assert guest.call("fd_filestat_set_size", fd, 3 * CHUNK) == SUCCESS
    guest.host.context.deadline.at = 0
    with pytest.raises(DeadlineExceeded):
        guest.call("fd_filestat_set_size", fd, 6 * CHUNK)
    with pytest.raises(DeadlineExceeded):
        guest.read(fd, 10)
    with pytest.raises(DeadlineExceeded):
        guest.pwrite(fd, b"x", 0)


def test_an_event_that_ends_leaves_no_file_to_the_garbage_collector():
    guest = scratch()
    guest.make("tmp/f", bytes(1000))
    assert guest.mkdir("tmp/d") == guest.rename("tmp/f", "tmp/d/f") == SUCCESS
    guest.open("tmp/d/f", READ | WRITE)

    gc.collect()
    gc.disable()
    try:
        states = guest.host.context.states
        event = {id(node) for node in states[Descriptors].tree._directories.values()}
        assert len(event) == 3
        states.clear()
        assert not any(isinstance(thing, Directory) and id(thing) in event for thing in gc.get_objects())
    finally:
        gc.enable()


# moving and removing


def test_what_is_replaced_by_a_rename_is_of_its_kind():
    guest = scratch()
    tmp = guest.open("tmp", flags=DIRECTORY)
    guest.make("f", b"f", at=tmp)
    assert guest.mkdir("d", at=tmp) == guest.mkdir("d/e", at=tmp) == guest.mkdir("empty", at=tmp) == SUCCESS
    both = {"at": tmp, "to": tmp}
    assert guest.rename("f", "d", **both) == ISDIR
    assert guest.rename("empty", "f", **both) == NOTDIR
    assert guest.rename("empty", "d", **both) == NOTEMPTY
    assert guest.rename("d", "d/e/x", **both) == INVAL
    assert guest.rename(".", "x", **both) == guest.rename("d", "d/..", **both) == BUSY
    assert guest.rename("missing", "x", **both) == NOENT
    assert guest.rename("f", "f", **both) == SUCCESS
    assert guest.rename("d", "empty", **both) == SUCCESS
    assert guest.names(tmp) == [b".", b"..", b"f", b"empty"]
    inside = guest.open("empty/e", at=tmp, flags=DIRECTORY)
    assert guest.rename("empty", "x", at=tmp, to=inside) == INVAL


def test_a_directory_that_was_removed_takes_no_more_names():
    guest = scratch()
    assert guest.mkdir("tmp/d") == SUCCESS
    gone = guest.open("tmp/d", flags=DIRECTORY)
    guest.make("tmp/f")
    assert guest.rmdir("tmp/d") == SUCCESS
    assert guest.open("x", WRITE, at=gone, flags=CREATE) == -NOENT
    assert guest.mkdir("x", at=gone) == guest.rename("tmp/f", "x", to=gone) == NOENT
    assert guest.rmdir(".", at=gone) == INVAL


def test_a_file_lives_as_long_as_its_descriptor():
    guest = scratch()
    guest.make("tmp/f", b"abc")
    fd = guest.open("tmp/f", READ | WRITE)
    assert guest.unlink("tmp/f") == SUCCESS
    assert guest.read(fd) == (SUCCESS, b"abc")
    assert facts(guest.fd_stat(fd))["links"] == 0
    other = guest.open("readme")
    assert guest.call("fd_renumber", other, fd) == SUCCESS
    assert guest.read(fd) == (SUCCESS, b"hi")
    assert guest.host.context.held == 0


def test_times_are_those_of_changes_and_can_be_set():
    guest = scratch()
    guest.make("tmp/f", b"abc")
    assert facts(guest.stat("tmp/f"))["modified"] > 1_600_000_000_000_000_000
    assert guest.call("path_filestat_set_times", ROOT, 0, *guest._path("tmp/f"), 7, 8, 1 | 4) == SUCCESS
    stat = facts(guest.stat("tmp/f"))
    assert (stat["accessed"], stat["modified"]) == (7, 8)
    fd = guest.open("tmp/f", READ | WRITE)
    assert guest.call("fd_filestat_set_times", fd, 1, 2, 2 | 8) == SUCCESS
    assert facts(guest.fd_stat(fd))["accessed"] > 8
    for flags in (1 | 2, 4 | 8, 16):
        assert guest.call("fd_filestat_set_times", fd, 1, 2, flags) == INVAL
    assert facts(guest.stat("readme"))["modified"] == 0


# a guest's memory


def test_a_pointer_outside_the_memory_opens_writes_and_moves_nothing():
    guest = scratch()
    assert guest.call("path_open", ROOT, 0, *guest._path("tmp/x"), CREATE, WRITE, 0, 0, SIZE - 3) == FAULT
    assert guest.stat("tmp/x") == -NOENT
    assert guest.call("path_open", ROOT, 0, SIZE, 1, 0, 0, 0, 0, OUT) == FAULT
    assert guest.call("path_open", ROOT, 0, 0, 0xFFFFFFFF, 0, 0, 0, 0, OUT) == FAULT
    guest.make("tmp/f", b"abc")
    fd = guest.open("tmp/f", READ | WRITE)
    host: Host = guest.host
    count = host.vectors(0, (1000, 2), (SIZE - 1, 2))
    for name in ("fd_read", "fd_write"):
        assert guest.call(name, fd, 0, count, OUT) == FAULT
        assert guest.call(name, fd, 0, 1, SIZE - 3) == FAULT
    assert guest.call("fd_seek", fd, 2, 0, SIZE - 7) == FAULT
    assert guest.tell(fd) == (SUCCESS, 0)
    assert guest.content("tmp/f") == b"abc"
    assert guest.call("fd_readdir", ROOT, SIZE - 10, 11, 0, OUT) == FAULT
    assert guest.call("path_filestat_get", ROOT, 0, *guest._path("tmp/f"), SIZE - 63) == FAULT
    assert guest.call("path_readlink", ROOT, *guest._path("tmp/f"), 0, 0xFFFFFFFF, OUT) == INVAL


def test_appending_descriptors_write_at_the_end_and_pwrite_where_it_says():
    guest = scratch()
    guest.make("tmp/f", b"abc")
    fd = guest.open("tmp/f", WRITE, fdflags=APPEND)
    assert guest.write(fd, b"de") == (SUCCESS, 2)
    assert guest.tell(fd) == (SUCCESS, 5)
    assert guest.pwrite(fd, b"X", 0) == (SUCCESS, 1)
    assert guest.content("tmp/f") == b"Xbcde"
    assert guest.call("fd_fdstat_set_flags", fd, 2) == INVAL
    assert guest.open("tmp/f", flags=CREATE | EXCLUSIVE) == -EXIST


def test_files_are_always_ready():
    guest = scratch()
    guest.make("tmp/f", b"abc")
    files = [guest.open("tmp/f", READ | WRITE), guest.open("tmp/f", READ), ROOT]
    wanted = [(1, files[0]), (2, files[0]), (2, files[1]), (1, files[2])]
    record = struct.Struct("<QB7xI4xQQH6x")
    guest.put(0, b"".join(record.pack(i, kind, fd, 0, 0, 0) for i, (kind, fd) in enumerate(wanted)))
    assert guest.call("poll_oneoff", 0, 20000, len(wanted), OUT) == SUCCESS
    assert guest.u32() == len(wanted)
    events = [struct.unpack("<QHB5xQH6x", guest.get(20000 + 32 * i, 32)) for i in range(len(wanted))]
    room = (1 << 20) - NODE_COST - 3
    assert [(error, size) for _, error, _, size, _ in events] == [(0, 3), (0, room), (BADF, 0), (BADF, 0)]


def test_a_grant_of_any_kind_makes_the_tree():
    for guest in (Guest(body_file="/b"), Guest(scratch=1), Guest(reply_file="/r"), Guest(GRANTED)):
        assert guest.names()[:2] == [b".", b".."]
    assert Grants().scratch_path == "/tmp"

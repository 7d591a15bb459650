"""The files that guests are granted: what is read of a folder, what is refused and why, who shares which memory."""

from __future__ import annotations

import gc
import hashlib
import mmap
import os
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from guesthouse.guests import files
from guesthouse.guests.files import NOTHING, FileFaults, FileGrant, Granted, Shelf, digest_of, pin_of, watched
from guesthouse.guests.process import sealed
from guesthouse.guests.process.sealed import Sealed
from guesthouse_abi.context import Context
from guesthouse_abi.deadline import Deadline
from guesthouse_abi.files import Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.imports.wasi_preview1.tree import Tree
from tests.support import wat
from tests.support.budget import examples

MiB = 1 << 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two files in it, one below the other."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"alpha")
    (folder / "deep" / "b.bin").write_bytes(b"beta!")
    return folder


def granted(*grants: tuple[str, Path], limit: int = MiB, shelf: Shelf | None = None, seal: bool = False, **beside):
    wanted = [FileGrant(at, host) for at, host in grants]
    return (shelf or Shelf()).granted(wanted, limit, seal=seal, beside=Grants(**beside))


def faults(*grants: tuple[str, Path], limit: int = MiB, **beside) -> list[str]:
    with pytest.raises(FileFaults) as caught:
        granted(*grants, limit=limit, **beside)
    return caught.value.faults


# What is read.


def test_a_file_and_a_folder_are_there_by_the_guests_paths(data: Path):
    found = granted(("/m.txt", data / "a.txt"), ("/d", data))
    assert found.files.contents == {"/m.txt": b"alpha", "/d/a.txt": b"alpha", "/d/deep/b.bin": b"beta!"}
    assert [(part.at, part.files, part.size) for part in found.parts] == [("/m.txt", 1, 5), ("/d", 2, 10)]


def test_a_folder_may_be_the_root_and_a_file_may_not(data: Path):
    assert sorted(granted(("/", data)).files.contents) == ["/a.txt", "/deep/b.bin"]
    assert faults(("/", data / "a.txt")) == [
        f"{data}/a.txt: the guest's path '/' is the root, which is no file: name it otherwise"
    ]


def test_folders_may_share_a_path_where_no_name_is_the_same(data: Path, tmp_path: Path):
    (tmp_path / "more.txt").write_bytes(b"more")
    assert "/d/more.txt" in granted(("/d", data), ("/d/more.txt", tmp_path / "more.txt")).files.contents
    assert faults(("/d", data), ("/d/a.txt", tmp_path / "more.txt")) == [
        f"{tmp_path}/more.txt: the path /d/a.txt is granted twice: leave one out"
    ]


def test_without_grants_there_is_nothing():
    assert granted() is NOTHING


def test_what_was_hashed_is_what_is_served_whatever_becomes_of_the_file(data: Path):
    found = granted(("/a", data / "a.txt"))
    (data / "a.txt").write_bytes(b"")
    assert found.files.contents["/a"] == b"alpha"
    assert found.parts[0].sha256 == hashlib.sha256(b"alpha").hexdigest()


def test_the_digest_of_a_folder_is_that_of_what_sha256sum_prints(data: Path):
    (data / "Z").write_bytes(b"before small letters")
    (data / "deep" / "ä").write_bytes(b"")
    command = "find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
    said = subprocess.run(["sh", "-c", command], cwd=data, capture_output=True, text=True, check=True).stdout
    assert granted(("/d", data)).parts[0].sha256 == pin_of(data, MiB) == said.split()[0]


def test_a_digest_differs_where_a_name_or_a_content_does():
    one = {"a": "1" * 64, "b": "2" * 64}
    assert digest_of({"b": one["b"], "a": one["a"]}) == digest_of(one)
    assert (
        len({digest_of(d) for d in (one, {**one, "b": "1" * 64}, {"a": one["a"], "c": one["b"]}, {"a": one["a"]})}) == 4
    )


def test_a_pin_must_be_that_of_the_file_or_folder(data: Path):
    pin = hashlib.sha256(b"alpha").hexdigest()
    Shelf().granted([FileGrant("/a", data / "a.txt", pin), FileGrant("/d", data, pin_of(data, MiB))], MiB, seal=False)
    with pytest.raises(FileFaults) as caught:
        Shelf().granted([FileGrant("/d", data, pin)], MiB, seal=False)
    assert caught.value.faults == [
        f"{data} has sha256 {pin_of(data, MiB)}, the manifest wants {pin} for /d: update the pin, or restore the files"
    ]


# What is refused.


def test_a_missing_file_is_a_fault_and_so_is_every_other(data: Path, tmp_path: Path):
    assert faults(("/a", tmp_path / "none"), ("/b", data / "nothing" / "x")) == [
        f"{tmp_path}/none cannot be read (No such file or directory): correct the path, or its permissions",
        f"{data}/nothing/x cannot be read (No such file or directory): correct the path, or its permissions",
    ]


def test_links_lead_to_files_in_the_folder_only(data: Path, tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"secret")
    (data / "deep" / "c.txt").symlink_to("../a.txt")
    assert granted(("/d", data)).files.contents["/d/deep/c.txt"] == b"alpha"
    (data / "out").symlink_to(tmp_path / "secret")
    (data / "up").symlink_to("..")
    (data / "folder").symlink_to("deep")
    (data / "nowhere").symlink_to("gone")
    (data / "itself").symlink_to("itself")
    found = faults(("/d", data))
    assert sorted(found) == [
        f"{data}/folder is a link to a folder, which is not followed: grant that folder by a name of its own",
        f"{data}/itself is a link to nothing: take it away",
        f"{data}/nowhere is a link to nothing: take it away",
        f"{data}/out is a link out of the granted folder: put the file itself there, or grant it by a name of its own",
        f"{data}/up is a link out of the granted folder: put the file itself there, or grant it by a name of its own",
    ]


def test_a_granted_path_itself_may_be_a_link(data: Path, tmp_path: Path):
    """The operator has named it; Kubernetes' volumes are made of them."""
    (tmp_path / "m").symlink_to(data / "a.txt")
    (tmp_path / "d").symlink_to(data)
    assert sorted(granted(("/m", tmp_path / "m"), ("/d", tmp_path / "d")).files.contents) == [
        "/d/a.txt",
        "/d/deep/b.bin",
        "/m",
    ]


def test_a_volume_of_kubernetes_is_its_files(tmp_path: Path):
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024" / "labels.txt").write_bytes(b"cat")
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "labels.txt").symlink_to("..data/labels.txt")
    assert granted(("/v", tmp_path)).files.contents == {"/v/labels.txt": b"cat"}


def test_a_link_that_is_exchanged_after_it_was_looked_at_leads_nowhere(data: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"secret")
    walk = files._walk

    def exchanging(root, refuse):
        for found in list(walk(root, refuse)):
            if found[0] == "a.txt":
                (data / "a.txt").unlink()
                (data / "a.txt").symlink_to(tmp_path / "secret")
            yield found

    monkeypatch.setattr(files, "_walk", exchanging)
    assert faults(("/d", data)) == [f"{data}/a.txt is another file than a moment ago: leave it alone while it is read"]


def test_pipes_sockets_and_devices_are_refused_without_being_opened(data: Path):
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(data / "s"))
        assert sorted(faults(("/d", data), ("/p", data / "pipe"), ("/n", Path("/dev/null")))) == [
            "/dev/null is no file (a pipe, socket or device): name one",
            f"{data}/pipe is no file (a pipe, socket or device): name one",
            f"{data}/pipe is no file (a pipe, socket or device): take it away",
            f"{data}/s is no file (a pipe, socket or device): take it away",
        ]


def test_a_file_that_grows_while_it_is_read_is_refused(data: Path, monkeypatch):
    fstat = os.fstat

    def smaller(fd: int) -> os.stat_result:
        found = list(fstat(fd))
        found[6] -= 1
        return os.stat_result(found)

    monkeypatch.setattr("guesthouse.guests.files.os.fstat", smaller)
    assert faults(("/a", data / "a.txt")) == [
        f"{data}/a.txt was written to while it was read: replace it whole, and try again"
    ]


def test_all_bytes_together_are_bounded_before_they_are_read(data: Path, tmp_path: Path):
    assert granted(("/d", data), limit=10).parts[0].size == 10
    over = "is over limits.files, with the files before it: grant less, or raise the limit"
    (found,) = faults(("/d", data), limit=9)
    assert found.endswith(over)
    assert faults(("/d", data), ("/a", data / "a.txt"), limit=10) == [f"{data}/a.txt {over}"]
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    assert faults(("/h", tmp_path / "huge")) == [f"{tmp_path}/huge {over}"]


def test_a_file_that_one_guest_may_have_is_over_the_limit_of_another(data: Path):
    shelf = Shelf()
    granted(("/a", data / "a.txt"), shelf=shelf)
    with pytest.raises(FileFaults, match=r"is over limits\.files"):
        granted(("/a", data / "a.txt"), shelf=shelf, limit=4)


def test_the_number_and_the_depth_of_folders_is_bounded(data: Path, monkeypatch):
    monkeypatch.setattr(files, "MOST", 4)
    assert len(granted(("/d", data)).files.contents) == 2
    for name in "xy":
        (data / name).touch()
    assert faults(("/d", data)) == [f"{data} has more than 4 files and folders: grant a smaller folder"]
    (data / "y").unlink()
    assert faults(("/d", data), ("/e", data)) == [
        "it is granted 6 files; at most 4 are: grant a smaller folder",
    ]
    monkeypatch.setattr(files, "MOST", 100)
    folder = data / "deep"
    for _ in range(files.DEPTH):
        folder /= "x"
    folder.mkdir(parents=True)
    assert faults(("/d", data)) == [
        f"{folder} is more than {files.DEPTH} folders deep: grant a folder further down",
    ]


def test_names_that_are_none_for_a_guest_are_refused_and_few_of_many_told(data: Path):
    (data / "line\nbreak").touch()
    (data / os.fsdecode(b"\xff")).touch()
    assert sorted(faults(("/d", data))) == [
        f"{data}: the guest's path '/d/\\udcff' is not Unicode text: name it otherwise",
        f"{data}: the guest's path '/d/line\\nbreak' has a control character: name it otherwise",
    ]
    for number in range(20):
        (data / f"{number}\t").touch()
    found = faults(("/d", data))
    assert len(found) == 9
    assert found[-1] == f"{data}: and 14 more like these"


def test_files_below_files_are_refused(data: Path):
    (found,) = faults(("/d", data / "a.txt"), ("/d/deep", data / "deep"))
    assert found.startswith("its files do not fit together: /d")


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ({"body_file": "/d/a.txt"}, ["body_file /d/a.txt is a file of its own already"]),
        ({"body_file": "/d/deep"}, ["body_file /d/deep is a folder with files in it"]),
        ({"reply_file": "/d/a.txt/x/y"}, ["reply_file /d/a.txt/x/y lies below /d/a.txt, which is a file"]),
        ({"body_file": "/x", "reply_file": "/x"}, ["reply_file /x is a file of its own already"]),
        ({"body_file": "/x", "reply_file": "/x/y"}, ["reply_file /x/y lies below /x, which is a file"]),
        ({"body_file": "/x/y", "reply_file": "/x"}, ["reply_file /x is a folder with files in it"]),
        ({"scratch": 1, "scratch_path": "/d/a.txt"}, ["scratch_path /d/a.txt is a file of its own already"]),
        ({"scratch": 1, "reply_file": "/tmp"}, ["scratch_path /tmp is a file of its own already"]),
        (
            {"scratch": 1, "body_file": "/a", "scratch_path": "/a/b"},
            ["scratch_path /a/b lies below /a, which is a file"],
        ),
        ({"scratch": 0, "scratch_path": "/d/a.txt"}, []),
        ({"scratch": 1, "scratch_path": "/d", "body_file": "/d/body", "reply_file": "/d/deep/out"}, []),
        ({"scratch": 1, "scratch_path": "/", "body_file": "/body"}, []),
    ],
)
def test_body_reply_and_scratch_have_paths_of_their_own(data: Path, beside, found: list[str]):
    if found:
        assert faults(("/d", data), **beside) == [f"{one}: choose another path" for one in found]
    else:
        files_and_body = granted(("/d", data), **beside).files
        services = wat.context().services
        Tree(Context(Deadline.after(5), Grants(**beside), Limits(), services, files=files_and_body))  # as for an event


def test_body_and_reply_are_looked_at_without_files_too():
    assert faults(body_file="/x", reply_file="/x") == [
        "reply_file /x is a file of its own already: choose another path"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_told(data: Path):
    (data / "deep").chmod(0)
    assert faults(("/d", data)) == [f"{data}/deep cannot be read (Permission denied): check its permissions"]


# Who shares what.


def test_equal_contents_are_in_memory_once_for_all_guests_and_plans(data: Path, tmp_path: Path):
    (tmp_path / "copy").write_bytes(b"alpha")
    shelf = Shelf()
    first = granted(("/a", data / "a.txt"), ("/c", tmp_path / "copy"), shelf=shelf)
    second = granted(("/x", data / "a.txt"), shelf=shelf)
    assert first.files.contents["/a"] is first.files.contents["/c"] is second.files.contents["/x"]
    later = granted(("/a", data / "a.txt"), ("/d", data), shelf=Shelf([first, second]))
    assert later.files.contents["/a"] is later.files.contents["/d/a.txt"] is first.files.contents["/a"]


def test_each_file_is_read_once_for_all_guests_of_a_plan(data: Path, monkeypatch):
    read, paths = files._read, []

    def told(path, *more):
        paths.append(path)
        return read(path, *more)

    monkeypatch.setattr(files, "_read", told)
    shelf = Shelf()
    for at in ("/a", "/b"):
        granted((at, data), shelf=shelf)
    assert sorted(paths) == [data / "a.txt", data / "deep" / "b.bin"]


def test_what_is_sealed_is_one_memory_for_guests_and_plans_that_are_granted_the_same(data: Path):
    shelf = Shelf()
    one, two = (granted(("/d", data), shelf=shelf, seal=True) for _ in range(2))
    assert one.sealed is two.sealed
    assert granted(("/d", data), shelf=Shelf([one]), seal=True).sealed is one.sealed
    (data / "a.txt").write_bytes(b"other")
    changed = granted(("/d", data), shelf=Shelf([one]), seal=True)
    assert changed.sealed is not one.sealed
    assert changed.digest != one.digest


# The memory for worker processes.


def sealed_fds() -> int:
    named = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sum("guesthouse-files" in name for name in named)


def test_a_worker_finds_in_it_what_was_granted(data: Path):
    (data / "empty").touch()
    found = granted(("/d", data), ("/again", data / "a.txt"), seal=True)
    assert found.files.contents == {}
    theirs = sealed.opened(found.sealed.fd, found.sealed.index)
    assert {path: bytes(content) for path, content in theirs.contents.items()} == {
        "/again": b"alpha",
        "/d/a.txt": b"alpha",
        "/d/deep/b.bin": b"beta!",
        "/d/empty": b"",
    }
    assert found.sealed.index[0] == 10  # equal contents are there once
    assert all(memoryview(content).readonly for content in theirs.contents.values())


_CHARACTERS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/")
NAMES = st.text(_CHARACTERS, min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@settings(max_examples=examples(50))
@given(
    st.dictionaries(
        st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)),
        st.binary(max_size=40),
        max_size=8,
    )
)
def test_any_names_and_contents_arrive_as_they_are(contents: dict[str, bytes]):
    try:
        Files(contents)
    except ValueError:  # a file below a file
        reject()
    memory = Sealed(contents)
    theirs = sealed.opened(memory.fd, memory.index)
    assert {path: bytes(content) for path, content in theirs.contents.items()} == contents


def test_nobody_can_change_it():
    memory = Sealed({"/a": b"alpha"})
    writable = os.open(f"/proc/self/fd/{memory.fd}", os.O_RDWR)
    try:
        for fd in (memory.fd, writable):
            for change in (
                lambda fd: os.write(fd, b"x"),
                lambda fd: os.ftruncate(fd, 0),
                lambda fd: os.ftruncate(fd, 1 << 20),
                lambda fd: mmap.mmap(fd, 0),
            ):
                with pytest.raises(OSError):
                    change(fd)
    finally:
        os.close(writable)
    assert bytes(sealed.opened(memory.fd, memory.index).contents["/a"]) == b"alpha"


def test_it_goes_with_its_last_holder(data: Path):
    gc.collect()
    before = sealed_fds()
    holder: Granted | None = granted(("/d", data), seal=True)
    assert holder is not None
    assert sealed_fds() == before + 1
    holder = None
    assert sealed_fds() == before


# What is watched.


def test_all_of_a_folder_is_watched_and_what_cannot_be_granted_does_no_harm(data: Path):
    (data / "out").symlink_to("/etc/hostname")
    assert set(watched(data)) == {data, data / "a.txt", data / "deep", data / "deep" / "b.bin"}
    assert list(watched(data / "a.txt")) == [data / "a.txt"]
    assert list(watched(data / "none")) == [data / "none"]

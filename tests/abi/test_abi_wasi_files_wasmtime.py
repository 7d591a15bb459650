"""The same calls go to wasmtime's WASI over a folder of the host and to ours over a scratch directory: same answers.

Where ours differ, the reason is in `excuse`. wasmtime knows no rights, so every descriptor is opened with all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.abi.wasi_files import (
    APPEND,
    BADF,
    CREATE,
    DIRECTORY,
    EXCLUSIVE,
    INVAL,
    NOTDIR,
    READ,
    ROOT,
    TRUNCATE,
    WRITE,
    Calls,
    Guest,
    Wasmtime,
)
from tests.support.budget import examples

Step = tuple[Any, ...]

PLAIN = ["a", "b", "c", "a/b", "b/a", "a/b/c"]
ODD = [
    "a/", "b/", "a//b", "./a", "a/.", "a/..", "..", "../a", ".", "/a", "", "a/../b", "c/../a", "a/./b", "a\0b", "b/.",
    "b/..", "a/b/", "x" * 255, "x" * 256, "a/" + "x" * 256, "./", "../", "a/b/..", "é",
]  # fmt: skip
NAMES = st.one_of(st.sampled_from(PLAIN), st.sampled_from(ODD))
OPENED = st.sampled_from([3, 4, 5, 6, 7, 8, 99])
DIRECTORIES = st.sampled_from([ROOT, ROOT, ROOT, 5, 6])
OFFSETS = st.sampled_from([0, 1, 2, 50, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
WAYS = st.one_of(
    st.tuples(st.just(READ), st.sampled_from([0, DIRECTORY])),
    st.tuples(
        st.sampled_from([WRITE, READ | WRITE]),
        st.sampled_from(
            [0, CREATE, CREATE, CREATE | EXCLUSIVE, TRUNCATE, CREATE | TRUNCATE, DIRECTORY, DIRECTORY | CREATE]
        ),
    ),
)
DATA = st.binary(max_size=20)

STEPS = st.one_of(
    st.tuples(st.just("open"), NAMES, WAYS, DIRECTORIES, st.sampled_from([0, 1]), st.sampled_from([0, 0, APPEND])),
    st.tuples(st.sampled_from(["close", "stat of", "tell", "list", "sync"]), OPENED),
    st.tuples(st.sampled_from(["mkdir", "rmdir", "unlink", "readlink"]), NAMES, DIRECTORIES),
    st.tuples(st.sampled_from(["rename", "link"]), NAMES, NAMES, DIRECTORIES, DIRECTORIES),
    st.tuples(st.just("symlink"), NAMES, NAMES, DIRECTORIES),
    st.tuples(st.just("stat"), NAMES, DIRECTORIES, st.sampled_from([0, 1])),
    st.tuples(st.just("read"), OPENED, st.sampled_from([0, 1, 5, 100])),
    st.tuples(st.just("write"), OPENED, DATA),
    st.tuples(st.just("pread"), OPENED, st.sampled_from([0, 1, 5, 100]), OFFSETS),
    st.tuples(st.just("pwrite"), OPENED, DATA, st.sampled_from([0, 1, 50])),
    st.tuples(
        st.just("seek"),
        OPENED,
        st.sampled_from([0, 1, -1, 10, -100, (1 << 63) - 1, -(1 << 63)]),
        st.sampled_from([0, 1, 2]),
    ),
    st.tuples(st.just("set size"), OPENED, st.sampled_from([0, 1, 10, 100])),
    st.tuples(st.just("renumber"), OPENED, OPENED),
    st.tuples(st.just("set flags"), OPENED, st.sampled_from([0, 1, 2, 4, 16])),
)


def kind(calls: Calls, fd: int) -> int:
    """The type of what is open, 0 for nothing."""
    return 0 if calls.call("fd_fdstat_get", fd, 1024) else calls.get(1024, 1)[0]


def known(stat: dict[str, Any] | int) -> Any:
    """What two file systems agree on."""
    if isinstance(stat, int):
        return stat
    is_directory = stat["type"] == "directory"
    return (stat["type"], *(() if is_directory else (stat["size"], stat["links"])))


def do(calls: Calls, step: Step) -> Any:
    """A step's answer: an errno, minus an errno, or a tuple that begins with one."""
    name, *values = step
    if name == "open":
        path, (rights, flags), at, lookup, fdflags = values
        if kind(calls, at) != 3:
            return -NOTDIR
        return calls.open(path, rights, at=at, flags=flags, lookup=lookup, fdflags=fdflags)
    if name in ("mkdir", "rmdir", "unlink", "readlink"):
        return getattr(calls, name)(values[0], at=values[1])
    if name in ("rename", "link"):
        return getattr(calls, name)(values[0], values[1], at=values[2], to=values[3])
    if name == "symlink":
        return calls.symlink(values[0], values[1], at=values[2])
    if name == "stat":
        return known(calls.stat(values[0], at=values[1], lookup=values[2]))
    if name == "stat of":
        return known(calls.fd_stat(values[0]))
    if name == "list":
        errno, entries = calls.entries(values[0])
        return errno, sorted((entry[0], entry[1]) for entry in entries)
    if name in ("read", "write", "pread", "pwrite", "seek", "tell"):
        return getattr(calls, name)(*values)
    function = {
        "close": "fd_close",
        "sync": "fd_sync",
        "renumber": "fd_renumber",
        "set size": "fd_filestat_set_size",
        "set flags": "fd_fdstat_set_flags",
    }[name]
    return calls.call(function, *values)


def errno_in(step: Step, answer: Any) -> int:
    """The errno in an answer; a descriptor is none."""
    if step[0] == "open":
        return max(0, -int(answer))
    if isinstance(answer, tuple):
        return answer[0] if isinstance(answer[0], int) else 0
    return abs(int(answer))


def excuse(step: Step, theirs: Any, ours: Any) -> str:
    """Why ours may answer otherwise; empty when there is no reason."""
    name = step[0]
    numbers = errno_in(step, theirs), errno_in(step, ours)
    if theirs == ours:
        return ""
    if numbers == (BADF, NOTDIR):
        return "a descriptor that is no directory: POSIX has NOTDIR"
    if name == "sync" and numbers == (BADF, 0):
        return "a directory can be synchronised"
    if name in ("rename", "link", "symlink") and all(numbers):
        return "two paths, and something is wrong with both"
    if name == "open" and step[2][1] & CREATE and step[1].endswith("/") and all(numbers):
        return "a file cannot be made under a name that ends in a slash"
    if name == "rmdir" and step[1].endswith("/") and numbers[0]:
        return "a slash behind a directory's name: POSIX removes it, and no link"
    if name == "unlink" and step[1].endswith("/") and all(numbers):
        return "a slash behind the name of what is no directory"
    if name in ("seek", "pread", "pwrite") and INVAL in numbers:
        return "positions end at 2**63 - 1, and are looked at after the descriptor"
    if name == "open" and theirs > 0 and ours > 0:
        return "another number for the new descriptor"
    return f"none: {step} is {theirs} there, {ours} here"


@settings(max_examples=examples(250), deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_answers_as_wasmtime_does(tmp_path_factory: pytest.TempPathFactory, steps: list[Step]):
    compare(tmp_path_factory.mktemp("root"), steps)


def compare(folder: Path, steps: list[Step]) -> None:
    theirs, ours = Wasmtime(folder), Guest(scratch=1 << 20, scratch_path="/")
    appends: set[int] = set()
    for step in steps:
        if step[0] == "pwrite" and step[1] in appends:
            continue  # pwrite writes where it says, as POSIX has it; Linux appends
        if step[0] == "renumber":
            appends |= {step[2]} if step[1] in appends else set()
        if step[0] == "set flags" and step[2] & APPEND:
            appends.add(step[1])
        answers = do(theirs, step), do(ours, step)
        if step[0] == "open" and step[5] & APPEND and answers[0] > 0:
            appends.add(answers[0])
        reason = excuse(step, *answers)
        assert not reason.startswith("none"), reason
        if reason and not all(errno_in(step, answer) for answer in answers):
            return  # from here on the two have different files

"""Whatever numbers a guest passes to WASI, nothing outside its memory is touched and no other exception comes out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guesthouse_abi.deadline import Deadline
from guesthouse_abi.errors import CallError, HostError
from guesthouse_abi.files import NO_FILES, Files
from guesthouse_abi.grants import Grants, Limits
from guesthouse_abi.host import I32, I64, U32, U64
from guesthouse_abi.imports.wasi_preview1 import MODULE, flush
from guesthouse_abi.imports.wasi_preview1.descriptors import MOST_DESCRIPTORS, Descriptors
from tests.abi.wasi_host import SIZE, Host
from tests.support.budget import examples

ERRNOS = range(77)
OUTPUT = 100_000


def numbers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    """Any integer of that width, and more often one that means something: a descriptor, a pointer near an end."""
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return st.one_of(
        st.integers(0, 4), st.integers(0, SIZE), st.integers(SIZE - 70, SIZE + 2), st.integers(least, most)
    )


KINDS = {
    I32: numbers(32, signed=True),
    U32: numbers(32, signed=False),
    I64: numbers(64, signed=True),
    U64: numbers(64, signed=False),
}
CALLS = st.sampled_from(sorted(MODULE.functions)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*[KINDS[kind] for kind in MODULE.functions[name].kinds]))
)
# Records made of small numbers: vectors, subscriptions and strings that often make sense.
WORDS = st.lists(KINDS[U32], max_size=48).map(lambda words: struct.pack(f"<{len(words)}I", *words))


# Paths that a guest with files finds in its memory, with the number of bytes that each has.
PATHS = (b"tmp", b"tmp/d", b"tmp/d/..", b"tmp/f", b"granted/f", b"tmp/l", b"..", b"tmp/d/")
PATHS_AT = 2048
FILES = Files({"/granted/f": bytes(5000), "/tmp/kept": b"kept"})
SCRATCH = 300_000


def hostile(memory: bytes = b"", *, collect: bool = True, files: bool = False) -> Host:
    host = Host(
        seconds=0.003,
        limits=Limits(output=OUTPUT),
        grants=Grants(scratch=SCRATCH, body_file="/body") if files else None,
        files=FILES if files else NO_FILES,
        stdin=bytes(range(256)) * 40,
        arguments=("program", "one"),
        variables=lambda: [("NAME", "value")],
    )
    host.memory.write(0, memory)
    for index, path in enumerate(PATHS):
        host.memory.write(PATHS_AT + 16 * index, path)
    if collect:
        host.context.stdout = bytearray()
    return host


def check(host: Host, name: str, *values: int) -> None:
    try:
        errno = host.call(name, *values)
        assert errno in ERRNOS
    except (CallError, HostError):
        pass
    assert host.guarded
    assert 0 <= host.context.input_at <= len(host.context.stdin)
    assert host.context.stdout is None or len(host.context.stdout) <= OUTPUT
    tree = host.context.state(Descriptors).tree if host.context.state_if_made(Descriptors) else None
    if tree is not None:
        assert 0 <= tree.used <= SCRATCH
        assert tree.used + len(host.context.stdout or b"") == host.context.held
        assert FILES.contents == {"/granted/f": bytes(5000), "/tmp/kept": b"kept"}
        assert len(host.context.state(Descriptors).open) <= MOST_DESCRIPTORS


@pytest.mark.parametrize("name", sorted(MODULE.functions))
@settings(max_examples=examples(25), deadline=None)
@given(data=st.data(), files=st.booleans())
def test_any_numbers_in_any_function(name, data, files):
    host = hostile(data.draw(WORDS), files=files)
    check(host, name, *[data.draw(KINDS[kind]) for kind in MODULE.functions[name].kinds])


@settings(max_examples=examples(150), deadline=None)
@given(memory=WORDS, collect=st.booleans(), files=st.booleans(), calls=st.lists(CALLS, max_size=8))
def test_any_functions_after_one_another(memory, collect, files, calls):
    host = hostile(memory, collect=collect, files=files)
    for name, values in calls:
        check(host, name, *values)
    flush(host.context)


# Calls that mostly make sense: what is drawn is odd in one place or the other.
FDS = st.one_of(st.integers(0, 9), KINDS[U32])
PATH = st.one_of(
    st.sampled_from(range(len(PATHS))).map(lambda index: (PATHS_AT + 16 * index, len(PATHS[index]))),
    st.tuples(KINDS[U32], KINDS[U32]),
)
FLAGS = st.one_of(st.integers(0, 15), KINDS[U32])
RIGHTS = st.one_of(st.sampled_from([0, 2, 64, 66, (1 << 28) - 1]), KINDS[U64])
SIZES = st.one_of(st.integers(0, 3 * SCRATCH), KINDS[U64])
OUT = st.one_of(st.just(1024), KINDS[U32])
SENSIBLE: dict[str, tuple[st.SearchStrategy, ...]] = {
    "fd_allocate": (FDS, SIZES, SIZES),
    "fd_close": (FDS,),
    "fd_fdstat_set_flags": (FDS, FLAGS),
    "fd_fdstat_set_rights": (FDS, RIGHTS, RIGHTS),
    "fd_filestat_set_size": (FDS, SIZES),
    "fd_pread": (FDS, OUT, st.integers(0, 3), SIZES, OUT),
    "fd_pwrite": (FDS, OUT, st.integers(0, 3), SIZES, OUT),
    "fd_read": (FDS, OUT, st.integers(0, 3), OUT),
    "fd_readdir": (FDS, OUT, KINDS[U32], SIZES, OUT),
    "fd_renumber": (FDS, FDS),
    "fd_seek": (FDS, KINDS[I64], st.integers(0, 3), OUT),
    "fd_write": (FDS, OUT, st.integers(0, 3), OUT),
    "path_create_directory": (FDS, PATH),
    "path_filestat_get": (FDS, FLAGS, PATH, OUT),
    "path_link": (FDS, FLAGS, PATH, FDS, PATH),
    "path_open": (FDS, FLAGS, PATH, FLAGS, RIGHTS, RIGHTS, FLAGS, OUT),
    "path_readlink": (FDS, PATH, OUT, KINDS[U32], OUT),
    "path_remove_directory": (FDS, PATH),
    "path_rename": (FDS, PATH, FDS, PATH),
    "path_symlink": (PATH, FDS, PATH),
    "path_unlink_file": (FDS, PATH),
}
FILE_CALLS = st.sampled_from(sorted(SENSIBLE)).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*SENSIBLE[name]).map(_flat))
)


def _flat(values: tuple[int | tuple[int, int], ...]) -> list[int]:
    return [number for value in values for number in (value if isinstance(value, tuple) else (value,))]


@settings(max_examples=examples(300), deadline=None)
@given(memory=WORDS, calls=st.lists(FILE_CALLS, max_size=30))
def test_any_functions_for_files_after_one_another(memory, calls):
    host = hostile(memory, files=True)
    host.context.deadline = Deadline.after(10)
    for name, values in calls:
        check(host, name, *values)
    for fd in list(host.context.state(Descriptors).open):
        check(host, "fd_close", fd)


VECTORS = st.lists(st.tuples(KINDS[U32], KINDS[U32]), max_size=12)


@settings(max_examples=examples(150), deadline=None)
@given(vectors=VECTORS, fd=st.integers(0, 3), at=st.integers(0, 200), result=KINDS[U32], collect=st.booleans())
def test_any_vectors_wherever_they_point(vectors, fd, at, result, collect):
    host = hostile(collect=collect)
    count = host.vectors(at, *vectors)
    check(host, "fd_read", fd, at, count, result)
    host = hostile(collect=collect)
    count = host.vectors(at, *vectors)
    check(host, "fd_write", fd, at, count, result)


@settings(max_examples=examples(150), deadline=None)
@given(
    records=st.lists(
        st.tuples(KINDS[U64], st.integers(0, 3), st.integers(0, 4), KINDS[U64], KINDS[U64], st.integers(0, 2)),
        min_size=1,
        max_size=6,
    ),
    events=st.integers(0, 600),
)
def test_any_subscriptions_over_any_events(records, events):
    host = hostile(b"".join(struct.pack("<QB7xI4xQQH6x", *record) for record in records))
    check(host, "poll_oneoff", 0, events, len(records), 4096)


def test_numbers_that_wrap_around_are_faults_and_not_addresses():
    host = hostile()
    top = 0xFFFFFFFF
    for vector in ((top, 1), (top, top), (1, top), (SIZE, 1), (top - 7, 8)):
        host.vectors(0, vector)
        assert host.call("fd_read", 0, 0, 1, 64) == 21
        assert host.call("fd_write", 1, 0, 1, 64) == 21
    assert host.call("fd_read", 0, top - 7, 1, 64) == 21
    assert host.call("random_get", top, top) == 21
    assert host.guarded

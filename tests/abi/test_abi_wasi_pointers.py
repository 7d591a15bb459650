"""Whatever numbers a guest passes to WASI, nothing outside its memory is touched and no other exception comes out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasi_host import SIZE, Host

from budget import examples
from guesthouse_abi.errors import CallError, HostError
from guesthouse_abi.grants import Limits
from guesthouse_abi.host import I32, I64, U32, U64
from guesthouse_abi.imports.wasi_preview1 import MODULE, flush

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


def hostile(memory: bytes = b"", *, collect: bool = True) -> Host:
    host = Host(
        seconds=0.003,
        limits=Limits(output=OUTPUT),
        stdin=bytes(range(256)) * 40,
        arguments=("program", "one"),
        variables=lambda: [("NAME", "value")],
    )
    host.memory.write(0, memory)
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


@pytest.mark.parametrize("name", sorted(MODULE.functions))
@settings(max_examples=examples(25), deadline=None)
@given(data=st.data())
def test_any_numbers_in_any_function(name, data):
    host = hostile(data.draw(WORDS))
    check(host, name, *[data.draw(KINDS[kind]) for kind in MODULE.functions[name].kinds])


@settings(max_examples=examples(150), deadline=None)
@given(memory=WORDS, collect=st.booleans(), calls=st.lists(CALLS, max_size=8))
def test_any_functions_after_one_another(memory, collect, calls):
    host = hostile(memory, collect=collect)
    for name, values in calls:
        check(host, name, *values)
    flush(host.context)


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

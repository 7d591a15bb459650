"""Clocks of a WASI guest, and `poll_oneoff`."""

from __future__ import annotations

import struct
import threading
import time

import pytest

from guesthouse_abi.errors import Cancelled, DeadlineExceeded
from guesthouse_abi.imports.wasi_preview1 import clocks
from guesthouse_abi.imports.wasi_preview1.clocks import MOST_SUBSCRIPTIONS
from tests.abi.wasi_host import SIZE, Host

SUCCESS, BADF, FAULT, INVAL = 0, 8, 21, 28
REALTIME, MONOTONIC, PROCESS_CPU, THREAD_CPU = range(4)
CLOCK, FD_READ, FD_WRITE = range(3)
FOREVER = (1 << 64) - 1
MILLISECOND = 1_000_000


def alarm(timeout: int, *, clock: int = MONOTONIC, absolute: bool = False, user: int = 7, flags: int = 0) -> bytes:
    """A clock subscription, field by field at the offsets of wasi-libc's `__wasi_subscription_t`."""
    record = bytearray(48)
    struct.pack_into("<Q", record, 0, user)
    struct.pack_into("<B", record, 8, CLOCK)
    struct.pack_into("<I", record, 16, clock)
    struct.pack_into("<Q", record, 24, timeout)
    struct.pack_into("<H", record, 40, flags or absolute)
    return bytes(record)


def stream(kind: int, fd: int, *, user: int = 8) -> bytes:
    record = bytearray(48)
    struct.pack_into("<Q", record, 0, user)
    struct.pack_into("<B", record, 8, kind)
    struct.pack_into("<I", record, 16, fd)
    return bytes(record)


def poll(host: Host, *subscriptions: bytes) -> list[tuple[int, ...]]:
    """The events as (user data, error, type, bytes, flags)."""
    host.memory.write(0, b"".join(subscriptions))
    assert host.call("poll_oneoff", 0, 4096, len(subscriptions), 8192) == SUCCESS
    block = host.memory.read(4096, 32 * host.memory.u32(8192))
    events = []
    for at in range(0, len(block), 32):
        user, error, kind = struct.unpack_from("<QHB", block, at)
        events.append((user, error, kind, *struct.unpack_from("<QH", block, at + 16)))
    return events


# clocks


def test_tells_the_time():
    host = Host()
    for clock, now in ((REALTIME, time.time_ns), (MONOTONIC, time.monotonic_ns)):
        before = now()
        assert host.call("clock_time_get", clock, 0, 64) == SUCCESS
        assert before <= host.u64(64) <= now()


@pytest.mark.parametrize("clock", [PROCESS_CPU, THREAD_CPU])
def test_cpu_clocks_begin_with_the_guest_and_count_its_thread(clock):
    host = Host()
    start = time.thread_time_ns()
    readings = []
    for _ in range(2):
        assert host.call("clock_time_get", clock, 0, 64) == SUCCESS
        readings.append(host.u64(64))
    assert 0 <= readings[0] < readings[1] <= time.thread_time_ns() - start


def test_every_clock_has_a_resolution():
    host = Host()
    for clock in range(4):
        assert host.call("clock_res_get", clock, 64) == SUCCESS
        assert host.u64(64) == 1


def test_an_unknown_clock_is_invalid_and_a_bad_pointer_a_fault():
    host = Host()
    assert host.call("clock_res_get", 4, 64) == INVAL
    assert host.call("clock_time_get", 0xFFFFFFFF, 0, 64) == INVAL
    assert host.call("clock_res_get", 0, SIZE - 7) == FAULT
    assert host.call("clock_time_get", 0, 0, SIZE - 7) == FAULT


# poll_oneoff


@pytest.mark.parametrize("clock", [REALTIME, MONOTONIC])
@pytest.mark.parametrize("absolute", [False, True])
def test_sleeps_until_an_alarm(clock, absolute):
    now = {REALTIME: time.time_ns, MONOTONIC: time.monotonic_ns}[clock]
    start = time.monotonic_ns()
    timeout = 20 * MILLISECOND + (now() if absolute else 0)
    assert poll(Host(), alarm(timeout, clock=clock, absolute=absolute)) == [(7, SUCCESS, CLOCK, 0, 0)]
    assert time.monotonic_ns() - start >= 19 * MILLISECOND  # the two clocks may be adjusted against each other


def test_an_alarm_in_the_past_rings_at_once():
    host = Host()
    for past in (
        alarm(0),
        alarm(0, absolute=True),
        alarm(1, clock=REALTIME, absolute=True),
    ):
        assert poll(host, past) == [(7, SUCCESS, CLOCK, 0, 0)]


def test_reports_every_alarm_that_is_due_and_no_other():
    events = poll(Host(), alarm(FOREVER, user=1), alarm(0, user=2), alarm(0, user=FOREVER))
    assert events == [(2, SUCCESS, CLOCK, 0, 0), (FOREVER, SUCCESS, CLOCK, 0, 0)]


def test_streams_are_ready_at_once():
    host = Host(stdin=b"abc")
    events = poll(
        host,
        alarm(FOREVER),
        stream(FD_READ, 0, user=1),
        stream(FD_WRITE, 1, user=2),
        stream(FD_WRITE, 2, user=3),
    )
    assert [event[:3] for event in events] == [(1, SUCCESS, FD_READ), (2, SUCCESS, FD_WRITE), (3, SUCCESS, FD_WRITE)]
    assert events[0][3:] == (3, 0)
    assert all(event[3] > 0 for event in events)
    host.context.input_at = 3
    assert poll(host, stream(FD_READ, 0)) == [(8, SUCCESS, FD_READ, 0, 1)]  # hung up: the end was reached


@pytest.mark.parametrize("subscription", [stream(FD_READ, 3), stream(FD_READ, 1), stream(FD_WRITE, 0)])
def test_a_descriptor_that_is_not_open_that_way_is_an_event_with_an_error(subscription):
    assert poll(Host(), alarm(FOREVER), subscription) == [(8, BADF, subscription[8], 0, 0)]


@pytest.mark.parametrize("subscription", [alarm(0, clock=PROCESS_CPU), alarm(0, clock=9), alarm(0, flags=2)])
def test_an_alarm_that_cannot_be_set_is_an_event_with_an_error(subscription):
    assert poll(Host(), alarm(FOREVER, user=1), subscription) == [(7, INVAL, CLOCK, 0, 0)]


def test_refuses_no_subscriptions_and_too_many():
    host = Host()
    for count in (0, MOST_SUBSCRIPTIONS + 1, 0xFFFFFFFF):
        assert host.call("poll_oneoff", 0, 0, count, 64) == INVAL


def test_refuses_an_unknown_kind_of_event():
    host = Host()
    host.memory.write(0, stream(3, 0))
    assert host.call("poll_oneoff", 0, 4096, 1, 8192) == INVAL


@pytest.mark.parametrize(
    ("subscriptions", "events", "written"), [(SIZE - 47, 0, 0), (0, SIZE - 31, 0), (0, 4096, SIZE - 3)]
)
def test_bad_pointers_are_faults_before_it_sleeps(subscriptions, events, written):
    host = Host()
    host.memory.write(0, alarm(FOREVER))
    assert host.call("poll_oneoff", subscriptions, events, 1, written) == FAULT


@pytest.mark.parametrize("timeout", [FOREVER, 3600 * 1000 * MILLISECOND])
def test_a_sleep_ends_at_the_deadline(timeout):
    host = Host(seconds=0.05)
    with pytest.raises(DeadlineExceeded, match="the time limit was reached"):
        poll(host, alarm(timeout))
    assert host.context.deadline.over


def test_a_sleep_ends_when_the_caller_hangs_up():
    host = Host(seconds=3600)
    threading.Timer(0.05, host.context.deadline.cancel).start()
    with pytest.raises(Cancelled):
        poll(host, alarm(FOREVER))


def test_a_sleep_leaves_nothing_behind_at_the_deadline():
    host = Host()
    poll(host, alarm(MILLISECOND))
    assert host.context.deadline._callbacks == []


def test_sleeps_for_centuries_in_waits_that_the_host_can_count(monkeypatch):
    # No deadline at all: a wait of centuries is more than `threading` takes.
    host = Host(seconds=float("inf"))
    monkeypatch.setattr(clocks, "_LONGEST_WAIT", 0.01)
    threading.Timer(0.05, host.context.deadline.cancel).start()
    with pytest.raises(Cancelled):
        poll(host, alarm(FOREVER))

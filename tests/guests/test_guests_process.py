"""Guests in processes of their own: what is inside, what the server makes of a worker that ends, hangs or lies.

That guests answer the same there as in a thread is what `tests/e2e` shows, which runs with both.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
import wasmtime

from guesthouse.cli.parts import opened
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.guest import Guest
from guesthouse.guests.process.pool import Pool, Spec
from guesthouse.guests.process.wire import Arena, WireError
from guesthouse.manifest import load
from guesthouse.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from places import IN_PROCESSES, engine_table
from wat import cat

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = """
[app]
name = "t"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
[models.secret]
path = "ROOT/models/visual_wake_words.onnx"
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
isolation = "process"
models = ["person"]
limits = { concurrency = 1, queue_wait = "30s", output = "1KB", log = "1KB" }
[guests.loop]
module = "loop.wasm"
function = "f"
isolation = "process"
limits = { concurrency = 1, time = "300ms" }
[guests.patient]
module = "loop.wasm"
function = "f"
isolation = "process"
limits = { concurrency = 1, time = "60s" }
[guests.files]
module = "cat.wasm"
calling = "command"
isolation = "process"
files = { "/small" = "small", "/large" = "large" }
limits = { concurrency = 1, memory = "64KiB", host_memory = "64KiB", input = 1, output = "1KB" }
"""
LARGE = 255 << 20
LOOP = """(module (memory (export "memory") 1)
  (func (export "allocate") (param i32) (result i32) i32.const 1024)
  (func (export "f") (param i32 i32) (result i32) (loop br 0) i32.const 0))"""


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


@pytest.fixture(scope="module", params=IN_PROCESSES)
def loaded(request, tmp_path_factory: pytest.TempPathFactory, guests_folder: Path) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("process")
    (folder / "loop.wasm").write_bytes(wasmtime.wat2wasm(LOOP))
    (folder / "cat.wasm").write_bytes(cat("large", most=512))
    (folder / "small").write_bytes(b"small")
    with (folder / "large").open("wb") as file:
        file.write(b"large")
        file.truncate(LARGE)
    text = engine_table(request.param) + MANIFEST.replace("ROOT", str(ROOT)).replace("GUESTS", str(guests_folder))
    (folder / "guesthouse.toml").write_text(text)
    with opened(load(folder / "guesthouse.toml")) as plan:
        yield plan


@pytest.fixture
def plan(loaded: Plan) -> Plan:
    """The plan with all its workers there, whatever the test before did to them."""
    until(lambda: all(complete(pool_of(guest)) for guest in loaded.guests.values()))
    return loaded


def run(plan: Plan, guest: str, body: bytes = b"x", seconds: float = 30.0) -> bytes:
    return plan.guests[guest].run(Event(Trigger.INVOKE, "m", body), Deadline.after(seconds)).body


def failure(plan: Plan, guest: str, body: bytes = b"x", seconds: float = 30.0) -> Failure:
    with pytest.raises(Failure) as caught:
        run(plan, guest, body, seconds)
    return caught.value


def kill(pool: Pool) -> None:
    """All that wait for an event; they are gone then. Needs no descriptor."""
    pids = pool.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # the pool has waited for it already
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def pool_of(guest: Guest) -> Pool:
    """The worker processes of a guest that has them."""
    assert isinstance(guest.runner, Pool)
    return guest.runner


def complete(pool: Pool) -> bool:
    return len(pool.pids) == 2


# What is inside.


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a worker: it is not dumpable")
def test_granted_files_are_one_memory_for_all_workers_and_count_for_none(plan: Plan):
    """Which is why one has less room for data than the files are large, and still reads them."""
    mapped = set()
    for pid in pool_of(plan.guests["files"]).pids:
        process = Path(f"/proc/{pid}")
        (line,) = [line for line in process.joinpath("maps").read_text().splitlines() if "guesthouse-files" in line]
        area, rights, _, _, inode, *_ = line.split()
        begin, end = (int(address, 16) for address in area.split("-"))
        assert rights == "r--s"
        assert end - begin > LARGE
        mapped.add(inode)
        bounds = process.joinpath("limits").read_text()
        largest = re.search(r"Max data size +(\d+)", bounds)
        assert largest is not None
        assert int(largest[1]) < LARGE
        opened = [os.readlink(fd) for fd in process.joinpath("fd").iterdir()]
        assert sum("guesthouse-files" in name for name in opened) <= 1  # Python's own, for the mapping
    assert len(mapped) == 1
    reply = run(plan, "files", b"")
    assert (reply[:8], len(reply)) == (b"large\0\0\0", 512)


def test_the_server_itself_keeps_no_copy_of_what_it_has_sealed(plan: Plan):
    granted = plan.guests["files"].granted
    assert granted.files.contents == granted.contents == {}
    assert [(part.at, part.size) for part in granted.parts] == [("/small", 5), ("/large", LARGE)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a worker: it is not dumpable")
def test_a_worker_has_nothing_of_the_servers(plan: Plan, monkeypatch):
    monkeypatch.setenv("SECRET", "of the server's")
    for pid in pool_of(plan.guests["echo"]).pids:
        process = Path(f"/proc/{pid}")
        assert process.joinpath("environ").read_bytes() == b""
        files = [os.readlink(fd) for fd in process.joinpath("fd").iterdir()]
        kinds = sorted(file.split("[")[0].split(" ")[0] for file in files)
        # Besides those, wasmtime keeps the code and the start of the memory open.
        assert [kind for kind in kinds if not kind.endswith(".cwasm") and "/memfd:wasm" not in kind] == [
            *["/dev/null"] * 2,
            *["/memfd:guesthouse"] * 2,  # the arena, and Python's own copy for the mapping
            "pipe:",
            "socket:",
        ]
        status = process.joinpath("status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert process.joinpath("cwd").readlink() == Path("/")
        assert int(process.joinpath("stat").read_text().rpartition(")")[2].split()[16]) >= 5  # nice


def test_a_worker_is_bounded_by_the_system_too(plan: Plan):
    for pid in pool_of(plan.guests["echo"]).pids:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        bounds = {line[:26].strip(): line[26:].split()[0] for line in limits}
        assert bounds["Max core file size"] == bounds["Max file size"] == "0"
        assert bounds["Max open files"] == "32"
        assert bounds["Max stack size"] == str(1 << 20)
        # memory and host_memory, bodies, remembered models and what was there already
        assert 384 << 20 < int(bounds["Max data size"]) < 800 << 20
        assert bounds["Max address space"] == "unlimited"  # engines reserve what they do not use


def test_a_worker_loads_neither_grpc_nor_inference():
    code = "import sys, guesthouse.guests.process.worker as w; w._warm_up(); print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "wasmtime" not in said  # only where it is the engine
    strangers = {"grpc", "google", "dapr", "onnxruntime", "pydantic", "structlog", "prometheus_client", "rich", "typer"}
    assert not {name.partition(".")[0] for name in said} & strangers


def confined(code: str) -> str:
    before = """
import os, socket, sys
from guesthouse.guests.process import confine
confine.at_start(os.getppid())
closed = confine.when_loaded(64 << 20)
"""
    return subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, check=True).stdout


def test_a_confined_process_takes_no_more_memory_than_it_may():
    code = """
try:
    bytearray(256 << 20)
except MemoryError:
    print("refused")
print(len(bytearray(32 << 20)))
"""
    assert confined(code) == f"refused\n{32 << 20}\n"


def test_a_confined_process_reaches_no_file_and_no_port():
    code = """
if not closed:
    sys.exit(print("no landlock"))
for what in (lambda: open("/etc/hostname"), lambda: os.listdir("/"), lambda: os.mkdir("/tmp/x"),
             lambda: socket.create_connection(("127.0.0.1", 9)), lambda: open("/proc/self/environ")):
    try:
        what()
    except PermissionError:
        print("refused")
"""
    said = confined(code)
    if "no landlock" in said:
        pytest.skip("this system has no Landlock")
    assert said == "refused\n" * 5


def test_a_process_whose_server_is_gone_does_not_begin():
    code = """
from guesthouse.guests.process import confine
try:
    confine.at_start(1 << 30)
except confine.Orphaned:
    print("gone")
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "gone\n"


# Workers that end or hang.


def test_a_worker_that_is_killed_while_it_waits_costs_no_event(plan: Plan):
    pool = pool_of(plan.guests["echo"])
    kill(pool)
    assert run(plan, "echo", b"next") == b"next"
    until(lambda: complete(pool))


def test_workers_that_are_killed_while_they_wait_are_replaced_without_an_event(plan: Plan):
    pool = pool_of(plan.guests["echo"])
    before = set(pool.pids)
    kill(pool)
    until(lambda: complete(pool) and not before & set(pool.pids))


def test_a_worker_that_is_killed_in_an_event_is_that_events_failure_and_is_replaced(plan: Plan):
    pool = pool_of(plan.guests["loop"])
    victim, before = pool.pids[0], pool.replaced.count
    threading.Timer(0.1, os.kill, (victim, signal.SIGKILL)).start()
    with structlog.testing.capture_logs() as logs:
        failed = failure(plan, "loop")
    assert failed.reason is Reason.INTERNAL
    assert failed.text == "the process that the guest ran in ended during the event: it was ended by SIGKILL"
    assert [(log["guest"], log["pid"]) for log in logs if log["event"].startswith("a worker process ended")] == [
        ("loop", victim)
    ]
    assert failure(plan, "loop").reason is Reason.DEADLINE  # by the one that stood by
    until(lambda: complete(pool))
    assert victim not in pool.pids
    assert pool.replaced.count == before + (1 if interruptible(plan) else 2)


def interruptible(plan: Plan) -> bool:
    """Whether the engine ends a loop; else the worker is killed."""
    return plan.engine.name == "wasmtime"


def stayed(plan: Plan, guest: str, before: list[int]) -> bool:
    """Whether the workers of a loop are those of before, or all but the one that had to be killed."""
    return len(set(pool_of(plan.guests[guest]).pids) & set(before)) == (2 if interruptible(plan) else 1)


def test_a_loop_ends_at_its_deadline_and_its_worker_goes_on_where_the_engine_can_end_it(plan: Plan):
    def overrun() -> bool:
        before = pool_of(plan.guests["loop"]).pids
        failed = failure(plan, "loop")
        assert (failed.reason, failed.text) == (Reason.DEADLINE, "stopped at its deadline (time limit 0.3 s)")
        assert failed.cost is not None
        assert failed.cost.total > 0.2
        there = stayed(plan, "loop", before)
        until(lambda: complete(pool_of(plan.guests["loop"])))
        return there

    # As below: a busy machine may have one killed.
    assert any(overrun() for _ in range(5))


def test_a_worker_that_hangs_is_killed_at_its_events_deadline(plan: Plan):
    pool = pool_of(plan.guests["loop"])
    first = pool.pids[0]
    os.kill(first, signal.SIGSTOP)
    failed = failure(plan, "loop")
    assert (failed.reason, failed.text) == (Reason.DEADLINE, "stopped at its deadline (time limit 0.3 s)")
    until(lambda: complete(pool))
    assert first not in pool.pids


def test_a_caller_that_hangs_up_ends_the_guest(plan: Plan):
    def hang_up() -> bool:
        before = pool_of(plan.guests["patient"]).pids
        deadline = Deadline.after(60)
        threading.Timer(0.2, deadline.cancel).start()
        with pytest.raises(Failure) as caught:
            plan.guests["patient"].run(Event(Trigger.INVOKE, "m"), deadline)
        assert caught.value.reason is Reason.CANCELLED
        there = stayed(plan, "patient", before)
        until(lambda: complete(pool_of(plan.guests["patient"])))
        return there

    # A worker that a busy machine keeps from the processor for 0.2 s is killed, rightly: it has several tries.
    assert any(hang_up() for _ in range(5))


def test_many_workers_that_end_leave_nothing_behind(plan: Plan):
    pool = pool_of(plan.guests["echo"])

    def left() -> tuple[int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return len(os.listdir("/proc/self/fd")), len(children) + threading.active_count()

    def kill_all() -> None:
        kill(pool)
        assert run(plan, "echo", b"x") == b"x"
        until(lambda: complete(pool))

    kill_all()
    before = left()
    for _ in range(5):
        kill_all()
    until(lambda: left() <= before)


def test_workers_end_with_their_server(tmp_path: Path, plan: Plan):
    log, manifest = (tmp_path / "log").open("wb"), plan.guests["loop"].config.module.with_name("guesthouse.toml")
    command = [sys.executable, "-m", "guesthouse", "-m", str(manifest), "serve", "--port", "0"]
    with log, subprocess.Popen(command, stdout=log, stderr=log) as server:

        def workers() -> list[int]:
            found = []
            for task in Path(f"/proc/{server.pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(pid) for pid in task.read_text().split()]
            return found

        try:
            until(lambda: len(workers()) == 2 * len(plan.guests))
            pids = workers()
        finally:
            server.kill()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_without_descriptors_events_are_refused_and_come_right_when_there_are_some(plan: Plan):
    pool = pool_of(plan.guests["echo"])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # first: no other worker may be begun between
    try:
        kill(pool)
        failed = failure(plan, "echo", seconds=3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert failed.reason is Reason.DEADLINE
    assert failed.text == (
        "the deadline passed while no process was ready (the last did not start: Too many open files)"
    )
    until(lambda: complete(pool))  # tries are 5 s apart at most
    assert run(plan, "echo", b"again") == b"again"


def test_a_worker_that_does_not_start_is_a_fault_before_the_port_opens(plan: Plan, tmp_path: Path, monkeypatch):
    guest = plan.guests["echo"]
    (tmp_path / "not.cwasm").write_bytes(b"no code")
    for spec, why in (
        (
            Spec("none", False, tmp_path / "not.cwasm", "", sys.executable),
            "ValueError: no engine is called 'none'",
        ),
        (Spec("wasmtime", False, tmp_path / "not.cwasm", "", sys.executable), "EngineError: "),
        (
            Spec("wasmtime", False, tmp_path / "not.cwasm", "", "/bin/false"),
            "it ended with exit code 1",
        ),
        (Spec("wasmtime", False, tmp_path / "not.cwasm", "", "/no/python"), "No such file or directory"),
    ):
        with contextlib.closing(Pool(guest.config, guest.granted, spec)) as pool:
            assert why in pool.wait()
    monkeypatch.setattr("guesthouse.guests.process.pool.Pool.wait", lambda pool: "so it is")
    with (
        pytest.raises(PlanFaults, match="guest 'echo': its worker process does not start: so it is"),
        opened(plan.manifest),
    ):
        pass


def test_a_plan_that_is_not_finished_leaves_no_process_and_no_model_open(plan: Plan, monkeypatch):
    begun: list[Pool] = []

    def wait(pool: Pool) -> str:
        begun.append(pool)
        until(lambda: complete(pool))
        raise RuntimeError("a bug")

    closed: list[object] = []
    monkeypatch.setattr(Pool, "wait", wait)
    monkeypatch.setattr("guesthouse.plan.Registry.close", lambda registry: closed.append(registry))
    with pytest.raises(RuntimeError, match="a bug"), opened(plan.manifest):
        pass
    assert [pool.pids for pool in begun] == [[]]
    assert len(closed) == 1


def test_a_full_disk_is_a_fault_of_each_guest(plan: Plan, monkeypatch):
    def load(cache, engine, wasm, memory):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("guesthouse.engine.cache.CodeCache.load", load)
    with pytest.raises(PlanFaults) as caught, opened(plan.manifest):
        pass
    assert len(caught.value.faults) == len(plan.guests)
    assert all("cannot be kept in " in fault and "(No space left on device)" in fault for fault in caught.value.faults)


def test_a_caller_that_hangs_up_waits_for_no_process(plan: Plan, tmp_path: Path):
    """Nor does one whose deadline passes: neither is told that there was no room."""
    (tmp_path / "code").touch()
    guest, spec = plan.guests["patient"], Spec("any", False, tmp_path / "code", "", "/bin/false")
    with contextlib.closing(Pool(guest.config, guest.granted, spec)) as pool:
        hangs_up, late = Deadline.after(60), Deadline.after(0.3)
        threading.Timer(0.3, hangs_up.cancel).start()
        for deadline, reason, text in (
            (hangs_up, Reason.CANCELLED, "the caller hung up while it waited for a process"),
            (late, Reason.DEADLINE, "the deadline passed while no process was ready"),
        ):
            with pytest.raises(Failure) as caught:
                pool.run(guest, Event(Trigger.INVOKE, "m"), deadline)
            assert caught.value.reason is reason
            assert caught.value.text.startswith(text)


# Workers that lie.


@pytest.fixture(scope="module")
def hostile(loaded: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    """The plan with a worker of the guest echo that was taken over."""
    folder = tmp_path_factory.mktemp("hostile")
    python, script = folder / "python", Path(__file__).with_name("hostile_worker.py")
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)
    (folder / "code").touch()
    echo, spec = loaded.guests["echo"], Spec("any", False, folder / "code", "", str(python))
    with contextlib.closing(Pool(echo.config, echo.granted, spec)) as pool:
        assert not pool.wait()
        taken_over = Guest(echo.config, echo.code, pool, echo.services, echo.slots, echo.granted)
        yield replace(loaded, guests={"echo": taken_over})


NONSENSE = (
    "garbage", "much", "another version", "an unknown kind", "a long head", "a long payload", "no json", "deep json",
    "no cost", "a cost that is none", "a long reply", "an unknown reason", "a long text", "an event",
    "a stream of its own", "a name that is none", "run with a wrong size", "run with a negative size",
    "run with an overflow", "run with objects", "run without anything", "run nothing",
)  # fmt: skip


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_costs_one_event_and_the_worker(hostile: Plan, what):
    failed = failure(hostile, "echo", what.encode())
    assert failed.reason is Reason.INTERNAL
    assert failed.text == "the process that the guest ran in answered nonsense and was ended"
    assert run(hostile, "echo", b"next") == b"fine"


def test_a_worker_that_ends_itself_is_told_of(hostile: Plan):
    failed = failure(hostile, "echo", b"an end")
    assert failed.text == "the process that the guest ran in ended during the event: it ended with exit code 3"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("run what is not granted", "the manifest does not grant the model 'secret' to this guest"),
        ("a model that is not granted", "the manifest does not allow this guest to bring models"),
        ("run with an unknown input", "'i'"),
    ],
)
def test_the_server_looks_at_grants_itself(hostile: Plan, what, why):
    kind, head = json.loads(run(hostile, "echo", what.encode()))
    assert kind == 11
    assert head["error"] in ("Denied", "InferenceError")
    assert why in head["text"]


def test_the_shared_memory_cannot_be_resized(hostile: Plan):
    assert json.loads(run(hostile, "echo", b"resize")) == ["Operation not permitted"] * 2


def test_what_a_worker_logs_is_bounded_by_the_server(hostile: Plan, caplog):
    caplog.set_level("INFO", "guesthouse.guest")
    with structlog.testing.capture_logs() as logs:
        run(hostile, "echo", b"flood")
    lines = [log for log in logs if log.get("stream") == "stdout"]
    assert 5 <= len(lines) <= 12  # a kilobyte of 2,000 lines
    assert run(hostile, "echo", b"a") == b"fine"


def test_a_worker_that_says_much_on_standard_error_waits_for_no_reader(hostile: Plan):
    assert run(hostile, "echo", b"noise") == b"said"
    assert run(hostile, "echo", b"a") == b"fine"


def test_what_a_worker_said_in_one_event_is_the_operators_and_not_told_to_another(hostile: Plan):
    assert run(hostile, "echo", b"say a secret") == b"said"
    with structlog.testing.capture_logs() as logs:
        failed = failure(hostile, "echo", b"an end")
    assert failed.text == "the process that the guest ran in ended during the event: it ended with exit code 3"
    assert [log["how"] for log in logs if "how" in log] == ["it ended with exit code 3: a secret of this event"]


def test_a_worker_finds_nothing_of_an_event_in_the_memory_when_the_next_one_comes(hostile: Plan):
    """Bodies, replies, heads and tensors, of frames of either side."""
    assert run(hostile, "echo", b"tensors") == b"fine"
    event = Event(Trigger.INVOKE, "m", b"canary" * 10000, query="canary", metadata={"canary": "canary" * 10})
    assert hostile.guests["echo"].run(event, Deadline.after(30)).body == b"fine"
    assert run(hostile, "echo", b"what is left") == b" "


def test_a_workers_own_words_are_the_guests(hostile: Plan):
    failed = failure(hostile, "echo", b"a text of its own")
    assert (failed.reason, str(failed)) == (Reason.GUEST, "guest 'echo': so there")


def test_an_empty_tensor_of_an_impossible_shape_breaks_the_protocol():
    arena = Arena.create(4096)
    try:
        assert arena.arrays(0, [(np.dtype("f4"), (0, 3))])[0].shape == (0, 3)
        with pytest.raises(WireError, match="a tensor of shape"):
            arena.arrays(0, [(np.dtype("f4"), (0, *[1 << 40] * 3))])
    finally:
        arena.close()


@pytest.mark.parametrize("size", [1, 1000, 4 << 20, (4 << 20) + 1, 32 << 20])
def test_an_arena_that_was_cleared_has_nothing_of_the_frames_before_and_little_memory(size: int):
    arena = Arena.create(40 << 20)
    try:
        arena.put(b"h" * size if size < 1 << 20 else b"{}", [b"x" * (size // 2), b"y" * (size - size // 2)])
        assert set(whole(arena)) > {0}
        arena.clear()
        assert set(whole(arena)) == {0}
        assert os.fstat(arena.fd).st_blocks * 512 < 8 << 20
    finally:
        arena.close()


def whole(arena: Arena) -> bytes:
    """Every byte that a worker could read there."""
    return os.pread(arena.fd, os.fstat(arena.fd).st_size, 0)

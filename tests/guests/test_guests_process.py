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
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
import wasmtime

from guesthouse.assembly import open_plan
from guesthouse.event import Event, Failure, Reason, Trigger
from guesthouse.guests.guest import Guest
from guesthouse.guests.process import confine, syscalls
from guesthouse.guests.process.pool import Pool
from guesthouse.guests.process.remote import Artefact, Setup, WorkerSpec
from guesthouse.guests.process.stock import Stock
from guesthouse.guests.process.wire import Arena, WireError
from guesthouse.manifest import load
from guesthouse.observe.metrics import Metrics
from guesthouse.plan.build import build
from guesthouse.plan.current import Plans
from guesthouse.plan.plan import Plan, PlanFaults
from guesthouse_abi.deadline import Deadline
from tests.support.manifests import placed
from tests.support.places import IN_PROCESSES, engine_table
from tests.support.waiting import until
from tests.support.wat import cat

UNUSED = Path("/no/kernel")  # of workers that get no guest with pictures

MANIFEST = """
[app]
name = "t"
[models.person]
path = "ROOT/models/visual_wake_words.onnx"
[models.secret]
path = "ROOT/models/visual_wake_words.onnx"
stands_for = ["5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e"]
[guests.echo]
module = "GUESTS/echo/echo.wasm"
function = "echo"
isolation = "process"
least = 2
models = ["person"]
limits = { concurrency = 1, queue_wait = "30s", output = "1KB", log = "1KB" }
[guests.loop]
module = "loop.wasm"
function = "f"
isolation = "process"
least = 2
limits = { concurrency = 1, time = "300ms" }
[guests.patient]
module = "loop.wasm"
function = "f"
isolation = "process"
least = 2
limits = { concurrency = 1, time = "60s" }
[guests.files]
module = "cat.wasm"
calling = "command"
isolation = "process"
least = 2
files = { "/small" = "small", "/large" = "large" }
limits = { concurrency = 1, memory = "64KiB", host_memory = "64KiB", input = 1, output = "1KB" }
"""
LARGE = 255 << 20
LOOP = """(module (memory (export "memory") 1)
  (func (export "allocate") (param i32) (result i32) i32.const 1024)
  (func (export "f") (param i32 i32) (result i32) (loop br 0) i32.const 0))"""


@pytest.fixture(scope="module", params=IN_PROCESSES)
def loaded(request, tmp_path_factory: pytest.TempPathFactory, guests_folder: Path) -> Iterator[Plan]:
    folder = tmp_path_factory.mktemp("process")
    (folder / "loop.wasm").write_bytes(wasmtime.wat2wasm(LOOP))
    (folder / "cat.wasm").write_bytes(cat("large", most=512))
    (folder / "small").write_bytes(b"small")
    with (folder / "large").open("wb") as file:
        file.write(b"large")
        file.truncate(LARGE)
    text = engine_table(request.param) + placed(MANIFEST, guests_folder)
    (folder / "guesthouse.toml").write_text(text)
    with open_plan(load(folder / "guesthouse.toml")) as plan:
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
    code = "import sys, guesthouse.guests.process.worker as w; print(*sys.modules); w._warm_up('wasmtime', True)"
    code += "; print('/', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "wasmtime" not in said[: said.index("/")]  # only where it is the engine
    strangers = {"grpc", "google", "dapr", "onnxruntime", "pydantic", "structlog", "prometheus_client", "rich", "typer"}
    assert not {name.partition(".")[0] for name in said} & strangers


def confined(code: str, first: str = "") -> str:
    before = """
import os, socket, sys
from guesthouse.guests.process import confine
confine.at_start(os.getppid())
FIRST
closed = confine.when_loaded(64 << 20)
"""
    before = before.replace("FIRST", first)
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
if closed:
    sys.exit(print("lacking"))
for what in (lambda: open("/etc/hostname"), lambda: os.listdir("/"), lambda: os.mkdir("/tmp/x"),
             lambda: socket.socket(socket.AF_INET).connect(("127.0.0.1", 9)), lambda: open("/proc/self/environ")):
    try:
        what()
    except PermissionError:
        print("refused")
"""
    said = confined(code)
    if "lacking" in said:
        pytest.skip("this system has neither Landlock nor seccomp")
    assert said == "refused\n" * 5


def test_a_confined_process_makes_no_system_call_that_a_worker_does_not_need():
    """In no thread, also one that was there before: no socket of any kind, no other process, no program."""
    code = """
if closed:
    sys.exit(print("lacking"))
def tries():
    for what in (lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), lambda: socket.socket(socket.AF_UNIX),
                 os.fork, lambda: os.execv("/bin/true", ["true"]), lambda: os.kill(os.getppid(), 0), os.pipe,
                 lambda: os.open("/etc/hostname", os.O_RDONLY), os.getcwd):
        try:
            what()
        except PermissionError:
            print("refused")
tries()
go.set()
thread.join()
"""
    first = """
import threading
go = threading.Event()
thread = threading.Thread(target=lambda: (go.wait(), tries()))
thread.start()
"""
    said = confined(code, first)
    if "lacking" in said:
        pytest.skip("this system has no seccomp")
    assert said == "refused\n" * 16


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_whose_jumps_all_end_in_it(machine):
    """Read as the kernel does: refused is what is not on the list, and another architecture ends the process."""
    filters = syscalls.program(machine)
    assert filters is not None
    code = list(struct.iter_unpack("<HBBI", filters))
    architecture, column = syscalls._ARCHITECTURES[machine]

    def verdict(arch: int, number: int) -> int:
        at, loaded = 0, 0
        while True:
            step, true, false, value = code[at]
            if step == 0x06:
                return int(value)
            if step == 0x20:
                loaded = {0: number, 4: arch}[value]
                at += 1
            else:
                assert step == 0x15
                at += 1 + (true if loaded == value else false)

    allowed = {row[column] for row in syscalls.ALLOWED.values()} - {None}
    for number in range(600):
        assert (verdict(architecture, number) == syscalls._ALLOW) == (number in allowed)
        assert verdict(architecture ^ 1, number) == syscalls._KILL
    assert verdict(architecture, 0x40000000) == 0x00050001  # another way to the same calls, on x86-64


@pytest.mark.parametrize(
    ("filtered", "landlock", "lacks"),
    [
        (True, 6, []),
        (True, 1, []),
        (False, 6, ["no filter of system calls (seccomp)"]),
        (False, 1, ["no filter of system calls (seccomp)", "TCP is not closed by Landlock (Linux 6.7)"]),
        (True, 0, ["files are not closed by Landlock (Linux 5.13)"]),
    ],
)
def test_what_a_kernel_lacks_is_named(monkeypatch, filtered, landlock, lacks):
    monkeypatch.setattr(syscalls, "available", lambda: filtered)
    monkeypatch.setattr(confine, "_landlock_version", lambda: landlock)
    assert confine.lacking() == lacks


def test_where_confinement_is_required_a_worker_that_lacks_some_is_a_fault(hostile: Plan, tmp_path: Path, loaded: Plan):
    python = pool_of(hostile.guests["echo"])._stock._spec.interpreter
    lacking = tmp_path / "python"
    lacking.write_text(Path(python).read_text().replace("exec ", 'LACKING="no filter of system calls" exec '))
    lacking.chmod(0o755)
    echo = loaded.guests["echo"]
    with contextlib.closing(Stock(WorkerSpec("any", False, str(lacking), UNUSED, "required"), 1)) as stock:
        setup = Setup(echo.config, "", Artefact(echo.code.artefact), echo.granted)
        assert stock.try_out({"echo": setup}) == {
            "echo": 'process.confinement is "required", and here no filter of system calls'
        }
    with (
        contextlib.closing(Stock(WorkerSpec("any", False, str(lacking), UNUSED), 1)) as stock,
        structlog.testing.capture_logs() as logs,
    ):
        assert [stock.try_out({"echo": setup}) for _ in range(2)] == [{}, {}]
    (line,) = [log for log in logs if log["event"] == "worker processes are not closed wholly"]
    assert (line["lacking"], line["log_level"]) == (["no filter of system calls"], "warning")


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
    return plan.host.engine.name == "wasmtime"


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
        until(lambda: complete(pool) and len(plan.host.stock.pids) == 2)  # as many as the stock has by default

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
            until(lambda: len(workers()) >= 2 * len(plan.guests))  # and those of the stock, when they are there
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
    assert failed.reason is Reason.FULL
    assert failed.text == "no process for the guest is ready (the last did not start: Too many open files)"
    until(lambda: complete(pool))  # tries are 5 s apart at most
    assert run(plan, "echo", b"again") == b"again"


@pytest.mark.parametrize(
    ("engine", "interpreter", "why"),
    [
        ("none", sys.executable, "it ended with exit code 1: ValueError: no engine is called 'none'"),
        ("wasmtime", "/bin/false", "it ended with exit code 1"),
        ("wasmtime", "/no/python", "No such file or directory"),
    ],
)
def test_workers_that_do_not_start_are_a_fault_before_the_port_opens(plan: Plan, engine, interpreter, why):
    with contextlib.closing(Stock(WorkerSpec(engine, False, interpreter, UNUSED), 1)) as stock:
        assert why in stock.wait()
        assert why in stock.fault
        metrics = Metrics(Plans(replace(plan, host=replace(plan.host, stock=stock))))
        assert metrics.registry().get_sample_value("guesthouse_workers_failing") == 1
        with pytest.raises(PlanFaults) as caught:
            build(plan.manifest, replace(plan.host, stock=stock))
    assert caught.value.faults == [
        f"guest {name!r}: its worker process does not start: {stock.fault}" for name in plan.guests
    ]


def test_a_guest_that_no_worker_can_load_is_a_fault_before_the_port_opens(plan: Plan, tmp_path: Path):
    """And costs no other guest: one worker tries all."""
    echo = plan.guests["echo"]
    (tmp_path / "not.cwasm").write_bytes(b"no code")
    broken = Setup(echo.config, "", Artefact(tmp_path / "not.cwasm"), echo.granted)
    faults = plan.host.stock.try_out({"echo": broken, "loop": pool_of(plan.guests["loop"]).setup, "again": broken})
    assert list(faults) == ["echo", "again"]
    assert all(fault.startswith("EngineError: ") or "Error" in fault for fault in faults.values())


def test_a_guest_has_no_process_before_its_first_event_and_none_after_an_idle_time(plan: Plan):
    """And never one of another guest's."""
    guest = plan.guests["echo"]
    config = replace(guest.config, least=0, idle=0.3)
    with contextlib.closing(Pool(config, guest.code, guest.granted, plan.host.stock)) as pool:
        assert pool.wait() == ""
        until(lambda: plan.host.stock.pids)
        stock = set(plan.host.stock.pids)
        assert pool.pids == []
        event = Event(Trigger.INVOKE, "m", b"x")
        assert pool.run(guest, event, Deadline.after(30)).body == b"x"
        (pid,) = pool.pids
        assert pid in stock
        assert pool.run(guest, event, Deadline.after(30)).body == b"x"
        until(lambda: not pool.pids)
        until(lambda: not Path(f"/proc/{pid}").exists())
        assert pool.run(guest, event, Deadline.after(30)).body == b"x"
        assert pid not in pool.pids
        assert pool.replaced.count == 0


def test_many_guests_at_once_wait_for_their_processes_and_none_fails(plan: Plan):
    guest = plan.guests["echo"]
    config, stock = replace(guest.config, least=0), plan.host.stock
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(12) as threads:
        pools = [
            stack.enter_context(contextlib.closing(Pool(config, guest.code, guest.granted, stock))) for _ in range(12)
        ]
        replies = [threads.submit(p.run, guest, Event(Trigger.INVOKE, "m", b"x"), Deadline.after(60)) for p in pools]
        assert [reply.result().body for reply in replies] == [b"x"] * 12
        assert len({pid for pool in pools for pid in pool.pids}) == 12


def test_a_setup_larger_than_a_frames_head_is_no_fault(plan: Plan):
    guest = plan.guests["echo"]
    grants = replace(guest.config.grants, env=(("LONG", "x" * (3 << 20)),))
    config = replace(guest.config, grants=grants, least=0)
    with contextlib.closing(Pool(config, guest.code, guest.granted, plan.host.stock)) as pool:
        assert plan.host.stock.try_out({"echo": pool.setup}) == {}
        assert pool.run(guest, Event(Trigger.INVOKE, "m", b"x"), Deadline.after(30)).body == b"x"


def test_a_plan_that_is_not_finished_leaves_no_process_and_no_model_open(plan: Plan, monkeypatch):
    begun: list[Pool] = []

    def wait(pool: Pool) -> str:
        begun.append(pool)
        until(lambda: complete(pool))
        raise RuntimeError("a bug")

    closed: list[object] = []
    monkeypatch.setattr(Pool, "wait", wait)
    monkeypatch.setattr("guesthouse.plan.build.Registry.close", lambda registry: closed.append(registry))
    with pytest.raises(RuntimeError, match="a bug"), open_plan(plan.manifest):
        pass
    assert [pool.pids for pool in begun] == [[]]
    assert len(closed) == 1


def test_a_full_disk_is_a_fault_of_each_guest(plan: Plan, monkeypatch):
    def load(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("guesthouse.engine.cache.CodeCache.load", load)
    with pytest.raises(PlanFaults) as caught, open_plan(plan.manifest):
        pass
    assert len(caught.value.faults) == len(plan.guests)
    assert all("cannot be kept in " in fault and "(No space left on device)" in fault for fault in caught.value.faults)


def test_a_caller_that_hangs_up_waits_for_no_process(plan: Plan, tmp_path: Path):
    """Nor does one whose deadline passes: neither is told that there was no room."""
    guest = plan.guests["patient"]
    with (
        contextlib.closing(Stock(WorkerSpec("any", False, "/bin/false", UNUSED), 1)) as stock,
        contextlib.closing(Pool(replace(guest.config, least=0), guest.code, guest.granted, stock)) as pool,
    ):
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
    echo = loaded.guests["echo"]
    with (
        contextlib.closing(Stock(WorkerSpec("any", False, str(python), UNUSED), 1)) as stock,
        contextlib.closing(Pool(replace(echo.config, least=1), echo.code, echo.granted, stock)) as pool,
    ):
        assert not pool.wait()
        taken_over = Guest(echo.config, echo.code, pool, echo.services, echo.slots, echo.granted)
        yield replace(loaded, guests={"echo": taken_over})


NONSENSE = (
    "garbage", "much", "another version", "an unknown kind", "a long head", "a long payload", "no json",
    "json with a rest", "deep json", "an object", "a reply that is short", "a reply that is long",
    "a cost that is none", "a cost below zero", "a cost without end", "a long reply", "a type that is none",
    "a header of gRPC's", "a header with a line in it", "a header that is none", "a header of numbers",
    "many headers", "an answer that is none", "an answer for ever", "a stop that is none",
    "a stop of an invocation", "a failure that is short", "an unknown reason",
    "a long text", "an event", "questions without end", "a stream of its own", "a name that is none",
    "run with a wrong size", "run with a negative size", "run with an overflow", "run with objects",
    "run without anything", "run nothing",
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
        ("ask for what is not granted", "the manifest does not grant the model 'secret' to this guest"),
        ("a model that is not granted", "the manifest does not allow this guest to bring models"),
        ("run with an unknown input", "'i'"),
    ],
)
def test_the_server_looks_at_grants_itself(hostile: Plan, what, why):
    kind, head = json.loads(run(hostile, "echo", what.encode()))
    assert kind == 9
    assert head["error"] in ("Denied", "InferenceError")
    assert why in head["text"]


def test_of_a_model_that_is_not_granted_a_digest_tells_the_name_alone(hostile: Plan):
    kind, head = json.loads(run(hostile, "echo", b"ask for a digest"))
    assert (kind, head) == (8, {"name": "secret", "inputs": [], "outputs": [], "names": [{}, {}]})


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
        assert arena.tensors(0, [(np.dtype("f4"), (0, 3))])[0].shape == (0, 3)
        with pytest.raises(WireError, match="a tensor of shape"):
            arena.tensors(0, [(np.dtype("f4"), (0, *[1 << 40] * 3))])
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

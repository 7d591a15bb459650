"""A granted file that changes: taken in by a reload, for events that begin; what is unchanged stays where it is."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guesthouse.plan.reload import ReloadOutcome
from reload.reloading import Reloading, reloading, replace_file
from support.waiting import until
from wat import cat

MANIFEST = """
[app]
name = "t"
[guests.cat]
module = "cat.wasm"
calling = "command"
files = { "/f" = "f.txt", "/d" = "d" }
limits = { concurrency = 1 }
ISOLATION
[[invoke]]
method = "say"
guest = "cat"
"""
#: Logs one line, `wait`, at which the fixture `gate` holds it.
WAITS = """(i64.store (i32.const 48) (i64.const 0x0a74696177)) (i32.store (i32.const 16) (i32.const 48))
  (i32.store (i32.const 20) (i32.const 5))
  (drop (call $write (i32.const 2) (i32.const 16) (i32.const 1) (i32.const 8)))"""


def write(folder: Path, isolation: str = "thread", between: str = "") -> Path:
    (folder / "cat.wasm").write_bytes(cat("/f", between=between))
    (folder / "f.txt").write_text("old")
    (folder / "d").mkdir()
    (folder / "d" / "x").write_text("x")
    (folder / "guesthouse.toml").write_text(MANIFEST.replace("ISOLATION", f'isolation = "{isolation}"'))
    return folder / "guesthouse.toml"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_changed_file_is_another_for_events_that_begin(tmp_path: Path, isolation: str, log):
    with reloading(write(tmp_path, isolation)) as app:
        assert app.ask() == "old"
        (tmp_path / "f.txt").write_text("new, in place")
        assert app.ask() == "old"  # what was read is what is served
        assert app.reloader.reload() is ReloadOutcome.DONE
        assert app.ask() == "new, in place"
        (line,) = [line for line in log if line["event"] == "reloaded"]
        assert line["loaded"] == ["guest cat"]


def test_an_event_under_way_keeps_the_files_that_it_began_with(tmp_path: Path, gate):
    with reloading(write(tmp_path, between=WAITS)) as app, ThreadPoolExecutor(1) as threads:
        before = app.plans.now
        inside = threads.submit(app.ask)
        until(lambda: before.guests["cat"].slots.busy)
        replace_file(tmp_path / "f.txt", "new")
        app.reloader.reload()
        assert app.plans.now.guests["cat"].granted.files.contents["/f"] == b"new"
        gate.set()
        assert inside.result() == "old"
        assert app.ask() == "new"


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_unchanged_files_stay_in_memory_and_their_workers_at_work(tmp_path: Path, isolation: str, log):
    with reloading(write(tmp_path, isolation)) as app:
        first = app.plans.now
        os.utime(tmp_path / "f.txt", (1, 1))  # another time, the same content
        app.reloader.reload()
        second = app.plans.now
        assert second is not first
        assert [line["loaded"] for line in log if line["event"] == "reloaded"] == [[]]
        one, two = first.guests["cat"].granted, second.guests["cat"].granted
        if isolation == "thread":
            assert two.files.contents["/f"] is one.files.contents["/f"]
        else:
            assert two.sealed is one.sealed
            assert second.guests["cat"].runner is first.guests["cat"].runner
        replace_file(tmp_path / "f.txt", "new")
        app.reloader.reload()
        third = app.plans.now.guests["cat"].granted
        if isolation == "thread":
            assert third.files.contents["/d/x"] is one.files.contents["/d/x"]
        else:
            assert app.plans.now.guests["cat"].runner is not first.guests["cat"].runner
        assert app.ask() == "new"


def test_a_file_that_cannot_be_granted_any_more_is_refused_and_the_old_goes_on(tmp_path: Path, log):
    with reloading(write(tmp_path)) as app:
        (tmp_path / "f.txt").unlink()
        assert app.reloader.reload() is ReloadOutcome.REFUSED
        (line,) = [line for line in log if line["event"] == "not reloaded"]
        assert line["error"] == (
            f"guest 'cat': {tmp_path}/f.txt cannot be read (No such file or directory): "
            "correct the path, or its permissions"
        )
        assert app.ask() == "old"


def has(app: Reloading, path: str) -> bool:
    return path in app.plans.now.guests["cat"].granted.files.contents


def test_watching_sees_files_that_change_come_and_go(tmp_path: Path):
    with reloading(write(tmp_path), watch=True) as app:
        replace_file(tmp_path / "f.txt", "new")
        until(lambda: app.ask() == "new")
        (tmp_path / "d" / "deep").mkdir()
        (tmp_path / "d" / "deep" / "y").write_text("y")
        until(lambda: has(app, "/d/deep/y"))
        (tmp_path / "d" / "deep" / "z").write_text("z")
        until(lambda: has(app, "/d/deep/z"))
        (tmp_path / "d" / "x").unlink()
        until(lambda: not has(app, "/d/x"))


def test_watching_waits_for_a_folder_that_is_mended(tmp_path: Path, log):
    """It was refused for a link that leads out of it, which is none of its files."""
    with reloading(write(tmp_path), watch=True) as app:
        (tmp_path / "d" / "out").symlink_to("/etc/hostname")
        until(lambda: [line for line in log if line["event"] == "not reloaded"])
        (tmp_path / "d" / "out").unlink()
        (tmp_path / "d" / "new").write_text("new")
        until(lambda: has(app, "/d/new"))

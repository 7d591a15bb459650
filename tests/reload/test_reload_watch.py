"""`--watch` and requests: when a reload happens, and how often."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from guesthouse.plan.build import build
from guesthouse.system.stamps import stamp
from tests.reload.reloading import MANIFEST, Reloading, reloading, replace_file, says, told
from tests.support.waiting import PATIENCE, until


def in_place(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("change", [replace_file, in_place], ids=["replaced", "in place"])
def test_a_changed_module_is_taken_in(manifest: Path, tmp_path: Path, change):
    with reloading(manifest, watch=True) as app:
        assert app.ask() == "old"
        change(tmp_path / "says.wasm", says("new"))
        until(lambda: app.ask() == "new")


def test_a_changed_manifest_is_taken_in_and_what_it_names_is_watched_from_then_on(manifest: Path, tmp_path: Path):
    (tmp_path / "other.wasm").write_bytes(says("other"))
    with reloading(manifest, watch=True) as app:
        replace_file(manifest, MANIFEST.replace("says.wasm", "other.wasm"))
        until(lambda: app.ask() == "other")
        replace_file(tmp_path / "other.wasm", says("another"))
        until(lambda: app.ask() == "another")


def test_a_volume_that_kubernetes_updates_is_taken_in(tmp_path: Path):
    """Its files are links through `..data`, a link that is replaced when all files of the new state are there."""

    def state(name: str, text: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "guesthouse.toml").write_text(MANIFEST)
        (folder / "says.wasm").write_bytes(says(text))
        (tmp_path / "..new").symlink_to(name)
        os.replace(tmp_path / "..new", tmp_path / "..data")

    state("..1", "old")
    for name in ("guesthouse.toml", "says.wasm"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    with reloading(tmp_path / "guesthouse.toml", watch=True) as app:
        assert app.ask() == "old"
        state("..2", "new")
        until(lambda: app.ask() == "new")


def test_a_refused_change_is_tried_again_when_its_files_change_and_not_before(
    looks: Callable[[int], None], app_that_watches: Reloading, manifest: Path, tmp_path: Path, log
):
    app = app_that_watches
    replace_file(manifest, MANIFEST.replace("says.wasm", "later.wasm"))
    until(lambda: told(log))
    looks(5)
    assert told(log) == ["not reloaded"]
    replace_file(tmp_path / "later.wasm", says("later"))
    until(lambda: app.ask() == "later")
    until(lambda: told(log) == ["not reloaded", "reloaded"])


def test_two_changes_of_which_one_is_bad_are_refused_once(
    looks: Callable[[int], None], app_that_watches: Reloading, manifest: Path, tmp_path: Path, log
):
    app = app_that_watches
    replace_file(manifest, "broken")
    replace_file(tmp_path / "says.wasm", says("new"))
    until(lambda: told(log))
    looks(5)
    lines = len(told(log))
    looks(5)
    assert len(told(log)) == lines <= 2  # two, where it looked between the changes
    replace_file(manifest, MANIFEST)
    until(lambda: app.ask() == "new")


@pytest.fixture
def looks(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Wait until it has looked at the files so many times more. It looks at none while it reloads."""
    count = itertools.count()
    seen = [0]

    def looked(path: Path):
        if path == manifest:
            seen[0] = next(count)
        return stamp(path)

    monkeypatch.setattr("guesthouse.system.stamps.stamp", looked)

    def wait(more: int) -> None:
        before = seen[0]
        until(lambda: seen[0] >= before + more)

    return wait


@pytest.fixture
def app_that_watches(manifest: Path):
    with reloading(manifest, watch=True) as served:
        yield served


def test_a_file_that_is_being_written_is_left_alone(manifest: Path, tmp_path: Path, log, monkeypatch):
    """It looks different at each look."""
    stamps = iter(range(1_000_000))
    looks = 0

    def looked(path: Path):
        nonlocal looks
        if path.name == "says.wasm" and writing:
            looks += 1
            return (next(stamps),)
        return stamp(path)

    writing = False
    monkeypatch.setattr("guesthouse.system.stamps.stamp", looked)
    with reloading(manifest, watch=True) as app:
        writing = True
        until(lambda: looks > 10)
        assert not log
        replace_file(tmp_path / "says.wasm", says("new"))
        writing = False
        until(lambda: app.ask() == "new")


def test_without_it_nothing_happens_until_it_is_asked_for(manifest: Path, tmp_path: Path):
    with reloading(manifest) as app:
        app.reloader.start()
        replace_file(tmp_path / "says.wasm", says("new"))
        assert app.ask() == "old"
        app.reloader.request()
        until(lambda: app.ask() == "new")


def test_requests_while_it_reloads_are_one_more_reload(manifest: Path, tmp_path: Path, log, monkeypatch):
    """Which finds what changed after the first one had read it."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slowly(*arguments):
        plan = build(*arguments)
        begun.release()
        assert go_on.wait(PATIENCE)
        return plan

    monkeypatch.setattr("guesthouse.plan.reload.build", slowly)
    with reloading(manifest) as app:
        app.reloader.start()
        app.reloader.request()
        assert begun.acquire(timeout=PATIENCE)
        replace_file(tmp_path / "says.wasm", says("new"))
        for _ in range(3):
            app.reloader.request()
        go_on.set()
        until(lambda: app.ask() == "new")
        until(lambda: not app.reloader.wanted.is_set())
    until(lambda: told(log) == ["reloaded", "reloaded"])


def test_who_asks_before_it_starts_is_heard_then(manifest: Path, tmp_path: Path):
    with reloading(manifest) as app:
        app.reloader.wanted.set()
        replace_file(tmp_path / "says.wasm", says("new"))
        app.reloader.start()
        until(lambda: app.ask() == "new")

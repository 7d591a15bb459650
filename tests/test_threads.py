"""Threads that the process needs until its end."""

from __future__ import annotations

import threading

from guesthouse.system import threads


def test_an_exception_does_not_end_a_lasting_thread(monkeypatch, caplog):
    monkeypatch.setattr(threads, "_FIRST", 0.001)
    steps = iter((RuntimeError("first"), MemoryError(), True, RuntimeError("last"), False))
    done = []

    def step() -> bool:
        now = next(steps)
        done.append(now)
        if isinstance(now, Exception):
            raise now
        return now

    threads.lasting_thread("needed", step).join(20)
    assert len(done) == 5
    assert [record.getMessage() for record in caplog.records] == [
        "the thread needed goes on in 0.001 s, after an error of ours",
        "the thread needed goes on in 0.002 s, after an error of ours",
        "the thread needed goes on in 0.001 s, after an error of ours",  # one step went well in between
    ]
    assert all(record.exc_info for record in caplog.records)


def test_an_end_cuts_a_pause_short(monkeypatch):
    monkeypatch.setattr(threads, "_FIRST", 3600.0)
    ended, failed = threading.Event(), threading.Event()

    def step() -> bool:
        failed.set()
        raise RuntimeError

    thread = threads.lasting_thread("needed", step, ended)
    assert failed.wait(20)
    ended.set()
    thread.join(20)
    assert not thread.is_alive()
